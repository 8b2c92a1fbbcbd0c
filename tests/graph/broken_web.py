"""Sound partitions of the web sources, and what breaks each of their checks and rules (see test_checks.py)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
from conftest import DAYS

from crpbot_dagster.sandbox.cryptocompare import index_of
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.world import World

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

DAY = DAYS[1]
START = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
END = START + timedelta(days=1)
CANDLES, MARKET, COIN, GLOBAL = (
    f"raw/{t}" for t in ("cryptocompare_candles", "coingecko_market", "coingecko_coin", "coingecko_global")
)
MOOD, HASHES, MACRO, ATTENTION = (f"raw/{t}" for t in ("fear_greed", "hash_rate", "traditional_markets", "attention"))
DAILY = (CANDLES, MARKET, COIN, GLOBAL, MOOD, HASHES, MACRO)

FACTS: dict[str, float] = {}


def put(**values: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(**values)


REPEATED = {"duplicates_n": 1.0}
BROKEN: dict[tuple[str, str], Break] = {
    (CANDLES, "coverage"): lambda f: f.head(1_300),
    (CANDLES, "direct"): put(conversion=pl.lit("multiply")),
    (CANDLES, "duplicates"): REPEATED,
    (MARKET, "at_the_end_of_the_day"): put(ts_exchange=pl.lit(END - timedelta(hours=1))),
    (MARKET, "duplicates"): REPEATED,
    (COIN, "developers_known"): put(stars_n=pl.lit(None, pl.Int64)),
    (GLOBAL, "fresh"): put(ts_exchange=pl.lit(START - timedelta(days=1))),
    (MOOD, "duplicates"): REPEATED,
    (HASHES, "sources_agree"): put(hash_rate_ehs=pl.col("hash_rate_ehs") * (1 + pl.int_range(pl.len()))),
    (HASHES, "duplicates"): REPEATED,
    (MACRO, "every_series"): lambda f: f.head(3),
    (MACRO, "duplicates"): REPEATED,
    (ATTENTION, "both_known"): put(news_n=pl.lit(None, pl.Int64)),
    (ATTENTION, "duplicates"): REPEATED,
}
BROKEN_RULES: list[tuple[str, Break]] = [
    *((table, {"quarantined_frac": 0.002}) for table in (*DAILY, ATTENTION)),
    *((table, put(available_ts=pl.lit(START - timedelta(seconds=1)))) for table in DAILY),
    (CANDLES, put(low=pl.col("high") + 1)),
    (CANDLES, put(quote_volume=pl.lit(-1.0))),
    (MARKET, put(market_cap_usd=pl.lit(0.0))),
    (COIN, put(kind=pl.lit("guess"))),
    (COIN, put(kind=pl.lit("history"))),
    (COIN, put(market_cap_rank_n=pl.lit(0))),
    (GLOBAL, put(btc_frac=pl.lit(0.95))),
    (MOOD, put(fear_greed=pl.lit(101.0))),
    (HASHES, put(source=pl.lit("mempool"))),
    (MACRO, put(series_id=pl.lit("SP500"))),
    (ATTENTION, put(news_pos_n=pl.col("news_n") + 1)),
]


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    return {
        CANDLES: index_of(World(market, lambda: DAYS[2]), "BTC-USD", DAY).select(
            ts=pl.from_epoch("time").dt.replace_time_zone("UTC"),
            available_ts=pl.from_epoch(pl.col("time") + 120).dt.replace_time_zone("UTC"),
            venue=pl.lit("cryptocompare"), open="open", high="high", low="low", close="close", volume="volumefrom",
            quote_volume="volumeto", conversion=pl.lit("direct"),
        ),
        MARKET: pl.DataFrame([{
            "ts_exchange": END + timedelta(seconds=12), "available_ts": END + timedelta(hours=1), "price_usd": 37_477.4,
            "market_cap_usd": 7.3e11, "total_volume_usd": 2.0e10,
        }]),
        COIN: pl.DataFrame([{
            "kind": "snapshot", "ts_received": END + timedelta(hours=6), "available_ts": END + timedelta(hours=6),
            "market_cap_rank_n": 1, "circulating_supply_coin": 1.95e7, "total_supply_coin": 2.1e7,
            "max_supply_coin": 2.1e7, "reddit_subscribers_n": 0, "telegram_users_n": None, "commits_4w_n": 108,
            "stars_n": 73_168, "forks_n": 35_405, "prs_merged_n": 11_215,
        }]),
        GLOBAL: pl.DataFrame([{
            "ts_exchange": END, "ts_received": END + timedelta(hours=6), "available_ts": END + timedelta(hours=6),
            "total_cap_usd": 1.4e12, "total_volume_usd": 7e10, "btc_frac": 0.5, "eth_frac": 0.17, "usdt_frac": 0.06,
            "usdc_frac": None,
        }]),
        MOOD: pl.DataFrame([{"available_ts": END, "fear_greed": 63.0, "classification": "Greed"}]),
        HASHES: pl.DataFrame([
            {"source": s, "available_ts": END + timedelta(hours=6), "hash_rate_ehs": h, "difficulty": d}
            for s, h, d in (("blockchain", 470.0, 6.46e13), ("mempool", 476.0, None))
        ]),
        MACRO: pl.DataFrame([
            {"series_id": s, "available_ts": START + timedelta(days=d, hours=12), "value": v}
            for s, d, v in (("SP500", 2, 4_514.02), ("DTWEXBGS", 9, 121.1), ("NASDAQQGLDI", 5, None), ("DGS10", 5, 4.4))
        ]),
        ATTENTION: pl.DataFrame([{
            "wiki_available_ts": START + timedelta(days=2), "news_available_ts": END + timedelta(hours=1),
            "wiki_views_n": 9_811, "news_n": 70, "news_pos_n": 30, "news_neg_n": 16, "reddit_subscribers_n": None,
        }]),
    }  # fmt: skip
