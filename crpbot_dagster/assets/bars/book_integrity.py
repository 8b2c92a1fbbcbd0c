"""Whether a day's book can be believed: the proof against the vendor's snapshots, and what was lost on the way.

A minute that cannot be believed is masked: its values are null, and so is what is made from them. Not here: the
replay into minutes (``order_book.py``), frames in and out (``book_minutes.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from crpbot_dagster.assets.bars.tape import MINUTE_US, SECOND_US

COMPARED_LEVELS = 20  # a side, at every snapshot of the vendor
BATCH_SNAPSHOTS = 20_000  # compared at once: a day's snapshots of a hundred columns would not fit in memory
SILENCE_US = 60 * SECOND_US  # docs/conventions.md: a state without a message for 60 s is not valid
LEVEL_COLUMNS = tuple(
    f"{side}_{what}_{i}" for side in ("bid", "ask") for i in range(COMPARED_LEVELS) for what in ("price", "amount")
)


@dataclass(frozen=True)
class Updates:
    """A day's level updates as the kernels take them: times in µs since the day's start, places in ``prices``."""

    received: NDArray[np.int64]
    exchange: NDArray[np.int64]
    snapshot: NDArray[np.bool_]
    side: NDArray[np.int8]
    at: NDArray[np.int32]
    amount: NDArray[np.float64]
    prices: NDArray[np.float64]


@dataclass(frozen=True)
class Book:
    """A book between two updates, which ``levels_at`` moves on in place."""

    sizes: NDArray[np.float64]  # side (0 bid, 1 ask) × price, coin
    place: NDArray[
        np.int64
    ]  # best bid and best ask in the price array; 1 after a row of a snapshot, -1 before the first

    @classmethod
    def empty(cls, prices: NDArray[np.float64]) -> "Book":
        """Return the book before any update."""
        return cls(np.zeros((2, len(prices))), np.array([-1, len(prices), -1]))


@njit(cache=True)
def levels_at(received, snapshot, side, at, amount, prices, moments, depth, sizes, place):  # type: ignore[no-untyped-def]
    """Return the best levels in force at each of ``moments``, and how many updates were used.

    The book is carried: a day cut anywhere and continued with the same ``sizes`` and ``place`` is the same book.

    Parameters
    ----------
    received, snapshot, side, at, amount, prices
        Level updates as ``replay`` takes them, from the first one not used yet.
    moments : int64[m], µs since the day's start, rising
        Each sees the messages received up to it.
    depth : levels a side
    sizes, place
        Of a ``Book``; changed in place.

    Returns
    -------
    float64[m, 2, depth, 2] and int
        Side (0 bid, 1 ask), level from the best, (price in USD, size in coin); NaN beyond the last level.

    Source
    ------
    Ours; the rule of the first snapshot is docs/conventions.md.
    """
    out = np.full((len(moments), 2, depth, 2), np.nan)
    i = 0
    for m in range(len(moments)):
        while i < len(received) and received[i] <= moments[m]:
            if place[2] < 0 and not snapshot[i]:
                i += 1
                continue
            if snapshot[i] and place[2] < 1:
                sizes[:] = 0.0
                place[0], place[1] = -1, len(prices)
            place[2] = 1 if snapshot[i] else 0
            sizes[side[i], at[i]] = amount[i]
            if amount[i] > 0:
                place[side[i]] = min(place[1], at[i]) if side[i] == 1 else max(place[0], at[i])
            i += 1
        for which in range(2):
            here, level, step = place[which], 0, 1 if which == 1 else -1
            while 0 <= here < len(prices) and level < depth:
                if sizes[which, here] > 0:
                    out[m, which, level, 0] = prices[here]
                    out[m, which, level, 1] = sizes[which, here]
                    level += 1
                here += step
    return out, i


def compared(
    updates: Updates, snapshots: pl.LazyFrame, start: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """Return (moment, whether the replayed best 20 levels are exactly the vendor's) of every vendor snapshot.

    A snapshot is compared with the book after every message received up to its own ``ts_received``; of two of one
    microsecond the last is the state after all its messages. None when the vendor sent none. ``start`` is the
    day's, µs since 1970.
    """
    moments, agree = [], []
    book, used = Book.empty(updates.prices), 0
    for at, theirs in _batches(snapshots, start):
        ours, more = levels_at(
            updates.received[used:],
            updates.snapshot[used:],
            updates.side[used:],
            updates.at[used:],
            updates.amount[used:],
            updates.prices,
            at,
            COMPARED_LEVELS,
            book.sizes,
            book.place,
        )
        used += more
        ours = ours.reshape(len(at), -1)
        moments.append(at)
        agree.append(((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(axis=1))
    return (np.concatenate(moments), np.concatenate(agree)) if moments else None


def _batches(snapshots: pl.LazyFrame, start: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    at = (pl.col("ts_received").dt.epoch("us") - start).alias("at")
    clock = snapshots.select(at).collect(engine="streaming")["at"]
    # A day is stored as it was received: sorting a hundred columns that are in order would hold all of them.
    ordered = snapshots if clock.is_sorted() else snapshots.sort("ts_received", "seq")
    moments = clock.sort().to_numpy()
    is_last = np.append(moments[1:] != moments[:-1], True)
    done = 0
    for batch in ordered.select(LEVEL_COLUMNS).collect_batches(
        chunk_size=BATCH_SNAPSHOTS, maintain_order=True, engine="streaming"
    ):
        if batch.height == 0:
            continue
        here = slice(done, done + batch.height)
        done += batch.height
        if is_last[here].any():
            yield moments[here][is_last[here]], batch.fill_null(np.nan).to_numpy()[is_last[here]]


def disagreeing(moments: NDArray[np.int64], agree: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches [from, to) in which the book is refuted, µs since the day's start.

    From a snapshot that the replayed book does not equal, to the next that it equals, or the day's end.
    """
    known = np.concatenate([[True], agree, [True]])  # before the first snapshot and after the last there is no proof
    at = np.append(moments, 1440 * MINUTE_US)
    begin, end = np.flatnonzero(known[:-1] & ~known[1:]), np.flatnonzero(~known[:-1] & known[1:])
    return [(int(at[i]), int(at[j])) for i, j in zip(begin, end, strict=True)]


def minutes_of(stretches: list[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return bool[1440]: the minutes that a stretch touches."""
    touched = np.zeros(1440, dtype=np.bool_)
    for first, end in stretches:
        touched[max(first, 0) // MINUTE_US : max(end - 1, first) // MINUTE_US + 1] = True
    return touched


def feed_facts(seq: NDArray[np.int64], received: NDArray[np.int64]) -> dict[str, float]:
    """Return what the feed lost: rows missing between two row numbers, silences of more than 60 s and the longest.

    ``seq`` int64[n] is the row number in the source's file, ``received`` int64[n] its time in µs.
    """
    lost = np.diff(seq) - 1
    waits = np.diff(received)
    return {
        "sequence_gaps_n": float((lost > 0).sum()),
        "rows_lost_n": float(lost[lost > 0].sum()),
        "silences_n": float((waits > SILENCE_US).sum()),
        "longest_silence_s": float(waits.max() / SECOND_US) if len(waits) else 0.0,
    }
