"""Running the route: which partitions a verdict needs, and materialising them day by day in one process.

The plan is data, so that ``--dry-run`` prints what ``run`` would do. Every materialisation goes through
Dagster on the shared instance, so the UI shows what the command line did. Not here: the commands (``cli/``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

from crpbot_dagster import definitions, instruments, partitions, settings
from crpbot_dagster.assets import (
    CALENDAR,
    COMPARISON,
    DAILY,
    DAY_TABLES,
    EVALUATION_TABLES,
    EVERY_SOURCE_TABLES,
    LABELS,
    MARKET_TABLES,
    ROUTE,
    TRACK_RECORD,
    beside,
    made_again,
    tables_of,
)
from crpbot_dagster.assets.evaluations.assets import model_day
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.launcher import PROCESS_TAG, this_process
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.results import FAMILIES
from crpbot_dagster.tables.schema import MARKET_WIDE

STAGES = tuple(ROUTE)
VOLUME_DAYS = 7  # bars/trades_1m asks for the volumes of the seven days before
LOOK_BACK_DAYS = 1  # features read the minutes of the day before


class PlanError(ValueError):
    """What was asked for cannot be planned; the message says what would fit."""


@dataclass(frozen=True)
class Step:
    """One Dagster run: these tables of one symbol's day, or of a day of the whole market."""

    symbol: str
    day: date
    tables: tuple[str, ...]
    is_beside: bool = False  # every source: when it fails, the symbol goes on
    waits_for_all: bool = False  # reads other symbols: made once the days of all are there


Held = Mapping[str, frozenset[date]]
"""Table → the days of one symbol that the lake holds, published whole; a day without rows is held too."""


def warm_tables(primary: instruments.Primary) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is made of the days before a range: those that give volumes alone, and those that give bars."""
    aside = (*beside(primary), CALENDAR)
    raw = [TABLES[t] for t in DAY_TABLES if t.startswith("raw/") and t not in aside]
    priced = tuple(t.name for t in raw if t.candle_source or t.tick_source)
    volume = "bars/volume_1d"
    return (*priced, volume), (*(t.name for t in raw), volume, "bars/trades_1m", "bars/book_1m")


def verdict_window(verdict_day: date, config: Settings) -> date:
    """Return the first day whose features a verdict needs: the model's first fit day."""
    return model_day(verdict_day, config.test_days) - timedelta(days=config.window_days)


def first_verdict(config: Settings) -> date:
    """Return the earliest verdict day of the platform: look-back and volumes lie after the start day."""
    days = VOLUME_DAYS + LOOK_BACK_DAYS + config.window_days + 1 + config.test_days
    return config.start_day + timedelta(days=days)


def next_verdict(symbol: str, lake: Lake, config: Settings) -> date:
    """Return the verdict day that the lake is ready for, else the one that is reached soonest.

    The newest verdict with its whole window in the lake is that of the day after the newest labels. Without one
    it is the sandbox's first verdict, or yesterday's.
    """
    labelled = lake.days(LABELS, symbol)
    if labelled:
        newest = labelled[-1] + timedelta(days=1)
        days = _days(verdict_window(newest, config), labelled[-1])
        if not any(lake.missing(t, symbol, days) for t in {*FAMILIES.values(), LABELS}):
            return newest
    return first_verdict(config) if config.market == "sandbox" else config.now().date() - timedelta(days=1)


def held_days(symbol: str, first: date, last: date, lake: Lake) -> Held:
    """Return what the lake holds of every table a plan for ``first`` … ``last`` could make or ask about."""
    days = _days(first - timedelta(days=VOLUME_DAYS + LOOK_BACK_DAYS), last + timedelta(days=1))
    tables = [t for stage in STAGES for t in tables_of(stage)]
    return {t: frozenset(days) - frozenset(lake.missing(t, symbol, days)) for t in tables}


