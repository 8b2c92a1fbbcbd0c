"""The promotion verdict as assets: the gates of every family and the alias moved, the leaderboard, the report.

Wiring only; the verdict is ``gates.decide``, the registry ``resources/experiments.py``, the page ``report.render``,
the leaderboard's SQL ``dbt_like_sql/promotion``.
"""

import hashlib
from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl

from crpbot_dagster import settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.evaluations.assets import load_model, model_day, predict
from crpbot_dagster.assets.evaluations.page import write_page
from crpbot_dagster.assets.models.artefact import digest
from crpbot_dagster.assets.promotion.gates import Candidate, Choice, Metric, Thresholds, choose, decide
from crpbot_dagster.assets.promotion.leaderboard import leaderboard_markdown
from crpbot_dagster.assets.promotion.report import Evidence, days_between, headline, render, spans_of
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.sql_models import MODELS, lineage_of, read_model
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.results import FAMILIES

SAME_PROBABILITY = 1e-6
"""A network adds float32 numbers in an order that depends on the machine; another model differs by far more."""


class OtherPredictions(ValueError):
    """The stored artefact does not reproduce the predictions it was judged on; it is not promoted."""


def thresholds(config: Settings) -> Thresholds:
    """Return the gates' thresholds from the settings."""
    return Thresholds(
        accuracy=config.gate_accuracy,
        tune_accuracy=config.gate_tune_accuracy,
        ece=config.gate_ece,
        min_n_eff=config.gate_min_n_eff,
        p_value=config.gate_p_value,
        strict=config.gate_strict,
    )


def candidates(metrics: pl.DataFrame, limits: Thresholds) -> dict[str, Candidate]:
    """Return each family's decision, from rows of ``evaluations/metrics``."""
    found = {}
    for (family,), rows in metrics.group_by("family", maintain_order=True):
        numbers: dict[str, Metric] = {
            r["metric"]: r["text"] if r["metric"] == "guard_reasons" else r["value"] for r in rows.iter_rows(named=True)
        }
        found[str(family)] = Candidate(decide(numbers, limits), numbers)
    return found


def verdict_rows(found: dict[str, Candidate], choice: Choice, symbol: str, day: date) -> pl.DataFrame:
    """Return one row per family and gate, and one with gate ``verdict`` per family."""
    rows: list[tuple[object, ...]] = []
    for family, candidate in found.items():
        decision, chosen = candidate.decision, family == choice.family
        for gate in decision.rows:
            measured = (gate.value, gate.threshold, gate.comparison, gate.n, gate.passed)
            rows.append((symbol, day, family, chosen, gate.name, *measured, decision.verdict, gate.reason))
        accuracy, n_eff = candidate.metrics.get("accuracy_frac"), candidate.metrics.get("n_eff")
        number = (accuracy, None, "text", n_eff, decision.verdict == "PROMOTE")
        reason = " ".join(choice.reasons if chosen else decision.reasons)
        rows.append((symbol, day, family, chosen, "verdict", *number, decision.verdict, reason))
    return pl.DataFrame(rows, schema=TABLES["promotion/promoted_model"].schema, orient="row")


def no_candidate(symbol: str, day: date) -> pl.DataFrame:
    """Return the verdict of a symbol without any trained model: INSUFFICIENT, in one row."""
    reason = "INSUFFICIENT: no family could be trained; models/* of the model's day say why."
    row = (symbol, day, "none", True, "verdict", None, None, "text", 0.0, False, "INSUFFICIENT", reason)
    return pl.DataFrame([row], schema=TABLES["promotion/promoted_model"].schema, orient="row")


