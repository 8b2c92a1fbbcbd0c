"""How a column goes with the label and with other columns: correlation, mutual information, redundancy.

Labels overlap and regimes last, so an interval here treats whole UTC days as the unit. Not here: drift of a column
(``drift.py``), what a model makes of it (``importance.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crpbot_dagster.assets.evaluations.day_blocks import (
    Days,
    Estimate,
    Floats,
    Ints,
    day_sums,
    permuted_days,
    ratio_error,
    student,
)

LEAST_ROWS = 100  # below it nothing is said of a column
LEAST_DAYS = 2.0  # days that must carry a column's spread
LEAST_MEMORIES = 30  # of an input that is tested: ours, see ``memories``
BINS = 10  # at most, of what is counted
SHUFFLES = 99  # of the label's days, to see what no information looks like
ABOVE_FLOOR = 5  # of 100 orders of the days, the true one included: a test at 5 %
SAME_ABOVE = 0.8  # |correlation| of every pair in a cluster


def correlation(x: Floats, y: Floats, day: Days) -> Estimate:
    """Return Pearson's correlation with an interval and p-value that take whole days for the unit.

    The interval is the t interval of Fisher's z with the standard error of the correlation's influence values over
    days: the limit of the day-block bootstrap, without its narrowness over few days and with p-values small enough for
    ``benjamini_hochberg``. Its degrees of freedom are the days that carry the spread of ``x``, less one: a column that
    moved on one day alone says little, however many minutes that day has.

    Parameters
    ----------
    x, y : float64[n], NaN where missing; day [n], UTC day of each row

    Returns
    -------
    Estimate
        NaN below 100 common rows or without any spread; no interval below two days that carry it.

    Source
    ------
    Liang & Zeger (1986), Biometrika 73(1), 13-22 (errors of dependent rows); Carter, Schnepel & Steigerwald (2017),
    Rev. Economics and Statistics 99(4), 698-709 (how many blocks count).
    """
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < LEAST_ROWS:
        return Estimate(np.nan)
    x, y, day = x[both], y[both], day[both]
    if x.std() <= 1e-12 * np.abs(x).max() or y.std() == 0.0:
        return Estimate(np.nan)
    a, b = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    r = float(np.mean(a * b))
    spread, _ = day_sums(a**2, day)
    carried = float(spread.sum() ** 2 / (spread**2).sum())
    if carried < LEAST_DAYS or abs(r) > 1 - 1e-12:
        return Estimate(r)
    influence, count = day_sums(a * b - r * (a**2 + b**2) / 2, day)
    error = ratio_error(influence, count) / (1 - r**2)  # of z, by the delta method
    low, high, p = student(float(np.arctanh(r)), error, carried - 1)
    return Estimate(r, float(np.tanh(low)), float(np.tanh(high)), p)


def memories(x: Floats, hour: Ints) -> float:
    """Return how many times the span holds the memory of ``x``: hours · E[Δ²] / 2·variance, of its hourly means.

    ``correlation`` is honest of an input that forgets within the span. One that does not, whose changes are the
    market's own, correlates with the later return of a martingale: after the fact a low price was followed by rises.
    Of a random walk this number stays below 14 in 99 of 100 spans of any length, and a test at 5 % is wrong in 30 to 34
    of 100. Of what lingers so that it is about 30, a span is both tested and wrong in 9 of 100, which is 15 of 100 that
    are tested: those pass that happened to return fast. About 200: 6. Noise laid over a random walk hides it.

    Parameters
    ----------
    x : float64[n], NaN where missing
    hour : int64[n], hours since an epoch; only hours that follow on one another are compared

    Returns
    -------
    float
        NaN below two hours or without any spread; 0 where no two hours follow on one another, as nothing tells.

    Source
    ------
    The ratio, one less the autocorrelation: von Neumann (1941), Annals of Mathematical Statistics 12(4), 367-395; the
    bias: Stambaugh (1999), J. Financial Economics 54(3), 375-421. The limit of 30 and the hour: ours.
    """
    known = np.isfinite(x)
    total, count = day_sums(x[known], hour[known])
    if len(total) < 2:
        return np.nan
    means = total / count
    spread = float(means.var())
    if spread <= (1e-12 * np.abs(means).max()) ** 2:
        return np.nan
    follows = np.diff(np.unique(hour[known])) == 1
    if not follows.any():
        return 0.0
    return len(means) * float(np.mean(np.diff(means)[follows] ** 2)) / (2 * spread)


def simes(p: Sequence[float]) -> float:
    """Return one p-value of "nothing is there in any of these tests", valid for tests that agree; NaN without tests.

    Source: Simes (1986), Biometrika 73(3), 751-754; for tests that go together: Sarkar (1998), Annals of Statistics
    26(2), 494-504.
    """
    return float(np.min(benjamini_hochberg(np.array(p)))) if p else np.nan


def benjamini_hochberg(p: Floats) -> Floats:
    """Return q float64[n]: the least false discovery rate at which each test is a discovery; NaN where ``p`` is.

    Source: Benjamini & Hochberg (1995), J. Royal Statistical Society B 57(1), 289-300; scipy's.
    """
    from scipy.stats import false_discovery_control

    q, known = np.full(len(p), np.nan), np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known], method="bh")
    return q


@dataclass(frozen=True)
class Information:
    """Mutual information of each column with the label beside its own noise floor, float64[k], nats, NaN: unknown."""

    nats: Floats
    floor: Floats
    rows_n: int


def bin_edges(x: Floats) -> Floats:
    """Return the upper ends of all bins of ``x`` float64[n] but the last: its values if ten at most, else deciles.

    A decile that is the largest value gives way to the next smaller one, so that a lump at the top has a bin.
    """
    values = np.unique(x)
    if len(values) <= BINS:
        return values[:-1]
    return np.unique(np.minimum(np.quantile(x, np.arange(1, BINS) / BINS), values[-2]))


def mutual_information(x: Floats, y: Ints, day: Days, seed: int) -> Information:
    """Return how much each column of ``x`` float64[n, k] says of the label ``y`` 0 or 1, whatever the shape.

    ``x`` is a thinned sample: rows whose labels do not overlap. Counted in ten bins, less what counting adds. A
    column's floor is what it shows in 95 of 100 orders of the label's days: an input and a label that both last, for
    hours or for days, share something by chance that rows in any order would not show. What both owe to the hour of the
    day stays in every order and counts as floor. NaN below 100 rows or one value. Seeded.

    Source
    ------
    Miller (1955), in Quastler (ed.), Information Theory in Psychology, 95-100 (the bias, (bins - 1)/2n); whole blocks
    in another order: Ojala & Garriga (2010), JMLR 11, 1833-1863.
    """
    rng = np.random.default_rng(seed)
    labels = np.column_stack([y, *(permuted_days(y, day, rng) for _ in range(SHUFFLES))]).astype(np.float64)
    found = np.full((SHUFFLES + 1, x.shape[1]), np.nan)
    for k, column in enumerate(x.T):
        known = np.isfinite(column)
        if known.sum() < LEAST_ROWS or np.ptp(column[known]) == 0.0:
            continue
        index = np.searchsorted(bin_edges(column[known]), column[known], side="left")
        found[:, k] = _information(index, labels[known])
    return Information(found[0], np.sort(found[1:], axis=0)[-ABOVE_FLOOR], len(y))


def _information(index: Ints, labels: Floats) -> Floats:
    # Entropy of each column of labels (n, s) less its mean entropy within the bins, (s,).
    member = index[:, None] == np.unique(index)  # (n, bins)
    size = member.sum(axis=0)
    within = _entropy(member.T.astype(np.float64) @ labels / size[:, None])
    excess = (len(size) - 1) / (2 * len(index))
    return np.asarray(np.maximum(_entropy(labels.mean(axis=0)) - size @ within / len(index) - excess, 0.0))


def _entropy(up: Floats) -> Floats:
    from scipy.special import xlogy

    return np.asarray(-xlogy(up, up) - xlogy(1 - up, 1 - up))


@dataclass(frozen=True)
class Redundancy:
    """Correlation of every pair of columns, float64[k, k], NaN where unknown; and who says the same as whom.

    ``order`` int64[k] puts columns that go together side by side; ``cluster`` int64[k] counts from 1 in that order, in
    a cluster every pair has |correlation| >= 0.8.
    """

    correlation: Floats
    order: Ints
    cluster: Ints


def redundancy(x: Floats) -> Redundancy:
    """Return the correlations among the columns of ``x`` float64[n, k] and their clusters.

    Each pair on the rows that both have. Hierarchical clustering of 1 - |correlation| with complete linkage, cut at
    1 - 0.8: an unknown correlation counts as none.

    Source
    ------
    Complete linkage: Defays (1977), Computer Journal 20(4), 364-366; scipy's.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    columns = x.shape[1]
    found = _pairwise(x)
    if columns < 2:
        return Redundancy(found, np.arange(columns), np.ones(columns, dtype=np.int64))
    apart = 1.0 - np.abs(np.nan_to_num(found, nan=0.0))
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(np.clip((apart + apart.T) / 2, 0.0, 1.0), checks=False), method="complete")
    order = leaves_list(tree).astype(np.int64)
    cut = fcluster(tree, 1.0 - SAME_ABOVE, criterion="distance")
    seen = {c: i + 1 for i, c in enumerate(dict.fromkeys(cut[order].tolist()))}
    return Redundancy(found, order, np.array([seen[c] for c in cut.tolist()], dtype=np.int64))


def _pairwise(x: Floats) -> Floats:
    # Sums over the rows that both columns of a pair have, as products of matrices.
    known = np.isfinite(x)
    m = known.astype(np.float64)
    with np.errstate(all="ignore"):
        centre = np.where(known, x, 0.0).sum(axis=0) / m.sum(axis=0)
        away = np.where(known, x - centre, 0.0)
        scale = np.sqrt((away**2).sum(axis=0) / m.sum(axis=0))
        z = away / scale
    z[:, ~(scale > 1e-12 * np.abs(centre))] = 0.0
    n, s, ss, cross = m.T @ m, z.T @ m, (z * z).T @ m, z.T @ z
    with np.errstate(all="ignore"):
        covariance = cross / n - (s / n) * (s.T / n)
        spread = (ss / n - (s / n) ** 2) * (ss.T / n - (s.T / n) ** 2)
        found = covariance / np.sqrt(spread)
    found[(n < LEAST_ROWS) | ~(spread > 1e-18)] = np.nan
    return np.asarray(np.clip(found, -1.0, 1.0))
