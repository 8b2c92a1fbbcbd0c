"""When models are trained again: enough new days or a slipping record, once, on complete windows; then evaluated."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import retraining
from crpbot_dagster.sensors.retraining import DayRecord, Rules, Verdict, View
from crpbot_dagster.sensors.work import Attempt, Plan, Status
from crpbot_dagster.tables import TABLES

NOW = datetime(2024, 2, 10, 12, 0, tzinfo=UTC)
RULES = Rules(4, 3, 5, 3, 1.0, ("models/a", "models/b"), ("evaluations/p", "evaluations/m"), {"seed": "7"})
VERDICT = Verdict(date(2024, 2, 1), "a", 0.60)


def span(first: date, last: date) -> tuple[date, ...]:
    return tuple(first + timedelta(days=i) for i in range((last - first).days + 1))


def view(last: date, verdict: Verdict | None = VERDICT, **changed: object) -> View:
    return replace(View("BTC-USD", span(date(2024, 1, 1), last), verdict, (), ()), **changed)


def only(plan: Plan):
    (request,) = plan.requests
    return request


def tried(plan: Plan, status: Status) -> Attempt:
    r = only(plan)
    return Attempt(r.kind, r.symbol, r.day, r.attempt, r.requested_at, status, r.digest)


def test_not_before_enough_new_labelled_days() -> None:
    # The verdict of the 1st knew labels up to the 31st of January; the 1st … 4th are four new days.
    plan = retraining.decide(view(date(2024, 2, 4)), RULES, NOW)
    assert plan == Plan(waits=("BTC-USD: 4 of 5 labelled days since the verdict of 2024-02-01",))
    request = only(retraining.decide(view(date(2024, 2, 5)), RULES, NOW))
    assert request.kind == "training" and request.tables == RULES.training_tables
    # Verdict on the 6th, three test days 3 … 5, the model of the 2nd is fitted on four days before it.
    assert request.day == date(2024, 2, 2)
    assert request.reason == "5 labelled days since the verdict of 2024-02-01"


def test_the_days_read_are_those_of_the_models_and_the_evaluation() -> None:
    days = retraining.days_read(date(2024, 2, 6), RULES)
    assert days == [*span(date(2024, 1, 29), date(2024, 2, 1)), *span(date(2024, 2, 3), date(2024, 2, 5))]


@pytest.mark.parametrize(("right", "due"), [(59.9, True), (60.0, False), (75.0, False)])
def test_a_record_below_the_bound_of_the_verdict_asks_for_a_training(right: float, due: bool) -> None:
    record = tuple(DayRecord(d, right, 100) for d in span(date(2024, 2, 1), date(2024, 2, 3)))
    plan = retraining.decide(view(date(2024, 2, 3), record=record), RULES, NOW)
    assert bool(plan.requests) is due
    said = only(plan).reason if due else plan.waits[0]
    assert f"a is right in {right:.2f} % of 300 minutes of the last 3 days" in said and "60.00 %" in said


@pytest.mark.parametrize(
    ("record", "bound"),
    [
        ((DayRecord(date(2024, 2, 1), 0, 100), DayRecord(date(2024, 2, 2), 0, 100)), 0.6),  # too few days
        (tuple(DayRecord(d, 0, 0) for d in span(date(2024, 2, 1), date(2024, 2, 3))), 0.6),  # no minute
        (tuple(DayRecord(d, 0, 9) for d in span(date(2024, 2, 1), date(2024, 2, 3))), None),  # no bound
    ],
)
def test_a_record_that_says_nothing_asks_for_nothing(record: tuple[DayRecord, ...], bound: float | None) -> None:
    found = view(date(2024, 2, 3), replace(VERDICT, accuracy_low=bound), record=record)
    assert retraining.decide(found, RULES, NOW).requests == ()


def test_only_the_last_days_of_the_record_count() -> None:
    bad, good = [DayRecord(date(2024, 2, 1), 0, 100)], [DayRecord(date(2024, 2, i), 90, 100) for i in (2, 3, 4)]
    assert retraining.decide(view(date(2024, 2, 4), record=(*bad, *good)), RULES, NOW).requests == ()


def test_the_first_verdict_waits_for_its_whole_window() -> None:
    # Seven days read and the model's own between them: from the 1st on, the verdict of the 9th is the first.
    for last, due in ((date(2024, 1, 7), False), (date(2024, 1, 8), True)):
        plan = retraining.decide(view(last, None), RULES, NOW)
        assert bool(plan.requests) is due
    waits = retraining.decide(view(date(2024, 1, 5), None), RULES, NOW).waits[0]
    assert "no verdict yet and 5 labelled days, but a verdict on 2024-01-06 lacks" in waits and "2023-12-29" in waits
    assert retraining.decide(view(date(2024, 1, 5), None, labelled=()), RULES, NOW).waits == (
        "BTC-USD: no labelled day is in the lake",
    )


def test_a_hole_in_the_window_is_named_and_nothing_requested() -> None:
    whole = view(date(2024, 2, 6))
    holed = replace(whole, labelled=tuple(d for d in whole.labelled if d != date(2024, 1, 31)))
    plan = retraining.decide(holed, RULES, NOW)
    assert plan.requests == () and plan.waits[0].endswith("lacks features or labels of 1 days: 2024-01-31")
    # The model's own day is read by neither.
    own = replace(whole, labelled=tuple(d for d in whole.labelled if d != date(2024, 2, 3)))
    assert only(retraining.decide(own, RULES, NOW)).day == date(2024, 2, 3)


def test_training_then_evaluation_then_quiet() -> None:
    due = view(date(2024, 2, 5))
    training = retraining.decide(due, RULES, NOW)
    flying = replace(due, attempts=(tried(training, "in_flight"),))
    assert retraining.decide(flying, RULES, NOW).waits == ("BTC-USD: the training of 2024-02-02 is in flight",)
    trained = replace(due, attempts=(tried(training, "succeeded"),))
    evaluation = retraining.decide(trained, RULES, NOW)
    request = only(evaluation)
    assert (request.kind, request.day, request.tables) == ("evaluation", date(2024, 2, 6), RULES.evaluation_tables)
    assert request.digest == only(training).digest
    # A newer label arriving meanwhile changes nothing: what is trained is judged first.
    assert retraining.decide(replace(trained, labelled=view(date(2024, 2, 6)).labelled), RULES, NOW) == evaluation
    judging = replace(trained, attempts=(*trained.attempts, tried(evaluation, "in_flight")))
    assert retraining.decide(judging, RULES, NOW).requests == ()
    judged = replace(
        trained,
        attempts=(*trained.attempts, tried(evaluation, "succeeded")),
        verdict=Verdict(date(2024, 2, 6), "a", 0.6),
    )
    assert retraining.decide(judged, RULES, NOW).waits == (
        "BTC-USD: 0 of 5 labelled days since the verdict of 2024-02-06",
    )


def test_what_failed_is_tried_again_later_or_anew_with_newer_labels() -> None:
    due = view(date(2024, 2, 5))
    training = retraining.decide(due, RULES, NOW)
    failed = replace(due, attempts=(tried(training, "failed"),))
    assert "again at 2024-02-10 13:00" in retraining.decide(failed, RULES, NOW).waits[0]
    again = only(retraining.decide(failed, RULES, NOW + timedelta(hours=1)))
    assert again.attempt == 2 and again.key != only(training).key and again.digest == only(training).digest
    newer = replace(failed, labelled=view(date(2024, 2, 6)).labelled)
    assert only(retraining.decide(newer, RULES, NOW)).day == date(2024, 2, 3)
    # An evaluation that failed is tried again as well, until newer labels make a newer model.
    trained = replace(due, attempts=(tried(training, "succeeded"),))
    evaluation = tried(retraining.decide(trained, RULES, NOW), "failed")
    stuck = replace(trained, attempts=(*trained.attempts, evaluation))
    assert "evaluation: tried, again at" in retraining.decide(stuck, RULES, NOW).waits[0]
    onward = retraining.decide(replace(stuck, labelled=view(date(2024, 2, 6)).labelled), RULES, NOW)
    assert only(onward).kind == "training" and only(onward).day == date(2024, 2, 3)


def test_a_replay_gives_the_same_key_and_any_input_another() -> None:
    due = view(date(2024, 2, 5))
    key = only(retraining.decide(due, RULES, NOW)).key
    assert only(retraining.decide(due, RULES, NOW + timedelta(hours=3))).key == key
    others = [
        (replace(due, symbol="ETH-USD"), RULES),
        (view(date(2024, 2, 6)), RULES),
        (due, replace(RULES, inputs={"seed": "8"})),
        (due, replace(RULES, window_days=5)),
        (due, replace(RULES, test_days=4)),
    ]
    assert len({key} | {only(retraining.decide(v, r, NOW)).key for v, r in others}) == 6


def test_the_rules_carry_every_training_setting_and_the_feature_manifests(environment) -> None:
    inputs = retraining.rules_of(environment(logistic_c="0.5")).inputs
    assert inputs["logistic_c"] == "0.5" and {"seed", "fit_days", "lstm_hidden", "test_days"} <= set(inputs)
    assert inputs["features of logistic_v5"] != inputs["features of logistic_v4"]
    assert not any("gate" in n or "url" in n for n in inputs)


# --- reading from the lake ---------------------------------------------------------------------------


def test_the_record_counts_the_chosen_family_after_its_verdict_as_the_metrics_do(tmp_path) -> None:
    lake, day = Lake(url=str(tmp_path), market="sandbox", start_day="2024-01-01"), date(2024, 2, 3)
    table = TABLES["evaluations/daily_predictions"]

    def row(minute: int, p: float | None, y: int | None, chosen: bool = True, verdict: date = VERDICT.day):
        ts = datetime(2024, 2, 3, 0, minute, tzinfo=UTC)
        values = {"symbol": "BTC-USD", "day": day, "family": "a" if chosen else "b", "model_day": date(2024, 1, 28)}
        values |= {"verdict_day": verdict, "is_chosen": chosen, "ts": ts, "p_up_15m": p, "y_up_15m": y}
        return values | {"label_end_ts": ts + timedelta(minutes=16)}

    rows = [
        *(row(0, 0.9, 1), row(1, 0.1, 0), row(2, 0.9, 0), row(3, 0.5, 1)),  # right, right, wrong, no call
        *(row(4, None, 1), row(5, 0.9, None), row(6, 0.9, 1, chosen=False), row(7, 0.9, 1, verdict=date(2024, 1, 9))),
    ]
    lake.publish(table.name, pl.DataFrame(rows, schema=table.schema), "BTC-USD", day, "complete")
    assert retraining.record_of(lake, "BTC-USD", VERDICT.day) == (DayRecord(day, 2.5, 4),)


def test_the_verdict_is_the_newest_and_names_the_chosen_family_and_its_bound(tmp_path) -> None:
    lake = Lake(url=str(tmp_path), market="sandbox", start_day="2024-01-01")
    assert retraining.verdict_of(lake, "BTC-USD", ()) is None
    for day, family, low in ((date(2024, 1, 20), "b", 0.5), (date(2024, 2, 1), "a", 0.61)):
        metrics = [("BTC-USD", day, f, date(2024, 1, 1), "accuracy_low_frac", low, "") for f in (family, "other")]
        frame = pl.DataFrame(metrics, schema=TABLES["evaluations/metrics"].schema, orient="row")
        lake.publish("evaluations/metrics", frame, "BTC-USD", day, "complete")
        if family == "a":  # evaluated, its verdict not given yet
            assert retraining.verdict_of(lake, "BTC-USD", ()) == Verdict(day)
        gate = ("BTC-USD", day, family, True, "verdict", 0.7, None, "text", 9.0, True, "PROMOTE", "")
        frame = pl.DataFrame([gate], schema=TABLES["promotion/promoted_model"].schema, orient="row")
        lake.publish("promotion/promoted_model", frame, "BTC-USD", day, "complete")
    assert retraining.verdict_of(lake, "BTC-USD", ()) == Verdict(date(2024, 2, 1), "a", 0.61)
    without_models = Attempt("evaluation", "BTC-USD", date(2024, 2, 9), 1, NOW, "succeeded")
    assert retraining.verdict_of(lake, "BTC-USD", (without_models,)) == Verdict(date(2024, 2, 9))
