"""The promotion verdict as an asset: the gates of every family, the family chosen, and the alias moved.

Wiring only; the verdict is ``gates.decide``, the registry ``resources/experiments.py``.
"""

from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl

from crpbot_dagster import settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.evaluations.assets import load_model, predict
from crpbot_dagster.assets.models.artefact import digest
from crpbot_dagster.assets.promotion.gates import Candidate, Choice, Metric, Thresholds, choose, decide
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.resources.lake import Built, Lake
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


ASSETS = (promoted_model,)
