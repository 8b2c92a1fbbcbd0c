"""V5 and V4 of a symbol-day, of 90 and of a year, beside the part of V4 that pandas has words for."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.measure import Line, Size, race, shown
from benchmarks.pandas_features import pandas_v4
from benchmarks.workload import minutes
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4

DAY_ROWS = 1_440
LIMITS = {1: ("< 150 ms", 0.150), 365: ("a year in seconds", 10.0)}


def day_by_day(trades: pl.DataFrame, book: pl.DataFrame, days: int) -> None:
    """V5 as the partitions make it: each day reads itself and the day before."""
    first = trades["ts"][0]
    for i in range(days):
        two = pl.col("ts").is_between(first + timedelta(days=i), first + timedelta(days=i + 2), closed="left")
        v5(trades.filter(two), book.filter(two))


def lines(size: Size, folder: Path) -> Iterator[Line]:
    for days in size.feature_days:
        trades, book = minutes(days + 1)
        bars = trades.select("open", "high", "low", "close", "volume").to_pandas()
        times = max(size.times, 2)  # the first call of a process loads the compiled kernels
        seconds, four, pandas = race(
            partial(v5, trades, book), partial(v4, trades), partial(pandas_v4, bars), times=times
        )
        n5, n4, n_pandas = (len(f.columns) for f in (v5(trades[:1], book[:1]), v4(trades[:1]), pandas_v4(bars[:1])))
        n5, n4 = n5 - 1, n4 - 1  # ts is no feature
        what = "a symbol-day" if days == 1 else f"{days} symbol-days"
        text, limit = LIMITS.get(days, ("", float("inf")))
        yield Line(
            f"V5 of {what}: {n5} columns from {trades.height:,} minutes",
            f"{shown(seconds)} ({days * DAY_ROWS / seconds:,.0f} rows/s)",
            f"{n_pandas} columns of V4 in pandas {shown(pandas)}",
            seconds / pandas,
            text,
            None if not text else seconds <= limit,
        )
        yield Line(
            f"V4 of {what}, per column",
            f"{shown(four / n4)} ({n4} columns)",
            f"pandas {shown(pandas / n_pandas)} ({n_pandas} columns)",
            (four / n4) / (pandas / n_pandas),
        )
        if 1 < days < 365:
            (apart,) = race(partial(day_by_day, trades, book, days), times=times)
            yield Line(
                f"V5 of {what}, day by day as partitions are made",
                f"{shown(apart)} ({days * DAY_ROWS / apart:,.0f} rows/s)",
                f"V5 of all of them at once {shown(seconds)}",
                apart / seconds,
            )
