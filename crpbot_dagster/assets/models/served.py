"""A stored model as MLflow serves it: ``mlflow.pyfunc.load_model("models:/crpbot-BTC-USD@champion").predict(frame)``.

MLflow copies this file beside the artefact ("models from code"), so nothing is pickled. It reads feature rows of
one symbol, sorted by ``ts``, and returns the calibrated probability of up of each.
Not here: what the artefact must fulfil (``artefact.py``).
Source: https://mlflow.org/docs/latest/ml/model/models-from-code/
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import polars as pl

from crpbot_dagster.assets.models.artefact import digest, load


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """The artefact behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Load the artefact; it refuses when the features of this code are not those it was trained on."""
        weights = Path(context.artifacts["weights"]).read_bytes()
        self.artefact = load(Path(context.artifacts["manifest"]).read_text(), weights, digest(weights))

    # MLflow takes other hints for the signature; that is stated when the model is stored.
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Return one column, ``p_up_15m``; NaN where an input is missing."""
        frame = pl.from_pandas(model_input)
        return pl.DataFrame({"p_up_15m": self.artefact.predict(frame)}).to_pandas()


mlflow.models.set_model(Served())
