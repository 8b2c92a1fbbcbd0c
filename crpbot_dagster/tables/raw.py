"""Raw tables: what the sources sent, typed, with both clocks; and the quarantine of refused rows."""

import polars as pl

from crpbot_dagster.tables.schema import DAY, SYMBOL, UTC_US, VENUE, Check, Column, Measure, Table, columns

MAX_QUARANTINE_SHARE = 0.001  # above 0.1 % of a partition the partition fails
CLOCK_SKEW_WARN_S = 5.0
CLOCK_SKEW_REFUSE_S = 60.0

TS_EXCHANGE = Column("ts_exchange", UTC_US, "UTC", "exchange's clock", required=True)
TS_RECEIVED = Column("ts_received", UTC_US, "UTC", "recorder's clock; minutes are cut on it", required=True)
SEQ = Column("seq", pl.Int64(), "n", "row number in the source's file, from 0", required=True)
PRICE = Column("price", pl.Float64(), "USD", "price in the quote currency", "> 0", required=True)


def _skew_s(fold: str) -> pl.Expr:
    lag = (pl.col("ts_received") - pl.col("ts_exchange")).dt.total_microseconds() / 1e6
    return lag.min() if fold == "min" else lag.max()


CLOCK_SKEW = Check(
    "clock_skew",
    False,
    "the recorder's clock is neither behind the exchange's by more than 5 s nor ahead by more than a minute",
    (
        Measure("least received − exchange, s", _skew_s("min"), -CLOCK_SKEW_WARN_S, None),
        Measure("largest received − exchange, s", _skew_s("max"), None, CLOCK_SKEW_REFUSE_S),
    ),
)
QUARANTINE_SHARE = Measure("share of rows quarantined", "quarantined_frac", 0, MAX_QUARANTINE_SHARE)
COVERAGE = Check(
    "coverage",
    False,
    "most minutes of the day hold at least one row",
    (
        Measure(
            "share of the day's minutes with a row",
            pl.col("ts_received").dt.truncate("1m").n_unique() / 1440,
            0.5,
            1,
        ),
    ),
)

_ID_STEP = pl.col("trade_id").cast(pl.Int64, strict=False).diff()
_MOVED = pl.col("price").diff().fill_null(1.0) != 0
MAX_PRICE_STEP = 0.05  # a single trade further off that comes back is in quarantine: assets/raw/jumps.py
MAX_ID_STEP = 1_000
FROZEN_S = 3_600

TRADE_FLAGS = (
    Check(
        "trade_ids",
        False,
        "ids that are numbers neither leap by more than 1,000 nor fall back: nothing is lost, nothing was reset",
        (
            Measure("largest step from one id to the next", _ID_STEP.max(), None, MAX_ID_STEP),
            Measure("largest step back", -_ID_STEP.min(), None, MAX_ID_STEP),
        ),
    ),
    Check(
        "price_steps",
        False,
        "no price is more than a twentieth off the one before",
        (Measure("largest step of the price, log", pl.col("price").log().diff().abs().max(), None, MAX_PRICE_STEP),),
    ),
    Check(
        "frozen",
        False,
        "the price never stays the same for an hour of trades",
        (
            Measure(
                "longest time of trades at one price, s",
                (pl.col("ts_received") - pl.when(_MOVED).then("ts_received").forward_fill()).max().dt.total_seconds(),
                None,
                FROZEN_S,
            ),
        ),
    ),
)

TARDIS_TRADES = Table(
    "raw/tardis_trades",
    "one trade",
    ("symbol", "day", "seq"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SEQ,
        TS_EXCHANGE,
        TS_RECEIVED,
        Column("trade_id", pl.String(), "", "the venue's id of the trade"),
        Column("side", pl.String(), "", "aggressor (taker): buy or sell; null when the source does not know"),
        PRICE,
        Column("amount", pl.Float64(), "coin", "size", "> 0", required=True),
    ),
    (QUARANTINE_SHARE,),
    (
        CLOCK_SKEW,
        COVERAGE,
        Check(
            "duplicates",
            False,
            "no trade was delivered twice; repeated ids are dropped and counted",
            (Measure("rows dropped", "duplicates_n", 0, 0),),
        ),
        *TRADE_FLAGS,
    ),
    ordered_by="seq",
    streamed=True,
    tick_source="tardis",
)

TARDIS_BOOK = Table(
    "raw/tardis_book",
    "one level update of the order book (incremental_book_L2)",
    ("symbol", "day", "seq"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SEQ,
        TS_EXCHANGE,
        TS_RECEIVED,
        Column("is_snapshot", pl.Boolean(), "flag", "row of a snapshot, which replaces the book", required=True),
        Column("side", pl.String(), "", "bid or ask", required=True),
        PRICE,
        Column("amount", pl.Float64(), "coin", "absolute size now resting; 0 removes the level", "≥ 0", True),
    ),
    (QUARANTINE_SHARE,),
    (
        CLOCK_SKEW,
        Check(
            "coverage",
            False,
            "most minutes hold at least one row, and the day opens with a snapshot: the book is known from its start",
            (
                *COVERAGE.measures,
                Measure("first row is a snapshot", pl.col("is_snapshot").first().cast(pl.Float64), 1, 1),
            ),
        ),
    ),
    ordered_by="seq",
    streamed=True,
)

BOOK_LEVELS = 25


def _levels() -> list[Column]:
    made = []
    for i in range(BOOK_LEVELS):
        for side in ("ask", "bid"):
            made.append(Column(f"{side}_price_{i}", pl.Float64(), "USD", f"{side} level {i}", "> 0"))
            made.append(Column(f"{side}_amount_{i}", pl.Float64(), "coin", f"{side} size at level {i}", "≥ 0"))
    return made


