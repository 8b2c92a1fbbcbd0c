"""Raw tables of the web sources: aggregates, coins, sentiment, network, attention, macro.

A row describes a day (or a minute of it) and says with ``available_ts`` from when on it may be read: by the source's
rule, so that asking again gives the same row; of a snapshot, the moment it was taken.
"""

import polars as pl

from crpbot_dagster.tables.raw import CANDLE_PRICES, OHLC_CONSISTENT, QUARANTINE_SHARE
from crpbot_dagster.tables.schema import DAY, SYMBOL, TS, UTC_US, VENUE, Check, Column, Measure, Table, columns

F64, I64 = pl.Float64(), pl.Int64()
MAX_HASH_RATE_GAP = (
    0.15  # ours: of a day's 144 blocks an estimate scatters by 8 %, and the two differ in when a day begins
)
DAY_END_TOLERANCE_S = 600.0
MACRO_SERIES_N = 4


def _available(rule: str) -> Column:
    return Column("available_ts", UTC_US, "UTC", f"known from: {rule}", required=True)


def _count(name: str, text: str, *, required: bool = False) -> Column:
    return Column(name, I64, "n", text, "≥ 0", required)


EACH_ONCE = Check(
    "duplicates",
    False,
    "nothing was delivered twice; equal repeats are dropped and counted",
    (Measure("rows dropped", "duplicates_n", 0, 0),),
)
KNOWN_AFTERWARDS = Measure(
    "rows known before the day they describe",
    (pl.col("available_ts") < pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")).sum(),
    0,
    0,
)
"""A day's row cannot be known before the day begins: a stamp of another unit or zone shows here."""

CRYPTOCOMPARE_CANDLES = Table(
    "raw/cryptocompare_candles",
    "one minute of CryptoCompare's index; a minute without a trade has volume 0 and the last price",
    ("symbol", "day", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        TS,
        _available("ts + 2 min: the minute, and the index's own minute"),
        CANDLE_PRICES,
        Column("quote_volume", F64, "USDv", "Σ price·size, as the index adds it up over its exchanges", "≥ 0", True),
        Column(
            "conversion",
            pl.String(),
            "",
            "direct, or how the price was computed by way of another currency",
            required=True,
        ),
    ),
    (OHLC_CONSISTENT, QUARANTINE_SHARE, KNOWN_AFTERWARDS),
    (
        Check(
            "coverage",
            False,
            "at least 95 % of the day's minutes have a candle",
            (Measure("share of minutes with a candle", pl.len() / 1440, 0.95, 1),),
        ),
        Check(
            "direct",
            False,
            "the prices are those of the pair, not computed by way of another currency",
            (Measure("share of minutes not direct", (pl.col("conversion") != "direct").mean(), 0, 0.01),),
        ),
        EACH_ONCE,
    ),
    candle_source="cryptocompare",
)

COINGECKO_MARKET = Table(
    "raw/coingecko_market",
    "one coin's price, capitalisation and volume at the end of the day",
    ("symbol", "day", "ts_exchange"),
    columns(
        SYMBOL,
        DAY,
        Column("ts_exchange", UTC_US, "UTC", "the vendor's stamp of the value, close to the day's end", required=True),
        _available("the next day, 01:00 UTC: the vendor closes a day at 00:35"),
        Column("price_usd", F64, "USD", "price, over the vendor's exchanges", "> 0", True),
        Column("market_cap_usd", F64, "USD", "price × circulating supply; null where the vendor has none", "> 0"),
        Column("total_volume_usd", F64, "USD", "traded in the 24 h before, over the vendor's exchanges", "≥ 0"),
    ),
    (QUARANTINE_SHARE, KNOWN_AFTERWARDS),
    (
        Check(
            "at_the_end_of_the_day",
            False,
            "the value is stamped within ten minutes of the day's end, and has a capitalisation",
            (
                Measure(
                    "distance from the day's end, s",
                    (
                        pl.col("ts_exchange")
                        - (pl.col("day") + pl.duration(days=1)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
                    )
                    .dt.total_seconds()
                    .abs()
                    .max(),
                    0,
                    DAY_END_TOLERANCE_S,
                ),
                Measure("rows without a capitalisation", pl.col("market_cap_usd").null_count(), 0, 0),
            ),
        ),
        EACH_ONCE,
    ),
)

COINGECKO_COIN = Table(
    "raw/coingecko_coin",
    "one coin's rank, supply, community and developers",
    ("symbol", "day"),
    columns(
        SYMBOL,
        DAY,
        Column(
            "kind", pl.String(), "", "snapshot: taken then; history: the vendor's record of that day", required=True
        ),
        Column("ts_received", UTC_US, "UTC", "when the snapshot was taken; null of history"),
        _available("a snapshot, when it was taken; history, the next day, 01:00 UTC"),
        Column("market_cap_rank_n", I64, "n", "rank by capitalisation; null of history", "≥ 1"),
        Column("circulating_supply_coin", F64, "coin", "null of history", "≥ 0"),
        Column("total_supply_coin", F64, "coin", "null of history, and where the vendor has none", "≥ 0"),
        Column("max_supply_coin", F64, "coin", "null of history, and of coins without a limit", "≥ 0"),
        _count("reddit_subscribers_n", "as served: the vendor stopped counting and sends 0 or null since"),
        _count("telegram_users_n", "members of the coin's channel"),
        _count("commits_4w_n", "commits to the main repositories in the four weeks before"),
        _count("stars_n", "stars of the main repositories"),
        _count("forks_n", "forks of the main repositories"),
        _count("prs_merged_n", "pull requests merged so far"),
    ),
    (
        QUARANTINE_SHARE,
        KNOWN_AFTERWARDS,
        Measure(
            "rows neither snapshot nor history",
            (
                ~pl.col("kind").is_in(["snapshot", "history"])
                | ((pl.col("kind") == "snapshot") != pl.col("ts_received").is_not_null())
            ).sum(),
            0,
            0,
        ),
    ),
    (
        Check(
            "developers_known",
            False,
            "the vendor knows the coin's repositories",
            (
                Measure(
                    "rows without commits and stars",
                    pl.any_horizontal(pl.col("commits_4w_n", "stars_n").is_null()).sum(),
                    0,
                    0,
                ),
            ),
        ),
    ),
)

_SHARES = ("btc_frac", "eth_frac", "usdt_frac", "usdc_frac")

COINGECKO_GLOBAL = Table(
    "raw/coingecko_global",
    "the whole market, as it was when the snapshot was taken",
    ("day",),
    columns(
        DAY,
        Column("ts_exchange", UTC_US, "UTC", "when the vendor last added the market up", required=True),
        Column("ts_received", UTC_US, "UTC", "when the snapshot was taken", required=True),
        _available("when it was taken"),
        Column("total_cap_usd", F64, "USD", "capitalisation of every coin the vendor follows", "> 0", True),
        Column("total_volume_usd", F64, "USD", "traded in the 24 h before", "≥ 0", True),
        Column("btc_frac", F64, "frac", "Bitcoin's share of total_cap_usd", "[0, 1]", True),
        Column("eth_frac", F64, "frac", "Ether's share", "[0, 1]", True),
        Column("usdt_frac", F64, "frac", "Tether's share; null when not among the vendor's ten largest", "[0, 1]"),
        Column("usdc_frac", F64, "frac", "USDC's share; null when not among the vendor's ten largest", "[0, 1]"),
    ),
    (
        QUARANTINE_SHARE,
        KNOWN_AFTERWARDS,
        Measure("sum of the shares", pl.sum_horizontal(_SHARES).max(), 0, 1),
    ),
    (
        Check(
            "fresh",
            False,
            "the vendor added the market up within the day before the snapshot",
            (
                Measure(
                    "age of the snapshot, s",
                    (pl.col("ts_received") - pl.col("ts_exchange")).dt.total_seconds().abs().max(),
                    0,
                    86_400,
                ),
            ),
        ),
    ),
    partition=("day",),
)

FEAR_GREED = Table(
    "raw/fear_greed",
    "the index of one day",
    ("day",),
    columns(
        DAY,
        _available("the day's end, or the moment it was asked for during the day"),
        Column("fear_greed", F64, "1", "0 is extreme fear, 100 extreme greed", "[0, 100]", True),
        Column("classification", pl.String(), "", "the vendor's word for it", required=True),
    ),
    (QUARANTINE_SHARE, KNOWN_AFTERWARDS),
    (EACH_ONCE,),
    partition=("day",),
)

HASH_RATE = Table(
    "raw/hash_rate",
    "one source's estimate of Bitcoin's hash rate on one day",
    ("day", "source"),
    columns(
        DAY,
        Column("source", pl.String(), "", "blockchain or mempool", required=True),
        _available("the next day, 06:00 UTC"),
        Column("hash_rate_ehs", F64, "EH/s", "mean of the day", "≥ 0", True),
        Column("difficulty", F64, "1", "in force at the day's end; null where the answer does not reach it", "≥ 0"),
    ),
    (QUARANTINE_SHARE, KNOWN_AFTERWARDS),
    (
        Check(
            "sources_agree",
            False,
            "both sources are there and their hash rates lie within 15 %",
            (
                Measure("sources", pl.col("source").n_unique(), 2, 2),
                Measure(
                    "largest over smallest, less 1",
                    pl.col("hash_rate_ehs").max() / pl.col("hash_rate_ehs").min() - 1,
                    0,
                    MAX_HASH_RATE_GAP,
                ),
            ),
        ),
        EACH_ONCE,
    ),
    partition=("day",),
)

TRADITIONAL_MARKETS = Table(
    "raw/traditional_markets",
    "one series' value of one day; null where the source says that there is none",
    ("day", "series_id"),
    columns(
        DAY,
        Column("series_id", pl.String(), "", "FRED's name: SP500, DTWEXBGS, NASDAQQGLDI or DGS10", required=True),
        _available("days after the day, at 12:00 UTC: SP500 2, DGS10 and NASDAQQGLDI 5, DTWEXBGS 9"),
        Column("value", F64, "", "index points, or % a year (DGS10); null on a holiday"),
    ),
    (QUARANTINE_SHARE, KNOWN_AFTERWARDS),
    (
        Check(
            "every_series",
            False,
            "all four series have answered for the day; the slow ones are published up to nine days later",
            (Measure("series", pl.col("series_id").n_unique(), MACRO_SERIES_N, MACRO_SERIES_N),),
        ),
        EACH_ONCE,
    ),
    partition=("day",),
)

ATTENTION = Table(
    "raw/attention",
    "how much a coin was looked up and written about on one day",
    ("symbol", "day"),
    columns(
        SYMBOL,
        DAY,
        Column(
            "wiki_available_ts", UTC_US, "UTC", "wiki_views_n is known from: two days later, 00:00 UTC", required=True
        ),
        Column(
            "news_available_ts",
            UTC_US,
            "UTC",
            "the news columns are known from: the next day, 01:00 UTC",
            required=True,
        ),
        _count("wiki_views_n", "views of the coin's English article by people; null when not served"),
        _count("news_n", "articles published on the day; null when not served"),
        _count("news_pos_n", "of them positive, by the vendor's judgement"),
        _count("news_neg_n", "of them negative, by the vendor's judgement"),
        _count("reddit_subscribers_n", "always null: Reddit serves no history, and nothing stands in for it"),
    ),
    (
        QUARANTINE_SHARE,
        Measure(
            "rows with more judged than counted",
            (pl.col("news_pos_n") + pl.col("news_neg_n") > pl.col("news_n")).sum(),
            0,
            0,
        ),
    ),
    (
        Check(
            "both_known",
            False,
            "page views and news have both been served",
            (
                Measure(
                    "rows without one of them",
                    pl.any_horizontal(pl.col("wiki_views_n", "news_n").is_null()).sum(),
                    0,
                    0,
                ),
            ),
        ),
        EACH_ONCE,
    ),
)

TABLES: tuple[Table, ...] = (
    CRYPTOCOMPARE_CANDLES,
    COINGECKO_MARKET,
    COINGECKO_COIN,
    COINGECKO_GLOBAL,
    FEAR_GREED,
    HASH_RATE,
    TRADITIONAL_MARKETS,
    ATTENTION,
)
