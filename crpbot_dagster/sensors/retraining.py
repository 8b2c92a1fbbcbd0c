"""When a symbol's models are trained again and judged: after enough new labelled days, or when the chosen one slips.

The decider is pure. A training at model day M and the evaluation of its verdict day E belong together (E = M + test
days + 1) and carry one digest of what they read. Not here: what a model is (``assets/models``), the verdict's gates.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg
import polars as pl

from crpbot_dagster.assets import EVALUATION_TABLES
from crpbot_dagster.assets.evaluations.assets import model_day
from crpbot_dagster.assets.evaluations.metrics import hits
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts
from crpbot_dagster.sensors.work import Attempt, Kind, Plan, Request, next_attempt, of
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.features import manifest_hash
from crpbot_dagster.tables.results import FAMILIES

SHOWN_DAYS = 5
TRAINING_SETTINGS = ("fit_", "stop_", "calibrate_", "test_", "logistic_", "lstm_", "seed")


@dataclass(frozen=True)
class Verdict:
    """The newest verdict of a symbol, and what is known of the family it chose."""

    day: date
    family: str | None = None
    accuracy_low: float | None = None  # lower 95 % bound, as the metrics of that day have it


@dataclass(frozen=True)
class DayRecord:
    """How the chosen family did on one new day: right calls (half for no call) of ``n``."""

    day: date
    right: float
    n: int


@dataclass(frozen=True)
class View:
    """What the decision about one symbol reads."""

    symbol: str
    labelled: tuple[date, ...]  # days that hold labels and every feature table, rising
    verdict: Verdict | None
    record: tuple[DayRecord, ...]  # days after the verdict, rising
    attempts: tuple[Attempt, ...]  # trainings (day: the model's) and evaluations (day: the verdict's)


@dataclass(frozen=True)
class Rules:
    """Windows and thresholds, the tables of the two kinds of runs, and what else decides how a model comes out."""

    window_days: int
    test_days: int
    after_days: int
    accuracy_days: int
    retry_h: float
    training_tables: tuple[str, ...]
    evaluation_tables: tuple[str, ...]
    inputs: Mapping[str, str]


def decide(view: View, rules: Rules, now: datetime) -> Plan:
    """Return the training or the evaluation to request for one symbol, or in words why none."""
    symbol = view.symbol
    flying = [a for a in view.attempts if a.status == "in_flight"]
    if flying:
        return Plan(waits=(f"{symbol}: the {flying[0].kind} of {flying[0].day} is in flight",))
    if not view.labelled:
        return Plan(waits=(f"{symbol}: no labelled day is in the lake",))
    target = view.labelled[-1] + timedelta(days=1)
    judge = _evaluation(view, rules, target, now)
    if judge is not None:
        return judge
    reason, wait = why(view, rules)
    if reason is None:
        return Plan(waits=(f"{symbol}: {wait}",))
    lacking = sorted(set(days_read(target, rules)) - set(view.labelled))
    if lacking:
        shown = ", ".join(map(str, lacking[:SHOWN_DAYS])) + (" …" if len(lacking) > SHOWN_DAYS else "")
        lacks = f"a verdict on {target} lacks features or labels of {len(lacking)} days: {shown}"
        return Plan(waits=(f"{symbol}: {reason}, but {lacks}",))
    trained_on = model_day(target, rules.test_days)
    key = digest(symbol, target, rules)
    return _request(view, "training", trained_on, key, reason, rules, now)


def why(view: View, rules: Rules) -> tuple[str | None, str]:
    """Return (why a training is due, or None; what is waited for)."""
    verdict = view.verdict
    if verdict is None:
        return f"no verdict yet and {len(view.labelled)} labelled days", ""
    new = [d for d in view.labelled if d >= verdict.day]
    if len(new) >= rules.after_days:
        return f"{len(new)} labelled days since the verdict of {verdict.day}", ""
    waits = f"{len(new)} of {rules.after_days} labelled days since the verdict of {verdict.day}"
    recent = view.record[-rules.accuracy_days :]
    n = sum(r.n for r in recent)
    if len(recent) < rules.accuracy_days or n == 0 or verdict.accuracy_low is None:
        return None, waits
    accuracy = sum(r.right for r in recent) / n
    said = f"{verdict.family} is right in {100 * accuracy:.2f} % of {n} minutes of the last {len(recent)} days"
    if accuracy < verdict.accuracy_low:
        return f"{said}, below its verdict's lower bound {100 * verdict.accuracy_low:.2f} %", ""
    return None, f"{waits}; {said}, its lower bound is {100 * verdict.accuracy_low:.2f} %"


def days_read(verdict_day: date, rules: Rules) -> list[date]:
    """Return the days whose features and labels a training and its evaluation read: not the model's day itself."""
    trained_on = model_day(verdict_day, rules.test_days)
    days = [trained_on + timedelta(days=i) for i in range(-rules.window_days, rules.test_days + 1)]
    return [d for d in days if d != trained_on]


