"""Tardis.dev: tick-level trades, order-book updates and quotes, as the exchange sent them.

What: historical datasets, one gzip CSV per exchange, data type, symbol and UTC day, cut on the recorder's
clock (``local_timestamp``). Since: 2019-03-30 for most exchanges. Licence and price: paid by subscription;
the first day of each month is free without a key. Clocks: microseconds UTC, the exchange's and the
recorder's. Limits: a day is ready about 06:00 UTC of the next; until then its absence means nothing and is a
failure, not a state. Known faults: some exchanges have no time of their own (both columns are then the recorder's);
a day on which nothing happened is a gzip file of no text, which is not the same as no file.
Perpetuals and options: ``tardis_derivatives.py``. Source: https://docs.tardis.dev/downloadable-csv-files
"""

import functools
import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import (
    REFUSED_SCHEMA,
    US,
    DamagedFile,
    Layout,
    Parsed,
    moment,
    parse,
    positive,
    received_on,
)
from crpbot_dagster.assets.raw.early import require_over
from crpbot_dagster.assets.raw.jumps import without_jumps
from crpbot_dagster.assets.raw.quarantine import quarantine, trusted
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.raw import BOOK_LEVELS

F64 = pl.Float64()
READY_AFTER = timedelta(hours=6)  # of the next day, the vendor's own words
WHY = {
    "not_licensed": "Tardis wants a key for all but the first day of each month: set CRPBOT_TARDIS_API_KEY",
    "missing": "Tardis has no such file: the symbol was not recorded there on that day",
}
CLOCKS = {"timestamp": US, "local_timestamp": US}
CLOCK_RULES = {f"{name} is not a moment between 2009 and 2100": moment(name) for name in CLOCKS}


def from_zero(name: str) -> pl.Expr:
    """Return the rule of a size: finite and at least 0."""
    return pl.col(name).is_finite() & (pl.col(name) >= 0)


def if_said(*rules: pl.Expr) -> pl.Expr:
    """Return the rules for cells that may be empty: what is there obeys them."""
    return pl.all_horizontal([r.fill_null(True) for r in rules])


TRADES = Layout(
    "trades",
    {
        **CLOCKS,
        "id": pl.String(),
        "side": pl.String(),
        "price": F64,
        "amount": F64,
    },
    {
        **CLOCK_RULES,
        "side is none of buy, sell, unknown": pl.col("side").is_in(["buy", "sell", "unknown", ""])
        | pl.col("side").is_null(),
        "price is not a positive number": positive("price"),
        "amount is not a positive number": positive("amount"),
    },
)

