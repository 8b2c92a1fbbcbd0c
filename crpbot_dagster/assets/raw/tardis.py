"""Tardis.dev: tick-level trades and order-book updates, as the exchange sent them.

What: historical datasets, one gzip CSV per exchange, data type, symbol and UTC day, cut on the recorder's
clock (``local_timestamp``). Since: 2019-03-30 for most exchanges. Licence and price: paid by subscription;
the first day of each month is free without a key. Clocks: microseconds UTC, the exchange's and the
recorder's. Limits: a day is ready about 06:00 UTC of the next. Known faults: some exchanges have no time of
their own (both columns are then the recorder's); a file without rows is not the same as no file.
Source: https://docs.tardis.dev/downloadable-csv-files
"""

import functools
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import US, DamagedFile, Layout, Parsed, moment, parse, positive
from crpbot_dagster.assets.raw.quarantine import quarantine
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.raw import BOOK_LEVELS

F64 = pl.Float64()

TRADES = Layout(
    "trades",
    {
        "timestamp": US,
        "local_timestamp": US,
        "id": pl.String(),
        "side": pl.String(),
        "price": F64,
        "amount": F64,
    },
    {
        "timestamp is not a moment between 2009 and 2100": moment("timestamp"),
        "local_timestamp is not a moment between 2009 and 2100": moment("local_timestamp"),
        "side is none of buy, sell, unknown": pl.col("side").is_in(["buy", "sell", "unknown", ""])
        | pl.col("side").is_null(),
        "price is not a positive number": positive("price"),
        "amount is not a positive number": positive("amount"),
    },
)

BOOK = Layout(
    "incremental_book_L2",
    {
        "timestamp": US,
        "local_timestamp": US,
        "is_snapshot": pl.Boolean(),
        "side": pl.String(),
        "price": F64,
        "amount": F64,
    },
    {
        "timestamp is not a moment between 2009 and 2100": moment("timestamp"),
        "local_timestamp is not a moment between 2009 and 2100": moment("local_timestamp"),
        "is_snapshot is neither true nor false": pl.col("is_snapshot").is_not_null(),
        "side is neither bid nor ask": pl.col("side").is_in(["bid", "ask"]),
        "price is not a positive number": positive("price"),
        "amount is not a number of at least 0": pl.col("amount").is_finite() & (pl.col("amount") >= 0),
    },
)

LEVEL_NAMES = {
    f"{side}s[{i}].{what}": f"{side}_{what}_{i}"
    for i in range(BOOK_LEVELS)
    for side in ("ask", "bid")
    for what in ("price", "amount")
}

SNAPSHOTS = Layout(
    "book_snapshot_25",
    {"timestamp": US, "local_timestamp": US, **dict.fromkeys(LEVEL_NAMES, F64)},
    {
        "timestamp is not a moment between 2009 and 2100": moment("timestamp"),
        "local_timestamp is not a moment between 2009 and 2100": moment("local_timestamp"),
        "a level is not a positive price": pl.all_horizontal(
            # A side with fewer than 25 levels leaves the rest of its columns empty.
            [positive(name).fill_null(True) for name in LEVEL_NAMES if name.endswith("price")]
        ),
        "a size is not a number of at least 0": pl.all_horizontal(
            [
                (pl.col(name).is_finite() & (pl.col(name) >= 0)).fill_null(True)
                for name in LEVEL_NAMES
                if name.endswith("amount")
            ]
        ),
        "a level has a price without a size, or a size without a price": pl.all_horizontal(
            [
                pl.col(name).is_null() == pl.col(name.replace("price", "amount")).is_null()
                for name in LEVEL_NAMES
                if name.endswith("price")
            ]
        ),
    },
)


