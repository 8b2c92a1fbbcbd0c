"""What a quick model loses when it may not read some columns: permutation importance on days it never saw.

Columns that say the same are shuffled together: alone, each would be worth nothing, because the others stay. Not here:
the model (``models/gradient_boosting.py``), who says the same (``association.py``), which rows overlap
(``models/validation.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.evaluations.day_blocks import Days, Estimate, Floats, Ints, mean_over_days
from crpbot_dagster.assets.evaluations.metrics import hits
from crpbot_dagster.assets.models.validation import Times, purge

REPEATS = 3
TEST_SHARE = 1 / 3
TEST_DAYS = 3  # at least, where half of the days are as many
LEAST_DAYS = 4
LEAST_ROWS = 200
MOST_TEST_ROWS = 5_000  # evenly spaced: labels overlap, so more minutes of a day say little more

Predict = Callable[[Floats], Floats]
Fit = Callable[[Floats, NDArray[np.int8], int], Predict]


@dataclass(frozen=True)
class Importance:
    """A quick model, how right it was on the test days, and what each group of columns was worth to it.

    ``lost``: group → the share of right calls lost when its columns are shuffled; its ``p`` is one-sided, of "it is
    worth nothing". ``base`` is the share of right calls of who always calls the commoner side.
    """

    fit_rows_n: int
    test_rows_n: int
    test_first: np.datetime64
    accuracy: Estimate
    base: float
    lost: dict[int, Estimate]


def permutation_importance(
    x: Floats, y: NDArray[np.int8], day: Days, start: Times, end: Times, groups: Ints, fit: Fit, seed: int
) -> Importance | None:
    """Return what each group of columns of ``x`` float64[n, k] is worth to a model that ``fit`` makes.

    Trained on the first two thirds of the days, less the labels that reach into the last third, which tests. The
    columns of a group are shuffled together, three times, among the test rows; right calls are compared row by row, and
    the interval takes whole days for the unit. In a market without any signal the expected loss is 0, whatever the
    model.

    Parameters
    ----------
    x : NaN where missing; y : 0 or 1; day : UTC day; all in time order
    start, end : life of each label, half-open, datetime64[us]
    groups : int64[k], the group of each column

    Returns
    -------
    Importance, or None below four days, or 200 rows on either side

    Source
    ------
    Fisher, Rudin & Dominici (2019), JMLR 20(177), 1-81 (model reliance); groups: Gregorutti, Michel & Saint-Pierre
    (2015), Computational Statistics & Data Analysis 90, 15-35.
    """
    days = np.unique(day)
    if len(days) < LEAST_DAYS:
        return None
    test_first = days[len(days) - max(min(TEST_DAYS, len(days) // 2), round(len(days) * TEST_SHARE))]
    test = day >= test_first
    kept = ~test
    if test.sum() < LEAST_ROWS:
        return None
    kept[kept] = purge(start[kept], end[kept], [(start[test].min(), end[test].max())], timedelta(0))
    if kept.sum() < LEAST_ROWS or len(np.unique(y[kept])) < 2:
        return None
    predict = fit(x[kept], y[kept], seed)
    asked = np.flatnonzero(test)[:: -(-int(test.sum()) // MOST_TEST_ROWS)]
    rows, came, when = x[asked], y[asked].astype(np.float64), day[asked]
    right = hits(predict(rows), came)
    rng = np.random.default_rng(seed)
    lost = {}
    for group in np.unique(groups).tolist():
        without = _shuffled(rows, np.flatnonzero(groups == group), came, predict, rng)
        lost[group] = _one_sided(mean_over_days(right - without, when))
    base = float(max(came.mean(), 1 - came.mean()))
    return Importance(int(kept.sum()), len(asked), test_first, mean_over_days(right, when), base, lost)


def _shuffled(rows: Floats, columns: Ints, came: Floats, predict: Predict, rng: np.random.Generator) -> Floats:
    changed, total = rows.copy(), np.zeros(len(rows))
    for _ in range(REPEATS):
        changed[:, columns] = rows[np.ix_(rng.permutation(len(rows)), columns)]
        total += hits(predict(changed), came)
    return total / REPEATS


def _one_sided(found: Estimate) -> Estimate:
    if found.p is None:
        return found
    p = found.p / 2 if found.point > 0 else 1 - found.p / 2
    return Estimate(found.point, found.low, found.high, p)
