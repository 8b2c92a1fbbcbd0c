"""Crypto Lake: trades, order-book deltas, best quotes and perpetuals' figures, recorded by another vendor.

What: one Parquet file (or a few) per table, exchange, symbol and UTC day in S3, made with cryptofeed, read through the
vendor's client lakeapi. Since: 2022-10 for the markets used here. Licence and price: paid by subscription, AWS
credentials; a sample of a few days and markets is free (``CRPBOT_CRYPTO_LAKE_SAMPLE``), and every row of it says so in
``source``. Clocks: nanoseconds UTC, cut to microseconds here; the exchange's (absent for some order books: then the
recorder's) and the recorder's. Limits: the plan's gigabytes a month; a day is there a day later; the client holds a
whole day in memory. Known faults: order-book deltas have ``side_is_bid`` and no action: size 0 removes the level, and
nothing marks a snapshot, so only a day whose first message sets the whole book can be replayed by itself; trades of
one taker order at one price are one row. Source: https://crypto-lake.com/data/
"""

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from datetime import time as clock_time

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import EARLIEST_US, LATEST_US, DamagedFile, Layout, Parsed, positive
from crpbot_dagster.assets.raw.early import require_over
from crpbot_dagster.assets.raw.jumps import without_jumps
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import land, nothing
from crpbot_dagster.assets.raw.tardis import F64, deduplicated, from_zero, if_said
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.crypto_lake import CryptoLake
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.raw import CLOCK_SKEW_REFUSE_S

READY_AFTER = timedelta(days=1)
SNAPSHOT_LEVELS = 20  # a side, as many as the vendor's own snapshots have
NOT_LICENSED = "Crypto Lake refuses it to CRPBOT_CRYPTO_LAKE_KEY_ID: its plan does not cover this table or day"
MISSING = "Crypto Lake has no object of this day"
UTC_US, TEXT, FLAG = pl.Datetime("us"), pl.String(), pl.Boolean()


def _moment(name: str) -> pl.Expr:
    return pl.col(name).dt.epoch("us").is_between(EARLIEST_US, LATEST_US)


def _is_absent(name: str) -> pl.Expr:
    # cryptofeed's "no time" arrives as 1970, or a nanosecond before.
    return pl.col(name).is_null() | (pl.col(name).dt.epoch("us") <= 0)


CLOCKS = {"origin_time": UTC_US, "received_time": UTC_US}
CLOCK_RULES = {
    "received_time is not a moment between 2009 and 2100": _moment("received_time"),
    "origin_time is neither absent nor a moment between 2009 and 2100": _is_absent("origin_time")
    | _moment("origin_time"),
}
SIZES = {"price is not a positive number": positive("price"), "quantity is not a positive number": positive("quantity")}