def digest(symbol: str, verdict_day: date, rules: Rules) -> str:
    """Return what tells one training from another: symbol, days, feature manifests, training settings."""
    read = {
        "symbol": symbol,
        "model_day": model_day(verdict_day, rules.test_days).isoformat(),
        "verdict_day": verdict_day.isoformat(),
        "labelled": [d.isoformat() for d in days_read(verdict_day, rules)],
        "inputs": dict(sorted(rules.inputs.items())),
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def _evaluation(view: View, rules: Rules, target: date, now: datetime) -> Plan | None:
    """Return what the newest training's evaluation asks for, None when there is nothing to judge."""
    trainings = [a for a in view.attempts if a.kind == "training"]
    newest = max(trainings, key=lambda a: (a.requested_at, a.number), default=None)
    if newest is None or newest.status != "succeeded":
        return None
    verdict_day = newest.day + timedelta(days=rules.test_days + 1)
    if view.verdict is not None and verdict_day <= view.verdict.day:
        return None
    # What could not be judged is not tried for ever: with newer labels there is a newer model to make.
    if of(view.attempts, "evaluation", view.symbol, verdict_day, newest.digest) and target > verdict_day:
        return None
    reason = f"the models of {newest.day} are trained"
    return _request(view, "evaluation", verdict_day, newest.digest, reason, rules, now)


def _request(view: View, kind: Kind, day: date, key: str, reason: str, rules: Rules, now: datetime) -> Plan:
    number = next_attempt(of(view.attempts, kind, view.symbol, day, key), now, rules.retry_h)
    if isinstance(number, datetime):
        return Plan(waits=(f"{view.symbol} {day} {kind}: tried, again at {number:%Y-%m-%d %H:%M} UTC",))
    tables = rules.training_tables if kind == "training" else rules.evaluation_tables
    return Plan((Request(kind, view.symbol, day, tables, number, now, reason, key),))


# --- reading the facts -----------------------------------------------------------------------------


def rules_of(config: Settings) -> Rules:
    """Return the rules from the settings and the feature manifests."""
    inputs = {f"features of {family}": manifest_hash(TABLES[table]) for family, table in FAMILIES.items()}
    for name in type(config).model_fields:
        if name.startswith(TRAINING_SETTINGS):
            inputs[name] = str(getattr(config, name))
    return Rules(
        config.window_days,
        config.test_days,
        config.retrain_after_days,
        config.retrain_accuracy_days,
        config.catch_up_retry_h,
        facts.TRAINING_TABLES,
        EVALUATION_TABLES,
        inputs,
    )


def view_of(lake: Lake, symbol: str, attempts: tuple[Attempt, ...]) -> View:
    """Read what the decision about one symbol needs."""
    own = tuple(a for a in attempts if a.symbol == symbol)
    labelled = set(lake.days("features/labels", symbol))
    for table in set(FAMILIES.values()):
        labelled &= set(lake.days(table, symbol))
    verdict = verdict_of(lake, symbol, own)
    record = record_of(lake, symbol, verdict.day) if verdict is not None and verdict.family is not None else ()
    return View(symbol, tuple(sorted(labelled)), verdict, record, own)


def verdict_of(lake: Lake, symbol: str, attempts: tuple[Attempt, ...]) -> Verdict | None:
    """Return the newest verdict; an evaluation that had no model to judge is one too."""
    days = {a.day for a in attempts if a.kind == "evaluation" and a.status == "succeeded"}
    for table in ("evaluations/metrics", "promotion/promoted_model"):
        days.update(lake.days(table, symbol)[-1:])
    if not days:
        return None
    day = max(days)
    chosen = (
        lake.scan("promotion/promoted_model", symbol, day, day)
        .filter(pl.col("is_chosen") & (pl.col("gate") == "verdict"))
        .collect()
    )
    if chosen.is_empty():
        return Verdict(day)
    family = str(chosen["family"][0])
    bound = (
        lake.scan("evaluations/metrics", symbol, day, day)
        .filter((pl.col("family") == family) & (pl.col("metric") == "accuracy_low_frac"))
        .collect()["value"]
        .to_list()
    )
    return Verdict(day, family, bound[0] if bound else None)


def record_of(lake: Lake, symbol: str, verdict_day: date) -> tuple[DayRecord, ...]:
    """Return the chosen family's days after a verdict, counted as the metrics count: no call is half right."""
    told = (
        lake.scan("evaluations/daily_predictions", symbol, verdict_day, date.max)
        .filter(pl.col("is_chosen") & (pl.col("verdict_day") == verdict_day))
        .select("day", pl.col("p_up_15m"), pl.col("y_up_15m").cast(pl.Float64))
        .drop_nulls()
        .collect()
    )
    right = pl.Series("right", hits(told["p_up_15m"].to_numpy(), told["y_up_15m"].to_numpy()))
    rows = told.with_columns(right).group_by("day").agg(pl.col("right").sum(), pl.len().alias("n")).sort("day")
    return tuple(DayRecord(r["day"], r["right"], r["n"]) for r in rows.iter_rows(named=True))


def retraining_sensor(config: Settings, lake: Lake) -> dg.SensorDefinition:
    """Return the sensor that asks for trainings and their evaluations."""

    @dg.sensor(
        name="retraining",
        target=facts.selection((*facts.TRAINING_TABLES, *EVALUATION_TABLES)),
        minimum_interval_seconds=config.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Trains and judges a symbol's models after enough new labelled days, or when the chosen one slips.",
    )
    def retraining(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        attempts = facts.newest_attempts(context.instance, ("training", "evaluation"), len(config.symbols))
        now, rules = config.now(), rules_of(config)
        plans = [decide(view_of(lake, s, attempts), rules, now) for s in config.symbols]
        return facts.answer(plans)

    return retraining
