"""The order-book kernel alone: ranking the prices and replaying the rows, from memory."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import Line, Size, count, millions, race, shown
from benchmarks.workload import DAY, book_file, trades_file
from crpbot_dagster.assets.bars.book_minutes import book_1m
from crpbot_dagster.assets.bars.order_book import rank, replay
from crpbot_dagster.assets.raw.dataset_file import typed_scan
from crpbot_dagster.assets.raw.tardis import BOOK, TRADES, book_from, trades_from


def lines(size: Size, folder: Path) -> Iterator[Line]:
    rows = book_from(typed_scan(book_file(folder, size.updates), BOOK)).collect()
    ticks = trades_from(typed_scan(trades_file(folder, 20_000), TRADES)).collect()
    start = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp() * 1e6)
    price = rows["price"].to_numpy()
    prices = np.unique(price)
    arrays = (
        (rows["ts_received"].dt.epoch("us") - start).to_numpy(),
        (rows["ts_exchange"].dt.epoch("us") - start).to_numpy(),
        rows["is_snapshot"].to_numpy(),
        (rows["side"] == "ask").cast(pl.Int8).to_numpy(),
        rank(price, prices),
        rows["amount"].to_numpy(),
        prices,
    )
    no_trades = (np.empty(0, np.int64), np.empty(0, np.int64))
    kernel, ranked, whole = race(
        partial(replay, *arrays, no_trades),
        partial(rank, price, prices),
        partial(book_1m, rows.lazy(), ticks.lazy(), DAY),
        times=max(size.times, 2),  # the first call of a process loads the compiled kernel
    )
    n, speed = rows.height, millions(rows.height, kernel)
    yield Line(
        f"{count(n)} order-book rows, replay with every column of book_1m",
        speed,
        f"ranking the prices alone {millions(n, ranked)}",
        kernel / ranked,
        "≥ 20 M rows/s",
        n / kernel >= 20e6,
    )
    yield Line(
        "the same, frame to 1,440 minutes: ranking, replay, effective spreads",
        f"{shown(whole)} ({millions(n, whole)})",
        f"replay alone {shown(kernel)}",
        whole / kernel,
    )
