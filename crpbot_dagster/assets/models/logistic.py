"""The baseline family: logistic regression on scaled inputs, with temperature calibration.

Not here: which rows train (``assets.py``), how a model is stored (``artefact.py``).
Sources: scikit-learn's LogisticRegression; temperature scaling: Guo et al., ICML 2017.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAX_ITERATIONS = 1_000
TEMPERATURES = (0.05, 100.0)
"""Bounds of the search. A model without any knowledge wants an infinite temperature (p = 0.5): the upper bound
comes close to it, keeps the sign of each logit, and is seen as such in the manifest."""


@dataclass(frozen=True)
class Logistic:
    """Scaler, coefficients and temperature; ``mean``, ``spread``, ``weight`` are float64[inputs]."""

    mean: Floats
    spread: Floats
    weight: Floats
    bias: float
    temperature: float

    def logits(self, x: Floats) -> Floats:
        """Return the uncalibrated logit of each row of ``x`` float64[n, inputs]; NaN where an input is."""
        return np.asarray((x - self.mean) / self.spread @ self.weight + self.bias)

    def predict(self, x: Floats) -> Floats:
        """Return the calibrated probability of up of each row, NaN where an input is missing."""
        return sigmoid(self.logits(x) / self.temperature)


def sigmoid(z: Floats) -> Floats:
    """Return 1 / (1 + e^-z)."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def fit_scaler(x: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each input; a constant input gets spread 1, so it becomes 0."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    return mean, np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, 1.0)


def fit_logistic(x: Floats, y: NDArray[np.int8], c: float) -> Logistic:
    """Fit scaler and coefficients on raw train inputs; temperature is 1 until it is calibrated.

    Parameters
    ----------
    x : float64[n, inputs], raw (never scaled before: the scaler is fitted here, once)
    y : 0 or 1
    c : inverse strength of the L2 penalty

    Raises
    ------
    ValueError
        Only one class is present.
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = fit_scaler(x)
    fitted = LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit((x - mean) / spread, y)
    return Logistic(mean, spread, fitted.coef_[0].astype(float), float(fitted.intercept_[0]), 1.0)


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
