"""Two models on the same test minutes: whether one is better, how sure that is, and what a point of it costs.

Paired: what both models get right or wrong together cancels, so the interval is narrower than that of two accuracies
measured apart. Not here: one model alone (``metrics.py``), how it is printed (``cli/compare.py``).
"""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from crpbot_dagster.assets.evaluations.day_blocks import CONFIDENCE, Days, Floats, Ints
from crpbot_dagster.assets.evaluations.metrics import KNOWN_AFTER, bootstrap_t, brier_score, hits, resample_days
from crpbot_dagster.assets.models.validation import effective_n


class NotComparable(LookupError):
    """A family was not predicted, or the two share no labelled minute."""


@dataclass(frozen=True)
class Difference:
    """A mean difference, second minus first, and its 95 % interval; None where too few days give no interval."""

    point: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 or -1 when the interval shows the difference to be above or below zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Two families on the minutes that both predicted and that have a label."""

    first: str
    second: str
    model_day: date
    n: int
    n_eff: float
    days_n: int
    accuracy_first: float
    accuracy_second: float
    accuracy: Difference  # share of right calls: above 0 the second is better
    brier_first: float
    brier_second: float
    brier: Difference  # mean squared error: below 0 the second is better

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return asdict(self) | {"model_day": self.model_day.isoformat()}


def compare(predicted: pl.DataFrame, first: str, second: str, draws: int, seed: int) -> Comparison:
    """Return how two families of one verdict's ``predicted`` minutes differ.

    Parameters
    ----------
    predicted : rows of ``evaluations/predictions`` of one symbol and verdict day
        family, model_day, ts, p_up_15m, y_up_15m, label_end_ts.
    first, second : families, e.g. logistic_v4 and logistic_v5
    draws, seed : bootstrap samples of whole test days, at least 1,000; same arguments, same numbers

    Returns
    -------
    Comparison
        Intervals by paired day-block bootstrap-t.

    Raises
    ------
    NotComparable
        A family is absent, or no labelled minute was predicted by both, or their models are of different days.

    Source
    ------
    Diebold & Mariano (1995), J. Business & Economic Statistics 13(3) (the paired loss); the interval: ``bootstrap_t``.
    """
    absent = [f for f in (first, second) if f not in predicted["family"]]
    if absent:
        raise NotComparable(f"no prediction of {' and '.join(absent)}")
    known = predicted.drop_nulls(["p_up_15m", "y_up_15m"])
    one, two = (known.filter(pl.col("family") == f) for f in (first, second))
    both = one.join(two, on=["ts", "model_day", "y_up_15m", "label_end_ts"], how="inner", validate="1:1").sort("ts")
    if both.is_empty():
        raise NotComparable(f"{first} and {second} predicted no labelled minute of the same fold in common")
    y = both["y_up_15m"].cast(pl.Float64).to_numpy()
    p, q = (both[name].to_numpy() for name in ("p_up_15m", "p_up_15m_right"))
    day = both["ts"].dt.date().to_numpy()
    weights = resample_days(len(np.unique(day)), draws, np.random.default_rng(seed))
    lives = ((both["ts"] + KNOWN_AFTER), both["label_end_ts"])
    return Comparison(
        first,
        second,
        both["model_day"][0],
        both.height,
        effective_n(*(moment.to_physical().to_numpy() for moment in lives)),
        weights.shape[1],
        float(hits(p, y).mean()),
        float(hits(q, y).mean()),
        _difference(hits(q, y) - hits(p, y), day, weights),
        brier_score(p, y),
        brier_score(q, y),
        _difference((q - y) ** 2 - (p - y) ** 2, day, weights),
    )


def _difference(change: Floats, day: Days, weights: Ints) -> Difference:
    point, found = float(change.mean()), bootstrap_t(change, day, weights)
    if found is None:
        return Difference(point, None, None)
    _, error, drawn = found
    if error == 0.0:
        return Difference(point, point, point)
    # A resample of one day many times over says nothing about the spread: it counts as beyond either end.
    tail = (1 - CONFIDENCE) / 2
    high = np.quantile(np.where(np.isnan(drawn), np.inf, drawn), 1 - tail, method="higher")
    low = np.quantile(np.where(np.isnan(drawn), -np.inf, drawn), tail, method="lower")
    if not np.isfinite([low, high]).all():
        return Difference(point, None, None)
    return Difference(point, float(point - high * error), float(point - low * error))


def in_words(found: Comparison, first: str, second: str) -> str:
    """Return the answer in one sentence; ``first`` and ``second`` are the names a reader knows them by."""
    shown = found.accuracy
    if shown.low is None or shown.high is None:
        return f"no difference is shown: {found.days_n} test days are too few for an interval"
    if shown.sign == 0:
        return (
            f"no difference is shown: {100 * shown.point:+.1f} points for {second} "
            f"({100 * shown.low:+.1f} to {100 * shown.high:+.1f})"
        )
    better, sign = (second, 1) if shown.sign > 0 else (first, -1)
    ends = sorted((100 * sign * shown.low, 100 * sign * shown.high))
    return f"{better} is better by {100 * sign * shown.point:.1f} points ({ends[0]:.1f} to {ends[1]:.1f})"


def cost_in_words(found: Comparison, second: str, usd_a_month: float | None) -> str:
    """Return what a point of accuracy costs when ``second`` costs so much more a month."""
    if usd_a_month is None:
        return f"what a point costs: say what {second} costs more a month with --usd-a-month"
    shown = found.accuracy
    if shown.sign <= 0 or shown.low is None or shown.high is None:
        return f"{usd_a_month:,.2f} USD a month buy no point that is shown"
    each, cheap, dear = (usd_a_month / (100 * points) for points in (shown.point, shown.high, shown.low))
    return (
        f"{usd_a_month:,.2f} USD a month for {100 * shown.point:.1f} points: "
        f"{each:,.2f} USD a point ({cheap:,.2f} to {dear:,.2f})"
    )
