"""What the laws are asked of: every feature set with its table, what builds it and its slow twin.

A new set is under all laws by a line in ``SUBJECTS``. Not here: the laws (``laws.py``), the markets (``every_source.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import naive
import naive_v6
import polars as pl
from laws.every_source import MR_SETTINGS, SETTINGS
from naive_mr import Twin

from crpbot_dagster.assets.features import mean_reversion, multi_source
from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.tables.features import V4, V5
from crpbot_dagster.tables.features_mr import MEAN_REVERSION
from crpbot_dagster.tables.features_v6 import V6
from crpbot_dagster.tables.schema import Table


@dataclass(frozen=True)
class Subject:
    """``twin`` returns the given rows only: ``twin_rows``, as many as it has time for."""

    table: Table
    build: Build
    twin: Callable[[Inputs, list[int]], pl.DataFrame]
    twin_rows: tuple[int, ...]


def _early_and_late(
    twin: Callable[..., pl.DataFrame], frames: tuple[pl.DataFrame, ...], rows: list[int]
) -> pl.DataFrame:
    """A twin of whole frames, asked for rows from the first on and for some after ``EARLY``, on a day of their own."""
    found = []
    for chosen in ([r for r in rows if r < EARLY], [r for r in rows if r >= EARLY]):
        if chosen:
            first = max(0, chosen[0] - 1440)
            made = twin(*(f[first : chosen[-1] + 1] for f in frames))
            found.append(made[[r - first for r in chosen]])
    return pl.concat(found)


def _v4_twin(inputs: Inputs, rows: list[int]) -> pl.DataFrame:
    return _early_and_late(naive.v4, (inputs.trades,), rows)


def _v5_twin(inputs: Inputs, rows: list[int]) -> pl.DataFrame:
    return _early_and_late(naive.v5, (inputs.trades, inputs.book), rows)


def _mr_twin(inputs: Inputs, rows: list[int]) -> pl.DataFrame:
    twin = Twin(inputs)
    return pl.DataFrame([twin.row(t) for t in rows], infer_schema_length=None)


EARLY = 1460
EDGES = (0, 1, 5, 14, 16, 59, 60, 61, 191, 240, 241, 300, 575, 577, 720, 1208, 1379, 1439, 1440, 1682, 2211, 2880, 3333)
SUBJECTS = {
    "v4": Subject(V4, lambda i: v4(i.trades), _v4_twin, (*range(EARLY), *range(3080, 3110))),
    "v5": Subject(V5, lambda i: v5(i.trades, i.book), _v5_twin, (*range(EARLY), *range(3080, 3110))),
    "v6": Subject(
        V6,
        lambda i: multi_source.build(i, SETTINGS),
        lambda i, rows: naive_v6.v6(i, SETTINGS, rows),
        (700, 1439, 1609, 1666, 2222, 2700, 3331, *range(4312, 4320)),
    ),
    "mean_reversion": Subject(
        MEAN_REVERSION, lambda i: mean_reversion.build(i, MR_SETTINGS), _mr_twin, (*EDGES, *range(4312, 4320))
    ),
}
