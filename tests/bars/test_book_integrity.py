"""What makes a book unbelievable: crosses, snapshots that refute it, rows lost; and that the mask travels."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from bars.test_order_book import DAY, NO_TRADES, START, frame, level, messages
from conftest import DAYS, with_clocks

from crpbot_dagster.assets.bars import book_integrity
from crpbot_dagster.assets.bars.book_integrity import Book, disagreeing, levels_at, minutes_of
from crpbot_dagster.assets.bars.book_minutes import book_1m, book_day, updates_of
from crpbot_dagster.assets.bars.order_book import COLUMNS
from crpbot_dagster.assets.bars.tape import MINUTE_US
from crpbot_dagster.assets.checks import audit
from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.raw.tardis import LEVEL_NAMES
from crpbot_dagster.resources.lake import Built
from crpbot_dagster.sandbox.market import MarketSpec, book, snapshots
from crpbot_dagster.tables import TABLES

S = 1_000_000
SOUND = (level(0, "bid", 100.0, 1, True), level(0, "ask", 101.0, 1, True))


def masked_minutes(*rows: tuple) -> list[int]:
    made = book_1m(frame(*SOUND, *rows), NO_TRADES, DAY)
    return made.with_row_index()["index"].filter(made["is_masked"] == 1).to_list()


def test_a_cross_of_five_seconds_is_borne_and_a_longer_one_masks_its_minute() -> None:
    crossed = level(10, "bid", 102.0, 1)
    assert masked_minutes(crossed, level(15, "bid", 102.0, 0)) == []
    assert masked_minutes(crossed, level(15.000001, "bid", 102.0, 0)) == [0]
    locked = level(10, "bid", 101.0, 1)
    assert masked_minutes(locked, level(20, "bid", 101.0, 0)) == [0]


def test_a_cross_over_the_minute_s_end_masks_what_was_known_by_then() -> None:
    """The first minute has seen 3 s of it: masking it would need the next minute's news."""
    assert masked_minutes(level(57, "bid", 102.0, 1), level(63, "bid", 102.0, 0)) == [1]
    assert masked_minutes(level(50, "bid", 102.0, 1), level(185, "bid", 102.0, 0)) == [0, 1, 2, 3]
    assert masked_minutes(level(50, "bid", 102.0, 1), level(180, "bid", 102.0, 0)) == [0, 1, 2]


def test_a_snapshot_ends_a_cross_and_a_book_never_mended_stays_masked() -> None:
    again = (level(90, "bid", 100.0, 1, True), level(90, "ask", 101.0, 1, True))
    assert masked_minutes(level(50, "bid", 102.0, 1), *again) == [0, 1]
    assert masked_minutes(level(86_340, "bid", 102.0, 1)) == [1439]


def test_a_masked_minute_has_no_value_but_the_evidence() -> None:
    rows = frame(*SOUND, level(10, "bid", 102.0, 1), level(20, "bid", 102.0, 0))
    row = book_1m(rows, NO_TRADES, DAY).row(0, named=True)
    known = {"crossed_n": 1, "reset_n": 1, "valid_frac": 0.0}
    assert {c: row[c] for c in COLUMNS} == dict.fromkeys(COLUMNS) | known


def test_a_book_is_refuted_from_a_snapshot_until_one_confirms_it() -> None:
    at = np.array([10, 70, 130, 190, 250]) * S
    agree = np.array([True, False, False, True, False])
    assert disagreeing(at, agree) == [(70 * S, 190 * S), (250 * S, 1440 * MINUTE_US)]
    assert np.flatnonzero(minutes_of([(70 * S, 190 * S)])).tolist() == [1, 2, 3]
    assert np.flatnonzero(minutes_of([(60 * S, 180 * S)])).tolist() == [1, 2]
    assert disagreeing(at, np.ones(5, dtype=bool)) == []


