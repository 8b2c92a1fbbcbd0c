"""What a run plans: nothing is missing that a stage reads, and nothing is planned that cannot be known."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from crpbot_dagster.assets import (
    CALENDAR,
    COMPARISON,
    DAILY,
    DAY_TABLES,
    EVALUATION_TABLES,
    EVERY_SOURCE_TABLES,
    LABELS,
    MARKET_TABLES,
    TRACK_RECORD,
    beside,
)
from crpbot_dagster.instruments import primary
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.runs import (
    STAGES,
    Held,
    PlanError,
    Step,
    first_verdict,
    held_days,
    next_verdict,
    plan,
    verdict_window,
    without_held,
)
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

CONFIG = Settings(symbols=("BTC-USD",))
TODAY = date(2024, 6, 1)
FIRST = date(2024, 1, 10)


NOTHING: Held = {}


def planned(first: date, last: date, until: str, held: Held = NOTHING) -> list[Step]:
    return plan("BTC-USD", first, last, until, CONFIG, TODAY, held)


def made_by(steps: list[Step]) -> dict[str, frozenset[date]]:
    """What the lake holds after these steps."""
    return {t: frozenset(s.day for s in steps if t in s.tables) for t in {t for s in steps for t in s.tables}}


def days_of(steps: list[Step], table: str) -> list[date]:
    return [s.day for s in steps if table in s.tables]


def test_bars_have_the_seven_volumes_before_every_day() -> None:
    for until in ("bars", "features"):
        steps = planned(FIRST, FIRST, until)
        made: set[date] = set()
        for step in steps:
            if "bars/trades_1m" in step.tables:
                assert {step.day - timedelta(days=i) for i in range(1, 8)} <= made, until
            if "bars/volume_1d" in step.tables:
                made.add(step.day)


def test_raw_alone_plans_raw_alone() -> None:
    assert {t.split("/")[0] for s in planned(FIRST, FIRST, "raw") for t in s.tables} == {"raw"}


def test_the_newest_days_ask_every_source_before_the_day_and_older_ones_what_a_verdict_needs() -> None:
    last = FIRST + timedelta(days=CONFIG.every_source_days + 2)
    steps = planned(FIRST, last, "features")
    aside = beside(primary("BTC-USD", {}))
    newest = [last - timedelta(days=i) for i in range(CONFIG.every_source_days - 1, -1, -1)]
    assert aside and [s.day for s in steps if s.tables == aside] == newest
    for step in steps:
        assert step.day in newest or not (set(step.tables) - {DAILY}) & set(EVERY_SOURCE_TABLES), (
            "no verdict needs them"
        )
        assert step.is_beside == (step.tables in (aside, EVERY_SOURCE_TABLES))
        assert step.waits_for_all == (step.tables == EVERY_SOURCE_TABLES)
        assert step.is_beside or not set(step.tables) & set(aside)
    assert days_of(steps, CALENDAR) == days_of(steps, COMPARISON) == newest
    for day in newest:
        assert {t for s in steps if s.day == day for t in s.tables} >= set(DAY_TABLES)
        of_day = [s.tables for s in steps if s.day == day and (s.is_beside or "features/v5" in s.tables)]
        assert of_day[0] == aside and "bars/trades_1m" in of_day[1] and of_day[2] == EVERY_SOURCE_TABLES
    assert days_of(steps, DAILY) == [FIRST + timedelta(days=i) for i in range((last - FIRST).days + 1)]


def test_a_source_beside_is_no_longer_beside_when_it_is_the_primary_one() -> None:
    chosen = primary("BTC-USD", {"BTC-USD": "kraken/kraken"})
    assert "raw/kraken_trades" not in beside(chosen) and "raw/kraken_trades" in beside(primary("BTC-USD", {}))


def test_the_whole_market_has_its_tables_of_the_newest_days_once() -> None:
    last = FIRST + timedelta(days=20)
    steps = plan(MARKET_WIDE, FIRST, last, "promotion", CONFIG, TODAY, NOTHING)
    assert {s.tables for s in steps} == {MARKET_TABLES} and len(steps) == CONFIG.every_source_days
    assert all(s.is_beside and s.symbol == MARKET_WIDE for s in steps)


def test_labels_follow_the_day_after_and_reach_back_to_a_held_day() -> None:
    last = FIRST + timedelta(days=2)
    assert days_of(planned(FIRST, last, "features"), "features/labels") == [FIRST, FIRST + timedelta(days=1)]
    before = FIRST - timedelta(days=1)
    daily = planned(FIRST, FIRST, "features", {"features/v5": frozenset({before})})
    assert days_of(daily, "features/labels") == [before]
    after = frozenset({last + timedelta(days=1)})
    hole = planned(FIRST, last, "features", {"bars/trades_1m": after, "bars/book_1m": after})
    assert days_of(hole, "features/labels")[-1] == last


def test_a_range_that_is_held_is_planned_to_nothing() -> None:
    last = FIRST + timedelta(days=2)
    steps = planned(FIRST, last, "features")
    assert without_held(steps, NOTHING) == steps
    held = made_by(steps)
    assert without_held(planned(FIRST, last, "features", held), held) == []


@pytest.mark.parametrize("table", ["raw/tardis_book", "bars/daily", "features/v5", "features/labels"])
def test_a_day_that_lacks_one_table_is_made_again_from_what_the_sources_sent(table: str) -> None:
    last = FIRST + timedelta(days=2)
    steps = planned(FIRST, last, "features")
    held = made_by(steps)
    left = without_held(steps, held | {table: held[table] - {FIRST}})
    whole = next(s for s in steps if s.day == FIRST and table in s.tables)
    kept = tuple(t for t in whole.tables if t == table or not t.startswith("raw/"))
    assert left == [replace(whole, tables=kept)], "no other raw table is fetched again"


def test_days_held_as_warm_up_alone_are_built_when_they_are_asked_for() -> None:
    held = made_by(planned(FIRST, FIRST, "features"))
    before = FIRST - timedelta(days=1)
    left = without_held(planned(before, before, "features", held), held)
    assert days_of(left, "features/v5") == [before] and days_of(left, "features/labels") == [before]


def test_the_track_record_goes_with_the_labels_and_never_with_the_verdict() -> None:
    last = first_verdict(CONFIG)
    first, verdict = verdict_window(last, CONFIG), last - timedelta(days=3)
    for held, followed in (
        ({}, lambda day: False),
        ({"promotion/promoted_model": {verdict}}, lambda day: day > verdict),
    ):
        for step in planned(first, last, "promotion", held):
            if LABELS in step.tables:
                assert step.tables == ((LABELS, TRACK_RECORD) if followed(step.day) else (LABELS,))
            else:
                assert TRACK_RECORD not in step.tables
    assert "evaluations/metrics" in EVALUATION_TABLES and TRACK_RECORD not in EVALUATION_TABLES
    assert [s.tables for s in planned(FIRST, FIRST, "features") if LABELS in s.tables] == []


def lake_of_days(folder: Path, days: dict[str, list[date]]) -> Lake:
    lake = Lake(url=str(folder), market="sandbox", start_day="2023-11-10")
    for table, held in days.items():
        for day in held:
            row = dict.fromkeys(TABLES[table].schema) | {"symbol": "BTC-USD", "day": day}
            frame = pl.DataFrame([row], schema=TABLES[table].schema)
            lake.publish(table, frame, "BTC-USD", day, "complete")
    return lake


def test_what_is_held_counts_days_without_rows(tmp_path: Path) -> None:
    lake = lake_of_days(tmp_path, {"bars/daily": [FIRST]})
    lake.publish("raw/tardis_trades", TABLES["raw/tardis_trades"].empty(), "BTC-USD", FIRST, "not_licensed")
    held = held_days("BTC-USD", FIRST, FIRST, lake)
    assert held["bars/daily"] == held["raw/tardis_trades"] == {FIRST} and held["features/v5"] == frozenset()


def test_the_next_verdict_is_the_day_after_the_newest_labels_of_a_whole_window(tmp_path: Path) -> None:
    config = Settings(symbols=("BTC-USD",), fit_days=2, stop_days=1, calibrate_days=1, test_days=2)
    days = [date(2024, 3, 1) + timedelta(days=i) for i in range(config.window_days + 1 + config.test_days)]
    tables = ("features/v4", "features/v5", LABELS)
    assert next_verdict("BTC-USD", lake_of_days(tmp_path / "empty", {}), config) == first_verdict(config)
    whole = lake_of_days(tmp_path / "whole", dict.fromkeys(tables, days))
    newest = days[-1] + timedelta(days=1)
    assert next_verdict("BTC-USD", whole, config) == newest
    assert verdict_window(newest, config) == days[0]
    holed = lake_of_days(tmp_path / "holed", dict.fromkeys(tables[1:], days) | {tables[0]: days[1:]})
    assert next_verdict("BTC-USD", holed, config) == first_verdict(config)
    clock = tmp_path / "clock"
    clock.write_text("2024-06-01T12:00:00+00:00")
    live = config.model_copy(update={"market": "live", "clock": clock})
    assert next_verdict("BTC-USD", holed, live) == date(2024, 5, 31)


def test_a_verdict_plans_the_model_before_its_test_days() -> None:
    last = first_verdict(CONFIG)
    steps = planned(verdict_window(last, CONFIG), last, "promotion")
    assert days_of(steps, "models/logistic_v5") == [last - timedelta(days=CONFIG.test_days + 1)]
    assert min(s.day for s in steps) == CONFIG.start_day
    assert [s.tables[0].split("/")[0] for s in steps[-3:]] == ["models", "evaluations", "promotion"]


@pytest.mark.parametrize("until", STAGES)
def test_what_is_not_over_or_not_there_is_refused(until: str) -> None:
    with pytest.raises(PlanError, match="not over yet"):
        planned(FIRST, TODAY, until)
    with pytest.raises(PlanError, match="start day"):
        planned(date(2020, 1, 1), FIRST, until)


def test_the_comparison_of_the_sources_is_made_with_the_day_and_not_with_the_verdict() -> None:
    assert days_of(planned(FIRST, FIRST, "features"), COMPARISON) == [FIRST]
    assert COMPARISON not in EVALUATION_TABLES
    assert days_of(planned(FIRST, FIRST, "bars"), COMPARISON) == []
