"""The calendar of the sources: what each raw table says of each day.

Not here: what a state means and where it is kept (``resources/lake.py``), how a terminal shows it (``cli/doctor.py``).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import RAW, TABLES

SHOWN_DAYS = 14
KEPT_APART = ("raw/quarantine", "raw/calendar")  # they are not asked of a source
SOURCE_TABLES = tuple(t.name for t in RAW if t.name not in KEPT_APART)
SIGNS = {
    "complete": "●",
    "empty": "○",
    "partial": "◐",
    "missing": "✕",
    "not_licensed": "€",
    "not_configured": "–",
    None: "·",
}
LEGEND = "● complete, ○ empty, ◐ partial, ✕ missing, € not licensed, – not configured, · not asked"

Calendar = Mapping[str, Mapping[date, str | None]]
"""Raw table → day → its state, None where it was never asked."""


def calendar_of(lake: Lake, symbol: str, days: Sequence[date]) -> Calendar:
    """Return what the lake knows of every source table on some days of a symbol."""
    return {table: lake.states(table, symbol, days) for table in SOURCE_TABLES}


def as_markdown(calendar: Calendar) -> str:
    """Return the calendar as a table of signs, one row per raw table, oldest day first."""
    days = sorted({d for states in calendar.values() for d in states})
    lines = ["| | " + " | ".join(f"{d:%d %b}" for d in days) + " |", "|---" * (len(days) + 1) + "|"]
    for table, states in calendar.items():
        lines.append(f"| {table.removeprefix('raw/')} | " + " | ".join(SIGNS[states[d]] for d in days) + " |")
    return "\n".join([*lines, "", LEGEND])


@table_asset("raw/calendar", kinds={"delta"}, after=SOURCE_TABLES, code_version="1")
def calendar(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per raw table: what it says of the day; the metadata shows the last two weeks of every source.

    Reads states alone. Market-wide tables stand in the calendar of every symbol.
    """
    symbol, day = split(context.partition_key)
    shown = calendar_of(lake, symbol, [day - timedelta(days=i) for i in range(SHOWN_DAYS)])
    rows = [(symbol, day, t, states[day], TABLES[t].is_market_wide) for t, states in shown.items()]
    frame = pl.DataFrame(rows, schema=TABLES["raw/calendar"].schema, orient="row")
    return Built(frame, "complete", "the lake", notes={"calendar": dg.MetadataValue.md(as_markdown(shown))})


ASSETS = (calendar,)
