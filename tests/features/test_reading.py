"""Reading slow tables: the primary's own days, and which days nobody ever put into the lake."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crpbot_dagster.assets.features.reading import MONTH_DAYS, never_made, reversion_inputs, slow_tables, v6_inputs
from crpbot_dagster.instruments import Primary
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

DAY = date(2023, 11, 17)
TARDIS, CANDLES = Primary("coinbase", "tardis"), Primary("coinbase", "coinbase")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")


def days_before(n: int) -> date:
    return DAY - timedelta(days=n)


def daily(lake: Lake, symbol: str, day: date, primary: Primary, close: float) -> None:
    known = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    schema = TABLES["bars/daily"].schema
    row = dict.fromkeys(schema) | {"symbol": symbol, "day": day, "obs_day": day, "available_ts": known, "close": close,
                                   "venue": primary.venue, "source": primary.source, "valid_n": 1440}  # fmt: skip
    lake.publish("bars/daily", pl.DataFrame([row], schema=schema), symbol, day, "complete")


def test_days_made_under_another_primary_are_none_of_its_days(lake: Lake, environment) -> None:
    """The primary of SOL changed a day ago, that of the option currency's symbol three days ago."""
    environment(primary='{"BTC-USD": "coinbase/coinbase"}')
    for n in range(4):
        daily(lake, "SOL-USD", days_before(n), TARDIS if n < 1 else CANDLES, 100.0 + n)
        daily(lake, "BTC-USD", days_before(n), CANDLES if n < 3 else TARDIS, 200.0 + n)
    minutes = pl.DataFrame(schema=TABLES["bars/trades_1m"].schema)
    inputs, _ = v6_inputs(lake, "SOL-USD", TARDIS, minutes, minutes, days_before(1), DAY)
    assert sorted(inputs.slow["D"].select("symbol", "close").rows()) == [
        ("BTC-USD", 200.0), ("BTC-USD", 201.0), ("BTC-USD", 202.0), ("SOL-USD", 100.0)
    ]  # fmt: skip
    inputs, _ = reversion_inputs(lake, "SOL-USD", TARDIS, minutes, minutes, days_before(1), DAY)
    assert inputs.slow["D"].select("symbol", "close").rows() == [("SOL-USD", 100.0)]


def test_a_day_that_nobody_asked_for_is_not_one_that_the_source_lacks(lake: Lake) -> None:
    table, empty = "bars/sentiment_1d", TABLES["bars/sentiment_1d"].empty()
    known = datetime(2023, 11, 17, tzinfo=UTC)
    row = {"day": days_before(1), "obs_day": days_before(1), "available_ts": known, "fear_greed": 40.0}
    lake.publish(table, pl.DataFrame([row], schema=TABLES[table].schema), MARKET_WIDE, days_before(1), "complete")
    lake.publish(table, empty, MARKET_WIDE, DAY, "missing")
    lake.publish(table, empty, MARKET_WIDE, days_before(3), "empty")
    first = days_before(8)  # a day before the platform's first
    asked = {DAY, days_before(1), days_before(3)}
    assert never_made(lake, table, "BTC-USD", first, DAY) == [
        d for n in range(8, -1, -1) if (d := days_before(n)) not in asked
    ]
    found, absent = slow_tables(lake, {"SOL-USD": TARDIS, "BTC-USD": TARDIS}, "SOL-USD", DAY, {"S": 45, "D": 400})
    assert found["S"].height == 1 and "D" not in found
    assert absent == {
        table: f"43 days between {days_before(45)} and {days_before(2)}",
        "bars/daily": f"401 days between {days_before(400)} and {DAY}",
        "bars/daily of BTC-USD": f"{MONTH_DAYS + 1} days between {days_before(MONTH_DAYS)} and {DAY}",
    }
