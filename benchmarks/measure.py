"""How a figure is taken and written: best of a few, ours and the peer in turn, one line of a table.

Not here: what is measured (one module per topic), the document (``__main__.py``).
"""

import gc
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crpbot_dagster.settings import PROJECT

HEADER = ("| what | ours | peer | ours ÷ peer | limit |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Size:
    """How much of everything is measured."""

    times: int  # each figure is the best of so many
    trades: int
    updates: int  # order-book rows
    feature_days: tuple[int, ...]
    partitions: tuple[int, ...]  # of the lake, over three symbols
    runs: int  # of Dagster, per job
    samples: int  # of the network, per epoch
    threads: int  # of the network
    requests: int  # of the storm


FULL = Size(3, 5_000_000, 10_000_000, (1, 90, 365), (300, 3_000), 7, 6_400, 2, 10_000)
SMALL = Size(1, 30_000, 60_000, (1, 3), (96,), 1, 256, 1, 100)


@dataclass(frozen=True)
class Line:
    """One figure. ``ratio`` is time by time, ours ÷ peer: below 1 is faster than the peer."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    limit: str = ""
    held: bool | None = None

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f} ×"
        limit = self.limit if self.held is None else f"{self.limit}: {'held' if self.held else '**not held**'}"
        return f"| {self.what} | {self.ours} | {self.peer} | {ratio} | {limit} |"


def race(*functions: Callable[[], object], times: int) -> list[float]:
    """Return the least wall time of each function, in seconds, after ``times`` rounds in which each ran once.

    The least, because a noisy machine only ever adds time; in turn, so that a slow minute meets all of them.
    """
    least = [float("inf")] * len(functions)
    for _ in range(times):
        for i, function in enumerate(functions):
            gc.collect()
            started = time.perf_counter()
            function()
            least[i] = min(least[i], time.perf_counter() - started)
    return least


def in_process(python: str, peer: str, *arguments: object) -> float:
    """Return the seconds that a module of ``peers`` prints last, run by an interpreter that may not be ours.

    Raises
    ------
    RuntimeError
        The peer failed; with what it said.
    """
    command = [python, "-m", f"benchmarks.peers.{peer}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    if done.returncode != 0:
        raise RuntimeError(f"{peer} failed: {done.stderr.strip()[-2000:]}")
    return float(done.stdout.strip().splitlines()[-1])


def shown(seconds: float) -> str:
    """Return a duration as one reads it: 1.74 s, 24.1 ms."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def millions(rows: int, seconds: float) -> str:
    """Return a throughput: 8.1 M rows/s."""
    return f"{rows / seconds / 1e6:.3g} M rows/s"


def count(rows: int) -> str:
    """Return a number of rows as one reads it: 5 M, 30,000."""
    return f"{rows // 1_000_000} M" if rows % 1_000_000 == 0 else f"{rows:,}"


def table(lines: Iterable[Line]) -> str:
    """Return the lines as a table in Markdown."""
    return "\n".join([*HEADER, *map(str, lines)])
