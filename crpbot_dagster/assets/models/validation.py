"""Which rows may train and which may test, and how many independent labels a sample holds.

What is computed from predictions lives in ``metrics.py``; what a number must reach lives in
``promotion/gates.py``. Nothing here reads a price, a label's value or the clock.

López de Prado (2018), Advances in Financial Machine Learning ("AFML"), ch. 4 (uniqueness) and 7 (purging).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Times: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.datetime64]
Time: TypeAlias = int | np.int64 | np.datetime64
Span: TypeAlias = int | np.int64 | np.timedelta64 | timedelta
DayRange: TypeAlias = tuple[date, date]


@dataclass(frozen=True)
class Split:
    """Three inclusive day ranges ``(first, last)`` in time order; iterates as fit, stop, calibrate."""

    fit: DayRange
    stop: DayRange
    calibrate: DayRange

    def __iter__(self) -> Iterator[DayRange]:
        return iter((self.fit, self.stop, self.calibrate))


def split_days(last_known_day: date, fit_days: int, stop_days: int, calibrate_days: int) -> Split:
    """Return the consecutive day ranges a model fits, stops early and calibrates on.

    Days only: labels that reach over a boundary between two ranges are the business of ``purge``.

    Parameters
    ----------
    last_known_day : UTC day
        Last day the model is allowed to see; the last day of the calibration range.
    fit_days, stop_days, calibrate_days : days, each at least 1
        Lengths of the three ranges.

    Returns
    -------
    Split
        Fit first, then stop, then calibrate, which ends on ``last_known_day``; no day in two ranges, none
        between.

    Source
    ------
    López de Prado (2018), AFML, ch. 7: calibrate on a slice after train and before test.
    """
    if isinstance(last_known_day, datetime):
        raise TypeError(f"last_known_day must be a date, got the datetime {last_known_day}")
    for name, days in (("fit_days", fit_days), ("stop_days", stop_days), ("calibrate_days", calibrate_days)):
        if days < 1:
            raise ValueError(f"{name} must be at least 1, got {days}")
    calibrate_first = last_known_day - timedelta(days=calibrate_days - 1)
    stop_first = calibrate_first - timedelta(days=stop_days)
    fit_first = stop_first - timedelta(days=fit_days)
    one_day = timedelta(days=1)
    return Split(
        fit=(fit_first, stop_first - one_day),
        stop=(stop_first, calibrate_first - one_day),
        calibrate=(calibrate_first, last_known_day),
    )


def purge(
    train_start: Times, train_end: Times, tests: Sequence[tuple[Time, Time]], embargo: Span
) -> npt.NDArray[np.bool_]:
    """Return which train labels share no moment with a test segment and do not start in its embargo.

    Both intervals are closed here: a label that ends in the very moment a test starts is dropped.

    Parameters
    ----------
    train_start, train_end : int64[n] or datetime64[us][n]
        First and last moment of each train label, ``train_start <= train_end``.
    tests : sequence of (start, end)
        One pair per contiguous test segment: its first label start and its last label end.
    embargo : int, or timedelta where times are datetime64
        Train labels starting in ``(end, end + embargo]`` are dropped; 0 for none, never negative.

    Returns
    -------
    bool[n]
        True where the label may be trained on; element ``i`` reads label ``i`` and all test segments.

    Source
    ------
    López de Prado (2018), AFML, ch. 7; docs/conventions.md.
    """
    start, end = _ticks(train_start, "train_start"), _ticks(train_end, "train_end")
    if train_start.dtype != train_end.dtype or start.shape != end.shape:
        raise ValueError("train_start and train_end must have the same length and dtype")
    if np.any(start > end):
        raise ValueError("a train label ends before it starts")
    if not tests:
        raise ValueError("no test segment was given: purging against nothing would keep every label")
    in_time = train_start.dtype.kind == "M"
    embargo_ticks = _span_ticks(embargo, in_time)
    keep = np.ones(start.shape, dtype=np.bool_)
    for test_start, test_end in tests:
        first, last = _tick(test_start, in_time), _tick(test_end, in_time)
        if first > last:
            raise ValueError(f"test segment {test_start} to {test_end} ends before it starts")
        keep &= ~((start <= last) & (end >= first))
        keep &= ~((start > last) & (start <= last + embargo_ticks))
    return keep


def mean_uniqueness(start: Times, end: Times) -> float:
    """Return the mean over labels of the mean over the label's life of 1 / (labels alive at that moment).

    One when no two labels overlap; near 1/15 for 15-minute labels that start each minute.
    The sum over labels is the number of independent labels they are worth, see ``effective_n``.

    Parameters
    ----------
    start, end : int64[n] or datetime64[us][n], n >= 1
        Label ``i`` occupies the half-open interval ``[start[i], end[i])``; any order, never empty.

    Returns
    -------
    float, share from 0 to 1
        Reads all labels. O(n log n): the integral of 1/concurrency is summed once over the sorted edges.

    Source
    ------
    López de Prado (2018), AFML, section 4.4 (average uniqueness of a label).
    """
    first, last = _ticks(start, "start"), _ticks(end, "end")
    if start.dtype != end.dtype or first.shape != last.shape:
        raise ValueError("start and end must have the same length and dtype")
    if first.size == 0:
        raise ValueError("no labels: the mean uniqueness of nothing is not a number")
    if np.any(last <= first):
        raise ValueError("a label must end after it starts")
    edges = np.unique(np.concatenate([first, last]))
    opened = np.searchsorted(np.sort(first), edges[:-1], side="right")
    closed = np.searchsorted(np.sort(last), edges[:-1], side="right")
    alive = opened - closed  # on [edges[k], edges[k + 1]); 0 in a gap between labels
    width = np.diff(edges).astype(np.float64)
    share = np.divide(width, alive, out=np.zeros_like(width), where=alive > 0)
    integral = np.concatenate([[0.0], np.cumsum(share)])
    own = integral[np.searchsorted(edges, last)] - integral[np.searchsorted(edges, first)]
    return float(np.mean(own / (last - first)))


def effective_n(start: Times, end: Times) -> float:
    """Return how many independent labels the overlapping labels are worth.

    Parameters
    ----------
    start, end : int64[n] or datetime64[us][n]
        As in ``mean_uniqueness``, but n may be 0.

    Returns
    -------
    float, labels
        Rows times mean uniqueness; 0 for no label. A dense day of 15-minute labels is worth about 96.

    Source
    ------
    docs/conventions.md: "Independent = rows × mean uniqueness".
    """
    if len(start) == 0 and len(end) == 0:
        return 0.0
    return len(start) * mean_uniqueness(start, end)


def _ticks(times: Times, name: str) -> npt.NDArray[np.int64]:
    if times.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {times.shape}")
    if times.dtype != np.dtype("int64") and times.dtype != np.dtype("datetime64[us]"):
        raise TypeError(f"{name} must be int64 or datetime64[us], got {times.dtype}")
    if times.dtype.kind == "M" and np.any(np.isnat(times)):
        raise ValueError(f"{name} holds a missing time")
    return times.astype(np.int64)


def _tick(time: Time, in_time: bool) -> int:
    if isinstance(time, np.datetime64) != in_time:
        raise TypeError(f"test time {time!r} is not of the kind of the train times")
    if not isinstance(time, np.datetime64):
        return int(time)
    if np.isnat(time):
        raise ValueError("a test segment has a missing time")
    return int(time.astype("datetime64[us]").astype(np.int64))


def _span_ticks(span: Span, in_time: bool) -> int:
    if isinstance(span, np.timedelta64 | timedelta):
        if not in_time:
            raise TypeError("a timedelta embargo needs datetime64 train times")
        ticks = int(np.timedelta64(span).astype("timedelta64[us]").astype(np.int64))
    elif in_time and span != 0:
        raise TypeError(f"embargo {span!r} has no unit: give a timedelta with datetime64 train times")
    else:
        ticks = int(span)
    if ticks < 0:
        raise ValueError(f"embargo must not be negative, got {span!r}")
    return ticks
