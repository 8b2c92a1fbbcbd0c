"""Verbs that look at the data: ``sql`` over the lake, ``explain`` of a column."""

import csv
import difflib
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

from crpbot_dagster.cli.terminal import MISSING, OK, USAGE, AsJson, configured, stop
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.features import origins
from crpbot_dagster.tables.papers import PAPERS
from crpbot_dagster.tables.schema import Column, Table

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


def explain(
    column: Annotated[str, typer.Argument(help="A column, or stage/table.column.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say what a column is: unit, formula, range, what it reads and how far back, when it is null, the paper.

    Example: crpbot explain features/v5.rsi
    """
    table, _, name = column.replace("/", ".").rpartition(".")
    table = table.replace(".", "/", 1)
    here = [t for t in TABLES.values() if table in ("", t.name, t.name.partition("/")[2])]
    if not here:
        stop(f"no table {table!r}{_near(table, list(TABLES))}", USAGE)
    having = [t for t in here if name in t.schema]
    if not having:
        names = sorted({c for t in here for c in t.schema})
        stop(f"no column {name!r}{f' in {table}' if table else ''}{_near(name, names)}", USAGE)
    # Tables that hold the same column share one explanation.
    found: dict[Column, list[Table]] = {}
    for t in having:
        found.setdefault(t.column(name), []).append(t)
    facts = [_facts(c, tables) for c, tables in found.items()]
    if as_json:
        typer.echo(json.dumps(facts))
        raise typer.Exit(OK)
    for fact in facts:
        grid = Grid(title=name, show_header=False, title_justify="left")
        for key, value in fact.items():
            if value not in ("", None):
                grid.add_row(key, str(value))
        Console().print(grid)


def _facts(c: Column, tables: list[Table]) -> dict[str, Any]:
    is_feature = c.transform != ""
    when = {
        "": "when it is not known",
        "–": "never",
        "row": "when an input of the row is",
        "w80": "below 80 % of weights",
    }
    null = when.get(c.valid, f"below {c.valid} valid rows of its window")
    return {
        "column": c.name,
        "formula" if is_feature else "what": c.text,
        "unit": c.unit,
        "type": str(c.dtype),
        "range": "" if c.range == "R" else c.range,
        "reads": ", ".join(
            [*(f"{table}.{column}" for table, column in origins(c)), *(r for r in c.reads if "." not in r)]
        ),
        "reach": f"{c.reach} minutes, its own included" if c.reach is not None else "",
        "null": "never" if c.required else null,
        "model input": c.transform,
        "paper": PAPERS.get(c.source, c.source.replace("–", "")),
        "tables": ", ".join(t.name for t in tables),
    }


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    return f": did you mean {', '.join(near)}?" if near else ": docs/data_dictionary.md lists them all"
