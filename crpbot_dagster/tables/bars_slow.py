"""Slow bars: what is observed by the hour or the day, and from when on each observation may be read.

``obs_day`` is the day described, which is the partition's; ``available_ts`` is when it was known. A source that did not
answer leaves no row, and nothing else stands in for it. Not here: who reads them (``assets/features/slow.py``).
"""

import polars as pl

from crpbot_dagster.tables.raw_web import KNOWN_AFTERWARDS
from crpbot_dagster.tables.schema import DAY, SYMBOL, UTC_US, Check, Column, Measure, Table, columns

F64, I64 = pl.Float64(), pl.Int64()
OBS_DAY = Column("obs_day", pl.Date(), "", "day described", required=True)
MACRO_SERIES = ("SP500", "DTWEXBGS")


def _available(rule: str) -> Column:
    return Column("available_ts", UTC_US, "UTC", f"known from: {rule}", required=True)


def _usd(name: str, text: str, range_: str = "> 0") -> Column:
    return Column(name, F64, "USD", text, range_)


def _count(name: str, text: str) -> Column:
    return Column(name, I64, "n", text, "≥ 0")


def _without(name: str, text: str, *of: str) -> Check:
    missing = pl.any_horizontal(pl.col(of).is_null()).sum()
    return Check(name, False, text, (Measure(f"rows without {' or '.join(of)}", missing, 0, 0),))


OI_RULE = (
    "taken as skew_25d_frac is; of Tardis' chain null unless 90 % of the living options seen since 00:00 were seen "
    "before the hour and state theirs, so always null in the first hour"
)
OPTIONS_1H = Table(
    "bars/options_1h",
    "one hour of a currency's options at Deribit",
    ("currency", "hour"),
    columns(
        DAY,
        Column("currency", pl.String(), "", "BTC or ETH", required=True),
        Column("hour", UTC_US, "UTC", "start of the hour", required=True),
        _available("hour end + 1 min"),
        Column("dvol_frac", F64, "ann", "implied volatility index at the hour's end (DVOL close / 100)", "> 0"),
        Column(
            "skew_25d_frac",
            F64,
            "ann",
            "IV of the 25-delta put − IV of the 25-delta call at 30 days, as the hour ends; without Tardis' chain as a "
            "summary taken inside the hour has it, else null",
        ),
        Column("put_volume", F64, "coin", "puts traded in the hour", "≥ 0"),
        Column("call_volume", F64, "coin", "calls traded in the hour", "≥ 0"),
        Column("put_oi", F64, "coin", f"open interest of puts, {OI_RULE}", "≥ 0"),
        Column("call_oi", F64, "coin", f"open interest of calls, {OI_RULE}", "≥ 0"),
    ),
    (
        Measure(
            "hours known before they end",
            (pl.col("available_ts") < pl.col("hour") + pl.duration(hours=1)).sum(),
            0,
            0,
        ),
    ),
    (
        Check(
            "coverage",
            False,
            "every hour of every currency has its volatility index",
            (Measure("share of hours with DVOL", pl.col("dvol_frac").is_not_null().mean(), 1, 1),),
        ),
    ),
    partition=("day",),
)

COIN_1D = Table(
    "bars/coin_1d",
    "one day of a coin over all its exchanges",
    ("symbol", "obs_day"),
    columns(
        SYMBOL,
        DAY,
        OBS_DAY,
        _available("the next day, 01:00; with a rank, when the snapshot that has it was taken"),
        _usd("price_usd", "price at the day's end"),
        _usd("market_cap_usd", "capitalisation at the day's end"),
        _usd("total_volume_usd", "traded in the 24 h before", "≥ 0"),
        Column("market_cap_rank", I64, "n", "rank by capitalisation; null where no snapshot was taken", "≥ 1"),
    ),
    (KNOWN_AFTERWARDS,),
    (_without("capitalised", "the capitalisation is known", "market_cap_usd"),),
)

