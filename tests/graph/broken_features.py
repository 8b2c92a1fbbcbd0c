"""Sound partitions of the derived and slow bars and the feature sets that read them, and what breaks each check."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from conftest import DAYS, SEED, bars_of, with_clocks
from laws.every_source import MR_SETTINGS, SETTINGS, everything, inputs_of, random_trades

from crpbot_dagster.assets.bars.derivatives import derivatives_1m, with_intervals
from crpbot_dagster.assets.bars.fx import fx_1m
from crpbot_dagster.assets.bars.volume_buckets import volume_buckets
from crpbot_dagster.assets.features import mean_reversion, multi_source
from crpbot_dagster.assets.raw.deribit import CURRENCIES, hours_of
from crpbot_dagster.sandbox import derivatives
from crpbot_dagster.sandbox.market import MarketSpec, tape
from crpbot_dagster.sandbox.venues import usdt_minutes

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

DAY = DAYS[1]
START = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
END = START + timedelta(days=1)
PERPETUAL, FX, BUCKETS, OPTIONS = (f"bars/{t}" for t in ("derivatives_1m", "fx_1m", "volume_buckets", "options_1h"))
COIN, GLOBAL, MOOD = "bars/coin_1d", "bars/global_1d", "bars/sentiment_1d"
ATTENTION, DEVELOPER, NETWORK, MACRO = (f"bars/{t}" for t in ("attention_1d", "developer_1d", "network_1d", "macro_1d"))
V6, REVERSION, USDT = "features/v6", "features/mean_reversion", "raw/coinbase_usdt"
COVERAGE = "features/coverage"
FACTS: dict[str, float] = {"coverage_every_minute_is_counted": 0.0}


def put(**values: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(**values)


def no(name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(pl.lit(None, f.schema[name]).alias(name))


BROKEN: dict[tuple[str, str], Break] = {
    (USDT, "coverage"): lambda f: f.head(700),
    (PERPETUAL, "coverage"): put(is_stale=pl.lit(1, pl.Int8)),
    (PERPETUAL, "mark_near_index"): put(mark=pl.col("index") * 1.02),
    (FX, "near_par"): put(usdt_usd=pl.lit(0.94)),
    (FX, "coverage"): no("usdt_usd"),
    (BUCKETS, "bucket_count"): lambda f: f.head(24),
    (OPTIONS, "coverage"): no("dvol_frac"),
    (COIN, "capitalised"): no("market_cap_usd"),
    (GLOBAL, "stablecoins"): no("stable_cap_usd"),
    (ATTENTION, "both_known"): no("news_n"),
    (DEVELOPER, "developers_known"): no("stars_n"),
    (MACRO, "every_series"): lambda f: f.head(1),
    (V6, "no_look_ahead"): {"look_ahead_n": 1.0},
    (V6, "null_share"): no("gap_kraken_bps"),
    (REVERSION, "no_look_ahead"): {"look_ahead_n": 1.0},
    (REVERSION, "null_share"): no("vpin"),
    (COVERAGE, "v5_is_known"): put(null_frac=pl.lit(0.2)),
}
EARLY = put(available_ts=pl.lit(START - timedelta(seconds=1)))
BROKEN_RULES: list[tuple[str, Break]] = [
    *((table, EARLY) for table in (COIN, GLOBAL, MOOD, ATTENTION, DEVELOPER, NETWORK, MACRO)),
    (USDT, put(low=pl.col("high") + 1)),
    (PERPETUAL, lambda f: f.head(1439)),
    (PERPETUAL, put(funding_interval_h=pl.lit(3.0))),
    (FX, lambda f: f.head(1439)),
    (BUCKETS, put(buy_volume=pl.col("buy_volume") + 1)),
    (BUCKETS, lambda f: f.reverse()),
    (OPTIONS, put(available_ts=pl.col("hour"))),
    (OPTIONS, lambda f: pl.concat([f, f.head(1)])),
    (GLOBAL, put(total_cap_usd=pl.lit(0.0))),
    (MOOD, put(fear_greed=pl.lit(101.0))),
    (ATTENTION, put(news_pos_n=pl.col("news_n") + 1)),
    (NETWORK, no("btc_hash_rate")),
    (MACRO, no("value")),
    (V6, lambda f: f.head(1000)),
    (V6, put(rsi_14x5m=pl.lit(200.0))),
    (REVERSION, lambda f: f.head(1000)),
    (REVERSION, put(vpin=pl.lit(1.5))),
    (COVERAGE, {"coverage_every_minute_is_counted": 1.0}),
    (COVERAGE, put(valid_n=pl.lit(-1))),
]


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(SEED)
    ticker = with_clocks(derivatives.ticker(market, "BTCUSDT", DAY))
    announced = pl.from_epoch("funding_timestamp", "us").dt.replace_time_zone("UTC")
    said = with_intervals(ticker.lazy().with_columns(funding_ts=announced), "received")
    forced = with_clocks(derivatives.liquidations(market, "BTCUSDT", DAY))
    ticks = with_clocks(tape(market, "BTC-USD", DAY))
    both, other = (bars_of(market, s, DAYS) for s in ("BTC-USD", "ETH-USD"))
    reverting = mean_reversion.build(everything(both, other, rng), MR_SETTINGS)
    spread = multi_source.build(inputs_of(random_trades(2, rng, DAYS[0]), rng), SETTINGS)
    here = pl.col("ts").dt.date() == DAY
    minutes = usdt_minutes(market, START, END)
    hours = hours_of(DAY, CURRENCIES)
    one = {"obs_day": DAY, "available_ts": END + timedelta(hours=7)}
    return {
        USDT: minutes,
        PERPETUAL: derivatives_1m(said, forced.lazy(), DAY, "received").with_columns(
            venue=pl.lit("binance-futures"), clock=pl.lit("received")
        ),
        FX: fx_1m({"coinbase/coinbase": minutes}, DAY),
        BUCKETS: volume_buckets(ticks.lazy(), DAY, ticks["amount"].sum() / 100.5, "received").with_columns(
            clock=pl.lit("received")
        ),
        OPTIONS: hours.with_columns(
            pl.lit(1.0).alias(n)
            for n in ("dvol_frac", "skew_25d_frac", "put_volume", "call_volume", "put_oi", "call_oi")
        ),
        COIN: pl.DataFrame([one | {"price_usd": 37_000.0, "market_cap_usd": 7e11, "total_volume_usd": 2e10,
                                   "market_cap_rank": 1}]),
        GLOBAL: pl.DataFrame([one | {"total_cap_usd": 1.4e12, "btc_cap_usd": 7e11, "eth_cap_usd": 2e11,
                                     "stable_cap_usd": 1.1e11}]),
        MOOD: pl.DataFrame([one | {"fear_greed": 63.0}]),
        ATTENTION: pl.DataFrame([one | {"wiki_available_ts": END + timedelta(days=1), "wiki_views_n": 9_811,
                                        "reddit_subscribers_n": None, "news_n": 70, "news_pos_n": 30, "news_neg_n": 16}]),
        DEVELOPER: pl.DataFrame([one | {"commits_4w_n": 108, "stars_n": 73_168, "prs_merged_n": 11_215}]),
        NETWORK: pl.DataFrame([one | {"btc_hash_rate": 470.0}]),
        MACRO: pl.DataFrame([one | {"series_id": s, "value": v} for s, v in (("SP500", 4_514.0), ("DTWEXBGS", 121.1))]),
        V6: spread.filter(here),
        REVERSION: reverting.filter(here),
        COVERAGE: pl.DataFrame({"feature_set": "v5", "feature": ["close", "rsi"], "rows_n": 1440, "valid_n": [1440, 1300],
                                "null_frac": [0.0, 1 - 1300 / 1440]}),
    }  # fmt: skip
