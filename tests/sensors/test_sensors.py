"""The sensors and the schedule as Dagster evaluates them: on an instance with runs, over a lake with days."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from crpbot_dagster import definitions, partitions
from crpbot_dagster.assets import ANALYSES, EVALUATION_TABLES, ROUTE
from crpbot_dagster.instance import lake_of
from crpbot_dagster.instruments import Primary
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts, work
from crpbot_dagster.sensors.backfill import catch_up_sensor
from crpbot_dagster.sensors.promotion import promotion_sensor
from crpbot_dagster.sensors.retraining import retraining_sensor
from crpbot_dagster.sensors.schedules import daily_schedule
from crpbot_dagster.sensors.work import Attempt, Request
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

SYMBOL, FIRST, TODAY = "BTC-USD", date(2024, 1, 20), date(2024, 2, 10)
SMALL = {"symbols": '["BTC-USD"]', "start_day": "2024-01-01", "retrain_after_days": "20"}


@pytest.fixture
def config(environment, tmp_path: Path) -> Settings:
    clock = tmp_path / "clock"
    clock.write_text("2024-02-10T12:00:00+00:00")
    return environment(clock=str(clock), **SMALL)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp() as made:  # a schedule opens it by its reference
        yield made


def publish(lake: Lake, table: str, day: date, state: str = "complete") -> None:
    row = {"symbol": [SYMBOL], "day": [day]} if state in ("complete", "partial") else {"symbol": [], "day": []}
    frame = pl.DataFrame(row, schema={"symbol": pl.String, "day": pl.Date})
    if TABLES[table].is_market_wide:
        frame = frame.drop("symbol")
    rest = [pl.lit(None, t).alias(n) for n, t in TABLES[table].schema.items() if n not in ("symbol", "day")]
    lake.publish(table, frame.with_columns(rest), SYMBOL, day, state)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days up to yesterday, labels up to the day before; volumes a week further back."""
    folder = tmp_path_factory.mktemp("template") / "lake"
    made = Lake(url=str(folder), market="sandbox, seed 7, density 1", start_day="2024-01-01")
    days = [TODAY - timedelta(days=i) for i in range(1, 11)]
    for table in (*facts.DAY_TABLES, *facts.MARKET_TABLES):
        look_back = [days[-1] - timedelta(days=i) for i in range(1, 8)] if table == "bars/volume_1d" else []
        for day in days + look_back:
            publish(made, table, day)
    for table in facts.LABEL_TABLES:
        for day in days[1:]:
            publish(made, table, day)
    return folder


@pytest.fixture
def lake(config: Settings, template: Path) -> Lake:
    shutil.copytree(template, config.lake_url)
    return lake_of(config)


def drop(lake: Lake, table: str, day: date) -> None:
    lake.delta(table).delete(f"symbol = '{SYMBOL}' AND day = '{day}'")


