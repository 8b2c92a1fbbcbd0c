"""The law of no look-ahead on real data: a few rows of each partition, made again from what was known at their end.

Not here: the laws over every column and made-up market (``tests/laws/``), the check's limit (``tables/features.py``).
"""

import zlib
from collections.abc import Sequence
from datetime import date

import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.live import HELD_ROWS
from crpbot_dagster.assets.features.sets import Build

DAY_ROWS = 1_440


def sample(symbol: str, day: date, rows: int) -> tuple[int, int, int]:
    """Return three places among the last 1,440 of ``rows``: the first, the last, and one by symbol and day."""
    first = rows - DAY_ROWS
    chosen = zlib.crc32(f"{symbol} {day}".encode()) % (DAY_ROWS - 2)
    return first, first + 1 + chosen, rows - 1


def unlike_alone(inputs: Inputs, made: pl.DataFrame, build: Build, rows: Sequence[int]) -> list[str]:
    """Return the columns of ``made`` that differ when a row is made from what was known at its end, and no more.

    The row sees its own 1,441 minutes, and no bucket or slow row that came later: it changes if the set looks ahead,
    reads further back than it may, or gives other bits for another frame.
    """
    found: set[str] = set()
    for row in rows:
        alone = build(inputs.known_at(row).rows(max(0, row - HELD_ROWS), row + 1)).tail(1)
        stored = made.slice(row, 1)
        found |= {n for n in made.columns if not alone[n].equals(stored[n], null_equal=True)}
    return sorted(found)
