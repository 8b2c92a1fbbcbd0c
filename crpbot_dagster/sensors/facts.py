"""What the sensors read and how they answer: which tables a run makes, what runs there are, what the lake holds.

The only place where the deciders' types meet Dagster and the lake. Not here: decisions (``work.py`` and beside it).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Literal

import dagster as dg

from crpbot_dagster import instruments, partitions
from crpbot_dagster.assets import (
    DAY_TABLES,
    EVERY_SOURCE_TABLES,
    LABELS,
    MARKET_TABLES,
    TRACK_RECORD,
    VERDICT_RAW,
    beside,
    tables_of,
)
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import work
from crpbot_dagster.sensors.work import Attempt, Day, Kind, Plan, Request, Rules, Span, State, Status
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import CANDLES, TICKS
from crpbot_dagster.tables.schema import MARKET_WIDE

TAG = "crpbot/"
PARTITION_TAG = "dagster/partition"
IN_FLIGHT = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
REMEMBERED_RUNS = 20  # per symbol and kind, where no days are named
SHOWN_WAITS = 12

LABEL_TABLES = (LABELS, TRACK_RECORD)
TRAINING_TABLES = tables_of("models")
PROMOTION_TABLES = tables_of("promotion")


def keys(tables: Sequence[str]) -> list[dg.AssetKey]:
    """Return the asset keys of tables."""
    return [dg.AssetKey(t.split("/")) for t in tables]


def selection(tables: Sequence[str]) -> dg.AssetSelection:
    """Return the assets that a sensor may ask for."""
    return dg.AssetSelection.assets(*keys(tables))


def run_request(request: Request) -> dg.RunRequest:
    """Return the Dagster run of a request; its tags are what ``attempts`` reads back."""
    return dg.RunRequest(
        run_key=request.key,
        asset_selection=keys(request.tables),
        partition_key=str(partitions.key(request.symbol, request.day)),
        tags={
            f"{TAG}kind": request.kind,
            f"{TAG}symbol": request.symbol,
            f"{TAG}day": request.day.isoformat(),
            f"{TAG}attempt": str(request.attempt),
            f"{TAG}requested_at": request.requested_at.isoformat(),
            f"{TAG}reason": request.reason,
            f"{TAG}digest": request.digest,
            # The queue runs one run of a partition at a time: the sources beside the primary one before its day, and
            # the whole market before the symbols that read it.
            "dagster/priority": "1" if request.kind == "sources" or request.symbol == MARKET_WIDE else "0",
            # A failed step waits for the sensor's next attempt; a process that died is started again by Dagster.
            "dagster/retry_on_asset_or_op_failure": "false",
        },
    )


Scope = Literal["symbols", "market"]
"""Whose work an asker asks for: a job of Dagster has one kind of partitions, so the market has askers of its own."""

SCOPES: tuple[Scope, ...] = ("symbols", "market")
TABLES_OF: Mapping[Scope, tuple[str, ...]] = {"symbols": (*DAY_TABLES, *LABEL_TABLES), "market": MARKET_TABLES}


def answer(plans: Sequence[Plan]) -> dg.SensorResult:
    """Return the runs of some plans, or why there are none."""
    requests = [run_request(r) for plan in plans for r in plan.requests]
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SensorResult(skip_reason=dg.SkipReason(in_words([w for plan in plans for w in plan.waits])))


def in_words(waits: Sequence[str]) -> str:
    """Return why nothing is requested, cut to what a person reads."""
    if not waits:
        return "Everything is there."
    more = len(waits) - SHOWN_WAITS
    return "; ".join(waits[:SHOWN_WAITS]) + (f"; and {more} more" if more > 0 else "")


def in_flight(instance: dg.DagsterInstance) -> frozenset[tuple[str, date]]:
    """Return (symbol, day) of every run that is queued, starting or started, whoever asked for it."""
    tags = [r.tags.get(PARTITION_TAG, "") for r in instance.get_runs(filters=dg.RunsFilter(statuses=IN_FLIGHT))]
    return frozenset(partitions.split(tag) for tag in tags if tag)


def attempts_on(instance: dg.DagsterInstance, kinds: Sequence[Kind], days: Sequence[date]) -> tuple[Attempt, ...]:
    """Return the runs that sensors and schedules asked for, of some days."""
    wanted: dict[str, str | Sequence[str]] = {f"{TAG}kind": list(kinds), f"{TAG}day": [d.isoformat() for d in days]}
    return tuple(_attempt(run) for run in instance.get_runs(filters=dg.RunsFilter(tags=wanted)))


def newest_attempts(instance: dg.DagsterInstance, kinds: Sequence[Kind], symbols: int) -> tuple[Attempt, ...]:
    """Return the newest runs that sensors asked for."""
    wanted = dg.RunsFilter(tags={f"{TAG}kind": list(kinds)})
    runs = instance.get_runs(filters=wanted, limit=REMEMBERED_RUNS * len(kinds) * symbols)
    return tuple(_attempt(run) for run in runs)


def _attempt(run: dg.DagsterRun) -> Attempt:
    status: Status = "failed"
    if run.status in IN_FLIGHT:
        status = "in_flight"
    elif run.status == dg.DagsterRunStatus.SUCCESS:
        status = "succeeded"
    tags = {k.removeprefix(TAG): v for k, v in run.tags.items() if k.startswith(TAG)}
    return Attempt(
        tags["kind"],  # type: ignore[arg-type]
        tags["symbol"],
        date.fromisoformat(tags["day"]),
        int(tags["attempt"]),
        datetime.fromisoformat(tags["requested_at"]),
        status,
        tags.get("digest", ""),
    )


def rules(config: Settings) -> Rules:
    """Return the catch-up's rules from the settings."""
    return Rules(
        config.catch_up_days,
        config.catch_up_budget,
        config.catch_up_retry_h,
        tuple(t for t in DAY_TABLES if t not in EVERY_SOURCE_TABLES),
        LABEL_TABLES,
        MARKET_TABLES,
        {s: beside(instruments.primary(s, config.primary)) for s in config.symbols},
        EVERY_SOURCE_TABLES,
    )


