"""The calendar of the sources: every state has its sign, and a day that was never asked is not one that has nothing."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from crpbot_dagster.assets.raw.calendar import SIGNS, SOURCE_TABLES, as_markdown, calendar, calendar_of
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import STATES, Lake
from crpbot_dagster.tables import TABLES

DAY = date(2024, 1, 10)
DAYS = [DAY - timedelta(days=i) for i in range(len(STATES))]
TABLE = "raw/tardis_trades"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(url=str(tmp_path), market="test", start_day="2023-11-10")
    for day, state in zip(DAYS, STATES, strict=True):
        if state not in ("complete", "partial"):
            lake.publish(TABLE, TABLES[TABLE].empty(), "BTC-USD", day, state)
    return lake


def test_every_state_has_a_sign_of_its_own() -> None:
    assert set(SIGNS) == {*STATES, None} and len(set(SIGNS.values())) == len(SIGNS)


def test_a_day_is_as_the_lake_knows_it_and_of_its_symbol_alone(lake: Lake) -> None:
    found = calendar_of(lake, "BTC-USD", DAYS)
    assert set(found) == set(SOURCE_TABLES)
    for day, state in zip(DAYS, STATES, strict=True):
        assert found[TABLE][day] == (None if state in ("complete", "partial") else state)
    assert set(calendar_of(lake, "ETH-USD", DAYS)[TABLE].values()) == {None}


def test_the_calendar_is_drawn_oldest_day_first(lake: Lake) -> None:
    head, _, *rows = as_markdown(calendar_of(lake, "BTC-USD", DAYS)).splitlines()
    assert head.split("|")[2].strip() == f"{DAYS[-1]:%d %b}"
    drawn = next(r for r in rows if r.startswith("| tardis_trades "))
    assert [c.strip() for c in drawn.split("|")[2:-1]] == ["–", "€", "✕", "·", "○", "·"]


def test_the_asset_shows_two_weeks_and_keeps_the_day(lake: Lake, environment) -> None:
    environment(start_day="2023-11-10")
    done = dg.materialize(
        [calendar],
        partition_key=dg.MultiPartitionKey({"day": str(DAY), "symbol": "BTC-USD"}),
        resources={"lake": lake, "door": Door(lake=lake, base_dir=lake.url)},
    )
    (event,) = [e for e in done.get_asset_materialization_events() if e.asset_key.path == ["raw", "calendar"]]
    assert "tardis_trades" in event.materialization.metadata["calendar"].value
    held = lake.window("raw/calendar", "BTC-USD", DAY, DAY).collect()
    assert held.height == len(SOURCE_TABLES) and held["table"].is_unique().all()
