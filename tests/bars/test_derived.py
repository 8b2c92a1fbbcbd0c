"""Volume buckets, minutes of perpetuals, the price of USDT: known answers, twins, no look-ahead, real rows."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import naive_bars_derived as naive
import numpy as np
import polars as pl
import pytest
from conftest import with_clocks
from hypothesis import given
from hypothesis import strategies as st

from crpbot_dagster.assets.bars.derivatives import derivatives_1m, funding_bps_8h, with_intervals
from crpbot_dagster.assets.bars.fx import fx_1m
from crpbot_dagster.assets.bars.volume_buckets import bucket_volume, fill_buckets, volume_buckets
from crpbot_dagster.sandbox.market import tape
from crpbot_dagster.tables.bars_derived import DERIVATIVES_1M, FX_1M, VOLUME_BUCKETS
from crpbot_dagster.tables.schema import Table

DAY = date(2023, 11, 17)
START = datetime(2023, 11, 17, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def ticks(*rows: tuple[float, str | None, float]) -> pl.LazyFrame:
    schema = {"ts_received": UTC_US, "side": pl.String, "amount": pl.Float64}
    return pl.DataFrame([(at(m), side, size) for m, side, size in rows], schema, orient="row").lazy()


def accepted(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame as its table holds it; every hard rule of its values holds."""
    identity = {"symbol": "BTC-USD", "day": DAY, "venue": "deribit", "source": "tardis", "clock": "received"}
    missing = {k: v for k, v in identity.items() if k in table.schema and k not in frame.columns}
    held = table.conform(frame.lazy().with_columns(pl.lit(v).alias(k) for k, v in missing.items())).collect()
    for m in table.hard_rules("BTC-USD", DAY, own=True).measures:
        value = held.select(m.value).item()
        assert m.low is None or m.low <= value, m.name
        assert m.high is None or value <= m.high, m.name
    return held


# --- volume buckets ---------------------------------------------------------------------------------


def test_buckets_of_the_known_answer() -> None:
    """Buys of 8, 5, 2 and 6 in buckets of 10; the last 3 coin of the day fill nothing."""
    made = volume_buckets(
        ticks((1, "buy", 8), (2, "sell", 2), (3, "buy", 5), (4, "sell", 13), (5, "buy", 8), (6, "sell", 7)),
        DAY, 10.0, "received",
    )  # fmt: skip
    assert made["buy_volume"].to_list() == [8, 5, 2, 6]
    assert made["end_ts"].to_list() == [at(2), at(4), at(5), at(6)]
    assert made["bucket_n"].to_list() == [0, 1, 2, 3]
    accepted(VOLUME_BUCKETS, made)


def test_a_large_trade_completes_several_buckets_and_an_unknown_side_counts_half() -> None:
    made = volume_buckets(ticks((1, "sell", 4), (2, None, 28)), DAY, 10.0, "received")
    assert made["buy_volume"].to_list() == [3, 5, 5]
    assert made["sell_volume"].to_list() == [7, 5, 5]
    assert made["end_ts"].to_list() == [at(2)] * 3


def test_buckets_restart_at_midnight() -> None:
    made = volume_buckets(ticks((-1, "buy", 9), (0, "buy", 9), (1, "buy", 2), (1440, "buy", 50)), DAY, 10.0, "received")
    assert made["end_ts"].to_list() == [at(1)]


def test_without_a_size_there_are_no_buckets() -> None:
    assert volume_buckets(ticks((1, "buy", 8)), DAY, None, "received").height == 0
    assert volume_buckets(ticks(), DAY, 1.0, "received").height == 0
    accepted(VOLUME_BUCKETS, volume_buckets(ticks(), DAY, None, "received"))


def test_the_size_of_a_bucket_needs_six_known_days_of_seven() -> None:
    known = pl.DataFrame({"volume": [100.0, 200, 300, 400, 500, 600, None]})
    assert bucket_volume(known) == pytest.approx(3.5)
    assert bucket_volume(known.head(5)) is None
    assert bucket_volume(pl.DataFrame({"volume": [0.0] * 7})) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1, 0, -1]), st.floats(1e-6, 60.0)), max_size=60))
def test_buckets_equal_their_twin(trades: list[tuple[int, int, float]]) -> None:
    side = {1: "buy", 0: None, -1: "sell"}
    frame = ticks(*((minute, side[s], size) for minute, s, size in trades))
    made, slow = (
        volume_buckets(frame, DAY, 7.0, "received"),
        naive.volume_buckets(frame.collect(), DAY, 7.0, "received"),
    )
    assert abs(made.height - len(slow)) <= 1, "rounding may complete the last bucket a coin's dust earlier or later"
    for row, twin in zip(made.iter_rows(named=True), slow, strict=False):
        assert row["buy_volume"] == pytest.approx(twin["buy_volume"], rel=1e-9, abs=1e-9)
        assert row["sell_volume"] == pytest.approx(twin["sell_volume"], rel=1e-9, abs=1e-9)


