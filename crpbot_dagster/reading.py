"""Reading the lake from Python: ``import crpbot_dagster as crp``, then ``crp.read`` and ``crp.sql``.

Needs the lake's folder and no server. Not here: the lake itself (``resources/lake.py``), DuckDB
(``resources/warehouse.py``).
"""

import difflib
from datetime import date

import polars as pl

from crpbot_dagster import settings
from crpbot_dagster.instance import lake_of
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.warehouse import select
from crpbot_dagster.tables import TABLES


class UnknownTable(LookupError):
    """The data dictionary has no table of this name."""


def opened_lake() -> Lake:
    """Return the lake of the settings.

    Raises
    ------
    StampError
        It was made from another market than the settings say.
    """
    lake = lake_of(settings.load())
    if lake.stamp() is not None:
        lake.check_stamp()
    return lake


def read(table: str, symbol: str, first: str | date, last: str | date, allow_missing: bool = False) -> pl.DataFrame:
    """Return the rows of ``symbol`` on the UTC days ``first`` … ``last``, both included, sorted.

    Days first, then the key of the table: minutes and ticks come in the order of time.

    Parameters
    ----------
    table : str
        ``stage.table`` or ``stage/table``, e.g. ``features.v5``.
    symbol : str
        E.g. ``BTC-USD``.
    first, last : str or date
        E.g. ``2024-01-31``.
    allow_missing : bool
        Return what is there instead of refusing days that were never built.

    Raises
    ------
    UnknownTable
        The data dictionary has no such table.
    IncompleteError
        A day was never built; the message names each and says how to get it.
    StampError
        The lake was made from another market than the settings say.
    """
    name = table.replace(".", "/", 1)
    if name not in TABLES:
        near = difflib.get_close_matches(name, TABLES, n=3)
        raise UnknownTable(f"no table {table!r}: {'did you mean ' if near else ''}{', '.join(near or TABLES)}")
    days = [d if isinstance(d, date) else date.fromisoformat(d) for d in (first, last)]
    lake = opened_lake()
    found = lake.scan(name, symbol, *days) if allow_missing else lake.window(name, symbol, *days)
    return found.sort("day", *TABLES[name].key).collect()


def sql(query: str) -> pl.DataFrame:
    """Return the rows of one select over tables named ``stage.table``, read only.

    Raises
    ------
    QueryError
        It is not one select, names what is not there, or reads outside the lake.
    LookupError
        The lake is empty.
    StampError
        The lake was made from another market than the settings say.
    """
    return pl.concat(select(opened_lake(), query))
