"""``crpbot``: thin verbs over Dagster. Every verb works on the same instance, so the UI shows what it did.

Exit codes: 0 ok, 1 a gate or check failed, 2 usage, 3 data missing.
Not here: what a run needs (``runs.py``), what is promoted (``assets/promotion``).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from crpbot_dagster import instruments, settings
from crpbot_dagster.settings import PROJECT, Settings, SettingsError

OK, FAILED, USAGE, MISSING = 0, 1, 2, 3
DATA_MISSING = ("NoPrimaryRows", "IncompleteError")  # errors that say: fetch it first

app = typer.Typer(
    help="crpbot: market data in, honest verdicts out. Every verb drives Dagster; `crpbot dev` opens its UI.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
sandbox_app = typer.Typer(help="The simulated market.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sandbox_app, name="sandbox")
console = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Symbols = Annotated[str, typer.Option(help="Comma-separated symbols; default: all of the settings.")]


def _settings() -> Settings:
    try:
        return settings.load()
    except (SettingsError, ValueError) as error:
        console.print(f"settings: {error}", style="red", highlight=False)
        raise typer.Exit(USAGE) from error


def _symbols(text: str, config: Settings) -> list[str]:
    chosen = [s.strip() for s in text.split(",") if s.strip()] or list(config.symbols)
    unknown = [s for s in chosen if s not in config.symbols]
    if unknown:
        console.print(
            f"unknown symbol {', '.join(unknown)}: the settings have {', '.join(config.symbols)} (CRPBOT_SYMBOLS)",
            style="red",
        )
        raise typer.Exit(USAGE)
    return chosen


def _day(text: str | None, name: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        console.print(f"{name} {text!r} is not a day: write it as 2024-01-31", style="red")
        raise typer.Exit(USAGE) from error


@app.command()
def run(
    symbols: Symbols = "",
    from_: Annotated[str | None, typer.Option("--from", help="First UTC day; default: what --to needs.")] = None,
    to: Annotated[str | None, typer.Option(help="Last UTC day and day of the verdict; default: yesterday.")] = None,
    until: Annotated[
        str, typer.Option(help="Last stage: raw, bars, features, models, evaluations, promotion.")
    ] = "promotion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and how much data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Materialise the route for a range of days, up to a stage.

    Example: crpbot run --symbols BTC-USD --from 2024-01-01 --to 2024-01-07 --until features
    """
    from crpbot_dagster import runs

    config = _settings()
    if until not in runs.STAGES:
        console.print(f"--until {until!r} is no stage: {', '.join(runs.STAGES)}", style="red")
        raise typer.Exit(USAGE)
    last = _day(to, "--to") or datetime.now(UTC).date() - timedelta(days=1)
    needs_verdict = runs.STAGES.index(until) >= runs.STAGES.index("models")
    first = _day(from_, "--from") or (runs.verdict_window(last, config) if needs_verdict else last)
    try:
        plans = _plans(_symbols(symbols, config), first, last, until, config)
    except runs.PlanError as error:
        console.print(str(error), style="red", highlight=False)
        raise typer.Exit(USAGE) from error
    if dry_run:
        _show_plan(plans, config, as_json)
        return
    code = _execute(plans, as_json)
    if needs_verdict and runs.STAGES.index(until) == len(runs.STAGES) - 1 and code == OK:
        code = _show_verdicts(list(plans), last, as_json)
    elif as_json and code == OK:
        typer.echo(json.dumps({"ok": True}))
    raise typer.Exit(code)


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Run the whole route on the simulated market, for every symbol, and print the verdicts.

    No key, no server, no network. Repeat it: what is there is replaced by the same. Example: crpbot demo
    """
    from crpbot_dagster import runs

    config = _settings()
    if config.market != "sandbox":
        console.print("the demo runs on the sandbox: unset CRPBOT_MARKET", style="red")
        raise typer.Exit(USAGE)
    last = runs.first_verdict(config)
    plans = _plans(list(config.symbols), runs.verdict_window(last, config), last, "promotion", config)
    console.print(
        f"sandbox market, seed {config.sandbox_seed}: {config.fit_days} days to fit, {config.stop_days} to stop "
        f"early, {config.calibrate_days} to calibrate, {config.test_days} to test; verdict on {last}; "
        f"state in {config.home_dir}"
    )
    started = time.perf_counter()
    code = _execute(plans, as_json)
    console.print(f"{sum(len(p) for p in plans.values())} runs in {time.perf_counter() - started:.0f} s")
    if code == OK:
        # The demo succeeded when it reached its verdicts, whatever they are.
        _show_verdicts(list(plans), last, as_json)
        console.print("Look at it: `make dev` opens the Dagster UI on http://127.0.0.1:3000")
    raise typer.Exit(code)


@app.command()
def dev(port: Annotated[int, typer.Option(help="Port of the web UI on localhost.")] = 3000) -> None:
    """Open the Dagster UI with its daemon on localhost, over the embedded Postgres.

    Example: crpbot dev --port 3001
    """
    from crpbot_dagster.instance import platform

    _settings()
    with platform(market=True):
        console.print(f"Dagster UI on http://127.0.0.1:{port} (Ctrl-C stops it)")
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT / "workspace.yaml")]
        # Not from the project's folder: Dagster would warn about the dagster.yaml it finds there.
        child = subprocess.Popen([*command, "-h", "127.0.0.1", "-p", str(port)], cwd=os.environ["DAGSTER_HOME"])
        try:
            raise typer.Exit(child.wait())
        except KeyboardInterrupt:
            child.wait(timeout=60)


@sandbox_app.command("serve")
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

    config = _settings()
    if recordings is not None:
        if not recordings.is_dir():
            console.print(f"--recordings {recordings}: no such folder", style="red")
            raise typer.Exit(USAGE)
        config = config.model_copy(update={"market": "recordings", "recordings": recordings})
    with serve(market_app(config, require_key), port=port) as url:
        typer.echo(f"export CRPBOT_SANDBOX_URL={url}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("stopped")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at settings, keys (set or not, never their value), sources, disk and lake, and say what to do next.

    Example: crpbot doctor --json
    """
    config = _settings()
    found = {"settings": _facts(config), "sources": _sources(config), "lake": _lake(config)}
    next_steps = _next_steps(config, found)
    if as_json:
        typer.echo(json.dumps(found | {"next": next_steps}, default=str))
    else:
        for title, facts in found.items():
            table = Table(title=title, show_header=False, title_justify="left")
            for name, value in facts.items():
                table.add_row(name, str(value))
            Console().print(table)
        for step in next_steps:
            typer.echo(f"next: {step}")
    raise typer.Exit(OK if not any(s.startswith("error") for s in next_steps) else MISSING)


