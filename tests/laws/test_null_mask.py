"""Law L11 by count: N valid rows are enough and one less is not (masks at random: ``test_laws.py``; days: ``test_slow_reach.py``)."""

from dataclasses import replace

import polars as pl
import pytest
from laws import holes
from laws.changes import values
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs

END = 1599  # in ``whole``, the last row that 25 buckets of volume reach


@pytest.mark.parametrize("name", SUBJECTS)
def test_l11_exactly_n_valid_rows_are_enough_and_one_less_is_not(name: str, whole: Inputs) -> None:
    table, build = SUBJECTS[name].table, SUBJECTS[name].build
    assert holes.miscounts(table, build, whole.rows(END - 1440, END + 1), holes.counted(table)) == set()


def test_l11_every_column_that_needs_rows_is_counted_or_named() -> None:
    need = {c.name for s in SUBJECTS.values() for c in s.table.features if c.valid != "–" and not c.slow_reach}
    counted = {c.name for s in SUBJECTS.values() for c in holes.counted(s.table)}
    assert need - counted == set(holes.NOT_COUNTED)
    assert set(holes.SPARE) <= counted


def with_venues(inputs: Inputs, group: str, kept: int) -> Inputs:
    """The inputs with so many venues of a group, the primary one counted, and no value from the others."""
    primary = 0 if group == "derivatives" else 1
    frames = getattr(inputs, group)
    silent = {v: f.with_columns(pl.lit(None, f.schema[c]).alias(c) for c in values(f)) for v, f in frames.items()}
    named = list(frames)[: kept - primary]
    return replace(inputs, **{group: {v: frames[v] if v in named else silent[v] for v in frames}})


PERPETUALS = {"funding_rate_bps_8h", "funding_dispersion_bps_8h", "basis_bps", "funding_parity_dev_bps"}


@pytest.mark.parametrize(
    ("group", "need", "columns"),
    [
        ("venue_books", 2, {"arb_net_bps"}),
        ("venue_trades", 3, {"venue_dispersion_bps"}),
        ("derivatives", 2, PERPETUALS),
    ],
)
def test_l11_a_venue_too_few_is_null(group: str, need: int, columns: set[str], whole: Inputs) -> None:
    hour = whole.rows(END - 60, END + 1)
    for subject in (SUBJECTS["v6"], SUBJECTS["mean_reversion"]):
        own = sorted(columns & {c.name for c in subject.table.features})
        enough, less = (subject.build(with_venues(hour, group, n)).tail(1) for n in (need, need - 1))
        assert [c for c in own if enough[c].null_count() or not less[c].null_count()] == []


def test_l11_vpin_is_null_with_24_buckets(whole: Inputs) -> None:
    build, hour = SUBJECTS["mean_reversion"].build, whole.rows(END - 60, END + 1)
    read = hour.buckets.filter(pl.col("end_ts") <= hour.trades["ts"][-1])
    less = replace(hour, buckets=hour.buckets.filter(pl.col("bucket_n") != read["bucket_n"][-1]))
    assert [build(inputs)["vpin"][-1] is None for inputs in (hour, less)] == [False, True]
