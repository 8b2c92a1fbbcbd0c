"""A planted drift is found, none is where none was, and the limit grows where days differ or are few."""

from datetime import date, timedelta

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from crpbot_dagster.assets.evaluations.drift import ACT, WATCH, Span, drift, drifts, population_stability, spans

FIRST, MINUTES = date(2024, 1, 1), 288


def days_of(days: int, rows: int = MINUTES) -> np.ndarray:
    return np.repeat(np.array([np.datetime64(FIRST + timedelta(i)) for i in range(days)]), rows)


def halves(days: int) -> tuple[Span, Span]:
    before, after = spans(FIRST, FIRST + timedelta(days - 1))
    return before, after


def test_population_stability_by_hand() -> None:
    half = np.array([0.5, 0.5])
    assert population_stability(half, half) == 0.0
    assert population_stability(half, np.array([0.25, 0.75])) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5))
    never = population_stability(half, np.array([0.0, 1.0]))
    assert never == pytest.approx(0.4999 * np.log(5000) + 0.5 * np.log(2)), "a bin that one side lacks counts as 1e-4"


def test_a_planted_drift_is_found_and_none_is_not(rng) -> None:
    day = days_of(20)
    x = rng.normal(size=len(day))
    still = drift(x, day, *halves(20))
    assert still is not None and still.level == "none" and still.psi < 0.02 and (still.watch, still.act) == (WATCH, ACT)
    moved = drift(np.where(day >= np.datetime64(halves(20)[1].first), x + 1.0, x), day, *halves(20))
    assert moved is not None and moved.level == "act" and moved.psi > 0.7
    wider = drift(np.where(day >= np.datetime64(halves(20)[1].first), 1.4 * x, x), day, *halves(20))
    assert wider is not None and wider.level == "watch"
    holes = np.where(rng.random(len(day)) < 0.5, np.nan, x)
    assert drift(holes, day, *halves(20)).level == "none"


def test_days_that_differ_among_themselves_are_no_drift(rng) -> None:
    """Each day has a level of its own: the industry's rule alone would call most of these a drift."""
    called, by_the_rule = 0, 0
    for _ in range(60):
        day = days_of(12)
        x = rng.normal(size=len(day)) + np.repeat(rng.normal(size=12), MINUTES)
        found = drift(x, day, *halves(12))
        called, by_the_rule = called + (found.level != "none"), by_the_rule + (found.psi > WATCH)
    assert called <= 8 and by_the_rule >= 40


def wandering(rng: np.random.Generator, days: int, like: float) -> np.ndarray:
    """A level a day that has a correlation of ``like`` with the one before, of variance 4."""
    return 2 * np.sqrt(1 - like**2) * lfilter([1.0], [1.0, -like], rng.normal(size=days + 200))[200:]


def test_days_of_which_each_is_like_the_one_before_are_no_drift(rng, monkeypatch: pytest.MonkeyPatch) -> None:
    """What forgets a tenth of itself a day differs from month to month and never drifts."""
    day, markets = days_of(90, 48), 80
    periods = spans(FIRST, FIRST + timedelta(89))
    noise = rng.normal(size=(markets, len(day)))

    def called(columns: list[np.ndarray]) -> float:
        found = [any(d.level != "none" for d in drifts(x, day, periods)) for x in columns]
        return float(np.mean(found))

    slow = [np.repeat(wandering(rng, 90, 0.9), 48) + e for e in noise]
    assert called(slow) <= binom.ppf(0.99, markets, 0.2) / markets, "as the page says of three months"
    step = 4 * (day >= np.datetime64(periods[1].first))
    faster = [np.repeat(wandering(rng, 90, 0.5), 48) + e for e in noise]
    assert called(faster) <= binom.ppf(0.99, markets, 0.05) / markets
    assert called([x + step for x in faster]) > 0.85, "a real step is still found"
    monkeypatch.setattr("crpbot_dagster.assets.evaluations.drift.lingering", lambda *_: 0.0)
    assert called(slow) > 0.6, "days taken for independent"


def test_more_spans_raise_the_limit_of_each(rng) -> None:
    """Each of five months is held against the first: without drift five of 100 columns have one above, not fifteen."""
    day, columns = days_of(182, 24), 200
    periods, alone, together = spans(FIRST, FIRST + timedelta(181)), 0, 0
    for _ in range(columns):
        x = rng.normal(size=len(day)) + np.repeat(wandering(rng, 182, 0.0), 24)
        together += any(d.level != "none" for d in drifts(x, day, periods))
        alone += any(drift(x, day, periods[0], p).level != "none" for p in periods[1:])
    assert len(periods) == 6 and together <= binom.ppf(0.99, columns, 0.05) < alone


def test_a_column_with_one_value_a_day_leaves_bins_empty_and_is_no_drift(rng) -> None:
    called = 0
    for days in (12, 45) * 30:
        found = drift(np.repeat(rng.normal(size=days), MINUTES), days_of(days), *halves(days))
        called += found.level != "none"
    assert called <= 8
    steps = np.repeat(rng.normal(size=45) + 3 * (np.arange(45) > 22), MINUTES)
    assert drift(steps, days_of(45), *halves(45)).level == "act"


def test_flags_categories_and_constants(rng) -> None:
    day = days_of(8)
    flag = (rng.random(len(day)) < 0.2).astype(float)
    assert drift(flag, day, *halves(8)).level == "none"
    more = np.where(day >= np.datetime64(halves(8)[1].first), (rng.random(len(day)) < 0.6).astype(float), flag)
    assert drift(more, day, *halves(8)).level == "act"
    rare, later = rng.random(len(day)) < 0.04, day >= np.datetime64(halves(8)[1].first)
    seldom = 1.0 - rare  # nine deciles of one value: it has two bins all the same
    assert drift(seldom, day, *halves(8)).level == "none"
    assert drift(np.where(later & (rng.random(len(day)) < 0.4), 0.0, seldom), day, *halves(8)).level == "act"
    assert drift(np.ones(len(day)), day, *halves(8)) is None
    born = np.where(day >= np.datetime64(halves(8)[1].first), 0.0, np.nan)
    assert drift(born, day, *halves(8)) is None, "a column that began later has nothing to compare with"


def test_months_are_compared_from_two_on_else_halves() -> None:
    assert [s.name for s in spans(date(2024, 1, 1), date(2024, 2, 29))] == ["2024-01", "2024-02"]
    longer = spans(date(2023, 11, 25), date(2024, 2, 15))
    assert [(s.name, s.first, s.last) for s in longer] == [
        ("2023-12", date(2023, 12, 1), date(2023, 12, 31)),
        ("2024-01", date(2024, 1, 1), date(2024, 1, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 15)),
    ]
    short = spans(date(2024, 1, 20), date(2024, 2, 10))
    assert [(s.first, s.last) for s in short] == [
        (date(2024, 1, 20), date(2024, 1, 30)), (date(2024, 1, 31), date(2024, 2, 10)),
    ]  # fmt: skip
    assert spans(FIRST, FIRST + timedelta(2)) == () and len(halves(4)) == 2


def test_every_month_is_held_against_the_first(rng) -> None:
    day = days_of(91)
    x = rng.normal(size=len(day)) + (day >= np.datetime64("2024-03-01"))
    periods = spans(FIRST, FIRST + timedelta(90))
    assert [(d.since, d.until, d.level) for d in drifts(x, day, periods)] == [
        ("2024-01", "2024-02", "none"), ("2024-01", "2024-03", "act"),
    ]  # fmt: skip