def made(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """The run that the daemon makes of a request, in some state."""
    tags = {**request.tags, facts.PARTITION_TAG: request.partition_key, "dagster/run_key": request.run_key}
    return instance.create_run_for_job(_job(), tags=tags, status=status)


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None:
        pass

    @dg.job
    def idle() -> None:
        nothing()

    return idle


def requests(answer: object) -> list[dg.RunRequest]:
    return list(answer.run_requests)


def test_every_sensor_and_the_schedule_are_on_and_named() -> None:
    sensors = {s.name: s for s in definitions.defs.sensors}
    assert set(sensors) == {"catch_up", "catch_up_market", "retraining", "promotion", "alerts"}
    assert all(s.default_status == dg.DefaultSensorStatus.RUNNING for s in sensors.values())
    assert {s.name for s in definitions.defs.schedules} == {"daily", "daily_market"}
    for schedule in definitions.defs.schedules:
        assert schedule.cron_schedule == "30 6 * * *"
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_every_table_of_the_route_is_somebodys_work() -> None:
    asked = {
        *facts.DAY_TABLES, *facts.LABEL_TABLES, *facts.TRAINING_TABLES, *EVALUATION_TABLES, *facts.PROMOTION_TABLES,
        *facts.MARKET_TABLES,
    }  # fmt: skip
    assert asked | ANALYSES == {"/".join(a.key.path) for stage in ROUTE.values() for a in stage}, "or asked by hand"


def test_a_complete_lake_is_left_alone_with_words(config, instance, lake) -> None:
    context = dg.build_sensor_context(instance=instance)
    assert catch_up_sensor(config, lake)(context).skip_reason.skip_message == "Everything is there."
    said = retraining_sensor(config, lake)(context).skip_reason.skip_message
    assert "no verdict yet and 9 labelled days, but a verdict on 2024-02-09 lacks" in said
    assert promotion_sensor(config, lake)(context).skip_reason.skip_message == "BTC-USD: no evaluation yet"
    schedule = daily_schedule(config, lake)(dg.build_schedule_context(instance=instance))
    assert schedule.skip_message == "BTC-USD 2024-02-09 is in the lake"


def test_an_empty_lake_is_left_to_the_backfill(config, instance) -> None:
    empty = lake_of(config)
    answer = catch_up_sensor(config, empty)(dg.build_sensor_context(instance=instance))
    assert "run crpbot backfill first" in answer.skip_reason.skip_message


def test_a_deleted_partition_is_asked_for_once_and_read_back(config, instance, lake) -> None:
    day = date(2024, 2, 6)
    drop(lake, "features/v4", day)
    sensor, context = catch_up_sensor(config, lake), dg.build_sensor_context(instance=instance)
    (request,) = requests(sensor(context))
    assert request.run_key == "day|BTC-USD|2024-02-06|1" and request.partition_key == "2024-02-06|BTC-USD"
    made_again = {t for t in facts.DAY_TABLES if not t.startswith("raw/")}
    assert {"/".join(k.path) for k in request.asset_selection} == made_again, "the sources are not asked again"
    assert request.tags["crpbot/reason"] == "not in the lake: features/v4"
    assert requests(sensor(context))[0].run_key == request.run_key  # a replayed tick
    run = made(instance, request, dg.DagsterRunStatus.STARTED)
    assert "a run is in flight" in sensor(context).skip_reason.skip_message
    assert facts.in_flight(instance) == {(SYMBOL, day)}
    (attempt,) = facts.attempts_on(instance, ("day",), [day])
    assert attempt == Attempt("day", SYMBOL, day, 1, config.now(), "in_flight")
    instance.report_run_failed(run)
    assert "tried, again at 2024-02-10 13:00 UTC" in sensor(context).skip_reason.skip_message
    config.clock.write_text("2024-02-10T13:00:00+00:00")
    (again,) = requests(sensor(context))
    assert again.run_key == "day|BTC-USD|2024-02-06|2"


def test_a_lost_label_is_asked_for_by_itself(config, instance, lake) -> None:
    drop(lake, "features/labels", date(2024, 2, 5))
    drop(lake, "evaluations/daily_predictions", date(2024, 2, 4))  # there was no verdict yet: nothing to make
    (request,) = requests(catch_up_sensor(config, lake)(dg.build_sensor_context(instance=instance)))
    assert request.run_key == "label|BTC-USD|2024-02-05|1"
    assert {"/".join(k.path) for k in request.asset_selection} == set(facts.LABEL_TABLES)


def test_a_track_record_is_asked_for_from_the_first_verdict_on(config, instance, lake) -> None:
    publish(lake, "promotion/promoted_model", date(2024, 2, 5))
    for day in (date(2024, 2, 5), date(2024, 2, 6)):
        drop(lake, "evaluations/daily_predictions", day)
    (request,) = requests(catch_up_sensor(config, lake)(dg.build_sensor_context(instance=instance)))
    assert request.run_key == "label|BTC-USD|2024-02-06|1"


def test_a_run_of_a_person_holds_its_partition_too(config, instance, lake) -> None:
    drop(lake, "features/v4", date(2024, 2, 6))
    tags = {facts.PARTITION_TAG: str(partitions.key(SYMBOL, date(2024, 2, 6)))}
    instance.create_run_for_job(_job(), tags=tags, status=dg.DagsterRunStatus.STARTED)
    answer = catch_up_sensor(config, lake)(dg.build_sensor_context(instance=instance))
    assert "2024-02-06: a run is in flight" in answer.skip_reason.skip_message


@pytest.mark.parametrize(
    ("table", "is_asked"), [("raw/tardis_book", True), ("raw/coinbase_candles", False)], ids=["primary", "other"]
)
def test_only_the_primary_source_is_waited_for(config, instance, lake, table: str, is_asked: bool) -> None:
    publish(lake, table, date(2024, 2, 9), "missing")
    answer = catch_up_sensor(config, lake)(dg.build_sensor_context(instance=instance))
    assert [r.run_key for r in requests(answer) if answer.run_requests] == (
        ["day|BTC-USD|2024-02-09|1"] if is_asked else []
    )


def test_every_source_knows_its_raw_tables() -> None:
    assert facts.tables_from("tardis") == {"raw/tardis_trades", "raw/tardis_book", "raw/tardis_book_snapshots"}
    assert facts.tables_from("coinbase") == {"raw/coinbase_candles"}
    assert facts.tables_from("files") == {"raw/candle_files"}


def test_the_schedule_asks_for_a_new_day_and_the_sensor_does_not_ask_again(config, instance, lake) -> None:
    config.clock.write_text("2024-02-11T06:30:00+00:00")
    schedule, context = daily_schedule(config, lake), dg.build_schedule_context(instance=instance)
    sources, request = schedule(context)
    assert (sources.run_key, request.run_key) == ("sources|BTC-USD|2024-02-10|1", "day|BTC-USD|2024-02-10|1")
    assert sources.tags["dagster/priority"] > request.tags["dagster/priority"]
    (market,) = daily_schedule(config, lake, "market")(context)
    assert (market.run_key, market.partition_key) == ("day|market|2024-02-10|1", "2024-02-10")
    assert catch_up_sensor(config, lake)(dg.build_sensor_context(instance=instance)).run_requests == []
    made(instance, request, dg.DagsterRunStatus.STARTED)
    config.clock.write_text("2024-02-11T07:30:00+00:00")
    assert catch_up_sensor(config, lake)(dg.build_sensor_context(instance=instance)).run_requests == []
    assert "was requested before" in schedule(context).skip_message


def test_training_evaluation_and_verdict_follow_each_other(environment, tmp_path, instance) -> None:
    clock = tmp_path / "clock"
    clock.write_text("2024-02-10T12:00:00+00:00")
    windows = {"fit_days": "2", "stop_days": "1", "calibrate_days": "1", "test_days": "3"}
    config = environment(clock=str(clock), **SMALL, **windows)
    lake = lake_of(config)
    for table in ("features/v4", "features/v5", "features/labels"):
        for i in range(2, 11):
            publish(lake, table, TODAY - timedelta(days=i))
    trainer, context = retraining_sensor(config, lake), dg.build_sensor_context(instance=instance)
    (training,) = requests(trainer(context))
    # Labels up to the 8th: verdict on the 9th, test days 6 … 8, model of the 5th.
    assert training.partition_key == "2024-02-05|BTC-USD" and training.tags["crpbot/kind"] == "training"
    assert {"/".join(k.path) for k in training.asset_selection} == set(facts.TRAINING_TABLES)
    assert "no verdict yet" in training.tags["crpbot/reason"]
    made(instance, training, dg.DagsterRunStatus.SUCCESS)
    (evaluation,) = requests(trainer(context))
    assert evaluation.partition_key == "2024-02-09|BTC-USD"
    made(instance, evaluation, dg.DagsterRunStatus.SUCCESS)
    publish(lake, "evaluations/metrics", date(2024, 2, 9))
    assert "0 of 20 labelled days since the verdict of 2024-02-09" in trainer(context).skip_reason.skip_message
    judge = promotion_sensor(config, lake)
    (verdict,) = requests(judge(context))
    assert verdict.partition_key == "2024-02-09|BTC-USD" and verdict.tags["crpbot/kind"] == "promotion"
    made(instance, verdict, dg.DagsterRunStatus.SUCCESS)
    assert judge(context).run_requests == []
    for table in facts.PROMOTION_TABLES:
        publish(lake, table, date(2024, 2, 9))
    assert "has its verdict" in judge(context).skip_reason.skip_message


def test_the_tags_of_a_request_give_it_back(instance, config) -> None:
    request = Request("training", SYMBOL, FIRST, ("models/logistic_v4",), 3, config.now(), "why not", "abc")
    made(instance, facts.run_request(request), dg.DagsterRunStatus.CANCELED)
    (attempt,) = facts.newest_attempts(instance, ("training",), 1)
    assert attempt == Attempt("training", SYMBOL, FIRST, 3, config.now(), "failed", "abc")
    assert replace(attempt, status="succeeded").digest == request.digest


def test_long_waits_are_cut_to_what_a_person_reads() -> None:
    said = facts.in_words([f"w{i}" for i in range(20)])
    assert said.startswith("w0; w1") and said.endswith("; and 8 more")


@pytest.mark.parametrize(("source", "late"), [("files", True), ("coinbase", False)])
def test_a_missing_day_is_late_where_its_table_is_the_primary_source(config, lake, source: str, late: bool) -> None:
    day = date(2024, 2, 9)
    publish(lake, "raw/candle_files", day, "missing")
    primary = Primary("coinbase", source)
    assert facts._days(lake, SYMBOL, [day], primary)[SYMBOL, day].is_late == late


def test_a_source_of_which_more_is_to_come_is_asked_again_and_the_primary_one_is_not(config, instance, lake) -> None:
    day = TODAY - timedelta(days=2)
    for table in ("raw/attention", "raw/traditional_markets", "raw/tardis_trades"):
        publish(lake, table, day, "partial")
    symbols, market = (facts.state(instance, lake, config, scope) for scope in facts.SCOPES)
    assert symbols.days[SYMBOL, day].absent == {"raw/attention"}
    assert market.days[MARKET_WIDE, day].absent == {"raw/traditional_markets"}
    plans = [work.catch_up(state, facts.rules(config)) for state in (symbols, market)]
    asked = [(r.symbol, r.kind, r.tables[0]) for plan in plans for r in plan.requests]
    assert asked == [(SYMBOL, "sources", "raw/attention"), (MARKET_WIDE, "day", "raw/traditional_markets")]
