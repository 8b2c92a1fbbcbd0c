"""When a verdict is given: as soon as the newest evaluation of a symbol is there and has no verdict of its own yet.

An older evaluation is never promoted: it would put an older model in force. The decider is pure; what the verdict is
and how it is carried out lies in ``assets/promotion``.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

import dagster as dg

from crpbot_dagster import partitions
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts
from crpbot_dagster.sensors.work import Attempt, Plan, Request, next_attempt, of
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES

METRICS = "evaluations/metrics"


@dataclass(frozen=True)
class Evaluated:
    """The newest evaluation of a symbol."""

    symbol: str
    day: date
    digest: str  # of the metrics' rows
    has_verdict: bool  # the whole verdict was written after these metrics
    in_flight: bool  # a run works on the day
    attempts: tuple[Attempt, ...]


def decide(newest: Evaluated | None, symbol: str, tables: tuple[str, ...], retry_h: float, now: datetime) -> Plan:
    """Return the promotion to request for one symbol, or in words why none."""
    if newest is None:
        return Plan(waits=(f"{symbol}: no evaluation yet",))
    if newest.in_flight:
        return Plan(waits=(f"{symbol} {newest.day}: a run is in flight",))
    if newest.has_verdict:
        return Plan(waits=(f"{symbol}: the evaluation of {newest.day} has its verdict",))
    number = next_attempt(of(newest.attempts, "promotion", symbol, newest.day, newest.digest), now, retry_h)
    if isinstance(number, datetime):
        return Plan(waits=(f"{symbol} {newest.day} promotion: tried, again at {number:%Y-%m-%d %H:%M} UTC",))
    reason = f"the evaluation of {newest.day} has no verdict yet"
    return Plan((Request("promotion", symbol, newest.day, tables, number, now, reason, newest.digest),))


# --- reading the facts -----------------------------------------------------------------------------


def digest_of(lake: Lake, symbol: str, day: date) -> str:
    """Return a digest of the day's metrics, whatever order the lake holds them in."""
    rows = lake.scan(METRICS, symbol, day, day).collect().sort(list(TABLES[METRICS].key))
    return hashlib.sha256(rows.write_ndjson().encode()).hexdigest()[:16]


def is_given(instance: dg.DagsterInstance, lake: Lake, symbol: str, day: date) -> bool:
    """Return whether all of the day's verdict is in the lake and was written after its metrics.

    A lake made under another Dagster instance has no events here: nothing says that its verdict is old.
    """
    if not all(lake.held(table, symbol, [day]) for table in facts.PROMOTION_TABLES):
        return False
    metrics = _written(instance, METRICS, symbol, day)
    return metrics is None or all(
        (_written(instance, table, symbol, day) or 0) > metrics for table in facts.PROMOTION_TABLES
    )


def _written(instance: dg.DagsterInstance, table: str, symbol: str, day: date) -> int | None:
    """Return the event id of the newest materialisation, None when there is none; a later one has a higher id."""
    key = str(partitions.key(symbol, day))
    made = dg.DagsterEventType.ASSET_MATERIALIZATION
    return instance.get_latest_storage_id_by_partition(dg.AssetKey(table.split("/")), made, {key}).get(key)


def newest_evaluation(
    instance: dg.DagsterInstance,
    lake: Lake,
    symbol: str,
    attempts: tuple[Attempt, ...],
    busy: frozenset[tuple[str, date]],
) -> Evaluated | None:
    """Read what the decision about one symbol needs."""
    own = tuple(a for a in attempts if a.symbol == symbol)
    # An evaluation that had no model to judge leaves no rows, and its verdict is INSUFFICIENT.
    days = {a.day for a in own if a.kind == "evaluation" and a.status == "succeeded"}
    days.update(lake.days(METRICS, symbol)[-1:])
    if not days:
        return None
    day = max(days)
    has_verdict = is_given(instance, lake, symbol, day)
    return Evaluated(symbol, day, digest_of(lake, symbol, day), has_verdict, (symbol, day) in busy, own)


def promotion_sensor(config: Settings, lake: Lake) -> dg.SensorDefinition:
    """Return the sensor that asks for the verdicts."""

    @dg.sensor(
        name="promotion",
        target=facts.selection(facts.PROMOTION_TABLES),
        minimum_interval_seconds=config.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Gives the verdict on a symbol's newest evaluation.",
    )
    def promotion(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        attempts = facts.newest_attempts(context.instance, ("evaluation", "promotion"), len(config.symbols))
        busy, now = facts.in_flight(context.instance), config.now()
        plans = []
        for symbol in config.symbols:
            newest = newest_evaluation(context.instance, lake, symbol, attempts, busy)
            plans.append(decide(newest, symbol, facts.PROMOTION_TABLES, config.catch_up_retry_h, now))
        return facts.answer(plans)

    return promotion
