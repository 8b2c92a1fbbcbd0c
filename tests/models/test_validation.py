from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpbot_dagster.assets.models.validation import (
    Split,
    effective_n,
    mean_uniqueness,
    purge,
    split_days,
)

MINUTE_US = 60_000_000
LABELS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=25)
steady = settings(derandomize=True, deadline=None, max_examples=150)


def columns(labels):
    start = np.array([first for first, _ in labels], dtype=np.int64)
    return start, start + np.array([life for _, life in labels], dtype=np.int64)


def naive_mean_uniqueness(start, end):
    """One over the labels alive, tick by tick, averaged over each life and then over labels."""
    total = 0.0
    for first, last in zip(start, end, strict=True):
        shares = [1 / np.sum((start <= tick) & (tick < end)) for tick in range(first, last)]
        total += sum(shares) / len(shares)
    return total / len(start)


def naive_purge(start, end, tests, embargo):
    """Moment by moment: a train label may share no tick with a test segment, nor start in its embargo."""
    keep = []
    for first, last in zip(start, end, strict=True):
        life = set(range(first, last + 1))
        clean = all(not life & set(range(a, b + 1)) for a, b in tests)
        keep.append(clean and all(first not in range(b + 1, b + embargo + 1) for _, b in tests))
    return np.array(keep)


def test_purge_golden_of_ten_daily_samples():
    start = np.arange(10, dtype=np.int64)
    end = start + 2
    keep = purge(start, end, [(5, 11)], 0)
    assert np.flatnonzero(keep).tolist() == [0, 1, 2]  # a well-known library leaves 3 and 4


def test_purge_golden_in_datetimes():
    start = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]").astype("datetime64[us]")
    end = start + np.timedelta64(2, "D")
    keep = purge(start, end, [(np.datetime64("2024-01-06"), np.datetime64("2024-01-12"))], timedelta(0))
    assert np.flatnonzero(keep).tolist() == [0, 1, 2]
    early = purge(start, end, [(np.datetime64("2024-01-01"), np.datetime64("2024-01-03"))], timedelta(days=2))
    assert np.flatnonzero(early).tolist() == [5, 6, 7, 8, 9]


def test_purge_acts_on_each_segment_and_not_on_the_gap_between_them():
    start = np.arange(30, dtype=np.int64)
    keep = purge(start, start + 2, [(5, 9), (20, 22)], 0)
    assert np.flatnonzero(~keep).tolist() == [*range(3, 10), *range(18, 23)]


def test_embargo_follows_each_segment():
    start = np.arange(30, dtype=np.int64)
    keep = purge(start, start + 2, [(5, 9), (20, 22)], 3)
    assert np.flatnonzero(~keep).tolist() == [*range(3, 13), *range(18, 26)]


@steady
@given(
    labels=LABELS,
    tests=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), min_size=1, max_size=3),
    embargo=st.integers(0, 6),
)
def test_purge_equals_its_naive_twin(labels, tests, embargo):
    start, end = columns(labels)
    segments = [(first, first + length) for first, length in tests]
    assert purge(start, end, segments, embargo).tolist() == naive_purge(start, end, segments, embargo).tolist()


@steady
@given(labels=LABELS, first=st.integers(0, 40), length=st.integers(0, 8), embargo=st.integers(0, 5))
def test_a_longer_embargo_never_keeps_more(labels, first, length, embargo):
    start, end = columns(labels)
    less = purge(start, end, [(first, first + length)], embargo + 1)
    more = purge(start, end, [(first, first + length)], embargo)
    assert not np.any(less & ~more)


@pytest.mark.parametrize(
    ("end", "tests", "embargo", "error", "says"),
    [
        (np.array([2, 3]), [], 0, ValueError, "no test segment"),
        (np.array([2, 3]), [(5, 4)], 0, ValueError, "ends before it starts"),
        (np.array([2, 3]), [(5, 6)], -1, ValueError, "negative"),
        (np.array([-1, 3]), [(5, 6)], 0, ValueError, "ends before it starts"),
        (np.array([2, 3, 4]), [(5, 6)], 0, ValueError, "same length"),
        (np.array([2.0, 3.0]), [(5, 6)], 0, TypeError, "int64 or datetime64"),
        (
            np.array([2, 3]),
            [(np.datetime64("2024-01-01"), np.datetime64("2024-01-02"))],
            0,
            TypeError,
            "kind",
        ),
        (np.array([2, 3]), [(5, 6)], timedelta(minutes=1), TypeError, "datetime64"),
    ],
)
def test_purge_refuses(end, tests, embargo, error, says):
    with pytest.raises(error, match=says):
        purge(np.array([0, 1]), end, tests, embargo)