def clocks() -> list[pl.Expr]:
    """Return both clocks as UTC moments under the platform's names."""
    return [
        pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("ts_exchange"),
        pl.col("local_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("ts_received"),
    ]


def trades_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a trades file's rows under the platform's names; an unknown side is null, never guessed."""
    known = (pl.col("side") == "buy") | (pl.col("side") == "sell")  # four times as fast as is_in
    return frame.select(
        (pl.col("line_n") - 2).alias("seq"),
        *clocks(),
        pl.col("id").alias("trade_id"),
        pl.when(known).then(pl.col("side")).alias("side"),
        "price",
        "amount",
    )


def book_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return an L2 file's rows under the platform's names."""
    return frame.select((pl.col("line_n") - 2).alias("seq"), *clocks(), "is_snapshot", "side", "price", "amount")


def snapshots_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a snapshot file's rows under the platform's names."""
    levels = [pl.col(theirs).alias(ours) for theirs, ours in LEVEL_NAMES.items()]
    return frame.select((pl.col("line_n") - 2).alias("seq"), *clocks(), *levels)


def land(
    context: dg.AssetExecutionContext,
    tardis: TardisDatasets,
    lake: Lake,
    table: str,
    layout: Layout,
    shape: Callable[[pl.LazyFrame], pl.LazyFrame],
) -> Built:
    """Fetch one symbol-day of the primary venue, parse it, quarantine its bad rows.

    Raises
    ------
    dg.Failure
        The file is damaged as a whole; the partition in the lake stays as it was.
    """
    symbol, day = split(context.partition_key)
    venue = instruments.primary(symbol, settings.load().primary).venue
    listing = instruments.listing(symbol, "tardis", venue, day)
    if listing is None:
        context.log.warning(f"{symbol} was not listed at {venue} for Tardis on {day}")
        return Built(TABLES[table].empty(), "missing", f"tardis/{venue}", {"quarantined_frac": 0.0})
    folder = TemporaryDirectory(prefix="landing-")
    with tardis.fetch(venue, layout.data_type, listing.name, day) as fetched:
        notes = {"url": fetched.url, "fetch_s": round(fetched.seconds, 3), "venue": venue}
        if fetched.path is None:
            lake.keep_held(table, symbol, day, fetched.state, fetched.url)
            context.log.warning(f"{fetched.url}: {fetched.state}")
            return Built(TABLES[table].empty(), fetched.state, "tardis", {"quarantined_frac": 0.0}, notes)
        notes["file_bytes"] = fetched.path.stat().st_size
        try:
            parsed = parse(fetched.path, layout, Path(folder.name) / "staged.parquet")
        except DamagedFile as error:
            raise dg.Failure(f"{fetched.url}: {error}. Nothing was written; run the partition again.") from error
    repeated = 0
    if layout is TRADES:
        parsed, repeated = deduplicated(parsed)
    quarantine(lake, table, symbol, day, parsed.refused.with_columns(pl.lit(fetched.url).alias("source")))
    frame = shape(parsed.frame).select(
        pl.lit(symbol).alias("symbol"), pl.lit(day).alias("day"), pl.lit(venue).alias("venue"), pl.all()
    )
    state = "complete" if parsed.rows else "empty"
    share = parsed.refused.height / parsed.rows if parsed.rows else 0.0
    facts = {"quarantined_frac": share, "duplicates_n": float(repeated)}
    return Built(frame, state, "tardis", facts, notes, folder, parsed.is_large)


def deduplicated(parsed: Parsed) -> tuple[Parsed, int]:
    """Return the trades without repeated ids, and how many rows were dropped.

    A repeated id with the same price, size and side is one trade, delivered twice: the first row stays. With
    other values nobody can tell which is right: all of its rows go to quarantine. Rows without an id stay.
    """
    rising = pl.col("id").cast(pl.Int64, strict=False).diff().fill_null(1) > 0
    numeric = pl.col("id").cast(pl.Int64, strict=False).is_not_null()
    if parsed.frame.select((rising & numeric).all()).collect(engine="streaming").item():
        return parsed, 0  # ids that only rise cannot repeat: the usual file, and a tenth of the cost
    ids = parsed.frame.filter(pl.col("id").is_not_null() & (pl.col("id") != ""))
    total, distinct = ids.select(pl.len(), pl.col("id").n_unique()).collect(engine="streaming").row(0)
    if total == distinct:
        return parsed, 0
    values = ("price", "amount", "side")
    torn = (
        ids.group_by("id")
        .agg(pl.struct(values).n_unique().alias("n"))
        .filter(pl.col("n") > 1)
        .select("id")
        .collect(engine="streaming")
    )
    conflict = pl.col("id").is_in(torn["id"].implode())
    refused = parsed.frame.filter(conflict).select(
        "line_n",
        pl.lit("the trade id is there again with another price, size or side").alias("reason"),
        pl.concat_str("id", "side", "price", "amount", separator=",").alias("text"),
    )
    frame = parsed.frame.filter(~conflict.fill_null(False))
    named = pl.col("id").is_not_null() & (pl.col("id") != "")
    kept = frame.filter(~named | (pl.col("line_n") == pl.col("line_n").min().over("id"))).collect()
    bad = pl.concat([parsed.refused, refused.collect()])
    return Parsed(kept.lazy(), bad, parsed.rows), parsed.rows - kept.height - bad.height


tardis_table = functools.partial(
    table_asset, kinds={"tardis"}, tags={"cost": "paid"}, pool="tardis_api", code_version="1"
)


@tardis_table("raw/tardis_trades")
def tardis_trades(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per trade of the primary venue, side = aggressor.

    Reads the day's ``trades`` file. Known fault: Binance's recorder runs about a second behind the exchange.
    """
    return land(context, tardis, lake, "raw/tardis_trades", TRADES, trades_from)


@tardis_table("raw/tardis_book")
def tardis_book(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per level update of the primary venue's order book.

    Reads the day's ``incremental_book_L2`` file; deletes of unknown levels are normal and harmless.
    """
    return land(context, tardis, lake, "raw/tardis_book", BOOK, book_from)


@tardis_table("raw/tardis_book_snapshots")
def tardis_book_snapshots(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per change of the best 25 levels of the primary venue, made by the vendor.

    Reads the day's ``book_snapshot_25`` file; used to verify the replay of the updates.
    """
    return land(context, tardis, lake, "raw/tardis_book_snapshots", SNAPSHOTS, snapshots_from)


ASSETS = (tardis_trades, tardis_book, tardis_book_snapshots)
