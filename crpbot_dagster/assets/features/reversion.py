"""Kernels of reversion: how fast a price returns, how it moves with another, where it stands among its past.

Trailing windows in the form of ``windows.py``: NaN is a missing row, rows before the frame are missing, each window is
summed afresh from its oldest row to its newest, and the result is NaN below ``need`` valid rows. ``x`` near ln(price)
moves in the ninth digit: regressions and variances subtract the window's first valid value before they sum.
Not here: which feature uses which window (``mean_reversion.py``).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crpbot_dagster.assets.features.windows import FLAT, Floats, lag, needed, ratio, window_mean, window_sum

HURST_LAGS = (1, 2, 4, 8, 16, 32)
HALF_LIFE_CAP_MIN = 1440.0  # docs/conventions.md: both limits of the half-life, and about half of all random walks
VPIN_BUCKETS = 25  # docs/conventions.md: a quarter of an average day
VPIN_SPAN_US = 1200 * 60_000_000  # docs/conventions.md: reach 1,200


@njit(cache=True)
def window_correlation(x, y, w, need):  # type: ignore[no-untyped-def]
    """Return the correlation of ``x`` and ``y`` in each window.

    Parameters
    ----------
    x, y : float64[n], any unit
    w, need : int
        Rows of the window, and how many of them must have both.

    Returns
    -------
    float64[n], in [−1, 1]
        Element ``i`` reads rows ``i − w + 1`` … ``i`` where both are valid; NaN when either is flat.

    Source
    ------
    Textbook arithmetic.
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        first = max(0, i - w + 1)
        mean_x, mean_y, largest_x, largest_y, n = 0.0, 0.0, 0.0, 0.0, 0
        for j in range(first, i + 1):
            if not (np.isnan(x[j]) or np.isnan(y[j])):
                mean_x += x[j]
                mean_y += y[j]
                largest_x = max(largest_x, abs(x[j]))
                largest_y = max(largest_y, abs(y[j]))
                n += 1
        if n < need or n < 2:
            continue
        mean_x /= n
        mean_y /= n
        xx, yy, xy = 0.0, 0.0, 0.0
        for j in range(first, i + 1):
            if not (np.isnan(x[j]) or np.isnan(y[j])):
                xx += (x[j] - mean_x) ** 2
                yy += (y[j] - mean_y) ** 2
                xy += (x[j] - mean_x) * (y[j] - mean_y)
        spread_x, spread_y = np.sqrt(xx / (n - 1)), np.sqrt(yy / (n - 1))
        if spread_x > FLAT * largest_x and spread_y > FLAT * largest_y:
            out[i] = xy / (n - 1) / (spread_x * spread_y)
    return out