GLOBAL_1D = Table(
    "bars/global_1d",
    "one day of the whole market, as a snapshot within the 24 hours after its end has it: a moment of the next day",
    ("obs_day",),
    columns(
        DAY,
        OBS_DAY,
        _available("when the snapshot was taken, 0 to 24 hours after the day's end"),
        _usd("total_cap_usd", "capitalisation of every coin"),
        _usd("btc_cap_usd", "of Bitcoin", "≥ 0"),
        _usd("eth_cap_usd", "of Ether", "≥ 0"),
        _usd("stable_cap_usd", "of USDT and USDC; null when one of them is not among the ten largest", "≥ 0"),
    ),
    (KNOWN_AFTERWARDS,),
    (_without("stablecoins", "the capitalisation of both stablecoins is known", "stable_cap_usd"),),
    partition=("day",),
)

SENTIMENT_1D = Table(
    "bars/sentiment_1d",
    "the market's mood of one day",
    ("obs_day",),
    columns(
        DAY,
        OBS_DAY,
        _available("the day's end, or the moment it was asked for during the day"),
        Column("fear_greed", F64, "1", "0 is extreme fear, 100 extreme greed", "[0, 100]"),
    ),
    (KNOWN_AFTERWARDS,),
    partition=("day",),
)

ATTENTION_1D = Table(
    "bars/attention_1d",
    "how much a coin was looked up and written about on one day",
    ("symbol", "obs_day"),
    columns(
        SYMBOL,
        DAY,
        OBS_DAY,
        _available("subscribers and news, the next day, 01:00"),
        Column("wiki_available_ts", UTC_US, "UTC", "wiki_views_n is known from: two days later, 00:00", required=True),
        _count("wiki_views_n", "views of the coin's English article by people"),
        _count("reddit_subscribers_n", "always null: Reddit serves no history"),
        _count("news_n", "articles published on the day"),
        _count("news_pos_n", "of them positive, by the vendor's judgement"),
        _count("news_neg_n", "of them negative, by the vendor's judgement"),
    ),
    (
        KNOWN_AFTERWARDS,
        Measure(
            "rows with more judged than counted",
            (pl.col("news_pos_n") + pl.col("news_neg_n") > pl.col("news_n")).sum(),
            0,
            0,
        ),
    ),
    (_without("both_known", "page views and news are both known", "wiki_views_n", "news_n"),),
)

DEVELOPER_1D = Table(
    "bars/developer_1d",
    "one day of a coin's main repositories",
    ("symbol", "obs_day"),
    columns(
        SYMBOL,
        DAY,
        OBS_DAY,
        _available("a snapshot, when it was taken; history, the next day, 01:00"),
        _count("commits_4w_n", "commits in the four weeks before"),
        _count("stars_n", "stars"),
        _count("prs_merged_n", "pull requests merged so far"),
    ),
    (KNOWN_AFTERWARDS,),
    (_without("developers_known", "commits and stars are known", "commits_4w_n", "stars_n"),),
)

NETWORK_1D = Table(
    "bars/network_1d",
    "one day of Bitcoin's network",
    ("obs_day",),
    columns(
        DAY,
        OBS_DAY,
        _available("the next day, 06:00"),
        Column("btc_hash_rate", F64, "EH/s", "mean of the day, as blockchain.com estimates it", "> 0", True),
    ),
    (KNOWN_AFTERWARDS,),
    partition=("day",),
)

MACRO_1D = Table(
    "bars/macro_1d",
    "one series' value of one New York day, as FRED has it when it is asked, not as it was first published; a day "
    "without a value has no row",
    ("series_id", "obs_day"),
    columns(
        DAY,
        Column("series_id", pl.String(), "", "FRED's name: SP500 or DTWEXBGS", required=True),
        OBS_DAY,
        _available("days after the day, at 12:00 UTC: SP500 2, DTWEXBGS 9"),
        Column("value", F64, "", "index points; DTWEXBGS is revised every year, for years back", "> 0", True),
    ),
    (KNOWN_AFTERWARDS,),
    (
        Check(
            "every_series",
            False,
            "both series have a value",
            (Measure("series", pl.col("series_id").n_unique(), len(MACRO_SERIES), len(MACRO_SERIES)),),
        ),
    ),
    partition=("day",),
)

TABLES = (
    OPTIONS_1H,
    COIN_1D,
    GLOBAL_1D,
    SENTIMENT_1D,
    ATTENTION_1D,
    DEVELOPER_1D,
    NETWORK_1D,
    MACRO_1D,
)
"""What the platform knows beside prices, by the hour and the day."""