TRADES = Layout(
    "trades",
    {**CLOCKS, "trade_id": TEXT, "side": TEXT, "price": F64, "quantity": F64},
    {**CLOCK_RULES, "side is neither buy nor sell": if_said(pl.col("side").is_in(["buy", "sell"])), **SIZES},
)
BOOK = Layout(
    "book_delta_v2",
    {**CLOCKS, "side_is_bid": FLAG, "price": F64, "size": F64},
    {
        **CLOCK_RULES,
        "side_is_bid is neither true nor false": pl.col("side_is_bid").is_not_null(),
        "price is not a positive number": positive("price"),
        "size is not a number of at least 0": from_zero("size"),
    },
)
QUOTES = Layout(
    "level_1",
    {**CLOCKS, **dict.fromkeys(("ask_0_price", "ask_0_size", "bid_0_price", "bid_0_size"), F64)},
    {
        **CLOCK_RULES,
        "a price is not a positive number": if_said(positive("ask_0_price"), positive("bid_0_price")),
        "a size is not a number of at least 0": if_said(from_zero("ask_0_size"), from_zero("bid_0_size")),
        "a price without a size, or a size without a price": pl.all_horizontal(
            [pl.col(f"{s}_0_price").is_null() == pl.col(f"{s}_0_size").is_null() for s in ("ask", "bid")]
        ),
    },
)
FUNDING = Layout(
    "funding",
    {**CLOCKS, "next_funding_time": UTC_US, "rate": F64, "predicted_rate": F64, "mark_price": F64},
    {
        **CLOCK_RULES,
        "next_funding_time is not a moment between 2009 and 2100": if_said(_moment("next_funding_time")),
        "a rate is not a finite number": if_said(pl.col("rate").is_finite(), pl.col("predicted_rate").is_finite()),
        "mark_price is not a positive number": if_said(positive("mark_price")),
    },
)
OPEN_INTEREST = Layout(
    "open_interest",
    {**CLOCKS, "open_interest": F64},
    {**CLOCK_RULES, "open_interest is not a number of at least 0": from_zero("open_interest")},
)
LIQUIDATIONS = Layout(
    "liquidations",
    {**CLOCKS, "id": TEXT, "side": TEXT, "price": F64, "quantity": F64, "status": TEXT},
    {**CLOCK_RULES, "side is neither buy nor sell": pl.col("side").is_in(["buy", "sell"]), **SIZES},
)


def read_frame(frame: pl.DataFrame, layout: Layout) -> Parsed:
    """Return the client's frame as the layout's types, ``line_n`` = place in the frame from 1, and the refused rows.

    Raises
    ------
    DamagedFile
        A column of the layout is absent, or of another kind: text for a number, a moment of another zone.
    """
    absent = [c for c in layout.types if c not in frame.columns]
    if absent:
        raise DamagedFile(f"{layout.data_type} lacks {', '.join(absent)}; it has {', '.join(frame.columns)[:200]}")
    strange = [f"{c} is {frame.schema[c]}" for c, t in layout.types.items() if not _fits(frame.schema[c], t)]
    if strange:
        raise DamagedFile(f"{layout.data_type} has columns of another kind: {', '.join(strange)}")
    typed = frame.select(
        pl.int_range(1, pl.len() + 1).alias("line_n"), *(pl.col(c).cast(t) for c, t in layout.types.items())
    )
    reason = pl.coalesce(pl.when(~r.fill_null(False)).then(pl.lit(text)) for text, r in layout.rules.items())
    judged = typed.with_columns(reason.alias("reason"))
    refused = judged.filter(pl.col("reason").is_not_null()).select(
        "line_n", "reason", pl.struct(list(layout.types)).struct.json_encode().alias("text")
    )
    # What was received first comes first, else in the order of the file.
    kept = judged.filter(pl.col("reason").is_null()).drop("reason").sort("received_time", maintain_order=True)
    return Parsed(kept.lazy(), refused, frame.height)


def _received_on(layout: Layout, day: date) -> Layout:
    # The vendor does not say by which clock it cuts its files: a minute's grace at both ends.
    start, grace = datetime.combine(day, clock_time()), timedelta(seconds=CLOCK_SKEW_REFUSE_S)
    received = pl.col("received_time")
    rules = {
        "received_time is not on the file's day": received.is_between(start - grace, start + timedelta(days=1) + grace),
        f"received more than {CLOCK_SKEW_REFUSE_S:.0f} s before it happened": _is_absent("origin_time")
        | (received - pl.col("origin_time") >= -grace),
    }
    return replace(layout, rules=dict(layout.rules) | rules)


def _fits(has: pl.DataType, wanted: pl.DataType) -> bool:
    if has in (pl.Null, wanted):
        return True
    if wanted == pl.String:
        return has in (pl.Categorical, pl.Enum) or has.is_integer()
    if isinstance(has, pl.Datetime):
        return wanted == UTC_US and has.time_zone in (None, "UTC")
    return wanted.is_numeric() and has.is_numeric()


