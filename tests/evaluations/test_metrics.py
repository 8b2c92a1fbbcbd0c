import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpbot_dagster.assets.evaluations import metrics as m

P = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.55])
Y = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
steady = settings(derandomize=True, deadline=None, max_examples=100)
ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1)), min_size=1, max_size=60)


def market(days=28, edge=0.12, seed=1):
    """A calibrated model: p spreads by ``edge`` around 0.5 and labels come up just that often."""
    rng = np.random.default_rng(seed)
    ts = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=k) for k in range(days * 1440)]
    p = np.clip(rng.normal(0.5, edge, len(ts)), 0.01, 0.99)
    return frame_of(ts, p, (rng.random(len(ts)) < p).astype(np.int8))


def frame_of(ts, p, y):
    return pl.DataFrame(
        {"ts": ts, "p_up": p, "y_up": y},
        schema_overrides={"ts": pl.Datetime("us", "UTC"), "p_up": pl.Float64, "y_up": pl.Int8},
    ).with_columns(day=pl.col("ts").dt.date(), label_end_ts=pl.col("ts") + timedelta(minutes=16))


def days_of(days, rows):
    return np.repeat(np.arange(days), rows)


def weights_of(days, seed=0):
    return m.resample_days(days, 1000, np.random.default_rng(seed))


def table(rows):
    p, y = zip(*rows, strict=True)
    return np.array(p) / 40, np.array(y, dtype=float)


@pytest.mark.parametrize(
    ("bins", "kind", "golden"),
    [(5, "width", 0.22), (10, "width", 0.34), (5, "mass", 0.14), (2, "mass", 0.06)],
)
def test_ece_golden_values(bins, kind, golden):
    assert m.expected_calibration_error(P, Y, bins, kind) == pytest.approx(golden, abs=1e-12)


def test_brier_and_log_loss_golden_values():
    assert m.brier_score(P, Y) == pytest.approx(0.1705, abs=1e-12)
    assert m.brier_score(np.full(10, Y.mean()), Y) == 0.25
    assert m.brier_skill(P, Y, 0.5) == pytest.approx(0.318, abs=1e-12)
    assert m.row_log_loss(P, Y).mean() == pytest.approx(0.493641, abs=5e-7)


