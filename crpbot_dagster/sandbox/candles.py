"""Candles of the simulated market, built from its tape.

Not here: the tape (``market.py``), the wire formats (one module per vendor).
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import polars as pl

from crpbot_dagster.sandbox.market import DAY_MINUTES, EPOCH, MINUTE_US, MarketSpec, known, tape


def candles(spec: MarketSpec, symbol: str, start: datetime, end: datetime, seconds: int) -> pl.DataFrame:
    """Return the candles that open in [start, end), built from the tape by exchange time.

    Columns ts (open time, UTC), open, high, low, close (USD), volume (base coin). ``seconds`` is 60 or
    86,400. Empty minutes are absent, and so is everything before the epoch.
    """
    if seconds not in (60, 86_400):
        raise ValueError(f"candles last 60 or 86400 seconds, not {seconds}")
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    known(symbol)
    one_day = _day_candle if seconds == 86_400 else _minute_candles
    first = max(start.astimezone(UTC).date(), EPOCH)  # frames of earlier days would be empty
    last = (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    frames = [one_day(spec, symbol, day) for day in days]
    if not frames:
        frames = [_ohlcv(tape(spec, symbol, EPOCH).clear(), MINUTE_US)]
    return pl.concat(frames).filter(pl.col("ts") >= start, pl.col("ts") < end)


def _ohlcv(trades: pl.DataFrame, width_us: int) -> pl.DataFrame:
    ts = (pl.col("ts_exchange") // width_us * width_us).cast(pl.Datetime("us", "UTC")).alias("ts")
    price, volume = pl.col("price"), pl.col("amount").sum().round(8).alias("volume")
    return trades.group_by(ts, maintain_order=True).agg(
        price.first().alias("open"),
        price.max().alias("high"),
        price.min().alias("low"),
        price.last().alias("close"),
        volume,
    )


@lru_cache(maxsize=16)
def _minute_candles(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    return _ohlcv(tape(spec, symbol, day), MINUTE_US)


@lru_cache(maxsize=2_048)  # one row each, and a request for daily candles wants hundreds of days
def _day_candle(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    return _ohlcv(tape(spec, symbol, day), DAY_MINUTES * MINUTE_US)
