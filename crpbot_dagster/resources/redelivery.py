"""What a partition says, whatever file holds it, and how one that is delivered again differs from the one held.

Not here: how a partition is replaced (``lake.py``), the data versions that make children stale (``assets/checks.py``).
"""

import hashlib
from typing import Any

import polars as pl

from crpbot_dagster.tables.schema import Table

# Of two hashes one is spread by this odd constant before they are joined, so that equal cells of two columns do not
# cancel. Source: Knuth, MMIX linear congruential generator.
SPREAD = pl.lit(6364136223846793005, pl.UInt64)


def row_hash(table: Table) -> pl.Expr:
    """Return a hash of each row of ``table``, UInt64; the columns of the partition are the same in all and left out.

    polars keeps its hashes from run to run, not from version to version: after an upgrade a partition that is built
    again looks new once.
    """
    joined = pl.lit(0, pl.UInt64)
    for place, name in enumerate(n for n in table.schema if n not in table.partition):
        joined = joined * SPREAD ^ pl.col(name).hash(place)
    return joined.hash()


def content(table: Table, frame: pl.LazyFrame, state: str) -> str:
    """Return a digest of a partition's logical content: schema, state and rows, whatever their order and encoding.

    Keys are unique and hold what orders the rows, so the sum of the rows' hashes names the set of them.
    """
    rows, total = frame.select(pl.len(), row_hash(table).sum()).collect(engine="streaming").row(0)
    columns = ",".join(f"{n}:{t}" for n, t in table.schema.items())
    return hashlib.sha256(f"{columns}|{state}|{rows}|{total}".encode()).hexdigest()[:32]


def difference(table: Table, held: pl.LazyFrame, new: pl.LazyFrame) -> dict[str, Any]:
    """Return how many rows were added, removed and changed against the partition held, and the first such key."""
    key = [c for c in table.key if c not in table.partition] or list(table.key)
    was, now = (f.select(*key, row_hash(table).alias(name)) for f, name in ((held, "was"), (new, "now")))
    moved = (
        was.join(now, on=key, how="full", coalesce=True, nulls_equal=True)
        .filter(pl.col("was").ne_missing(pl.col("now")))
        .sort(key)
        .collect()
    )
    removed, added = moved["now"].null_count(), moved["was"].null_count()
    found = {"rows_added": added, "rows_removed": removed, "rows_changed": moved.height - added - removed}
    said = ", ".join(f"{n} {what.removeprefix('rows_')}" for what, n in found.items())
    if moved.height:
        first = ", ".join(f"{c} {v}" for c, v in moved.select(key).row(0, named=True).items())
        return found | {"redelivery": f"rows {said} against the partition held before; the first at {first}"}
    return found | {"redelivery": "the same rows as before"}
