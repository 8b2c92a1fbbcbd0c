"""From feature tables to model inputs: the transforms of docs/conventions.md, and labelled samples.

A row with a missing input or label is left out and counted, never filled. Not here: scaling (it is fitted
on train rows, in the model) and which days train (``models/validation.py``).
"""

from dataclasses import dataclass, replace

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
    columns: list[Floats] = []
    for c, x in input_values(frame, table).items():
        if c.transform == "category":
            columns += [np.where(np.isnan(x), np.nan, (x == v).astype(float)) for v in _values(c)[1:]]
        else:
            columns.append(x)
    return np.column_stack(columns)


def input_values(frame: pl.DataFrame, table: Table) -> dict[Column, Floats]:
    """Return each column that a model reads, transformed, float64[rows]; a category is still one column, as stored.

    Raises
    ------
    ValueError
        A transform is unknown.
    """
    close = arrays(frame, "close")[0] if "close" in frame.columns else np.full(frame.height, np.nan)
    made: dict[Column, Floats] = {}
    for c in table.features:
        if not c.is_input:
            continue
        (x,) = arrays(frame, c.name)
        with np.errstate(divide="ignore", invalid="ignore"):
            if c.transform in ("as_is", "category"):
                made[c] = x
            elif c.transform == "log_vs_close":
                made[c] = np.log(x / close)
            elif c.transform == "over_close":
                made[c] = x / close
            elif c.transform == "log1p":
                made[c] = np.log1p(x)
            else:
                raise ValueError(f"{c.name}: unknown model input transform {c.transform!r}")
    return made


def _values(column: Column) -> tuple[float, ...]:
    return column.limits.members


Ints = NDArray[np.int64]
MINUTES_A_DAY = 1_440


@dataclass(frozen=True)
class Samples:
    """Labelled rows in time order, each with the minutes a model may look back on.

    ``minutes`` int64[m] (since the epoch) and ``inputs`` float64[m, k] hold every minute seen, NaN where an input is
    missing; ``rows`` int64[n] says where each sample ends in them. ``y`` is 0 or 1, ``start`` and ``end`` are the life
    [start, end) of each label.
    """

    minutes: Ints
    inputs: Floats
    rows: Ints
    y: NDArray[np.int8]
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]

    @property
    def x(self) -> Floats:
        """The inputs of each sample's own minute, float64[n, k]."""
        return np.asarray(self.inputs[self.rows])

    @property
    def rows_seen(self) -> int:
        """Minutes seen, before those without a label or with a missing input were left out."""
        return len(self.minutes)

    def take(self, mask: NDArray[np.bool_]) -> "Samples":
        """Return the samples where ``mask`` is true; the minutes they look back on stay."""
        return replace(self, rows=self.rows[mask], y=self.y[mask], start=self.start[mask], end=self.end[mask])


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


def complete(minutes: Ints, x: Floats, sequence: int) -> NDArray[np.bool_]:
    """Return where a model has all it reads: ``sequence`` minutes in a row, without a gap, no input missing.

    Parameters
    ----------
    minutes : int64[m], since the epoch, rising; one symbol
    x : float64[m, k], NaN where an input is missing
    sequence : minutes read, own minute included

    Returns
    -------
    bool[m]; element ``i`` reads rows ``i - sequence + 1`` to ``i``
    """
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(x).all(axis=1))
    follows = np.concatenate([[False], (np.diff(minutes) == 1) & whole[:-1]])
    first = np.maximum.accumulate(np.where(follows, 0, np.arange(len(minutes))))  # where the unbroken run began
    return np.asarray(whole & (np.arange(len(minutes)) - first + 1 >= sequence))


def minutes_of(ts: pl.Series) -> Ints:
    """Return the minutes since the epoch of a column of times."""
    return ts.dt.epoch("s").to_numpy() // 60


def samples(features: pl.DataFrame, labels: pl.DataFrame, table: Table, sequence: int) -> Samples:
    """Join features and labels on the minute and keep the samples that are complete over ``sequence`` minutes."""
    keys = ["symbol", "venue", "ts"]
    joined = features.join(
        labels.select(*keys, "y_up_15m", "label_end_ts_15m"), on=keys, how="left", validate="1:1"
    ).sort("ts")
    x, minutes = inputs(joined, table), minutes_of(joined["ts"])
    known = complete(minutes, x, sequence) & joined["y_up_15m"].is_not_null().to_numpy()
    kept = joined.filter(pl.Series(known))
    known_at = kept["ts"].dt.offset_by("1m").dt.replace_time_zone(None)
    return Samples(
        minutes,
        x,
        np.flatnonzero(known),
        kept["y_up_15m"].to_numpy(),
        known_at.to_numpy(),
        kept["label_end_ts_15m"].dt.replace_time_zone(None).to_numpy(),
    )
