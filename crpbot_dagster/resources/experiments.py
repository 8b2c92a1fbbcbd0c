"""MLflow: training runs, and the registered model of each symbol with its aliases.

The alias ``champion`` is the model in force, ``previous`` the one before it. Not here: who deserves the
alias (``assets/promotion/gates.py``).
"""

import logging
import os
import tempfile
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr


class OtherMarket(ValueError):
    """The model in force was made from another market: simulated and real data never mix."""


CHAMPION, PREVIOUS = "champion", "previous"


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
            from mlflow import MlflowClient

            for noisy in ("mlflow", "alembic"):  # they announce each table they make
                logging.getLogger(noisy).setLevel(logging.WARNING)

            self._client = MlflowClient(tracking_uri=self.tracking_url, registry_uri=self.tracking_url)
        return self._client

    def prepare(self) -> None:
        """Have the tracker lay its tables now, before several processes meet it empty."""
        self.client().search_experiments(max_results=1)

    def log_training(
        self,
        symbol: str,
        family: str,
        day: str,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Mapping[str, bytes],
    ) -> str:
        """Record one training run with its files and return the run's id."""
        client = self.client()
        run = client.create_run(
            _experiment(self.tracking_url, self.artifact_root, client, f"crpbot/{family}"),
            run_name=f"{symbol} {day}",
            tags={"symbol": symbol, "family": family, "model_day": day},
        )
        for name, value in parameters.items():
            client.log_param(run.info.run_id, name, value)
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name, value)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            client.log_artifacts(run.info.run_id, folder, "model")
        client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def stored(self, run_id: str, name: str) -> bytes:
        """Return one of the files that a training run recorded."""
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as folder:
            found = download_artifacts(
                run_id=run_id, artifact_path=f"model/{name}", dst_path=folder, tracking_uri=self.tracking_url
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


@lru_cache(maxsize=64)
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
