"""Temperature scaling: how sure a model may be of what it says, fitted on labels it was not fitted on.

Not here: how well calibrated it turned out (``evaluations/metrics.py``).
Source: Guo, Pleiss, Sun & Weinberger (2017), "On Calibration of Modern Neural Networks", ICML.
"""

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.models.dataset import Floats

TEMPERATURES = (0.05, 100.0)
"""Bounds of the search. A model without any knowledge wants an infinite temperature (p = 0.5): the upper bound
comes close to it, keeps the sign of each logit, and is seen as such in the manifest."""


def sigmoid(z: Floats) -> Floats:
    """Return 1 / (1 + e^-z)."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def fit_temperature(logits: Floats, y: NDArray[np.int8]) -> float:
    """Return the temperature T > 0 that minimises the log-loss of sigmoid(logit / T) on held-out labels.

    The result lies in ``TEMPERATURES``; it changes no prediction's side, so accuracy stays as it was.
    """
    from scipy.optimize import minimize_scalar

    signs = 2.0 * y - 1.0

    def loss(log_t: float) -> float:
        return float(np.mean(np.logaddexp(0.0, -signs * logits / np.exp(log_t))))

    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))
