"""What is measured on: dataset files, minutes and lake tables of any size, made from the simulated market."""

import subprocess
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, Transaction

from crpbot_dagster.assets.bars.book_minutes import book_1m
from crpbot_dagster.assets.bars.tape import trades_1m
from crpbot_dagster.resources.lake import STATE_CODE, Lake
from crpbot_dagster.sandbox.market import MarketSpec, book, tape
from crpbot_dagster.tables import TABLES

SYMBOL, DAY = "BTC-USD", date(2023, 11, 20)
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
FIRST_LAKE_DAY = date(2021, 1, 1)
MARKET = MarketSpec(7, 1.0)
DISTINCT_DAYS = 4  # of minutes; more are these again, later
HASHED = 1_000_003  # a prime: the filler's values do not repeat within so many rows


def trades_file(folder: Path, rows: int) -> Path:
    """Write, once, a Tardis trades file of ``rows``: the sandbox's day repeated inside its own span, in time order."""
    path = folder / f"trades-{rows}.csv.gz"
    if path.exists():
        return path
    day = tape(MARKET, SYMBOL, DAY)
    clocks = ("ts_exchange", "ts_received")
    copies = [day.with_columns(pl.col(c) + 7 * i for c in clocks) for i in range(-(-rows // day.height))]
    frame = pl.concat(copies).sort("ts_received", maintain_order=True).head(rows)
    # A venue numbers its trades.
    return _gzipped(path, frame.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("id")))


def book_file(folder: Path, rows: int) -> Path:
    """Write, once, a Tardis L2 file of ``rows``: many rows a message, one snapshot at the start: a busy venue's day."""
    path = folder / f"book-{rows}.csv.gz"
    if path.exists():
        return path
    day = book(MARKET, SYMBOL, DAY)
    copies = [day.with_row_index("n")] * -(-rows // day.height)
    return _gzipped(path, pl.concat(copies).sort("n", maintain_order=True).drop("n").head(rows))


def _gzipped(path: Path, frame: pl.DataFrame) -> Path:
    named = frame.rename({"ts_exchange": "timestamp", "ts_received": "local_timestamp"})
    named.select(pl.lit("coinbase").alias("exchange"), pl.lit(SYMBOL).alias("symbol"), pl.all()).write_csv(
        path.with_suffix("")
    )
    subprocess.run(["gzip", "-1", "-f", str(path.with_suffix(""))], check=True)
    return path


@lru_cache(maxsize=1)
def _distinct_minutes() -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
    moments = [pl.col(c).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for c in ("ts_exchange", "ts_received")]
    trades, books = [], []
    for day in (DAY + timedelta(days=i) for i in range(DISTINCT_DAYS)):
        ticks = tape(MARKET, SYMBOL, day).with_columns(moments).lazy()
        trades.append(trades_1m(ticks, day, 0.1, "received"))
        books.append(book_1m(book(MARKET, SYMBOL, day).with_columns(moments).lazy(), ticks, day))
    return trades, books


def minutes(days: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (trades, book) of ``days`` whole days on one dense grid."""

    def repeated(distinct: list[pl.DataFrame]) -> pl.DataFrame:
        later = [
            distinct[i % DISTINCT_DAYS].with_columns(pl.col("ts") + timedelta(days=i - i % DISTINCT_DAYS))
            for i in range(days)
        ]
        return pl.concat(later)

    trades, books = _distinct_minutes()
    return repeated(trades), repeated(books)


def market_minutes(symbol: str, days: int) -> pl.LazyFrame:
    """Return ``days`` days of ``bars/market_1m`` rows, no two alike, from ``FIRST_LAKE_DAY`` on."""
    start = datetime(FIRST_LAKE_DAY.year, FIRST_LAKE_DAY.month, FIRST_LAKE_DAY.day, tzinfo=UTC)
    table = TABLES["bars/market_1m"]
    keys = ("symbol", "day", "venue", "ts")
    values = []
    for i, (name, dtype) in enumerate(table.schema.items()):
        hashed = pl.int_range(pl.len()) * (7_919 + 2 * i) % HASHED
        if name not in keys:
            values.append((hashed / 1e3 if dtype.is_float() else hashed % 100).cast(dtype).alias(name))
    ts = pl.datetime_range(start, start + timedelta(days=days), "1m", closed="left", time_zone="UTC")
    frame = pl.select(ts.alias("ts")).lazy()
    named = [pl.lit(symbol).alias("symbol"), pl.col("ts").dt.date().alias("day"), pl.lit("coinbase").alias("venue")]
    return table.conform(frame.with_columns(*named, *values))


def publish_bars(lake: Lake, days: int) -> None:
    """Write the bars of ``days`` days from ``DAY`` on, as the platform's own assets would."""
    for table, frame in zip(("bars/trades_1m", "bars/book_1m"), minutes(days), strict=True):
        about = {"symbol": SYMBOL, "venue": "coinbase", "source": "tardis", "clock": "received"}
        about |= {"source_kind": "ticks"} if table == "bars/trades_1m" else {"book_kind": "delta"}
        for day in (DAY + timedelta(days=i) for i in range(days)):
            rows = frame.filter(pl.col("ts").dt.date() == day)
            named = rows.with_columns(pl.lit(day).alias("day"), *(pl.lit(v).alias(c) for c, v in about.items()))
            lake.publish(table, named, SYMBOL, day, "complete")


def filled_lake(folder: Path, partitions: int) -> Lake:
    """Return a lake whose ``bars/market_1m`` has that many partitions with their states, and a fresh checkpoint.

    One commit per symbol instead of one per day: what a reader meets after the checkpoint is the same.
    """
    lake = Lake(url=str(folder / f"lake-{partitions}"), market="benchmark", start_day=FIRST_LAKE_DAY.isoformat())
    lake.check_stamp()
    delta = lake.create("bars/market_1m")
    days = partitions // len(SYMBOLS)
    for symbol in SYMBOLS:
        names = [f"{symbol}|{FIRST_LAKE_DAY + timedelta(days=i)}" for i in range(days)]
        states = [Transaction(app_id=name, version=STATE_CODE["complete"]) for name in names]
        options = {"commit_properties": CommitProperties(app_transactions=states)}
        market_minutes(symbol, days).sink_delta(delta, mode="append", delta_write_options=options)
    delta.update_incremental()
    delta.create_checkpoint()
    return lake