def test_buckets_of_a_sandbox_day_equal_their_twin_and_do_not_look_ahead(market) -> None:
    day = with_clocks(tape(market, "BTC-USD", DAY))
    size = day["amount"].sum() / 100
    made, slow = volume_buckets(day.lazy(), DAY, size, "received"), naive.volume_buckets(day, DAY, size, "received")
    assert made["end_ts"].dt.epoch("us").to_list() == [b["end_ts"] for b in slow][: made.height]
    assert made.height in (len(slow), len(slow) - 1)
    for c in ("buy_volume", "sell_volume"):
        assert np.allclose(made[c].to_numpy(), [b[c] for b in slow][: made.height], rtol=1e-9)
    early = volume_buckets(day.filter(pl.col("ts_received") < at(700)).lazy(), DAY, size, "received")
    assert made.filter(pl.col("end_ts") < at(700)).equals(early)
    doubled = volume_buckets(day.with_columns(pl.col("amount") * 2).lazy(), DAY, 2 * size, "received")
    assert doubled["end_ts"].equals(made["end_ts"]) and (doubled["buy_volume"] == 2 * made["buy_volume"]).all()
    accepted(VOLUME_BUCKETS, made)


def test_no_trade_is_lost_between_buckets(rng) -> None:
    amount = rng.lognormal(0, 2, 10_000)
    ends, bought, sold = fill_buckets(np.arange(10_000), rng.integers(-1, 2, 10_000).astype(np.int8), amount, 5.0)
    assert np.allclose(bought + sold, 5.0, rtol=1e-12)
    assert len(ends) == int(amount.sum() / 5.0)


# --- minutes of a perpetual --------------------------------------------------------------------------


def statements(*rows: tuple[float, float | None, float | None]) -> pl.LazyFrame:
    schema = {"ts_received": UTC_US, "mark_price": pl.Float64, "funding_rate": pl.Float64}
    return pl.DataFrame([(at(m), mark, rate) for m, mark, rate in rows], schema, orient="row").lazy()


def orders(*rows: tuple[float, str, float, float]) -> pl.LazyFrame:
    schema = {"ts_received": UTC_US, "side": pl.String, "price": pl.Float64, "amount": pl.Float64}
    return pl.DataFrame([(at(m), *rest) for m, *rest in rows], schema, orient="row").lazy()


def test_a_value_is_carried_to_its_limit_and_no_further() -> None:
    made = derivatives_1m(statements((0.5, 100.0, 1e-4)), None, DAY, "received")
    mark = made["mark"].is_not_null()
    assert mark.arg_true().to_list() == list(range(10)), "known at minute ends 1 … 10, at most 10 min old"
    assert made["funding_rate"].is_not_null().arg_true().to_list() == list(range(480))
    assert made["is_stale"].to_list() == [0, 0] + [1] * 1438
    assert made["index"].is_null().all() and made["open_interest"].is_null().all()
    accepted(DERIVATIVES_1M, made)


def test_what_arrives_as_the_minute_ends_belongs_to_the_next() -> None:
    made = derivatives_1m(statements((5.0, 100.0, None)), None, DAY, "received")
    assert made["mark"].is_not_null().arg_true()[0] == 5


def test_an_hourly_rate_is_stale_after_its_hour() -> None:
    rate = statements((0.0, None, 1e-5))
    made = derivatives_1m(rate.with_columns(funding_interval_h=pl.lit(1)), None, DAY, "received")
    assert made["is_stale"].to_list() == [0] * 60 + [1] * 1380
    assert made["funding_interval_h"].to_list() == [1.0] * 480 + [None] * 960, "as long as there is a rate"
    assert derivatives_1m(rate, None, DAY, "received")["funding_interval_h"].is_null().all()


def payments(*rows: tuple[float, float | None]) -> list[float | None]:
    """The interval of each statement of (minute, hour of the next payment)."""
    said = [(at(m), None if h is None else at(60 * h)) for m, h in rows]
    frame = pl.DataFrame(said, {"ts_received": UTC_US, "funding_ts": UTC_US}, orient="row").lazy()
    return with_intervals(frame, "received").collect()["funding_interval_h"].to_list()


