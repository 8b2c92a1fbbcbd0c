"""Trades to buckets of equal traded size, the clock of VPIN (docs/conventions.md).

Buckets restart at 00:00 UTC, so a day needs no other day's ticks; the unfinished one is dropped.
Not here: the mean over buckets (``features/reversion.py``), wiring (``assets.py``).
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
from numba import njit

from crpbot_dagster.assets.bars.tape import KNOWN_DAYS, Clock, minute_grid

BUCKETS_A_DAY = 100  # docs/conventions.md: a hundredth of an average day
SCHEMA = {
    "bucket_n": pl.Int64(),
    "end_ts": pl.Datetime("us", "UTC"),
    "bucket_volume": pl.Float64(),
    "buy_volume": pl.Float64(),
    "sell_volume": pl.Float64(),
}


@njit(cache=True)
def fill_buckets(when, side, amount, bucket_volume):  # type: ignore[no-untyped-def]
    """Return when each bucket was completed and what it holds; trades fill buckets in order, split at the border.

    Parameters
    ----------
    when : int64[n], µs
        In order.
    side : int8[n]
        1 an aggressive buy, −1 a sell, 0 unknown: half goes to either side.
    amount : float64[n], base coin
        Above 0.
    bucket_volume : float, base coin
        Above 0.

    Returns
    -------
    ends : int64[buckets], µs
        Time of the trade that completes the bucket; a large trade may complete several.
    bought, sold : float64[buckets], base coin

    Source
    ------
    Easley, López de Prado & O'Hara (2012), "Flow Toxicity and Liquidity in a High-Frequency World", Rev. Financial
    Studies 25(5), section 1.2; with the exchange's aggressor side instead of bulk classification.
    https://doi.org/10.1093/rfs/hhs053
    """
    most = int(amount.sum() / bucket_volume) + 2
    ends, bought, sold = np.empty(most, np.int64), np.empty(most), np.empty(most)
    buy, sell, room, n = 0.0, 0.0, bucket_volume, 0
    for i in range(len(when)):
        to_buy = (1.0 + side[i]) / 2.0
        left = amount[i]
        while left >= room:
            ends[n] = when[i]
            bought[n] = buy + to_buy * room
            sold[n] = sell + (1.0 - to_buy) * room
            n += 1
            left -= room
            buy, sell, room = 0.0, 0.0, bucket_volume
        buy += to_buy * left
        sell += (1.0 - to_buy) * left
        room -= left
    return ends[:n], bought[:n], sold[:n]


def bucket_volume(volumes: pl.DataFrame) -> float | None:
    """Return the size of a bucket in coin: mean of the last 7 known daily volumes / 100.

    ``volumes`` holds the rows of ``bars/volume_1d`` of the 7 days before; None below 6 known days, or without trade.
    """
    known = volumes["volume"].drop_nulls()
    mean = float(known.mean()) if len(known) >= KNOWN_DAYS else 0.0  # type: ignore[arg-type]
    return mean / BUCKETS_A_DAY if mean > 0 else None


def volume_buckets(ticks: pl.LazyFrame, day: date, size: float | None, clock: Clock) -> pl.DataFrame:
    """Return one row per completed bucket of ``day``, in time order; none when the size of a bucket is not known.

    Parameters
    ----------
    ticks : ts_exchange, ts_received (UTC µs), side (buy, sell or null), amount (coin)
        In file order; trades of other days are left out.
    size : coin
        ``bucket_volume``; None: no buckets that day.
    clock : received or exchange
        The clock that orders the trades and stamps the buckets.

    Returns
    -------
    bucket_n (from 0), end_ts, bucket_volume, buy_volume, sell_volume (coin).
    """
    if size is None:
        return pl.DataFrame(schema=SCHEMA)
    start = minute_grid(day)["ts"][0]
    when = pl.col(f"ts_{clock}")
    signs = pl.when(pl.col("side") == "buy").then(1).when(pl.col("side") == "sell").then(-1).otherwise(0)
    found = (
        ticks.filter((when >= start) & (when < start + timedelta(days=1)))
        .select(when.dt.epoch("us").alias("when"), signs.cast(pl.Int8).alias("side"), "amount")
        .collect(engine="streaming")
        .sort("when", maintain_order=True)
    )
    ends, bought, sold = fill_buckets(
        found["when"].to_numpy(), found["side"].to_numpy(), found["amount"].to_numpy(), size
    )
    return pl.DataFrame(
        {
            "bucket_n": np.arange(len(ends)),
            "end_ts": pl.Series(ends, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "bucket_volume": np.full(len(ends), size),
            "buy_volume": bought,
            "sell_volume": sold,
        },
        schema=SCHEMA,
    )