def _facts(config: Settings) -> dict[str, Any]:
    free = shutil.disk_usage(_existing(config.home_dir)).free
    secrets = {
        name: "set" if getattr(config, name) is not None else "not set"
        for name, f in Settings.model_fields.items()
        if "SecretStr" in str(f.annotation)
    }
    primaries = {s: instruments.primary(s, config.primary) for s in config.symbols}
    return {
        "market": config.market,
        "state folder": config.home_dir,
        "lake": config.lake_url,
        "disk free": f"{free / 2**30:.1f} GiB",
        "symbols": ", ".join(f"{s} ({p.venue}/{p.source})" for s, p in primaries.items()),
        "start day": config.start_day,
        **secrets,
    }


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _sources(config: Settings) -> dict[str, str]:
    import httpx

    if config.market != "live":
        served = config.sandbox_url or "started by each verb that needs it"
        return {"local market": f"{served}{f', recordings of {config.recordings}' if config.recordings else ''}"}
    answers = {}
    for source, url in (("tardis", "https://api.tardis.dev/v1/exchanges"), ("coinbase", config.coinbase_url)):
        try:
            answers[source] = f"answers ({httpx.get(url, timeout=10).status_code})"
        except httpx.HTTPError as error:
            answers[source] = f"does not answer: {type(error).__name__}"
    return answers


def _lake(config: Settings) -> dict[str, Any]:
    from crpbot_dagster.instance import lake_of
    from crpbot_dagster.tables import TABLES

    lake = lake_of(config)
    made: dict[str, Any] = {"made from": lake.stamp() or "nothing yet"}
    for table in TABLES:
        counts = {s: len(lake.days(table, s)) for s in config.symbols}
        if any(counts.values()):
            made[table] = ", ".join(f"{s} {n} days" for s, n in counts.items())
    return made