def test_purge_refuses_times_without_unit_or_value():
    start = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[us]")
    tests = [(np.datetime64("2024-02-01"), np.datetime64("2024-02-02"))]
    with pytest.raises(TypeError, match="no unit"):
        purge(start, start, tests, 60)
    with pytest.raises(ValueError, match="missing time"):
        purge(start, np.array(["2024-01-01", "NaT"], dtype="datetime64[us]"), tests, 0)
    with pytest.raises(TypeError, match=r"datetime64\[us\]"):
        purge(start.astype("datetime64[ns]"), start.astype("datetime64[ns]"), tests, 0)


@steady
@given(labels=LABELS)
def test_mean_uniqueness_equals_its_naive_twin(labels):
    start, end = columns(labels)
    assert mean_uniqueness(start, end) == pytest.approx(naive_mean_uniqueness(start, end), rel=1e-12)


@steady
@given(labels=LABELS, shift=st.integers(-(10**15), 10**15), scale=st.integers(1, MINUTE_US))
def test_mean_uniqueness_knows_no_origin_and_no_unit(labels, shift, scale):
    start, end = columns(labels)
    moved = mean_uniqueness(start * scale + shift, end * scale + shift)
    assert moved == pytest.approx(mean_uniqueness(start, end), rel=1e-9)


def test_mean_uniqueness_of_overlapping_and_of_lone_labels():
    assert mean_uniqueness(np.array([0, 5, 20]), np.array([5, 10, 30])) == 1.0
    assert mean_uniqueness(np.array([3, 3, 3, 3]), np.array([9, 9, 9, 9])) == 0.25
    assert mean_uniqueness(np.array([0, 1]), np.array([2, 3])) == pytest.approx(0.75)


def test_a_dense_day_of_15_minute_labels_is_worth_96():
    start = np.arange(1440, dtype=np.int64) * MINUTE_US
    end = start + 15 * MINUTE_US
    assert effective_n(start, end) == pytest.approx((1440 + 14) / 15)
    many = np.arange(28 * 1440, dtype=np.int64)
    assert mean_uniqueness(many, many + 15) == pytest.approx(1 / 15, rel=1e-3)
    times = start.view("datetime64[us]")
    assert effective_n(times, times + np.timedelta64(15, "m")) == effective_n(start, end)


def test_no_label_is_worth_nothing():
    none = np.array([], dtype=np.int64)
    assert effective_n(none, none) == 0.0
    with pytest.raises(ValueError, match="no labels"):
        mean_uniqueness(none, none)


def test_an_empty_life_is_refused():
    with pytest.raises(ValueError, match="end after it starts"):
        mean_uniqueness(np.array([0, 5]), np.array([3, 5]))


def test_split_days_end_on_the_last_known_day():
    split = split_days(date(2024, 3, 10), 5, 2, 3)
    assert split == Split(
        fit=(date(2024, 3, 1), date(2024, 3, 5)),
        stop=(date(2024, 3, 6), date(2024, 3, 7)),
        calibrate=(date(2024, 3, 8), date(2024, 3, 10)),
    )


@steady
@given(fit=st.integers(1, 400), stop=st.integers(1, 60), calibrate=st.integers(1, 60))
def test_split_days_are_consecutive_and_have_their_lengths(fit, stop, calibrate):
    ranges = list(split_days(date(2024, 3, 10), fit, stop, calibrate))
    assert [(last - first).days + 1 for first, last in ranges] == [fit, stop, calibrate]
    assert ranges[2][1] == date(2024, 3, 10)
    assert all(b[0] - a[1] == timedelta(days=1) for a, b in pairwise(ranges))


@pytest.mark.parametrize("lengths", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-3, 1, 1)])
def test_split_days_refuses_an_empty_range(lengths):
    with pytest.raises(ValueError, match="at least 1"):
        split_days(date(2024, 3, 10), *lengths)


def test_split_days_refuses_a_moment():
    with pytest.raises(TypeError, match="must be a date"):
        split_days(datetime(2024, 3, 10, tzinfo=UTC), 1, 1, 1)
