"""The feature tables and the labels as assets. Wiring only; the formulas are in the modules beside this one."""

import functools
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import TypeVar

import dagster as dg
import numpy as np
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.features import labels as label_rules
from crpbot_dagster.assets.features import mean_reversion as reversion
from crpbot_dagster.assets.features import multi_source
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.laws import compared, sample, unlike_alone
from crpbot_dagster.assets.features.mean_reversion import MRSettings
from crpbot_dagster.assets.features.multi_source import V6Settings
from crpbot_dagster.assets.features.price import arrays
from crpbot_dagster.assets.features.reading import SLOW_DAYS, NotHeld, primary_minutes, reversion_inputs, v6_inputs
from crpbot_dagster.assets.features.sets import SETS, mr_settings, v6_settings
from crpbot_dagster.instruments import Primary
from crpbot_dagster.partitions import split, trailing
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.sql_models import MODELS, lineage_of, read_model
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.tables.features import READ_FROM, V5

Told = TypeVar("Told", V6Settings, MRSettings)


class NoPrimaryRows(LookupError):
    """The primary source has no row on the day, and no other source may stand in for it."""


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
    """Return a set's rows of ``day``, and how many of the columns that a sample of rows compares look ahead."""
    build = SETS[name].of(symbol, primary)
    made = build(inputs)
    chosen = sample(made, symbol, day)
    broken = unlike_alone(inputs, made, build, chosen)
    facts = {"look_ahead_n": float(len(broken)), "look_ahead_compared_n": float(compared(made, chosen))}
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


def of_many_sources(
    name: str,
    context: dg.AssetExecutionContext,
    bars: tuple[pl.LazyFrame, pl.LazyFrame],
    read: Callable[..., tuple[Inputs, NotHeld]],
    told_of: Callable[[str, Primary], Told],
    absent_of: Callable[[Inputs, Told], dict[str, str]],
) -> Built:
    """Return a set that reads more than its primary source, with its settings and its empty columns as metadata.

    ``read`` takes symbol, primary, the primary source's trades and book, first and last day.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    before = day - timedelta(days=1)
    trades, book = (primary_minutes(f, primary, before, day) for f in bars)
    _require_primary(trades, primary, symbol, day)
    (inputs, not_held), told = read(symbol, primary, trades, book, before, day), told_of(symbol, primary)
    made, absent = built(name, inputs, symbol, primary, day), absent_of(inputs, told)
    rows = made.frame.lazy().collect()
    empty = [c.name for c in SETS[name].table.features if rows[c.name].null_count() == rows.height]
    why = {n: absent.get(n, "too few valid rows or days") for n in empty}
    stated = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(told).items()}
    notes = {
        "settings": dg.MetadataValue.json(stated),
        "empty_columns": dg.MetadataValue.json(why),
        "days_not_in_the_lake": dg.MetadataValue.json(not_held),
    }
    return replace(made, notes={**made.notes, **notes})


@table_asset(
    "features/v6",
    kinds={"polars", "numba"},
    tags={"feature_set": "v6"},
    reads={"trades": ("bars/trades_1m", trailing(1)), "book": ("bars/book_1m", trailing(1))},
    after=("bars/derivatives_1m", "bars/fx_1m", *(READ_FROM[letter] for letter in SLOW_DAYS)),
    code_version="1",
)
def v6(context: dg.AssetExecutionContext, trades: pl.LazyFrame, book: pl.LazyFrame, lake: Lake) -> Built:
    """One row per minute: 100 features of prices, venues, perpetuals, options, and what is known by the day.

    Reads the minutes of the day and the day before, and slow tables as far back as they reach. What the lake does not
    hold makes nulls; the metadata says which and why.
    """
    read = functools.partial(v6_inputs, lake)
    return of_many_sources("v6", context, (trades, book), read, v6_settings, multi_source.absent)


@table_asset(
    "features/mean_reversion",
    kinds={"polars", "numba"},
    tags={"feature_set": "mean_reversion"},
    reads={"trades": ("bars/trades_1m", trailing(1)), "book": ("bars/book_1m", trailing(1))},
    after=("bars/volume_buckets", "bars/derivatives_1m", "bars/daily"),
    code_version="1",
)
def mean_reversion(context: dg.AssetExecutionContext, trades: pl.LazyFrame, book: pl.LazyFrame, lake: Lake) -> Built:
    """One row per minute: 60 features of how far a price strayed, how fast it returns and who is pushing it.

    Reads the minutes of the day and the day before, the partner's book if the lake holds it by then, and a month of
    daily funding. What the lake does not hold makes nulls; the metadata says which and why.
    """
    read = functools.partial(reversion_inputs, lake)
    return of_many_sources("mean_reversion", context, (trades, book), read, mr_settings, reversion.absent)


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


COVERAGE = read_model(MODELS / "features" / "coverage.sql")
COVERAGE_LINEAGE = lineage_of(COVERAGE)


@table_asset("features/coverage", kinds={"duckdb"}, after=COVERAGE.inputs, code_version="1")
def coverage(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Built:
    """One row per feature: in how many minutes of the day it has a value, from SQL.

    Reads the day of every feature set.
    """
    symbol, day = split(context.partition_key)
    frame, facts = warehouse.made(COVERAGE, symbol, day)
    return Built(frame, "complete", "sql", facts, {"dagster/column_lineage": COVERAGE_LINEAGE})


ASSETS = (v4, v5, v6, mean_reversion, labels, coverage)
