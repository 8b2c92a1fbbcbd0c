"""The feature sets by name: each one's table and the function that builds it from the inputs.

Not here: the formulas (one module per set), reading the lake (``assets.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.tables.features import V4, V5
from crpbot_dagster.tables.schema import Table


@dataclass(frozen=True)
class FeatureSet:
    """A table of features and its function: one row per minute of ``inputs.trades``."""

    table: Table
    build: Callable[[Inputs], pl.DataFrame]


def _v5(inputs: Inputs) -> pl.DataFrame:
    absent = inputs.trades.select("ts")
    return v5(inputs.trades, absent if inputs.book is None else inputs.book)


SETS = {"v4": FeatureSet(V4, lambda inputs: v4(inputs.trades)), "v5": FeatureSet(V5, _v5)}
