"""How trained models, metrics and verdicts are printed. Not here: how they are made (``assets/``)."""

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from crpbot_dagster.cli.terminal import FAILED, OK, configured

if TYPE_CHECKING:
    from crpbot_dagster.resources.lake import Lake

UNKNOWN = "unknown"


def show_verdicts(symbols: list[str], day: date, as_json: bool) -> int:
    """Print each symbol's gates and verdict; return 0 when one is PROMOTE, else 1."""
    from crpbot_dagster.instance import lake_of

    rows = [r for s in symbols for r in _rows(lake_of(configured()), "promotion/promoted_model", s, day)]
    chosen = [r for r in rows if r["is_chosen"] and r["gate"] == "verdict"]
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    else:
        for verdict in chosen:
            _show_verdict(verdict, [r for r in rows if r["symbol"] == verdict["symbol"]], day)
    return OK if any(r["verdict"] == "PROMOTE" for r in chosen) else FAILED


def _show_verdict(verdict: dict[str, Any], rows: list[dict[str, Any]], day: date) -> None:
    title = f"{verdict['symbol']}  {verdict['verdict']}  ({verdict['family']}, verdict of {day})"
    table = Table("gate", "value", "must be", "passed", title=title, title_justify="left")
    for gate in rows:
        if gate["family"] == verdict["family"] and gate["gate"] != "verdict":
            passed = {True: "yes", False: "NO", None: UNKNOWN}[gate["passed"]]
            threshold = "" if gate["threshold"] is None else f" {gate['threshold']:.4g}"
            value = "" if gate["value"] is None else f"{gate['value']:.4f}"
            table.add_row(gate["gate"], value, f"{gate['comparison']}{threshold}", passed)
    Console().print(table)
    for r in rows:
        if r["gate"] == "verdict":
            typer.echo(f"  {r['family']}: accuracy {_percent(r['value'])}, {r['verdict']}")
    typer.echo(f"  {verdict['reason']}\n")


def show_models(lake: "Lake", families: list[str], symbol: str, day: date, as_json: bool) -> int:
    """Print what was trained; return 0 when a family was, else 1."""
    rows = [_model(family, row) for family in families for row in _rows(lake, f"models/{family}", symbol, day)]
    if as_json:
        typer.echo(json.dumps({"symbol": symbol, "model_day": day.isoformat(), "models": rows}))
    else:
        shown = ("family", "state", "rows", "epochs", "fit loss", "stop loss", "MLflow run")
        table = Table(*shown, title=f"{symbol}, models of {day}", title_justify="left")
        for row in rows:
            told = (row["fitted_rows_n"], row["epochs_n"], row["fit_loss"], row["stop_loss"], row["mlflow_run_id"])
            table.add_row(row["family"], row["state"], *(_plain(v) for v in told))
        Console().print(table)
        for row in rows:
            if row["reason"]:
                typer.echo(f"  {row['family']}: {row['reason']}")
    return OK if any(r["state"] == "trained" for r in rows) else FAILED


def _model(family: str, row: dict[str, Any]) -> dict[str, Any]:
    history: list[dict[str, float]] = json.loads(row["history"]) if row["history"] else []
    # The epoch that is kept is the best one on the stop days.
    best: dict[str, float] = min(history, key=lambda epoch: epoch["stop_loss"], default={})
    return {
        "family": family,
        "state": row["state"],
        "reason": row["reason"],
        "fitted_rows_n": row["rows_n"],
        "epochs_n": len(history) or None,
        "fit_loss": best.get("fit_loss"),
        "stop_loss": best.get("stop_loss"),
        "mlflow_run_id": row["mlflow_run_id"],
    }


def show_metrics(lake: "Lake", symbol: str, day: date, as_json: bool) -> int:
    """Print each family's headline numbers with their intervals; return 0 when there are any, else 1."""
    found: dict[str, dict[str, Any]] = {}
    for row in _rows(lake, "evaluations/metrics", symbol, day):
        value = row["text"] if row["metric"] == "guard_reasons" else row["value"]
        found.setdefault(row["family"], {})[row["metric"]] = value
    if as_json:
        typer.echo(json.dumps({"symbol": symbol, "verdict_day": day.isoformat(), "metrics": found}))
        return OK if found else FAILED
    title = f"{symbol}, judged on {day}: days no model saw"
    shown = (
        "family",
        "accuracy",
        "95 % interval",
        "always one side",
        "n",
        "independent",
        "ECE at most",
        "Brier skill",
    )
    table = Table(*shown, title=title, title_justify="left")
    for family, m in found.items():
        low, high = _percent(m.get("accuracy_low_frac")), _percent(m.get("accuracy_high_frac"))
        sizes = [_plain(None if m.get(k) is None else round(m[k])) for k in ("n", "n_eff")]
        rest = [_plain(m.get(k)) for k in ("ece_upper", "brier_skill")]
        base = _percent(m.get("baseline_accuracy_frac"))
        table.add_row(family, _percent(m.get("accuracy_frac")), f"{low} to {high}", base, *sizes, *rest)
    Console().print(table)
    if not found:
        typer.echo("  no family was trained: models/* of the model's day say why")
    return OK if found else FAILED


def _rows(lake: "Lake", table: str, symbol: str, day: date) -> list[dict[str, Any]]:
    return list(lake.window(table, symbol, day, day).collect().iter_rows(named=True))


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.2f} %"


def _plain(value: float | int | str | None) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
