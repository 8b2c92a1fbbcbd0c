"""Coinbase: free one-minute candles and the day's own candle, and every trade, through ccxt; the minutes of USDT-USD.

What: open, high, low, close and base volume on the exchange's clock; trades with id, price, size and microseconds;
USDT-USD, once for the whole market, to turn prices in USDT into dollars.
Since: 2015; USDT-USD 2021-05. Licence and price: free, no key; for personal and research use under Coinbase's market
data terms. Clock: the exchange's; there is no receive time. Limits: 300 candles or 1,000 trades a call, about 30 calls
a second.
Known faults: a minute without a trade is absent, not zero, so an outage and a quiet market look alike; the bars decide
which it was. **The side of a trade is the maker's**: a SELL was resting and a buyer lifted it. ccxt's class
``coinbaseexchange`` turns it round, ``coinbase`` hands it on as it is, though ccxt's ``side`` is the taker's by its own
manual; so the side is taken from the record here, turned round, and the check ``aggressor`` holds it against the tick
rule. Times are asked in whole seconds, so pages overlap by one.
Source: https://docs.cdp.coinbase.com/advanced-trade/reference/getpublicmarketproductcandles,
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades; the side:
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-trades ("the maker order side")
"""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed, positive
from crpbot_dagster.assets.raw.minute_file import ISO, moment
from crpbot_dagster.assets.raw.records import nothing, read_records
from crpbot_dagster.assets.raw.tape_records import ID, land_trades, of_day
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.exchanges import CoinbaseCandles
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

MINUTE_S, DAY_S = 60, 86_400
AGGRESSOR = {"BUY": "sell", "SELL": "buy"}  # the record names the maker's side
SIDES = (*AGGRESSOR, "UNKNOWN_ORDER_SIDE", "")


def candles_from(rows: list[list[float]], interval_s: int) -> pl.DataFrame:
    """Return candles ``[start ms, open, high, low, close, volume]`` as a frame."""
    names = ("ts", "open", "high", "low", "close", "volume")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")
    moment = (pl.col("ts").cast(pl.Int64) * 1000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return frame.with_columns(moment.alias("ts"), pl.lit(interval_s, pl.Int32).alias("interval_s"))


def trades_from(records: list[Any], name: str, day: date) -> Parsed:
    """Return Coinbase's trade records of ``day`` as rows, the side turned into the aggressor's."""
    side = pl.col("side").fill_null("")
    layout = Layout(
        "Coinbase trades",
        {"ts": pl.String(), "trade_id": pl.String(), "product_id": pl.String()}
        | {"price": pl.Float64(), "size": pl.Float64(), "side": pl.String()},
        {
            "trade_id is not a whole number": pl.col("trade_id").str.contains(ID),
            "time is no moment with its UTC offset, or of another day": of_day(moment(ISO), day),
            f"product_id is not {name}": pl.col("product_id") == name,
            "price is not a positive number": positive("price"),
            "size is not a positive number": positive("size"),
            f"side is none of {', '.join(SIDES)}": side.is_in(SIDES),
        },
    )
    rows = [{"ts": r.get("time")} | r if isinstance(r, dict) else {"record": r} for r in records]
    parsed = read_records(rows, layout)
    frame = parsed.frame.select(
        "line_n",
        pl.lit("coinbase").alias("venue"),
        moment(ISO).alias("ts_exchange"),
        "trade_id",
        side.replace_strict(AGGRESSOR, default=None, return_dtype=pl.String).alias("side"),
        "price",
        pl.col("size").alias("amount"),
    )
    return Parsed(frame, parsed.refused, parsed.rows)


@table_asset("raw/coinbase_candles", kinds={"ccxt"}, tags={"cost": "free"}, pool="coinbase_api", code_version="1")
def coinbase_candles(context: dg.AssetExecutionContext, coinbase: CoinbaseCandles, lake: Lake) -> Built:
    """One row per candle of the day: the minutes that had a trade, and the day's own candle.

    Asks Coinbase for the day alone. Known fault: absent minutes are not explained by the source.
    """
    symbol, day = split(context.partition_key)
    listing = instruments.listing(symbol, "coinbase", "coinbase", day)
    if listing is None:
        return Built(TABLES["raw/coinbase_candles"].empty(), "missing", "coinbase")
    found = pl.concat([candles_from(coinbase.fetch(listing.name, day, s), s) for s in (MINUTE_S, DAY_S)]).with_columns(
        pl.lit(symbol).alias("symbol"), pl.lit(day).alias("day"), pl.lit(listing.venue).alias("venue")
    )
    state = "complete" if found.height else "missing"
    lake.keep_held("raw/coinbase_candles", symbol, day, state, f"Coinbase's {listing.name}")
    return Built(found, state, "coinbase")


@table_asset("raw/coinbase_usdt", kinds={"ccxt"}, tags={"cost": "free"}, pool="coinbase_api", code_version="1")
def coinbase_usdt(context: dg.AssetExecutionContext, coinbase: CoinbaseCandles, lake: Lake) -> Built:
    """One row per minute of USDT-USD that had a trade: what a USDT is worth in dollars.

    Asks Coinbase for the day alone. Known fault: absent minutes are not explained by the source.
    """
    table, listing = "raw/coinbase_usdt", instruments.USDT
    _, day = split(context.partition_key)
    if why := settings.load().unconfigured("coinbase"):
        return nothing(lake, table, MARKET_WIDE, day, "not_configured", "coinbase", why)
    rows = coinbase.fetch(listing.name, day, MINUTE_S) if day >= listing.since else []
    found = candles_from(rows, MINUTE_S).with_columns(pl.lit(day).alias("day"), pl.lit(listing.venue).alias("venue"))
    state = "complete" if rows else "missing"
    lake.keep_held(table, MARKET_WIDE, day, state, f"Coinbase's {listing.name}")
    return Built(found.drop("interval_s"), state, "coinbase")


@table_asset("raw/coinbase_trades", kinds={"ccxt"}, tags={"cost": "free"}, pool="coinbase_api", code_version="1")
def coinbase_trades(context: dg.AssetExecutionContext, coinbase: CoinbaseCandles, lake: Lake) -> Built:
    """One row per trade of the day at Coinbase, side = aggressor, on the exchange's clock.

    Asks Coinbase for the day alone, page by page. Known fault: the record's side is the maker's, and is turned round.
    """
    table = "raw/coinbase_trades"
    return land_trades(context, lake, table, "coinbase_trades", "coinbase", coinbase.trades, trades_from)


ASSETS = (coinbase_candles, coinbase_usdt, coinbase_trades)