def test_the_payments_that_a_venue_announces_tell_their_interval() -> None:
    """What the venue says counts, and what it leaves open is null."""
    assert payments((0.1, 8), (479.0, 8), (480.1, 16), (959.0, 16), (960.1, 24)) == [8.0] * 5
    assert payments((0.1, 4), (239.0, 4), (240.1, 8), (480.1, 12), (720.1, 16)) == [4.0] * 5
    assert payments((0.1, 1), (60.1, 2), (120.1, 3)) == [1.0] * 3
    assert payments((479.9, 8), (480.1, 12), (720.1, 16), (960.1, 24)) == [None, 4.0, 4.0, 8.0], (
        "from 4 to 8 hours at 16:00"
    )
    assert payments((479.9, 8), (479.99, 16))[1] == 8.0, "announced a moment before the payment"
    assert payments((0.1, None), (1.0, 4)) == [None, 4.0], "not said yet"
    assert payments((0.1, 8), (0.2, None), (0.3, 8)) == [8.0] * 3
    assert payments((750.0, 16)) == [None], "said first at 12:30: 4 or 8"
    assert payments((479.9, 8), (750.0, 16)) == [None, None], "the feed was down at 12:00: still 4 or 8"
    assert payments((0.1, 16), (0.2, 8), (0.3, 7.5)) == [None] * 3, "too far ahead, backwards, off every grid"


