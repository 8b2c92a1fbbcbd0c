"""Level updates, trades and vendor snapshots to one row per minute of the order book.

Not here: the replay itself (``order_book.py``), what refutes a book (``book_integrity.py``), wiring (``assets.py``).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.bars.book_integrity import Updates, compared, disagreeing, feed_facts, minutes_of
from crpbot_dagster.assets.bars.order_book import (
    COLUMNS,
    COUNTS,
    CROSSED,
    CROSSED_US,
    DEPTH1,
    EFF,
    IMB1,
    IMB5,
    IMB5_TIME,
    IMPACT,
    MASKED,
    MESSAGES,
    RESET,
    SPREAD,
    SUMS,
    TIMED,
    UNKNOWN,
    VALID,
    rank,
    replay,
)
from crpbot_dagster.assets.bars.tape import MINUTE_US, SECOND_US, minute_grid

EVIDENCE = (CROSSED, RESET)  # of a masked minute: why it is masked
SHOWN_STRETCHES = 50


@dataclass(frozen=True)
class BookDay:
    """A day's book: 1,440 minutes, what its checks measure, and the stretches that were masked, for the UI."""

    minutes: pl.DataFrame
    facts: dict[str, float]
    notes: dict[str, Any]


def updates_of(deltas: pl.LazyFrame, start: int) -> Updates:
    """Return level updates in file order as the kernels take them; ``start`` is the day's, µs since 1970."""
    rows = deltas.select(
        pl.col("ts_received").dt.epoch("us") - start,
        pl.col("ts_exchange").dt.epoch("us") - start,
        "is_snapshot",
        (pl.col("side") == "ask").cast(pl.Int8).alias("side"),
        "price",
        "amount",
    ).collect(engine="streaming")
    prices = rows["price"].unique().sort().to_numpy()
    return Updates(
        rows["ts_received"].to_numpy(),
        rows["ts_exchange"].to_numpy(),
        rows["is_snapshot"].to_numpy(),
        rows["side"].to_numpy(),
        rank(rows["price"].to_numpy(), prices),
        rows["amount"].to_numpy(),
        prices,
    )


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
    masked = out[:, MASKED] == 1
    values = [i for i in range(len(COLUMNS)) if i not in (*EVIDENCE, VALID)]
    out[np.ix_(masked, np.array(values))] = np.nan
    out[masked, VALID] = 0.0


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


def _minutes(updates: Updates, ticks: pl.LazyFrame, day: date, start: int) -> NDArray[np.float64]:
    """Return the kernel's rows of the day with the trades' columns, sums not yet divided and nothing blanked."""
    signs = pl.when(pl.col("side") == "buy").then(1.0).when(pl.col("side") == "sell").then(-1.0).otherwise(0.0)
    trades = ticks.select(
        (pl.col("ts_received").dt.epoch("us") - start).alias("at"),
        (pl.col("ts_exchange").dt.epoch("us") - start).alias("at_exchange"),
        "price",
        "amount",
        signs.alias("sign"),
    ).collect(engine="streaming")
    by_received = np.argsort(trades["at"].to_numpy(), kind="stable")
    by_exchange = np.argsort(trades["at_exchange"].to_numpy(), kind="stable")
    out, before, after = replay(
        updates.received,
        updates.exchange,
        updates.snapshot,
        updates.side,
        updates.at,
        updates.amount,
        updates.prices,
        (trades["at"].to_numpy()[by_received], trades["at_exchange"].to_numpy()[by_exchange]),
    )
    mids = np.full((2, len(trades)), np.nan)
    mids[0, by_exchange], mids[1, by_received] = before, after
    _trade_columns(out, trades, mids[0], mids[1])
    return np.asarray(out)


def _framed(out: NDArray[np.float64], day: date) -> pl.DataFrame:
    _finish(out)
    found = pl.DataFrame(out[:, : len(COLUMNS)], schema=list(COLUMNS)).with_columns(
        pl.all().fill_nan(None), pl.Series("is_masked", out[:, MASKED]).cast(pl.Int8)
    )
    counted = found.with_columns(pl.col(c).cast(pl.Int64) for c in COUNTS)
    return pl.concat([minute_grid(day), counted], how="horizontal")


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
    ts, the columns of ``COLUMNS`` and is_masked; null where docs/conventions.md says so. A minute's values read
    messages received before its end only.
    """
    start = _start_of(day)
    return _framed(_minutes(updates_of(deltas, start), ticks, day, start), day)


def book_day(deltas: pl.LazyFrame, ticks: pl.LazyFrame, snapshots: pl.LazyFrame, day: date) -> BookDay:
    """Return the minutes of ``day`` with those masked that the vendor's ``snapshots`` refute, and how sound it was.

    Arguments as ``book_1m`` takes them, ``deltas`` with seq beside; ``snapshots`` has seq, ts_received and the best
    levels of each side. A snapshot that the book does not equal masks from its own minute on, until one that the
    book equals.
    """
    start = _start_of(day)
    updates = updates_of(deltas, start)
    out = _minutes(updates, ticks, day, start)
    proof = compared(updates, snapshots, start)
    refuted = [] if proof is None else disagreeing(*proof)
    crossed = out[:, MASKED] == 1
    out[minutes_of(refuted), MASKED] = 1
    seq = deltas.select("seq").collect(engine="streaming")["seq"].to_numpy()
    facts = feed_facts(seq, updates.received) | {
        "crossed_frac": float(out[:, CROSSED].sum() / max(out[:, MESSAGES].sum(), 1)),
        "longest_cross_s": float(out[:, CROSSED_US].max() / SECOND_US),
        "unknown_deletes_n": float(out[:, UNKNOWN].sum()),
        "masked_by_crosses_n": float(crossed.sum()),
        "masked_by_snapshots_n": float(minutes_of(refuted).sum()),
    }
    if proof is not None:
        facts |= {"snapshots_n": float(len(proof[1])), "snapshot_agreement": float(proof[1].mean())}
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    shown = [[str(midnight + timedelta(microseconds=t)) for t in ends] for ends in refuted[:SHOWN_STRETCHES]]
    return BookDay(_framed(out, day), facts, {"refuted_by_snapshots": shown} if shown else {})


def _start_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND_US
