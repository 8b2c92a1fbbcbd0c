"""A small world for long tests: the platform's real processes around a clock that the test moves."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
from dagster._core.scheduler.instigation import TickStatus

from crpbot_dagster import settings
from crpbot_dagster.instance import platform
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts
from crpbot_dagster.settings import PROJECT, Settings

REASON_LETTERS = 70
PATIENCE_S = 900.0  # per step; a busy machine is slow, a stuck platform never arrives


@dataclass
class Event:
    """One line of the timeline."""

    wall: float
    simulated: str
    text: str


@dataclass
class World:
    """The running platform, its clock and its timeline."""

    config: Settings
    instance: dg.DagsterInstance
    lake: Lake
    clock: Path
    port: int
    events: list[Event] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    daemon: subprocess.Popen[bytes] | None = None
    started: float = field(default_factory=time.time)

    def tell(self, text: str) -> None:
        self.events.append(Event(time.time(), self.clock.read_text(), text))
        print(f"{self.clock.read_text()[:16]}  {time.time() - self.started:7.1f} s  {text}", flush=True)

    def set_clock(self, moment: datetime) -> None:
        self.clock.write_text(moment.isoformat())
        self.tell("the clock is moved")

    def start_server(self) -> None:
        """The code server, in a group of its own together with the runs it starts."""
        words = ["dagster", "api", "grpc", "-m", "crpbot_dagster.definitions", "-h", "127.0.0.1", "-p", str(self.port)]
        self.server = self._start("code_server", words)

    def start_daemon(self) -> None:
        workspace = Path(os.environ["DAGSTER_HOME"]) / "workspace.yaml"
        server = f"{{host: 127.0.0.1, port: {self.port}, location_name: crpbot}}"
        workspace.write_text(f"load_from:\n  - grpc_server: {server}\n")
        self.daemon = self._start("daemon", ["dagster._daemon", "run", "-w", str(workspace)])

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        with (self.config.home_dir / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=os.environ["DAGSTER_HOME"], env=environment(), stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        self.tell(f"the {name.replace('_', ' ')} starts")
        return process

    def cut_power(self) -> None:
        """Kill the daemon, the code server and every run at once."""
        assert self.server is not None
        self.kill_daemon()
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self.tell("the code server and its runs are killed, -9")

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        os.kill(self.daemon.pid, signal.SIGKILL)
        self.daemon.wait()
        self.tell("the daemon is killed, -9")

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Look until it holds; a daemon that ended by itself or too long a wait fails the test."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.daemon is None or self.daemon.poll() is None, "the daemon ended by itself"
            assert time.monotonic() < deadline, f"{what}: not after {PATIENCE_S:.0f} s\n{self.timeline()}"
            time.sleep(0.5)
        self.tell(what)

    def fault(self, plant: bool, symbol: str, day: date) -> None:
        ask = httpx.post if plant else httpx.delete
        ask(f"{self.config.sandbox_url}/sandbox/faults", params={"symbol": symbol, "day": day.isoformat()})
        self.tell(f"{symbol} {day}: a fault is {'planted' if plant else 'lifted'}")

    def runs(self) -> list[dg.RunRecord]:
        return [r for r in self.instance.get_run_records() if f"{facts.TAG}kind" in r.dagster_run.tags]

    def idle(self) -> bool:
        return not self.instance.get_runs(filters=dg.RunsFilter(statuses=facts.IN_FLIGHT))

    def ticks(self) -> dict[str, int]:
        """How often each sensor was evaluated to the end."""
        counts = {}
        for state in self.instance.all_instigator_state():
            found = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5_000)
            counts[state.instigator_name] = sum(t.is_completed for t in found)
        return counts

    def tick_seconds(self) -> dict[str, list[float]]:
        """How long each evaluation of each sensor took that asked for nothing, from the daemon's side."""
        found: dict[str, list[float]] = {}
        for state in self.instance.all_instigator_state():
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5_000):
                if tick.status == TickStatus.SKIPPED and tick.end_timestamp is not None:
                    found.setdefault(state.instigator_name, []).append(tick.end_timestamp - tick.timestamp)
        return found

    def failed_ticks(self) -> list[str]:
        return [
            f"{state.instigator_name}: {tick.error.message if tick.error else ''}"
            for state in self.instance.all_instigator_state()
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5_000)
            if tick.is_failure
        ]

    def settle(self, names: set[str], times: int = 2) -> None:
        """Let every sensor look ``times`` more, with nothing in flight: whatever it wanted, it would have asked for."""
        before = self.ticks()

        def looked() -> bool:
            now = self.ticks()
            return self.idle() and all(now.get(n, 0) >= before.get(n, 0) + times for n in names)

        self.until("quiet", looked)

    def timeline(self) -> str:
        """What happened, in order: the test's own doing and every run that sensors asked for."""
        lines = list(self.events)
        for record in self.runs():
            run, tags = record.dagster_run, record.dagster_run.tags
            name = f"{tags['crpbot/kind']} {tags['crpbot/symbol']} {tags['crpbot/day']}"
            asked = record.create_timestamp.replace(tzinfo=UTC).timestamp()
            moment = tags["crpbot/requested_at"]
            reason = tags["crpbot/reason"][:REASON_LETTERS]
            lines.append(Event(asked, moment, f"asked: {name}, attempt {tags['crpbot/attempt']}: {reason}"))
            if record.end_time is not None:
                took = record.end_time - (record.start_time or record.end_time)
                lines.append(Event(record.end_time, "", f"ended: {name} {run.status.value} after {took:.0f} s"))
        rows = []
        simulated = ""
        for e in sorted(lines, key=lambda e: e.wall):
            simulated = e.simulated[:16] or simulated
            rows.append(f"{simulated:16}  {e.wall - self.started:7.1f} s  {e.text}")
        return "\n".join(rows)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


def crpbot(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crpbot_dagster.cli", *words], env=environment(), capture_output=True, text=True
    )


@contextmanager
def world(seed: Callable[[], None]) -> Iterator[World]:
    """Start everything on the settings of the environment; ``seed`` fills the lake before the sensors look."""
    before = dict(os.environ)
    settings.load.cache_clear()
    try:
        with platform(market=True) as config:
            seed()
            assert config.clock is not None
            with socket.create_server(("127.0.0.1", 0)) as door:
                port = door.getsockname()[1]
            with dg.DagsterInstance.get() as instance:
                lake = Lake(url=config.lake_url, market=config.stamp, start_day=config.start_day.isoformat())
                made = World(config, instance, lake, config.clock, port)
                made.start_server()
                made.start_daemon()
                try:
                    yield made
                finally:
                    for process in (made.daemon, made.server):
                        if process is not None and process.poll() is None:
                            os.killpg(process.pid, signal.SIGKILL)
                            process.wait()
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.load.cache_clear()


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def days_after(day: date, n: int) -> date:
    return day + timedelta(days=n)
