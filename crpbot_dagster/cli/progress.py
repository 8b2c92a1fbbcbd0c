"""Running plans with a progress bar per symbol, each symbol in a worker process.

Not here: what a plan holds (``runs.py``), the processes (``workers.py``).
"""

import json
from typing import Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from crpbot_dagster.cli.terminal import FAILED, MISSING, OK, console, opened

DATA_MISSING = ("NoPrimaryRows", "IncompleteError")  # errors that say: fetch it first


def execute(plans: dict[str, list[Any]], as_json: bool) -> int:
    """Run the plans, one process per symbol, and return the exit code; failures are printed."""
    plans = {symbol: steps for symbol, steps in plans.items() if steps}
    failures = _failures(plans) if plans else []
    for failure in failures:
        console.print(failure, style="red", highlight=False, markup=False)
    if failures and as_json:
        typer.echo(json.dumps({"ok": False, "failures": failures}))
    if not failures:
        return OK
    return MISSING if all(any(f"{m}:" in f for m in DATA_MISSING) for f in failures) else FAILED


def _failures(plans: dict[str, list[Any]]) -> list[str]:
    from crpbot_dagster import definitions
    from crpbot_dagster.workers import run_plans

    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failures: list[str] = []
    with (
        opened(market=True) as config,
        Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[now]}"), console=console) as progress,
    ):
        if any(t.startswith("models/") for steps in plans.values() for step in steps for t in step.tables):
            definitions.resources(config)["experiments"].process_config_and_initialize().prepare()
        bars = {s: progress.add_task(s, total=len(steps), now="") for s, steps in plans.items()}
        for news in run_plans(plans, config.parallel_symbols):
            progress.update(bars[news.symbol], advance=1, now=news.now)
            if news.failure is not None and news.is_beside:
                aside = f"{news.symbol} {news.now}, the run goes on: {news.failure}"
                progress.console.print(aside, style="yellow", highlight=False, markup=False)
            elif news.failure is not None:
                failures.append(f"{news.symbol} {news.now}: {news.failure}")
    return failures
