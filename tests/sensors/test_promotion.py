"""When a verdict is asked for: once per set of metrics, for the newest evaluation alone."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from crpbot_dagster import partitions
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts, promotion
from crpbot_dagster.sensors.promotion import Evaluated
from crpbot_dagster.sensors.work import Attempt, Plan
from crpbot_dagster.tables import TABLES

NOW, DAY = datetime(2024, 2, 10, 12, 0, tzinfo=UTC), date(2024, 2, 9)
TABLES_ASKED = ("promotion/promoted_model",)
NEW = Evaluated("BTC-USD", DAY, "abc", has_verdict=False, in_flight=False, attempts=())


def decide(newest: Evaluated | None, now: datetime = NOW) -> Plan:
    return promotion.decide(newest, "BTC-USD", TABLES_ASKED, 1.0, now)


def test_a_new_evaluation_gets_one_verdict() -> None:
    (request,) = decide(NEW).requests
    assert request.key == "promotion|BTC-USD|2024-02-09|abc|1" and request.tables == TABLES_ASKED
    assert decide(NEW) == decide(NEW)
    for status in ("in_flight", "succeeded", "failed"):
        tried = Attempt("promotion", "BTC-USD", DAY, 1, NOW, status, "abc")
        assert decide(replace(NEW, attempts=(tried,))).requests == ()


@pytest.mark.parametrize(
    ("newest", "says"),
    [
        (None, "no evaluation yet"),
        (replace(NEW, has_verdict=True), "has its verdict"),
        (replace(NEW, in_flight=True), "in flight"),
    ],
)
def test_nothing_to_do_is_said(newest: Evaluated | None, says: str) -> None:
    plan = decide(newest)
    assert plan.requests == () and says in plan.waits[0]


def test_a_failed_promotion_is_tried_again_later_and_other_metrics_at_once() -> None:
    failed = Attempt("promotion", "BTC-USD", DAY, 1, NOW, "failed", "abc")
    (again,) = decide(replace(NEW, attempts=(failed,)), NOW + timedelta(hours=1)).requests
    assert again.attempt == 2
    (other,) = decide(replace(NEW, digest="def", attempts=(failed,))).requests
    assert other.key == "promotion|BTC-USD|2024-02-09|def|1"


def metrics(lake: Lake, day: date, value: float, families: tuple[str, ...] = ("a", "b")) -> None:
    rows = [("BTC-USD", day, f, date(2024, 1, 1), m, value, "") for f in families for m in ("n_eff", "accuracy_frac")]
    frame = pl.DataFrame(rows, schema=TABLES["evaluations/metrics"].schema, orient="row")
    lake.publish("evaluations/metrics", frame, "BTC-USD", day, "complete")


def verdict(lake: Lake, day: date, tables: tuple[str, ...] = facts.PROMOTION_TABLES) -> None:
    for table in tables:
        rest = [pl.lit(None, t).alias(n) for n, t in TABLES[table].schema.items() if n not in ("symbol", "day")]
        row = pl.DataFrame({"symbol": ["BTC-USD"], "day": [day]}).with_columns(rest)
        lake.publish(table, row, "BTC-USD", day, "complete")


def written(instance: dg.DagsterInstance, table: str, day: date) -> None:
    key = str(partitions.key("BTC-USD", day))
    instance.report_runless_asset_event(dg.AssetMaterialization(table.split("/"), partition=key))


def test_the_newest_evaluation_is_read_and_what_came_after_it(tmp_path) -> None:
    lake = Lake(url=str(tmp_path), market="sandbox", start_day="2024-01-01")
    with dg.DagsterInstance.ephemeral() as instance:

        def newest(attempts: tuple[Attempt, ...] = ()) -> Evaluated | None:
            return promotion.newest_evaluation(instance, lake, "BTC-USD", attempts, frozenset())

        assert newest() is None
        metrics(lake, DAY, 0.5)
        written(instance, "evaluations/metrics", DAY)
        first = newest()
        assert first is not None and (first.day, first.has_verdict) == (DAY, False)
        # The model may be promoted and its report fail: the verdict is given when all of it is there.
        verdict(lake, DAY, facts.PROMOTION_TABLES[:1])
        written(instance, facts.PROMOTION_TABLES[0], DAY)
        assert not newest().has_verdict
        verdict(lake, DAY, facts.PROMOTION_TABLES[1:])
        for table in facts.PROMOTION_TABLES[1:]:
            assert not newest().has_verdict
            written(instance, table, DAY)
        assert newest().has_verdict
        # The same rows in another order are the same metrics; other numbers are others, and want a verdict.
        metrics(lake, DAY, 0.5, ("b", "a"))
        assert newest().digest == first.digest
        metrics(lake, DAY, 0.6)
        written(instance, "evaluations/metrics", DAY)
        assert newest().digest != first.digest and not newest().has_verdict
        # An older evaluation never is the one to promote; a newer one without rows is.
        metrics(lake, DAY - timedelta(days=3), 0.9)
        assert newest().day == DAY
        empty = Attempt("evaluation", "BTC-USD", DAY + timedelta(days=1), 1, NOW, "succeeded")
        assert newest((empty,)).day == DAY + timedelta(days=1) and not newest((empty,)).has_verdict
