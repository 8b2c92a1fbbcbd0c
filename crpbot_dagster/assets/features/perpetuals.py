"""What perpetual contracts say over venues: basis and liquidations; and their columns, venue by venue.

Values come as float64[venues, rows], NaN where a venue has none. What a premium means is He, Manela, Ross & von Wachter
(2022), "Fundamentals of Perpetual Futures", https://arxiv.org/abs/2212.06888
Not here: the minutes of one venue and the funding of several (``bars/derivatives.py``), which venues count (the
settings of a set).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.features.microstructure import BPS, log_ratio
from crpbot_dagster.assets.features.price import arrays
from crpbot_dagster.assets.features.windows import Floats, ratio, total

Venues = NDArray[np.float64]


def columns_of(frame: pl.DataFrame | None, rows: int, *names: str) -> tuple[Floats, ...]:
    """Return columns as arrays; of an absent source, all missing."""
    return tuple(np.full(rows, np.nan) for _ in names) if frame is None else arrays(frame, *names)


def of_venues(frames: Mapping[str, pl.DataFrame], venues: Sequence[str], rows: int, name: str) -> Venues:
    """Return one column of every venue, float64[venues, rows]."""
    return np.vstack([columns_of(frames.get(v), rows, name)[0] for v in venues])


def basis_bps(mark: Venues, index: Venues) -> Venues:
    """Return each venue's ln(mark / index), bps."""
    return np.vstack([BPS * log_ratio(m, i) for m, i in zip(mark, index, strict=True)])


def liquidation_imbalance(bought: Venues, sold: Venues, w: int) -> Floats:
    """Return the share of shorts closed by force over longs closed by force in ``w`` rows, over venues; [−1, 1].

    0 when the feeds are alive and there was none. A venue without a feed is left out. Source: ours.
    """
    sums = [total(np.where(np.isnan(x).all(axis=0), np.nan, np.nansum(x, axis=0)), w) for x in (bought, sold)]
    return np.where(sums[0] + sums[1] == 0, 0.0, ratio(sums[0] - sums[1], sums[0] + sums[1]))