def plan(symbol: str, first: date, last: date, until: str, config: Settings, today: date, held: Held) -> list[Step]:
    """Return the runs that bring ``symbol`` from raw to stage ``until`` over ``first`` … ``last``, in order.

    Days before ``first`` are added where ``first`` needs them: one of bars, seven of volumes. The labels of a day
    are built with the next one: so they begin the day before ``first`` when its features are ``held``, and end the
    day before ``last``, or on ``last`` when the bars of the day after it are held. Models, evaluations and
    promotion are those of a verdict on ``last``. The newest ``every_source_days`` days ask every source, the others
    those that a verdict needs. What is held is planned again; ``without_held`` leaves it out. The plan of
    ``MARKET_WIDE`` has the market-wide tables of those newest days.

    Raises
    ------
    PlanError
        The range is empty, not over yet, starts before the platform does, or is too short for a verdict.
    """
    check_range(first, last, config, today)
    reached = STAGES[: STAGES.index(until) + 1]
    newest = _days(max(first, last - timedelta(days=config.every_source_days - 1)), last)
    if symbol == MARKET_WIDE:
        tables = tuple(t for t in MARKET_TABLES if TABLES[t].stage in reached)
        return [Step(symbol, d, tables, is_beside=True) for d in newest if tables]
    if "models" in reached and first > (needed := verdict_window(last, config)):
        raise PlanError(
            f"a verdict on {last} needs features from {needed} on ({config.window_days} days to train, "
            f"{config.test_days} to test): choose --from {needed}, a later --to, or --until features"
        )
    look_back = LOOK_BACK_DAYS if "features" in reached else 0
    primary = instruments.primary(symbol, config.primary)
    volumes, bars = warm_tables(primary)
    steps = []
    if "bars" in reached:
        steps += [Step(symbol, d, volumes) for d in _days_before(first, VOLUME_DAYS, look_back, config)]
    steps += [Step(symbol, d, bars) for d in _days_before(first, look_back, 0, config)]
    aside = beside(primary)
    # The comparison of the sources is a day's own, whatever stage it is filed under: a backfill makes it too.
    stages = {*reached, TABLES[COMPARISON].stage} if "features" in reached else reached
    of_day = tuple(t for t in DAY_TABLES if TABLES[t].stage in stages and t not in aside)
    own = tuple(t for t in of_day if t not in EVERY_SOURCE_TABLES)
    of_all = tuple(t for t in of_day if t in EVERY_SOURCE_TABLES)
    older = tuple(t for t in of_day if t == DAILY or (t in own and t != CALENDAR))
    verdicts = held.get("promotion/promoted_model", frozenset()) if "evaluations" in reached else frozenset()

    def labels_of(day: date) -> Step:
        followed = any(verdict < day for verdict in verdicts)
        return Step(symbol, day, (LABELS, TRACK_RECORD) if followed else (LABELS,))

    for day in _days(first, last):
        if aside and day in newest:
            steps.append(Step(symbol, day, aside, is_beside=True))
        steps.append(Step(symbol, day, own if day in newest else older))
        if of_all and day in newest:
            steps.append(Step(symbol, day, of_all, is_beside=True, waits_for_all=True))
        before = day - timedelta(days=1)
        if "features" in reached and (day > first or before in held.get("features/v5", ())):
            steps.append(labels_of(before))
    after = last + timedelta(days=1)
    if "features" in reached and all(after in held.get(t, ()) for t in ("bars/trades_1m", "bars/book_1m")):
        steps.append(labels_of(last))
    made = {"evaluations": EVALUATION_TABLES, "promotion": tables_of("promotion")}
    if "models" in reached:
        steps.append(Step(symbol, model_day(last, config.test_days), tables_of("models")))
    steps += [Step(symbol, last, made[s]) for s in ("evaluations", "promotion") if s in reached]
    return steps


def without_held(steps: list[Step], held: Held) -> list[Step]:
    """Return the steps of which a table is not held; a day that was left half done is made again."""
    left = []
    for step in steps:
        absent = {t for t in step.tables if step.day not in held.get(t, ())}
        if absent:
            left.append(replace(step, tables=made_again(step.tables, absent)))
    return left


def check_range(first: date, last: date, config: Settings, today: date) -> None:
    """Refuse days that cannot be planned.

    Raises
    ------
    PlanError
        The range is empty, not over yet, or starts before the platform does.
    """
    if last < first:
        raise PlanError(f"--to {last} lies before --from {first}")
    if first < config.start_day:
        raise PlanError(f"--from {first} lies before the start day {config.start_day}: set CRPBOT_START_DAY")
    if last >= today:
        raise PlanError(f"--to {last} is not over yet (UTC): the last whole day is {today - timedelta(days=1)}")


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _days_before(first: date, days: int, but_last: int, config: Settings) -> list[date]:
    wanted = [first - timedelta(days=i) for i in range(days + but_last, but_last, -1)]
    return [d for d in wanted if d >= config.start_day]


class Route:
    """The definitions as jobs: one per set of tables, made once, because a job's snapshot costs more than its run."""

    def __init__(self, config: Settings) -> None:
        self._job = definitions.definitions(config).resolve_implicit_global_asset_job_def()
        self._parts: dict[tuple[str, ...], dg.JobDefinition] = {}

    def materialise(self, step: Step, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        """Run one step on the instance; a failed run is returned, not raised."""
        if step.tables not in self._parts:
            keys = frozenset(dg.AssetKey(t.split("/")) for t in step.tables)
            self._parts[step.tables] = self._job.get_subset(asset_selection=keys)
        return self._parts[step.tables].execute_in_process(
            instance=instance,
            partition_key=partitions.key(step.symbol, step.day),
            raise_on_error=False,
            # The event log keeps everything; the terminal shows progress and failures only.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={"crpbot/until": step.tables[-1], PROCESS_TAG: this_process()},
        )


def run_steps(steps: list[Step], done: Callable[[Step, str | None], None], instance: dg.DagsterInstance) -> str | None:
    """Materialise the steps in order, call ``done`` after each, and return why one failed, None when none did.

    A symbol stops at its first failure: what follows would read what is not there. A source beside the primary one is
    no such failure: the bars read the sources that are there. Nor is what no verdict reads.
    """
    route = Route(settings.load())
    for step in steps:
        result = route.materialise(step, instance)
        reason = None if result.success else failure_of(result)
        done(step, reason)
        if reason is not None and not step.is_beside:
            return reason
    return None


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Return the first error of a failed run, ``Class: message``, as the code that raised it worded it."""
    for event in result.all_events:
        if event.is_step_failure:
            said = event.step_failure_data.user_failure_data
            text = f"Failure: {said.description}" if said is not None else worded(event.step_failure_data.error)
            return f"{event.step_key}: {text}"
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            return worded(event.job_failure_data.error)
    return "the run failed and left no error: look at it in the UI"


def worded(error: SerializableErrorInfo | None) -> str:
    """Return what a step raised, ``Class: message``, without Dagster's wrapping."""
    # Dagster wraps what a step raised; our own message stands above the library error it came from.
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    return error.message.strip() if error is not None else "no error was recorded"