def _shaped(own: list[pl.Expr | str]) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    def shape(frame: pl.LazyFrame) -> pl.LazyFrame:
        exchange = pl.when(_is_absent("origin_time")).then("received_time").otherwise("origin_time")
        received = pl.col("received_time").dt.replace_time_zone("UTC")
        clocks = (exchange.dt.replace_time_zone("UTC").alias("ts_exchange"), received.alias("ts_received"))
        return frame.select(pl.int_range(pl.len()).alias("seq"), *clocks, *own)

    return shape


FIRST_MESSAGE = pl.all_horizontal([pl.col(c).eq_missing(pl.col(c).first()) for c in CLOCKS])
# A message that sets at least so many levels on both sides and removes none holds the whole book.
OPENS_WITH_THE_BOOK = (
    pl.min_horizontal((FIRST_MESSAGE & side).sum() for side in (pl.col("side_is_bid"), ~pl.col("side_is_bid")))
    >= SNAPSHOT_LEVELS
) & ~(FIRST_MESSAGE & (pl.col("size") == 0)).any()
FUNDING_TS = pl.col("next_funding_time").dt.replace_time_zone("UTC").alias("funding_ts")

trades_from = _shaped([pl.col("id").alias("trade_id"), "side", "price", "amount"])
book_from = _shaped(
    [
        (FIRST_MESSAGE & OPENS_WITH_THE_BOOK).alias("is_snapshot"),
        pl.when("side_is_bid").then(pl.lit("bid")).otherwise(pl.lit("ask")).alias("side"),
        "price",
        pl.col("size").alias("amount"),
    ]
)
quotes_from = _shaped(
    [
        pl.col(f"{side}_0_{theirs}").alias(f"{side}_{ours}")
        for side in ("ask", "bid")
        for theirs, ours in (("price", "price"), ("size", "amount"))
    ]
)
funding_from = _shaped(
    [
        FUNDING_TS,
        pl.col("rate").alias("funding_rate"),
        pl.col("predicted_rate").alias("predicted_funding_rate"),
        "mark_price",
    ]
)
open_interest_from = _shaped(["open_interest"])
liquidations_from = _shaped(
    [pl.col("id").alias("liquidation_id"), "side", "price", pl.col("quantity").alias("amount"), "status"]
)


def parse(
    frame: pl.DataFrame, layout: Layout, shape: Callable[[pl.LazyFrame], pl.LazyFrame], day: date
) -> tuple[Parsed, int]:
    """Return the client's frame of ``day`` under the platform's names, and how many trades were there twice.

    Raises
    ------
    DamagedFile
        The frame is not of the layout.
    """
    parsed, repeated = read_frame(frame, _received_on(layout, day)), 0
    if layout is TRADES:
        named = parsed.frame.rename({"trade_id": "id", "quantity": "amount"})
        parsed, repeated = deduplicated(without_jumps(Parsed(named, parsed.refused, parsed.rows)))
    return Parsed(shape(parsed.frame), parsed.refused, parsed.rows), repeated


