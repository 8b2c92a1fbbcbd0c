"""Running the route: which partitions a verdict needs, and materialising them day by day in one process.

The plan is data, so that ``--dry-run`` prints what ``run`` would do. Every materialisation goes through
Dagster on the shared instance, so the UI shows what the command line did. Not here: the commands (``cli.py``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

from crpbot_dagster import definitions, partitions, settings
from crpbot_dagster.assets import ROUTE
from crpbot_dagster.assets.evaluations.assets import model_day
from crpbot_dagster.resources.launcher import PROCESS_TAG, this_process
from crpbot_dagster.settings import Settings

STAGES = tuple(ROUTE)
VOLUME_DAYS = 7  # bars/trades_1m asks for the volumes of the seven days before
LOOK_BACK_DAYS = 1  # features read the minutes of the day before

WARM_VOLUMES = ("raw/tardis_trades", "raw/coinbase_candles", "bars/volume_1d")
WARM_BARS = (
    "raw/tardis_trades",
    "raw/tardis_book",
    "raw/tardis_book_snapshots",
    "raw/coinbase_candles",
    "bars/volume_1d",
    "bars/trades_1m",
    "bars/book_1m",
)


class PlanError(ValueError):
    """What was asked for cannot be planned; the message says what would fit."""


@dataclass(frozen=True)
class Step:
    """One Dagster run: these tables of one symbol's day."""

    symbol: str
    day: date
    tables: tuple[str, ...]


def tables_of(stage: str) -> tuple[str, ...]:
    """Return the tables of a stage, in the order of the route."""
    return tuple("/".join(a.key.path) for a in ROUTE[stage])


def verdict_window(verdict_day: date, config: Settings) -> date:
    """Return the first day whose features a verdict needs: the model's first fit day."""
    return model_day(verdict_day, config.test_days) - timedelta(days=config.window_days)


def first_verdict(config: Settings) -> date:
    """Return the earliest verdict day of the platform: look-back and volumes lie after the start day."""
    days = VOLUME_DAYS + LOOK_BACK_DAYS + config.window_days + 1 + config.test_days
    return config.start_day + timedelta(days=days)


def plan(
    symbol: str, first: date, last: date, until: str, config: Settings, today: date, held: frozenset[date]
) -> list[Step]:
    """Return the runs that bring ``symbol`` from raw to stage ``until`` over ``first`` … ``last``, in order.

    Days before ``first`` are added where ``first`` needs them: one of bars, seven of volumes. The labels of a day
    are built with the next one, so they end the day before ``last``; they begin the day before ``first`` when
    ``held``, the days whose features are in the lake, has it. Models, evaluations and promotion are those of a
    verdict on ``last``.

    Raises
    ------
    PlanError
        The range is empty, not over yet, starts before the platform does, or is too short for a verdict.
    """
    if last < first:
        raise PlanError(f"--to {last} lies before --from {first}")
    if first < config.start_day:
        raise PlanError(f"--from {first} lies before the start day {config.start_day}: set CRPBOT_START_DAY")
    if last >= today:
        raise PlanError(f"--to {last} is not over yet (UTC): the last whole day is {today - timedelta(days=1)}")
    reached = STAGES[: STAGES.index(until) + 1]
    if "models" in reached and first > (needed := verdict_window(last, config)):
        raise PlanError(
            f"a verdict on {last} needs features from {needed} on ({config.window_days} days to train, "
            f"{config.test_days} to test): choose --from {needed}, a later --to, or --until features"
        )
    look_back = LOOK_BACK_DAYS if "features" in reached else 0
    steps = []
    if "bars" in reached:
        steps += [Step(symbol, d, WARM_VOLUMES) for d in _days_before(first, VOLUME_DAYS, look_back, config)]
    steps += [Step(symbol, d, WARM_BARS) for d in _days_before(first, look_back, 0, config)]
    daily = [t for s in reached if s in ("raw", "bars", "features") for t in tables_of(s) if t != "features/labels"]
    for i in range((last - first).days + 1):
        day = first + timedelta(days=i)
        steps.append(Step(symbol, day, tuple(daily)))
        before = day - timedelta(days=1)
        if "features" in reached and (i > 0 or before in held):
            steps.append(Step(symbol, before, ("features/labels",)))
    if "models" in reached:
        steps.append(Step(symbol, model_day(last, config.test_days), tables_of("models")))
    steps += [Step(symbol, last, tables_of(s)) for s in ("evaluations", "promotion") if s in reached]
    return steps


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
            tags={"crpbot/verb": "run", "crpbot/until": step.tables[-1], PROCESS_TAG: this_process()},
        )


def run_steps(
    steps: list[Step], done: Callable[[Step, str | None], None], instance: dg.DagsterInstance
) -> Iterator[tuple[Step, str]]:
    """Materialise the steps in order; call ``done`` after each and yield those that failed, with the reason.

    A symbol stops at its first failure: what follows would read what is not there.
    """
    route = Route(settings.load())
    for step in steps:
        result = route.materialise(step, instance)
        reason = None if result.success else failure_of(result)
        done(step, reason)
        if reason is not None:
            yield step, reason
            return


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
