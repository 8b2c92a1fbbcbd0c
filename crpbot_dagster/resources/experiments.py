"""MLflow: training runs, and the registered model of each symbol with its aliases.

The alias ``champion`` is the model in force, ``previous`` the one before it. Not here: who deserves the
alias (``assets/promotion/gates.py``).
"""

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import dagster as dg
from pydantic import PrivateAttr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt


class OtherMarket(ValueError):
    """The model in force was made from another market: simulated and real data never mix."""


CHAMPION, PREVIOUS = "champion", "previous"
OUTPUT = "p_up_15m"
MLFLOW_TYPES = {"Float64": "double", "Float32": "float", "Int64": "long", "Int8": "integer", "Int32": "integer"}


@dataclass(frozen=True)
class Training:
    """What is worth remembering of one training."""

    symbol: str
    family: str
    day: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    manifest: str
    weights: bytes
    code: Path  # the file MLflow serves the model with
    columns: Mapping[str, str]  # what the model reads: column → polars type
    datasets: Mapping[str, tuple[int, str]]  # table → Delta version and path
    epochs: Sequence[Mapping[str, float]] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def registered_name(symbol: str) -> str:
    """Return the registered model's name of a symbol."""
    return f"crpbot-{symbol}"


class Experiments(dg.ConfigurableResource):
    """The experiment tracker at ``tracking_url``; files go to ``artifact_root``."""

    tracking_url: str
    artifact_root: str
    _client: Any = PrivateAttr(default=None)

    def client(self) -> Any:
        """Return the MLflow client of this tracker."""
        if not self.tracking_url:
            raise RuntimeError("no experiment tracker: start Dagster with `crpbot dev`, or set CRPBOT_MLFLOW_URL")
        if self._client is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            from mlflow import MlflowClient

            for noisy in ("mlflow", "alembic"):  # they announce each table they make
                logging.getLogger(noisy).setLevel(logging.WARNING)

            address = _address(self.tracking_url)
            self._client = MlflowClient(tracking_uri=address, registry_uri=address)
        return self._client

    def prepare(self) -> None:
        """Have the tracker lay its tables now, before several processes meet it empty."""
        self.client().search_experiments(max_results=1)

    def log_training(self, training: Training) -> str:
        """Record one training: parameters, numbers per epoch, data read, pictures, the model; return the run's id."""
        client = self.client()
        experiment = _experiment(_address(self.tracking_url), self.artifact_root, client, f"crpbot/{training.family}")
        run = client.create_run(
            experiment,
            run_name=f"{training.symbol} {training.day}",
            tags={"symbol": training.symbol, "family": training.family, "model_day": training.day},
        )
        run_id = str(run.info.run_id)
        _log_numbers(client, run_id, training)
        with tempfile.TemporaryDirectory() as folder:
            _save_model(Path(folder, "model"), training)
            pictures = Path(folder, "pictures")
            pictures.mkdir()
            for name, png in training.pictures.items():
                (pictures / f"{name}.png").write_bytes(png)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
        return run_id

    def page(self, run_id: str) -> str:
        """Return the address of a run within MLflow's UI."""
        return f"#/experiments/{self.client().get_run(run_id).info.experiment_id}/runs/{run_id}"

    def stored(self, run_id: str, name: str) -> bytes:
        """Return one of the files of the model that a training recorded: weights.safetensors, manifest.json."""
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as folder:
            found = download_artifacts(
                run_id=run_id,
                artifact_path=f"model/artifacts/{name}",
                dst_path=folder,
                tracking_uri=_address(self.tracking_url),
            )
            return Path(found).read_bytes()

    def promote(self, symbol: str, run_id: str, verdict_day: date, market: str, family: str) -> int:
        """Register a training run's model and put it in force; the former champion becomes ``previous``.

        Promoting the run that is already in force, or an older verdict than the one in force, changes
        nothing: a backfill of the past does not turn the present back. Returns the version in force.

        Raises
        ------
        OtherMarket
            The champion was made from another market's data.
        """
        client, name = self.client(), registered_name(symbol)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        now = self.in_force(symbol)
        if now is not None:
            if now["tags"].get("market") != market:
                raise OtherMarket(
                    f"the champion of {symbol} was made from {now['tags'].get('market')!r} data, this one from "
                    f"{market!r}: use another experiment tracker (CRPBOT_MLFLOW_URL or CRPBOT_HOME)"
                )
            if now["run_id"] == run_id or verdict_day.isoformat() < now["tags"]["verdict_day"]:
                return int(now["version"])
        tags = {"market": market, "family": family, "verdict_day": verdict_day.isoformat()}
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        version = int(client.create_model_version(name, source, run_id, tags=tags).version)
        if now is not None:
            client.set_registered_model_alias(name, PREVIOUS, str(now["version"]))
        client.set_registered_model_alias(name, CHAMPION, str(version))
        return version

    def rollback(self, symbol: str) -> tuple[int, int]:
        """Put the former champion back in force; return the version that was in force, and the one that is now.

        The two change places, so a second call undoes the first.

        Raises
        ------
        LookupError
            The symbol has no champion, or none before it.
        """
        now = self.in_force(symbol)
        if now is None or PREVIOUS not in now["aliases"]:
            raise LookupError(f"{symbol} has no {'champion' if now is None else 'champion before the one in force'}")
        client, name, former = self.client(), registered_name(symbol), int(now["aliases"][PREVIOUS])
        client.set_registered_model_alias(name, CHAMPION, str(former))
        client.set_registered_model_alias(name, PREVIOUS, str(now["version"]))
        return now["version"], former

    def in_force(self, symbol: str) -> dict[str, Any] | None:
        """Return version, run and aliases of the symbol's champion, None when nobody was ever promoted."""
        client, name = self.client(), registered_name(symbol)
        if not client.search_registered_models(f"name = '{name}'"):
            return None
        aliases = client.get_registered_model(name).aliases
        if CHAMPION not in aliases:
            return None
        found = client.get_model_version(name, str(aliases[CHAMPION]))
        return {
            "version": int(found.version),
            "run_id": found.run_id,
            "aliases": dict(aliases),
            "tags": found.tags,
        }


