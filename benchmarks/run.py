"""The speed figures, each beside a peer in the same run; writes docs/benchmarks.md. Run: make bench.

Timings are the best of three: a noisy machine only ever adds time.
"""

import gc
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from crpbot_dagster.assets.bars.book_minutes import book_1m
from crpbot_dagster.assets.bars.order_book import rank, replay
from crpbot_dagster.assets.bars.tape import aggregate, trades_1m
from crpbot_dagster.assets.checks import audit
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.raw.dataset_file import parse, typed_scan
from crpbot_dagster.assets.raw.tardis import BOOK, TRADES, book_from, deduplicated, trades_from
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.sandbox.market import MarketSpec, book, tape
from crpbot_dagster.settings import PROJECT
from crpbot_dagster.tables import TABLES

DAY = date(2023, 11, 20)
TRADES_N, BOOK_N = 5_000_000, 10_000_000
MARKET = MarketSpec(7, 1.0)
lines: list[str] = []


def best(function: Callable[[], object], times: int = 3) -> float:
    found = []
    for _ in range(times):
        gc.collect()
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def report(what: str, ours: str, peer: str, ratio: str, limit: str) -> None:
    lines.append(f"| {what} | {ours} | {peer} | {ratio} | {limit} |")
    sys.stdout.write(lines[-1] + "\n")
    sys.stdout.flush()


