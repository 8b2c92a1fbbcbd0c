"""Wilder's directional movement: how much of the range was a move up, how much a move down, and how one-sided that was.

Not here: the other indicators of one price series (``price.py``).
"""

import numpy as np

from crpbot_dagster.assets.features.price import true_range
from crpbot_dagster.assets.features.windows import Floats, lag, ratio, share, wilder


def directional_movement(high: Floats, low: Floats, close: Floats, n: int) -> tuple[Floats, Floats]:
    """Return the directional indicators I⁺ and I⁻, shares of the true range in [0, 1]; NaN where nothing moved.

    Reads 10·(2n − 1) + 1 rows. Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    up, down = high - lag(high, 1), lag(low, 1) - low
    unknown = np.isnan(up) | np.isnan(down)
    plus = np.where(unknown, np.nan, np.where((up > down) & (up > 0), up, 0.0))
    minus = np.where(unknown, np.nan, np.where((down > up) & (down > 0), down, 0.0))
    moved = wilder(true_range(high, low, close), n)
    return ratio(wilder(plus, n), moved), ratio(wilder(minus, n), moved)


def average_directional_index(plus: Floats, minus: Floats, n: int) -> Floats:
    """Return Wilder's ADX in [0, 100] from the directional indicators; reads 10·(2n − 1) rows of them.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    return wilder(100 * np.abs(share(plus, minus)), n)
