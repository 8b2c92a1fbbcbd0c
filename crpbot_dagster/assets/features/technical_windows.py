"""Trailing-window kernels of the technical features: extremes, their age, mean deviation, the volume profile.

The rules are those of ``windows.py``: NaN is a missing row, element ``i`` reads rows ``i - w + 1`` … ``i`` only, and
nothing depends on where the frame starts. Not here: which column uses which (``technical.py``, ``multi_source.py``).
"""

import numpy as np
from numba import njit

from crpbot_dagster.assets.features.windows import FLAT, Floats

BINS = 50  # docs/conventions.md: the volume profile
VALUE_AREA_FRAC = 0.7  # Steidlmayer & Koy (1986), about one standard deviation of the volume


@njit(cache=True)
def window_max(x, w, need):  # type: ignore[no-untyped-def]
    """Return the largest valid value of each window; unit of ``x``. Source: textbook arithmetic.

    Keeps the candidates in falling order instead of searching each window: a maximum does not depend on how it was
    reached.
    """
    out = np.full(len(x), np.nan)
    candidates = np.empty(len(x), np.int64)
    first, last, n = 0, 0, 0
    for i in range(len(x)):
        if i >= w and not np.isnan(x[i - w]):
            n -= 1
        if not np.isnan(x[i]):
            n += 1
            while last > first and x[candidates[last - 1]] <= x[i]:
                last -= 1
            candidates[last] = i
            last += 1
        while last > first and candidates[first] <= i - w:
            first += 1
        if n >= need and last > first:
            out[i] = x[candidates[first]]
    return out


def window_min(x: Floats, w: int, need: int) -> Floats:
    """Return the smallest valid value of each window; unit of ``x``. Source: textbook arithmetic."""
    return -np.asarray(window_max(-x, w, need))


@njit(cache=True)
def rows_since_max(x, w, need):  # type: ignore[no-untyped-def]
    """Return the rows since the latest largest value of each window, 0 … w − 1.

    Source: Chande (1995), A Time Price Oscillator, Technical Analysis of Stocks & Commodities (Aroon).
    """
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        best, at, n = -np.inf, i, 0
        for j in range(max(0, i - w + 1), i + 1):
            if not np.isnan(x[j]):
                n += 1
                if x[j] >= best:
                    best, at = x[j], j
        if n >= need and n > 0:
            out[i] = i - at
    return out


@njit(cache=True)
def window_mean_deviation(x, w, need):  # type: ignore[no-untyped-def]
    """Return the mean distance from the mean of each window, in two passes; unit of ``x``.

    At most 1e-12 of the window's largest absolute value is exactly 0. Source: Lambert (1980), Commodity Channel Index.
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
        if n < need or n == 0:
            continue
        mean, distance = total / n, 0.0
        for j in range(first, i + 1):
            if not np.isnan(x[j]):
                distance += abs(x[j] - mean)
        spread = distance / n
        out[i] = spread if spread > FLAT * largest else 0.0
    return out


@njit(cache=True)
def value_area(bins):  # type: ignore[no-untyped-def]
    """Return the indices of the fullest bin and of the lowest and highest bin of the value area around it.

    Parameters
    ----------
    bins : float64[n], coin
        Volume by price, lowest price first, with a positive sum.

    Returns
    -------
    int, int, int
        The fullest bin (lowest on a tie); from it the fuller neighbour is added (upper on a tie, the only one at an
        edge) until 70 % of the volume is held.

    Source
    ------
    Steidlmayer & Koy (1986), Markets and Market Logic.
    """
    fullest, total = 0, 0.0
    for k in range(len(bins)):
        total += bins[k]
        if bins[k] > bins[fullest]:
            fullest = k
    low, high, held = fullest, fullest, bins[fullest]
    while held < VALUE_AREA_FRAC * total and (low > 0 or high < len(bins) - 1):
        below = bins[low - 1] if low > 0 else -1.0
        above = bins[high + 1] if high < len(bins) - 1 else -1.0
        if above >= below:
            high += 1
            held += above
        else:
            low -= 1
            held += below
    return fullest, low, high


@njit(cache=True)
def volume_profile(log_price, volume, bottom, top, w, need):  # type: ignore[no-untyped-def]
    """Return where the volume of each window traded: centre of the fullest bin, lower and upper border of the area.

    Parameters
    ----------
    log_price : float64[rows], ln USD
        ln of each minute's average price; NaN without a trade.
    volume : float64[rows], coin
    bottom, top : float64[rows], ln USD
        ln of the window's lowest and highest price, with 50 equal bins between them; NaN where they are equal.
    w, need : int
        Rows of the window, and how many must have traded.

    Returns
    -------
    float64[rows, 3], ln USD
        Element ``i`` reads rows ``i - w + 1`` … ``i``; NaN as a whole when nothing was traded.

    Source
    ------
    Steidlmayer & Koy (1986), Markets and Market Logic.
    """
    out = np.full((len(volume), 3), np.nan)
    bins = np.zeros(BINS)
    for i in range(len(volume)):
        if np.isnan(bottom[i]) or np.isnan(top[i]):
            continue
        bins[:] = 0.0
        width, n = (top[i] - bottom[i]) / BINS, 0
        for j in range(max(0, i - w + 1), i + 1):
            if not (np.isnan(log_price[j]) or np.isnan(volume[j])):
                place = int(np.floor((log_price[j] - bottom[i]) / width))
                bins[min(BINS - 1, max(0, place))] += volume[j]
                n += 1
        if n < need or bins.max() <= 0.0:
            continue
        fullest, low, high = value_area(bins)
        out[i, 0] = bottom[i] + (fullest + 0.5) * width
        out[i, 1] = bottom[i] + low * width
        out[i, 2] = bottom[i] + (high + 1) * width
    return out
