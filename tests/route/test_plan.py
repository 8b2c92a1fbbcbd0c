"""What a run plans: nothing is missing that a stage reads, and nothing is planned that cannot be known."""

from datetime import date, timedelta

import pytest

from crpbot_dagster.runs import STAGES, PlanError, Step, first_verdict, plan, verdict_window
from crpbot_dagster.settings import Settings

CONFIG = Settings(symbols=("BTC-USD",))
TODAY = date(2024, 6, 1)
FIRST = date(2024, 1, 10)


def planned(first: date, last: date, until: str, held: frozenset[date] = frozenset()) -> list[Step]:
    return plan("BTC-USD", first, last, until, CONFIG, TODAY, held)


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


def test_labels_follow_the_day_after_and_reach_back_to_a_held_day() -> None:
    last = FIRST + timedelta(days=2)
    assert days_of(planned(FIRST, last, "features"), "features/labels") == [FIRST, FIRST + timedelta(days=1)]
    before = FIRST - timedelta(days=1)
    daily = planned(FIRST, FIRST, "features", frozenset({before}))
    assert days_of(daily, "features/labels") == [before]


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