def _next_steps(config: Settings, found: dict[str, Any]) -> list[str]:
    made = found["lake"]["made from"]
    if made not in ("nothing yet", config.stamp):
        return [f"error: the lake was made from {made}, the settings say {config.stamp}: choose another CRPBOT_LAKE"]
    silent = [s for s, answer in found["sources"].items() if "does not answer" in answer]
    if silent:
        return [f"error: {', '.join(silent)} cannot be reached: check the network or the URL"]
    if made == "nothing yet":
        return ["crpbot demo" if config.market == "sandbox" else "crpbot run --dry-run"]
    return [
        "crpbot dev, to look at what is there",
        "crpbot run --dry-run, to see what the next verdict needs",
    ]


def _plans(symbols: list[str], first: date, last: date, until: str, config: Settings) -> dict[str, list[Any]]:
    from crpbot_dagster import runs
    from crpbot_dagster.instance import lake_of

    lake, today = lake_of(config), datetime.now(UTC).date()
    held = {s: frozenset(lake.days("features/v5", s)) for s in symbols}
    return {s: runs.plan(s, first, last, until, config, today, held[s]) for s in symbols}


def _show_plan(plans: dict[str, list[Any]], config: Settings, as_json: bool) -> None:
    rows = [
        {"symbol": s, "runs": len(steps), "materialisations": sum(len(x.tables) for x in steps)}
        | {"first_day": str(min(x.day for x in steps)), "last_day": str(max(x.day for x in steps))}
        | {"source_days": len({x.day for x in steps if "raw/tardis_trades" in x.tables})}
        for s, steps in plans.items()
    ]
    if as_json:
        typer.echo(json.dumps({"market": config.market, "plan": rows}))
        return
    table = Table(*rows[0], title=f"would run on {config.market} data, into {config.lake_url}")
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    Console().print(table)
    typer.echo("A source day is one day of files per symbol: trades, book, snapshots, candles.")


def _execute(plans: dict[str, list[Any]], as_json: bool) -> int:
    """Run the plans, one process per symbol, with a progress bar; return the exit code."""
    from crpbot_dagster import definitions
    from crpbot_dagster.instance import platform
    from crpbot_dagster.workers import run_plans

    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failures: list[str] = []
    with (
        platform(market=True) as config,
        Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[now]}"), console=console) as progress,
    ):
        if any(t.startswith("models/") for steps in plans.values() for step in steps for t in step.tables):
            definitions.resources(config)["experiments"].process_config_and_initialize().prepare()
        bars = {s: progress.add_task(s, total=len(steps), now="") for s, steps in plans.items()}
        for symbol, now, failure in run_plans(plans, config.parallel_symbols):
            progress.update(bars[symbol], advance=1, now=now)
            if failure is not None:
                failures.append(f"{symbol} {now}: {failure}")
    for failure in failures:
        console.print(failure, style="red", highlight=False)
    if failures and as_json:
        typer.echo(json.dumps({"ok": False, "failures": failures}))
    if not failures:
        return OK
    return MISSING if all(any(f"{m}:" in f for m in DATA_MISSING) for f in failures) else FAILED


def _show_verdicts(symbols: list[str], day: date, as_json: bool) -> int:
    from crpbot_dagster.instance import lake_of

    lake = lake_of(_settings())
    rows = [
        row
        for s in symbols
        for row in lake.window("promotion/promoted_model", s, day, day).collect().iter_rows(named=True)
    ]
    chosen = [r for r in rows if r["is_chosen"] and r["gate"] == "verdict"]
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    else:
        for verdict in chosen:
            table = Table("gate", "value", "must be", "passed", title=f"{verdict['symbol']}  {verdict['verdict']}  "
                          f"({verdict['family']}, verdict of {day})", title_justify="left")  # fmt: skip
            for gate in rows:
                same = (gate["symbol"], gate["family"]) == (verdict["symbol"], verdict["family"])
                if same and gate["gate"] != "verdict":
                    passed = {True: "yes", False: "NO", None: "unknown"}[gate["passed"]]
                    threshold = "" if gate["threshold"] is None else f" {gate['threshold']:.4g}"
                    value = "" if gate["value"] is None else f"{gate['value']:.4f}"
                    table.add_row(gate["gate"], value, f"{gate['comparison']}{threshold}", passed)
            Console().print(table)
            others = [r for r in rows if r["gate"] == "verdict" and r["symbol"] == verdict["symbol"]]
            for r in others:
                value = "unknown" if r["value"] is None else f"{100 * r['value']:.2f} %"
                typer.echo(f"  {r['family']}: accuracy {value}, {r['verdict']}")
            typer.echo(f"  {verdict['reason']}\n")
    return OK if any(r["verdict"] == "PROMOTE" for r in chosen) else FAILED


if __name__ == "__main__":
    app()
