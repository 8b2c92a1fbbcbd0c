"""Perpetuals, volume buckets and the price of USDT as assets. Wiring only; the arithmetic is in the modules beside."""

from datetime import timedelta

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.bars import ticks as tapes
from crpbot_dagster.assets.bars.derivatives import CARRIED, with_intervals
from crpbot_dagster.assets.bars.derivatives import derivatives_1m as minutes_of
from crpbot_dagster.assets.bars.fx import fx_1m as price_of_usdt
from crpbot_dagster.assets.bars.volume_buckets import bucket_volume
from crpbot_dagster.assets.bars.volume_buckets import volume_buckets as buckets_of
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import ANSWERED, Built, Lake
from crpbot_dagster.tables import TABLES, TICKS

PERPETUAL, LIQUIDATIONS, FUNDING = "raw/tardis_derivatives", "raw/tardis_liquidations", "raw/funding_rates"
STATED = ("ts_received", "funding_ts", *CARRIED)


def settled(rates: pl.DataFrame, venue: str) -> pl.LazyFrame:
    """Return a venue's rows of ``raw/funding_rates`` as statements of when they were known, each with its interval."""
    own = rates.lazy().filter(pl.col("venue") == venue).sort("ts")
    names = {"ts_exchange": "available_ts", "funding_rate": "rate_frac", "funding_interval_h": "interval_h"}
    return own.select(pl.col(column).alias(name) for name, column in names.items())


@table_asset(
    "bars/derivatives_1m",
    kinds={"polars"},
    after=(PERPETUAL, LIQUIDATIONS, FUNDING),
    code_version="1",
)
def derivatives_1m(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per minute and venue: the perpetual's mark, index, funding, open interest and liquidations.

    Reads the day and the day before. A venue that only settles its funding has no other column; a source that did not
    answer has no rows, and the day is partial.
    """
    symbol, day = split(context.partition_key)
    before = day - timedelta(days=1)
    states = {t: lake.state(t, symbol, day) or "missing" for t in (PERPETUAL, LIQUIDATIONS, FUNDING)}
    has = {t: s in ANSWERED for t, s in states.items()}
    made = []
    if has[PERPETUAL]:
        venue = instruments.PERPETUALS
        said = lake.scan(PERPETUAL, symbol, before, day).select("day", "seq", *STATED).sort("day", "seq")
        forced = lake.scan(LIQUIDATIONS, symbol, day, day).sort("seq") if has[LIQUIDATIONS] else None
        timed = with_intervals(said, "received")
        made.append(_told(minutes_of(timed, forced, day, "received"), venue, "tardis", "received"))
    if has[FUNDING]:
        rates = lake.scan(FUNDING, symbol, before, day).collect()
        for venue in rates.filter(pl.col("day") == day)["venue"].unique().sort():
            minutes = minutes_of(settled(rates, venue), None, day, "exchange")
            made.append(_told(minutes, venue, "funding", "exchange"))
    if not made:
        return Built(TABLES["bars/derivatives_1m"].empty(), "missing", "none", notes={"answers": states})
    frame = pl.concat(made).with_columns(pl.lit(symbol).alias("symbol"), pl.lit(day).alias("day"))
    state = "complete" if states[PERPETUAL] == "complete" and all(has.values()) else "partial"
    return Built(frame, state, ", ".join(frame["source"].unique().sort()), notes={"answers": states})


def _told(minutes: pl.DataFrame, venue: str, source: str, clock: str) -> pl.DataFrame:
    names = {"venue": venue, "source": source, "clock": clock}
    return minutes.with_columns(pl.lit(v).alias(n) for n, v in names.items())


@table_asset("bars/fx_1m", kinds={"polars"}, after=("raw/coinbase_usdt",), code_version="1")
def fx_1m(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per minute of the whole market: what a USDT is worth in USD, at Coinbase.

    Reads the day and the day before, whose last price is carried over midnight.
    """
    symbol, day = split(context.partition_key)
    source, listing = "raw/coinbase_usdt", instruments.USDT
    state = lake.state(source, symbol, day) or "missing"
    if state not in ANSWERED:
        return Built(TABLES["bars/fx_1m"].empty(), state, source, notes={"why": f"{source} is {state}"})
    trades = lake.scan(source, symbol, day - timedelta(days=1), day).collect()
    made = price_of_usdt({f"{listing.venue}/{listing.source}": trades}, day)
    return Built(made.with_columns(pl.lit(day).alias("day")), "complete", source)


@table_asset(
    "bars/volume_buckets",
    kinds={"polars", "numba"},
    after=(*(t.name for t in TICKS.values()), "bars/volume_1d"),
    code_version="1",
)
def volume_buckets(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per completed bucket of equal traded size, from the primary source's trades.

    Reads the day, and the daily volumes of the seven days before. Candles have no trades, and so no buckets.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    name, table = "bars/volume_buckets", TICKS.get(primary.source)
    if table is None:
        why = f"{primary.source} has candles, not trades"
        return Built(TABLES[name].empty(), "not_configured", primary.source, notes={"why": why})
    state = lake.state(table.name, symbol, day) or "missing"
    if state not in ANSWERED:
        return Built(TABLES[name].empty(), state, primary.source, notes={"why": f"{table.name} is {state}"})
    volumes = lake.look_back("bars/volume_1d", symbol, day - timedelta(days=7), day - timedelta(days=1)).collect()
    here, clock = pl.col("venue") == primary.venue, tapes.clock_of(table)
    size = bucket_volume(volumes.filter(here))
    made = buckets_of(lake.scan(table.name, symbol, day, day).filter(here).sort("seq"), day, size, clock)
    if made.is_empty():
        why = "fewer than six of the last seven daily volumes are known" if size is None else "no bucket was filled"
        return Built(TABLES[name].empty(), "empty", primary.source, notes={"why": why})
    own = {"symbol": symbol, "day": day, "venue": primary.venue, "source": primary.source, "clock": clock}
    return Built(made.with_columns(pl.lit(v).alias(n) for n, v in own.items()), state, primary.source)


ASSETS = (derivatives_1m, fx_1m, volume_buckets)
