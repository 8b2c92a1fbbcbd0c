"""The command line as a user runs it: a process of its own, an environment of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil

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
    "lstm_hidden": "16",
    "lstm_sequence": "10",
    "lstm_stride": "2",
    "lstm_batch": "128",
    "lstm_learning_rate": "0.01",
    "lstm_epochs": "3",
    "torch_threads": "1",
}
FIRST, VERDICT = date(2023, 11, 18), date(2023, 11, 29)


START_S = 300  # for a server to answer, on a machine with better things to do


def free_ports(n: int) -> int:
    """The first of ``n`` free ports in a row."""
    while True:
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            first = probe.getsockname()[1]
        taken = []
        try:
            taken = [socket.create_server(("127.0.0.1", first + i)) for i in range(n)]
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()
        return first


def answer(url: str, server: subprocess.Popen[str]) -> httpx.Response:
    """The first answer of a server that is starting."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return httpx.get(url, timeout=30, follow_redirects=True)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer; the server's exit code is {server.poll()}")


@dataclass(frozen=True)
class Crpbot:
    """A state folder and the settings that go with it."""

    home: Path
    values: dict[str, str] = field(default_factory=dict)
    project: Path = PROJECT  # where the package lies

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CRPBOT_", "DAGSTER_"))}
        small = {"home": str(self.home), "every_source_days": "1"} | SMALL_NETWORK
        own = {f"CRPBOT_{k.upper()}": v for k, v in (small | self.values).items()}
        return clean | own | {"PYTHONPATH": str(self.project), "COLUMNS": "200"}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "crpbot_dagster.cli", *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=600, cwd=self.home.parent
        )

    @contextmanager
    def serving(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A verb that serves until it is stopped, in a session of its own; whatever of it is left is killed."""
        with (
            self.home.parent.joinpath("served.log").open("w") as log,
            subprocess.Popen(
                [sys.executable, "-m", "crpbot_dagster.cli", *words],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.home.parent,
                start_new_session=True,
            ) as server,
        ):
            started = psutil.Process(server.pid)
            try:
                yield server
            finally:
                left = [*started.children(recursive=True), started] if started.is_running() else []
                for process in left:
                    process.kill()

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
