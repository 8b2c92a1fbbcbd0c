"""Numbers over whole UTC days: the day is the unit that could have come out differently.

Rows of one day are not independent (labels overlap, regimes last), so the spread of a mean is that of its days.
Not here: what is averaged (``metrics.py``, ``association.py``, ``importance.py``).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Days: TypeAlias = npt.NDArray[Any]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval and the two-sided p-value of "it is zero"; None where too few days say so."""

    point: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


def day_sums(values: Floats, day: Days, weights: Ints | None = None) -> tuple[Floats, Floats]:
    """Return the sum of ``values`` and the number of rows of each day, in time order.

    ``weights``, where given, must be a resample of just those days.
    """
    days, index = np.unique(day, return_inverse=True)
    if weights is not None and (weights.ndim != 2 or weights.shape[1] != len(days)):
        raise ValueError(f"weights of shape {weights.shape} do not resample {len(days)} days")
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def permuted_days(values: Ints, day: Days, rng: np.random.Generator) -> Ints:
    """Return ``values`` [n] with whole days in another order; inside a day every row keeps its neighbours.

    What lasts within a day lasts in the result too; only its tie to what else happened that day is cut.
    Source: Ojala & Garriga (2010), JMLR 11, 1833-1863, of blocks that can be exchanged.
    """
    days, index = np.unique(day, return_inverse=True)
    return values[np.argsort(rng.permutation(len(days))[index], kind="stable")]


def ratio_shift(residual: Floats, count: Floats, weights: Ints) -> tuple[Floats, Floats]:
    """Return how far each resample's ratio lies from the sample's, and its standard error, from per-day sums.

    ``residual`` is total - ratio·count: centred first, so that nothing cancels.
    """
    size = weights @ count  # (draws,)
    shift = (weights @ residual) / size
    cross, square = weights @ (residual * count), weights @ count**2
    squares = np.maximum(weights @ residual**2 - 2 * shift * cross + shift**2 * square, 0.0)
    return shift, np.sqrt(squares * len(count) / (len(count) - 1)) / size


def ratio_error(residual: Floats, count: Floats) -> float:
    """Return the standard error of total/count over at least two days, from per-day sums: ``ratio_shift`` undrawn.

    Source: Cochran (1977), Sampling Techniques, 3rd ed., ch. 6 (ratio estimator).
    """
    return float(ratio_shift(residual, count, np.ones((1, len(count)), dtype=np.int64))[1][0])


def student(point: float, error: float, freedom: float) -> tuple[float, float, float]:
    """Return (low, high, two-sided p of zero) of a number with a standard error of so many degrees of freedom."""
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    if error == 0.0:
        return point, point, float(point == 0.0)
    return point - half, point + half, float(2 * stdtr(freedom, -abs(point) / error))


def mean_over_days(values: Floats, day: Days) -> Estimate:
    """Return the mean of ``values`` float64[n] with its t interval over days; no interval below two days."""
    total, count = day_sums(values, day)
    mean = float(total.sum() / count.sum())
    if len(total) < 2:
        return Estimate(mean)
    return Estimate(mean, *student(mean, ratio_error(total - mean * count, count), len(total) - 1))
