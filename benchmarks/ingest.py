"""Dataset files to minute bars and to the lake, beside the bare scan of the same file, pandas and nautilus_trader."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.measure import Line, Size, count, in_process, millions, race, shown
from benchmarks.workload import DAY, SYMBOL, book_file, trades_file
from crpbot_dagster.assets.bars.book_minutes import book_1m
from crpbot_dagster.assets.bars.tape import trades_1m
from crpbot_dagster.assets.checks import audit
from crpbot_dagster.assets.raw.dataset_file import Layout, parse, typed_scan
from crpbot_dagster.assets.raw.tardis import BOOK, TRADES, book_from, deduplicated, trades_from
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import TABLES

LARGE_COIN = 0.5
TRADE_COLUMNS = ("local_timestamp", "side", "price", "amount")
BOOK_COLUMNS = ("timestamp", "local_timestamp", "is_snapshot", "side", "price", "amount")
ABSENT = "nautilus_trader is not installed: `make bench-peers`"


def scan(path: Path, layout: Layout, *columns: str) -> pl.DataFrame:
    """The bare peer: polars reads the columns (all when none is named) and does nothing with them."""
    return typed_scan(path, layout).select(columns or pl.all()).collect(engine="streaming")


def trade_bars(path: Path) -> pl.DataFrame:
    return trades_1m(trades_from(typed_scan(path, TRADES)), DAY, LARGE_COIN, "received")


def book_bars(path: Path, ticks: pl.LazyFrame) -> pl.DataFrame:
    return book_1m(book_from(typed_scan(path, BOOK)), ticks, DAY)


def land(path: Path) -> None:
    """What the asset does with a fetched file: parse, drop repeated ids, measure every rule, commit."""
    with TemporaryDirectory() as folder:
        parsed, repeated = deduplicated(parse(path, TRADES, Path(folder) / "staged.parquet"))
        keys = [pl.lit(SYMBOL).alias("symbol"), pl.lit(DAY).alias("day"), pl.lit("coinbase").alias("venue")]
        frame = trades_from(parsed.frame).select(*keys, pl.all())
        facts = {"quarantined_frac": 0.0, "duplicates_n": float(repeated)}
        audit(TABLES["raw/tardis_trades"], Built(frame, "complete", "benchmark", facts), SYMBOL, DAY)
        lake = Lake(url=f"{folder}/lake", market="benchmark", start_day=DAY.isoformat())
        lake.publish("raw/tardis_trades", frame, SYMBOL, DAY, "complete", is_large=parsed.is_large)


def of_nautilus(nautilus: str | None, kind: str, what: str, path: Path, rows: int, size: Size, ours: float) -> Line:
    if nautilus is None:
        return Line(what, shown(ours), ABSENT)
    loader = in_process(nautilus, "nautilus_ticks", kind, path, size.times, rows)
    return Line(
        what, shown(ours), f"nautilus_trader's Tardis loader, to objects, no bars {shown(loader)}", ours / loader
    )


def trades(size: Size, folder: Path, nautilus: str | None) -> Iterator[Line]:
    path, rows = trades_file(folder, size.trades), size.trades
    what = f"{count(rows)} trades, file to minute bars"
    used, bars = race(partial(scan, path, TRADES, *TRADE_COLUMNS), partial(trade_bars, path), times=size.times)
    yield Line(
        what,
        f"{shown(bars)} ({millions(rows, bars)})",
        f"bare polars scan of the columns used {shown(used)}",
        bars / used,
        "≤ 1.5 ×",
        bars <= 1.5 * used,
    )
    pandas = in_process(sys.executable, "pandas_ticks", "trades", path, size.times)
    yield Line(what, f"{shown(bars)}, all 20 columns", f"pandas, OHLCV alone {shown(pandas)}", bars / pandas)
    yield of_nautilus(nautilus, "trades", what, path, rows, size, bars)
    whole, landed = race(partial(scan, path, TRADES), partial(land, path), times=size.times)
    yield Line(
        f"{count(rows)} trades, file to the lake: parse, repeated ids, every rule, commit",
        shown(landed),
        f"bare polars scan of the whole file {shown(whole)}",
        landed / whole,
        "≤ 3 ×",
        landed <= 3 * whole,
    )


def updates(size: Size, folder: Path, nautilus: str | None) -> Iterator[Line]:
    path, rows = book_file(folder, size.updates), size.updates
    what = f"{count(rows)} order-book rows, file to book minutes"
    ticks = trades_from(typed_scan(trades_file(folder, 20_000), TRADES)).collect().lazy()
    used, bars = race(partial(scan, path, BOOK, *BOOK_COLUMNS), partial(book_bars, path, ticks), times=size.times)
    yield Line(
        what,
        f"{shown(bars)} ({millions(rows, bars)})",
        f"bare polars scan of the columns used {shown(used)}",
        bars / used,
        "≤ 1.5 ×",
        bars <= 1.5 * used,
    )
    pandas = in_process(sys.executable, "pandas_ticks", "book", path, size.times)
    yield Line(what, shown(bars), f"pandas, reading alone {shown(pandas)}", bars / pandas)
    yield of_nautilus(nautilus, "book", what, path, rows, size, bars)


def lines(size: Size, folder: Path, nautilus: str | None) -> Iterator[Line]:
    yield from trades(size, folder, nautilus)
    yield from updates(size, folder, nautilus)
