"""What is null in a set of features on a recorded market, as docs/results.md has it."""

import polars as pl

from crpbot_dagster.tables.schema import Table


def null_shares(title: str, table: Table, made: pl.DataFrame) -> dict[str, float]:
    """The share of nulls by column, printed by size."""
    shares = {c.name: made[c.name].null_count() / made.height for c in table.features}
    print(f"\n{title}, {made.height:,} rows")
    for share in sorted(set(shares.values())):
        print(f"  {100 * share:7.3f} %  {', '.join(n for n, s in shares.items() if s == share)}")
    return shares
