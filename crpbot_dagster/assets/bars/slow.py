"""Raw tables of slow sources to slow bars: which columns an observation has, and from when on it was known.

Pure functions of one day's raw rows. A row is known when the last of its parts was; what a source did not say is null.
Not here: what the sources say (``assets/raw``), wiring (``assets_slow.py``), who reads them (``features/slow.py``).
"""

from datetime import date, timedelta

import polars as pl

from crpbot_dagster.assets.raw.option_surface import CURRENCIES, hours_of, summarised
from crpbot_dagster.tables.bars_slow import MACRO_SERIES
from crpbot_dagster.tables.schema import UTC_US

OBS_DAY = pl.col("day").alias("obs_day")
HASH_RATE_SOURCE = "blockchain"  # mempool.space's estimate is there to check it by
SURFACE = ("put_oi", "call_oi", "skew_25d_frac")
PER_CENT = 100.0
KNOWN_SHARE = 0.9  # ours: once so many options are no news, the sum over them is that of the currency


def coin_1d(market: pl.DataFrame, coins: pl.DataFrame) -> pl.DataFrame:
    """Return the day of ``raw/coingecko_market`` with the rank of the snapshot of ``raw/coingecko_coin``, if any."""
    ranked = coins.filter(pl.col("kind") == "snapshot").select(
        "day", pl.col("available_ts").alias("ranked"), pl.col("market_cap_rank_n").alias("market_cap_rank")
    )
    known = pl.max_horizontal("available_ts", pl.when(pl.col("market_cap_rank").is_not_null()).then("ranked"))
    return market.join(ranked, on="day", how="left").select(
        "day",
        OBS_DAY,
        known.alias("available_ts"),
        "price_usd",
        "market_cap_usd",
        "total_volume_usd",
        "market_cap_rank",
    )


def global_1d(market: pl.DataFrame) -> pl.DataFrame:
    """Return the day of ``raw/coingecko_global`` with shares as dollars; USDT and USDC are one sum, or null."""
    total = pl.col("total_cap_usd")
    return market.select(
        "day",
        OBS_DAY,
        "available_ts",
        "total_cap_usd",
        (total * pl.col("btc_frac")).alias("btc_cap_usd"),
        (total * pl.col("eth_frac")).alias("eth_cap_usd"),
        (total * (pl.col("usdt_frac") + pl.col("usdc_frac"))).alias("stable_cap_usd"),
    )


def sentiment_1d(mood: pl.DataFrame) -> pl.DataFrame:
    """Return the day of ``raw/fear_greed``."""
    return mood.select("day", OBS_DAY, "available_ts", "fear_greed")


def attention_1d(attention: pl.DataFrame) -> pl.DataFrame:
    """Return the day of ``raw/attention``: what came with the news has the news' availability."""
    counts = ("wiki_views_n", "reddit_subscribers_n", "news_n", "news_pos_n", "news_neg_n")
    known = pl.col("news_available_ts").alias("available_ts")
    return attention.select("day", OBS_DAY, known, "wiki_available_ts", *counts)


def developer_1d(coins: pl.DataFrame) -> pl.DataFrame:
    """Return the day of ``raw/coingecko_coin``: commits, stars, merged pull requests."""
    return coins.select("day", OBS_DAY, "available_ts", "commits_4w_n", "stars_n", "prs_merged_n")


def network_1d(rates: pl.DataFrame) -> pl.DataFrame:
    """Return the day of ``raw/hash_rate`` as one source has it; no row without that source."""
    value = pl.col("hash_rate_ehs").alias("btc_hash_rate")
    return rates.filter(pl.col("source") == HASH_RATE_SOURCE).select("day", OBS_DAY, "available_ts", value)


def macro_1d(series: pl.DataFrame) -> pl.DataFrame:
    """Return the values of ``raw/traditional_markets`` that features read; a holiday has none."""
    kept = series.filter(pl.col("series_id").is_in(MACRO_SERIES) & pl.col("value").is_not_null())
    return kept.select("day", "series_id", OBS_DAY, "available_ts", "value")


