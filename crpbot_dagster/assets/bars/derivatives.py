"""What a venue states of its perpetual, and its liquidations, to one row per minute (docs/conventions.md).

A value is carried for minutes, funding for hours, and no further: what is older is null, and the row says that it is
stale. Not here: funding over venues (``features/perpetuals.py``), wiring (``assets.py``).
"""

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.bars.tape import MINUTE_US, Clock, minute_grid

HOUR_US = 60 * MINUTE_US
# What is stated → the column of the bars, and how long it is carried: docs/conventions.md.
CARRIED = {
    "mark_price": ("mark", 10 * MINUTE_US),
    "index_price": ("index", 10 * MINUTE_US),
    "funding_rate": ("funding_rate", 8 * HOUR_US),
    "open_interest": ("open_interest", 10 * MINUTE_US),
}
FRESH_US = 2 * MINUTE_US  # docs/conventions.md: older makes the row stale; funding: one interval
ALIVE_US = 10 * MINUTE_US  # a feed that said something within this time would have said that there was a liquidation
NEVER = np.iinfo(np.int64).max
BPS, FUNDING_HOURS, VENUES_NEEDED = 1e4, 8, 2  # docs/conventions.md: the median of at least two venues, per 8 hours


def derivatives_1m(
    statements: pl.LazyFrame,
    liquidations: pl.LazyFrame | None,
    day: date,
    funding_interval_h: int | None,
    clock: Clock,
) -> pl.DataFrame:
    """Return 1,440 rows of ``day``: what was last stated before each minute's end, and the minute's liquidations.

    Parameters
    ----------
    statements : ts_exchange or ts_received, any of mark_price, index_price, funding_rate, open_interest
        Of the day and the day before, in file order; a null is not a statement, an absent column is never stated.
        Settled funding rates are statements made at the settlement.
    liquidations : the same clock, side (of the order: buy or sell), price (USD), amount (coin)
        None when the source has no such feed: the sums are null, not 0.
    funding_interval_h : 1, 4 or 8
        As the venue states; None when it is not known, then funding is stale after 8 hours as it is null.
    clock : received or exchange
        The clock that cuts the minutes.

    Returns
    -------
    ts, mark, index (USD), funding_rate, funding_interval_h, open_interest (coin), liq_buy_usd, liq_sell_usd, is_stale.
    """
    grid = minute_grid(day)
    ends = grid["ts"].dt.epoch("us").to_numpy() + MINUTE_US
    columns: dict[str, pl.Series] = {}
    stale = np.zeros(len(ends), np.bool_)
    since = grid["ts"][0] - timedelta(days=1)
    said = statements.filter(pl.col(f"ts_{clock}") >= since).collect().sort(f"ts_{clock}", maintain_order=True)
    newest = np.full(len(ends), NEVER)
    for stated, (name, limit) in CARRIED.items():
        value, age = _last_before(said, stated, clock, ends)
        columns[name] = pl.Series(np.where(age <= limit, value, np.nan), nan_to_null=True)
        fresh = (funding_interval_h or 8) * HOUR_US if stated == "funding_rate" else FRESH_US
        stale |= (age > fresh) & (age != NEVER)
        newest = np.minimum(newest, age)
    interval = pl.Series([funding_interval_h] * len(ends), dtype=pl.Float64)
    return grid.with_columns(
        columns["mark"].alias("mark"),
        columns["index"].alias("index"),
        columns["funding_rate"].alias("funding_rate"),
        interval.alias("funding_interval_h"),
        columns["open_interest"].alias("open_interest"),
        *_liquidated(liquidations, grid, clock, pl.Series(newest <= ALIVE_US)),
        pl.Series("is_stale", stale).cast(pl.Int8),
    )


def _last_before(
    said: pl.DataFrame, name: str, clock: Clock, ends: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the last value stated strictly before each of ``ends`` and its age in µs, NEVER where there is none."""
    if name not in said.columns:
        return np.full(len(ends), np.nan), np.full(len(ends), NEVER)
    known = said.drop_nulls(name)
    when, value = known[f"ts_{clock}"].dt.epoch("us").to_numpy(), known[name].cast(pl.Float64).to_numpy()
    at = np.searchsorted(when, ends, "left") - 1
    if len(when) == 0:
        return np.full(len(ends), np.nan), np.full(len(ends), NEVER)
    return np.where(at >= 0, value[at], np.nan), np.where(at >= 0, ends - when[at], NEVER)


def _liquidated(
    liquidations: pl.LazyFrame | None, grid: pl.DataFrame, clock: Clock, is_alive: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """Return Σ price·amount by side: 0 where the feed is alive and silent, null where it is not."""
    names = ("liq_buy_usd", "liq_sell_usd")
    if liquidations is None:
        return tuple(pl.Series(n, [None] * grid.height, pl.Float64) for n in names)  # type: ignore[return-value]
    value = pl.col("price") * pl.col("amount")
    minutes = (
        liquidations.with_columns(pl.col(f"ts_{clock}").dt.truncate("1m").alias("ts"))
        .group_by("ts", maintain_order=True)
        .agg(
            value.filter(pl.col("side") == "buy").sum().alias(names[0]),
            value.filter(pl.col("side") == "sell").sum().alias(names[1]),
        )
        .collect()
    )
    joined = grid.join(minutes, on="ts", how="left", maintain_order="left")
    quiet = pl.Series(np.where(is_alive, 0.0, np.nan), nan_to_null=True)
    return joined[names[0]].fill_null(quiet), joined[names[1]].fill_null(quiet)


def funding_mean(minutes: pl.DataFrame, venues: Mapping[str, str]) -> float | None:
    """Return the mean over a day's minutes of the median funding over ``venues`` (venue → source), bps per 8 h.

    Minutes with a rate of fewer than two venues are left out; None when no minute is left.
    """
    told = pl.any_horizontal((pl.col("venue") == v) & (pl.col("source") == s) for v, s in venues.items())
    rate = BPS * pl.col("funding_rate") * FUNDING_HOURS / pl.col("funding_interval_h")
    by_minute = minutes.filter(told).select("ts", rate=rate).drop_nulls().group_by("ts", maintain_order=True)
    medians = by_minute.agg(pl.col("rate").median(), pl.len()).filter(pl.col("len") >= VENUES_NEEDED).sort("ts")
    return float(medians["rate"].mean()) if medians.height else None  # type: ignore[arg-type]