def tiled(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """A day of ``rows`` rows: the sandbox's day repeated inside its own span, in time order, values untouched."""
    copies = -(-rows // frame.height)
    parts = [
        frame.with_columns((pl.col(c) + 7 * i).alias(c) for c in ("ts_exchange", "ts_received")) for i in range(copies)
    ]
    day = pl.concat(parts).sort("ts_received", maintain_order=True).head(rows)
    return day.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("id")) if "id" in day.columns else day


def written(folder: Path, name: str, frame: pl.DataFrame) -> Path:
    renamed = frame.rename({"ts_exchange": "timestamp", "ts_received": "local_timestamp"})
    path = folder / f"{name}.csv"
    renamed.select(pl.lit("coinbase").alias("exchange"), pl.lit("BTC-USD").alias("symbol"), pl.all()).write_csv(path)
    subprocess.run(["gzip", "-1", "-f", str(path)], check=True)
    return folder / f"{name}.csv.gz"


def stacked(rows: int) -> pl.DataFrame:
    """L2 updates for a throughput test: many rows a message, one snapshot at the start, as a busy venue sends."""
    base = book(MARKET, "BTC-USD", DAY)
    copies = -(-rows // base.height)
    order = pl.concat([base.with_row_index("n") for _ in range(copies)]).sort("n", maintain_order=True).drop("n")
    return order.head(rows)


def ingest(folder: Path) -> None:
    path = written(folder, "trades", tiled(tape(MARKET, "BTC-USD", DAY), TRADES_N))
    needed = ["local_timestamp", "side", "price", "amount"]
    bare = best(lambda: typed_scan(path, TRADES).select(needed).collect(engine="streaming"))
    bars = best(lambda: aggregate(trades_from(typed_scan(path, TRADES)), DAY, 0.5, "received"))
    report("5 M trades, file to minute bars", f"{bars:.2f} s ({TRADES_N / bars / 1e6:.1f} M rows/s)",
           f"bare polars scan of the columns used {bare:.2f} s", f"{bars / bare:.2f} ×", "≤ 1.5 ×")  # fmt: skip
    whole = best(lambda: typed_scan(path, TRADES).collect(engine="streaming"))
    count = [0]

    def land() -> None:
        count[0] += 1
        with tempfile.TemporaryDirectory() as temporary:
            parsed, repeated = deduplicated(parse(path, TRADES, Path(temporary) / "staged.parquet"))
            keys = [
                pl.lit("BTC-USD").alias("symbol"),
                pl.lit(DAY).alias("day"),
                pl.lit("coinbase").alias("venue"),
            ]
            frame = trades_from(parsed.frame).select(*keys, pl.all())
            facts = {"quarantined_frac": 0.0, "duplicates_n": float(repeated)}
            built = Built(frame, "complete", "bench", facts)
            audit(TABLES["raw/tardis_trades"], built, "BTC-USD", DAY)
            lake = Lake(url=str(folder / f"lake{count[0]}"), market="sandbox", start_day="2023-11-10")
            lake.publish("raw/tardis_trades", frame, "BTC-USD", DAY, "complete")

    landed = best(land)
    report("5 M trades, file to the lake: parse, repeated ids, every check, commit", f"{landed:.2f} s",
           f"bare polars scan of the whole file {whole:.2f} s", f"{landed / whole:.2f} ×", "≤ 3 ×")  # fmt: skip
    pandas = (
        "import pandas as pd, time; t = time.perf_counter();"
        f"f = pd.read_csv({str(path)!r}); f['m'] = f['local_timestamp'] // 60_000_000;"
        "f['v'] = f['price'] * f['amount'];"
        "g = f.groupby('m').agg(open=('price', 'first'), high=('price', 'max'), low=('price', 'min'),"
        " close=('price', 'last'), volume=('amount', 'sum'), value=('v', 'sum'));"
        "print(time.perf_counter() - t)"
    )
    slow = float(subprocess.run([sys.executable, "-c", pandas], capture_output=True, text=True, check=True).stdout)
    report("the same file to OHLCV alone", f"{bars:.2f} s (all 20 columns)", f"pandas {slow:.2f} s",
           f"{slow / bars:.1f} × faster", "")  # fmt: skip


def replay_speed(folder: Path) -> None:
    path = written(folder, "book", stacked(BOOK_N))
    rows = book_from(typed_scan(path, BOOK)).collect()
    start = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp() * 1e6)
    arrays = [
        (rows["ts_received"].dt.epoch("us") - start).to_numpy(),
        (rows["ts_exchange"].dt.epoch("us") - start).to_numpy(),
        rows["is_snapshot"].to_numpy(),
        (rows["side"] == "ask").cast(pl.Int8).to_numpy(),
    ]
    prices = rows["price"].unique().sort().to_numpy()
    places, amounts = rank(rows["price"].to_numpy(), prices), rows["amount"].to_numpy()
    none = (np.empty(0, np.int64), np.empty(0, np.int64))
    kernel = best(lambda: replay(*arrays, places, amounts, prices, none))
    ranked = best(lambda: rank(rows["price"].to_numpy(), prices))
    ticks = trades_from(typed_scan(written(folder, "few", tape(MARKET, "BTC-USD", DAY)), TRADES)).collect()
    whole = best(lambda: book_1m(rows.lazy(), ticks.lazy(), DAY))
    report("10 M L2 rows, replay with every book_1m column", f"{BOOK_N / kernel / 1e6:.0f} M rows/s",
           f"ranking the prices {BOOK_N / ranked / 1e6:.0f} M rows/s", "", "≥ 20 M rows/s")  # fmt: skip
    bare = best(lambda: typed_scan(path, BOOK).collect(engine="streaming"))
    report("10 M L2 rows, frame to 1,440 minutes (ranking, replay, trades)",
           f"{whole:.2f} s ({BOOK_N / whole / 1e6:.0f} M rows/s)", f"bare polars scan of the file {bare:.2f} s",
           f"{whole / bare:.2f} ×", "")  # fmt: skip


def features() -> None:
    trades, books = [], []
    for day in (DAY, DAY + timedelta(days=1)):
        moments = [
            pl.col(c).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for c in ("ts_exchange", "ts_received")
        ]
        ticks = tape(MARKET, "BTC-USD", day).with_columns(moments)
        trades.append(trades_1m(ticks.lazy(), day, 0.1, "received"))
        books.append(book_1m(book(MARKET, "BTC-USD", day).with_columns(moments).lazy(), ticks.lazy(), day))
    t, b = pl.concat(trades), pl.concat(books)
    ours = best(lambda: v5(t, b), 5)

    def rolled() -> None:
        frame = t.to_pandas()
        for w in (7, 14, 21, 50):
            frame[f"sma_{w}"] = frame["close"].rolling(w, min_periods=1).mean()
        frame["volume_ma"] = frame["volume"].rolling(20).mean()
        for s in (12, 26):
            frame[f"ema_{s}"] = frame["close"].ewm(span=s).mean()

    peer = best(rolled, 5)
    report("V5 of a symbol-day (53 features from 2,880 minutes)", f"{1e3 * ours:.0f} ms",
           f"seven pandas rolling columns {1e3 * peer:.0f} ms", "", "< 150 ms")  # fmt: skip


def query(folder: Path) -> None:
    lake = Lake(url=str(folder / "wide"), market="sandbox", start_day="2020-01-01")
    table = TABLES["bars/market_1m"]
    minutes = pl.DataFrame({"n": range(1440)})
    first = date(2021, 1, 1)
    frames = []
    for i in range(1100):
        day = first + timedelta(days=i)
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        frames.append(minutes.select(
            pl.lit(day).alias("day"),
            (pl.lit(start) + pl.duration(minutes=pl.col("n"))).cast(pl.Datetime("us", "UTC")).alias("ts"),
            pl.lit("coinbase").alias("venue"),
        ))  # fmt: skip
    values = [
        pl.lit(1.0).cast(t).alias(c) for c, t in table.schema.items() if c not in ("symbol", "day", "venue", "ts")
    ]
    lake.check_stamp()
    delta = lake.create("bars/market_1m")
    for symbol in ("BTC-USD", "ETH-USD", "SOL-USD"):
        everything = pl.concat(frames).with_columns(pl.lit(symbol).alias("symbol"), *values)
        table.conform(everything.lazy()).sink_delta(delta, mode="append")
    partitions = len(delta.partitions())
    warehouse = Warehouse(lake=lake)
    sql = "select count(*), avg(tick_close) from bars.market_1m where symbol = $symbol and day = $day"
    warehouse.query(sql, symbol="BTC-USD", day=first)
    day = best(lambda: warehouse.query(sql, symbol="ETH-USD", day=first + timedelta(days=500)), 5)
    peer = best(lambda: lake.scan("bars/market_1m", "ETH-USD", first, first).collect(), 5)
    report(f"one day through DuckDB, {partitions:,} partitions", f"{1e3 * day:.0f} ms",
           f"polars scan_delta {1e3 * peer:.0f} ms", "", "< 50 ms")  # fmt: skip
    row = frames[0].with_columns(pl.lit("BTC-USD").alias("symbol"), *values)
    commit = best(lambda: lake.publish("bars/market_1m", row, "BTC-USD", first, "complete"), 5)
    report(f"replacing one partition of {partitions:,}", f"{1e3 * commit:.0f} ms", "", "", "")


def loading() -> None:
    script = "import time; t = time.perf_counter(); import crpbot_dagster.definitions as d;" \
        "d.defs.resolve_all_asset_specs(); print(time.perf_counter() - t)"  # fmt: skip
    bare = "import time; t = time.perf_counter(); import dagster, dagster_polars; print(time.perf_counter() - t)"
    found = {}
    for name, text in (("ours", script), ("bare", bare)):
        found[name] = min(
            float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)
            for _ in range(3)
        )
    peer = f"importing dagster and dagster-polars {found['bare']:.2f} s"
    report("loading the definitions", f"{found['ours']:.2f} s", peer, "", "< 3 s")


def main() -> None:
    lines.extend([
        "# Benchmarks", "", "Each figure beside a peer of the same run, best of three. Made by `make bench`.", "",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.",
        "", "| what | ours | peer | ratio | limit |", "|---|---|---|---|---|",
    ])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        ingest(Path(folder))
        replay_speed(Path(folder))
        features()
        query(Path(folder))
    loading()
    (PROJECT / "docs" / "benchmarks.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
