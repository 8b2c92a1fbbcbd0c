"""What all processes know together of a source: turns taken, pauses it asked for, failures in a row.

One SQLite file in the state folder holds it, so parallel runs share one budget, and a daily quota or a ban outlives
the process that met it. Not here: what an answer means for the next request (``politeness.py``).
"""

import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from pyrate_limiter import Duration, Rate, RateItem, SQLiteBucket

MEMORY = ":memory:"
SPACING = 1.1  # requests arrive less evenly than they are sent: a tenth apart keeps the vendor's own count whole
PROBES = Rate(2, Duration.MINUTE)  # of a host that fails and fails
OPEN_AFTER = 5  # failures in a row, after which only probes go out

TABLE = (
    "CREATE TABLE IF NOT EXISTS hosts "
    "(source TEXT PRIMARY KEY, failures INTEGER, failure TEXT, not_before REAL, why TEXT)"
)


Clock = Callable[[], float]


class Wait(NamedTuple):
    """How long the next request must wait, and why; 0 seconds: it may go, and its place is taken."""

    seconds: float
    why: str = ""


class Host:
    """One source as every process sees it; ``path`` is the file they share, or ``MEMORY``.

    ``queue`` is for the threads of this process that wait for a turn: one of them asks, the others stand in line.
    """

    def __init__(self, path: str, source: str, per_second: float | None, per_day: int | None) -> None:
        self.queue = threading.Lock()
        self._source, self._per_day = source, per_day
        self._lock = threading.Lock()
        rates = [] if per_second is None else [Rate(1, math.ceil(1000 * SPACING / per_second))]
        rates += [] if per_day is None else [Rate(per_day, Duration.DAY)]
        # One process at a time: the first turns the file's journal to WAL, and SQLite does not wait to do that.
        with _opening(path):
            self._db = sqlite3.connect(path, timeout=30, check_same_thread=False)
            with self._db:
                self._db.execute(TABLE)
                self._db.execute("INSERT OR IGNORE INTO hosts VALUES (?, 0, '', 0, '')", (source,))
            self._probes = _bucket(path, f"{source}_probes", [PROBES])
            self._turns = _bucket(path, source, rates) if rates else None

    def paused(self, now: Clock) -> Wait:
        """Return how long the source wants to be left alone."""
        _, _, not_before, why = self._known()
        return Wait(max(not_before - now(), 0.0), why)

    def probe(self, now: Clock) -> Wait:
        """Take one of the two requests a minute that a failing host gets; a sound one has no such limit."""
        failures, failure, _, _ = self._known()
        if failures < OPEN_AFTER:
            return Wait(0)
        why = f"it failed {failures} times in a row ({failure}) and is asked twice a minute"
        return Wait(_take(self._probes, now), why)

    def turn(self, now: Clock) -> Wait:
        """Take one request of the budget."""
        if self._turns is None:
            return Wait(0)
        seconds = _take(self._turns, now)
        rate = self._turns.failing_rate
        if seconds and rate is not None and rate.interval == Duration.DAY.value:
            return Wait(seconds, f"its daily quota of {self._per_day} requests is spent")
        return Wait(seconds, "its budget is taken by other requests")

    def pause(self, until: float, why: str) -> None:
        """Leave the source alone until then; a longer pause stays."""
        self._write(
            "UPDATE hosts SET not_before = ?, why = ? WHERE source = ? AND not_before < ?",
            (until, why, self._source, until),
        )

    def failed(self, failure: str) -> None:
        """Count one failure in a row; the words must hold no secret."""
        self._write("UPDATE hosts SET failures = failures + 1, failure = ? WHERE source = ?", (failure, self._source))

    def answered(self) -> None:
        """Forget the failures: the host works."""
        if self._known()[0]:
            self._write("UPDATE hosts SET failures = 0 WHERE source = ?", (self._source,))

    def _known(self) -> tuple[int, str, float, str]:
        asked = "SELECT failures, failure, not_before, why FROM hosts WHERE source = ?"
        with self._lock:
            failures, failure, not_before, why = self._db.execute(asked, (self._source,)).fetchone()
        return failures, failure, not_before, why

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock, self._db:
            self._db.execute(statement, values)


def _opening(path: str) -> FileLock | nullcontext[None]:
    if path == MEMORY:
        return nullcontext()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.opening")


def _bucket(path: str, table: str, rates: list[Rate]) -> SQLiteBucket:
    return SQLiteBucket.init_from_file(rates, table=table, db_path=path, use_file_lock=path != MEMORY)


def _take(bucket: SQLiteBucket, now: Clock) -> float:
    """Return 0 when a place was free, and is taken now; else the seconds until one will be."""
    # The moment is read once no other process can take a place: an older one would look as if its place had passed.
    with bucket.lock:
        item = RateItem("request", math.ceil(now() * 1000))
        bucket.leak(item.timestamp)
        if bucket.put(item):
            return 0.0
        wait = bucket.waiting(item)
    assert isinstance(wait, int)  # an awaitable only for asynchronous buckets
    return wait / 1000
