"""The feature tables and the labels as assets. Wiring only; the formulas are in the modules beside this one."""

from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.bars.tape import minute_grid
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.features import labels as label_rules
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.laws import sample, unlike_alone
from crpbot_dagster.assets.features.price import arrays
from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.instruments import Primary
from crpbot_dagster.partitions import split, trailing
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.features import V5


class NoPrimaryRows(LookupError):
    """The primary source has no row on the day, and no other source may stand in for it."""


def primary_minutes(bars: pl.LazyFrame, primary: Primary, first: date, last: date) -> pl.DataFrame:
    """Return one source's bars on the dense grid ``first`` … ``last``; absent minutes are rows of nulls."""
    rows = bars.filter((pl.col("venue") == primary.venue) & (pl.col("source") == primary.source)).collect()
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    grid = pl.concat([minute_grid(d) for d in days])
    return grid.join(rows, on="ts", how="left", maintain_order="left")


def _own_day(frame: pl.DataFrame, symbol: str, venue: str, day: date) -> pl.DataFrame:
    return frame.filter(pl.col("ts").dt.date() == day).with_columns(
        pl.lit(symbol).alias("symbol"), pl.lit(day).alias("day"), pl.lit(venue).alias("venue")
    )


def _require_primary(minutes: pl.DataFrame, primary: Primary, symbol: str, day: date) -> None:
    if minutes.filter(pl.col("day") == day).is_empty():
        candles = f'CRPBOT_PRIMARY=\'{{"{symbol}": "coinbase/coinbase"}}\''
        remedy = f"Add its key (CRPBOT_TARDIS_API_KEY), or use free candles: {candles}"
        if primary.source != "tardis":
            remedy = "The source served nothing for the day: look at the raw table's state"
        raise NoPrimaryRows(
            f"{symbol} {day}: the primary source {primary.source} at {primary.venue} has no bars. {remedy}"
        )


def built(name: str, inputs: Inputs, symbol: str, primary: Primary, day: date, **notes: object) -> Built:
    """Return a set's rows of ``day``, and how many of its columns a sample of rows finds to look ahead."""
    made = SETS[name].build(inputs)
    broken = unlike_alone(inputs, made, SETS[name], sample(symbol, day, made.height))
    facts = {"look_ahead_n": float(len(broken))}
    rows = _own_day(made, symbol, primary.venue, day)
    return Built(rows, "complete", primary.source, facts, notes | ({"look_ahead": broken} if broken else {}))


@table_asset(
    "features/v4",
    kinds={"polars", "numba"},
    tags={"feature_set": "v4"},
    reads={"trades": ("bars/trades_1m", trailing(1))},
    code_version="1",
)
def v4(context: dg.AssetExecutionContext, trades: pl.LazyFrame) -> Built:
    """One row per minute: 33 features from prices and volumes, three volatility-regime flags beside them.

    Reads the primary source's minutes of the day and the day before; candles are enough.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    minutes = primary_minutes(trades, primary, day - timedelta(days=1), day)
    _require_primary(minutes, primary, symbol, day)
    return built("v4", Inputs(trades=minutes), symbol, primary, day)


@table_asset(
    "features/v5",
    kinds={"polars", "numba"},
    tags={"feature_set": "v5"},
    reads={"trades": ("bars/trades_1m", trailing(1)), "book": ("bars/book_1m", trailing(1))},
    code_version="1",
)
def v5(context: dg.AssetExecutionContext, trades: pl.LazyFrame, book: pl.LazyFrame) -> Built:
    """One row per minute: V4 and 20 features of the order book and the tape; null where there is no book.

    Reads the primary source's minutes of the day and the day before.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    before = day - timedelta(days=1)
    minutes = primary_minutes(trades, primary, before, day)
    _require_primary(minutes, primary, symbol, day)
    quotes = primary_minutes(book, primary, before, day)
    seen = int(quotes.filter(pl.col("day") == day)["mid"].count())
    return built("v5", Inputs(trades=minutes, book=quotes), symbol, primary, day, minutes_with_a_book=seen)


@table_asset(
    "features/labels",
    kinds={"polars", "numba"},
    reads={"features": "features/v5"},
    after=("bars/trades_1m", "bars/book_1m"),
    code_version="1",
)
def labels(context: dg.AssetExecutionContext, features: pl.LazyFrame, lake: Lake) -> Built:
    """One row per minute: what happened in the minutes after it; built once the next day is in the lake.

    Reads the bars of the day and the next. The features are only measured against the label, never joined.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    after = day + timedelta(days=1)
    source = label_rules.PRICE_SOURCE[primary.source]
    trades = primary_minutes(lake.window("bars/trades_1m", symbol, day, after), primary, day, after)
    book = primary_minutes(lake.window("bars/book_1m", symbol, day, after), primary, day, after)
    made = _own_day(label_rules.labels(trades, book, source), symbol, primary.venue, day)
    worst = largest_correlation(features.sort("ts").collect(), made)
    return Built(made, "complete", f"{primary.source} ({source})", worst)


def largest_correlation(features: pl.DataFrame, labels: pl.DataFrame) -> dict[str, float]:
    """Return the largest |Pearson correlation| of a feature with the 15-minute return of its minute, as a fact.

    Features in fewer than 100 labelled minutes, or constant, are left out; {} when none is left.
    """
    (y,) = arrays(labels.sort("ts"), "y_ret_15m")
    found = []
    for x in arrays(features, *(c.name for c in V5.features if c.is_input)):
        both = ~(np.isnan(x) | np.isnan(y))
        if both.sum() >= 100 and x[both].std() > 0 and y[both].std() > 0:
            found.append(abs(float(np.corrcoef(x[both], y[both])[0, 1])))
    return {"label_correlation": max(found)} if found else {}


ASSETS = (v4, v5, labels)
