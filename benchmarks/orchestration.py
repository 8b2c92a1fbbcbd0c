"""What Dagster adds: a run and a step beside the same work as plain calls, and loading the definitions."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from benchmarks.measure import Line, Size, in_process, race, shown
from benchmarks.workload import DAY, SYMBOL, publish_bars
from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import audit
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.assets.features.reading import primary_minutes
from crpbot_dagster.instance import lake_of, platform
from crpbot_dagster.resources.lake import Built
from crpbot_dagster.runs import Route, Step, failure_of
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES

TABLES_TIMED = ("features/v4", "features/v5")  # short steps, so that what surrounds them is seen


@contextmanager
def platform_in(folder: Path) -> Iterator[Settings]:
    """The platform on a fresh state folder; the environment is as before afterwards."""
    kept = dict(os.environ)
    settings.export(home=str(folder / "state"))
    try:
        with platform(market=False) as config:
            yield config
    finally:
        os.environ.clear()
        os.environ.update(kept)
        settings.load.cache_clear()


def materialise(route: Route, step: Step, instance: dg.DagsterInstance) -> None:
    """One Dagster run, as ``crpbot run`` makes it."""
    result = route.materialise(step, instance)
    if not result.success:
        raise RuntimeError(f"{step} failed: {failure_of(result)}")


def minutes_of(config: Settings, table: str, day: date) -> tuple[pl.DataFrame, ...]:
    """Read what the features of a day read: the minutes of two days."""
    lake, primary, before = lake_of(config), instruments.primary(SYMBOL, config.primary), day - timedelta(days=1)
    bars = ("bars/trades_1m",) if table == "features/v4" else ("bars/trades_1m", "bars/book_1m")
    return tuple(primary_minutes(lake.window(b, SYMBOL, before, day), primary, before, day) for b in bars)


def computed(minutes: dict[str, tuple[pl.DataFrame, ...]]) -> dict[str, pl.DataFrame]:
    return {table: (v4 if table == "features/v4" else v5)(*read) for table, read in minutes.items()}


def without_dagster(config: Settings, tables: tuple[str, ...], day: date) -> None:
    """The same work as plain calls: read two days, compute, measure every rule, replace the partition."""
    lake, primary = lake_of(config), instruments.primary(SYMBOL, config.primary)
    keys = [pl.lit(SYMBOL).alias("symbol"), pl.lit(day).alias("day"), pl.lit(primary.venue).alias("venue")]
    for table, made in computed({t: minutes_of(config, t, day) for t in tables}).items():
        frame = made.filter(pl.col("ts").dt.date() == day).with_columns(keys)
        audit(TABLES[table], Built(frame, "complete", primary.source), SYMBOL, day)
        lake.publish(table, frame, SYMBOL, day, "complete")


def runs(size: Size, folder: Path) -> Iterator[Line]:
    with platform_in(folder) as config, dg.DagsterInstance.get() as instance:
        publish_bars(lake_of(config), 2)
        route, day = Route(config), DAY + timedelta(days=1)
        added = []
        for tables in (TABLES_TIMED[:1], TABLES_TIMED):
            step = Step(SYMBOL, day, tables)
            ours, plain, pure = race(
                partial(materialise, route, step, instance),
                partial(without_dagster, config, tables, day),
                partial(computed, {t: minutes_of(config, t, day) for t in tables}),
                times=size.runs,
            )
            added.append(ours - plain)
            name = f"one run of {', '.join(tables)} in process, embedded Postgres"
            peer = f"the same work as plain calls {shown(plain)}, of which the pure functions {shown(pure)}"
            yield Line(name, shown(ours), peer, ours / plain)
        a_step = added[1] - added[0]
        yield Line(
            "what Dagster adds", f"{shown(added[0] - a_step)} a run, {shown(a_step)} a step", "from the two lines above"
        )


def loading(size: Size) -> Line:
    ours = min(in_process(sys.executable, "import_time", "ours") for _ in range(size.times))
    bare = min(in_process(sys.executable, "import_time", "bare") for _ in range(size.times))
    peer = f"importing dagster and dagster-polars {shown(bare)}"
    return Line("loading the definitions", shown(ours), peer, ours / bare, "< 3 s", ours < 3)


def lines(size: Size, folder: Path) -> Iterator[Line]:
    yield from runs(size, folder)
    yield loading(size)
