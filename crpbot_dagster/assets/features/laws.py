"""The law of no look-ahead on real data: a few rows of each partition, made again from what was known at their end.

Not here: the laws over every column and made-up market (``tests/laws/``), the check's limit (``tables/features.py``).
"""

import zlib
from collections.abc import Sequence
from datetime import date

import polars as pl

from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.assets.features.live import HELD_ROWS

DAY_ROWS = 1_440


def sample(made: pl.DataFrame, symbol: str, day: date) -> tuple[int, int, int]:
    """Return three rows of the last 1,440: the first, the last, and one of those that have the fewest nulls.

    Symbol and day draw it: another row on another day, the same row when the day is built again.
    """
    first, last = made.height - DAY_ROWS, made.height - 1
    nulls = made[first + 1 : last].select(pl.sum_horizontal(pl.all().is_null())).to_series()
    fullest = (nulls == nulls.min()).arg_true()
    drawn = fullest[zlib.crc32(f"{symbol} {day}".encode()) % len(fullest)]
    return first, first + 1 + drawn, last


def compared(made: pl.DataFrame, rows: Sequence[int]) -> int:
    """Return how many features have a value in one of the rows: of a column of nulls the law says nothing."""
    return sum(column.count() > 0 for column in made[list(rows)].drop("ts"))


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