@pytest.mark.parametrize(("n", "width", "mass"), [(200, 0.067, 0.107), (2000, 0.021, 0.034), (20000, 0.0066, 0.0105)])
def test_calibrated_null_is_that_of_the_methods_table(n, width, mass):
    rng = np.random.default_rng(5)
    columns = [np.clip(rng.normal(0.5, 0.12, n), 0.0, 1.0) for _ in range(60_000 // n)]
    null = {
        (bins, kind): np.mean([m.calibrated_null_ece(p, bins, kind, 30, rng) for p in columns])
        for bins, kind in ((10, "width"), (15, "mass"))
    }
    assert null[10, "width"] == pytest.approx(width, rel=0.04)
    assert null[15, "mass"] == pytest.approx(mass, rel=0.04)


def naive_ece(p, y, edges):
    total = 0.0
    for low, high in pairwise(edges):
        inside = [(a, b) for a, b in zip(p, y, strict=True) if low <= a < high or (a == high == edges[-1])]
        if inside:
            ps, ys = zip(*inside, strict=True)
            total += len(inside) / len(p) * abs(sum(ys) / len(ys) - sum(ps) / len(ps))
    return total


@steady
@given(rows=ROWS, bins=st.integers(1, 20))
def test_width_ece_equals_its_naive_twin(rows, bins):
    p, y = table(rows)
    edges = [k / bins for k in range(bins + 1)]
    assert m.expected_calibration_error(p, y, bins, "width") == pytest.approx(naive_ece(p, y, edges), abs=1e-12)


@steady
@given(rows=ROWS, bins=st.integers(1, 20), seed=st.integers(0, 99), kind=st.sampled_from(["width", "mass"]))
def test_ece_does_not_depend_on_the_order_of_rows(rows, bins, seed, kind):
    p, y = table(rows)
    order = np.random.default_rng(seed).permutation(len(p))
    shuffled = m.expected_calibration_error(p[order], y[order], bins, kind)
    assert shuffled == pytest.approx(m.expected_calibration_error(p, y, bins, kind), abs=1e-12)


@steady
@given(n=st.integers(1, 200), bins=st.integers(1, 20))
def test_mass_bins_differ_by_at_most_one_row(n, bins):
    index = m.bin_index(np.random.default_rng(n).permutation(n) / n, bins, "mass")
    sizes = np.unique(index, return_counts=True)[1]
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == min(n, bins)


def test_bins_are_refused_by_name():
    with pytest.raises(ValueError, match="'width' or 'mass'"):
        m.bin_index(P, 5, "quantile")
    with pytest.raises(ValueError, match="at least one bin"):
        m.bin_index(P, 0, "mass")


def test_a_tie_counts_half_right_whatever_came():
    assert m.hits(np.array([0.5, 0.5, 0.51, 0.49]), np.array([0.0, 1.0, 1.0, 1.0])).tolist() == [
        0.5,
        0.5,
        1,
        0,
    ]


@steady
@given(rows=ROWS)
def test_long_and_short_are_symmetric_under_a_flipped_market(rows):
    p, y = table(rows)
    assert m.hits(1 - p, 1 - y).tolist() == m.hits(p, y).tolist()


@steady
@given(y=st.lists(st.integers(0, 1), min_size=4, max_size=60))
def test_oracle_scores_all_and_always_long_scores_the_drift(y):
    up = np.array(y, dtype=float)
    day = np.arange(len(y)) % 4
    weights = weights_of(4)
    oracle = m.accuracy_interval(up, up, day, weights)
    assert (oracle.point, oracle.low_t, oracle.low_bootstrap) == (1.0, 1.0, 1.0)
    assert m.brier_score(up, up) == 0.0
    assert m.row_log_loss(up, up).mean() < 1e-14
    assert m.accuracy_interval(np.full(len(y), 0.9), up, day, weights).point == pytest.approx(up.mean())


@steady
@given(seed=st.integers(0, 10_000))
def test_half_probability_scores_half(seed):
    y = (np.random.default_rng(seed).random(90) < 0.8).astype(float)
    silent = m.accuracy_interval(np.full(90, 0.5), y, days_of(3, 30), weights_of(3))
    assert (silent.point, silent.low_t, silent.high_t) == (0.5, 0.5, 0.5)


def test_a_coin_flip_is_held_at_half():
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        p, y = rng.random(20 * 96), (rng.random(20 * 96) < 0.5).astype(float)
        interval = m.accuracy_interval(p, y, days_of(20, 96), weights_of(20))
        held += interval.low_t <= 0.5 <= interval.high_t
    assert 0.91 <= held / 200 <= 0.99


@pytest.mark.parametrize("days", [6, 24])
def test_t_interval_covers_the_truth_when_days_differ(days):
    rng, held_t, held_bootstrap = np.random.default_rng(2), 0, 0
    weights, day = weights_of(days), days_of(days, 60)
    for _ in range(500):
        right = (rng.random(len(day)) < rng.normal(0.55, 0.05, days)[day]).astype(float)
        interval = m.accuracy_interval(np.full(len(day), 0.6), right, day, weights)
        held_t += interval.low_t <= 0.55 <= interval.high_t
        held_bootstrap += interval.low_bootstrap <= 0.55 <= interval.high_bootstrap
    assert 0.925 <= held_t / 500 <= 0.975
    assert held_bootstrap < held_t  # why the gate reads the t interval


def test_interval_is_none_with_one_day():
    one = m.accuracy_interval(P, Y, np.zeros(10), weights_of(1))
    assert one.point == pytest.approx(0.7)
    assert (one.low_t, one.high_t, one.low_bootstrap, one.high_bootstrap) == (None, None, None, None)
    assert m.ece_upper_bound(P, Y, np.zeros(10), weights_of(1)) is None
    assert m.better_p_value(np.ones(10), np.zeros(10), weights_of(1)) is None


def test_labels_permuted_by_day_block_leave_the_base_rate():
    frame = market(days=24)
    p, day = frame["p_up"].to_numpy(), days_of(24, 1440)
    rng, held = np.random.default_rng(8), 0
    blocks = frame["y_up"].to_numpy().astype(float).reshape(24, 1440)
    assert m.accuracy_interval(p, blocks.ravel(), day, weights_of(24)).low_t > 0.55
    for _ in range(100):
        y = np.roll(rng.permutation(blocks), rng.integers(1, 1440), axis=1).ravel()
        interval = m.accuracy_interval(p, y, day, weights_of(24))
        held += interval.low_t <= 0.5 <= interval.high_t
    assert held >= 88


def test_weights_resample_whole_days_of_this_sample():
    weights = weights_of(7)
    assert weights.shape == (1000, 7)
    assert (weights.sum(axis=1) == 7).all()
    with pytest.raises(ValueError, match="1000"):
        m.resample_days(7, 999, np.random.default_rng(0))
    with pytest.raises(ValueError, match="do not resample 7 days"):
        m.accuracy_interval(np.tile(P, 7), np.tile(Y, 7), days_of(7, 10), weights_of(6))


def test_p_value_rejects_a_true_null_about_as_often_as_it_says():
    rng, day, weights, found = np.random.default_rng(3), days_of(8, 50), weights_of(8), 0
    for _ in range(400):
        gain = rng.normal(0.0, 1.0, 400) + rng.normal(0.0, 0.5, 8)[day]
        found += m.better_p_value(gain, day, weights) < 0.05
    assert 0.01 <= found / 400 <= 0.09


def test_p_value_sees_a_gain_a_loss_and_nothing():
    day, weights = days_of(20, 50), weights_of(20)
    noise = np.random.default_rng(4).normal(0.0, 1.0, 1000)
    assert m.better_p_value(noise + 0.3, day, weights) == pytest.approx(1 / 1001)
    assert m.better_p_value(noise - 0.3, day, weights) > 0.99
    assert m.better_p_value(np.zeros(1000), day, weights) == 1.0
    assert m.better_p_value(np.ones(1000), day, weights) == pytest.approx(1 / 1001)


def test_ece_upper_bound_is_two_ece_minus_the_low_quantile_of_resampled_days():
    frame = market(days=6)
    p, y = frame["p_up"].to_numpy(), frame["y_up"].to_numpy().astype(float)
    day, weights = days_of(6, 1440), weights_of(6)
    index, resampled = m.bin_index(p, 15, "mass"), []
    for draw in weights:
        times = draw[day]
        gaps = [abs(np.sum((times * (y - p))[index == k])) for k in range(15)]
        resampled.append(sum(gaps) / times.sum())
    naive = 2 * m.expected_calibration_error(p, y, 15, "mass") - np.quantile(resampled, 0.05)
    assert m.ece_upper_bound(p, y, day, weights) == pytest.approx(naive, abs=1e-12)


@pytest.mark.parametrize(("bias", "least", "most"), [(0.0, 0.95, 1.0), (0.08, 0.0, 0.01)])
def test_ece_upper_bound_passes_the_calibrated_and_refuses_the_biased(bias, least, most):
    rng, day, weights, passed = np.random.default_rng(6), days_of(24, 96), weights_of(24), 0
    for _ in range(200):
        true = np.clip(rng.normal(0.5, 0.12, len(day)), 0.1, 0.9)
        y = (rng.random(len(day)) < true).astype(float)
        passed += m.ece_upper_bound(true + bias * np.sign(true - 0.5), y, day, weights) <= 0.05
    assert least <= passed / 200 <= most


def test_coverage_takes_the_most_confident_and_all_that_tie_with_them():
    start = np.arange(10, dtype=np.int64) * 100
    tier = m.accuracy_at_coverage(P, Y, start, start + 100, 20)  # 0.95 up, then 0.9 up and 0.1 down tie
    assert (tier.accuracy, tier.n, tier.n_eff) == (1.0, 3, 3.0)
    whole = m.accuracy_at_coverage(P, Y, start, start + 200, 100)
    assert (whole.accuracy, whole.n) == (pytest.approx(0.7), 10)
    assert whole.n_eff == pytest.approx(5.5)
    constant = m.accuracy_at_coverage(np.full(10, 0.6), Y, start, start + 100, 5)
    assert (constant.accuracy, constant.n) == (0.5, 10)
    with pytest.raises(ValueError, match="coverage"):
        m.accuracy_at_coverage(P, Y, start, start + 100, 0)


@pytest.mark.parametrize(
    ("p", "reasons"),
    [
        (np.linspace(0.3, 0.7, 100), ()),
        (np.array([]), ("no_predictions",)),
        (np.full(100, 0.5), ("constant",)),
        (np.full(100, 0.6), ("constant", "one_class")),
        (np.append(np.linspace(0.51, 0.9, 96), [0.4, 0.4, 0.4, 0.4]), ("one_class",)),
        (np.append(np.linspace(0.51, 0.9, 95), [0.4, 0.4, 0.4, 0.4, 0.4]), ()),
        (np.append(np.linspace(0.1, 0.49, 96), [0.6, 0.6, 0.6, 0.6]), ("one_class",)),
        (np.append(np.linspace(0.3, 0.7, 99), np.nan), ("nan",)),
        (np.append(np.linspace(0.3, 0.7, 99), np.inf), ("nan",)),
        (np.full(3, np.nan), ("nan",)),
        (np.append(np.linspace(0.3, 0.7, 99), 1.2), ("out_of_range",)),
        (np.append(np.linspace(0.3, 0.7, 99), 1 / (1 + np.exp(20.1))), ("extreme_logit",)),
        (np.append(np.linspace(0.3, 0.7, 99), 1 / (1 + np.exp(-20.1))), ("extreme_logit",)),
        (np.append(np.linspace(0.3, 0.7, 99), [1 / (1 + np.exp(20.0)), 1 / (1 + np.exp(-20.0))]), ()),
    ],
)
def test_degenerate_output_has_a_name(p, reasons):
    assert m.degenerate_reasons(p) == reasons


@pytest.mark.parametrize(
    ("p", "y", "says"),
    [
        (np.array([0.2, np.nan]), np.array([0.0, 1.0]), "without NaN"),
        (np.array([0.2, 1.1]), np.array([0.0, 1.0]), "from 0 to 1"),
        (np.array([0.2, 0.3]), np.array([0.0, 2.0]), "0 or 1"),
        (np.array([0.2, 0.3]), np.array([0.0, np.nan]), "0 or 1"),
        (np.array([0.2]), np.array([0.0, 1.0]), "one length"),
        (np.array([]), np.array([]), "not empty"),
    ],
)
def test_bad_rows_are_refused(p, y, says):
    for metric in (m.brier_score, m.row_log_loss):
        with pytest.raises(ValueError, match=says):
            metric(p, y)


def test_evaluate_gives_every_key_in_order_and_the_same_numbers_again():
    frame = market(days=3)
    first = m.evaluate(frame, 0.5, 1000, 7)
    assert tuple(first) == m.METRIC_KEYS
    assert all(isinstance(value, float | int | str) for value in first.values())
    assert first == m.evaluate(frame.sort("p_up"), 0.5, 1000, 7)
    assert first["ece_null_mass_15"] != m.evaluate(frame, 0.5, 1000, 8)["ece_null_mass_15"]


def test_evaluate_28_days_in_under_two_seconds():
    frame = market()
    began = time.perf_counter()
    metrics = m.evaluate(frame, 0.5, 1000, 7)
    assert time.perf_counter() - began < 2.0
    assert metrics["n"] == 28 * 1440
    assert metrics["n_eff"] == pytest.approx(28 * 96, rel=0.001)
    assert metrics["days_n"] == 28
    assert metrics["accuracy_low_frac"] < metrics["accuracy_frac"] < metrics["accuracy_high_frac"]
    assert metrics["accuracy_top_5_frac"] > metrics["accuracy_top_50_frac"] > metrics["accuracy_frac"] > 0.58
    assert metrics["brier_p_value"] == metrics["log_loss_p_value"] == pytest.approx(1 / 1001)
    assert metrics["ece_debiased"] == pytest.approx(metrics["ece_mass_15"] - metrics["ece_null_mass_15"])
    assert (metrics["guard_reasons"], metrics["guards_n"]) == ("", 0)


def test_evaluate_counts_and_leaves_out_nulls_and_nans():
    frame = market(days=4)
    rows = pl.int_range(pl.len())
    holed = frame.with_columns(
        p_up=pl.when(rows < 10).then(None).when(rows < 13).then(float("nan")).otherwise("p_up"),
        y_up=pl.when(rows.is_between(20, 24)).then(None).otherwise("y_up"),
        label_end_ts=pl.when(rows.is_between(20, 24)).then(None).otherwise("label_end_ts"),
    )
    metrics = m.evaluate(holed, 0.5, 1000, 7)
    assert (metrics["rows_n"], metrics["null_predictions_n"], metrics["nan_predictions_n"]) == (5760, 10, 3)
    assert (metrics["null_labels_n"], metrics["n"], metrics["guard_reasons"]) == (5, 5760 - 18, "nan")
    clean = m.evaluate(frame.filter((rows > 12) & ~rows.is_between(20, 24)), 0.5, 1000, 7)
    assert metrics["accuracy_low_frac"] == clean["accuracy_low_frac"]
    assert metrics["ece_upper"] == clean["ece_upper"]


def test_evaluate_without_a_scored_row_has_all_keys_and_no_score():
    unlabelled = market(days=2).with_columns(y_up=pl.lit(None, pl.Int8))
    metrics = m.evaluate(unlabelled, 0.5, 1000, 7)
    assert tuple(metrics) == m.METRIC_KEYS
    assert (metrics["n"], metrics["n_eff"], metrics["accuracy_frac"], metrics["ece_upper"]) == (
        0,
        0.0,
        None,
        None,
    )
    silent = m.evaluate(unlabelled.with_columns(p_up=pl.lit(None, pl.Float64)), 0.5, 1000, 7)
    assert silent["guard_reasons"] == "no_predictions"


def test_evaluate_compares_with_the_guess_of_train_and_of_test():
    rng = np.random.default_rng(9)
    ts = market(days=3)["ts"]
    y = (rng.random(len(ts)) < 0.7).astype(np.int8)
    metrics = m.evaluate(frame_of(ts, rng.random(len(ts)), y), 0.4, 1000, 7)
    assert metrics["base_rate_frac"] == pytest.approx(y.mean())
    assert metrics["baseline_accuracy_frac"] == pytest.approx(1 - y.mean())
    assert metrics["brier_base"] == pytest.approx(np.mean((0.4 - y) ** 2))
    falling = m.evaluate(frame_of(ts, rng.random(len(ts)), 1 - y), 0.4, 1000, 7)
    assert falling["base_rate_frac"] == falling["baseline_accuracy_frac"] == pytest.approx(y.mean())
    base = m.evaluate(frame_of(ts, np.full(len(ts), 0.4), y), 0.4, 1000, 7)
    assert (base["brier_p_value"], base["log_loss_p_value"], base["guard_reasons"]) == (
        1.0,
        1.0,
        "constant, one_class",
    )


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda f: f.drop("label_end_ts"), ValueError, "columns missing: label_end_ts"),
        (lambda f: f.with_columns(pl.col("ts").dt.replace_time_zone(None)), TypeError, "Datetime us UTC"),
        (lambda f: pl.concat([f, f.head(1)]), ValueError, "occur once"),
        (lambda f: f.with_columns(pl.col("day").dt.offset_by("1d")), ValueError, "UTC day of ts"),
        (
            lambda f: f.with_columns(label_end_ts=pl.lit(None, pl.Datetime("us", "UTC"))),
            ValueError,
            "without",
        ),
        (lambda f: f.with_columns(label_end_ts="ts"), ValueError, "end after it starts"),
        (lambda f: f.with_columns(y_up=pl.lit(2)), ValueError, "0, 1 or null"),
    ],
)
def test_evaluate_refuses_a_bad_frame(change, error, says):
    with pytest.raises(error, match=says):
        m.evaluate(change(market(days=2)), 0.5, 1000, 7)


@pytest.mark.parametrize(("base", "draws"), [(0.0, 1000), (1.0, 1000), (float("nan"), 1000), (0.5, 10)])
def test_evaluate_refuses_bad_arguments(base, draws):
    with pytest.raises(ValueError, match=r"train_base_rate|draws"):
        m.evaluate(market(days=2), base, draws, 7)