def _log_numbers(client: Any, run_id: str, training: Training) -> None:
    from mlflow.entities import Dataset, DatasetInput, Metric, Param
    from mlflow.exceptions import MlflowException

    now = int(time.time() * 1000)
    numbers = [Metric(name, value, now, 0) for name, value in training.metrics.items()]
    for epoch in training.epochs:
        numbers += [Metric(n, v, now, int(epoch["epoch"])) for n, v in epoch.items() if n != "epoch"]
    client.log_batch(run_id, numbers, [Param(n, str(v)) for n, v in training.parameters.items()])
    read = [
        DatasetInput(Dataset(name=table, digest=f"delta-{version}", source_type="delta", source=path))
        for table, (version, path) in training.datasets.items()
    ]
    # Symbols that train side by side read one version of a table; MLflow looks for it and then adds it, unguarded.
    # Asked again it finds what the other one added; any other failure shows again.
    for attempt in Retrying(stop=stop_after_attempt(3), retry=retry_if_exception_type(MlflowException), reraise=True):
        with attempt:
            client.log_inputs(run_id, datasets=read)


def _save_model(folder: Path, training: Training) -> None:
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = [ColSpec(MLFLOW_TYPES[t], name) for name, t in training.columns.items()]
    with tempfile.TemporaryDirectory() as given:
        files = {"manifest": Path(given, "manifest.json"), "weights": Path(given, "weights.safetensors")}
        files["manifest"].write_text(training.manifest)
        files["weights"].write_bytes(training.weights)
        # The signature is stated, so MLflow need not run the model on an example to guess it.
        warnings.filterwarnings("ignore", message="(?s).*input example was not provided", category=UserWarning)
        pyfunc.save_model(
            folder,
            python_model=str(training.code),
            artifacts={name: str(path) for name, path in files.items()},
            signature=ModelSignature(
                inputs=Schema([ColSpec("datetime", "ts"), *columns]), outputs=Schema([ColSpec("double", OUTPUT)])
            ),
            pip_requirements=["crpbot-dagster"],  # by name: the model is only as good as the code it was trained with
        )


@lru_cache(maxsize=64)
def _address(tracking_url: str) -> str:
    """Return the tracker's address without a server's credentials: MLflow's errors repeat it, and Dagster keeps those.

    They go where MLflow looks for them. A database's URL stays whole: its driver does not repeat the password.
    """
    parts = urlsplit(tracking_url)
    if not parts.scheme.startswith("http") or parts.username is None:
        return tracking_url
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _experiment(tracking_url: str, artifact_root: str, client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=f"{artifact_root}/{name}"))
        except MlflowException:
            # Another process made it in between; any other failure shows again here.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)