def fetch(
    context: dg.AssetExecutionContext,
    client: CryptoLake,
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
        The table is damaged as a whole, or its day not ready; the partition in the lake stays as it was.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    venue = venue or instruments.primary(symbol, config.primary).venue
    if why := config.unconfigured("crypto_lake"):
        return nothing(lake, table, symbol, day, "not_configured", client.source, why)
    listing = instruments.listing(symbol, "crypto_lake", venue, day)
    if listing is None:
        return nothing(lake, table, symbol, day, "missing", client.source, f"{symbol} is not listed at {venue}")
    started = time.perf_counter()
    found = client.fetch(layout.data_type, venue.upper().replace("-", "_"), listing.name, day)
    if found.frame is None:
        if found.state == "missing":
            require_over(found.origin, day, READY_AFTER)
        why = f"{MISSING if found.state == 'missing' else NOT_LICENSED}: {found.origin}"
        context.log.warning(why)
        return nothing(lake, table, symbol, day, found.state, client.source, why)
    notes = {"venue": venue, "sample": client.sample, "fetch_s": round(time.perf_counter() - started, 3)}
    with trusted(found.origin):
        parsed, repeated = parse(found.frame, layout, shape, day)
    own = {"venue": venue, "source": client.source}
    frame = parsed.frame.with_columns(pl.lit(v).alias(c) for c, v in own.items())
    shaped = Parsed(frame, parsed.refused, parsed.rows)
    return land(
        lake, table, symbol, day, shaped, repeated=repeated, source=client.source, origin=found.origin, notes=notes
    )


lake_table = functools.partial(
    table_asset, kinds={"lakeapi"}, tags={"cost": "paid"}, pool="crypto_lake_api", code_version="1"
)


@lake_table("raw/crypto_lake_trades")
def crypto_lake_trades(context: dg.AssetExecutionContext, crypto_lake: CryptoLake, lake: Lake) -> Built:
    """One row per trade of the primary venue, side = aggressor.

    Reads the day's ``trades``. Known fault: what one taker order took at one price is one row.
    """
    return fetch(context, crypto_lake, lake, "raw/crypto_lake_trades", TRADES, trades_from)


@lake_table("raw/crypto_lake_book")
def crypto_lake_book(context: dg.AssetExecutionContext, crypto_lake: CryptoLake, lake: Lake) -> Built:
    """One row per level update of the primary venue's order book, as ``raw/tardis_book`` has them.

    Reads the day's ``book_delta_v2``. Known fault: nothing marks a snapshot; see the column.
    """
    return fetch(context, crypto_lake, lake, "raw/crypto_lake_book", BOOK, book_from)


@lake_table("raw/crypto_lake_quotes")
def crypto_lake_quotes(context: dg.AssetExecutionContext, crypto_lake: CryptoLake, lake: Lake) -> Built:
    """One row per change of the best bid or ask of the primary venue.

    Reads the day's ``level_1``. Known fault: it is cut from snapshots of at most ten a second.
    """
    return fetch(context, crypto_lake, lake, "raw/crypto_lake_quotes", QUOTES, quotes_from)


@lake_table("raw/crypto_lake_funding")
def crypto_lake_funding(context: dg.AssetExecutionContext, crypto_lake: CryptoLake, lake: Lake) -> Built:
    """One row per statement of the perpetual's funding rate and mark price.

    Reads the day's ``funding``, at Binance every three seconds.
    """
    where = instruments.PERPETUALS
    return fetch(context, crypto_lake, lake, "raw/crypto_lake_funding", FUNDING, funding_from, where)


@lake_table("raw/crypto_lake_open_interest")
def crypto_lake_open_interest(context: dg.AssetExecutionContext, crypto_lake: CryptoLake, lake: Lake) -> Built:
    """One row per statement of the perpetual's open interest.

    Reads the day's ``open_interest``, at Binance every twenty seconds.
    """
    where, table = instruments.PERPETUALS, "raw/crypto_lake_open_interest"
    return fetch(context, crypto_lake, lake, table, OPEN_INTEREST, open_interest_from, where)


@lake_table("raw/crypto_lake_liquidations")
def crypto_lake_liquidations(context: dg.AssetExecutionContext, crypto_lake: CryptoLake, lake: Lake) -> Built:
    """One row per liquidation order of the perpetual, side = the order's: buy closes a short.

    Reads the day's ``liquidations``. Known fault: at most one order a second is reported.
    """
    where, table = instruments.PERPETUALS, "raw/crypto_lake_liquidations"
    return fetch(context, crypto_lake, lake, table, LIQUIDATIONS, liquidations_from, where)


ASSETS = (
    crypto_lake_trades,
    crypto_lake_book,
    crypto_lake_quotes,
    crypto_lake_funding,
    crypto_lake_open_interest,
    crypto_lake_liquidations,
)
