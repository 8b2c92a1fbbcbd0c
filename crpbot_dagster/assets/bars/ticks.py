"""Trades of any source to bars: which venues a day has, its minutes, its volume.

A source of trades is a raw table with a ``tick_source``; nothing here knows one by name. Minutes are cut on the receive
clock where the source has one, else on the exchange's.
Not here: the minutes themselves (``tape.py``), candles (``candles.py``), wiring (``assets.py``).
"""

from collections.abc import Callable
from datetime import date

import polars as pl

from crpbot_dagster.assets.bars import tape
from crpbot_dagster.instruments import Primary
from crpbot_dagster.resources.lake import ANSWERED
from crpbot_dagster.tables import TICKS
from crpbot_dagster.tables.schema import Table

STREAMED = "tardis"  # read as an input of the asset: a day of it may be too large to be held
BESIDE = {source: table for source, table in TICKS.items() if source != STREAMED}
TABLES_OF_TICKS = tuple(t.name for t in BESIDE.values())


def clock_of(table: Table) -> tape.Clock:
    """Return the clock that cuts the table's minutes."""
    return "received" if "ts_received" in table.schema else "exchange"


def minutes_by_venue(
    ticks: pl.LazyFrame,
    state: str | None,
    table: Table,
    primary: Primary,
    day: date,
    volumes: Callable[[], pl.DataFrame],
) -> dict[str, pl.DataFrame]:
    """Return 1,440 rows of ``day`` for each venue of ``ticks``, and for the primary one of this source.

    A day that the primary source does not have is 1,440 gaps; an empty one is judged by the gap rule. ``volumes`` gives
    the rows of ``bars/volume_1d`` of the seven days before, and is asked only when there are ticks to measure by them:
    a venue without them (today all but the primary one) has a null threshold and no large sums.
    """
    is_primary = table.tick_source == primary.source
    if state not in ANSWERED:
        return {primary.venue: tape.all_gaps(day)} if is_primary and state == "missing" else {}
    found = ticks.select(pl.col("venue").unique(maintain_order=True)).collect(engine="streaming")["venue"]
    venues = dict.fromkeys([*found, *([primary.venue] if is_primary else [])])
    known = volumes()
    made = {}
    for venue in venues:
        here = pl.col("venue") == venue
        rows = (ticks if len(venues) == 1 else ticks.filter(here)).sort("seq")
        made[venue] = tape.trades_1m(rows, day, tape.large_threshold(known.filter(here)), clock_of(table))
    return made


def day_volume(ticks: pl.LazyFrame, venue: str) -> float | None:
    """Return the day's traded size at ``venue``, coin, None without a trade there."""
    here = ticks.filter(pl.col("venue") == venue).select(pl.col("amount").sum(), pl.len())
    size, trades = here.collect(engine="streaming").row(0)
    return float(size) if trades else None


def primary_first(primary: Primary) -> list[Table]:
    """Return the tables of trades, that of the primary source first."""
    return sorted(TICKS.values(), key=lambda t: t.tick_source != primary.source)
