"""Verbs that serve until they are stopped: ``dev``, ``sandbox serve``."""

import html
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from crpbot_dagster import settings
from crpbot_dagster.cli.terminal import FAILED, OK, USAGE, configured, console, opened, stop
from crpbot_dagster.settings import PROJECT, Settings

HOST = "127.0.0.1"
LOOK_S = 0.2  # between two looks at whether a child still runs
GRACE_S = 20.0  # for a child to end by itself; some of Dagster's servers need to be killed

sandbox = typer.Typer(help="The simulated market.", no_args_is_help=True, rich_markup_mode=None)


@sandbox.callback()
def _sandbox() -> None:
    """Make one verb a group: typer would take it for the whole program."""


@sandbox.command("serve")
def sandbox_serve(
    port: Annotated[int, typer.Option(help="Port on localhost; 0 takes a free one.")] = 8765,
    recordings: Annotated[Path | None, typer.Option(help="Serve recorded files from this folder instead.")] = None,
    require_key: Annotated[str | None, typer.Option(help="Answer 401 without this key, as Tardis does.")] = None,
) -> None:
    """Serve the simulated market, or recordings, on localhost in the sources' wire formats.

    Example: crpbot sandbox serve --port 8765
    """
    from crpbot_dagster.instance import market_app
    from crpbot_dagster.sandbox.server import serve

    config = configured()
    if recordings is not None:
        if not recordings.is_dir():
            stop(f"--recordings {recordings}: no such folder", USAGE)
        config = config.model_copy(update={"market": "recordings", "recordings": recordings})
    with _stopped_by_signals(), serve(market_app(config, require_key), port=port) as url:
        typer.echo(f"export CRPBOT_SANDBOX_URL={url}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("stopped")


def dev(
    port: Annotated[int, typer.Option(help="Port of the UI; the next two are the reports' and MLflow's.")] = 3000,
    mlflow: Annotated[bool, typer.Option(help="Serve MLflow's UI too.")] = True,
) -> None:
    """Open the Dagster UI with its daemon on localhost, the reports and MLflow's UI, over the embedded Postgres.

    Example: crpbot dev --port 3000
    """
    from crpbot_dagster.sandbox.server import serve

    tracker = configured().mlflow_url
    is_remote = tracker is not None and tracker.get_secret_value().startswith("http")  # it has a UI of its own
    tracks = port + 2 if mlflow and not is_remote else None
    for taken in (p for p in (port, port + 1, tracks) if p is not None and not _is_free(p)):
        stop(f"port {taken} is in use: choose another --port", USAGE)
    settings.export(ui_url=_url(port), reports_url=_url(port + 1))
    if tracks is not None:
        settings.export(mlflow_ui_url=_url(tracks))
    with _stopped_by_signals(), opened(market=True) as config, ExitStack() as stack:
        config.reports_dir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(serve(reports_app(config.reports_dir), port=port + 1))
        children = {"Dagster": stack.enter_context(_child(_dagster(port), {}))}
        if tracks is not None:
            children["MLflow"] = stack.enter_context(_child(_mlflow(tracks), _tracker(config)))
        console.print(f"Dagster UI on {config.ui_url}, reports on {config.reports_url} (Ctrl-C stops it)")
        if tracks is not None:
            console.print(f"MLflow on {config.mlflow_ui_url}")
        raise typer.Exit(_wait(children))


def reports_app(folder: Path):  # type: ignore[no-untyped-def]
    """Return a web application that serves the reports of ``folder`` and, at ``/``, lists them."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    def listing(_: Request) -> HTMLResponse:
        names = sorted((p.relative_to(folder).as_posix() for p in folder.rglob("*.html")), reverse=True)
        rows = "".join(f'<li><a href="{html.escape(n)}">{html.escape(n)}</a></li>' for n in names)
        return HTMLResponse(f"<!doctype html><title>crpbot reports</title><h1>Reports</h1><ul>{rows}</ul>")

    return Starlette(routes=[Route("/", listing), Mount("/", StaticFiles(directory=folder))])


def _dagster(port: int) -> list[str]:
    workspace = str(PROJECT / "workspace.yaml")
    return [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", HOST, "-p", str(port)]


def _mlflow(port: int) -> list[str]:
    return [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]


def _tracker(config: Settings) -> dict[str, str]:
    assert config.mlflow_url is not None  # the platform sets it
    return {
        # Not on the command line, where every user of the machine reads it.
        "MLFLOW_BACKEND_STORE_URI": config.mlflow_url.get_secret_value(),
        # Its job runner would take five times the memory.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the verb as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell's background job starts with it ignored.
    before = {s: signal.signal(s, interrupt) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _child(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own; at the end nothing of the group is left."""
    child = subprocess.Popen(
        command,
        # Not from the project's folder: Dagster would warn about the dagster.yaml it finds there.
        cwd=os.environ["DAGSTER_HOME"],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield child
    finally:
        # A second Ctrl-C must not leave a half-stopped platform.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        child.terminate()
        try:
            child.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            console.print(f"{command[2]} does not end by itself: killed")
        with suppress(ProcessLookupError):  # nobody was left
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _wait(children: Mapping[str, subprocess.Popen[bytes]]) -> int:
    """Return when a signal comes (0), or when a child ends that should not (1)."""
    try:
        while True:
            for name, child in children.items():
                if child.poll() is not None:
                    console.print(
                        f"{name} ended by itself, exit code {child.returncode}: see its log above", style="red"
                    )
                    return FAILED
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        console.print("stopping")
        return OK
