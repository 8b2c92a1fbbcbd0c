"""Candles of any source to bars: which venues a day has, and what a day's volume is."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from crpbot_dagster.assets.bars import tape
from crpbot_dagster.assets.bars.candles import first_volume, minutes_by_venue, primary_first
from crpbot_dagster.instruments import Primary
from crpbot_dagster.tables import CANDLES

DAY = date(2024, 1, 2)
FILES = Primary("bitfinex", "files")


def candles(*rows: tuple[str, int, float], interval_s: int | None = None) -> pl.DataFrame:
    """(venue, minute, close) each."""
    frame = pl.DataFrame(
        [
            {"venue": v, "ts": datetime(2024, 1, 2, m // 60, m % 60, tzinfo=UTC), "volume": 2.0}
            | dict.fromkeys(("open", "high", "low", "close"), close)
            for v, m, close in rows
        ],
        schema={"venue": pl.String, "ts": pl.Datetime("us", "UTC"), "volume": pl.Float64}
        | dict.fromkeys(("open", "high", "low", "close"), pl.Float64),
    )
    return frame if interval_s is None else frame.with_columns(pl.lit(interval_s).alias("interval_s"))


@pytest.mark.parametrize("source", CANDLES)
def test_every_candle_source_has_what_the_bars_read(source: str) -> None:
    table = CANDLES[source]
    assert {"venue", "ts", "open", "high", "low", "close", "volume"} <= set(table.schema)
    assert table.stage == "raw" and {"venue", "ts"} <= {c.name for c in table.columns if c.required}


def test_each_venue_has_its_minutes() -> None:
    found = minutes_by_venue(candles(("kraken", 0, 1.0), ("bitfinex", 3, 2.0)), "complete", "files", FILES, DAY)
    assert list(found) == ["kraken", "bitfinex"]
    assert found["kraken"]["close"][:4].to_list() == [1.0, None, None, None]
    assert found["bitfinex"]["close"][:4].to_list() == [None, None, None, 2.0]
    assert {m.height for m in found.values()} == {1440}


def test_a_missing_day_of_the_primary_source_is_all_gaps_and_of_another_nothing() -> None:
    missing = minutes_by_venue(candles(), "missing", "files", FILES, DAY)
    assert missing["bitfinex"].equals(tape.all_gaps(DAY)) and list(missing) == ["bitfinex"]
    assert minutes_by_venue(candles(), "missing", "files", Primary("bitfinex", "tardis"), DAY) == {}


def test_an_empty_day_is_judged_by_the_gap_rule() -> None:
    empty = minutes_by_venue(candles(), "empty", "files", FILES, DAY)["bitfinex"]
    assert empty["is_gap"].sum() == 1431 and empty["volume"][:10].to_list() == [0.0] * 9 + [None]


@pytest.mark.parametrize("state", ["not_licensed", "not_configured", None])
def test_a_source_that_was_not_asked_has_no_rows(state: str | None) -> None:
    assert minutes_by_venue(candles(), state, "files", FILES, DAY) == {}


def test_daily_candles_are_no_minutes() -> None:
    both = pl.concat([candles(("coinbase", 0, 1.0), interval_s=60), candles(("coinbase", 1, 9.0), interval_s=86_400)])
    made = minutes_by_venue(both, "complete", "coinbase", Primary("coinbase", "coinbase"), DAY)["coinbase"]
    assert made["close"].drop_nulls().to_list() == [1.0]
    assert first_volume([both], "coinbase") == (2.0, "candle")


def test_the_first_source_with_the_venue_gives_the_day_s_volume() -> None:
    minutes = candles(("bitfinex", 0, 1.0), ("bitfinex", 1, 1.0), ("kraken", 0, 1.0))
    no_daily = candles(("bitfinex", 0, 1.0), interval_s=60)
    assert first_volume([no_daily, minutes], "bitfinex") == (4.0, "minutes")
    assert first_volume([minutes], "bitstamp") == (None, "none")
    assert first_volume([], "bitfinex") == (None, "none")


def test_the_primary_source_is_asked_first() -> None:
    assert primary_first(FILES)[0].candle_source == "files"
    assert [t.candle_source for t in primary_first(Primary("coinbase", "tardis"))] == list(CANDLES)
