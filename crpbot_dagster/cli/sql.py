"""``crpbot sql``: one select over the lake.

Not here: running it (``resources/warehouse.py``).
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.table import Table as Grid

from crpbot_dagster.cli.terminal import MISSING, USAGE, AsJson, configured, stop

SHOWN_ROWS = 50


def sql(
    query: Annotated[str, typer.Argument(help="One select over tables named stage.table.", show_default=False)],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every row as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run one select over the lake, read only; the first 50 rows are shown, --csv and --json print all.

    Example: crpbot sql "select day, count(*) as minutes from features.v5 group by day order by day"
    """
    from crpbot_dagster.reading import opened_lake
    from crpbot_dagster.resources.lake import StampError
    from crpbot_dagster.resources.warehouse import QueryError, select

    if as_csv and as_json:
        stop("choose one of --csv and --json", USAGE)
    configured()
    try:
        batches = select(opened_lake(), query)
        if as_csv:
            _print_csv(batches)
        elif as_json:
            found = [dict(zip(b.columns, map(_cell, row), strict=True)) for b in batches for row in b.iter_rows()]
            typer.echo(json.dumps(found, default=str))
        else:
            _show(batches)
    except LookupError as error:
        stop(str(error), MISSING)
    except (QueryError, StampError) as error:
        stop(str(error), USAGE)


def _print_csv(batches: Iterator[pl.DataFrame]) -> None:
    writer = csv.writer(sys.stdout)
    for i, batch in enumerate(batches):
        if i == 0:
            writer.writerow(batch.columns)
        writer.writerows([_cell(v) for v in row] for row in batch.iter_rows())


def _show(batches: Iterator[pl.DataFrame]) -> None:
    grid, rows = Grid(*next(batches).columns), 0
    for batch in batches:
        for row in batch.head(max(0, SHOWN_ROWS - rows)).iter_rows():
            grid.add_row(*("null" if v is None else str(_cell(v)) for v in row))
        rows += batch.height
    Console().print(grid)
    more = f", the first {SHOWN_ROWS} shown: --csv prints all" if rows > SHOWN_ROWS else ""
    typer.echo(f"{rows} rows{more}")


def _cell(value: Any) -> Any:
    """Return a value that text can hold: weights as hex, moments as ISO 8601, no NaN, which JSON does not know."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date):  # and datetime, which is one
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
