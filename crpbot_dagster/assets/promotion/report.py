"""The report of a verdict: from the tables' rows to one HTML page that needs nothing else, no network either.

Pure: no lake, no clock, no setting; the same rows give the same bytes. The page's words are in ``report.html`` beside
this, its looks in ``evaluations/page.html``, its charts in ``report_charts.py``, its wiring in ``assets.py``. What the
numbers mean and what they must reach: ``evaluations/metrics.py`` and ``gates.py``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from crpbot_dagster.assets.evaluations.charts import Chart, Interval, distribution
from crpbot_dagster.assets.evaluations.metrics import TIERS_PCT, hits
from crpbot_dagster.assets.evaluations.page import page
from crpbot_dagster.assets.models.calibration import calibration_bins, share_interval
from crpbot_dagster.assets.promotion import report_charts
from crpbot_dagster.tables.schema import Column

COVERAGE_PCT = (100, *TIERS_PCT)
VERDICTS = {  # sign and sentence, so that no colour has to be seen
    "PROMOTE": ("✔", "Every gate passed: the model is good enough to be in force."),
    "TUNE": ("▲", "Near, but a gate failed: worth tuning, not worth trading."),
    "INVESTIGATE": ("✖", "The accuracy is not near the gate: find out why before tuning."),
    "INSUFFICIENT": ("?", "There is too little to judge by."),
}
PASSED = {True: "✔ yes", False: "✖ no", None: "? unknown"}
SIGNS = {
    "complete": "●", "empty": "○", "partial": "◐", "missing": "✕", "not_licensed": "⊘", "not_configured": "–",
    "never built": "·",
}  # fmt: skip
# Of a manifest: what everybody looks for, and what the page shows in another place.
FIRST = ("feature_table", "venue", "source", "fit", "stop", "calibrate", "settings", "seed", "code_version")
ELSEWHERE = ("family", "symbol", "model_day", "features", "inputs", "delta_versions")
Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on, as the lake holds it."""

    symbol: str
    day: date
    market: str  # the lake's stamp
    verdict: pl.DataFrame  # promotion/promoted_model of the day
    metrics: pl.DataFrame  # evaluations/metrics of the day
    predictions: pl.DataFrame  # evaluations/predictions of the day
    models: Mapping[str, Mapping[str, Any] | None]  # family → its row of models/*, None when never built
    model_day: date
    test_days: tuple[date, date]
    states: Mapping[str, Mapping[date, str | None]]  # table → state of each day, fit to test
    inputs: tuple[Column, ...]  # what the chosen family reads
    features: pl.DataFrame  # rows of those on the last test day
    versions: Mapping[str, int]  # Delta version of each table that was read, now
    mlflow_ui_url: str


def render(evidence: Evidence) -> str:
    """Return the report as one self-contained HTML page; what is missing is said in words, never left out."""
    chosen = headline(evidence.verdict)
    families = ordered_families(evidence)
    metrics = {f: metrics_of(evidence.metrics, f) for f in families}
    judged = [f for f in families if metrics[f]]
    learnt, without_epochs = learning(evidence.models, families)
    return page(
        Path(__file__).with_name("report.html"),
        e=evidence,
        chosen=chosen,
        sign=VERDICTS[chosen["verdict"]][0],
        meaning=VERDICTS[chosen["verdict"]][1],
        market=evidence.market,
        verdicts=dict(evidence.verdict.filter(pl.col("gate") == "verdict").select("family", "verdict").iter_rows()),
        families=families,
        untrained=untrained(evidence.models),
        gates=gates(evidence.verdict, families),
        metrics=metrics,
        judged=judged,
        coverage=COVERAGE_PCT,
        tiers={f: [tier(metrics[f], pct) for pct in COVERAGE_PCT] for f in judged},
        daily=(daily := {f: daily_accuracy(evidence.predictions, f, metrics[f]) for f in judged}),
        charts=charts(metrics, judged, daily) if judged else {},
        reliability=[c for f in judged if (c := reliability(evidence.predictions, f, metrics[f])) is not None],
        learnt=learnt,
        without_epochs=without_epochs,
        calendar=calendar(evidence),
        signs=SIGNS,
        distributions=[distribution(evidence.features, c) for c in evidence.inputs],
        provenance=(trained := provenance(evidence.models, families)),
        facts=list(dict.fromkeys(name for p in trained.values() for name in p["facts"])),
        versions=delta_versions(evidence),
    )


