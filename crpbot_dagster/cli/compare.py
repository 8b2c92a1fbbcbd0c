"""``crpbot compare``: is the data of one feature set worth more than that of another? Reads the newest verdict.

Not here: the arithmetic (``assets/evaluations/comparison.py``), how the models are trained and judged (``models.py``).
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from crpbot_dagster.cli.terminal import MISSING, OK, USAGE, AsJson, configured, day_of, stop, symbol_of

if TYPE_CHECKING:
    from crpbot_dagster.assets.evaluations.comparison import Comparison, Difference

PREDICTIONS = "evaluations/predictions"
FeatureSet = Annotated[str, typer.Argument(help="A feature set, e.g. v4 (candles) or v5 (ticks).", show_default=False)]


def compare(
    first: FeatureSet,
    second: FeatureSet,
    symbol: Annotated[str, typer.Option(help="A coin or a symbol: BTC or BTC-USD.", show_default=False)],
    model: Annotated[str, typer.Option(help="The kind of model that reads both, e.g. lstm.")] = "logistic",
    day: Annotated[str | None, typer.Option(help="UTC day of the verdict; default: the newest one.")] = None,
    usd_a_month: Annotated[
        float | None, typer.Option(min=0, help="What the second costs more a month, to price a point of accuracy.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two feature sets: same folds, same minutes, same kind of model; the difference with its 95 % interval.

    Example: crpbot compare v4 v5 --symbol BTC-USD --usd-a-month 300
    """
    from crpbot_dagster.assets.evaluations import comparison
    from crpbot_dagster.instance import lake_of
    from crpbot_dagster.resources.lake import IncompleteError
    from crpbot_dagster.tables.results import FAMILIES

    config = configured()
    name, families = symbol_of(symbol, config), [f"{model}_{s}" for s in (first, second)]
    unknown = [f for f in families if f not in FAMILIES]
    if unknown or first == second:
        stop(f"no two families {' and '.join(families)}: {', '.join(FAMILIES)}", USAGE)
    lake, verdict_day = lake_of(config), day_of(day, "--day")
    if verdict_day is None:
        days = lake.days(PREDICTIONS, name)
        if not days:
            stop(f"{name}: no predictions yet. First: crpbot train {name}, then crpbot evaluate {name}", MISSING)
        verdict_day = days[-1]
    try:
        predicted = lake.window(PREDICTIONS, name, verdict_day, verdict_day).collect()
        found = comparison.compare(predicted, families[0], families[1], config.bootstrap_draws, config.seed)
    except IncompleteError as error:
        stop(str(error), MISSING)
    except comparison.NotComparable as error:
        again = "; ".join(f"crpbot train {name} --family {f} --to {verdict_day}" for f in families)
        stop(f"{name} {verdict_day}: {error}. First: {again}; crpbot evaluate {name} --to {verdict_day}", MISSING)
    verdict = comparison.in_words(found, first, second)
    cost = comparison.cost_in_words(found, second, usd_a_month)
    if as_json:
        said = {"symbol": name, "verdict_day": str(verdict_day), "verdict": verdict, "cost": cost}
        typer.echo(json.dumps(said | found.as_dict()))
    else:
        _show(found, f"{name}, {model}: {first} against {second}, verdict of {verdict_day}", (first, second))
        typer.echo(f"  {verdict}\n  {cost}")
    raise typer.Exit(OK)


def _show(found: "Comparison", title: str, names: tuple[str, str]) -> None:
    table = Table("", *names, "difference", "95 % interval", title=title, title_justify="left")
    right = [f"{100 * x:.2f} %" for x in (found.accuracy_first, found.accuracy_second)]
    table.add_row("accuracy", *right, *_cells(found.accuracy, 100, ".2f", " points"))
    table.add_row("Brier", f"{found.brier_first:.4f}", f"{found.brier_second:.4f}", *_cells(found.brier, 1, ".4f", ""))
    Console().print(table)
    typer.echo(
        f"  {found.n} minutes of {found.days_n} test days, worth {found.n_eff:.0f} independent labels; "
        f"both models are of {found.model_day}"
    )


def _cells(shown: "Difference", scale: float, form: str, unit: str) -> tuple[str, str]:
    point, *ends = (None if x is None else f"{scale * x:+{form}}" for x in (shown.point, shown.low, shown.high))
    return f"{point}{unit}", "unknown" if None in ends else " to ".join(e for e in ends if e is not None)
