"""Candles of any source to bars: which venues a day has, its minutes, its volume.

A candle source is a raw table with a ``candle_source`` (``tables/raw.py``); nothing here knows one by name.
Not here: the minutes themselves (``tape.py``), wiring (``assets.py``).
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from crpbot_dagster.assets.bars import tape
from crpbot_dagster.instruments import Primary
from crpbot_dagster.resources.lake import ANSWERED
from crpbot_dagster.tables import CANDLES
from crpbot_dagster.tables.schema import Table

MINUTE_S, DAY_S = 60, 86_400
ASKED = (*ANSWERED, "missing")  # it has something to say, be it that there is nothing
TABLES_OF_CANDLES = tuple(t.name for t in CANDLES.values())


def minutes_by_venue(
    candles: pl.DataFrame, state: str | None, source: str, primary: Primary, day: date
) -> dict[str, pl.DataFrame]:
    """Return 1,440 rows of ``day`` for each venue that ``candles`` names, and for the primary one of this source.

    A day that the primary source does not have is 1,440 gaps; in one that it has, the candle gap rule judges. A source
    that is not licensed or not configured has nothing to say.
    """
    own = (primary.venue,) if primary.source == source and state in ASKED else ()
    venues = candles["venue"].unique(maintain_order=True).to_list()
    return {
        venue: tape.all_gaps(day)
        if state == "missing" and venue not in venues
        else tape.candles_1m(of_interval(candles, MINUTE_S).filter(pl.col("venue") == venue), day)
        for venue in dict.fromkeys((*venues, *own))
    }


def is_asked(table: Table, primary: Primary, state: str | None) -> bool:
    """Return whether the day's bars read the table: a source beside the primary one may never have been asked."""
    return state is not None or primary.source in (table.candle_source, table.tick_source)


def day_volume(candles: pl.DataFrame, venue: str) -> tuple[float | None, str]:
    """Return the day's traded size at ``venue``, coin, and what it was read from: candle, minutes or none.

    A source that delivers daily candles is taken at its word; else the minutes are added up.
    """
    here = candles.filter(pl.col("venue") == venue)
    if "interval_s" in here.columns:
        daily = of_interval(here, DAY_S)["volume"]
        return (daily[0], "candle") if len(daily) else (None, "none")
    return (float(here["volume"].sum()), "minutes") if here.height else (None, "none")


def first_volume(tables: Iterable[pl.DataFrame], venue: str) -> tuple[float | None, str]:
    """Return the first known day's volume at ``venue`` and what it was read from; later tables are not opened."""
    known = (found for found in (day_volume(candles, venue) for candles in tables) if found[1] != "none")
    return next(known, (None, "none"))


def of_interval(candles: pl.DataFrame, interval_s: int) -> pl.DataFrame:
    """Return the candles of one interval; a table without the column ``interval_s`` holds minutes only."""
    return candles.filter(pl.col("interval_s") == interval_s) if "interval_s" in candles.columns else candles


def primary_first(primary: Primary) -> list[Table]:
    """Return the tables of candles, that of the primary source first."""
    return sorted(CANDLES.values(), key=lambda t: t.candle_source != primary.source)
