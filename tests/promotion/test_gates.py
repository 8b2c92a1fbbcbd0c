import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpbot_dagster.assets.evaluations.metrics import METRIC_KEYS, evaluate
from crpbot_dagster.assets.promotion.gates import Candidate, Thresholds, choose, decide

PLAN = Thresholds(accuracy=0.68, tune_accuracy=0.60, ece=0.05, min_n_eff=2000, p_value=0.05, strict=False)
STRICT = Thresholds(accuracy=0.68, tune_accuracy=0.60, ece=0.05, min_n_eff=2000, p_value=0.05, strict=True)
GOOD = {
    **{
        "n": 40320,
        "n_eff": 2688.9,
        "accuracy_frac": 0.70,
        "accuracy_low_frac": 0.685,
        "base_rate_frac": 0.51,
    },
    **{"baseline_accuracy_frac": 0.49, "ece_upper": 0.03, "brier_skill": 0.1, "brier_p_value": 0.001},
    **{"log_loss": 0.60, "log_loss_base": 0.693, "log_loss_p_value": 0.001, "guard_reasons": ""},
}
INPUTS = sorted(set(GOOD) - {"n", "n_eff"})
ROW_NAMES = ["sample", "accuracy", "calibration", "skill", "guards"]
MISSING = [None, math.nan, math.inf]


def row(decision, name):
    return next(row for row in decision.rows if row.name == name)


def candidate(**changes):
    metrics = {**GOOD, **changes}
    return Candidate(decide(metrics, PLAN), metrics)


def test_all_gates_passed_promotes():
    decision = decide(GOOD, PLAN)
    assert decision.verdict == "PROMOTE"
    assert [(row.name, row.passed) for row in decision.rows] == [(name, True) for name in ROW_NAMES]
    assert decision.reasons == ("PROMOTE: every gate passed.",)


def test_gates_read_names_that_the_metrics_have():
    assert set(GOOD) <= set(METRIC_KEYS)


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({"n_eff": 1999.9}, "sample", "INSUFFICIENT"),
        ({"accuracy_frac": 0.6799, "accuracy_low_frac": 0.66}, "accuracy", "TUNE"),
        ({"accuracy_frac": 0.5999, "accuracy_low_frac": 0.58}, "accuracy", "INVESTIGATE"),
        ({"accuracy_low_frac": 0.51}, "accuracy", "TUNE"),
        ({"accuracy_low_frac": 0.55, "base_rate_frac": 0.56}, "accuracy", "TUNE"),
        ({"baseline_accuracy_frac": 0.69}, "accuracy", "TUNE"),
        ({"ece_upper": 0.0501}, "calibration", "TUNE"),
        ({"brier_skill": 0.0}, "skill", "TUNE"),
        ({"brier_p_value": 0.05}, "skill", "TUNE"),
        ({"log_loss": 0.693}, "skill", "TUNE"),
        ({"log_loss_p_value": 0.2}, "skill", "TUNE"),
        ({"guard_reasons": "constant, one_class"}, "guards", "TUNE"),
    ],
)
def test_each_gate_is_seen_failing_alone(changes, name, verdict):
    decision = decide({**GOOD, **changes}, PLAN)
    assert decision.verdict == verdict
    assert row(decision, name).passed is False
    assert decision.reasons[0].startswith(verdict)
    assert any(reason.startswith(f"{name}: ") for reason in decision.reasons)
    if name != "sample":
        assert [other.passed for other in decision.rows if other.name != name] == [True] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"n_eff": 2000},
        {"accuracy_frac": 0.68},
        {"ece_upper": 0.05},
        {"ece_upper": -0.01},
        {"accuracy_low_frac": 0.511},
    ],
)
def test_each_gate_passes_at_its_edge(changes):
    assert decide({**GOOD, **changes}, PLAN).verdict == "PROMOTE"


def test_strict_asks_the_lower_bound_to_reach_the_threshold():
    low = {**GOOD, "accuracy_low_frac": 0.6799}
    assert decide(low, PLAN).verdict == "PROMOTE"
    decision = decide(low, STRICT)
    assert decision.verdict == "TUNE"
    failed = row(decision, "accuracy")
    assert (failed.value, failed.threshold, failed.passed) == (0.6799, 0.68, False)
    assert decide({**GOOD, "accuracy_low_frac": 0.68}, STRICT).verdict == "PROMOTE"


