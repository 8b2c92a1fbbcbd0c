"""Every source that the feature sets read, for any number of days: what the bars would hold, made from few numbers.

Not here: the market's own minutes (``workload.py``), how long the sets take (``features.py``).
"""

from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from benchmarks.workload import DAY, DISTINCT_DAYS, minutes
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.mean_reversion import MRSettings
from crpbot_dagster.assets.features.multi_source import V6Settings

PERPETUALS = ("kraken_futures", "deribit", "binance-futures")
V6_TOLD = V6Settings(
    symbol="BTC-USD",
    primary_venue="coinbase",
    price_venues=("coinbase", "kraken", "binance", "cryptocompare"),
    book_venues=("coinbase", "kraken", "binance"),
    funding_venues=PERPETUALS,
    usdt_venues=frozenset({"binance"}),
    taker_fee_bps={"coinbase": 6.0, "kraken": 5.0, "binance": 3.0},
    offshore_venue="binance",
    option_currency="BTC",
    option_symbol="BTC-USD",
)
MR_TOLD = MRSettings("BTC-USD", PERPETUALS)
HISTORY = 400  # days of slow tables before the first minute
BUCKETS_A_DAY = 100
# Slow table → its values, and how many hours after midnight of its day a row is known.
DAILY = {
    "D": (("high", "close", "rv_1d", "funding_bps_8h_mean"), 24),
    "C": (("price_usd", "market_cap_usd", "total_volume_usd", "market_cap_rank"), 25),
    "G": (("total_cap_usd", "btc_cap_usd", "eth_cap_usd", "stable_cap_usd"), 25),
    "S": (("fear_greed",), 24),
    "A": (("wiki_views_n", "reddit_subscribers_n", "news_n", "news_pos_n", "news_neg_n"), 25),
    "H": (("commits_4w_n", "stars_n", "prs_merged_n"), 25),
    "N": (("btc_hash_rate",), 30),
    "M": (("value",), 60),
}
HOURLY = ("dvol_frac", "skew_25d_frac", "put_volume", "call_volume", "put_oi", "call_oi")


def _slow(rng: np.random.Generator, days: list[date]) -> dict[str, pl.DataFrame]:
    midnights = pl.Series(days).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    made = {}
    for letter, (names, hours) in DAILY.items():
        known = midnights + timedelta(hours=hours)
        values = {n: np.exp(np.cumsum(rng.normal(0, 0.02, len(days)))) for n in names}
        keys = {"symbol": "BTC-USD"} | ({"wiki_available_ts": known} if letter == "A" else {})
        frame = pl.DataFrame({"obs_day": days, "available_ts": known, **keys, **values})
        series = [frame.with_columns(series_id=pl.lit(s)) for s in ("SP500", "DTWEXBGS")]
        made[letter] = pl.concat(series) if letter == "M" else frame
    hours_ = pl.datetime_range(midnights[-40], midnights[-1], "1h", eager=True)
    options = {n: rng.lognormal(0, 0.1, len(hours_)) for n in HOURLY}
    made["O"] = pl.DataFrame(
        {"currency": "BTC", "hour": hours_, "available_ts": hours_ + timedelta(minutes=61), **options}
    )
    return made


@lru_cache(maxsize=1)
def distinct_days() -> Inputs:
    """Four days of every source."""
    rng = np.random.default_rng(7)
    trades, book = minutes(DISTINCT_DAYS)
    n, ts = trades.height, trades["ts"]
    close = trades["close"].fill_null(strategy="forward").fill_null(strategy="backward").to_numpy()

    def near() -> np.ndarray:
        return close * np.exp(1e-4 * rng.normal(0, 3, n))

    def of_trades() -> pl.DataFrame:
        return pl.DataFrame({"ts": ts, "close": near(), "volume": rng.lognormal(0, 1, n)})

    def of_book() -> pl.DataFrame:
        mid = near()
        return pl.DataFrame({"ts": ts, "mid": mid, "best_bid": mid * (1 - 5e-5), "best_ask": mid * (1 + 5e-5)})

    def perpetual() -> pl.DataFrame:
        told = {"mark": near(), "index": near(), "funding_rate": rng.normal(1e-4, 1e-5, n)}
        forced = {f"liq_{side}_usd": np.where(rng.random(n) < 0.1, 1e4, 0.0) for side in ("buy", "sell")}
        rest = {"funding_interval_h": 8.0, "open_interest": rng.normal(1e5, 10, n), "is_stale": 0}
        return pl.DataFrame({"ts": ts, **told, **forced, **rest})

    ends = [ts[0] + timedelta(seconds=864 * i + 7) for i in range(BUCKETS_A_DAY * DISTINCT_DAYS)]
    bought = rng.random(len(ends))
    buckets = pl.DataFrame({"end_ts": ends, "bucket_volume": 1.0, "buy_volume": bought, "sell_volume": 1 - bought})
    days = [DAY + timedelta(days=i) for i in range(-HISTORY, DISTINCT_DAYS)]
    return Inputs(
        trades,
        book,
        of_book(),
        {v: of_trades() for v in ("kraken", "cryptocompare", "binance")},
        {v: of_book() for v in ("kraken", "binance")},
        {v: perpetual() for v in PERPETUALS},
        pl.DataFrame({"ts": ts, "usdt_usd": 1 + rng.normal(0, 1e-4, n), "is_stale": 0}),
        buckets.with_columns(pl.col("end_ts").dt.cast_time_unit("us")),
        _slow(rng, days),
    )


def two_days(i: int, every: Inputs | None = None) -> Inputs:
    """Return what the partition of the ``i``-th day reads: its minutes and those of the day before."""
    first = i % (DISTINCT_DAYS - 1)
    every = (every or distinct_days()).rows(1440 * first, 1440 * (first + 2))
    later = timedelta(days=i - first)

    def moved(frame: pl.DataFrame) -> pl.DataFrame:
        moments = [c for c, kind in frame.schema.items() if kind.is_temporal()]
        return frame.with_columns(pl.col(c) + later for c in moments)

    if every.buckets is None:
        raise ValueError("the workload has no buckets")
    slow = {letter: moved(f) for letter, f in every.slow.items()}
    return replace(every.minutes(moved), buckets=moved(every.buckets), slow=slow)
