"""Reading the lake for features: what it holds of a symbol's day and the day before, side by side on one dense grid.

Of the sources beside the primary one only what is there is read; what is not is absent in the inputs, and the sets say
which of their columns that empties. Days of slow tables that nobody ever asked for are told apart.
Not here: the formulas, the assets (``assets.py``).
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.bars.tape import minute_grid
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.instruments import Primary
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.tables.features import READ_FROM
from crpbot_dagster.tables.schema import MARKET_WIDE

NotHeld = dict[str, str]
"""Slow table → how many of the days that features reach for were never put into the lake, and which."""

SLOW_DAYS = {"O": 3, "D": 400, "C": 45, "G": 45, "S": 45, "A": 45, "H": 60, "N": 90, "M": 75}
"""Letter of a slow table → the days read before the day: its longest look-back and its maximum age, and some over."""
MONTH_DAYS = 45
"""The days of ``D`` that are missed where only the last 30 of them count; as many are read as ever."""


def primary_minutes(bars: pl.LazyFrame, primary: Primary, first: date, last: date) -> pl.DataFrame:
    """Return one source's bars on the dense grid ``first`` … ``last``; absent minutes are rows of nulls."""
    return on_grid(_of(bars, primary).collect(), first, last)


def _of(rows: pl.LazyFrame, primary: Primary) -> pl.LazyFrame:
    return rows.filter(pl.col("venue") == primary.venue, pl.col("source") == primary.source)


def on_grid(rows: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Return rows by minute on the dense grid ``first`` … ``last``."""
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    grid = pl.concat([minute_grid(d) for d in days])
    return grid.join(rows, on="ts", how="left", maintain_order="left")


def by_venue(bars: pl.LazyFrame, venues: Mapping[str, str], first: date, last: date) -> dict[str, pl.DataFrame]:
    """Return the minutes of those of ``venues`` (venue → source) that have rows on the day ``last``."""
    found = {}
    for venue, source in venues.items():
        minutes = primary_minutes(bars, Primary(venue, source), first, last)
        if minutes["day"].eq_missing(last).any():
            found[venue] = minutes
    return found


def slow_tables(
    lake: Lake, primaries: Mapping[str, Primary], symbol: str, day: date, days: Mapping[str, int]
) -> tuple[dict[str, pl.DataFrame], NotHeld]:
    """Return the slow tables by letter, and what was never made of the ``days`` (letter → so many) before ``day``.

    A table without rows is left out. ``D`` has the daily rows of ``primaries``, of each symbol those of its primary
    venue and source: a day made under another one is none of its days. Of another symbol a month is missed at most.
    """
    found, absent = {}, {}
    for letter, missed in days.items():
        table, first = READ_FROM[letter], day - timedelta(days=SLOW_DAYS[letter])
        parts = []
        for s in primaries if letter == "D" else (symbol,):
            rows = lake.scan(table, s, first, day)
            parts.append(_of(rows, primaries[s]).collect() if letter == "D" else rows.collect())
            since = day - timedelta(days=missed if s == symbol else MONTH_DAYS)
            if lacking := never_made(lake, table, s, since, day):
                said = f"{len(lacking)} days between {lacking[0]} and {lacking[-1]}"
                absent[table if s == symbol else f"{table} of {s}"] = said
        rows_of_all = pl.concat(parts)
        if rows_of_all.height:
            found[letter] = rows_of_all
    return found, absent


def never_made(lake: Lake, table: str, symbol: str, first: date, last: date) -> list[date]:
    """Return the days ``first`` … ``last`` that nobody put into the lake, not even as empty or missing, sorted.

    The log is asked of days without rows only: each question reads it again.
    """
    filled, start = set(lake.days(table, symbol)), date.fromisoformat(lake.start_day)
    rowless = [d for i in range((last - first).days + 1) if (d := first + timedelta(days=i)) not in filled]
    before = [d for d in rowless if d < start]
    return before + lake.missing(table, symbol, rowless[len(before) :])


def v6_inputs(
    lake: Lake, symbol: str, primary: Primary, trades: pl.DataFrame, book: pl.DataFrame, first: date, day: date
) -> tuple[Inputs, NotHeld]:
    """Return what V6 reads: the primary venue's minutes, other venues', perpetuals, USDT, and every slow table."""
    option_symbol = instruments.OPTION_SYMBOLS[instruments.option_currency(symbol)]
    primaries = {symbol: primary, option_symbol: instruments.primary(option_symbol, settings.load().primary)}
    slow, absent = slow_tables(lake, primaries, symbol, day, SLOW_DAYS)
    others = {v: s for v, s in instruments.PRICE_VENUES.items() if v != primary.venue}
    books = {v: s for v, s in instruments.BOOK_VENUES.items() if v != primary.venue}
    usdt = lake.scan("bars/fx_1m", MARKET_WIDE, first, day).collect()
    inputs = Inputs(
        trades=trades,
        book=_if_known(book, day),
        venue_trades=by_venue(lake.scan("bars/trades_1m", symbol, first, day), others, first, day),
        venue_books=by_venue(lake.scan("bars/book_1m", symbol, first, day), books, first, day),
        derivatives=perpetuals(lake, symbol, first, day),
        fx=_if_known(on_grid(usdt, first, day), day),
        slow=slow,
    )
    return inputs, absent


def reversion_inputs(
    lake: Lake, symbol: str, primary: Primary, trades: pl.DataFrame, book: pl.DataFrame, first: date, day: date
) -> tuple[Inputs, NotHeld]:
    """Return what mean reversion reads: the primary venue's minutes, its partner's book there, buckets, perpetuals."""
    other = lake.scan("bars/book_1m", instruments.partner(symbol), first, day)
    buckets = _of(lake.scan("bars/volume_buckets", symbol, first, day), primary).collect().sort("end_ts", "bucket_n")
    slow, absent = slow_tables(lake, {symbol: primary}, symbol, day, {"D": MONTH_DAYS})
    inputs = Inputs(
        trades=trades,
        book=_if_known(book, day),
        partner_book=_if_known(primary_minutes(other, primary, first, day), day),
        derivatives=perpetuals(lake, symbol, first, day),
        buckets=buckets if buckets.height else None,
        slow=slow,
    )
    return inputs, absent


def perpetuals(lake: Lake, symbol: str, first: date, day: date) -> dict[str, pl.DataFrame]:
    """Return the minutes of the funding venues that have the day."""
    return by_venue(lake.scan("bars/derivatives_1m", symbol, first, day), instruments.FUNDING_VENUES, first, day)


def _if_known(minutes: pl.DataFrame, day: date) -> pl.DataFrame | None:
    return minutes if minutes["day"].eq_missing(day).any() else None
