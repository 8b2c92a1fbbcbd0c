"""Inputs of mean reversion for the laws: sandbox bars, with buckets, perpetuals and daily funding drawn beside them."""

from datetime import date, timedelta

import numpy as np
import polars as pl
from conftest import DAYS, with_clocks

from crpbot_dagster.assets.bars.volume_buckets import volume_buckets
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.mean_reversion import MRSettings
from crpbot_dagster.sandbox.market import MarketSpec, tape

FUNDING_DAYS = 40
SETTINGS = MRSettings("BTC-USD", ("kraken_futures", "deribit"))


def perpetual(ts: pl.Series, mid: np.ndarray, interval_h: int, rng: np.random.Generator) -> pl.DataFrame:
    """A venue's rows of ``bars/derivatives_1m``: a premium that wanders, funding that follows it, liquidations."""
    n = len(ts)
    premium = 2e-4 * np.sin(np.arange(n) / 300 + rng.uniform(0, 6)) + rng.normal(0, 1e-4, n)
    forced = [np.where(rng.random(n) < 0.5, rng.lognormal(9, 1, n), 0.0) for _ in range(2)]
    return pl.DataFrame(
        {
            "ts": ts,
            "mark": mid * np.exp(premium),
            "index": mid,
            "funding_rate": 1e-4 * interval_h / 8 + 0.1 * premium + rng.normal(0, 1e-6, n),
            "funding_interval_h": np.full(n, float(interval_h)),
            "open_interest": 1e4 + rng.normal(0, 1, n).cumsum(),
            "liq_buy_usd": forced[0],
            "liq_sell_usd": forced[1],
            "is_stale": pl.Series((rng.random(n) < 0.01).astype(np.int8)),
        }
    ).with_columns(pl.col(c).fill_nan(None) for c in ("mark", "index"))


def daily_funding(last: date, rng: np.random.Generator) -> pl.DataFrame:
    days = [last - timedelta(days=i) for i in range(FUNDING_DAYS)]
    return pl.DataFrame(
        {
            "symbol": "BTC-USD",
            "obs_day": days,
            "available_ts": [d + timedelta(days=1) for d in days],
            **dict.fromkeys(("high", "close", "rv_1d"), 1.0),
            "funding_bps_8h_mean": np.where(rng.random(FUNDING_DAYS) < 0.05, np.nan, rng.normal(1, 0.5, FUNDING_DAYS)),
        }
    ).with_columns(
        pl.col("available_ts").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.col("funding_bps_8h_mean").fill_nan(None),
    )


def mr_inputs(market: MarketSpec, bars: tuple, other_bars: tuple, rng: np.random.Generator) -> Inputs:
    """Three days of BTC-USD with ETH-USD as its partner, two perpetuals and forty days of funding."""
    trades, book = bars
    mid = book["mid"].interpolate().fill_null(strategy="backward").to_numpy()
    buckets = []
    for day in DAYS:
        size = trades.filter(pl.col("ts").dt.date() == day)["volume"].sum() / 100
        buckets.append(volume_buckets(with_clocks(tape(market, "BTC-USD", day)).lazy(), day, size, "received"))
    own = daily_funding(DAYS[-1], rng)
    return Inputs(
        trades=trades,
        book=book,
        partner_book=other_bars[1],
        derivatives={
            "kraken_futures": perpetual(trades["ts"], mid, 1, rng),
            "deribit": perpetual(trades["ts"], mid * 1.0001, 8, rng),
        },
        buckets=pl.concat(buckets),
        slow={
            "D": pl.concat(
                [own, own.with_columns(pl.lit("ETH-USD").alias("symbol"), pl.col("funding_bps_8h_mean") * 3)]
            )
        },
    )