def surface_1h(chain: pl.LazyFrame, day: date) -> pl.DataFrame:
    """Return open interest and skew as each hour of ``day`` ends, from every change of every option.

    Parameters
    ----------
    chain : rows of ``raw/tardis_options``
        Of the day alone: an option that did not change since 00:00 is not known yet. Read twice, piece by piece.

    Returns
    -------
    currency, hour, put_oi, call_oi (coin), skew_25d_frac. Sums are null while too few options are known to be all: less
    than 90 % of those that live and were seen since 00:00 were seen before the hour and state their open interest.
    """
    hour = pl.col("ts_received").dt.truncate("1h").alias("hour")
    currency = pl.col("instrument").str.extract("^([A-Z]+)-").alias("currency")
    ours = chain.with_columns(hour, currency).filter(pl.col("currency").is_in(CURRENCIES))
    last = ours.group_by("hour", "instrument").agg(pl.col("seq").max()).select("seq")
    said = (
        ours.join(last, on="seq", how="semi")
        .select(
            "hour",
            "currency",
            "instrument",
            "open_interest",
            pl.col("expiry_ts").alias("expiry"),
            pl.col("strike_price").alias("strike"),
            (pl.col("option_type") == "put").alias("is_put"),
            (pl.col("mark_iv") / PER_CENT).alias("iv"),
            pl.col("underlying_price").alias("forward"),
        )
        .collect(engine="streaming")
        .with_columns(pl.col("hour").min().over("instrument").alias("first"))
    )
    rows = []
    for name, start in hours_of(day, CURRENCIES).select("currency", "hour").iter_rows():
        end = start + timedelta(hours=1)
        held = (
            said.filter(pl.col("currency") == name, pl.col("hour") <= start, pl.col("expiry") > end)
            .sort("hour", maintain_order=True)
            .unique("instrument", keep="last", maintain_order=True)
        )
        if held.is_empty():
            continue
        known = held.filter(pl.col("first") < start, pl.col("open_interest").is_not_null()).height
        is_whole = known >= KNOWN_SHARE * held.height
        sides = (pl.col("is_put"), ~pl.col("is_put"))
        interest = [held.filter(side)["open_interest"].sum() if is_whole else None for side in sides]
        priced = held.filter(pl.col("iv") > 0, pl.col("forward") > 0)
        skew = summarised(priced, end)["skew_25d_frac"] if priced.height else None
        rows.append((name, start, *interest, skew))
    schema = {"currency": pl.String(), "hour": UTC_US} | dict.fromkeys(SURFACE, pl.Float64())
    return pl.DataFrame(rows, schema=schema, orient="row")


def options_1h(hours: pl.DataFrame, surface: pl.DataFrame | None, day: date) -> pl.DataFrame:
    """Return 24 rows of ``day`` per currency: volatility index, traded puts and calls, open interest, skew.

    Parameters
    ----------
    hours : rows of ``raw/deribit_options``
        Of the day and the day before. A snapshot stands in the hour in which it was taken, which is not the hour it is
        filed under: nobody knew it then.
    surface : ``surface_1h``
        What Tardis recorded, instead of snapshots; None when there is none.
    """
    own = hours.filter(pl.col("day") == day).select("currency", "hour", "dvol_frac", "put_volume", "call_volume")
    taken = hours.filter(pl.col("snapshot_ts").is_not_null()).select(
        "currency", pl.col("snapshot_ts").dt.truncate("1h").alias("hour"), *SURFACE
    )
    grid = hours_of(day, CURRENCIES).with_columns(pl.lit(day).alias("day"))
    for part in (own, taken if surface is None else surface):
        grid = grid.join(part, on=["currency", "hour"], how="left", maintain_order="left")
    return grid
