"""Windows through DuckDB and commits of one partition, in lakes of different widths."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

from benchmarks.measure import Line, Size, race, shown
from benchmarks.workload import FIRST_LAKE_DAY, SYMBOLS, filled_lake, market_minutes
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.warehouse import Warehouse

TABLE, DAY_ROWS, MONTH_DAYS = "bars/market_1m", 1_440, 30
WHERE = "where symbol = $symbol and day between $first and $last"
QUERY = f"select * from bars.market_1m {WHERE}"
ROUNDS = 3  # a query is short: more rounds than the long figures


def one_file(folder: Path, partitions: int) -> duckdb.DuckDBPyConnection:
    """The bare peer: the lake's rows in one Parquet file, ordered by symbol and time, behind a view."""
    path = folder / f"one-{partitions}.parquet"
    pl.concat([market_minutes(s, partitions // len(SYMBOLS)) for s in SYMBOLS]).sink_parquet(path)
    connection = duckdb.connect()
    connection.execute("load icu; set TimeZone = 'UTC'; create schema bars")
    connection.execute(f"create view bars.market_1m as from read_parquet('{path}')")
    return connection


def window(days: int, partitions: int) -> dict[str, str | date]:
    last = FIRST_LAKE_DAY + timedelta(days=partitions // len(SYMBOLS) - 1)
    return {"symbol": SYMBOLS[1], "first": last - timedelta(days=days - 1), "last": last}


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("ts").dt.convert_time_zone("UTC")).sort("ts")


def queries(lake: Lake, folder: Path, partitions: int, times: int) -> Iterator[Line]:
    plain = one_file(folder, partitions)
    warehouse = Warehouse(lake=lake)
    for name, days in (("one day", 1), ("one month", MONTH_DAYS)):
        asked = window(days, partitions)
        found, same = in_order(warehouse.query(QUERY, **asked)), in_order(plain.execute(QUERY, asked).pl())
        if found.height != days * DAY_ROWS or not found.equals(same):
            raise ValueError(f"the lake and the file of {partitions} partitions do not hold the same rows")

        def ours(asked: dict[str, str | date] = asked) -> None:
            warehouse.query(QUERY, **asked)

        def peer(asked: dict[str, str | date] = asked) -> None:
            plain.execute(QUERY, asked).pl()

        seconds, bare = race(ours, peer, times=times * ROUNDS)
        limit = ("< 50 ms", seconds < 0.050) if days == 1 else ("", None)
        yield Line(
            f"{name} through DuckDB, {partitions:,} partitions: {found.height:,} × {found.width}",
            shown(seconds),
            f"DuckDB over one Parquet file {shown(bare)}",
            seconds / bare,
            *limit,
        )


def commits(lake: Lake, folder: Path, partitions: int, times: int) -> Line:
    asked = window(1, partitions)
    symbol, day = str(asked["symbol"]), asked["last"]
    assert isinstance(day, date)
    frame = lake.scan(TABLE, symbol, day, day).collect()

    def ours() -> None:
        lake.publish(TABLE, frame, symbol, day, "complete")

    def peer() -> None:
        frame.write_parquet(folder / "day.parquet")

    seconds, bare = race(ours, peer, times=times * ROUNDS)
    return Line(
        f"replacing one partition of {partitions:,} ({frame.height:,} × {frame.width}), one commit",
        shown(seconds),
        f"bare write_parquet {shown(bare)}",
        seconds / bare,
    )


def lines(size: Size, folder: Path) -> Iterator[Line]:
    for partitions in size.partitions:
        lake = filled_lake(folder, partitions)
        yield from queries(lake, folder, partitions, size.times)
        yield commits(lake, folder, partitions, size.times)
