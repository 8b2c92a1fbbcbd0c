"""Law L2 for slow tables: the oldest observation of a reach of days or hours is read, and nothing older."""

import re
from dataclasses import replace
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from laws import laws
from laws.every_source import filled
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.market_calendar import session_days

OWN = {"v6": {"symbol": "ETH-USD", "currency": "ETH"}, "mean_reversion": {"symbol": "BTC-USD"}}


@pytest.fixture(scope="module")
def an_hour(everything: Inputs) -> Inputs:
    """The last minutes of a day under tables without a null."""
    return filled(everything).rows(2819, 2880)


def slow_changed(name: str, inputs: Inputs, letter: str, where: pl.Expr, factor: float) -> set[str]:
    """Columns of the last row that change when the slow rows ``where`` do."""
    frame = inputs.slow[letter]
    factors = [(c, factor ** (1 + i / 7)) for i, c in enumerate(laws.values(frame))]  # ratios of columns must change
    numbers = [pl.when(where).then(pl.col(c) * x).otherwise(pl.col(c)).alias(c) for c, x in factors]
    changed = replace(inputs, slow={**inputs.slow, letter: frame.with_columns(numbers)})
    build = SUBJECTS[name].build
    return laws.same(build(inputs).tail(1), build(changed).tail(1), laws.names(SUBJECTS[name].table))


def oldest(reach: str, letter: str, newest: date | datetime) -> date | datetime:
    """The oldest observation inside a reach that ends at ``newest``."""
    count = int(re.match(r"\d+", reach)[0])
    if letter == "O":
        return newest - timedelta(hours=23)  # a day of hours
    if "NYSE" in reach:
        return date(1970, 1, 1) + timedelta(days=int(session_days((newest - date(1970, 1, 1)).days, count)[0]))
    return newest - timedelta(days=count - 1)


def slow_reads() -> set[tuple[str, str, str]]:
    """(set, reach, read) of every slow read; an hour, and the other table's days beside a daily one, are as they are."""
    found = {
        (name, c.slow_reach, r)
        for name, subject in SUBJECTS.items()
        for c in subject.table.features
        if c.slow_reach and c.dtype == pl.Float64()
        for r in c.reads
        if r.partition(".")[0] in set("ODCGSAHNM")
    }
    return {(name, reach, r) for name, reach, r in found if (r[0] != "O" or reach == "1 d") and r != "D.close"}


@pytest.mark.parametrize(("name", "reach", "read"), sorted(slow_reads()))
def test_l2_slow_reach_is_true(name: str, reach: str, read: str, an_hour: Inputs) -> None:
    letter = read[0]
    clock = "wiki_available_ts" if "wiki" in read else "available_ts"
    frame = an_hour.slow[letter].filter(pl.col(clock) <= an_hour.trades["ts"][-1])
    if letter == "M":
        frame = frame.filter(pl.col("series_id") == read[len("M.value(") : -1])
    at = "hour" if letter == "O" else "obs_day"
    first = oldest(reach, letter, frame[at].max())
    readers = {c.name for c in SUBJECTS[name].table.features if c.slow_reach == reach and read in c.reads}
    assert not readers & slow_changed(name, an_hour, letter, pl.col(at) < first, 1.7)
    assert readers <= slow_changed(name, an_hour, letter, pl.col(at) == first, 3.0)