def verify(lake: Lake, experiments: Experiments, family: str, symbol: str, day: date) -> str:
    """Load the chosen artefact, run it, compare with the predictions it was judged on; return its run id.

    The tracker's copy, which is what gets registered, must be the same bytes as the lake's.

    Raises
    ------
    OtherPredictions
        A probability differs: what would be put in force is not what was evaluated.
    """
    predictions = lake.window("evaluations/predictions", symbol, day, day)
    judged = predictions.filter(pl.col("family") == family).sort("ts").collect()
    trained_on, test_day = judged["model_day"][0], judged["test_day"].max()
    model = load_model(lake, family, symbol, trained_on)
    if model is None:
        raise OtherPredictions(f"{family} of {symbol}, {trained_on}: the model is gone")
    before_it = test_day - timedelta(days=model.look_back_days)  # type: ignore[operator]
    features = lake.window(FAMILIES[family], symbol, before_it, test_day).collect()  # type: ignore[arg-type]
    labels = lake.window("features/labels", symbol, test_day, test_day).collect()  # type: ignore[arg-type]
    again = predict(model, features, labels, symbol, day)["p_up_15m"].fill_null(np.nan).to_numpy()
    before = judged.filter(pl.col("test_day") == test_day)["p_up_15m"].fill_null(np.nan).to_numpy()
    same = again.shape == before.shape and np.allclose(again, before, rtol=0, atol=SAME_PROBABILITY, equal_nan=True)
    if not same:
        raise OtherPredictions(f"{family} of {symbol} does not reproduce its predictions of {test_day!s}")
    stored = lake.window(f"models/{family}", symbol, trained_on, trained_on).collect().row(0, named=True)
    run_id = str(stored["mlflow_run_id"])
    if digest(experiments.stored(run_id, "weights.safetensors")) != stored["weights_sha256"]:
        raise OtherPredictions(f"the tracker's weights of run {run_id} are not the ones that were evaluated")
    return run_id


@table_asset(
    "promotion/promoted_model",
    kinds={"polars", "mlflow"},
    reads={"metrics": "evaluations/metrics"},
    after=("evaluations/predictions", *(f"models/{f}" for f in FAMILIES)),
    code_version="1",
)
def promoted_model(
    context: dg.AssetExecutionContext, metrics: pl.LazyFrame, lake: Lake, experiments: Experiments
) -> Built:
    """One row per family and gate, and the verdict: PROMOTE, TUNE, INVESTIGATE or INSUFFICIENT, with reasons.

    Reads the day's metrics. On PROMOTE the artefact is run once more and the alias ``champion`` moves to it.
    """
    symbol, day = split(context.partition_key)
    found = candidates(metrics.collect(), thresholds(settings.load()))
    if not found:
        return Built(no_candidate(symbol, day), "complete", "evaluations/metrics", notes={"verdict": "INSUFFICIENT"})
    choice = choose(found)
    notes = {"verdict": choice.verdict, "family": choice.family, "reason": " ".join(choice.reasons)}
    rows = verdict_rows(found, choice, symbol, day)
    if not choice.is_promoted:
        return Built(rows, "complete", "evaluations/metrics", notes=notes)
    run_id = verify(lake, experiments, choice.family, symbol, day)

    def promote() -> None:
        version = experiments.promote(symbol, run_id, day, lake.market, choice.family)
        context.log.info(f"version {version} of {symbol} is in force")

    return Built(rows, "complete", "evaluations/metrics", notes=notes, after=promote)


LEADERBOARD = read_model(MODELS / "promotion" / "leaderboard.sql")
LEADERBOARD_LINEAGE = lineage_of(LEADERBOARD)


def newest_boards(
    lake: Lake, this: pl.DataFrame, symbol: str, day: date, symbols: tuple[str, ...]
) -> list[pl.DataFrame]:
    """Return the newest leaderboard of every symbol that has one; ``this`` is not in the lake yet."""
    boards = []
    for s in symbols:
        newest = max(lake.days("promotion/leaderboard", s), default=date.min)
        if s == symbol and day >= newest:
            boards.append(this)
        elif newest > date.min:
            boards.append(lake.scan("promotion/leaderboard", s, newest, newest).collect())
    return boards


