"""Bars made from more than one kind of tick: the perpetual's minutes, the dollar price of USDT, volume buckets."""

import polars as pl

from crpbot_dagster.tables.bars import CLOCK
from crpbot_dagster.tables.schema import DAY, SOURCE, SYMBOL, TS, UTC_US, VENUE, Check, Column, Measure, Table, columns

F64, I64, I8 = pl.Float64(), pl.Int64(), pl.Int8()


def _is_stale(text: str) -> Column:
    return Column("is_stale", I8, "flag", text, "{0,1}")


DERIVATIVES_1M = Table(
    "bars/derivatives_1m",
    "one minute of a symbol's perpetual at a venue, by source (docs/conventions.md)",
    ("symbol", "venue", "source", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SOURCE,
        TS,
        Column("mark", F64, "USD", "mark price, last one stated before the minute's end, carried ≤ 10 min", "> 0"),
        Column("index", F64, "USD", "price of the underlying over venues, carried ≤ 10 min", "> 0"),
        Column(
            "funding_rate",
            F64,
            "frac",
            "of the running interval, longs pay when positive; the last settled one where a source only gives those; "
            "carried ≤ 8 h",
        ),
        Column(
            "funding_interval_h",
            F64,
            "n",
            "hours that funding_rate is for: as settled, else as the payments that the venue announces tell; null "
            "without a rate, and where no payment is announced or the payments contradict each other or fit several "
            "intervals",
            "{1,4,8}",
        ),
        Column("open_interest", F64, "coin", "contracts open in base coin, carried ≤ 10 min", "≥ 0"),
        Column(
            "liq_buy_usd",
            F64,
            "USDv",
            "Σ value of liquidation orders that buy (shorts being closed); 0 when the feed is alive and there is none",
            "≥ 0",
        ),
        Column("liq_sell_usd", F64, "USDv", "Σ value of liquidation orders that sell (longs being closed)", "≥ 0"),
        _is_stale(
            "1 if a value the venue has stated since the day before is older than 2 min (funding: one interval), "
            "missing for age included"
        ),
        CLOCK,
    ),
    (
        Measure("rows per venue", pl.len() / pl.struct("venue", "source").n_unique().clip(1), 1440, 1440),
        Measure("distinct minutes", pl.col("ts").n_unique().cast(F64), 1440, 1440),
    ),
    (
        Check(
            "coverage",
            False,
            "at most 10 % of the minutes are stale, at every venue",
            (
                Measure(
                    "share of stale minutes, worst venue",
                    pl.col("is_stale").cast(F64).mean().over("venue", "source").max(),
                    0,
                    0.1,
                ),
            ),
        ),
        Check(
            "mark_near_index",
            False,
            "the median distance of mark and index stays within 1 %",
            (
                Measure(
                    "median |ln(mark / index)|, bps",
                    1e4 * (pl.col("mark") / pl.col("index")).log().abs().median().fill_null(0.0),
                    0,
                    100,
                ),
            ),
        ),
    ),
)

FX_1M = Table(
    "bars/fx_1m",
    "one minute of the whole market: what a USDT is worth in USD",
    ("ts",),
    columns(
        DAY,
        TS,
        Column("source", pl.String(), "", "venue/source of the trade, null without a price"),
        Column("usdt_usd", F64, "1", "last trade of USDT-USD (coinbase, else kraken), carried ≤ 60 min", "> 0"),
        _is_stale("1 if the price is older than 5 min or missing for age; null before the first one"),
    ),
    (Measure("rows", pl.len().cast(F64), 1440, 1440),),
    (
        Check(
            "near_par",
            False,
            "USDT stays within 5 % of a dollar",
            (
                Measure("lowest price", pl.col("usdt_usd").min(), 0.95, None),
                Measure("highest price", pl.col("usdt_usd").max(), None, 1.05),
            ),
        ),
        Check(
            "coverage",
            False,
            "at most 10 % of the minutes have no price",
            (Measure("share of minutes without a price", pl.col("usdt_usd").is_null().mean(), 0, 0.1),),
        ),
    ),
    partition=("day",),
)

VOLUME_BUCKETS = Table(
    "bars/volume_buckets",
    "one completed bucket of equal traded size; buckets restart at 00:00 UTC and the unfinished one is dropped",
    ("symbol", "venue", "source", "end_ts", "bucket_n"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SOURCE,
        Column("bucket_n", I64, "n", "place of the bucket in its day, from 0", "≥ 0", required=True),
        Column("end_ts", UTC_US, "UTC", "receive time of the trade that completes the bucket", required=True),
        Column("bucket_volume", F64, "coin", "mean of the last 7 known daily volumes / 100", "> 0", required=True),
        Column("buy_volume", F64, "coin", "Σ size of aggressive buys; unknown sides halved", "≥ 0", required=True),
        Column("sell_volume", F64, "coin", "Σ size of aggressive sells; unknown sides halved", "≥ 0", required=True),
        CLOCK,
    ),
    (
        Measure(
            "largest relative difference of buy + sell from the bucket's volume",
            ((pl.col("buy_volume") + pl.col("sell_volume")) / pl.col("bucket_volume") - 1).abs().max().fill_null(0.0),
            0,
            1e-9,
        ),
        Measure("buckets out of time order", (pl.col("end_ts").diff() < pl.duration(seconds=0)).sum(), 0, 0),
    ),
    (
        Check(
            "bucket_count",
            False,
            "the day has at least the 25 buckets that vpin reads",
            (Measure("buckets, least source", pl.len().over("source").min().fill_null(0), 25, None),),
        ),
    ),
)

TABLES = (DERIVATIVES_1M, FX_1M, VOLUME_BUCKETS)
