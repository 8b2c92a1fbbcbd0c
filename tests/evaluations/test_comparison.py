"""Two models on the same minutes: a planted difference is found, none is not, and pairing is what finds it."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from crpbot_dagster.assets.evaluations.comparison import Comparison, NotComparable, compare, cost_in_words, in_words
from crpbot_dagster.assets.evaluations.metrics import accuracy_interval, resample_days

FIRST_DAY, MODEL_DAY = datetime(2024, 1, 2, tzinfo=UTC), date(2024, 1, 1)
A, B = "logistic_v4", "logistic_v5"


def family(name: str, p: np.ndarray, y: np.ndarray) -> pl.DataFrame:
    ts = pl.datetime_range(
        FIRST_DAY, interval="1m", end=FIRST_DAY + timedelta(minutes=len(y) - 1), eager=True, time_unit="us"
    )
    return pl.DataFrame({"ts": ts, "p_up_15m": p, "y_up_15m": y.astype(np.int8)}).with_columns(
        family=pl.lit(name), model_day=pl.lit(MODEL_DAY), label_end_ts=pl.col("ts") + pl.duration(minutes=16)
    )


def market(rng: np.random.Generator, days: int, skill_a: float, skill_b: float, shared: float = 0.9) -> pl.DataFrame:
    """Labels that last a quarter of an hour, and two models with days of their own, most of it in common."""
    n = 1440 * days
    y = np.repeat(rng.random(n // 15) < 0.5, 15).astype(float)
    easy = np.repeat(rng.normal(0, 0.08, days), 1440)  # how predictable the day is, for whoever tries
    luck = np.repeat(rng.random(n // 15), 15)
    made = []
    for name, skill in ((A, skill_a), (B, skill_b)):
        own = np.where(rng.random(n) < shared, luck, rng.random(n))
        right = own < skill + easy
        made.append(family(name, np.where(right == (y > 0.5), 0.6, 0.4), y))
    return pl.concat(made)


def of(frame: pl.DataFrame) -> Comparison:
    return compare(frame, A, B, 1000, 7)


def test_a_planted_difference_is_found_with_its_size(rng) -> None:
    found = of(market(rng, 20, 0.52, 0.60))
    assert found.accuracy.sign == 1 and found.accuracy.low < 0.08 < found.accuracy.high
    assert found.brier.sign == -1, "the squared error falls"
    assert found.accuracy.point == pytest.approx(found.accuracy_second - found.accuracy_first)
    assert (found.n, found.days_n, found.model_day) == (28_800, 20, MODEL_DAY) and 1_800 < found.n_eff < 2_000
    assert in_words(found, "v4", "v5").startswith(f"v5 is better by {100 * found.accuracy.point:.1f} points (")
    assert cost_in_words(found, "v5", None).endswith("--usd-a-month")
    each = 300 / (100 * found.accuracy.point)
    assert f": {each:,.2f} USD a point (" in cost_in_words(found, "v5", 300.0)


def test_the_worse_second_is_called_worse(rng) -> None:
    found = of(market(rng, 20, 0.60, 0.52))
    assert found.accuracy.sign == -1
    assert in_words(found, "v4", "v5").startswith(f"v4 is better by {-100 * found.accuracy.point:.1f} points (")
    assert cost_in_words(found, "v5", 300.0) == "300.00 USD a month buy no point that is shown"


@pytest.mark.parametrize(("days", "markets", "allowed"), [(6, 30, 5), (28, 8, 2)])
def test_none_is_found_where_none_was_planted(days: int, markets: int, allowed: int) -> None:
    """The interval misses zero in about one market of twenty: five of thirty would be one in a hundred tests."""
    rng = np.random.default_rng(11)
    wrong = sum(of(market(rng, days, 0.55, 0.55)).accuracy.sign != 0 for _ in range(markets))
    assert wrong <= allowed
    found = of(market(np.random.default_rng(3), days, 0.55, 0.55))
    assert in_words(found, "v4", "v5").startswith("no difference is shown: ")


def test_paired_is_narrower_than_apart(rng) -> None:
    frame = market(rng, 20, 0.54, 0.56)
    found, widths = of(frame).accuracy, []
    for name in (A, B):
        own = frame.filter(pl.col("family") == name)
        day, p, y = (
            own["ts"].dt.date().to_numpy(),
            own["p_up_15m"].to_numpy(),
            own["y_up_15m"].cast(pl.Float64).to_numpy(),
        )
        interval = accuracy_interval(p, y, day, resample_days(20, 1000, np.random.default_rng(7)))
        widths.append(interval.high_t - interval.low_t)
    assert found.high - found.low < 0.5 * float(np.hypot(*widths))
    assert found.sign == 1, "seen paired"
    assert float(np.hypot(*widths)) / 2 > 0.02, "and not apart"


def test_only_minutes_that_both_predicted_count(rng) -> None:
    frame = market(rng, 6, 0.5, 0.6)
    holes = frame.with_columns(
        p_up_15m=pl.when((pl.col("family") == B) & (pl.col("ts").dt.hour() < 12)).then(None).otherwise("p_up_15m"),
        y_up_15m=pl.when(pl.col("ts").dt.hour() == 23).then(None).otherwise("y_up_15m"),
    )
    assert of(holes).n == 6 * 660
    again = of(holes.sample(fraction=1.0, shuffle=True, seed=1))
    assert again == of(holes), "the order of rows says nothing"


def test_too_few_days_give_no_interval_and_no_claim(rng) -> None:
    for days in (1, 2):
        found = of(market(rng, days, 0.4, 0.9, shared=0.0))
        assert found.accuracy.low is None and found.accuracy.sign == 0
        assert in_words(found, "v4", "v5") == f"no difference is shown: {days} test days are too few for an interval"


def test_what_cannot_be_compared_is_refused(rng) -> None:
    frame = market(rng, 3, 0.5, 0.5)
    with pytest.raises(NotComparable, match="no prediction of lstm_v5"):
        compare(frame, A, "lstm_v5", 1000, 7)
    other_fold = frame.with_columns(
        model_day=pl.when(pl.col("family") == B).then(date(2024, 1, 3)).otherwise("model_day")
    )
    with pytest.raises(NotComparable, match="no labelled minute of the same fold"):
        of(other_fold)