@pytest.fixture(scope="module")
def days(market: MarketSpec) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Level updates and vendor snapshots of a sandbox day."""
    rows = with_clocks(book(market, "BTC-USD", DAYS[1]))
    return rows, with_clocks(snapshots(market, "BTC-USD", DAYS[1])).rename(LEVEL_NAMES)


def stretch(first: int, last: int) -> pl.Expr:
    """Rows received in the minutes ``first`` … ``last``."""
    at = pl.col("ts_received").dt.hour().cast(pl.Int32) * 60 + pl.col("ts_received").dt.minute()
    return at.is_between(first, last)


def test_a_planted_bad_stretch_masks_exactly_its_minutes_and_the_mask_travels(days, bars, market) -> None:
    """The vendor says another size at the touch in minutes 600 to 604: bars, features and labels go without them."""
    rows, vendor = days
    other = pl.when(stretch(600, 604)).then(pl.col("bid_amount_0") * 2).otherwise(pl.col("bid_amount_0"))
    spoilt = vendor.with_columns(other.alias("bid_amount_0"))
    bad = vendor.with_row_index().filter(stretch(600, 604))
    assert bad["ts_received"].dt.minute().n_unique() == 5, "a snapshot in each of the five minutes"
    agrees_again = vendor.row(bad["index"][-1] + 1, named=True)["ts_received"]
    last = agrees_again.hour * 60 + agrees_again.minute
    wrong = list(range(600, last + (agrees_again.second + agrees_again.microsecond > 0)))

    made = book_day(rows.lazy(), NO_TRADES, spoilt.lazy(), DAYS[1])
    assert made.minutes.with_row_index().filter(pl.col("is_masked") == 1)["index"].to_list() == wrong
    assert made.facts["masked_by_snapshots_n"] == len(wrong) and made.facts["snapshot_agreement"] < 1
    assert len(made.notes["refuted_by_snapshots"]) == 1
    sound = book_day(rows.lazy(), NO_TRADES, vendor.lazy(), DAYS[1])
    assert sound.facts["snapshot_agreement"] == 1 and sound.minutes["is_masked"].sum() == 0
    there = pl.int_range(pl.len()).is_in(wrong)
    assert made.minutes.filter(~there).equals(sound.minutes.filter(~there)), "no other minute changes"
    values = [c for c in COLUMNS if c not in ("crossed_n", "reset_n", "valid_frac")]
    assert all(made.minutes.filter(there)[c].null_count() == len(wrong) for c in values)

    trades = bars[0].filter(pl.col("ts").dt.date() == DAYS[1])
    features, clean = v5(trades, made.minutes), v5(trades, sound.minutes)
    of_this_row = [
        c.name for c in TABLES["features/v5"].features if c.valid == "row" and any(r.startswith("B.") for r in c.reads)
    ]
    assert len(of_this_row) >= 6
    for name in of_this_row:
        nulls = features.with_row_index().filter(pl.col(name).is_null() & clean[name].is_not_null())["index"].to_list()
        assert set(nulls) <= set(wrong) and features.filter(there)[name].null_count() == len(wrong), name
    windowed = features.with_row_index().filter(pl.col("spread_std_bps_10m").is_null())["index"].to_list()
    assert set(wrong) & set(windowed), "3 of 10 rows missing is one too many"
    assert features["close"].equals(clean["close"]), "the tape is another feed"

    y, clean_y = labels(trades, made.minutes, "mid"), labels(trades, sound.minutes, "mid")
    lost = (
        y.with_row_index().filter(pl.col("y_ret_15m").is_null() & clean_y["y_ret_15m"].is_not_null())["index"].to_list()
    )
    expected = {m - 1 for m in wrong} | {m - 15 for m in wrong}  # entry at ts + 1 min, price at ts + 15 min
    assert set(lost) == expected & set(clean_y.with_row_index().drop_nulls("y_ret_15m")["index"].to_list())


def test_splitting_the_day_anywhere_and_carrying_the_book_gives_the_same_book(rng: np.random.Generator) -> None:
    rows = messages(rng, 800)
    start = int(START.timestamp()) * S
    u = updates_of(rows.lazy(), start)
    moments = np.sort(rng.integers(0, int(u.received[-1]), 300))
    columns = (u.received, u.snapshot, u.side, u.at, u.amount)
    book = Book.empty(u.prices)
    whole, _ = levels_at(*columns, u.prices, moments, 20, book.sizes, book.place)
    assert np.isfinite(whole).any()
    for cut in rng.integers(0, int(u.received[-1]), 20):
        carried, first = Book.empty(u.prices), moments <= cut
        before, used = levels_at(*columns, u.prices, moments[first], 20, carried.sizes, carried.place)
        _, more = levels_at(*(c[used:] for c in columns), u.prices, np.array([cut]), 1, carried.sizes, carried.place)
        rest = tuple(c[used + more :] for c in columns)
        after, _ = levels_at(*rest, u.prices, moments[~first], 20, carried.sizes, carried.place)
        assert np.array_equal(np.concatenate([before, after]), whole, equal_nan=True)


def test_a_day_that_goes_on_from_a_snapshot_of_the_carried_book_has_the_same_minutes(days) -> None:
    """As Tardis does at midnight: the second half opens with the first half's last state."""
    rows, _ = days
    cut = START.replace(year=DAYS[1].year, month=DAYS[1].month, day=DAYS[1].day, hour=7, minute=13, second=20)
    midnight = int((cut - timedelta(hours=7, minutes=13, seconds=20)).timestamp()) * S
    first, second = rows.filter(pl.col("ts_received") < cut), rows.filter(pl.col("ts_received") >= cut)
    u = updates_of(first.lazy(), midnight)
    carried = Book.empty(u.prices)
    levels_at(
        u.received, u.snapshot, u.side, u.at, u.amount, u.prices, u.received[-1:], 1, carried.sizes, carried.place
    )
    at = second["ts_received"][0]
    resting = [(at, at, True, ("bid", "ask")[side], float(u.prices[i]), float(carried.sizes[side, i]))
               for side, i in zip(*np.nonzero(carried.sizes), strict=True)]  # fmt: skip
    opened = pl.DataFrame(
        resting,
        orient="row",
        schema={c: rows.schema[c] for c in ("ts_exchange", "ts_received", "is_snapshot", "side", "price", "amount")},
    )
    continued = (
        pl.concat([opened, second.select(opened.columns)])
        .with_row_index("seq")
        .with_columns(pl.col("seq").cast(pl.Int64))
    )
    whole, half = (book_1m(f.lazy(), NO_TRADES, DAYS[1]) for f in (rows, continued))
    after = pl.int_range(pl.len()) > 7 * 60 + 13
    assert half.filter(after).equals(whole.filter(after))


