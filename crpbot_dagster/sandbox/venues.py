"""The simulated market's other venues: the same latent price, each with its own lag, spread, noise and outages.

Normative, as ``market.py`` is for Coinbase:

* **Kraken** quotes around Coinbase's mid of ``LAG_US`` = 2 s ago, lowered by 2 bps (its buyers pay less) and moved by
  an AR(1) noise of 4 bps standard deviation and one hour half-life, drawn afresh each day. Its spread is 3 bps, its
  prices are on its own grid of 5 significant digits or finer.
* It trades 8 times a minute at density 1, at exchange times that strictly increase. The aggressor's side is a fair
  coin: its tape says nothing of the pressure, so only Coinbase's ticks are worth money. Sizes are 0.7 of Coinbase's.
* On one day in seven, drawn per day and the same for all symbols, it is closed for maintenance: 60 to 180 minutes
  without a trade, at any hour.
* Its trade ids are its own: ``(days since the epoch + 1) · 1,000,000 + n``.
* **Funding** of a perpetual, per hour: 1.25e-5 (the 1 bp of 8 hours that venues quote at rest) + 5e-4 times the log
  return of the eight hours before the stamp + noise of 2e-6, each venue its own. It reads the past only.

* **USDT-USD** at Coinbase: ``1 + 4 bps`` of an AR(1) of one hour half-life, drawn afresh each day, to 4 decimals; one
  minute in ten has no trade.

Everything is a pure function of (seed, symbol, day). Source: ours; the numbers follow the order of magnitude of real
Coinbase minus Kraken, March 2023: mean +2.2 bps, standard deviation 6.2 bps.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.market import DAY_MINUTES, EPOCH, MINUTE_US, MarketSpec

LAG_US = 2_000_000
PREMIUM_BPS = -2.0
NOISE_BPS = 4.0
NOISE_HALF_LIFE = 60  # minutes
SPREAD_BPS = 3.0
TRADES_A_MINUTE = 8
SIZE = 0.7
OUTAGE_SHARE = 1 / 7
OUTAGE_MINUTES = (60, 180)
ID_DAY = 1_000_000
REST_RATE_1H = 1.25e-5
MOMENTUM = 5e-4
RATE_NOISE = 2e-6
USDT = "USDT-USD"
USDT_BPS = 4.0
USDT_QUIET = 0.1


@dataclass(frozen=True)
class Outage:
    """A closed stretch of a day: minutes [first, stop)."""

    first: int
    stop: int


def outage(spec: MarketSpec, day: date) -> Outage | None:
    """Return when Kraken is closed on ``day``, None on six days of seven."""
    rng = market._generator(spec.seed, "kraken", day.isoformat(), "outage")
    if rng.random() >= OUTAGE_SHARE:
        return None
    length = int(rng.integers(OUTAGE_MINUTES[0], OUTAGE_MINUTES[1] + 1))
    first = int(rng.integers(0, DAY_MINUTES - length))
    return Outage(first, first + length)


@lru_cache(maxsize=8)
def kraken_tape(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return Kraken's trades of the day: ts_exchange (int64, µs), id, side (aggressor), price (USD), amount (coin).

    Raises
    ------
    NoSuchDay, NoSuchSymbol
        As ``market.tape``.
    """
    since, mid = market.mids(spec, symbol, day)
    rng = market._generator(spec.seed, symbol, day.isoformat(), "kraken tape")
    minute = np.repeat(np.arange(DAY_MINUTES), rng.poisson(TRADES_A_MINUTE * spec.density, DAY_MINUTES))
    offset = MINUTE_US * minute + (rng.random(len(minute)) * MINUTE_US).astype(np.int64)
    closed = outage(spec, day)
    if closed is not None:
        offset = offset[(minute < closed.first) | (minute >= closed.stop)]
    offset = np.unique(offset)  # sorted, and no two trades at one microsecond
    ts, n = market._midnight_us(day) + offset, len(offset)
    wander = market._ar1(rng.standard_normal(DAY_MINUTES), 0.5 ** (1 / NOISE_HALF_LIFE))
    is_buy = rng.random(n) < 0.5
    # The first two seconds of a day look back on its first quote.
    behind = np.maximum(np.searchsorted(since, ts - LAG_US, side="right") - 1, 0)
    away = PREMIUM_BPS + NOISE_BPS * wander[offset // MINUTE_US] + np.where(is_buy, 1, -1) * SPREAD_BPS / 2
    price = np.round(mid[behind] * (1 + away * 1e-4), decimals(symbol))
    size = SIZE * market.SYMBOLS[symbol].trade_coin * np.exp(market.TRADE_SIZE_SD * rng.standard_normal(n))
    return pl.DataFrame(
        {
            "ts_exchange": ts,
            "id": ((day - EPOCH).days + 1) * ID_DAY + np.arange(n),
            "side": np.where(is_buy, "buy", "sell"),
            "price": price,
            "amount": np.maximum(np.round(size, 8), 1e-8),
        }
    )


def decimals(symbol: str) -> int:
    """Return how many decimals Kraken's prices of ``symbol`` have."""
    return max(0, 5 - int(np.log10(market.SYMBOLS[symbol].start_usd)))


@lru_cache(maxsize=16)
def funding(spec: MarketSpec, symbol: str, venue: str, until: date) -> pl.DataFrame:
    """Return the hourly rates of ``venue`` from the second day of the market to ``until``: ts (UTC), rate_1h (frac)."""
    hours = market.hourly(spec, symbol, until)
    noise = market._generator(spec.seed, symbol, venue, "funding").standard_normal(hours.height)
    momentum = pl.col("log_price") - pl.col("log_price").shift(8)
    rate = (REST_RATE_1H + MOMENTUM * momentum + RATE_NOISE * pl.Series(noise)).round(12)
    start = EPOCH + timedelta(days=1)
    return hours.select("ts", rate.alias("rate_1h"), "log_price").filter(
        pl.col("ts").dt.date().is_between(start, until - timedelta(days=1))
    )


def usdt_minutes(spec: MarketSpec, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the minutes of USDT-USD in [start, end) that had a trade: ts, open, high, low, close, volume."""
    days = [start.date() + timedelta(days=i) for i in range((end.date() - start.date()).days + 1)]
    found = pl.concat([_usdt_day(spec, day) for day in days if day >= EPOCH] or [_usdt_day(spec, EPOCH).clear()])
    return found.filter(pl.col("ts") >= start, pl.col("ts") < end)


@lru_cache(maxsize=8)
def _usdt_day(spec: MarketSpec, day: date) -> pl.DataFrame:
    rng = market._generator(spec.seed, USDT, day.isoformat(), "candles")
    wander = market._ar1(rng.standard_normal(DAY_MINUTES + 1), 0.5 ** (1 / NOISE_HALF_LIFE))
    price = np.round(1 + USDT_BPS * 1e-4 * wander, 4)
    minutes = np.datetime64(day.isoformat(), "us") + np.arange(DAY_MINUTES) * np.timedelta64(1, "m")
    frame = pl.DataFrame(
        {
            "ts": pl.Series(minutes).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "open": price[:-1],
            "high": np.maximum(price[:-1], price[1:]),
            "low": np.minimum(price[:-1], price[1:]),
            "close": price[1:],
            "volume": np.round(rng.lognormal(8, 1, DAY_MINUTES), 2),
        }
    )
    return frame.filter(pl.Series(rng.random(DAY_MINUTES) >= USDT_QUIET))
