"""``crpbot analyse``: what do the features of a set hold, and which of them say something? A page with charts.

Not here: the arithmetic (``assets/evaluations/feature_analysis.py``), the page (``feature_page.py``).
"""

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from crpbot_dagster import settings
from crpbot_dagster.cli.progress import execute
from crpbot_dagster.cli.terminal import MISSING, OK, USAGE, AsJson, configured, day_of, stop, symbol_of

if TYPE_CHECKING:
    from crpbot_dagster.resources.lake import Lake

LABELS = "features/labels"
SHOWN = 10
MONTH_DAYS = 30


def analyse(
    feature_set: Annotated[str, typer.Argument(help="A feature set: v4, v5 …", show_default=False)],
    symbol: Annotated[str, typer.Option(help="A coin or a symbol: BTC or BTC-USD.", show_default=False)],
    from_: Annotated[
        str | None, typer.Option("--from", help="First UTC day; default: the unbroken days before --to, 90 at most.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Last UTC day; default: the newest with labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Analyse a feature set: coverage, drift, what goes with the label; write a page and print where it lies.

    The rows of a symbol and last day are replaced whole by the newest call, whatever its --from; they say their first
    day. Choose inputs by days before those that a verdict tests: else the test has chosen its own inputs.

    Example: crpbot analyse v5 --symbol BTC-USD
    """
    from crpbot_dagster import runs
    from crpbot_dagster.assets.evaluations.feature_page import page_name
    from crpbot_dagster.assets.features.sets import SETS
    from crpbot_dagster.instance import lake_of

    config = configured()
    name = symbol_of(symbol, config)
    if feature_set not in SETS:
        stop(f"no feature set {feature_set!r}: {', '.join(SETS)}", USAGE)
    lake, table = lake_of(config), SETS[feature_set].table.name
    first, last = day_of(from_, "--from"), day_of(to, "--to")
    held = sorted(set(lake.days(table, name)) & set(lake.days(LABELS, name)))
    if not held:
        newest = config.now().date() - timedelta(days=1)
        span = f"--from {max(config.start_day, newest - timedelta(days=MONTH_DAYS))} --to {newest}"
        again = f"crpbot backfill --symbols {name} {span}"
        stop(f"{name}: no day holds {table} and {LABELS}. First: {again}", MISSING)
    last = last or held[-1]
    if first is not None:
        _require(lake, table, name, first, last)
        settings.export(analysis_days=str((last - first).days + 1))
    made = f"evaluations/feature_analysis_{feature_set}"
    code = execute({name: [runs.Step(name, last, (made,))]}, as_json)
    if code != OK:
        raise typer.Exit(code)
    rows = list(
        lake_of(config).window(made, name, last, last).collect().sort("rank_n", nulls_last=True).iter_rows(named=True)
    )
    path = config.reports_dir / page_name(feature_set, name, last)
    _show(
        rows,
        f"{name}, features {feature_set}",
        {"symbol": name, "feature_set": feature_set, "page": str(path)},
        as_json,
    )


def _require(lake: "Lake", table: str, symbol: str, first: date, last: date) -> None:
    """End the verb unless every day of the span is there."""
    if last < first:
        stop(f"--to {last} lies before --from {first}", USAGE)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    absent = sorted({d for t in (table, LABELS) for d in lake.missing(t, symbol, days)})
    if absent:
        span = f"--from {absent[0]} --to {absent[-1] + timedelta(days=1)}"
        stop(
            f"{symbol}: {len(absent)} of the {len(days)} days lack {table} or {LABELS}, the first {absent[0]}. "
            f"First: crpbot backfill --symbols {symbol} {span} (labels need the day after)",
            MISSING,
        )


def _show(rows: list[dict[str, Any]], title: str, said: dict[str, str], as_json: bool) -> None:
    import polars as pl

    from crpbot_dagster.assets.evaluations.feature_analysis import standing, summary

    if not rows:
        stop(f"{title}: the days hold no rows", MISSING)
    told = summary(pl.DataFrame(rows, infer_schema_length=None))
    if as_json:
        shown = [{k: v for k, v in r.items() if k not in ("symbol", "day", "first_day")} for r in rows]
        days = {"first_day": str(rows[0]["first_day"]), "last_day": str(rows[0]["day"])}
        typer.echo(json.dumps(said | days | told | {"features": shown}, default=str))
        return
    heads = (
        "#",
        "input",
        "stands out",
        "points lost",
        "r, up or down",
        "95 % interval",
        "information",
        "drift",
        "null",
    )
    grid = Table(*heads, title=f"{title}, {rows[0]['first_day']} to {rows[0]['day']}", title_justify="left")
    for r in rows[:SHOWN]:
        if r["is_input"]:
            interval = f"{_number(r['corr_up_low'])} to {_number(r['corr_up_high'])}"
            information, drift = _number(r["mutual_information_nats"], ".3f"), r["drift_level"] or "unknown"
            numbers = (_number(r["accuracy_lost"], "+.2f", 100), _number(r["corr_up"]), interval, information, drift)
            grid.add_row(str(r["rank_n"]), r["feature"], standing(r), *numbers, f"{100 * r['null_frac']:.2f} %")
    Console().print(grid)
    for key, words in told.items():
        typer.echo(words if key == "found" else f"  {key.replace('_', ' ')}: {words}")
    typer.echo(said["page"])


def _number(value: float | None, form: str = "+.3f", scale: float = 1.0) -> str:
    return "unknown" if value is None else f"{scale * value:{form}}"
