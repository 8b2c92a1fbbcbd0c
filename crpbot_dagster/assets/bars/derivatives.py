"""What a venue states of its perpetual, and its liquidations, to one row per minute (docs/conventions.md).

A value is carried for minutes, funding for hours, and no further: what is older is null, and the row says that it is
stale. And what funding is over venues, which the daily bar and the features read. Not here: basis and liquidations over
venues (``features/perpetuals.py``), wiring (``assets_derived.py``).
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
INTERVALS_H = (1, 4, 8)  # hours between two payments of funding: docs/decisions/0016
EARLY_US = MINUTE_US  # so much before a payment a venue may already name the next one: docs/decisions/0016

Floats = NDArray[np.float64]


def with_intervals(statements: pl.LazyFrame, clock: Clock) -> pl.LazyFrame:
    """Return the statements with the hours between two payments of funding, as the payments they announce tell.

    An interval fits when the next payment is a multiple of it from midnight, lies no further ahead than it, and lies a
    multiple of it behind the payment announced before. The one that fits is it; null when none does or several do, and
    before a payment is announced.

    Parameters
    ----------
    statements : ts_exchange or ts_received, funding_ts (the next payment)
        In time order. Each row reads itself and earlier ones.

    Returns
    -------
    The same rows with ``funding_interval_h`` (hours).

    Source
    ------
    Ours: a venue may change the interval of a contract from one payment to the next, so none is assumed.
    """
    said = statements.with_columns(pl.col("funding_ts").forward_fill().alias("next"))
    said = said.with_columns(pl.col("next").rle_id().alias("payment"), pl.col("next").shift(1).alias("before"))
    at = pl.col("next").dt.epoch("us")
    ahead = at - pl.col(f"ts_{clock}").min().over("payment").dt.epoch("us")
    passed = at - pl.col("before").first().over("payment").dt.epoch("us")

    def fits(hours: int) -> pl.Expr:
        length = hours * HOUR_US
        follows = (passed > 0) & (passed % length == 0)
        return (at % length == 0) & follows.fill_null(value=True) & (ahead <= length + EARLY_US)

    found = pl.sum_horizontal(fits(h).cast(pl.Int64) * h for h in INTERVALS_H)
    interval = pl.when(found.is_in(INTERVALS_H)).then(found)
    return said.with_columns(interval.cast(pl.Float64).alias("funding_interval_h")).drop("next", "payment", "before")


def derivatives_1m(
    statements: pl.LazyFrame, liquidations: pl.LazyFrame | None, day: date, clock: Clock
) -> pl.DataFrame:
    """Return 1,440 rows of ``day``: what was last stated before each minute's end, and the minute's liquidations.

    Parameters
    ----------
    statements : ts_exchange or ts_received, any of mark_price, index_price, funding_rate with funding_interval_h (hours
        that the rate is for), open_interest
        Of the day and the day before, in file order; a null is not a statement, an absent column is never stated.
        Settled funding rates are statements made at the settlement. A rate whose interval is null has none, and is
        stale after 8 hours as it is null.
    liquidations : the same clock, side (of the order: buy or sell), price (USD), amount (coin)
        None when the source has no such feed: the sums are null, not 0.
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
    read = [c for c in (*CARRIED, "funding_interval_h") if c in statements.collect_schema()]
    after = statements.select(f"ts_{clock}", *read).filter(pl.col(f"ts_{clock}") >= since)
    said = after.collect().sort(f"ts_{clock}", maintain_order=True)
    newest = np.full(len(ends), NEVER)
    hours, _ = _last_before(said, "funding_rate", clock, ends, "funding_interval_h")
    for stated, (name, limit) in CARRIED.items():
        value, age = _last_before(said, stated, clock, ends)
        columns[name] = pl.Series(np.where(age <= limit, value, np.nan), nan_to_null=True)
        fresh = np.where(hours > 0, hours, 8) * HOUR_US if stated == "funding_rate" else FRESH_US
        stale |= (age > fresh) & (age != NEVER)
        newest = np.minimum(newest, age)
    interval = pl.Series(hours, nan_to_null=True).set(columns["funding_rate"].is_null(), None)
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
    said: pl.DataFrame, name: str, clock: Clock, ends: NDArray[np.int64], beside: str | None = None
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the last value stated strictly before each of ``ends`` and its age in µs, NEVER where there is none.

    With ``beside`` the value that this column has where ``name`` was stated.
    """
    wanted = beside or name
    known = said.drop_nulls(name) if {name, wanted} <= set(said.columns) else said.clear()
    if known.is_empty():
        return np.full(len(ends), np.nan), np.full(len(ends), NEVER)
    when, value = known[f"ts_{clock}"].dt.epoch("us").to_numpy(), known[wanted].cast(pl.Float64).to_numpy()
    at = np.searchsorted(when, ends, "left") - 1
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


def funding_bps_8h(rate: Floats, hours: Floats) -> Floats:
    """Return funding rates scaled from their interval to eight hours, bps; NaN without an interval, any shape."""
    return np.divide(BPS * rate * FUNDING_HOURS, hours, out=np.full(rate.shape, np.nan), where=hours > 0)


def middle(x: Floats, need: int) -> Floats:
    """Return the median over the valid of float64[venues, rows], NaN with fewer than ``need``."""
    ranked, n = np.sort(x, axis=0), (~np.isnan(x)).sum(axis=0)
    low, high = (np.take_along_axis(ranked, at[None], axis=0)[0] for at in (np.maximum(n - 1, 0) // 2, n // 2 % len(x)))
    return np.where(n >= need, (low + high) / 2, np.nan)


def funding_mean(minutes: pl.DataFrame, venues: Mapping[str, str]) -> float | None:
    """Return the mean over a day's minutes of the median funding over ``venues`` (venue → source), bps per 8 h.

    Minutes with a rate of fewer than two venues are left out; None when no minute is left.
    """
    grid, rates = minutes.select("ts").unique().sort("ts"), []
    for venue, source in venues.items():
        own = minutes.filter(pl.col("venue") == venue, pl.col("source") == source)
        rows = grid.join(own, on="ts", how="left", maintain_order="left")
        told = (rows[c].cast(pl.Float64).to_numpy() for c in ("funding_rate", "funding_interval_h"))
        rates.append(funding_bps_8h(*told))
    medians = middle(np.vstack(rates), VENUES_NEEDED)
    return None if np.isnan(medians).all() else float(np.nanmean(medians))
