"""The baseline kind: logistic regression.

Not here: which rows train, scaling and calibration (``families.py``), how a model is stored (``artefact.py``).
Source: scikit-learn's LogisticRegression.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.models.dataset import Floats, Ints

MAX_ITERATIONS = 1_000


@dataclass(frozen=True)
class Logistic:
    """Coefficients: ``weight`` float64[inputs] and ``bias``."""

    weight: Floats
    bias: float

    def logits(self, x: Floats, minutes: Ints) -> Floats:
        """Return the logit of each row of scaled inputs ``x`` float64[n, inputs]; NaN where an input is."""
        return np.asarray(x @ self.weight + self.bias)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the coefficients by name."""
        return {"weight": self.weight, "bias": np.array([self.bias])}


def load(tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, float], width: int) -> Logistic:
    """Return the model that ``tensors`` describes; it is ``width`` inputs wide.

    Raises
    ------
    ValueError
        A coefficient is missing or has another shape.
    """
    shapes = {name: value.shape for name, value in tensors.items()}
    if shapes != {"weight": (width,), "bias": (1,)}:
        raise ValueError(f"expected weight of {width} inputs and a bias, found {shapes}")
    return Logistic(tensors["weight"], float(tensors["bias"][0]))


def fit(x: Floats, y: NDArray[np.int8], c: float) -> Logistic:
    """Fit the coefficients on scaled inputs ``x`` float64[n, inputs] and labels ``y`` 0 or 1.

    ``c`` is the inverse strength of the L2 penalty.

    Raises
    ------
    ValueError
        Only one class is present.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit(x, y)
    return Logistic(fitted.coef_[0].astype(float), float(fitted.intercept_[0]))
