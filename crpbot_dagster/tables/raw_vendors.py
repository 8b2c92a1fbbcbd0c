"""Raw tables of the dataset vendors: Tardis beyond trades and book, and Crypto Lake."""

import polars as pl

from crpbot_dagster.tables.raw import (
    CLOCK_SKEW,
    COVERAGE,
    QUARANTINE_SHARE,
    SEQ,
    TARDIS_BOOK,
    TARDIS_TRADES,
    TS_EXCHANGE,
    TS_RECEIVED,
)
from crpbot_dagster.tables.schema import DAY, SOURCE, SYMBOL, UTC_US, VENUE, Check, Column, Measure, Table, columns

KEY = ("symbol", "day", "seq")
BEST_PRICES = (
    Column("ask_price", pl.Float64(), "USD", "best ask; null when that side is empty", "> 0"),
    Column("ask_amount", pl.Float64(), "coin", "size at the best ask; null when that side is empty", "≥ 0"),
    Column("bid_price", pl.Float64(), "USD", "best bid; null when that side is empty", "> 0"),
    Column("bid_amount", pl.Float64(), "coin", "size at the best bid; null when that side is empty", "≥ 0"),
)
CROSSED_QUOTES = Check(
    "crossed_book",
    False,
    "best bid below best ask in at least 99.99 % of the quotes",
    (
        Measure(
            "share of quotes with bid ≥ ask",
            (pl.col("bid_price") >= pl.col("ask_price")).mean().fill_null(0.0),
            0,
            0.0001,
        ),
    ),
)
FUNDING_RATE = Column("funding_rate", pl.Float64(), "frac", "of the running interval; longs pay when positive")
PREDICTED_RATE = Column("predicted_funding_rate", pl.Float64(), "frac", "of the next interval; null at most venues")
MARK_PRICE = Column("mark_price", pl.Float64(), "USD", "price that liquidations are judged by", "> 0")
OPEN_INTEREST = "contracts open as the venue counts them: base coin at Binance"
# A few orders on a quiet day: the recorder's clock is the one thing to check.
LIQUIDATION = (
    Column(
        "side",
        pl.String(),
        "",
        "of the liquidation order: buy closes a short, sell closes a long",
        required=True,
    ),
    Column("price", pl.Float64(), "USD", "price of the order in the quote currency", "> 0", True),
    Column("amount", pl.Float64(), "coin", "size", "> 0", True),
)

TARDIS_QUOTES = Table(
    "raw/tardis_quotes",
    "one change of the best bid or ask (quotes)",
    KEY,
    columns(SYMBOL, DAY, VENUE, SEQ, TS_EXCHANGE, TS_RECEIVED, BEST_PRICES),
    (QUARANTINE_SHARE,),
    (CLOCK_SKEW, COVERAGE, CROSSED_QUOTES),
    ordered_by="seq",
    streamed=True,
)

TARDIS_DERIVATIVES = Table(
    "raw/tardis_derivatives",
    "one change of a perpetual's figures (derivative_ticker); what the venue has not said yet is null",
    KEY,
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SEQ,
        TS_EXCHANGE,
        TS_RECEIVED,
        Column("funding_ts", UTC_US, "UTC", "next moment at which funding is paid"),
        FUNDING_RATE,
        PREDICTED_RATE,
        Column("open_interest", pl.Float64(), "coin", OPEN_INTEREST, "≥ 0"),
        Column("last_price", pl.Float64(), "USD", "last trade", "> 0"),
        Column("index_price", pl.Float64(), "USD", "price of the underlying, over venues", "> 0"),
        MARK_PRICE,
    ),
    (QUARANTINE_SHARE,),
    (
        CLOCK_SKEW,
        COVERAGE,
        Check(
            "mark_near_index",
            False,
            "the mark price lies within 2 % of the index: another unit or another contract would not",
            (
                Measure(
                    "median distance of mark and index, share",
                    (pl.col("mark_price") / pl.col("index_price") - 1).abs().median().fill_null(0.0),
                    0,
                    0.02,
                ),
            ),
        ),
    ),
    ordered_by="seq",
    streamed=True,
)

TARDIS_LIQUIDATIONS = Table(
    "raw/tardis_liquidations",
    "one liquidation order of a perpetual (liquidations)",
    KEY,
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SEQ,
        TS_EXCHANGE,
        TS_RECEIVED,
        Column("liquidation_id", pl.String(), "", "the venue's id; null where it has none"),
        LIQUIDATION,
    ),
    (QUARANTINE_SHARE,),
    (CLOCK_SKEW,),
    ordered_by="seq",
)


def _iv(side: str) -> Column:
    return Column(f"{side}_iv", pl.Float64(), "%", f"implied volatility of the {side}, % a year", "≥ 0")


def _option_side(side: str) -> tuple[Column, ...]:
    return (
        Column(f"{side}_price_coin", pl.Float64(), "coin", f"best {side}, in the settlement currency", "≥ 0"),
        Column(f"{side}_amount", pl.Float64(), "coin", f"size at the best {side}", "≥ 0"),
        _iv(side),
    )