def test_too_few_labels_come_before_everything():
    poor = {**GOOD, "n_eff": 10.0, "accuracy_frac": 0.3, "guard_reasons": "nan", "ece_upper": None}
    assert decide(poor, PLAN).verdict == "INSUFFICIENT"
    few = decide({**GOOD, "n_eff": 10.0}, PLAN)
    assert few.verdict == "INSUFFICIENT"
    assert not any(row.passed for row in few.rows)
    assert "too few labels" in row(few, "skill").reason


def test_a_failed_accuracy_comes_before_a_missing_input():
    no_rest = dict.fromkeys(INPUTS) | {"n": 40320, "n_eff": 2688.9}
    assert decide({**no_rest, "accuracy_frac": 0.55}, PLAN).verdict == "INVESTIGATE"
    assert decide({**no_rest, "accuracy_frac": 0.60}, PLAN).verdict == "TUNE"
    assert decide({**no_rest, "accuracy_frac": 0.70}, PLAN).verdict == "INSUFFICIENT"
    bound = {**no_rest, "accuracy_frac": 0.70, "accuracy_low_frac": 0.65}
    assert decide(bound, PLAN).verdict == "INSUFFICIENT"
    assert decide(bound, STRICT).verdict == "TUNE"  # the lower bound has failed, whatever the baseline is


def test_a_missing_input_comes_before_another_gate_that_failed():
    decision = decide({**GOOD, "ece_upper": None, "guard_reasons": "constant"}, PLAN)
    assert decision.verdict == "INSUFFICIENT"
    assert (row(decision, "calibration").passed, row(decision, "guards").passed) == (None, False)
    half = decide({**GOOD, "brier_skill": -0.1, "log_loss_p_value": None}, PLAN)
    assert (half.verdict, row(half, "skill").passed) == ("INSUFFICIENT", None)


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("name", sorted(set(GOOD) - {"guard_reasons"}))
def test_each_missing_number_is_insufficient(name, missing):
    decision = decide({**GOOD, name: missing}, PLAN)
    assert decision.verdict == "INSUFFICIENT"
    assert any("missing" in reason for reason in decision.reasons)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_absent_key_is_insufficient(name):
    decision = decide({key: value for key, value in GOOD.items() if key != name}, PLAN)
    assert decision.verdict == "INSUFFICIENT"


@pytest.mark.parametrize(("name", "value"), [("accuracy_frac", "0.7"), ("n_eff", True), ("guard_reasons", 0)])
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(TypeError, match=name):
        decide({**GOOD, name: value}, PLAN)


@pytest.mark.parametrize("thresholds", [PLAN, STRICT])
def test_every_row_carries_its_number_threshold_and_n(thresholds):
    for metrics in (GOOD, {**GOOD, "n_eff": 5.0}, {**GOOD, "accuracy_frac": 0.5, "guard_reasons": "nan"}):
        for line in decide(metrics, thresholds).to_rows():
            assert isinstance(line["value"], float)
            assert isinstance(line["threshold"], float | int)
            assert line["n"] == 40320
            assert line["reason"].startswith(f"{line['name']}: ")


def test_a_row_shows_the_condition_that_decided():
    failed = row(decide({**GOOD, "log_loss_p_value": 0.2}, PLAN), "skill")
    assert (failed.value, failed.threshold, failed.comparison) == (
        0.2,
        0.05,
        "log_loss_p_value < the threshold",
    )
    assert failed.reason == (
        "skill: brier_skill 0.1 is above the base rate's 0; brier_p_value 0.001 is below the threshold 0.05; "
        "log_loss 0.6 is below log_loss_base 0.693; log_loss_p_value 0.2 is not below the threshold 0.05."
    )
    guarded = row(decide({**GOOD, "guard_reasons": "constant, one_class"}, PLAN), "guards")
    assert guarded.value == 2.0
    assert guarded.reason.endswith(": constant, one_class.")


def test_rows_make_a_table():
    table = pl.DataFrame(decide(GOOD, PLAN).to_rows())
    assert table.columns == ["verdict", "name", "value", "threshold", "comparison", "n", "passed", "reason"]
    assert table["name"].to_list() == ROW_NAMES


