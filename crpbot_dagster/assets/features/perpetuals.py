"""What perpetual contracts say over venues: funding, basis, liquidations, and how old it is (docs/conventions.md).

Reads ``bars/derivatives_1m`` of several venues on one grid of minutes, and the daily mean of funding. The market price
of a premium is He, Manela, Ross & von Wachter (2022), "Fundamentals of Perpetual Futures", https://arxiv.org/abs/2212.06888
Not here: the minutes of one venue (``bars/derivatives.py``), wiring (``assets.py``).
"""

from collections.abc import Collection
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.features.microstructure import BPS, log_ratio
from crpbot_dagster.assets.features.price import arrays
from crpbot_dagster.assets.features.windows import FLAT, Floats, needed, ratio, window_sum

LEAST_VENUES = 2  # docs/conventions.md: one venue's funding is that venue's
FUNDING_HOURS = 8.0
FUNDING_DAYS = 30
DAILY_MAX_AGE = timedelta(hours=72)  # docs/conventions.md


def venue_median(values: NDArray[np.float64], least: int) -> Floats:
    """Return the median over venues, NaN with fewer than ``least``; ``values`` is float64[venues, rows]."""
    n = (~np.isnan(values)).sum(axis=0)
    ranked = np.sort(values, axis=0)  # NaN last
    low, high = np.maximum((n - 1) // 2, 0), np.minimum(n // 2, len(values) - 1)
    rows = np.arange(values.shape[1])
    return np.where(n >= least, (ranked[low, rows] + ranked[high, rows]) / 2, np.nan)


def funding_rate_bps_8h(venues: Collection[pl.DataFrame], rows: int) -> Floats:
    """Return the median over venues of the funding rate scaled to eight hours, bps; longs pay when positive."""
    if not venues:
        return np.full(rows, np.nan)
    stated = [arrays(v, "funding_rate", "funding_interval_h") for v in venues]
    scaled = [BPS * rate * ratio(np.full(rows, FUNDING_HOURS), hours) for rate, hours in stated]
    return venue_median(np.stack(scaled), LEAST_VENUES)


def basis_bps(venues: Collection[pl.DataFrame], rows: int) -> Floats:
    """Return the median over venues of ln(mark / index), bps."""
    if not venues:
        return np.full(rows, np.nan)
    return venue_median(np.stack([BPS * log_ratio(*arrays(v, "mark", "index")) for v in venues]), LEAST_VENUES)


def funding_z(ts: pl.Series, funding: Floats, daily: pl.DataFrame | None) -> Floats:
    """Return the distance of the funding rate from the mean of its last 30 known days, in their standard deviations.

    Parameters
    ----------
    ts : datetime[us, UTC], sorted
    funding : float64[rows], bps per 8 h
    daily : obs_day, available_ts, funding_bps_8h_mean
        Rows of ``bars/daily``; a row is known from its ``available_ts`` on, whatever day it describes.

    Returns
    -------
    float64[rows], standard deviations
        NaN below 24 valid days of 30, when the newest known day is older than 72 h, and when the days do not differ.

    Source
    ------
    Ours: is funding unusual for this season.
    """
    out = np.full(len(ts), np.nan)
    if daily is None or daily.is_empty():
        return out
    moments = daily["available_ts"].drop_nulls().unique().sort()
    edges = [*moments.search_sorted(ts, side="right").to_list()]
    for known in sorted(set(edges) - {0}):  # between two arrivals every row knows the same days
        rows = np.array(edges) == known
        days = daily.filter(pl.col("available_ts") <= moments[known - 1]).sort("obs_day").tail(FUNDING_DAYS)
        values = days["funding_bps_8h_mean"].drop_nulls().to_numpy()
        rows &= ((ts - days["available_ts"][-1]) <= DAILY_MAX_AGE).to_numpy()
        if len(values) < needed(FUNDING_DAYS):
            continue
        spread = values.std(ddof=1)
        if spread > FLAT * np.abs(values).max():
            out[rows] = (funding[rows] - values.mean()) / spread
    return out


def liquidation_imbalance(venues: Collection[pl.DataFrame], rows: int, w: int) -> Floats:
    """Return the share of shorts closed by force over longs closed by force in ``w`` rows, over venues; [−1, 1].

    0 when the feeds are alive and there was none. A venue without a feed is left out. Source: ours.
    """
    sides = []
    for name in ("liq_buy_usd", "liq_sell_usd"):
        values = np.stack([np.full(rows, np.nan), *(arrays(v, name)[0] for v in venues)])
        total = np.where(np.isnan(values).all(axis=0), np.nan, np.nansum(values, axis=0))
        sides.append(np.asarray(window_sum(total, w, needed(w))))
    bought, sold = sides
    return np.where(bought + sold == 0, 0.0, ratio(bought - sold, bought + sold))


def is_stale(venues: Collection[pl.DataFrame], rows: int) -> Floats:
    """Return 1 where a venue's row carries an old value, 0 where none does, NaN where no venue has a row."""
    flags = np.stack([np.full(rows, np.nan), *(arrays(v, "is_stale")[0] for v in venues)])
    return np.where(np.isnan(flags).all(axis=0), np.nan, (flags == 1).any(axis=0))
