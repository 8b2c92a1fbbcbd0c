"""How a column goes with the label and with other columns: correlation, mutual information, redundancy.

Labels overlap and regimes last, so an interval here treats whole UTC days as the unit. Not here: drift of a column
(``drift.py``), what a model makes of it (``importance.py``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.evaluations.day_blocks import Days, Estimate, Floats, Ints, day_sums, ratio_error, student

LEAST_ROWS = 100  # below it nothing is said of a column
LEAST_DAYS = 2.0  # days that must carry a column's spread
NEIGHBOURS = 3  # of the estimator of mutual information, as its authors advise
SHUFFLES = 3  # of the label, to see what no information looks like
FLOOR_QUANTILE = 0.95
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
    """Mutual information of each column with the label, nats, and what 95 of 100 columns show of a shuffled label."""

    nats: Floats
    floor: float
    rows_n: int


def mutual_information(x: Floats, y: Ints, is_discrete: NDArray[np.bool_], seed: int) -> Information:
    """Return how much each column of ``x`` float64[n, k] says of the label ``y`` 0 or 1, whatever the shape.

    ``x`` is a thinned sample: rows whose labels do not overlap. NaN below 100 rows or one value. Seeded.

    Source
    ------
    Ross (2014), PLoS ONE 9(2), e87357, as scikit-learn has it.
    """
    rng = np.random.default_rng(seed)
    labels = [y, *(rng.permutation(y) for _ in range(SHUFFLES))]
    found = np.full((len(labels), x.shape[1]), np.nan)
    for k in range(x.shape[1]):
        known = np.isfinite(x[:, k])
        if known.sum() < LEAST_ROWS or np.ptp(x[known, k]) == 0.0:
            continue
        for i, label in enumerate(labels):
            found[i, k] = _information(x[known, k], label[known], bool(is_discrete[k]), seed)
    shuffled = found[1:][np.isfinite(found[1:])]
    floor = float(np.quantile(shuffled, FLOOR_QUANTILE)) if len(shuffled) else np.nan
    return Information(found[0], floor, len(y))


def _information(x: Floats, y: Ints, is_discrete: bool, seed: int) -> float:
    from sklearn.feature_selection import mutual_info_classif

    if len(np.unique(y)) < 2:
        return np.nan
    told = mutual_info_classif(
        x[:, None], y, discrete_features=[is_discrete], n_neighbors=NEIGHBOURS, random_state=seed
    )
    return float(told[0])


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
