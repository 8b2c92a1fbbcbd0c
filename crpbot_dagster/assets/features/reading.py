"""Reading the lake for features: what it holds of a symbol's day and the day before, side by side on one dense grid.

Of the sources beside the primary one only what is there is read; what is not is absent in the inputs, and the sets say
which of their columns that empties. Not here: the formulas, the assets (``assets.py``).
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from crpbot_dagster import instruments
from crpbot_dagster.assets.bars.tape import minute_grid
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.instruments import Primary
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.tables.features import READ_FROM
from crpbot_dagster.tables.schema import MARKET_WIDE

SLOW_DAYS = {"O": 3, "D": 400, "C": 45, "G": 45, "S": 45, "A": 45, "H": 60, "N": 90, "M": 75}
"""Letter of a slow table → the days read before the day: its longest look-back and its maximum age, and some over."""


def primary_minutes(bars: pl.LazyFrame, primary: Primary, first: date, last: date) -> pl.DataFrame:
    """Return one source's bars on the dense grid ``first`` … ``last``; absent minutes are rows of nulls."""
    rows = bars.filter((pl.col("venue") == primary.venue) & (pl.col("source") == primary.source)).collect()
    return on_grid(rows, first, last)


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


def slow_tables(lake: Lake, symbol: str, day: date, letters: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Return the slow tables by letter, as far back as their features reach; one without rows is left out.

    ``D`` has the daily rows of the option currency's symbol beside the symbol's own.
    """
    found = {}
    option_symbol = instruments.OPTION_SYMBOLS[instruments.option_currency(symbol)]
    for letter in letters:
        symbols = sorted({symbol, option_symbol}) if letter == "D" else [symbol]
        first = day - timedelta(days=SLOW_DAYS[letter])
        rows = pl.concat([lake.scan(READ_FROM[letter], s, first, day).collect() for s in symbols])
        if rows.height:
            found[letter] = rows
    return found


def v6_inputs(
    lake: Lake, symbol: str, primary: Primary, trades: pl.DataFrame, book: pl.DataFrame, first: date, day: date
) -> Inputs:
    """Return what V6 reads: the primary venue's minutes, other venues', perpetuals, USDT, and every slow table."""
    others = {v: s for v, s in instruments.PRICE_VENUES.items() if v != primary.venue}
    books = {v: s for v, s in instruments.BOOK_VENUES.items() if v != primary.venue}
    usdt = lake.scan("bars/fx_1m", MARKET_WIDE, first, day).collect()
    return Inputs(
        trades=trades,
        book=_if_known(book, day),
        venue_trades=by_venue(lake.scan("bars/trades_1m", symbol, first, day), others, first, day),
        venue_books=by_venue(lake.scan("bars/book_1m", symbol, first, day), books, first, day),
        derivatives=perpetuals(lake, symbol, first, day),
        fx=_if_known(on_grid(usdt, first, day), day),
        slow=slow_tables(lake, symbol, day, tuple(SLOW_DAYS)),
    )


def reversion_inputs(
    lake: Lake, symbol: str, primary: Primary, trades: pl.DataFrame, book: pl.DataFrame, first: date, day: date
) -> Inputs:
    """Return what mean reversion reads: the primary venue's minutes, its partner's book there, buckets, perpetuals."""
    other = lake.scan("bars/book_1m", instruments.partner(symbol), first, day)
    buckets = (
        lake.scan("bars/volume_buckets", symbol, first, day)
        .filter(pl.col("venue") == primary.venue, pl.col("source") == primary.source)
        .collect()
        .sort("end_ts", "bucket_n")
    )
    return Inputs(
        trades=trades,
        book=_if_known(book, day),
        partner_book=_if_known(primary_minutes(other, primary, first, day), day),
        derivatives=perpetuals(lake, symbol, first, day),
        buckets=buckets if buckets.height else None,
        slow=slow_tables(lake, symbol, day, ("D",)),
    )


def perpetuals(lake: Lake, symbol: str, first: date, day: date) -> dict[str, pl.DataFrame]:
    """Return the minutes of the funding venues that have the day."""
    return by_venue(lake.scan("bars/derivatives_1m", symbol, first, day), instruments.FUNDING_VENUES, first, day)


def _if_known(minutes: pl.DataFrame, day: date) -> pl.DataFrame | None:
    return minutes if minutes["day"].eq_missing(day).any() else None