NUMBERS = st.one_of(st.none(), st.just(math.nan), st.floats(0.0, 1.0))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    values=st.fixed_dictionaries({name: NUMBERS for name in INPUTS if name != "guard_reasons"}),
    guards=st.sampled_from([None, "", "nan"]),
    n_eff=st.one_of(st.none(), st.floats(0, 5000)),
    thresholds=st.sampled_from([PLAN, STRICT]),
)
def test_the_order_of_verdicts_holds_for_any_metrics(values, guards, n_eff, thresholds):
    decision = decide({**values, "guard_reasons": guards, "n": 5000, "n_eff": n_eff}, thresholds)
    passed = {line.name: line.passed for line in decision.rows}
    point = values["accuracy_frac"]
    if n_eff is None or n_eff < 2000:
        assert decision.verdict == "INSUFFICIENT"
        assert True not in passed.values()
    elif passed["accuracy"] is False:
        assert decision.verdict == ("TUNE" if point >= 0.60 else "INVESTIGATE")
    elif None in passed.values():
        assert decision.verdict == "INSUFFICIENT"
    else:
        assert decision.verdict == ("PROMOTE" if all(passed.values()) else "TUNE")


@pytest.mark.parametrize(
    "change",
    [{"accuracy": 1.2}, {"tune_accuracy": 0.7}, {"ece": math.nan}, {"min_n_eff": 0}, {"p_value": 0.0}],
)
def test_thresholds_out_of_order_are_refused(change):
    plan = {
        "accuracy": 0.68,
        "tune_accuracy": 0.6,
        "ece": 0.05,
        "min_n_eff": 2000,
        "p_value": 0.05,
        "strict": False,
    }
    with pytest.raises(ValueError, match=next(iter(change))):
        Thresholds(**{**plan, **change})
    with pytest.raises(TypeError):
        Thresholds(**{name: value for name, value in plan.items() if name != next(iter(change))})


def test_the_best_promotable_family_is_chosen_by_its_lower_bound():
    families = {
        "lstm": candidate(accuracy_frac=0.75, accuracy_low_frac=0.69),
        "lightgbm": candidate(accuracy_frac=0.72, accuracy_low_frac=0.70),
        "logistic": candidate(accuracy_frac=0.80, accuracy_low_frac=0.79, ece_upper=0.2),
    }
    choice = choose(families)
    assert (choice.family, choice.verdict, choice.is_promoted) == ("lightgbm", "PROMOTE", True)
    assert "best of 2 promotable among 3" in choice.reasons[0]


def test_when_nobody_is_promotable_the_best_gives_the_verdict():
    families = {
        "lstm": candidate(accuracy_frac=0.55, accuracy_low_frac=0.54),
        "logistic": candidate(accuracy_frac=0.62, accuracy_low_frac=0.60),
        "transformer": candidate(accuracy_frac=None, accuracy_low_frac=None),
    }
    choice = choose(families)
    assert (choice.family, choice.verdict, choice.is_promoted) == ("logistic", "TUNE", False)
    assert choice.reasons[1].startswith("TUNE")
    del families["logistic"]
    assert choose(families).verdict == "INVESTIGATE"


def test_a_draw_goes_to_the_first_name_in_any_order():
    names = ["lstm", "lightgbm", "transformer"]
    for order in (names, names[::-1]):
        assert choose({name: candidate() for name in order}).family == "lightgbm"
        assert choose({name: candidate(ece_upper=0.2) for name in order}).family == "lightgbm"
    lucky = {"a": candidate(accuracy_frac=0.70), "b": candidate(accuracy_frac=0.71)}
    assert choose(lucky).family == "b"


def test_choosing_from_nothing_is_refused():
    with pytest.raises(ValueError, match="no candidate"):
        choose({})


@pytest.mark.parametrize(("edge", "verdict"), [(0.30, "PROMOTE"), (0.20, "TUNE"), (0.0, "INVESTIGATE")])
def test_from_predictions_to_verdict_the_planted_edge_is_found_and_none_is_refused(edge, verdict):
    rng = np.random.default_rng(21)
    n = 24 * 1440
    ts = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=k) for k in range(n)]
    true = np.clip(rng.normal(0.5, edge, n), 0.02, 0.98)
    p = true if edge > 0 else np.clip(rng.normal(0.5, 0.02, n), 0.02, 0.98)
    frame = pl.DataFrame({"ts": ts, "p_up": p, "y_up": (rng.random(n) < true).astype(np.int8)}).with_columns(
        day=pl.col("ts").dt.date(), label_end_ts=pl.col("ts") + timedelta(minutes=16)
    )
    assert decide(evaluate(frame, 0.5, 1000, 3), PLAN).verdict == verdict