TARDIS_OPTIONS = Table(
    "raw/tardis_options",
    "one change of one option's ticker (options_chain of Deribit), rows as sent",
    ("day", "seq"),
    columns(
        DAY,
        VENUE,
        SEQ,
        TS_EXCHANGE,
        TS_RECEIVED,
        Column("instrument", pl.String(), "", "as the venue names it: BTC-9JUN20-9875-P", required=True),
        Column("option_type", pl.String(), "", "call or put", required=True),
        Column("strike_price", pl.Float64(), "USD", "exercise price", "> 0", required=True),
        Column("expiry_ts", UTC_US, "UTC", "moment of expiry", required=True),
        Column("open_interest", pl.Float64(), "coin", "contracts open", "≥ 0"),
        Column("last_price_coin", pl.Float64(), "coin", "last trade", "≥ 0"),
        _option_side("bid"),
        _option_side("ask"),
        Column("mark_price_coin", pl.Float64(), "coin", "the venue's fair price", "≥ 0"),
        _iv("mark"),
        Column("underlying_index", pl.String(), "", "what the option is priced on"),
        Column("underlying_price", pl.Float64(), "USD", "its price: the forward of that expiry", "> 0"),
        *(
            Column(name, pl.Float64(), unit, text)
            for name, unit, text in (
                ("delta", "1", "∂ price / ∂ underlying"),
                ("gamma", "1/USD", "∂ delta / ∂ underlying"),
                ("vega", "USD", "per point of volatility"),
                ("theta", "USD", "per day"),
                ("rho", "USD", "per point of the rate"),
            )
        ),
    ),
    (QUARANTINE_SHARE,),
    (
        CLOCK_SKEW,
        Check(
            "coverage",
            False,
            "every hour of the day holds at least one row",
            (Measure("hours with a row", pl.col("ts_received").dt.truncate("1h").n_unique(), 24, 24),),
        ),
    ),
    ordered_by="seq",
    streamed=True,
    partition=("day",),
)

LAKE_CLOCK = Column("ts_exchange", UTC_US, "UTC", "exchange's clock; the recorder's where it has none", required=True)
LAKE = (SYMBOL, DAY, VENUE, SOURCE, SEQ, LAKE_CLOCK, TS_RECEIVED)


def _of_crypto_lake(
    name: str, grain: str, own: tuple[Column, ...], checks: tuple[Check, ...], ticks: str = ""
) -> Table:
    return Table(
        f"raw/crypto_lake_{name}",
        grain,
        KEY,
        columns(LAKE, own),
        (QUARANTINE_SHARE,),
        (CLOCK_SKEW, *checks),
        ordered_by="seq",
        streamed=name in ("trades", "book", "quotes"),
        tick_source=ticks,
    )


TRADE = tuple(TARDIS_TRADES.column(c) for c in ("trade_id", "side", "price", "amount"))
BOOK_LEVEL = tuple(TARDIS_BOOK.column(c) for c in ("side", "price", "amount"))
BOOK_COVERAGE, DUPLICATES = TARDIS_BOOK.checks[1], TARDIS_TRADES.checks[2]

CRYPTO_LAKE = (
    _of_crypto_lake("trades", "one trade", TRADE, (COVERAGE, DUPLICATES), ticks="crypto_lake"),
    _of_crypto_lake(
        "book",
        "one level update of the order book (book_delta_v2)",
        (
            Column(
                "is_snapshot",
                pl.Boolean(),
                "flag",
                "row of the day's first message, if that sets at least 20 levels a side and removes none",
                required=True,
            ),
            *BOOK_LEVEL,
        ),
        (BOOK_COVERAGE,),
    ),
    _of_crypto_lake("quotes", "one change of the best bid or ask (level_1)", BEST_PRICES, (COVERAGE, CROSSED_QUOTES)),
    _of_crypto_lake(
        "funding",
        "one statement of a perpetual's funding",
        (
            Column("funding_ts", UTC_US, "UTC", "next moment at which funding is paid"),
            FUNDING_RATE,
            PREDICTED_RATE,
            MARK_PRICE,
        ),
        (COVERAGE,),
    ),
    _of_crypto_lake(
        "open_interest",
        "one statement of a perpetual's open interest",
        (Column("open_interest", pl.Float64(), "coin", OPEN_INTEREST, "≥ 0", required=True),),
        (COVERAGE,),
    ),
    _of_crypto_lake(
        "liquidations",
        "one liquidation order of a perpetual",
        (
            Column("liquidation_id", pl.String(), "", "the venue's id; null where it has none"),
            *LIQUIDATION,
            Column("status", pl.String(), "", "filled or unfilled; null where the venue does not say"),
        ),
        (),
    ),
)

TABLES: tuple[Table, ...] = (
    TARDIS_QUOTES,
    TARDIS_DERIVATIVES,
    TARDIS_LIQUIDATIONS,
    TARDIS_OPTIONS,
    *CRYPTO_LAKE,
)
