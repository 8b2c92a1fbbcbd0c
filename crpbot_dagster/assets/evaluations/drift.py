"""How far a column's spread moved from one span of days to another.

Not here: what it goes with (``association.py``), whether a model decays (``metrics.py``).
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from crpbot_dagster.assets.evaluations.association import LEAST_ROWS, bin_edges
from crpbot_dagster.assets.evaluations.day_blocks import Days, Floats, Ints

EPSILON = 1e-4  # the least share: a bin that one span lacks would make the PSI infinite
WATCH, ACT = 0.1, 0.25  # the industry's rule
DRIFT_LEVELS = ("none", "watch", "act")
NO_DRIFT = 0.95  # the share of columns without drift that stay below the noise limit in every span
LEAST_LINGERING_DAYS = 5  # of a span, on average: fewer do not tell whether a day is like the one before
MOST_LINGERING = 0.97  # above it two spans are one observation each, whatever the formula says
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
        return DRIFT_LEVELS[(self.psi > self.watch) + (self.psi > self.act)]


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


def drift(x: Floats, day: Days, before: Span, after: Span, below: float = NO_DRIFT) -> Drift | None:
    """Return how far ``x`` float64[n] moved; None where a span has fewer than two days or 100 values, or no spread.

    Ten bins at the quantiles of ``before``. The industry's limits are for large samples of independent rows: without
    any drift the PSI is (B - 1)(1/n + 1/m) in the mean. Minutes are not independent, so here that mean is Σ (variance
    of each share)/share with the variances of whole days, and a limit is the industry's or what the share ``below`` of
    pairs of spans without drift stays below, whichever is larger. Days are not independent either: the variances are
    those of days of which each is like the one before as ``lingering`` says.

    Source
    ------
    Rao & Scott (1984), Annals of Statistics 12(1), 46-60, second-order correction; its F form: Thomas & Rao (1987), J.
    American Statistical Association 82(398), 630-636. Days in a row: Andrews (1991), Econometrica 59(3), 817-858, its
    AR(1); how many days their variance is worth: Bayley & Hammersley (1946), J. Royal Statistical Society Suppl. 8(2),
    184-197.
    """
    known = np.isfinite(x)
    parts = []
    for span in (before, after):
        inside = known & (day >= np.datetime64(span.first)) & (day <= np.datetime64(span.last))
        if inside.sum() < LEAST_ROWS or len(np.unique(day[inside])) < 2:
            return None
        parts.append((x[inside], day[inside]))
    edges = bin_edges(parts[0][0])
    tables = [_counts(np.searchsorted(edges, values, side="left"), days, len(edges) + 1) for values, days in parts]
    held = sum(t.sum(axis=0) for t in tables) > 0
    if held.sum() < 2:
        return None
    tables = [t[:, held] for t in tables]
    first, second = (t.sum(axis=0) / t.sum() for t in tables)
    psi, scale = population_stability(first, second), 1 / np.sqrt(np.maximum((first + second) / 2, EPSILON))
    errors = [_errors(t) * scale for t in tables]
    spread = sum(e.T @ e * len(e) / (len(e) - 1) for e in errors)
    expected, square = float(np.trace(spread)), float((spread**2).sum())
    noise = 0.0
    if square > 0:
        from scipy.special import fdtri

        freedom = expected**2 / square  # at most the days less two, and the bins less one
        r = lingering(errors, np.linalg.eigh(spread)[1][:, -1])
        days_n = sum(len(t) for t in tables) * (1 - r**2) / (1 + r**2)
        expected *= (1 + r) / (1 - r)
        noise = expected * float(fdtri(freedom, freedom * max(days_n - 2, 1.0), below))
        # Of the sum of squares that a small PSI is near to; an empty bin adds more to the PSI than to that sum.
        squares = float((((second - first) * scale) ** 2).sum())
        noise *= max(psi / squares, 1.0) if squares > 0 else 1.0
    return Drift(before.name, after.name, psi, max(WATCH, noise), max(ACT, noise))


def drifts(x: Floats, day: Days, periods: Sequence[Span]) -> list[Drift | None]:
    """Return the drift of each span after the first, against the first; the limits are those of the largest of them.

    Source: Šidák (1967), J. American Statistical Association 62(318), 626-633.
    """
    later = periods[1:]
    return [drift(x, day, periods[0], after, NO_DRIFT ** (1 / len(later))) for after in later]


def lingering(errors: Sequence[Floats], direction: Floats) -> float:
    """Return how much a day is like the one before, 0 … 0.97, along the direction in which days differ most.

    Few days show too little of it: what is found is raised by (1 + 3r)/days. Below five days a span it is unknown,
    here 0: there what lasts for days counts as drift.

    Parameters
    ----------
    errors : of each span float64[days, bins], each day's part of the error of the shares
    direction : float64[bins]

    Source
    ------
    Kendall (1954), Biometrika 41(3-4), 403-404.
    """
    days = sum(len(e) for e in errors) / len(errors)
    if days < LEAST_LINGERING_DAYS:
        return 0.0
    along = [e @ direction for e in errors]
    r = sum(float(a[1:] @ a[:-1]) for a in along) / sum(float(a @ a) for a in along)
    return float(np.clip(r + (1 + 3 * r) / days, 0.0, MOST_LINGERING))


def _counts(index: Ints, day: Days, bins: int) -> Floats:
    days, row = np.unique(day, return_inverse=True)
    return np.bincount(row * bins + index, minlength=len(days) * bins).reshape(len(days), bins).astype(np.float64)


def _errors(counts: Floats) -> Floats:
    # Each day's part of the error of the shares of the bins, ratios of sums over days: (days, bins).
    return np.asarray((counts - np.outer(counts.sum(axis=1), counts.sum(axis=0) / counts.sum())) / counts.sum())
