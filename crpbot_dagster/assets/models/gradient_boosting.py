"""Gradient-boosted trees: a quick model that shows which inputs carry the label.

The only home of LightGBM. Not here: which rows train (``validation.py``), what the model is asked
(``evaluations/importance.py``).
Source: Ke et al. (2017), "LightGBM", NeurIPS 30.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.models.dataset import Floats

TREES = 100
QUICK = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,  # few: it must show what is there, not learn the train days by heart
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,  # so that of two columns that say the same neither hides the other
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,  # symbols run side by side; and the same bits on any machine
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class NoOpenMP(RuntimeError):
    """LightGBM's library needs one of the system that is not there; the message says how to get it."""


def fit_quick(x: Floats, y: NDArray[np.int8], seed: int) -> Callable[[Floats], Floats]:
    """Fit small trees on ``x`` float64[n, k] (NaN where a value is missing) and ``y`` 0 or 1.

    Returns
    -------
    function
        float64[m, k] → float64[m], the probability of 1; the same arguments give the same function.

    Raises
    ------
    NoOpenMP
        The wheel of LightGBM brings no OpenMP, and this machine has none.
    """
    try:
        import lightgbm
    except OSError as error:
        raise NoOpenMP(
            f"LightGBM cannot be loaded ({error}): install OpenMP with `apt install libgomp1` (Debian, Ubuntu), "
            "`dnf install libgomp` (Fedora) or `brew install libomp` (macOS), and run the partition again"
        ) from error

    trees = lightgbm.train(QUICK | {"seed": seed}, lightgbm.Dataset(x, label=y), num_boost_round=TREES)
    return lambda rows: np.asarray(trees.predict(rows, num_threads=1), dtype=np.float64)