@given(
    st.lists(
        st.tuples(st.integers(1, 90), st.sampled_from([None, 0, 1, 1, 4, 4, 8, 8, 8, 24])), min_size=1, max_size=30
    )
)
def test_the_intervals_are_the_twin_s_and_read_nothing_later(steps: list[tuple[int, int | None]]) -> None:
    """Statements some minutes apart, each announcing nothing or the next multiple of some hours (0: the one past)."""
    rows, minute = [], 0
    for step, hours in steps:
        minute += step
        rows.append((minute + 0.1, None if hours is None else minute // (60 * (hours or 8)) * (hours or 8) + hours))
    found = payments(*rows)
    assert found == naive.intervals(
        [int(60e6 * m) for m, _ in rows], [None if h is None else 3_600_000_000 * h for _, h in rows]
    )
    for end in range(1, len(rows)):
        assert payments(*rows[:end]) == found[:end]


def test_a_four_hourly_rate_counts_twice_in_eight_hours() -> None:
    rows = pl.DataFrame({"ts_received": [at(float(m)) for m in range(1440)], "funding_rate": 1e-4},
                        schema_overrides={"ts_received": UTC_US}).lazy()  # fmt: skip
    four = rows.with_columns((pl.col("ts_received").dt.truncate("4h") + timedelta(hours=4)).alias("funding_ts"))
    said = with_intervals(four, "received")
    made = derivatives_1m(said, None, DAY, "received")
    assert funding_bps_8h(*(made[c].to_numpy() for c in ("funding_rate", "funding_interval_h"))) == pytest.approx(2.0)
    accepted(DERIVATIVES_1M, made)
    cut = derivatives_1m(with_intervals(four.head(700), "received"), None, DAY, "received")
    assert cut.head(700).equals(made.head(700))


def test_each_rate_has_its_own_interval() -> None:
    said = statements((0.0, None, 1e-4), (480.0, None, 1e-4)).with_columns(funding_interval_h=pl.Series([8, 4]))
    made = derivatives_1m(said, None, DAY, "received")["funding_interval_h"]
    assert made.to_list() == [8.0] * 480 + [4.0] * 480 + [None] * 480


def test_of_the_statements_only_what_is_read_is_loaded(monkeypatch) -> None:
    seen, collect = [], pl.LazyFrame.collect
    monkeypatch.setattr(
        pl.LazyFrame, "collect", lambda f, **k: seen.append(f.collect_schema().names()) or collect(f, **k)
    )
    rows = statements((0.5, 100.0, 1e-4)).with_columns(last_price=pl.lit(1.0), venue=pl.lit("binance-futures"))
    derivatives_1m(rows, None, DAY, "received")
    assert seen[0] == ["ts_received", "mark_price", "funding_rate"]


def test_no_liquidation_is_zero_while_the_feed_is_alive() -> None:
    known = statements(*((float(m), 100.0, 1e-4) for m in range(30)))
    forced = orders(
        (3.2, "buy", 100.0, 2.0), (3.9, "buy", 101.0, 1.0), (4.0, "sell", 99.0, 1.0), (100.0, "sell", 99.0, 1.0)
    )
    made = derivatives_1m(known, forced, DAY, "received")
    assert made["liq_buy_usd"][2:5].to_list() == [0.0, 301.0, 0.0]
    assert made["liq_sell_usd"][4] == 99.0
    assert made["liq_sell_usd"][60] is None, "the feed has said nothing for ten minutes"
    assert (made["liq_buy_usd"][100], made["liq_sell_usd"][100]) == (0.0, 99.0)
    assert derivatives_1m(known, None, DAY, "received")["liq_buy_usd"].is_null().all()


def test_yesterday_is_carried_over_midnight_and_the_day_before_is_not() -> None:
    known = statements((-30 * 60.0, None, 7.0), (-200.0, None, 2e-4), (-4.5, 100.0, None))
    made = derivatives_1m(known, None, DAY, "received")
    assert made["mark"][0] == 100.0 and made["funding_rate"][0] == 2e-4
    older = derivatives_1m(known.head(1), None, DAY, "received")
    assert older["is_stale"].sum() == 0 and older["funding_rate"].is_null().all()


def some_statements(rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    n = 300
    when = [at(m) for m in rng.uniform(-600, 1440, n)]
    value = {c: np.where(rng.random(n) < 0.5, np.nan, rng.uniform(90, 110, n))
             for c in ("mark_price", "index_price", "funding_rate", "open_interest")}  # fmt: skip
    stated = pl.DataFrame({"ts_received": pl.Series(when, dtype=UTC_US)} | value)
    stated = stated.with_columns(pl.col(c).fill_nan(None) for c in value)
    stated = stated.with_columns(pl.Series("funding_interval_h", rng.choice([1, 4, 8], n)))
    forced = orders(*((m, "buy" if m % 2 < 1 else "sell", 100.0, 1.5) for m in rng.uniform(-60, 1500, 80)))
    return stated, forced.collect()


def test_minutes_of_a_perpetual_equal_their_twin_and_do_not_look_ahead(rng) -> None:
    stated, forced = some_statements(rng)
    made = derivatives_1m(stated.lazy(), forced.lazy(), DAY, "received")
    slow = naive.derivatives_1m(stated, forced, DAY, "received")
    for c in made.columns[1:]:
        assert made[c].to_list() == [row[c] for row in slow], c
    cut = derivatives_1m(*(f.filter(pl.col("ts_received") < at(800)).lazy() for f in (stated, forced)), DAY, "received")
    assert cut.head(800).equals(made.head(800))
    accepted(DERIVATIVES_1M, made)


def test_minutes_of_recorded_statements(shared_data: Path) -> None:
    rows = pl.read_csv(shared_data / "tardis_samples" / "derivative_ticker_1.csv").with_columns(
        pl.from_epoch("local_timestamp", time_unit="us").dt.replace_time_zone("UTC").alias("ts_received")
    )
    day = rows["ts_received"].dt.date()[0]
    made = derivatives_1m(rows.lazy(), None, day, "received")
    assert made["mark"].drop_nulls().unique().sort().to_list() == rows["mark_price"].unique().sort().to_list()
    assert made["open_interest"].max() == rows["open_interest"].max()


# --- the price of USDT -------------------------------------------------------------------------------


def minutes(*rows: tuple[int, float | None]) -> pl.DataFrame:
    return pl.DataFrame([(at(m), c) for m, c in rows], {"ts": UTC_US, "close": pl.Float64}, orient="row")


def test_usdt_comes_from_the_first_venue_that_has_a_price() -> None:
    made = fx_1m({"coinbase": minutes((-5, 1.001), (100, None)), "kraken": minutes((58, 0.999))}, DAY)
    assert made["source"].to_list() == ["coinbase"] * 56 + [None] * 2 + ["kraken"] * 61 + [None] * 1321
    assert made["usdt_usd"][[0, 55, 58]].to_list() == [1.001, 1.001, 0.999]
    assert made["is_stale"].to_list() == [0] + [1] * 57 + [0] * 6 + [1] * 1376
    accepted(FX_1M, made)


def test_without_a_venue_there_is_no_price() -> None:
    for trades in ({}, {"kraken": minutes()}):
        made = fx_1m(trades, DAY)
        assert made.select(pl.col("usdt_usd", "source", "is_stale").is_null().all()).row(0) == (True,) * 3
        accepted(FX_1M, made)


def test_the_price_of_usdt_equals_its_twin_and_does_not_look_ahead(rng) -> None:
    trades = {
        venue: minutes(
            *((int(m), c) for m, c in zip(rng.choice(2880, 40) - 1440, rng.uniform(0.99, 1.01, 40), strict=True))
        )
        for venue in ("coinbase", "kraken")
    }
    trades = {venue: f.unique("ts", keep="first").sort("ts") for venue, f in trades.items()}
    made, slow = fx_1m(trades, DAY), naive.fx_1m(trades, DAY)
    for c in made.columns[1:]:
        assert made[c].to_list() == [row[c] for row in slow], c
    cut = fx_1m({venue: f.filter(pl.col("ts") <= at(700)) for venue, f in trades.items()}, DAY)
    assert cut.head(701).equals(made.head(701))
