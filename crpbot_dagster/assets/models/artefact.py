"""A model as an artefact with a contract: a JSON manifest beside weights in safetensors, no pickle.

Loading checks the whole contract against the code that is about to use it and refuses otherwise: the
earlier systems' worst figures came from models fed with other columns than they were trained on.
Not here: training (``families.py``), the registry (``resources/experiments.py``).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from crpbot_dagster.assets.models.dataset import MINUTES_A_DAY, Floats, input_names, inputs, minutes_of
from crpbot_dagster.assets.models.families import Model, Trained, kind_of
from crpbot_dagster.assets.models.temperature import sigmoid
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.features import manifest, manifest_hash

PACKAGE = Path(__file__).resolve().parents[2]
SCALER = ("mean", "spread")


class ContractBroken(ValueError):
    """The artefact does not fit the code that would use it, or was damaged; the message says how."""


@dataclass(frozen=True)
class Manifest:
    """Everything that must agree before a model may predict, and everything that explains where it came from."""

    family: str
    symbol: str
    model_day: str
    feature_table: str
    features: tuple[str, ...]  # name:dtype:in, in order
    features_sha256: str
    inputs: tuple[str, ...]
    label: str
    horizon_min: int
    venue: str
    source: str
    scaler: str
    calibrator: str
    temperature: float
    sequence_min: int  # minutes a prediction reads, its own included
    seed: int
    settings: dict[str, Any]
    code_version: str
    delta_versions: dict[str, int]
    fit: tuple[str, str]
    stop: tuple[str, str]
    calibrate: tuple[str, str]
    fit_rows_n: int
    calibrate_rows_n: int
    train_base_rate: float

    def to_json(self) -> str:
        """Return the manifest as JSON, keys sorted: the same model gives the same bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)


@dataclass(frozen=True)
class Artefact:
    """A loaded model that fits its contract."""

    manifest: Manifest
    mean: Floats
    spread: Floats
    model: Model

    @property
    def look_back_days(self) -> int:
        """Days before the first predicted one whose features a prediction reads."""
        return -(-(self.manifest.sequence_min - 1) // MINUTES_A_DAY)

    def predict(self, features: pl.DataFrame) -> Floats:
        """Return the calibrated probability of up of each row, NaN where the model has not all it reads.

        Raises
        ------
        ValueError
            The rows are not in time order, or a minute is there twice.
        """
        minutes = minutes_of(features["ts"])
        if (np.diff(minutes) <= 0).any():
            raise ValueError("features must be of one symbol and venue, sorted by ts, each minute once")
        x = (inputs(features, TABLES[self.manifest.feature_table]) - self.mean) / self.spread
        return sigmoid(self.model.logits(x, minutes) / self.manifest.temperature)


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return a digest of the package's own source: it changes when anything that computes a number does."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def weights_of(trained: Trained) -> bytes:
    """Return scaler and model in safetensors."""
    tensors = trained.model.tensors() | {"mean": trained.mean, "spread": trained.spread}
    return save_tensors({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})


def digest(weights: bytes) -> str:
    """Return the sha256 of the weights."""
    return hashlib.sha256(weights).hexdigest()


def contract(table: str) -> dict[str, object]:
    """Return the part of a manifest that the feature table decides."""
    t = TABLES[table]
    return {
        "feature_table": table,
        "features": manifest(t),
        "features_sha256": manifest_hash(t),
        "inputs": input_names(t),
    }


def load(manifest_json: str, weights: bytes, weights_sha256: str) -> Artefact:
    """Return the model, after every part of its contract was checked.

    Raises
    ------
    ContractBroken
        The weights are damaged, a feature was added, renamed, moved or transformed otherwise since the
        model was trained, or a number is missing or not finite.
    """
    if digest(weights) != weights_sha256:
        raise ContractBroken("the weights are not the ones that were stored: their sha256 differs")
    try:
        raw = json.loads(manifest_json)
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        found = Manifest(**fields)
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ContractBroken(f"the manifest is not complete: {error}") from error
    if found.feature_table not in TABLES:
        raise ContractBroken(f"the model reads {found.feature_table}, which does not exist any more")
    now = contract(found.feature_table)
    for name in ("features", "features_sha256", "inputs"):
        if getattr(found, name) != now[name]:
            raise ContractBroken(
                f"{found.family} of {found.symbol} was trained on other {name} than {found.feature_table} has "
                f"now{_difference(getattr(found, name), now[name])}: train it again"
            )
    try:
        tensors = load_tensors(weights)
    except SafetensorError as error:
        raise ContractBroken(f"the weights cannot be read: {error}") from error
    absent = [t for t in SCALER if t not in tensors]
    if absent:
        raise ContractBroken(f"the weights lack {', '.join(absent)}: no scaler, no prediction")
    width = len(found.inputs)
    if any(tensors[t].shape != (width,) for t in SCALER):
        raise ContractBroken(f"the scaler is not {width} inputs wide")
    if not all(np.isfinite(t).all() for t in tensors.values()) or not 0 < found.temperature < np.inf:
        raise ContractBroken("a weight, or the temperature, is not a finite number")
    mean, spread = (tensors.pop(name) for name in SCALER)
    try:
        model = kind_of(found.family).load(tensors, found.settings, width)
    except KeyError as error:
        raise ContractBroken(f"{found.family}: no such kind of model, or setting: {error}") from error
    except ValueError as error:
        raise ContractBroken(f"{found.family}: {error}") from error
    return Artefact(found, mean, spread, model)


def _difference(then: object, now: object) -> str:
    if not isinstance(then, tuple) or not isinstance(now, tuple):
        return ""
    gone, new = [x for x in then if x not in now], [x for x in now if x not in then]
    if not gone and not new:
        return " (another order)"
    return f" (gone: {', '.join(gone[:3]) or 'none'}; new: {', '.join(new[:3]) or 'none'})"


def span(days: tuple[date, date]) -> tuple[str, str]:
    """Return a range of days as text."""
    return days[0].isoformat(), days[1].isoformat()