def headline(verdict: pl.DataFrame) -> dict[str, Any]:
    """Return the row of the verdict that is the symbol's."""
    return verdict.filter(pl.col("is_chosen") & (pl.col("gate") == "verdict")).row(0, named=True)


def metrics_of(metrics: pl.DataFrame, family: str) -> dict[str, float | None]:
    """Return a family's numbers by name, empty when it was not evaluated."""
    return dict(metrics.filter((pl.col("family") == family) & (pl.col("text") == "")).select("metric", "value").rows())


def ordered_families(evidence: Evidence) -> list[str]:
    """Return every family: the chosen one, then by the lower bound of the accuracy, those without one last."""
    low = dict(evidence.metrics.filter(pl.col("metric") == "accuracy_low_frac").select("family", "value").iter_rows())
    chosen = headline(evidence.verdict)["family"]
    judged = [f for f in evidence.verdict["family"].unique().to_list() if f != "none"]
    return sorted({*evidence.models, *judged}, key=lambda f: (f != chosen, -_or(low.get(f), -math.inf), f))


def untrained(models: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Return why each family without a model has none."""
    reasons = {}
    for family, row in models.items():
        if row is None:
            reasons[family] = "its model of that day was never built"
        elif row["state"] != "trained":
            reasons[family] = f"{row['state'].replace('_', ' ')}: {row['reason']}"
    return reasons


def gates(verdict: pl.DataFrame, families: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the gates of each family that was judged, one row each: the number beside its threshold."""
    asked = verdict.filter(pl.col("gate") != "verdict")
    rows = {f: list(asked.filter(pl.col("family") == f).iter_rows(named=True)) for f in families}
    return {f: [r | {"passed_words": PASSED[r["passed"]]} for r in found] for f, found in rows.items() if found}


def tier(metrics: Metrics, coverage_pct: int) -> dict[str, float | None]:
    """Return accuracy, rows and independent labels on the most confident share of the minutes."""
    names = ("accuracy_frac", "n", "n_eff")
    if coverage_pct != 100:
        names = (f"accuracy_top_{coverage_pct}_frac", f"n_top_{coverage_pct}", f"n_eff_top_{coverage_pct}")
    return dict(zip(("accuracy", "n", "n_eff"), (metrics.get(n) for n in names), strict=True))


def scored(predictions: pl.DataFrame, family: str) -> pl.DataFrame:
    """Return the rows of a family that have both a prediction and a label, in time order."""
    return predictions.filter(pl.col("family") == family).drop_nulls(["p_up_15m", "y_up_15m"]).sort("ts")


def daily_accuracy(predictions: pl.DataFrame, family: str, metrics: Metrics) -> Interval:
    """Return the accuracy of each test day; the interval counts the labels that are independent."""
    rows = scored(predictions, family)
    right = hits(rows["p_up_15m"].to_numpy(), rows["y_up_15m"].cast(pl.Float64).to_numpy())
    days = (
        rows.select("test_day")
        .with_columns(pl.Series("right", right, dtype=pl.Float64))
        .group_by("test_day")
        .agg(pl.col("right").mean(), pl.len().cast(pl.Float64).alias("n"))
        .sort("test_day")
    )
    unique = metrics.get("mean_uniqueness") or 1.0
    low, high = share_interval(days["right"].to_numpy(), days["n"].to_numpy() * unique)
    labels = tuple(d.isoformat() for d in days["test_day"])
    return Interval(labels, tuple(days["right"].to_list()), tuple(low.tolist()), tuple(high.tolist()))


def charts(metrics: Mapping[str, Metrics], judged: Sequence[str], daily: Mapping[str, Interval]) -> dict[str, Chart]:
    """Return the charts that compare the families that were judged."""
    points = (
        tuple(metrics[f].get(n) for f in judged) for n in ("accuracy_frac", "accuracy_low_frac", "accuracy_high_frac")
    )
    baselines = [metrics[f].get("base_rate_frac") for f in judged]
    tiers = {f: [tier(metrics[f], pct)["accuracy"] for pct in COVERAGE_PCT] for f in judged}
    return {
        "accuracy": report_charts.accuracy_by_family(Interval(tuple(judged), *points), baselines),
        "coverage": report_charts.accuracy_at_coverage(tiers, COVERAGE_PCT),
        "daily": report_charts.daily_accuracy(daily),
    }


def reliability(predictions: pl.DataFrame, family: str, metrics: Metrics) -> Chart | None:
    """Return the reliability diagram of a family, None when no row has both prediction and label."""
    rows = scored(predictions, family)
    if rows.is_empty():
        return None
    p, y = rows["p_up_15m"].to_numpy(), rows["y_up_15m"].cast(pl.Float64).to_numpy()
    return report_charts.reliability(family, calibration_bins(p, y, metrics.get("mean_uniqueness") or 1.0), p)


def learning(models: Mapping[str, Mapping[str, Any] | None], families: Sequence[str]) -> tuple[list[Chart], list[str]]:
    """Return the learning curves of the families that have epochs, and the trained families that have none."""
    drawn: list[Chart] = []
    without = []
    for family in families:
        row = models.get(family)
        if row is None or row["state"] != "trained":
            continue
        history = json.loads(row["history"]) if row["history"] else []
        if history:
            drawn += report_charts.learning_curves(family, history)
        else:
            without.append(family)
    return drawn, without


def calendar(evidence: Evidence) -> dict[str, Any]:
    """Return the state of every table on every day, and above the days what they were used for."""
    days = sorted({d for states in evidence.states.values() for d in states})
    spans = next((s for row in evidence.models.values() if (s := spans_of(row))), {})
    used = [next((n for n, (a, b) in spans.items() if a <= d <= b), _use(d, evidence)) for d in days]
    tables = [(name, [states.get(d) or "never built" for d in days]) for name, states in evidence.states.items()]
    return {
        "days": days,
        "months": [(m, len(list(g))) for m, g in groupby(d.strftime("%Y-%m") for d in days)],
        "uses": [(u, len(list(g))) for u, g in groupby(used)],
        "tables": [(name, list(zip(days, cells, strict=True)), cells.count("complete")) for name, cells in tables],
    }


def spans_of(row: Mapping[str, Any] | None) -> dict[str, tuple[date, date]]:
    """Return the days a trained model was fitted, stopped and calibrated on, from its manifest."""
    if row is None or not row["manifest"]:
        return {}
    manifest = json.loads(row["manifest"])
    spans = {n: manifest[n] for n in ("fit", "stop", "calibrate") if n in manifest}
    return {n: (date.fromisoformat(a), date.fromisoformat(b)) for n, (a, b) in spans.items()}


def provenance(models: Mapping[str, Mapping[str, Any] | None], families: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return for each trained family what its manifest and row say, and apart what is too long for a table."""
    found: dict[str, dict[str, Any]] = {}
    for family in families:
        row = models.get(family)
        if row is None or row["state"] != "trained":
            continue
        manifest = json.loads(row["manifest"])
        shown = sorted((k for k in manifest if k not in ELSEWHERE), key=lambda k: (_place(k), k))
        facts = {k.replace("_", " "): _words(manifest[k]) for k in shown if manifest[k] is not None}
        facts["weights sha256"] = row["weights_sha256"]
        found[family] = {"facts": facts, "run": row["mlflow_run_id"], "inputs": list(manifest.get("inputs", ()))}
    return found


def delta_versions(evidence: Evidence) -> list[tuple[str, dict[str, int], int | None]]:
    """Return for each table the Delta version each model was trained on, and the one it has now."""
    trained = {
        family: json.loads(row["manifest"]).get("delta_versions", {})
        for family, row in evidence.models.items()
        if row is not None and row["manifest"]
    }
    tables = sorted({*evidence.versions, *(t for versions in trained.values() for t in versions)})
    return [(t, {f: v[t] for f, v in trained.items() if t in v}, evidence.versions.get(t)) for t in tables]


def _use(day: date, evidence: Evidence) -> str:
    if evidence.test_days[0] <= day <= evidence.test_days[1]:
        return "test"
    return "model day" if day == evidence.model_day else "before"


def _place(key: str) -> int:
    return FIRST.index(key) if key in FIRST else len(FIRST)


def _or(value: float | None, instead: float) -> float:
    return instead if value is None else value


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return " to ".join(_words(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def days_between(first: date, last: date) -> list[date]:
    """Return the days from ``first`` to ``last``, both included."""
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]
