"""Laws L2 and L11 for slow tables: the oldest observation of a reach of days or hours is read, and nothing older.

A column of N observations is null with one less. Not here: rows of minutes (``test_laws.py``, ``test_null_mask.py``).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from laws.changes import values
from laws.every_source import filled
from laws.holes import windows
from laws.laws import names, same
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.market_calendar import session_days
from crpbot_dagster.tables.schema import Column


@pytest.fixture(scope="module")
def an_hour(undisturbed: Inputs) -> Inputs:
    """The last minutes of a day under tables without a null."""
    return filled(undisturbed).rows(2819, 2880)


def slow_changed(name: str, inputs: Inputs, letter: str, where: pl.Expr, factor: float) -> set[str]:
    """Columns of the last row that change when the slow rows ``where`` do."""
    frame = inputs.slow[letter]
    factors = [(c, factor ** (1 + i / 7)) for i, c in enumerate(values(frame))]  # ratios of columns must change
    numbers = [pl.when(where).then(pl.col(c) * x).otherwise(pl.col(c)).alias(c) for c, x in factors]
    changed = replace(inputs, slow={**inputs.slow, letter: frame.with_columns(numbers)})
    build = SUBJECTS[name].build
    return same(build(inputs).tail(1), build(changed).tail(1), names(SUBJECTS[name].table))


def oldest(reach: str, letter: str, newest: date | datetime) -> date | datetime:
    """The oldest observation inside a reach that ends at ``newest``."""
    count = int(re.match(r"\d+", reach)[0])
    if letter == "O":
        return newest - timedelta(hours=23)  # a day of hours
    if "NYSE" in reach:
        return date(1970, 1, 1) + timedelta(days=int(session_days((newest - date(1970, 1, 1)).days, count)[0]))
    return newest - timedelta(days=count - 1)


def known(inputs: Inputs, read: str) -> pl.DataFrame:
    """The rows that the last minute knows of a read: its table, or of that the series it names."""
    clock = "wiki_available_ts" if "wiki" in read else "available_ts"
    frame = inputs.slow[read[0]].filter(pl.col(clock) <= inputs.trades["ts"][-1])
    return frame.filter(pl.col("series_id") == read[len("M.value(") : -1]) if read[0] == "M" else frame


def clock_of(column: Column, read: str) -> str:
    """The read whose newest day ends the reach: a series decides which days of the coin are compared with it."""
    return next((r for r in column.reads if r[0] == "M"), read)


def slow_columns() -> list[tuple[str, Column, str]]:
    """(set, column, read) of every slow read; an hour, and the day beside a series of its own reach, are as they are."""
    return [
        (name, c, r)
        for name, subject in SUBJECTS.items()
        for c in subject.table.features
        if c.slow_reach and c.dtype == pl.Float64()
        for r in c.reads
        if r.partition(".")[0] in set("ODCGSAHNM") and (r[0] != "O" or c.slow_reach == "1 d")
    ]


every_slow_read = pytest.mark.parametrize(
    ("name", "column", "read"), slow_columns(), ids=lambda x: x.name if isinstance(x, Column) else str(x)
)


@every_slow_read
def test_l2_slow_reach_is_true(name: str, column: Column, read: str, an_hour: Inputs) -> None:
    letter, clock = read[0], clock_of(column, read)
    at = "hour" if letter == "O" else "obs_day"
    first = oldest(column.slow_reach, clock[0], known(an_hour, clock)[at].max())
    assert column.name not in slow_changed(name, an_hour, letter, pl.col(at) < first, 1.7)
    assert column.name in slow_changed(name, an_hour, letter, pl.col(at) == first, 3.0)


def losses(column: Column, moments: list[date | datetime]) -> Iterator[tuple[list[date | datetime], bool]]:
    """Observations to lose, and whether the column must then be null; ``moments`` are those of its reach."""
    found = windows(column)
    if not found:
        yield moments[1:-1], False
        yield moments[:1], True
        return
    runs = [(moments[-w:], w - n) for n, w in found]
    if "each" in column.valid:  # a window, and the one before it
        runs.append((moments[: -found[0][1]], runs[0][1]))
    if "NYSE" in column.slow_reach:  # each level lost from the oldest on is a return lost
        runs = [(moments, runs[0][1])]
    for of_window, spare in runs:
        yield of_window[:spare], False
        yield of_window[: spare + 1], True


@pytest.mark.parametrize(
    ("name", "column", "read"),
    [p for p in slow_columns() if p[1].valid != "asof"],
    ids=lambda x: x.name if isinstance(x, Column) else str(x),
)
def test_l11_a_slow_column_is_null_with_one_observation_too_few(
    name: str, column: Column, read: str, an_hour: Inputs
) -> None:
    letter, clock = read[0], clock_of(column, read)
    at = "hour" if letter == "O" else "obs_day"
    first = oldest(column.slow_reach, clock[0], known(an_hour, clock)[at].max())
    moments = known(an_hour, clock).filter(pl.col(at) >= first)[at].unique().sort().to_list()
    value = read.partition(".")[2].partition("(")[0]
    for lost, is_null in losses(column, moments):
        there = pl.when(~pl.col(at).is_in(lost)).then(pl.col(value)).alias(value)
        less = replace(an_hour, slow={**an_hour.slow, letter: an_hour.slow[letter].with_columns(there)})
        made = SUBJECTS[name].build(less)[column.name][-1]
        assert (made is None) == is_null, f"{len(lost)} of {len(moments)} observations lost"
