"""How far a column's spread moved from one span of days to another.

Not here: what it goes with (``association.py``), whether a model decays (``metrics.py``).
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from scipy.special import fdtri

from crpbot_dagster.assets.evaluations.association import LEAST_ROWS
from crpbot_dagster.assets.evaluations.day_blocks import Days, Floats, Ints

BINS = 10
EPSILON = 1e-4  # the least share: a bin that one span lacks would make the PSI infinite
WATCH, ACT = 0.1, 0.25  # the industry's rule
NO_DRIFT = 0.95  # the share of spans without drift that stay below the noise limit
LEAST_MONTH_DAYS = 10  # of a month that is compared


@dataclass(frozen=True)
class Span:
    """Days ``first`` … ``last`` under a name, e.g. a month."""

    name: str
    first: date
    last: date


@dataclass(frozen=True)
class Drift:
    """PSI of a column between two spans, beside the values it must exceed to be worth watching, or acting on."""

    since: str
    until: str
    psi: float
    watch: float
    act: float

    @property
    def level(self) -> str:
        """``act``, ``watch`` or ``none``."""
        return "act" if self.psi > self.act else "watch" if self.psi > self.watch else "none"


def spans(first: date, last: date) -> tuple[Span, ...]:
    """Return what is compared: the calendar months from two of them on, else the two halves; none below four days.

    A month with fewer than ten of its days in the window is left out.
    """
    months: list[Span] = []
    day = first
    while day <= last:
        end = min(last, day.replace(day=monthrange(day.year, day.month)[1]))
        if (end - day).days + 1 >= LEAST_MONTH_DAYS:
            months.append(Span(f"{day:%Y-%m}", day, end))
        day = end + timedelta(days=1)
    days = (last - first).days + 1
    if len(months) >= 2 and days >= 59:  # the two shortest months
        return tuple(months)
    if days < 4:
        return ()
    middle = first + timedelta(days=days // 2)
    return (Span("first half", first, middle - timedelta(days=1)), Span("second half", middle, last))


def population_stability(expected: Floats, actual: Floats) -> float:
    """Return PSI = Σ (a - e)·ln(a / e) of two rows of bin shares, each cut below at 1e-4; 0 is no drift.

    Source: Siddiqi (2006), Credit Risk Scorecards, Wiley.
    """
    e, a = np.maximum(expected, EPSILON), np.maximum(actual, EPSILON)
    return float(np.sum((a - e) * np.log(a / e)))


def drift(x: Floats, day: Days, before: Span, after: Span) -> Drift | None:
    """Return how far ``x`` float64[n] moved; None where a span has fewer than two days or 100 values, or no spread.

    Ten bins at the quantiles of ``before``. The industry's limits are for large samples of independent rows: without
    any drift the PSI is (B - 1)(1/n + 1/m) in the mean. Minutes are not independent, so here that mean is Σ (variance
    of each share)/share with the variances of whole days, and a limit is the industry's or what 95 of 100 pairs of
    spans without drift stay below, whichever is larger. What lingers for days still counts as drift, which it is.

    Source
    ------
    Rao & Scott (1984), Annals of Statistics 12(1), 46-60, second-order correction; its F form: Thomas & Rao (1987), J.
    American Statistical Association 82(398), 630-636.
    """
    known = np.isfinite(x)
    parts = []
    for span in (before, after):
        inside = known & (day >= np.datetime64(span.first)) & (day <= np.datetime64(span.last))
        if inside.sum() < LEAST_ROWS or len(np.unique(day[inside])) < 2:
            return None
        parts.append((x[inside], day[inside]))
    edges = np.unique(np.quantile(parts[0][0], np.arange(1, BINS) / BINS))
    tables = [_counts(np.searchsorted(edges, values, side="left"), days, len(edges) + 1) for values, days in parts]
    held = sum(t.sum(axis=0) for t in tables) > 0
    if held.sum() < 2:
        return None
    tables = [t[:, held] for t in tables]
    first, second = (t.sum(axis=0) / t.sum() for t in tables)
    psi, scale = population_stability(first, second), 1 / np.sqrt(np.maximum((first + second) / 2, EPSILON))
    spread = sum(_covariance(t) for t in tables) * np.outer(scale, scale)
    expected, square = float(np.trace(spread)), float((spread**2).sum())
    noise = 0.0
    if square > 0:
        freedom = expected**2 / square  # at most the days less two, and the bins less one
        days_n = sum(len(t) for t in tables)
        noise = expected * float(fdtri(freedom, freedom * (days_n - 2), NO_DRIFT))
        # Of the sum of squares that a small PSI is near to; an empty bin adds more to the PSI than to that sum.
        squares = float((((second - first) * scale) ** 2).sum())
        noise *= max(psi / squares, 1.0) if squares > 0 else 1.0
    return Drift(before.name, after.name, psi, max(WATCH, noise), max(ACT, noise))


def drifts(x: Floats, day: Days, periods: Sequence[Span]) -> list[Drift | None]:
    """Return the drift of each span after the first, against the first."""
    return [drift(x, day, periods[0], after) for after in periods[1:]]


def _counts(index: Ints, day: Days, bins: int) -> Floats:
    days, row = np.unique(day, return_inverse=True)
    return np.bincount(row * bins + index, minlength=len(days) * bins).reshape(len(days), bins).astype(np.float64)


def _covariance(counts: Floats) -> Floats:
    # Of the shares of the bins, ratios of sums over days.
    residual = counts - np.outer(counts.sum(axis=1), counts.sum(axis=0) / counts.sum())
    return np.asarray(residual.T @ residual * len(counts) / (len(counts) - 1) / counts.sum() ** 2)
