"""Frames as lakeapi hands them over, made from the simulated market without the network."""

from datetime import date

import polars as pl

from crpbot_dagster.sandbox import crypto_lake
from crpbot_dagster.sandbox.market import MarketSpec

RENAMED = {"amount": "quantity", "receipt_timestamp": "received_time", "timestamp": "origin_time"}
MOMENTS = {"origin_time": "ns", "received_time": "ns", "next_funding_time": "s"}


def handed_over(spec: MarketSpec, table: str, day: date) -> pl.DataFrame:
    """The client's own renaming and times (see lakeapi.main.load_data, 0.22.3)."""
    name = "BTCUSDT" if crypto_lake.LISTED[table] is crypto_lake.PERPETUALS else "BTC-USD"
    frame = crypto_lake.MAKERS[table](spec, name, day)
    found = frame.rename(RENAMED | ({"id": "trade_id"} if table == "trades" else {}), strict=False)
    return found.with_columns(
        pl.from_epoch(pl.col(c), time_unit=unit).alias(c) for c, unit in MOMENTS.items() if c in found.columns
    )
