"""Every feature set of a day and of a year, beside the part of V4 that pandas has words for; what a column costs."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.columns import Costs
from benchmarks.measure import Line, Size, in_process, race, shown
from benchmarks.pandas_features import pandas_v4
from benchmarks.sources import MR_TOLD, V6_TOLD, distinct_days, two_days
from benchmarks.workload import minutes
from crpbot_dagster.assets.features import mean_reversion, microstructure, multi_source, price, technical
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.live import Feed
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4

DAY_ROWS = 1_440
LIMITS = {1: ("V5 < 150 ms", 0.150), 365: ("V5 of a year in seconds", 10.0)}
TENTH = 0.1
# Columns of V5 that cost more than a tenth of it, and why.
REASONS: dict[str, str] = {
    "volatility_low": "the three flags share one sorted window of 1,400 rows",
    "volatility_medium": "as volatility_low",
    "volatility_high": "as volatility_low",
    "rsi": "two weighted windows of 270 rows",
    "macd": "weighted windows of 120 and 260 rows",
}


def of_v5(inputs: Inputs) -> object:
    if inputs.book is None:
        raise ValueError("V5 is measured with a book")
    return v5(inputs.trades, inputs.book)


SETS = {
    "V4": lambda i: v4(i.trades),
    "V5": of_v5,
    "V6": lambda i: multi_source.build(i, V6_TOLD),
    "mean reversion": lambda i: mean_reversion.build(i, MR_TOLD),
}
WIDTHS = {"V4": 36, "V5": 56, "V6": 108, "mean reversion": 61}


def every_set(inputs: Inputs) -> None:
    """Build V4, V5, V6 and mean reversion, as four partitions are made."""
    for build in SETS.values():
        build(inputs)


def backfill(days: int, every: Inputs | None = None) -> None:
    for i in range(days):
        every_set(two_days(i, every))


def lines(size: Size, folder: Path) -> Iterator[Line]:
    yield from of_a_day(size)
    for days in size.feature_days:
        yield from v4_beside_pandas(days, size)
    yield from of_a_year(size, folder)
    yield from of_columns(size)


def of_a_day(size: Size) -> Iterator[Line]:
    inputs, times = two_days(0), max(size.times, 2)  # the first call of a process loads the compiled kernels
    bars = inputs.trades.select("open", "high", "low", "close", "volume").to_pandas()
    *of_sets, pandas = race(*(partial(build, inputs) for build in SETS.values()), partial(pandas_v4, bars), times=times)
    columns, theirs = sum(WIDTHS.values()), len(pandas_v4(bars[:1]).columns)
    seconds = sum(of_sets)
    yield Line(
        f"V4 + V5 + V6 + mean reversion of a symbol-day: {columns} columns from {inputs.trades.height:,} minutes",
        f"{shown(seconds)} ({DAY_ROWS / seconds:,.0f} rows/s)",
        f"{theirs} columns of V4 in pandas {shown(pandas)}",
        seconds / pandas,
    )
    each = [f"{n} {shown(s)}" for n, s in zip(SETS, of_sets, strict=True)]
    yield Line(
        "the same, by set and per column",
        f"{', '.join(each)}; {shown(seconds / columns)} a column",
        f"pandas {shown(pandas / theirs)} a column",
        (seconds / columns) / (pandas / theirs),
        LIMITS[1][0],
        of_sets[1] <= LIMITS[1][1],
    )


def v4_beside_pandas(days: int, size: Size) -> Iterator[Line]:
    """V4 and V5 of all days in one frame, beside the same in pandas."""
    trades, book = minutes(days + 1)
    bars = trades.select("open", "high", "low", "close", "volume").to_pandas()
    five, four, pandas = race(
        partial(v5, trades, book), partial(v4, trades), partial(pandas_v4, bars), times=max(size.times, 2)
    )
    what, theirs = ("a symbol-day" if days == 1 else f"{days} symbol-days"), len(pandas_v4(bars[:1]).columns)
    text, limit = LIMITS.get(days, ("", float("inf"))) if days > 1 else ("", float("inf"))
    yield Line(
        f"V5 of {what} at once: {WIDTHS['V5']} columns from {trades.height:,} minutes",
        f"{shown(five)} ({days * DAY_ROWS / five:,.0f} rows/s)",
        f"{theirs} columns of V4 in pandas {shown(pandas)}",
        five / pandas,
        text,
        None if not text else five <= limit,
    )
    yield Line(
        f"V4 of {what}, per column",
        f"{shown(four / WIDTHS['V4'])} ({WIDTHS['V4']} columns)",
        f"pandas {shown(pandas / theirs)} ({theirs} columns)",
        (four / WIDTHS["V4"]) / (pandas / theirs),
    )


def of_a_year(size: Size, folder: Path) -> Iterator[Line]:
    """All sets day by day, as one backfill makes them; memory in processes of their own."""
    days = size.feature_days[-1]
    bars = minutes(days + 1)[0].select("open", "high", "low", "close", "volume").to_pandas()
    ours, pandas = race(partial(backfill, days), partial(pandas_v4, bars), times=1)
    yield Line(
        f"V4 + V5 + V6 + mean reversion of {days} symbol-days, day by day as a backfill makes them",
        f"{shown(ours)} ({days * DAY_ROWS / ours:,.0f} rows/s)",
        f"{len(pandas_v4(bars[:1]).columns)} columns of V4 in pandas, all days at once {shown(pandas)}",
        ours / pandas,
    )
    held, minutes_ = folder / "inputs", folder / "minutes.parquet"
    Feed(distinct_days()).save(held)
    pl.from_pandas(bars).write_parquet(minutes_)
    taken = (("ours", held), ("pandas", minutes_))
    took, theirs = (in_process(sys.executable, "features_year", kind, days, path) for kind, path in taken)
    yield Line(
        "the same, peak memory beyond what was loaded, in a process of its own",
        f"{took:,.0f} MiB",
        f"V4 in pandas {theirs:,.0f} MiB",
    )


def column_costs(inputs: Inputs) -> dict[str, dict[str, float]]:
    """Return the seconds of each column, by set; of V6 and mean reversion, those of one statement each."""
    of_four, of_six, of_mr = Costs(), Costs(), Costs()
    four = of_four.copy_of(price, "v4_columns")
    five = of_four.copy_of(microstructure, "v5_columns", v4_columns=four.v4_columns)
    indicators = of_six.copy_of(technical, "trend", "momentum", "volatility", "volumes")
    six = of_six.copy_of(multi_source, "price_volume", "across_venues", technical_columns=indicators.technical_columns)
    reverting = of_mr.copy_of(mean_reversion, "build", "_flow_and_book", "_prices", "_reversion", "_volatility")
    five.v5(inputs.trades, inputs.book)
    six.build(inputs, V6_TOLD)
    reverting.build(inputs, MR_TOLD)
    return {"V5": dict(of_four.seconds), "V6": dict(of_six.seconds), "mean reversion": dict(of_mr.seconds)}


def of_columns(size: Size) -> Iterator[Line]:
    inputs, least = two_days(0), column_costs(two_days(0))
    for _ in range(2 * size.times):
        for name, seconds in column_costs(inputs).items():
            least[name] = {c: min(s, least[name][c]) for c, s in seconds.items()}
    for name, seconds in least.items():
        whole = sum(seconds.values())
        dearest = sorted(seconds, key=lambda c: -seconds[c])[:6]
        told = ", ".join(f"{c} {seconds[c] / whole:.1%}" for c in dearest)
        above = [c for c in dearest if seconds[c] > TENTH * whole]
        reasons = "; ".join(f"{c}: {REASONS[c]}" for c in above if c in REASONS)
        held = all(c in REASONS for c in above) if name == "V5" else None
        limit = "no column above a tenth without a reason" if name == "V5" else ""
        yield Line(f"{name} by column: the dearest of {len(seconds)}", told, reasons, None, limit, held)