def test_every_snapshot_is_compared_whatever_the_batch(days, monkeypatch) -> None:
    rows, vendor = days
    one = vendor.with_columns(
        ask_amount_19=pl.when(pl.int_range(pl.len()) == 777).then(1e-9).otherwise("ask_amount_19")
    )
    found = book_day(rows.lazy(), NO_TRADES, one.lazy(), DAYS[1]).facts
    monkeypatch.setattr(book_integrity, "BATCH_SNAPSHOTS", 97)
    assert book_day(rows.lazy(), NO_TRADES, one.lazy(), DAYS[1]).facts == found
    distinct = vendor["ts_received"].n_unique()
    assert found["snapshots_n"] == distinct and found["snapshot_agreement"] == (distinct - 1) / distinct
    backwards = book_day(rows.lazy(), NO_TRADES, one.reverse().lazy(), DAYS[1]).facts
    assert backwards["snapshots_n"] == distinct


def test_what_the_feed_lost_is_counted() -> None:
    rows = frame(
        *SOUND,
        level(30, "bid", 99.0, 0),
        level(40, "bid", 99.5, 2),
        level(40, "ask", 103.0, 0),
        level(101, "bid", 99.5, 0),
    )
    found = book_day(rows.filter(pl.col("seq") != 4), NO_TRADES, NO_SNAPSHOTS, DAY).facts
    assert (found["sequence_gaps_n"], found["rows_lost_n"], found["unknown_deletes_n"]) == (1, 1, 1)
    assert (found["silences_n"], found["longest_silence_s"]) == (1, 61)
    assert "snapshot_agreement" not in found
    crossed = frame(*SOUND, level(10, "bid", 102.0, 1), level(14, "bid", 102.0, 0), level(20, "bid", 99.0, 1))
    found = book_day(crossed, NO_TRADES, NO_SNAPSHOTS, DAY).facts
    assert (found["longest_cross_s"], found["crossed_frac"]) == (4, 0.25)


@pytest.mark.parametrize(
    ("check", "fact", "bad"),
    [("seldom_crossed", "longest_cross_s", 5.1), ("unbroken", "silences_n", 1.0), ("unbroken", "sequence_gaps_n", 1.0)],
)
def test_each_measure_of_a_check_fails_on_its_own(bars, check: str, fact: str, bad: float) -> None:
    table = TABLES["bars/book_1m"]
    keys = {
        "symbol": "BTC-USD",
        "day": DAYS[1],
        "venue": "coinbase",
        "source": "tardis",
        "book_kind": "delta",
        "clock": "received",
    }
    sound = bars[1].filter(pl.col("ts").dt.date() == DAYS[1]).with_columns(**{k: pl.lit(v) for k, v in keys.items()})
    facts = {
        "crossed_frac": 0.0,
        "longest_cross_s": 5.0,
        "sequence_gaps_n": 0.0,
        "silences_n": 0.0,
        "snapshot_agreement": 1.0,
    }

    def passes(facts: dict[str, float]) -> bool:
        found, _ = audit(table, Built(sound, "complete", "test", facts), "BTC-USD", DAYS[1])
        return {c.name: ok for c, ok, _ in found}[check]

    assert passes(facts) and not passes(facts | {fact: bad})


NO_SNAPSHOTS = TABLES["raw/tardis_book_snapshots"].empty().lazy()
