"""Tardis.dev: perpetuals' figures, liquidations and option chains, as the exchange sent them.

What: ``derivative_ticker`` (funding, open interest, index, mark) and ``liquidations`` of the perpetual at Binance's
futures venue, and ``options_chain`` of Deribit, one file a day for all its options under the grouped symbol
``OPTIONS``. Since: 2019-11-17 (Binance, BTC), 2019-03-30 (Deribit). Licence, price, clocks, limits: as of
``tardis.py``. Known faults: a cell is empty until the exchange has said the value for the first time; Binance reports
at most one liquidation order a second (since April 2021), so sums are a lower bound; the real chain has millions of
rows a day: every row is kept as sent and written piece by piece, because a summary cannot be undone.
Source: https://docs.tardis.dev/downloadable-csv-files#derivative_ticker
"""

import dagster as dg
import polars as pl

from crpbot_dagster import instruments
from crpbot_dagster.assets.raw.dataset_file import US, Layout, moment, positive
from crpbot_dagster.assets.raw.tardis import (
    CLOCK_RULES,
    CLOCKS,
    F64,
    clocks,
    from_zero,
    if_said,
    land,
    land_file,
    tardis_table,
)
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.tardis import TardisDatasets

OPTIONS_VENUE, EVERY_OPTION = "deribit", "OPTIONS"


def _utc(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


TICKER_PRICES = ("last_price", "index_price", "mark_price")
TICKER_RATES = ("funding_rate", "predicted_funding_rate")
TICKER = Layout(
    "derivative_ticker",
    {**CLOCKS, "funding_timestamp": US, **dict.fromkeys((*TICKER_RATES, "open_interest", *TICKER_PRICES), F64)},
    {
        **CLOCK_RULES,
        "funding_timestamp is not a moment between 2009 and 2100": if_said(moment("funding_timestamp")),
        "a funding rate is not a finite number": if_said(*(pl.col(c).is_finite() for c in TICKER_RATES)),
        "open_interest is not a number of at least 0": if_said(from_zero("open_interest")),
        "a price is not a positive number": if_said(*(positive(c) for c in TICKER_PRICES)),
    },
)

LIQUIDATIONS = Layout(
    "liquidations",
    {**CLOCKS, "id": pl.String(), "side": pl.String(), "price": F64, "amount": F64},
    {
        **CLOCK_RULES,
        "side is neither buy nor sell": pl.col("side").is_in(["buy", "sell"]),
        "price is not a positive number": positive("price"),
        "amount is not a positive number": positive("amount"),
    },
)

GREEKS = ("delta", "gamma", "vega", "theta", "rho")
FROM_ZERO = (
    "open_interest",
    "last_price",
    *(f"{side}_{what}" for side in ("bid", "ask") for what in ("price", "amount", "iv")),
    "mark_price",
    "mark_iv",
)
OPTIONS = Layout(
    "options_chain",
    {
        "symbol": pl.String(),
        **CLOCKS,
        "type": pl.String(),
        "strike_price": F64,
        "expiration": US,
        **dict.fromkeys(FROM_ZERO, F64),
        "underlying_index": pl.String(),
        **dict.fromkeys(("underlying_price", *GREEKS), F64),
    },
    {
        **CLOCK_RULES,
        "the option has no name": pl.col("symbol").str.len_chars() > 0,
        "type is neither call nor put": pl.col("type").is_in(["call", "put"]),
        "strike_price is not a positive number": positive("strike_price"),
        "expiration is not a moment between 2009 and 2100": moment("expiration"),
        "a price, size or volatility is not a number of at least 0": if_said(*(from_zero(c) for c in FROM_ZERO)),
        "underlying_price is not a positive number": if_said(positive("underlying_price")),
        "a greek is not a finite number": if_said(*(pl.col(c).is_finite() for c in GREEKS)),
    },
)


def ticker_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a derivative_ticker file's rows under the platform's names."""
    return frame.select(
        (pl.col("line_n") - 2).alias("seq"),
        *clocks(),
        _utc("funding_timestamp").alias("funding_ts"),
        *TICKER_RATES,
        "open_interest",
        *TICKER_PRICES,
    )


def liquidations_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a liquidations file's rows under the platform's names."""
    return frame.select(
        (pl.col("line_n") - 2).alias("seq"), *clocks(), pl.col("id").alias("liquidation_id"), "side", "price", "amount"
    )


def options_from(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return an options_chain file's rows under the platform's names."""
    return frame.select(
        (pl.col("line_n") - 2).alias("seq"),
        *clocks(),
        pl.col("symbol").alias("instrument"),
        pl.col("type").alias("option_type"),
        "strike_price",
        _utc("expiration").alias("expiry_ts"),
        *(pl.col(c).alias(f"{c}_coin" if c.endswith("_price") else c) for c in FROM_ZERO),
        "underlying_index",
        "underlying_price",
        *GREEKS,
    )


@tardis_table("raw/tardis_derivatives")
def tardis_derivatives(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per change of the perpetual's funding, open interest, index, mark or last price.

    Reads the day's ``derivative_ticker`` file. Known fault: open interest comes every few seconds, the rest at once.
    """
    return land(context, tardis, lake, "raw/tardis_derivatives", TICKER, ticker_from, instruments.PERPETUALS)


@tardis_table("raw/tardis_liquidations")
def tardis_liquidations(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per liquidation order of the perpetual, side = the order's: buy closes a short.

    Reads the day's ``liquidations`` file. Known fault: at most one order a second is reported.
    """
    return land(
        context, tardis, lake, "raw/tardis_liquidations", LIQUIDATIONS, liquidations_from, instruments.PERPETUALS
    )


@tardis_table("raw/tardis_options")
def tardis_options(context: dg.AssetExecutionContext, tardis: TardisDatasets, lake: Lake) -> Built:
    """One row per change of an option's ticker at Deribit, every currency, strike and expiry of the day.

    Reads the day's ``options_chain`` file of ``OPTIONS``. Known fault: traded volume is not in it.
    """
    table = "raw/tardis_options"
    return land_file(context, tardis, lake, table, OPTIONS, options_from, OPTIONS_VENUE, EVERY_OPTION)


ASSETS = (tardis_derivatives, tardis_liquidations, tardis_options)