def state(instance: dg.DagsterInstance, lake: Lake, config: Settings, scope: Scope) -> State:
    """Read what the catch-up and the daily schedule of a scope decide from.

    The runs are read before the lake: a run that ends between the two is seen as in flight, never as not there.
    """
    now = config.now()
    days = work.facts_needed(now, config.catch_up_days)
    busy = in_flight(instance)
    tried = attempts_on(instance, tuple(work.ASKERS), days)
    features = {symbol: lake.days("features/v5", symbol) for symbol in config.symbols}
    spans = {symbol: Span(held[0], held[-1]) if held else None for symbol, held in features.items()}
    found: dict[tuple[str, date], Day] = {}
    if scope == "market":
        every = sorted(day for held in features.values() for day in held)
        spans = {MARKET_WIDE: Span(every[0], every[-1]) if every else None}
        lacking = {t: set(days) - _settled(lake.held(t, MARKET_WIDE, days), t) for t in MARKET_TABLES}
        found = {(MARKET_WIDE, d): Day(frozenset(t for t in lacking if d in lacking[t])) for d in days}
    else:
        for symbol in (s for s, span in spans.items() if span is not None):
            found |= _days(lake, symbol, days, instruments.primary(symbol, config.primary))
    return State(now, config.start_day, spans, found, busy, tried)


def _settled(held: Mapping[date, str], table: str) -> set[date]:
    """Return the days that are not asked for again: of a source, those of which more is still to come are."""
    return {d for d, state in held.items() if state != "partial" or not table.startswith("raw/")}


def _days(lake: Lake, symbol: str, days: Sequence[date], primary: instruments.Primary) -> dict[tuple[str, date], Day]:
    aside = beside(primary)
    absent: dict[date, set[str]] = {d: set() for d in days}
    late: set[date] = set()
    for table in (*DAY_TABLES, *LABEL_TABLES):
        there = lake.held(table, symbol, days)
        whole = _settled(there, table) if table in aside else set(there)
        for day in days:
            if day not in whole:
                absent[day].add(table)
        if table in tables_from(primary.source):
            late |= {d for d, why in there.items() if why == "missing"}
    verdicts = lake.days("promotion/promoted_model", symbol)
    for day in days:
        if not verdicts or day <= verdicts[0]:
            absent[day].discard(TRACK_RECORD)
    return {(symbol, d): Day(frozenset(absent[d]), d in late) for d in days}


def tables_from(source: str) -> frozenset[str]:
    """Return the raw tables of a source that a verdict waits for."""
    priced = {t.name for s, t in (CANDLES | TICKS).items() if s == source}
    return frozenset(priced | {t for t in VERDICT_RAW if t.startswith(f"raw/{source}_")})