TARDIS_BOOK_SNAPSHOTS = Table(
    "raw/tardis_book_snapshots",
    "the best 25 levels of each side at one moment (book_snapshot_25)",
    ("symbol", "day", "seq"),
    columns(SYMBOL, DAY, VENUE, SEQ, TS_EXCHANGE, TS_RECEIVED, _levels()),
    (QUARANTINE_SHARE,),
    (
        CLOCK_SKEW,
        Check(
            "crossed_book",
            True,
            "best bid below best ask in at least 99.99 % of the snapshots",
            (
                Measure(
                    "share of snapshots with bid ≥ ask",
                    (pl.col("bid_price_0") >= pl.col("ask_price_0")).mean().fill_null(0.0),
                    0,
                    0.0001,
                ),
            ),
        ),
    ),
    ordered_by="seq",
    streamed=True,
)

OHLC_CONSISTENT = Measure(
    "rows where low or high is not the extreme",
    (
        (pl.col("low") > pl.min_horizontal("open", "close")) | (pl.col("high") < pl.max_horizontal("open", "close"))
    ).sum(),
    0,
    0,
)

CANDLE_PRICES = (
    Column("open", pl.Float64(), "USD", "first price", "> 0", required=True),
    Column("high", pl.Float64(), "USD", "highest price", "> 0", required=True),
    Column("low", pl.Float64(), "USD", "lowest price", "> 0", required=True),
    Column("close", pl.Float64(), "USD", "last price", "> 0", required=True),
    Column("volume", pl.Float64(), "coin", "traded size", "≥ 0", required=True),
)

COINBASE_CANDLES = Table(
    "raw/coinbase_candles",
    "one candle of Coinbase; a minute without a trade is absent",
    ("symbol", "day", "interval_s", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        Column(
            "interval_s",
            pl.Int32(),
            "s",
            "60, or 86400 for the day's own candle",
            "{60,86400}",
            required=True,
        ),
        Column("ts", UTC_US, "UTC", "start of the candle, exchange clock", required=True),
        CANDLE_PRICES,
    ),
    (OHLC_CONSISTENT,),
    (
        Check(
            "coverage",
            False,
            "at least 95 % of the day's minutes have a candle",
            (Measure("share of minutes with a candle", (pl.col("interval_s") == 60).sum() / 1440, 0.95, 1),),
        ),
    ),
    candle_source="coinbase",
)

CANDLE_FILES = Table(
    "raw/candle_files",
    "one one-minute candle of a file of yours; a minute that the file lacks is absent",
    ("symbol", "day", "venue", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        Column("ts", UTC_US, "UTC", "start of the minute, exchange clock", required=True),
        CANDLE_PRICES,
        Column("trade_count_n", pl.Int64(), "n", "number of trades; null when the file has no trade_count", "≥ 0"),
        Column("buy_volume", pl.Float64(), "coin", "Σ size of aggressive buys; null when the file has none", "≥ 0"),
    ),
    (OHLC_CONSISTENT, QUARANTINE_SHARE),
    (
        Check(
            "coverage",
            False,
            "at least 90 % of the day's minutes have a candle, in every venue",
            (
                Measure(
                    "share of minutes with a candle, worst venue",
                    (pl.len().over("venue") / 1440).min(),
                    0.9,
                    1,
                ),
            ),
        ),
        Check(
            "duplicates",
            False,
            "no minute was delivered twice; equal repeats are dropped and counted",
            (Measure("rows dropped", "duplicates_n", 0, 0),),
        ),
    ),
    candle_source="files",
)

QUARANTINE = Table(
    "raw/quarantine",
    "one refused row of a source's file",
    ("symbol", "day", "table", "source", "line_n"),
    columns(
        SYMBOL,
        DAY,
        Column("table", pl.String(), "", "raw table the row was meant for", required=True),
        Column("source", pl.String(), "", "file the row came from", required=True),
        Column("line_n", pl.Int64(), "n", "line number in the file, header = 1", required=True),
        Column("reason", pl.String(), "", "rule the row breaks", required=True),
        Column("text", pl.String(), "", "the line as delivered", required=True),
    ),
    partition=("symbol", "day", "table"),
)

CALENDAR = Table(
    "raw/calendar",
    "what one raw table says of one symbol's day",
    ("symbol", "day", "table"),
    columns(
        SYMBOL,
        DAY,
        Column("table", pl.String(), "", "raw table", required=True),
        Column(
            "state",
            pl.String(),
            "",
            "complete, empty, partial, missing, not_licensed or not_configured; null when it was not asked",
        ),
        Column("is_market_wide", pl.Boolean(), "flag", "the table is about the whole market", required=True),
    ),
)

COINBASE_USDT = Table(
    "raw/coinbase_usdt",
    "one minute of USDT-USD at Coinbase; a minute without a trade is absent",
    ("day", "ts"),
    columns(
        DAY,
        VENUE,
        Column("ts", UTC_US, "UTC", "start of the candle, exchange clock", required=True),
        CANDLE_PRICES,
    ),
    (OHLC_CONSISTENT,),
    (
        Check(
            "coverage",
            False,
            "at least half of the day's minutes have a candle",
            (Measure("share of minutes with a candle", pl.len() / 1440, 0.5, 1),),
        ),
    ),
    partition=("day",),
)

TABLES = (
    TARDIS_TRADES,
    TARDIS_BOOK,
    TARDIS_BOOK_SNAPSHOTS,
    COINBASE_CANDLES,
    COINBASE_USDT,
    CANDLE_FILES,
    QUARANTINE,
    CALENDAR,
)
