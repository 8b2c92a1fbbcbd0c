"""Trades of an exchange's own interface: its pages to the day's tape, one row per trade id, in the order of the ids.

Not here: the pages (``resources/``), what a venue's record looks like (``coinbase.py``, ``kraken.py``).
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.raw.dataset_file import EARLIEST_US, LATEST_US, REFUSED_SCHEMA, Parsed
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import each_once, land, nothing
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.exchanges import FinalAnswer
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.schema import UTC_US

ID = r"^[0-9]{1,18}$"
Pages = Callable[[str, date], Iterator[list[Any]]]
Parse = Callable[[list[Any], str, date], Parsed]


def of_day(at: pl.Expr, day: date) -> pl.Expr:
    """Return the rule that a moment lies on ``day``: each trade belongs to one partition."""
    return at.dt.date() == day


def of_milliseconds(column: str) -> pl.Expr:
    """Return a whole-number column of epoch milliseconds as UTC µs; null outside 2009 to 2100."""
    ms = pl.col(column)
    return pl.when(ms.is_between(EARLIEST_US // 1000, LATEST_US // 1000)).then((ms * 1000).cast(UTC_US))


def joined(parts: Iterable[Parsed]) -> Parsed:
    """Return pages as one, their lines counted on."""
    kept, refused, rows = [], [pl.DataFrame(schema=REFUSED_SCHEMA)], 0
    for part in parts:
        on = pl.col("line_n") + rows
        kept.append(part.frame.with_columns(on).collect())
        refused.append(part.refused.with_columns(on))
        rows += part.rows
    return Parsed(pl.concat(kept).lazy(), pl.concat(refused), rows)


def one_tape(parsed: Parsed) -> tuple[Parsed, int]:
    """Return the trades in the order of their ids, numbered by ``seq``, and how many repeats were dropped.

    A trade that came twice is one trade; one id with two prices is refused both times.
    """
    once, repeated = each_once(parsed, "trade_id")
    tape = once.frame.sort(pl.col("trade_id").cast(pl.Int64)).with_row_index("seq").collect()
    return Parsed(tape.lazy(), once.refused, once.rows), repeated


def land_trades(
    context: dg.AssetExecutionContext, lake: Lake, table: str, source: str, venue: str, fetch: Pages, parse: Parse
) -> Built:
    """Fetch one symbol-day page by page, parse it, quarantine its bad rows; ``source`` is the listing's.

    Raises
    ------
    dg.Failure
        An answer cannot be trusted as a whole; the partition in the lake stays as it was.
    SourceError
        The exchange refuses, or does not answer in time.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    listing = instruments.listing(symbol, source, venue, day)
    if config.market == "recordings":
        return nothing(lake, table, symbol, day, "not_configured", source, f"recordings hold no trades of {venue}")
    if listing is None:
        return nothing(lake, table, symbol, day, "missing", source, f"{symbol} was not listed at {venue} on {day}")
    origin = f"{venue}: trades of {listing.name} on {day}"
    try:
        with trusted(origin):
            parsed = joined(parse(page, listing.name, day) for page in fetch(listing.name, day))
    except FinalAnswer as answer:
        return nothing(lake, table, symbol, day, answer.state, source, str(answer))
    tape, repeated = one_tape(parsed)
    # A day is whole once its last trade can have been printed.
    over = datetime.combine(day + timedelta(days=1), time(0, 0, 5), UTC)
    state = "partial" if config.now() < over else None
    return land(lake, table, symbol, day, tape, repeated=repeated, source=source, origin=origin, state=state)
