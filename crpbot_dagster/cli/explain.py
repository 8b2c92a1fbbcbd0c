"""``crpbot explain``: what a column is, as the data dictionary has it, and what the lake holds of it."""

import difflib
import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.table import Table as Grid

from crpbot_dagster.cli.terminal import OK, USAGE, AsJson, configured, stop
from crpbot_dagster.instance import lake_of
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.features import origins
from crpbot_dagster.tables.papers import PAPERS
from crpbot_dagster.tables.schema import Column, Table

if TYPE_CHECKING:
    from crpbot_dagster.resources.lake import Lake


def explain(
    column: Annotated[str, typer.Argument(help="A column, or stage/table.column.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say what a column is: unit, formula, range, what it reads and how far back, when it is null, the paper.

    Of a feature also its coverage: in how many minutes of the lake it has a value.
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
    lake = lake_of(configured())
    facts = [_facts(c, tables) | _coverage(c, tables, lake) for c, tables in found.items()]
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
        "ends": "when an end of its span is",
        "exact": "when a row of its window is",
        "asof": "when the newest value is too old",
        "2 venues": "below 2 venues with a value",
        "3 venues": "below 3 venues with a value",
    }
    null = when.get(c.valid, f"below {c.valid} valid rows of its window")
    return {
        "column": c.name,
        "formula" if is_feature else "what": "; ".join([c.text, *_referred(c, tables[0])]),
        "unit": c.unit,
        "type": str(c.dtype),
        "range": "" if c.range == "R" else c.range,
        "reads": ", ".join(
            [*(f"{table}.{column}" for table, column in origins(c)), *(r for r in c.reads if "." not in r)]
        ),
        "reach": f"{c.reach_text}, its own included" if c.reach is not None else "",
        "null": "never" if c.required else null,
        "model input": c.transform,
        "paper": PAPERS.get(c.source, c.source.replace("–", "")),
        "tables": ", ".join(t.name for t in tables),
    }


def _referred(c: Column, table: Table) -> list[str]:
    """Return what a formula points at: ``as V4 #26``, or ``#13`` of its own set."""
    sets = {"V4": "features/v4", "V5": "features/v5", "V6": "features/v6"}
    found = []
    for match in dict.fromkeys(re.findall(r"(?:(V[456]) )?#(\d+)", c.text)):
        other = TABLES[sets[match[0]] if match[0] else table.name].features[int(match[1]) - 1]
        found.append(f"{match[0]} #{match[1]} is {other.name} = {other.text}".lstrip())
    return found


def _coverage(c: Column, tables: list[Table], lake: "Lake") -> dict[str, Any]:
    """Return, of a feature, one line per table and symbol that the lake holds."""
    from crpbot_dagster.resources.warehouse import select

    if c.transform == "":
        return {}
    held = [t.name for t in tables if lake.delta(t.name) is not None]
    lines = []
    for name in held:
        asked = (
            f'select symbol, min(day) as first, max(day) as last, 1 - count("{c.name}") / count(*) as null_frac '
            f"from {name.replace('/', '.')} group by symbol order by symbol"
        )
        for row in pl.concat(select(lake, asked)).iter_rows(named=True):
            days = f"{row['first']} to {row['last']}"
            lines.append(f"{name}, {row['symbol']}, {days}: null in {100 * row['null_frac']:.2f} % of the minutes")
    return {"coverage": "; ".join(lines) or "never materialised"}


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    return f": did you mean {', '.join(near)}?" if near else ": docs/data_dictionary.md lists them all"
