"""From feature tables to model inputs: the transforms of docs/conventions.md, and labelled samples.

A row with a missing input or label is left out and counted, never filled. Not here: scaling (it is fitted
on train rows, in the model) and which days train (``models/validation.py``).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.features.price import arrays
from crpbot_dagster.tables.schema import Column, Table

Floats = NDArray[np.float64]


def input_names(table: Table) -> tuple[str, ...]:
    """Return the model inputs in order; a category becomes one column per value but the first."""
    names: list[str] = []
    for c in table.features:
        if c.transform == "category":
            names += [f"{c.name}={v:.0f}" for v in _values(c)[1:]]
        elif c.is_input:
            names.append(c.name)
    return tuple(names)


def inputs(frame: pl.DataFrame, table: Table) -> Floats:
    """Return the transformed inputs, float64[rows, len(input_names)], NaN where a value is null.

    Raises
    ------
    ValueError
        A transform is unknown.
    """
    (close,) = arrays(frame, "close")
    columns: list[Floats] = []
    for c in table.features:
        if not c.is_input:
            continue
        (x,) = arrays(frame, c.name)
        with np.errstate(divide="ignore", invalid="ignore"):
            if c.transform == "category":
                columns += [np.where(np.isnan(x), np.nan, (x == v).astype(float)) for v in _values(c)[1:]]
            elif c.transform == "as_is":
                columns.append(x)
            elif c.transform == "log_vs_close":
                columns.append(np.log(x / close))
            elif c.transform == "over_close":
                columns.append(x / close)
            elif c.transform == "log1p":
                columns.append(np.log1p(x))
            else:
                raise ValueError(f"{c.name}: unknown model input transform {c.transform!r}")
    return np.column_stack(columns)


def _values(column: Column) -> tuple[float, ...]:
    return column.limits.members


@dataclass(frozen=True)
class Samples:
    """Labelled rows in time order: ``x`` float64[n, k], ``y`` 0 or 1, and the life [start, end) of each label."""

    x: Floats
    y: NDArray[np.int8]
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]
    rows_seen: int  # before rows without a label or with a missing input were left out

    def take(self, mask: NDArray[np.bool_]) -> "Samples":
        """Return the rows where ``mask`` is true."""
        return Samples(self.x[mask], self.y[mask], self.start[mask], self.end[mask], self.rows_seen)


class MixedSources(ValueError):
    """The labels of a window were made from several price sources, or from another than the settings name."""


def require_source(labels: pl.DataFrame, expected: str) -> None:
    """Refuse labels that were not all made from the price source ``expected`` (mid, trade or ohlcv).

    Raises
    ------
    MixedSources
        Days built under another primary source lie in the window.
    """
    found = set(labels["price_source"].unique())
    if found != {expected}:
        days = labels.filter(pl.col("price_source") != expected)["day"]
        raise MixedSources(
            f"labels from {days.min()!s} to {days.max()!s} were made from {', '.join(sorted(found - {expected}))}, the "
            f"primary source gives {expected}: build the features of those days again"
        )


def samples(features: pl.DataFrame, labels: pl.DataFrame, table: Table) -> Samples:
    """Join features and labels on the minute and keep the complete rows, sorted by time."""
    keys = ["symbol", "venue", "ts"]
    joined = features.join(
        labels.select(*keys, "y_up_15m", "label_end_ts_15m"), on=keys, how="inner", validate="1:1"
    ).sort("ts")
    x = inputs(joined, table)
    known = np.isfinite(x).all(axis=1) & joined["y_up_15m"].is_not_null().to_numpy()
    kept = joined.filter(pl.Series(known))
    known_at = kept["ts"].dt.offset_by("1m").dt.replace_time_zone(None)
    return Samples(
        x[known],
        kept["y_up_15m"].to_numpy(),
        known_at.to_numpy(),
        kept["label_end_ts_15m"].dt.replace_time_zone(None).to_numpy(),
        joined.height,
    )