@table_asset("promotion/leaderboard", kinds={"duckdb"}, after=LEADERBOARD.inputs, code_version="1")
def leaderboard(context: dg.AssetExecutionContext, warehouse: Warehouse, lake: Lake) -> Built:
    """One row per model family of the verdict, the chosen one first, from SQL.

    Reads the day of ``promotion/promoted_model`` and ``evaluations/metrics``; its metadata shows the newest
    leaderboard of every symbol.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    frame, facts = warehouse.made(LEADERBOARD, symbol, day)
    boards = newest_boards(lake, frame, symbol, day, config.symbols)
    notes = {
        "leaderboard": dg.MetadataValue.md(leaderboard_markdown(boards, config.reports_url)),
        "dagster/column_lineage": LEADERBOARD_LINEAGE,
    }
    return Built(frame, "complete", ", ".join(LEADERBOARD.inputs), facts, notes)


def evidence(lake: Lake, symbol: str, day: date, config: Settings, **frames: pl.DataFrame) -> Evidence:
    """Return what the verdict of a day rests on; ``frames`` are the day's verdict, metrics and predictions."""
    predicted = frames["predictions"]
    # The verdict's own days, where it has any: the settings may have changed since.
    judged = predicted["model_day"].max()
    trained_on = judged if isinstance(judged, date) else model_day(day, config.test_days)
    test_days = (trained_on + timedelta(days=1), day - timedelta(days=1))
    models = {}
    for family in FAMILIES:
        found = lake.scan(f"models/{family}", symbol, trained_on, trained_on).drop("weights").collect()
        models[family] = found.row(0, named=True) if found.height else None
    fitted = [spans["fit"][0] for row in models.values() if "fit" in (spans := spans_of(row))]
    days = days_between(min(fitted, default=trained_on - timedelta(days=config.window_days)), test_days[1])
    daily = [t for t in TABLES.values() if t.stage in ("raw", "bars", "features") and t.partition == ("symbol", "day")]
    read = ("evaluations/predictions", "evaluations/metrics", "promotion/promoted_model", *(t.name for t in daily))
    table = FAMILIES.get(headline(frames["verdict"])["family"])
    return Evidence(
        symbol=symbol,
        day=day,
        market=lake.market,
        models=models,
        model_day=trained_on,
        test_days=test_days,
        states={t.name: lake.states(t.name, symbol, days) for t in daily},
        inputs=tuple(c for c in TABLES[table].features if c.is_input) if table else (),
        features=lake.scan(table, symbol, test_days[1], test_days[1]).collect() if table else pl.DataFrame(),
        versions={t: v for t in read if (v := lake.version(t)) is not None},
        mlflow_ui_url=config.mlflow_ui_url,
        **frames,
    )


@table_asset(
    "promotion/report",
    kinds={"polars", "plotly"},
    reads={
        "verdict": "promotion/promoted_model",
        "metrics": "evaluations/metrics",
        "predictions": "evaluations/predictions",
    },
    after=tuple(sorted({*(f"models/{f}" for f in FAMILIES), *FAMILIES.values()})),
    code_version="1",
)
def report(
    context: dg.AssetExecutionContext,
    verdict: pl.LazyFrame,
    metrics: pl.LazyFrame,
    predictions: pl.LazyFrame,
    lake: Lake,
) -> Built:
    """One row per verdict: its report, one HTML page with every gate, chart and source, and where it lies.

    Reads the day's verdict, metrics and predictions, the models behind them, the inputs of the last test day, and
    the state of every table from the first fit day to the last test day.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    frames = {"verdict": verdict.collect(), "metrics": metrics.collect(), "predictions": predictions.collect()}
    found = evidence(lake, symbol, day, config, **frames)
    page, name = render(found).encode(), f"{symbol}/{day}.html"
    path = write_page(config.reports_dir, name, page)  # before the row: a row never names a page that is not there
    chosen = headline(found.verdict)
    row = (symbol, day, name, hashlib.sha256(page).hexdigest(), len(page), chosen["verdict"], chosen["family"])
    frame = pl.DataFrame(
        [(*row, found.versions["promotion/promoted_model"])], schema=TABLES["promotion/report"].schema, orient="row"
    )
    notes = {"report": dg.MetadataValue.url(f"{config.reports_url}/{name}"), "page": dg.MetadataValue.path(path)}
    return Built(frame, "complete", "promotion/promoted_model", notes=notes)


ASSETS = (promoted_model, leaderboard, report)
