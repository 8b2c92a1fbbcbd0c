"""The command line as a user runs it: a process of its own, an environment of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.settings import PROJECT

WINDOWS = {"fit_days": "2", "stop_days": "1", "calibrate_days": "1", "test_days": "6"}
# Gates low enough for six test days: what is tested is the machinery, not the model.
LOW_GATES = {
    "gate_accuracy": "0.58",
    "gate_tune_accuracy": "0.55",
    "gate_ece": "0.2",
    "gate_min_n_eff": "200",
}
SMALL_NETWORK = {
    "lstm_layers": "1",
    "lstm_dropout": "0",
    "lstm_hidden": "8",
    "lstm_sequence": "10",
    "lstm_stride": "10",
    "lstm_epochs": "2",
    "torch_threads": "1",
}
FIRST, VERDICT = date(2023, 11, 18), date(2023, 11, 29)


@dataclass(frozen=True)
class Crpbot:
    """A state folder and the settings that go with it."""

    home: Path
    values: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CRPBOT_", "DAGSTER_"))}
        own = {f"CRPBOT_{k.upper()}": v for k, v in ({"home": str(self.home)} | self.values).items()}
        return clean | own | {"PYTHONPATH": str(PROJECT), "COLUMNS": "200"}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "crpbot_dagster.cli", *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=600, cwd=self.home.parent
        )

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        return json.loads(done.stdout.strip().splitlines()[-1])

    @property
    def lake(self) -> Lake:
        return Lake(
            url=str(self.home / "lake"),
            market=self.values.get("market", "sandbox, seed 7, density 1"),
            start_day=self.values.get("start_day", "2023-11-10"),
        )

    def read(self, table: str, symbol: str, first: date, last: date) -> pl.DataFrame:
        frame = self.lake.window(table, symbol, first, last).collect()
        return frame.sort("ts") if "ts" in frame.columns else frame

    def events(self, *words: str) -> str:
        """Output of a script that runs on this Dagster instance."""
        script = (
            "from crpbot_dagster.instance import platform\nimport dagster as dg\n"
            "with platform(market=False):\n  with dg.DagsterInstance.get() as instance:\n"
            + "\n".join(f"    {w}" for w in words)
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
