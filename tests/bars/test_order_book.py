"""The replay of the book: against the naive twin, the vendor's snapshots, and known answers."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import naive_bars
import numpy as np
import polars as pl
import pytest
from bars.test_tape import assert_equal
from conftest import with_clocks

from crpbot_dagster.assets.bars.book_minutes import book_1m, book_day
from crpbot_dagster.assets.bars.order_book import order_flow_imbalance
from crpbot_dagster.assets.raw.dataset_file import typed_scan
from crpbot_dagster.assets.raw.tardis import (
    BOOK,
    LEVEL_NAMES,
    SNAPSHOTS,
    TRADES,
    book_from,
    snapshots_from,
    trades_from,
)
from crpbot_dagster.sandbox.market import book, snapshots, tape

DAY = date(2024, 1, 2)
START = datetime(2024, 1, 2, tzinfo=UTC)


def messages(rng: np.random.Generator, n: int) -> pl.DataFrame:
    """A wild stream: snapshots in the middle, silences, crossed states, unknown deletes, repeated prices."""
    rows, at = [], 0
    for i in range(n):
        at += int(rng.choice([0, 50_000, 700_000, 4_000_000, 75_000_000], p=[0.1, 0.4, 0.37, 0.12, 0.01]))
        is_snapshot = i == 3 or rng.random() < 0.01
        stamp = (at, at - int(rng.integers(0, 30_000)), is_snapshot)
        for _ in range(60 if is_snapshot else int(rng.integers(1, 6))):
            side = str(rng.choice(["bid", "ask"]))
            tick = int(rng.integers(0, 32)) * (1 if side == "ask" else -1) + int(rng.choice([0, 0, 0, 3]))
            rows.append((*stamp, side, round(100 + 0.1 * tick, 1), float(rng.choice([0, 0.5, 1, 2, 3]))))
    frame = pl.DataFrame(rows, orient="row", schema=["received", "exchange", "is_snapshot", "side", "price", "amount"])
    moments = [
        (pl.lit(START) + pl.duration(microseconds=pl.col(c))).cast(pl.Datetime("us", "UTC")).alias(f"ts_{c}")
        for c in ("received", "exchange")
    ]
    return frame.with_columns(moments).with_row_index("seq").drop("received", "exchange")


def wild_trades(rng: np.random.Generator, n: int, last: datetime) -> pl.DataFrame:
    at = np.sort(rng.integers(0, int((last - START).total_seconds() * 1e6), n))
    frame = pl.DataFrame(
        {
            "at": at,
            "behind": rng.integers(0, 20_000, n),
            "side": [str(s) for s in rng.choice(["buy", "sell", ""], n)],
            "price": np.round(100 + rng.normal(0, 0.5, n), 1),
            "amount": rng.choice([0.1, 1.0, 2.5], n),
        }
    )
    received = pl.lit(START) + pl.duration(microseconds=pl.col("at"))
    return frame.select(
        pl.int_range(pl.len()).alias("seq"),
        (received - pl.duration(microseconds=pl.col("behind"))).cast(pl.Datetime("us", "UTC")).alias("ts_exchange"),
        received.cast(pl.Datetime("us", "UTC")).alias("ts_received"),
        pl.when(pl.col("side") != "").then(pl.col("side")).alias("side"),
        "price",
        "amount",
    )


@pytest.mark.parametrize("seed", range(6))
def test_book_1m_equals_its_naive_twin_on_a_wild_stream(seed: int) -> None:
    rng = np.random.default_rng(seed)
    deltas = messages(rng, 1_500)
    trades = wild_trades(rng, 800, deltas["ts_received"].max())
    assert_equal(book_1m(deltas.lazy(), trades.lazy(), DAY), naive_bars.book_1m(deltas, trades, DAY))


def test_book_1m_equals_its_naive_twin_on_the_sandbox(market) -> None:
    day = date(2023, 11, 16)
    deltas, trades = with_clocks(book(market, "BTC-USD", day)), with_clocks(tape(market, "BTC-USD", day))
    morning = deltas.filter(pl.col("ts_received").dt.hour() < 3)
    assert_equal(book_1m(morning.lazy(), trades.lazy(), day), naive_bars.book_1m(morning, trades, day))


def test_replay_equals_the_sandbox_s_snapshots_and_a_lost_row_is_seen(market) -> None:
    day = date(2023, 11, 16)
    deltas, vendor = (
        with_clocks(book(market, "SOL-USD", day)),
        with_clocks(snapshots(market, "SOL-USD", day)).rename(LEVEL_NAMES),
    )
    assert book_day(deltas.lazy(), NO_TRADES, vendor.lazy(), day).facts["snapshot_agreement"] == 1.0
    lossy = deltas.filter(pl.col("seq") % 50 != 7)
    assert book_day(lossy.lazy(), NO_TRADES, vendor.lazy(), day).facts["snapshot_agreement"] < 1.0


def test_order_flow_imbalance_known_answers() -> None:
    bid, bid_size = np.array([100.0, 100.0, 100.1, 100.1, 100.0]), np.array([5.0, 7, 3, 3, 8])
    ask, ask_size = np.array([100.5, 100.5, 100.5, 100.6, 100.4]), np.array([4.0, 4, 4, 6, 2])
    assert order_flow_imbalance(bid, bid_size, ask, ask_size).tolist() == [0, 2, 3, 4, -5]
    lifted = order_flow_imbalance(
        np.array([99.0, 99.0]), np.array([3.0, 3.0]), np.array([100.0, 101.0]), np.array([2.0, 5.0])
    )
    assert lifted.tolist() == [0, 2]


def level(seconds: float, side: str, price: float, amount: float, snapshot: bool = False) -> tuple:
    at = START + timedelta(seconds=seconds)
    return at, at, snapshot, side, price, amount


def frame(*rows: tuple) -> pl.LazyFrame:
    names = ["ts_exchange", "ts_received", "is_snapshot", "side", "price", "amount"]
    made = pl.DataFrame(rows, schema=names, orient="row").with_row_index("seq")
    return made.with_columns(
        pl.col("ts_exchange", "ts_received").dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    ).lazy()


NO_TRADES = pl.LazyFrame(
    schema={
        "ts_exchange": pl.Datetime("us", "UTC"),
        "ts_received": pl.Datetime("us", "UTC"),
        "side": pl.String,
        "price": pl.Float64,
        "amount": pl.Float64,
    }
)


def test_microprice_leans_to_the_ask_when_the_bid_queue_is_longer() -> None:
    rows = frame(level(1, "bid", 100.0, 30, True), level(1, "ask", 100.2, 10, True))
    first = book_1m(rows, NO_TRADES, DAY).row(0, named=True)
    assert first["microprice"] == pytest.approx(100.15)
    assert 1e4 * np.log(first["microprice"] / first["mid"]) == pytest.approx(4.993758, abs=1e-6)


def test_a_crossed_book_is_counted_and_kept_out() -> None:
    rows = frame(
        level(0, "bid", 100.0, 1, True), level(0, "ask", 101.0, 1, True), level(15, "bid", 102.0, 1),
        level(18, "bid", 102.0, 0),
    )  # fmt: skip
    first = book_1m(rows, NO_TRADES, DAY).row(0, named=True)
    assert first["crossed_n"] == 1 and first["is_masked"] == 0
    assert first["valid_frac"] == pytest.approx(0.95)
    assert (first["mid"], first["mid_high"]) == (100.5, 100.5)


def test_a_silent_book_is_not_valid_after_a_minute() -> None:
    rows = frame(level(0, "bid", 100.0, 1, True), level(0, "ask", 101.0, 1, True))
    made = book_1m(rows, NO_TRADES, DAY)
    assert made["valid_frac"][:3].to_list() == [1.0, 0.0, 0.0]
    # Exactly 60 s old at the end of the first minute: still in force; the second minute is down.
    assert made["mid"][:2].to_list() == [100.5, None]
    assert made["add_n"][:2].to_list() == [0, None]


def test_updates_before_the_first_snapshot_are_not_used() -> None:
    rows = frame(level(0, "bid", 99.0, 1), level(70, "bid", 100.0, 1, True), level(70, "ask", 101.0, 1, True))
    made = book_1m(rows, NO_TRADES, DAY)
    assert made["mid"][:2].to_list() == [None, 100.5]
    assert made["reset_n"][:2].to_list() == [None, 1]


RECORDED = [
    ("binance", "2024-08-08", "BTCUSDT"),
    ("binance", "2024-08-08", "ETHUSDT"),
    ("binance", "2024-08-09", "BTCUSDT"),
    ("binance-futures", "2024-08-08", "BTCUSDT"),
    ("bitstamp", "2015-05-01", "BTCUSD"),
]


@pytest.mark.parametrize(("venue", "day", "name"), RECORDED)
def test_real_books_replayed_from_deltas_equal_the_vendor_s_snapshots(
    shared_data: Path, venue: str, day: str, name: str
) -> None:
    folder = shared_data / "tardis" / venue
    deltas = book_from(typed_scan(folder / f"incremental_book_L2/{day}/{name}.csv.gz", BOOK))
    vendor = snapshots_from(typed_scan(folder / f"book_snapshot_25/{day}/{name}.csv.gz", SNAPSHOTS))
    trades = trades_from(typed_scan(folder / f"trades/{day}/{name}.csv.gz", TRADES))
    made = book_day(deltas, trades, vendor, date.fromisoformat(day))
    assert made.facts["snapshot_agreement"] == 1.0
    minutes = made.minutes
    assert minutes["crossed_n"].sum() == 0 and minutes["is_masked"].sum() == 0
    if venue == "binance":
        held = (minutes["valid_frac"] > 0).sum()
        assert 5 <= held <= 7


@pytest.mark.parametrize(("venue", "day", "name"), [RECORDED[0], RECORDED[4]])
def test_real_books_equal_the_naive_twin(shared_data: Path, venue: str, day: str, name: str) -> None:
    folder = shared_data / "tardis" / venue
    deltas = book_from(typed_scan(folder / f"incremental_book_L2/{day}/{name}.csv.gz", BOOK)).collect()
    trades = trades_from(typed_scan(folder / f"trades/{day}/{name}.csv.gz", TRADES)).collect()
    made = book_1m(deltas.lazy(), trades.lazy(), date.fromisoformat(day))
    assert_equal(made, naive_bars.book_1m(deltas, trades, date.fromisoformat(day)))