BOOK = Layout(
    "incremental_book_L2",
    {
        **CLOCKS,
        "is_snapshot": pl.Boolean(),
        "side": pl.String(),
        "price": F64,
        "amount": F64,
    },
    {
        **CLOCK_RULES,
        "is_snapshot is neither true nor false": pl.col("is_snapshot").is_not_null(),
        "side is neither bid nor ask": pl.col("side").is_in(["bid", "ask"]),
        "price is not a positive number": positive("price"),
        "amount is not a number of at least 0": from_zero("amount"),
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
    {**CLOCKS, **dict.fromkeys(LEVEL_NAMES, F64)},
    {
        **CLOCK_RULES,
        # A side with fewer than 25 levels leaves the rest of its columns empty.
        "a level is not a positive price": if_said(*(positive(name) for name in LEVEL_NAMES if name.endswith("price"))),
        "a size is not a number of at least 0": if_said(
            *(from_zero(name) for name in LEVEL_NAMES if name.endswith("amount"))
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

QUOTES = Layout(
    "quotes",
    {**CLOCKS, "ask_amount": F64, "ask_price": F64, "bid_price": F64, "bid_amount": F64},
    {
        **CLOCK_RULES,
        "a price is not a positive number": if_said(positive("ask_price"), positive("bid_price")),
        "a size is not a number of at least 0": if_said(from_zero("ask_amount"), from_zero("bid_amount")),
        # An empty side of the book has neither.
        "a price without a size, or a size without a price": pl.all_horizontal(
            [pl.col(f"{s}_price").is_null() == pl.col(f"{s}_amount").is_null() for s in ("ask", "bid")]
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


def quotes_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a quotes file's rows under the platform's names."""
    return frame.select(
        (pl.col("line_n") - 2).alias("seq"), *clocks(), "ask_price", "ask_amount", "bid_price", "bid_amount"
    )


def land(
    context: dg.AssetExecutionContext,
    tardis: TardisDatasets,
    lake: Lake,
    table: str,
    layout: Layout,
    shape: Callable[[pl.LazyFrame], pl.LazyFrame],
    venue: str | None = None,
) -> Built:
    """Fetch one symbol-day of ``venue`` (the primary one unless given), parse it, quarantine its bad rows.

    Raises
    ------
    dg.Failure
        The file is damaged as a whole, or its day not ready; the partition in the lake stays as it was.
    """
    symbol, day = split(context.partition_key)
    venue = venue or instruments.primary(symbol, settings.load().primary).venue
    listing = instruments.listing(symbol, "tardis", venue, day)
    if listing is None:
        context.log.warning(f"{symbol} was not listed at {venue} for Tardis on {day}")
        return Built(TABLES[table].empty(), "missing", f"tardis/{venue}", {"quarantined_frac": 0.0})
    return land_file(context, tardis, lake, table, layout, shape, venue, listing.name)


def land_file(
    context: dg.AssetExecutionContext,
    tardis: TardisDatasets,
    lake: Lake,
    table: str,
    layout: Layout,
    shape: Callable[[pl.LazyFrame], pl.LazyFrame],
    venue: str,
    name: str,
) -> Built:
    """Fetch the day of what the vendor calls ``name``; see ``land``."""
    symbol, day = split(context.partition_key)
    folder = TemporaryDirectory(prefix="landing-")
    with tardis.fetch(venue, layout.data_type, name, day) as fetched:
        notes = {"url": fetched.url, "fetch_s": round(fetched.seconds, 3), "venue": venue} | dict(fetched.notes)
        if fetched.path is None:
            if fetched.state == "missing":
                require_over(fetched.url, day, READY_AFTER)
            lake.keep_held(table, symbol, day, fetched.state, fetched.url)
            context.log.warning(f"{fetched.url}: {fetched.state}. {WHY[fetched.state]}")
            notes["why"] = WHY[fetched.state]
            return Built(TABLES[table].empty(), fetched.state, "tardis", {"quarantined_frac": 0.0}, notes)
        with trusted(fetched.url):
            try:
                staged = Path(folder.name) / "staged.parquet"
                parsed = (
                    nothing_sent(layout)
                    if has_no_text(fetched.path)
                    else parse(fetched.path, received_on(layout, day), staged)
                )
            except DamagedFile:
                fetched.done()  # the next run must ask for it again
                raise
    repeated = 0
    if layout is TRADES:
        parsed, repeated = deduplicated(without_jumps(parsed))
    notes |= dict(parsed.notes)
    quarantine(lake, table, symbol, day, parsed.refused.with_columns(pl.lit(fetched.url).alias("source")))
    known = {"symbol": symbol, "day": day, "venue": venue}
    keys = [pl.lit(v).alias(c) for c, v in known.items() if c in TABLES[table].schema]
    frame = shape(parsed.frame).select(*keys, pl.all())
    state = "complete" if parsed.rows else "empty"
    share = parsed.refused.height / parsed.rows if parsed.rows else 0.0
    facts = {"quarantined_frac": share, "duplicates_n": float(repeated)}
    return Built(frame, state, "tardis", facts, notes, folder, parsed.is_large, fetched.done, fetched.done)


def has_no_text(path: Path) -> bool:
    """Return whether a file is sound gzip of nothing, which is how the vendor says that nothing happened.

    A file of no bytes is no gzip, and a stream that breaks is for the parser to name: both are False.
    """
    try:
        with gzip.open(path) as file:
            return path.stat().st_size > 0 and file.read(1) == b""
    except (EOFError, OSError, zlib.error):
        return False


def nothing_sent(layout: Layout) -> Parsed:
    """Return a file of no rows as parsed."""
    frame = pl.LazyFrame(schema={"line_n": pl.Int64(), **layout.types})
    return Parsed(frame, pl.DataFrame(schema=REFUSED_SCHEMA), 0)


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
        pl.concat_str(pl.col("id", "side").fill_null(""), "price", "amount", separator=",").alias("text"),
    )
    frame = parsed.frame.filter(~conflict.fill_null(False))
    named = pl.col("id").is_not_null() & (pl.col("id") != "")
    kept = frame.filter(~named | (pl.col("line_n") == pl.col("line_n").min().over("id"))).collect()
    bad = pl.concat([parsed.refused, refused.collect()])
    repeated = parsed.rows - kept.height - bad.height
    return replace(parsed, frame=kept.lazy(), refused=bad, is_large=False), repeated


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


@tardis_table("raw/tardis_quotes")
def tardis_quotes(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per change of the best bid or ask of the primary venue.

    Reads the day's ``quotes`` file. Known fault: spot quotes of Binance carry no exchange time, both clocks are local.
    """
    return land(context, tardis, lake, "raw/tardis_quotes", QUOTES, quotes_from)


ASSETS = (tardis_trades, tardis_book, tardis_book_snapshots, tardis_quotes)
