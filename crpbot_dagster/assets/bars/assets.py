"""The bars as assets: ticks, book updates and candles become one row per minute, and daily rows.

Wiring only; the arithmetic is in ``tape.py`` and ``book_minutes.py``, SQL in ``dbt_like_sql/bars``.
"""

import functools
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.bars import book_minutes, candles, tape
from crpbot_dagster.assets.bars import ticks as tapes
from crpbot_dagster.assets.bars.derivatives import funding_mean
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import ANSWERED, Built, Lake
from crpbot_dagster.resources.sql_models import MODELS, lineage_of, read_model
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.tables import CANDLES, TABLES, TICKS


@table_asset(
    "bars/volume_1d",
    kinds={"polars"},
    reads={"ticks": "raw/tardis_trades"},
    after=(*candles.TABLES_OF_CANDLES, *tapes.TABLES_OF_TICKS),
    code_version="1",
)
def volume_1d(context: dg.AssetExecutionContext, ticks: pl.LazyFrame, lake: Lake) -> Built:
    """One row per day and venue: traded size, known from the next midnight on.

    From the first complete day of ticks of the primary venue, else from the first candle source that has it, the
    primary source first.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    volume, origin = None, "ticks"
    for table in tapes.primary_first(primary):
        if volume is None and lake.state(table.name, symbol, day) == "complete":
            held = ticks if table.tick_source == tapes.STREAMED else lake.window(table.name, symbol, day, day)
            volume = tapes.day_volume(held, primary.venue)
    if volume is None:
        found = (
            lake.window(t.name, symbol, day, day).collect()
            for t in candles.primary_first(primary)
            if candles.is_asked(t, primary, lake.state(t.name, symbol, day))
        )
        volume, origin = candles.first_volume(found, primary.venue)
    known = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    row = {
        "symbol": symbol,
        "day": day,
        "venue": primary.venue,
        "obs_day": day,
        "available_ts": known,
        "volume": volume,
        "volume_from": origin,
    }
    return Built(pl.DataFrame([row], schema=TABLES["bars/volume_1d"].schema), "complete", origin)


@table_asset(
    "bars/trades_1m",
    kinds={"polars", "numba"},
    reads={"ticks": "raw/tardis_trades"},
    after=(*candles.TABLES_OF_CANDLES, *tapes.TABLES_OF_TICKS, "bars/volume_1d"),
    code_version="1",
)
def trades_1m(context: dg.AssetExecutionContext, ticks: pl.LazyFrame, lake: Lake) -> Built:
    """One row per minute, venue and source, 1,440 a day each: ticks cut on the receive clock, and candles.

    Reads the day, and the daily volumes of the seven days before. A source that is not licensed or not configured
    has no rows; a missing day of the primary source is 1,440 gaps.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    before = (day - timedelta(days=7), day - timedelta(days=1))
    parts = []
    for source, table in TICKS.items():
        state = lake.state(table.name, symbol, day)
        if not candles.is_asked(table, primary, state):
            continue
        held = ticks if source == tapes.STREAMED else lake.window(table.name, symbol, day, day)
        volumes = functools.partial(_collected, lake, "bars/volume_1d", symbol, *before)
        made = tapes.minutes_by_venue(held, state, table, primary, day, volumes)
        parts += [_named(minutes, venue, source, "ticks", tapes.clock_of(table)) for venue, minutes in made.items()]
    for source, table in CANDLES.items():
        state = lake.state(table.name, symbol, day)
        if not candles.is_asked(table, primary, state):
            continue
        candle_rows = lake.window(table.name, symbol, day, day).collect()
        for venue, minutes in candles.minutes_by_venue(candle_rows, state, source, primary, day).items():
            parts.append(_named(minutes, venue, source, "ohlcv", "exchange"))
    if not parts:
        return Built(TABLES["bars/trades_1m"].empty(), "missing", "none")
    frame = pl.concat(parts).with_columns(pl.lit(symbol).alias("symbol"), pl.lit(day).alias("day"))
    return Built(frame, "complete", ", ".join(frame["source"].unique().sort()))


