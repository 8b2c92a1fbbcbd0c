"""Verbs on one symbol's models: ``train``, ``evaluate``, ``promote``, ``report``, ``rollback``.

Each materialises the partitions it names, through Dagster. Not here: how it is trained and judged (``assets/``).
"""

import json
import webbrowser
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from crpbot_dagster import settings
from crpbot_dagster.cli.progress import execute
from crpbot_dagster.cli.run import plans_of
from crpbot_dagster.cli.terminal import (
    MISSING,
    OK,
    USAGE,
    AsJson,
    Coin,
    configured,
    console,
    day_of,
    opened,
    stop,
    symbol_of,
)
from crpbot_dagster.cli.verdicts import show_metrics, show_models, show_verdicts
from crpbot_dagster.settings import Settings

VerdictDay = Annotated[
    str | None,
    typer.Option("--to", help="UTC day of the verdict; default: the newest possible."),
]
REPORT = "promotion/report"


def train(
    coin: Coin,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many epochs; default: the settings'.")] = None,
    family: Annotated[str | None, typer.Option(help="One model family, e.g. logistic_v5; default: all.")] = None,
    to: VerdictDay = None,
    as_json: AsJson = False,
) -> None:
    """Train the models that the verdict of --to will judge, and fetch the days its window lacks.

    The test days lie between a model and its verdict, so a verdict of today judges a model of four weeks ago.
    Example: crpbot train BTC --epochs 20
    """
    from crpbot_dagster import runs
    from crpbot_dagster.assets.evaluations.assets import model_day
    from crpbot_dagster.instance import lake_of
    from crpbot_dagster.tables.results import FAMILIES

    config = configured()
    symbol = symbol_of(coin, config)
    if family is not None and family not in FAMILIES:
        stop(f"--family {family!r} is none: {', '.join(FAMILIES)}", USAGE)
    if epochs is not None:
        settings.export(lstm_epochs=str(epochs))
    families = [family] if family is not None else list(FAMILIES)
    verdict_day = day_of(to, "--to") or runs.next_verdict(symbol, lake_of(config), config)
    window = runs.verdict_window(verdict_day, config)
    planned = plans_of([symbol], window, verdict_day, "features", config, again=False)[symbol]
    steps = [s for s in planned if not s.is_beside]  # a training reads the primary source alone
    day = model_day(verdict_day, config.test_days)
    console.print(f"{symbol}: models of {day} for the verdict of {verdict_day}; {len(steps)} runs to fetch its window")
    models = tuple(f"models/{f}" for f in families)
    code = execute({symbol: [*steps, runs.Step(symbol, day, models)]}, as_json)
    raise typer.Exit(show_models(lake_of(config), families, symbol, day, as_json) if code == OK else code)


def evaluate(coin: Coin, to: VerdictDay = None, as_json: AsJson = False) -> None:
    """Judge the trained models on the test days, which they never saw, and print the headline numbers.

    Example: crpbot evaluate BTC
    """
    from crpbot_dagster import runs
    from crpbot_dagster.assets import EVALUATION_TABLES, tables_of
    from crpbot_dagster.instance import lake_of

    config = configured()
    symbol = symbol_of(coin, config)
    day = day_of(to, "--to") or _newest(symbol, tables_of("models"), "train", config, config.test_days + 1)
    code = execute({symbol: [runs.Step(symbol, day, EVALUATION_TABLES)]}, as_json)
    raise typer.Exit(show_metrics(lake_of(config), symbol, day, as_json) if code == OK else code)


def promote(coin: Coin, to: VerdictDay = None, as_json: AsJson = False) -> None:
    """Hold the metrics against the gates, print the verdict, and put the model in force if it is PROMOTE.

    Example: crpbot promote BTC
    """
    from crpbot_dagster import runs
    from crpbot_dagster.assets import tables_of

    config = configured()
    symbol = symbol_of(coin, config)
    day = day_of(to, "--to") or _newest(symbol, ("evaluations/metrics",), "evaluate", config)
    code = execute({symbol: [runs.Step(symbol, day, tables_of("promotion"))]}, as_json)
    raise typer.Exit(show_verdicts([symbol], day, as_json) if code == OK else code)


def report(
    coin: Coin,
    to: VerdictDay = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the verdict's report, one HTML file, and print where it lies.

    Example: crpbot report BTC --open
    """
    from crpbot_dagster import runs
    from crpbot_dagster.instance import lake_of

    config = configured()
    symbol = symbol_of(coin, config)
    day = day_of(to, "--to") or _newest(symbol, ("promotion/promoted_model",), "promote", config)
    code = execute({symbol: [runs.Step(symbol, day, (REPORT,))]}, as_json)
    if code != OK:
        raise typer.Exit(code)
    row = lake_of(config).window(REPORT, symbol, day, day).collect().row(0, named=True)
    path = Path(config.reports_dir, row["path"])
    typer.echo(json.dumps({"symbol": symbol, "verdict_day": str(day), "path": str(path)}) if as_json else str(path))
    if open_ and not webbrowser.open(path.as_uri()):
        console.print("no browser was found: open the file yourself")


def rollback(coin: Coin, as_json: AsJson = False) -> None:
    """Put the model before the one in force back: the alias champion moves to the alias previous.

    Example: crpbot rollback BTC
    """
    from crpbot_dagster import definitions

    symbol = symbol_of(coin, configured())
    with opened(market=False) as config:
        tracker = definitions.resources(config)["experiments"].process_config_and_initialize()
        try:
            before, now = tracker.rollback(symbol)
        except LookupError as error:
            stop(str(error), MISSING)
    if as_json:
        typer.echo(json.dumps({"symbol": symbol, "before": before, "now": now}))
    else:
        typer.echo(f"{symbol}: version {before} was in force, version {now} is in force now")


def _newest(symbol: str, tables: tuple[str, ...], verb: str, config: Settings, later: int = 0) -> date:
    """Return the newest day on which all tables hold rows, ``later`` days on; none ends the verb."""
    from crpbot_dagster.instance import lake_of

    lake = lake_of(config)
    days = set.intersection(*(set(lake.days(t, symbol)) for t in tables))
    if not days:
        stop(f"{symbol}: {', '.join(tables)}: none yet. First: crpbot {verb} {symbol}", MISSING)
    return max(days) + timedelta(days=later)
