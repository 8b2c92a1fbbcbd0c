"""Trailing-window kernels: each window is summed afresh, from its oldest row to its newest.

So a value never depends on where the frame starts, and history, backfill and live agree bit for bit
(docs/conventions.md). In all of them NaN is a missing row, rows before the frame are missing, element
``i`` reads rows ``i - w + 1`` … ``i`` only, and the result is NaN with fewer than ``need`` valid rows.
Not here: which column uses which window (``price.py``, ``microstructure.py``).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLAT = 1e-12  # docs/conventions.md: a spread below this share of the window's largest value counts as 0
MINUTES_A_YEAR = 525_600  # 365 days: the market never closes


def needed(w: int) -> int:
    """Return ceil(0.8·w) in integers: the rows a window of ``w`` must hold (docs/conventions.md)."""
    return (4 * w + 4) // 5


def lag(x: Floats, rows: int) -> Floats:
    """Return ``x`` of the row ``rows`` earlier, NaN before the frame; same unit."""
    out = np.full_like(x, np.nan)
    out[rows:] = x[: max(0, len(x) - rows)]
    return out


def ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, NaN where b is 0; never a substitute for a missing denominator."""
    out = np.full(len(a), np.nan)
    np.divide(a, b, out=out, where=b != 0)
    return out


def share(a: Floats, b: Floats) -> Floats:
    """Return (a − b) / (a + b) in [−1, 1], NaN where a + b = 0."""
    return ratio(a - b, a + b)


@njit(cache=True)
def window_sum(x, w, need):  # type: ignore[no-untyped-def]
    """Return the sum over the valid rows of each window; unit of ``x``. Source: textbook arithmetic."""
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        total, n = 0.0, 0
        for j in range(max(0, i - w + 1), i + 1):
            if not np.isnan(x[j]):
                total += x[j]
                n += 1
        if n >= need:
            out[i] = total
    return out


@njit(cache=True)
def window_mean(x, w, need):  # type: ignore[no-untyped-def]
    """Return the mean over the valid rows of each window; unit of ``x``. Source: textbook arithmetic."""
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        total, n = 0.0, 0
        for j in range(max(0, i - w + 1), i + 1):
            if not np.isnan(x[j]):
                total += x[j]
                n += 1
        if n >= need:
            out[i] = total / n
    return out


@njit(cache=True)
def window_std(x, w, need, ddof):  # type: ignore[no-untyped-def]
    """Return the standard deviation of each window (divisor n − ``ddof``), in two passes; unit of ``x``.

    A spread of at most 1e-12 of the window's largest absolute value is exactly 0. Source: textbook arithmetic.
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        first = max(0, i - w + 1)
        total, largest, n = 0.0, 0.0, 0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                total += x[j]
                largest = max(largest, abs(x[j]))
                n += 1
        if n < need or n <= ddof:
            continue
        mean, squares = total / n, 0.0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                squares += (x[j] - mean) ** 2
        spread = np.sqrt(squares / (n - ddof))
        out[i] = spread if spread > FLAT * largest else 0.0
    return out


@njit(cache=True)
def window_slope(x, w, need):  # type: ignore[no-untyped-def]
    """Return the least-squares slope of ``x`` on the row's place in the window, per row; unit of ``x`` a minute.

    Source: textbook arithmetic.
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        first = max(0, i - w + 1)
        mean_j, mean_x, n = 0.0, 0.0, 0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                mean_j += j - i
                mean_x += x[j]
                n += 1
        if n < need or n < 2:
            continue
        mean_j /= n
        mean_x /= n
        up, down = 0.0, 0.0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                up += (j - i - mean_j) * (x[j] - mean_x)
                down += (j - i - mean_j) ** 2
        out[i] = up / down
    return out


@njit(cache=True)
def weighted_mean(x, alpha, w):  # type: ignore[no-untyped-def]
    """Return the exponentially weighted mean over ``w`` rows, weights (1 − alpha)^age; unit of ``x``.

    A missing row keeps its place; NaN when the valid rows hold less than 80 % of the weight. The truncated
    sum replaces a recursive filter, whose value would depend on the frame's first row (docs/conventions.md).
    Source: ours; for alpha = 1/n see Wilder (1978), New Concepts in Technical Trading Systems.
    """
    weight = (1.0 - alpha) ** np.arange(w)
    enough = 0.8 * weight.sum()
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        total, held = 0.0, 0.0
        for j in range(max(0, i - w + 1), i + 1):
            if not np.isnan(x[j]):
                total += weight[i - j] * x[j]
                held += weight[i - j]
        if held >= enough:
            out[i] = total / held
    return out


