"""Coinbase: free one-minute candles and the day's own candle, through ccxt.

What: open, high, low, close and base volume on the exchange's clock. Since: 2015. Price: free, no key.
Limits: 300 candles a call, about 30 calls a second. Known faults: a minute without a trade is absent, not
zero, so an outage and a quiet market look alike; the bars decide which it was.
Source: https://docs.cdp.coinbase.com/advanced-trade/reference/getpublicmarketproductcandles
"""

import dagster as dg
import polars as pl

from crpbot_dagster import instruments
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.exchanges import CoinbaseCandles
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import TABLES

MINUTE_S, DAY_S = 60, 86_400


def candles_from(rows: list[list[float]], interval_s: int) -> pl.DataFrame:
    """Return candles ``[start ms, open, high, low, close, volume]`` as a frame."""
    names = ("ts", "open", "high", "low", "close", "volume")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")
    moment = (pl.col("ts").cast(pl.Int64) * 1000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return frame.with_columns(moment.alias("ts"), pl.lit(interval_s, pl.Int32).alias("interval_s"))


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


ASSETS = (coinbase_candles,)
