"""Level updates and trades to one row per minute of the order book, and the proof against vendor snapshots.

Not here: the replay itself (``order_book.py``), wiring (``assets.py``).
"""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.bars.order_book import (
    COLUMNS,
    COUNTS,
    DEPTH1,
    EFF,
    IMB1,
    IMB5,
    IMB5_TIME,
    IMPACT,
    MESSAGES,
    SPREAD,
    SUMS,
    TIMED,
    VALID,
    levels_at,
    rank,
    replay,
)
from crpbot_dagster.assets.bars.tape import MINUTE_US, SECOND_US, minute_grid

SAMPLED_SNAPSHOTS = 2_000  # enough to see one wrong minute of a day; all of them would cost the day's memory


def _updates(deltas: pl.LazyFrame, start: int) -> pl.DataFrame:
    return deltas.select(
        pl.col("ts_received").dt.epoch("us") - start,
        pl.col("ts_exchange").dt.epoch("us") - start,
        "is_snapshot",
        (pl.col("side") == "ask").cast(pl.Int8).alias("side"),
        "price",
        "amount",
    ).collect(engine="streaming")


def _finish(out: NDArray[np.float64]) -> None:
    """Turn time-weighted sums into means and blank what the rules of 2.2 make null, in place."""
    valid = out[:, VALID].copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        for column in (SPREAD, IMB1, DEPTH1):
            out[:, column] /= valid
        out[:, IMB5] /= out[:, IMB5_TIME]
    out[:, VALID] = valid / MINUTE_US
    out[np.ix_(out[:, VALID] < 0.5, np.array(TIMED))] = np.nan
    down = (out[:, MESSAGES] == 0) & (out[:, VALID] == 0)
    out[np.ix_(down, np.array(SUMS))] = np.nan


def _trade_columns(
    out: NDArray[np.float64], ticks: pl.DataFrame, before: NDArray[np.float64], after: NDArray[np.float64]
) -> None:
    """Write effective spread and 5-second impact of every minute into ``out``."""
    at, price, size, sign = (ticks[c].to_numpy() for c in ("at", "price", "amount", "sign"))
    minute = at // MINUTE_US
    relative = 2e4 * sign * (price - before) / before
    drift = 2e4 * sign * (after - before) / before
    for column, value, extra in (
        (EFF, relative, np.full(len(at), True)),
        (IMPACT, drift, at % MINUTE_US < 55 * SECOND_US),
    ):
        use = (sign != 0) & np.isfinite(value) & extra & (minute >= 0) & (minute < 1440)
        weight = np.bincount(minute[use], size[use], 1440)
        total = np.bincount(minute[use], size[use] * value[use], 1440)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, column] = total / weight


def book_1m(deltas: pl.LazyFrame, ticks: pl.LazyFrame, day: date) -> pl.DataFrame:
    """Return 1,440 rows of ``day`` from level updates and trades.

    Parameters
    ----------
    deltas : ts_exchange, ts_received (UTC µs), is_snapshot, side (bid, ask), price (USD), amount (coin)
        In file order, ``ts_received`` not falling. Rows before the first snapshot are not used.
    ticks : ts_exchange, ts_received, side (buy, sell, null), price, amount
        The trades whose effective spread and impact are measured.

    Returns
    -------
    ts and the columns of ``COLUMNS``; null where docs/conventions.md says so. A minute's values read messages
    received before its end only.
    """
    grid = minute_grid(day)
    start = int(grid["ts"].dt.epoch("us")[0])
    rows = _updates(deltas, start)
    signs = pl.when(pl.col("side") == "buy").then(1.0).when(pl.col("side") == "sell").then(-1.0).otherwise(0.0)
    trades = ticks.select(
        (pl.col("ts_received").dt.epoch("us") - start).alias("at"),
        (pl.col("ts_exchange").dt.epoch("us") - start).alias("at_exchange"),
        "price",
        "amount",
        signs.alias("sign"),
    ).collect(engine="streaming")
    prices = rows["price"].unique().sort().to_numpy()
    by_received = np.argsort(trades["at"].to_numpy(), kind="stable")
    by_exchange = np.argsort(trades["at_exchange"].to_numpy(), kind="stable")
    out, before, after = replay(
        rows["ts_received"].to_numpy(),
        rows["ts_exchange"].to_numpy(),
        rows["is_snapshot"].to_numpy(),
        rows["side"].to_numpy(),
        rank(rows["price"].to_numpy(), prices),
        rows["amount"].to_numpy(),
        prices,
        (trades["at"].to_numpy()[by_received], trades["at_exchange"].to_numpy()[by_exchange]),
    )
    mids = np.full((2, len(trades)), np.nan)
    mids[0, by_exchange], mids[1, by_received] = before, after
    _trade_columns(out, trades, mids[0], mids[1])
    _finish(out)
    found = pl.DataFrame(out[:, : len(COLUMNS)], schema=list(COLUMNS)).with_columns(pl.all().fill_nan(None))
    return pl.concat([grid, found.with_columns(pl.col(c).cast(pl.Int64) for c in COUNTS)], how="horizontal")


def snapshot_agreement(deltas: pl.LazyFrame, snapshots: pl.LazyFrame, day: date, depth: int) -> float | None:
    """Return the share of vendor snapshots whose best ``depth`` levels equal the replayed book exactly.

    Compares at most 2,000 snapshots, evenly spread over the day; None when the vendor sent none. A snapshot
    is compared with the book after every message received up to its own ``ts_received``. Source: ours.
    """
    start = int(minute_grid(day)["ts"].dt.epoch("us")[0])
    names = [f"{side}_{what}_{i}" for side in ("bid", "ask") for i in range(depth) for what in ("price", "amount")]
    at = (pl.col("ts_received").dt.epoch("us") - start).alias("at")
    # Of two snapshots of one microsecond the last is the state after all its messages.
    last = snapshots.sort("ts_received", maintain_order=True).filter(pl.col("ts_received").is_last_distinct())
    count = int(last.select(pl.len()).collect(engine="streaming").item())
    if count == 0:
        return None
    vendor = last.gather_every(max(1, count // SAMPLED_SNAPSHOTS)).select(at, *names).collect(engine="streaming")
    rows = _updates(deltas, start)
    prices = rows["price"].unique().sort().to_numpy()
    ours = levels_at(
        rows["ts_received"].to_numpy(),
        rows["is_snapshot"].to_numpy(),
        rows["side"].to_numpy(),
        rank(rows["price"].to_numpy(), prices),
        rows["amount"].to_numpy(),
        prices,
        vendor["at"].to_numpy(),
        depth,
    ).reshape(len(vendor), -1)
    theirs = vendor.select(names).fill_null(np.nan).to_numpy()
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return float(same.all(axis=1).mean())
