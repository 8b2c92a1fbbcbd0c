"""What perpetual contracts say over venues: funding, basis, liquidations (docs/conventions.md).

Values come as float64[venues, rows], NaN where a venue has none. What a premium means is He, Manela, Ross & von Wachter
(2022), "Fundamentals of Perpetual Futures", https://arxiv.org/abs/2212.06888
Not here: the minutes of one venue (``bars/derivatives.py``), which venues count (the settings of a set).
"""

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.features.microstructure import BPS, log_ratio
from crpbot_dagster.assets.features.technical import total
from crpbot_dagster.assets.features.windows import Floats, ratio

VENUES_NEEDED = 2  # a pair to trade between, a median to form
FUNDING_HOURS = 8

Venues = NDArray[np.float64]


def middle(x: Venues, need: int) -> Floats:
    """Return the median over the valid of float64[venues, rows], NaN with fewer than ``need``."""
    ranked, n = np.sort(x, axis=0), (~np.isnan(x)).sum(axis=0)
    low, high = (np.take_along_axis(ranked, at[None], axis=0)[0] for at in (np.maximum(n - 1, 0) // 2, n // 2 % len(x)))
    return np.where(n >= need, (low + high) / 2, np.nan)


def funding_bps_8h(rate: Venues, hours: Venues) -> Venues:
    """Return each venue's funding rate scaled from its interval to eight hours, bps; longs pay when positive."""
    return np.divide(BPS * rate * FUNDING_HOURS, hours, out=np.full(rate.shape, np.nan), where=hours > 0)


def basis_bps(mark: Venues, index: Venues) -> Venues:
    """Return each venue's ln(mark / index), bps."""
    return np.vstack([BPS * log_ratio(m, i) for m, i in zip(mark, index, strict=True)])


def liquidation_imbalance(bought: Venues, sold: Venues, w: int) -> Floats:
    """Return the share of shorts closed by force over longs closed by force in ``w`` rows, over venues; [−1, 1].

    0 when the feeds are alive and there was none. A venue without a feed is left out. Source: ours.
    """
    sums = [total(np.where(np.isnan(x).all(axis=0), np.nan, np.nansum(x, axis=0)), w) for x in (bought, sold)]
    return np.where(sums[0] + sums[1] == 0, 0.0, ratio(sums[0] - sums[1], sums[0] + sums[1]))
