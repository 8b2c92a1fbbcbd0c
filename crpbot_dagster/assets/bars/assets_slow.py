"""The slow bars as assets: one table each, made of what the raw tables of the day hold; the rules: ``slow.py``."""

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import polars as pl

from crpbot_dagster.assets.bars import slow
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import ANSWERED, Built, Lake
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import SYMBOL


def made_of(
    context: dg.AssetExecutionContext,
    lake: Lake,
    table: str,
    make: Callable[..., pl.DataFrame],
    source: str,
    *beside: str,
) -> Built:
    """Return the day's rows as ``make`` gives them from ``source`` and tables ``beside`` it, which may be empty.

    The day has the state of ``source``; one that did not answer leaves no row.
    """
    symbol, day = split(context.partition_key)
    state = lake.state(source, symbol, day) or "missing"
    if state not in ANSWERED:
        return Built(TABLES[table].empty(), state, source, notes={"why": f"{source} is {state}"})
    made = make(*(lake.scan(t, symbol, day, day).collect() for t in (source, *beside)))
    if SYMBOL.name in TABLES[table].schema:
        made = made.with_columns(pl.lit(symbol).alias(SYMBOL.name))
    return Built(made, state if made.height else "empty", ", ".join((source, *beside)))


@table_asset("bars/options_1h", kinds={"polars"}, after=("raw/deribit_options", "raw/tardis_options"), code_version="1")
def options_1h(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per hour and currency: volatility index, traded puts and calls, open interest, 25-delta skew.

    Reads Deribit's hours of the day, and of the day before for its snapshot; Tardis' chain of the day where it is held.
    """
    symbol, day = split(context.partition_key)
    deribit, tardis = "raw/deribit_options", "raw/tardis_options"
    states = {t: lake.state(t, symbol, day) or "missing" for t in (deribit, tardis)}
    has = {t: s in ANSWERED for t, s in states.items()}
    if not any(has.values()):
        return Built(TABLES["bars/options_1h"].empty(), states[deribit], "deribit", notes={"answers": states})
    hours = lake.scan(deribit, symbol, day - timedelta(days=1), day).collect()
    surface = slow.surface_1h(lake.scan(tardis, symbol, day, day), day) if has[tardis] else None
    made = slow.options_1h(hours, surface, day)
    state = states[deribit] if has[deribit] else "partial"
    return Built(made, state, ", ".join(t for t in states if has[t]), notes={"answers": states})


@table_asset("bars/coin_1d", kinds={"polars"}, after=("raw/coingecko_market", "raw/coingecko_coin"), code_version="1")
def coin_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per day: the coin's price, capitalisation, volume and rank at the day's end.

    Reads the day of CoinGecko's market and its snapshot; a rank that no snapshot has is null.
    """
    return made_of(context, lake, "bars/coin_1d", slow.coin_1d, "raw/coingecko_market", "raw/coingecko_coin")


@table_asset("bars/global_1d", kinds={"polars"}, after=("raw/coingecko_global",), code_version="1")
def global_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per day: capitalisation of the whole market, of Bitcoin, Ether and two stablecoins.

    Reads the snapshot of the day; a day on which none was taken has no row.
    """
    return made_of(context, lake, "bars/global_1d", slow.global_1d, "raw/coingecko_global")


@table_asset("bars/sentiment_1d", kinds={"polars"}, after=("raw/fear_greed",), code_version="1")
def sentiment_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per day: the Fear & Greed index.

    Reads the day alone.
    """
    return made_of(context, lake, "bars/sentiment_1d", slow.sentiment_1d, "raw/fear_greed")


@table_asset("bars/attention_1d", kinds={"polars"}, after=("raw/attention",), code_version="1")
def attention_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per day: page views, news and their tone, each with its own availability.

    Reads the day alone.
    """
    return made_of(context, lake, "bars/attention_1d", slow.attention_1d, "raw/attention")


@table_asset("bars/developer_1d", kinds={"polars"}, after=("raw/coingecko_coin",), code_version="1")
def developer_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per day: commits, stars and merged pull requests of the coin's main repositories.

    Reads the day alone: a snapshot, or the vendor's record of that day.
    """
    return made_of(context, lake, "bars/developer_1d", slow.developer_1d, "raw/coingecko_coin")


@table_asset("bars/network_1d", kinds={"polars"}, after=("raw/hash_rate",), code_version="1")
def network_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per day: Bitcoin's hash rate.

    Reads the day alone.
    """
    return made_of(context, lake, "bars/network_1d", slow.network_1d, "raw/hash_rate")


@table_asset("bars/macro_1d", kinds={"polars"}, after=("raw/traditional_markets",), code_version="1")
def macro_1d(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per New York day and series: S&P 500 and the dollar index.

    Reads the day alone; a week-end and a holiday have no row.
    """
    return made_of(context, lake, "bars/macro_1d", slow.macro_1d, "raw/traditional_markets")


ASSETS = (options_1h, coin_1d, global_1d, sentiment_1d, attention_1d, developer_1d, network_1d, macro_1d)