@table_asset(
    "bars/book_1m",
    kinds={"polars", "numba"},
    reads={
        "updates": "raw/tardis_book",
        "ticks": "raw/tardis_trades",
        "snapshots": "raw/tardis_book_snapshots",
    },
    code_version="2",
)
def book_1m(
    context: dg.AssetExecutionContext,
    updates: pl.LazyFrame,
    ticks: pl.LazyFrame,
    snapshots: pl.LazyFrame,
    lake: Lake,
) -> Built:
    """One row per minute of the order book at the primary venue, replayed from level updates.

    Reads the day alone, from its first snapshot on; the vendor's own snapshots prove the replay. A minute of a book
    that is crossed for more than 5 s, or that a snapshot refutes, is masked: its values are null.
    """
    symbol, day = split(context.partition_key)
    state = lake.state("raw/tardis_book", symbol, day) or "missing"
    if state not in ANSWERED:
        return Built(TABLES["bars/book_1m"].empty(), state, "tardis")
    primary = instruments.primary(symbol, settings.load().primary)
    rows = updates.sort("seq")
    made = book_minutes.book_day(rows, ticks.sort("seq"), snapshots, day)
    frame = made.minutes.with_columns(
        pl.lit(symbol).alias("symbol"),
        pl.lit(day).alias("day"),
        pl.lit(primary.venue).alias("venue"),
        pl.lit("tardis").alias("source"),
        pl.lit("delta").alias("book_kind"),
        pl.lit("received").alias("clock"),
    )
    return Built(frame, state, "tardis", made.facts, made.notes)


@table_asset(
    "bars/daily",
    kinds={"polars"},
    reads={"minutes": "bars/trades_1m"},
    after=("bars/derivatives_1m",),
    code_version="2",
)
def daily(context: dg.AssetExecutionContext, minutes: pl.LazyFrame, lake: Lake) -> Built:
    """One row per day of the primary venue and source, with the mean funding over venues, known from midnight on.

    Reads the day alone; funding is null where the day's perpetuals are not in the lake.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    here = (pl.col("venue") == primary.venue) & (pl.col("source") == primary.source)
    rows = minutes.filter(here).collect()
    if rows.is_empty():
        return Built(TABLES["bars/daily"].empty(), "missing", primary.source)
    perpetuals = lake.scan("bars/derivatives_1m", symbol, day, day).collect()
    row = tape.daily_bar(rows) | {
        "symbol": symbol,
        "day": day,
        "venue": primary.venue,
        "source": primary.source,
        "obs_day": day,
        "available_ts": datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1),
        "funding_bps_8h_mean": funding_mean(perpetuals, instruments.FUNDING_VENUES),
    }
    return Built(pl.DataFrame([row], schema=TABLES["bars/daily"].schema), "complete", primary.source)


MARKET_1M = read_model(MODELS / "bars" / "market_1m.sql")
MARKET_1M_LINEAGE = lineage_of(MARKET_1M)


@table_asset("bars/market_1m", kinds={"duckdb"}, after=MARKET_1M.inputs, code_version="1")
def market_1m(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Built:
    """One row per minute and venue: ticks, candles and book side by side, from SQL.

    Reads the day of ``bars/trades_1m`` and ``bars/book_1m``.
    """
    symbol, day = split(context.partition_key)
    frame, facts = warehouse.made(MARKET_1M, symbol, day)
    # The UI draws the lineage of columns from what a materialisation says.
    notes = {"dagster/column_lineage": MARKET_1M_LINEAGE}
    return Built(frame, "complete" if frame.height else "missing", "tardis, coinbase", facts, notes)


def _collected(lake: Lake, table: str, symbol: str, first: date, last: date) -> pl.DataFrame:
    return lake.look_back(table, symbol, first, last).collect()


def _named(minutes: pl.DataFrame, venue: str, source: str, kind: str, clock: str) -> pl.DataFrame:
    return minutes.with_columns(
        pl.lit(venue).alias("venue"),
        pl.lit(source).alias("source"),
        pl.lit(kind).alias("source_kind"),
        pl.lit(clock).alias("clock"),
    )


ASSETS = (volume_1d, trades_1m, book_1m, daily, market_1m)
