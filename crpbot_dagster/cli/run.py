"""Verbs that materialise a range of days: ``demo``, ``run``, ``backfill``."""

import json
import time
from datetime import date, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from crpbot_dagster import settings
from crpbot_dagster.cli.progress import execute
from crpbot_dagster.cli.terminal import (
    OK,
    USAGE,
    AsJson,
    Symbols,
    chosen_symbols,
    configured,
    console,
    day_of,
    stop,
)
from crpbot_dagster.cli.verdicts import show_verdicts
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables.schema import MARKET_WIDE

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run, and how much data.")]


def run(
    symbols: Symbols = "",
    from_: Annotated[str | None, typer.Option("--from", help="First UTC day; default: what --to needs.")] = None,
    to: Annotated[str | None, typer.Option(help="Last UTC day and day of the verdict; default: yesterday.")] = None,
    until: Annotated[
        str, typer.Option(help="Last stage: raw, bars, features, models, evaluations, promotion.")
    ] = "promotion",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Materialise the route for a range of days, up to a stage; what is there is replaced by the same.

    Example: crpbot run --symbols BTC-USD --from 2024-01-01 --to 2024-01-07 --until features
    """
    from crpbot_dagster import runs

    config = configured()
    if until not in runs.STAGES:
        stop(f"--until {until!r} is no stage: {', '.join(runs.STAGES)}", USAGE)
    last = day_of(to, "--to") or config.now().date() - timedelta(days=1)
    needs_verdict = runs.STAGES.index(until) >= runs.STAGES.index("models")
    first = day_of(from_, "--from") or (runs.verdict_window(last, config) if needs_verdict else last)
    plans = plans_of(chosen_symbols(symbols, config), first, last, until, config)
    if dry_run:
        _show_plan(plans, config, as_json)
        return
    code = execute(plans, as_json)
    if code == OK and until == "promotion":
        code = show_verdicts([s for s in plans if s != MARKET_WIDE], last, as_json)
    elif code == OK and as_json:
        typer.echo(json.dumps({"ok": True}))
    raise typer.Exit(code)


def backfill(
    from_: Annotated[str, typer.Option("--from", help="First UTC day.", show_default=False)],
    to: Annotated[str, typer.Option(help="Last UTC day.", show_default=False)],
    symbols: Symbols = "",
    again: Annotated[bool, typer.Option("--again", help="Build the days that are held, too.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fetch and build raw, bars, features and labels for a range; days that the lake holds whole are skipped.

    Stop it when you like: started again, it goes on where it was. The labels of the last day need the day after
    it. Example: crpbot backfill --symbols BTC-USD --from 2024-01-01 --to 2024-01-31
    """
    config = configured()
    first, last = day_of(from_, "--from"), day_of(to, "--to")
    assert first is not None and last is not None  # both are required
    chosen = chosen_symbols(symbols, config)
    plans = plans_of(chosen, first, last, "features", config, again=again)
    days = (last - first).days + 1
    held = {s: days - len({x.day for x in plans[s] if first <= x.day <= last}) for s in chosen}
    for symbol in chosen:
        console.print(f"{symbol}: {days - held[symbol]} days to build, {held[symbol]} of {days} held", highlight=False)
    if dry_run:
        _show_plan(plans, config, as_json)
        return
    code = execute(plans, as_json)
    if code == OK and as_json:
        built = {s: {"days": days, "held": held[s], "built": days - held[s]} for s in chosen}
        typer.echo(json.dumps({"ok": True, "symbols": built}))
    raise typer.Exit(code)


def demo(as_json: AsJson = False) -> None:
    """Run the whole route on the simulated market, for every symbol, and print the verdicts.

    No key, no server, no network. Repeat it: what is there is replaced by the same. Example: crpbot demo
    """
    from crpbot_dagster import runs

    if configured().market != "sandbox":
        stop("the demo runs on the sandbox: unset CRPBOT_MARKET", USAGE)
    profile = {n: v for n, v in settings.DEMO_PROFILE.items() if n not in configured().model_fields_set}
    settings.export(**profile)
    config = configured()
    last = runs.first_verdict(config)
    if config.clock is None:
        # The morning after its last day: a snapshot of that day can still be taken, as a daily run would.
        config.home_dir.mkdir(parents=True, exist_ok=True)
        clock = config.home_dir / "demo_clock"
        clock.write_text(f"{last + timedelta(days=1)}T06:30:00+00:00\n")
        settings.export(clock=str(clock))
        config = configured()
    plans = plans_of(list(config.symbols), runs.verdict_window(last, config), last, "promotion", config)
    console.print(
        f"sandbox market, seed {config.sandbox_seed}: {config.fit_days} days to fit, {config.stop_days} to stop "
        f"early, {config.calibrate_days} to calibrate, {config.test_days} to test; verdict on {last}; every source of "
        f"the last {config.every_source_days} days; it is {config.now():%Y-%m-%d %H:%M} UTC; state in {config.home_dir}"
    )
    console.print(
        f"demo profile of the LSTM: {', '.join(f'{n} {v}' for n, v in profile.items()) or 'none, all is set'}; "
        "CRPBOT_LSTM_* sets another",
        highlight=False,
    )
    started = time.perf_counter()
    code = execute(plans, as_json)
    console.print(f"{sum(len(p) for p in plans.values())} runs in {time.perf_counter() - started:.0f} s")
    if code == OK:
        # The demo succeeded when it reached its verdicts, whatever they are.
        show_verdicts([s for s in plans if s != MARKET_WIDE], last, as_json)
        console.print("Look at it: `make dev` opens the Dagster UI on http://127.0.0.1:3000")
    raise typer.Exit(code)


def plans_of(
    symbols: list[str], first: date, last: date, until: str, config: Settings, again: bool = True
) -> dict[str, list[Any]]:
    """Return each symbol's plan, without what is held unless ``again``; a range that cannot be ends the verb."""
    from crpbot_dagster import runs
    from crpbot_dagster.instance import lake_of

    lake, today = lake_of(config), config.now().date()
    plans = {}
    # The market first: what the symbols' days read of it must be there.
    for symbol in (MARKET_WIDE, *symbols):
        try:
            runs.check_range(first, last, config, today)
            held = runs.held_days(symbol, first, last, lake)
            steps = runs.plan(symbol, first, last, until, config, today, held)
        except runs.PlanError as error:
            stop(str(error), USAGE)
        plans[symbol] = steps if again else runs.without_held(steps, held)
    if not plans[MARKET_WIDE]:
        del plans[MARKET_WIDE]
    return plans


def _show_plan(plans: dict[str, list[Any]], config: Settings, as_json: bool) -> None:
    rows = [
        {"symbol": s, "runs": len(steps), "materialisations": sum(len(x.tables) for x in steps)}
        | {"first_day": str(min((x.day for x in steps), default="")), "last_day": _last(steps)}
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


def _last(steps: list[Any]) -> str:
    return str(max((x.day for x in steps), default=""))