@njit(cache=True)
def window_rank(x, w, need):  # type: ignore[no-untyped-def]
    """Return the share of the window's rows below the newest one, rows equal to it (itself too) counted half.

    Parameters
    ----------
    x : float64[n], any unit
    w, need : int
        Rows of the window, and how many of them must be valid.

    Returns
    -------
    float64[n], in (0, 1)
        Element ``i`` reads rows ``i − w + 1`` … ``i``; NaN where ``x`` is.

    Source
    ------
    Ours: a percentile without a sample from the future.
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        if np.isnan(x[i]):
            continue
        below, equal, n = 0, 0, 0
        for j in range(max(0, i - w + 1), i + 1):
            below += x[j] < x[i]
            equal += x[j] == x[i]
            n += not np.isnan(x[j])
        if n >= need:
            out[i] = (below + 0.5 * equal) / n
    return out


@njit(cache=True)
def _on_the_row_before(x, need):  # type: ignore[no-untyped-def]
    # Least squares x_j = a + φ·x_{j−1}: φ, a, σ and the pairs that are whole; NaN where nothing can be said.
    mean_x, mean_y, largest, n = 0.0, 0.0, 0.0, 0
    for k in range(1, len(x)):
        if not np.isnan(x[k - 1] + x[k]):
            mean_x += x[k - 1]
            mean_y += x[k]
            largest = max(largest, abs(x[k - 1]))
            n += 1
    if n < need or n < 3:
        return np.nan, np.nan, np.nan, n
    mean_x /= n
    mean_y /= n
    xx, xy = 0.0, 0.0
    for k in range(1, len(x)):
        if not np.isnan(x[k - 1] + x[k]):
            xx += (x[k - 1] - mean_x) ** 2
            xy += (x[k - 1] - mean_x) * (x[k] - mean_y)
    if xx <= FLAT * largest:
        return np.nan, np.nan, np.nan, n
    phi = xy / xx
    a, squares = mean_y - phi * mean_x, 0.0
    for k in range(1, len(x)):
        if not np.isnan(x[k - 1] + x[k]):
            squares += (x[k] - a - phi * x[k - 1]) ** 2
    sigma = np.sqrt(squares / (n - 2))
    return phi, a, sigma if sigma > FLAT * largest else 0.0, n


@njit(cache=True)
def autoregression(x, pairs, need):  # type: ignore[no-untyped-def]
    """Return the AR(1) of each window, x_j = a + φ·x_{j−1} + ε, over ``pairs`` neighbouring pairs.

    Parameters
    ----------
    x : float64[n], ln USD
    pairs, need : int
        Pairs of the window, and how many of them must be whole.

    Returns
    -------
    float64[n, 4]: φ · σ (ln USD, √(SSE/(pairs − 2)), 0 when ≤ 1e-12 of the largest x) · pairs used ·
        x_i − a/(1 − φ) (ln USD: distance from the equilibrium; NaN without x_i or when φ = 1).
        Element ``i`` reads rows ``i − pairs`` … ``i``; NaN when the x_{j−1} do not vary.

    Source
    ------
    Avellaneda & Lee (2010), "Statistical Arbitrage in the US Equities Market", Quantitative Finance 10(7), appendix.
    https://doi.org/10.1080/14697680903124632
    """
    out = np.full((len(x), 4), np.nan)
    shifted = np.empty(pairs + 1)
    for i in range(len(x)):
        first = max(0, i - pairs)
        origin = np.nan
        for j in range(first, i + 1):
            if np.isnan(origin):
                origin = x[j]
            shifted[j - first] = x[j] - origin
        phi, a, sigma, n = _on_the_row_before(shifted[: i - first + 1], need)
        if np.isnan(phi):
            continue
        out[i, 0] = phi
        out[i, 1] = sigma
        out[i, 2] = n
        if phi != 1.0:
            out[i, 3] = shifted[i - first] - a / (1.0 - phi)
    return out


def unbiased(phi: Floats, pairs: Floats) -> Floats:
    """Return φ + (1 + 3φ)/n: least squares on few pairs finds too much reversion.

    Source: Kendall (1954), "Note on Bias in the Estimation of Autocorrelation", Biometrika 41,
    https://doi.org/10.1093/biomet/41.3-4.403
    """
    return phi + (1 + 3 * phi) / pairs


def half_life(phi: Floats) -> Floats:
    """Return the minutes in which a deviation halves, −ln 2/ln φ, in [0, 1440]: its limits where φ is outside (0, 1).

    Source: Uhlenbeck & Ornstein (1930), Physical Review 36, in discrete time; see ``autoregression``.
    """
    minutes = np.full(len(phi), np.nan)
    inside = (phi > 0) & (phi < 1)
    minutes[inside] = np.minimum(HALF_LIFE_CAP_MIN, -np.log(2.0) / np.log(phi[inside]))
    minutes[phi <= 0] = 0.0
    minutes[phi >= 1] = HALF_LIFE_CAP_MIN
    return minutes


def equilibrium_score(phi: Floats, sigma: Floats, distance: Floats) -> Floats:
    """Return the distance from the equilibrium in its standard deviations σ/√(1 − φ²), clipped to ±10.

    NaN unless 0 < φ < 1: without an equilibrium there is no distance from it. Source: as ``autoregression`` (s-score).
    """
    inside = (phi > 0) & (phi < 1)
    spread = np.where(inside, sigma / np.sqrt(np.where(inside, 1 - phi**2, 1.0)), np.nan)
    return np.clip(ratio(distance, spread), -10, 10)


def hurst(x: Floats, w: int) -> Floats:
    """Return the generalised Hurst exponent (q = 1): the slope of ln K(τ) on ln τ, K the mean of abs(x_j − x_{j−τ}).

    Pairs lie inside the last ``w`` rows and each K needs 80 % of its own. NaN where a K is 0. A random walk has 0.5, a
    line 1; clipped to [−0.5, 1.5]. Source: Di Matteo (2007), "Multi-scaling in Finance", Quantitative Finance 7(1),
    https://doi.org/10.1080/14697680600969727
    """
    lags = np.log(np.array(HURST_LAGS, np.float64))
    weights = (lags - lags.mean()) / ((lags - lags.mean()) ** 2).sum()
    slope = np.zeros(len(x))
    for weight, rows in zip(weights, HURST_LAGS, strict=True):
        k = np.asarray(window_mean(np.abs(x - lag(x, rows)), w - rows, needed(w - rows)))
        slope += weight * np.log(k, out=np.full(len(x), np.nan), where=k > 0)
    return np.clip(slope, -0.5, 1.5)


def variance_ratio(returns: Floats, q: int, w: int) -> NDArray[np.float64]:
    """Return VR(q) and its heteroskedastic z*(q) over ``w`` one-row log returns, float64[rows, 2].

    1 for a random walk, below 1 where moves are taken back. A step counts when its q returns are all there: a step over
    a hole would hold a move that the returns do not.

    Source: Lo & MacKinlay (1988), "Stock Market Prices Do Not Follow Random Walks", Rev. Financial Studies 1(1),
    https://doi.org/10.1093/rfs/1.1.41
    """
    return np.asarray(_variance_ratio(returns, window_sum(returns, q, q), q, w, needed(w)))


@njit(cache=True)
def _variance_ratio(returns, steps, q, w, need):  # type: ignore[no-untyped-def]
    out = np.full((len(returns), 2), np.nan)
    # Squared deviations of the window, newest first, then zeros; a missing one is 0, so its products drop out.
    squared = np.zeros(w + q)
    products = np.empty(q - 1)
    for i in range(len(returns)):
        first = max(0, i - w + 1)
        total, largest, n = 0.0, 0.0, 0
        for j in range(first, i + 1):
            if not np.isnan(returns[j]):
                total += returns[j]
                largest = max(largest, abs(returns[j]))
                n += 1
        if n < need or n <= q:
            continue
        mean, squares = total / n, 0.0
        for j in range(first, i + 1):
            d = 0.0 if np.isnan(returns[j]) else (returns[j] - mean) ** 2
            squared[i - j] = d
            squares += d
        long, n_long = 0.0, 0
        for j in range(first + q - 1, i + 1):
            if not np.isnan(steps[j]):
                long += (steps[j] - q * mean) ** 2
                n_long += 1
        if n_long == 0 or np.sqrt(squares / (n - 1)) <= FLAT * largest:
            continue
        out[i, 0] = long / (q * n_long * (1.0 - q / n)) / (squares / (n - 1))
        products[:] = 0.0
        for k in range(i - first, -1, -1):  # oldest to newest, all lags side by side
            for j in range(q - 1):
                products[j] += squared[k] * squared[k + j + 1]
        theta = 0.0
        for j in range(1, q):
            theta += (2.0 * (q - j) / q) ** 2 * products[j - 1] / squares**2
        if theta > 0:
            out[i, 1] = (out[i, 0] - 1.0) / np.sqrt(theta)
    return out


@njit(cache=True)
def volume_synchronised_imbalance(imbalance, end_us, known_us, buckets, span_us):  # type: ignore[no-untyped-def]
    """Return VPIN: the mean imbalance of the last buckets of equal volume that were complete when a row was known.

    Parameters
    ----------
    imbalance : float64[m], share of the bucket in [0, 1]
        abs(bought − sold) / bucket, in order of completion.
    end_us : int64[m], µs
        When each bucket was completed, sorted.
    known_us : int64[n], µs
        When each row is known: ts + 1 min.
    buckets, span_us : int
        How many buckets, and the time that all of them must lie in.

    Returns
    -------
    float64[n], in [0, 1]
        Element ``i`` reads buckets that end in (known_us[i] − span_us, known_us[i]), both ends out; NaN with fewer
        than ``buckets`` of them, or with a missing one among them.

    Source
    ------
    Easley, López de Prado & O'Hara (2012), "Flow Toxicity and Liquidity in a High-Frequency World", Rev. Financial
    Studies 25(5). https://doi.org/10.1093/rfs/hhs053 What it adds is disputed: Andersen & Bondarenko (2014),
    https://doi.org/10.1016/j.finmar.2013.05.005
    """
    out = np.full(len(known_us), np.nan)
    after = 0
    for i in range(len(known_us)):
        while after < len(end_us) and end_us[after] < known_us[i]:
            after += 1
        first = after - buckets
        if first < 0 or end_us[first] <= known_us[i] - span_us:
            continue
        total = 0.0
        for j in range(first, after):
            total += imbalance[j]
        out[i] = total / buckets
    return out