def ema(x: Floats, span: int) -> Floats:
    """Return the truncated exponential mean of ``span``: alpha = 2/(span + 1), 10·span rows."""
    return np.asarray(weighted_mean(x, 2.0 / (span + 1), 10 * span))


def wilder(x: Floats, n: int) -> Floats:
    """Return Wilder's smoothing, truncated: alpha = 1/n, 10·(2n − 1) rows."""
    return np.asarray(weighted_mean(x, 1.0 / n, 10 * (2 * n - 1)))


@njit(cache=True)
def window_slope_of(y, x, w, need):  # type: ignore[no-untyped-def]
    """Return the least-squares slope (with intercept) of ``y`` on ``x`` in each window; unit of y per unit of x.

    Rows where both are valid; NaN when ``x`` does not vary. Source: Kyle (1985), Econometrica 53(6), as the
    price-impact regression, https://doi.org/10.2307/1913210
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        first = max(0, i - w + 1)
        mean_x, mean_y, largest, n = 0.0, 0.0, 0.0, 0
        for j in range(first, i + 1):
            if not (np.isnan(x[j]) or np.isnan(y[j])):
                mean_x += x[j]
                mean_y += y[j]
                largest = max(largest, abs(x[j]))
                n += 1
        if n < need or n == 0:
            continue
        mean_x /= n
        mean_y /= n
        up, down = 0.0, 0.0
        for j in range(first, i + 1):
            if not (np.isnan(x[j]) or np.isnan(y[j])):
                up += (x[j] - mean_x) * (y[j] - mean_y)
                down += (x[j] - mean_x) ** 2
        if down > FLAT * largest:
            out[i] = up / down
    return out


@njit(cache=True)
def window_quantiles(x, w, need, quantiles):  # type: ignore[no-untyped-def]
    """Return the linear-interpolated ``quantiles`` of each window, float64[rows, quantiles]; unit of ``x``.

    Keeps the window sorted by insertion and deletion: order statistics do not depend on how they were reached.
    """
    out = np.full((len(x), len(quantiles)), np.nan)
    ordered = np.empty(w + 1)
    n = 0
    for i in range(len(x)):
        if i >= w and not np.isnan(x[i - w]):
            gone = np.searchsorted(ordered[:n], x[i - w])
            for j in range(gone, n - 1):
                ordered[j] = ordered[j + 1]
            n -= 1
        if not np.isnan(x[i]):
            place = np.searchsorted(ordered[:n], x[i])
            for j in range(n, place, -1):
                ordered[j] = ordered[j - 1]
            ordered[place] = x[i]
            n += 1
        if n < need or n == 0:
            continue
        for k in range(len(quantiles)):
            at = quantiles[k] * (n - 1)
            low = int(np.floor(at))
            high = min(low + 1, n - 1)
            out[i, k] = ordered[low] + (at - low) * (ordered[high] - ordered[low])
    return out


@njit(cache=True)
def window_z(x, w, need):  # type: ignore[no-untyped-def]
    """Return how many standard deviations each row lies from the mean of its window, own row included.

    Parameters
    ----------
    x : float64[n], any unit
    w, need : int
        Rows of the window, and how many of them must be valid.

    Returns
    -------
    float64[n], standard deviations (divisor n − 1)
        Element ``i`` reads rows ``i − w + 1`` … ``i``; NaN where ``x`` is, and where the window is flat: a deviation of
        at most 1e-12 of its largest absolute value. At most (w − 1)/√w.

    Source
    ------
    Textbook arithmetic.
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        if np.isnan(x[i]):
            continue
        first = max(0, i - w + 1)
        while np.isnan(x[first]):
            first += 1
        origin, total, largest, n = x[first], 0.0, 0.0, 0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                total += x[j] - origin
                largest = max(largest, abs(x[j]))
                n += 1
        if n < need or n < 2:
            continue
        mean, squares = total / n, 0.0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                squares += (x[j] - origin - mean) ** 2
        spread = np.sqrt(squares / (n - 1))
        if spread > FLAT * largest:
            out[i] = (x[i] - origin - mean) / spread
    return out


def mean(x: Floats, w: int) -> Floats:
    """Return ``mean_w(x)`` with the general share of valid rows."""
    return np.asarray(window_mean(x, w, needed(w)))


def total(x: Floats, w: int) -> Floats:
    """Return ``sum_w(x)`` with the general share of valid rows."""
    return np.asarray(window_sum(x, w, needed(w)))


def zscore(x: Floats, w: int) -> Floats:
    """Return ``z_w(x)`` with the general share of valid rows."""
    return np.asarray(window_z(x, w, needed(w)))


def annualised(variance: Floats) -> Floats:
    """Return the volatility per √year of a variance per minute; 1 is 100 %."""
    return np.sqrt(MINUTES_A_YEAR * variance)
