"""What goes with the label is found with an honest interval, noise is not, and columns that say the same are one."""

import sys
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from conftest import SEED
from scipy.signal import lfilter
from scipy.stats import binom

from crpbot_dagster.assets.evaluations.association import (
    LEAST_MEMORIES,
    benjamini_hochberg,
    bin_edges,
    correlation,
    memories,
    mutual_information,
    redundancy,
    simes,
)
from crpbot_dagster.assets.evaluations.day_blocks import Estimate, mean_over_days, permuted_days
from crpbot_dagster.assets.evaluations.importance import permutation_importance
from crpbot_dagster.assets.models.gradient_boosting import NoOpenMP, fit_quick

MINUTES = 288  # of a day, every fifth


def days_of(days: int) -> np.ndarray:
    return np.repeat(np.array([np.datetime64(date(2024, 1, 1) + timedelta(i)) for i in range(days)]), MINUTES)


def lasting(rng: np.random.Generator, rows: int, memory: int) -> np.ndarray:
    """Noise that lasts: a moving sum, as overlapping labels and windowed features are."""
    return np.convolve(rng.normal(size=rows + memory - 1), np.ones(memory), "valid") / np.sqrt(memory)


def test_a_planted_correlation_is_found_and_its_interval_holds_it(rng) -> None:
    day = days_of(10)
    x = lasting(rng, len(day), 12)
    y = 0.3 * x + np.sqrt(1 - 0.09) * lasting(rng, len(day), 3)
    found = correlation(x, y, day)
    assert found.low is not None and 0 < found.low < 0.3 < found.high and found.p < 1e-3
    mirrored = correlation(-x, 7 * y + 3, day)
    assert (mirrored.point, mirrored.low) == pytest.approx((-found.point, -found.high))


@pytest.mark.parametrize(("days", "memory"), [(6, 1), (6, 30), (15, 12)])
def test_the_interval_misses_nothing_more_often_than_it_says(rng, days: int, memory: int) -> None:
    """Both sides last and the market's noise changes from day to day: the naive test is wrong in two of three markets."""
    day, wrong, naive, markets = days_of(days), 0, 0, 200
    for _ in range(markets):
        x, loud = lasting(rng, len(day), memory), np.repeat(np.exp(0.5 * rng.normal(size=days)), MINUTES)
        y = loud * lasting(rng, len(day), 12)
        found = correlation(x, y, day)
        wrong += found.p < 0.05
        naive += abs(found.point) * np.sqrt(len(day)) > 1.96
    assert wrong <= 0.1 * markets  # 5 % expected, 10 % is three standard errors away
    assert memory < 10 or naive > 0.4 * markets


def martingale(rng: np.random.Generator, rows: int, reverting: float) -> tuple[np.ndarray, np.ndarray]:
    """The level that a market's own moves add up to, forgetting ``reverting`` of it a row, and the move of three rows."""
    moves = rng.normal(size=rows + 3)
    level, _ = lfilter([1.0], [1.0, reverting - 1.0], moves, zi=rng.normal(size=1) / np.sqrt(max(reverting, 1e-9)))
    return level[:rows], np.convolve(moves, np.ones(3), "valid")[1:]


@pytest.mark.parametrize("days", [6, 20])
def test_a_level_of_a_martingale_is_known_for_one_and_what_forgets_is_tested_honestly(rng, days: int) -> None:
    """It foretells nothing. Of a price, and of what returns within a third of the span, a test at 5 % is wrong too often."""
    day, markets = days_of(days), 150
    hour = np.arange(len(day)) * 5 // 60
    wrong, told = {}, {}
    for times in (0, 3, 30, 150):  # how often the span holds the memory
        p, held = np.empty(markets), np.empty(markets)
        for i in range(markets):
            level, later = martingale(rng, len(day), times / len(day))
            p[i], held[i] = correlation(level, later, day).p, memories(level, hour)
        wrong[times], told[times] = float(np.mean(p < 0.05)), held >= LEAST_MEMORIES
        if times == 30:
            told_and_wrong = told[times] & (p < 0.05)
    assert wrong[0] > 0.2 and wrong[3] > 0.1 and not told[0].any() and not told[3].any()
    assert told[150].all() and wrong[150] <= binom.ppf(0.99, markets, 0.06) / markets
    assert np.mean(told_and_wrong) <= binom.ppf(0.99, markets, 0.09) / markets, "at the limit, of all spans"


def test_what_is_told_once_a_day_is_a_level_only_if_it_lingers(rng) -> None:
    """A market value of each day, as a vendor tells it, wanders; a vote of each day anew does not."""
    hour, step = np.arange(90 * 24), np.arange(90 * 24) // 24
    for _ in range(50):
        new = rng.normal(size=90)
        assert memories(new.cumsum()[step], hour) < LEAST_MEMORIES < memories(new[step], hour)


def test_memories_by_hand() -> None:
    hour, x = np.repeat([0, 1, 2, 3, 9], 2), np.repeat([1.0, -1.0, 1.0, -1.0, 0.0], 2)
    assert memories(x, hour) == pytest.approx(5 * 4 / (2 * 0.8)), "hours that do not follow on one another are no pair"
    assert memories(np.linspace(0, 1, 10), np.arange(10)) > 0, "a trend too"
    assert np.isnan(memories(np.ones(10), hour)) and np.isnan(memories(x[:2], hour[:2]))
    assert memories(x, 2 * hour) == 0.0, "no two hours follow on one another: nothing tells that it forgets"
    assert np.isnan(memories(np.full(10, np.nan), hour))


def test_too_little_gives_no_number_and_one_loud_day_no_interval(rng) -> None:
    day = days_of(3)
    x, y = rng.normal(size=len(day)), rng.normal(size=len(day))
    few = np.where(np.arange(len(day)) < 99, x, np.nan)
    assert np.isnan(correlation(few, y, day).point) and np.isnan(correlation(np.full(len(day), 2.0), y, day).point)
    one_day = np.where(day == day[0], x, x.mean())
    assert correlation(one_day, y, day).p is None and correlation(x, y, day).p is not None
    assert correlation(x[:MINUTES], y[:MINUTES], day[:MINUTES]).low is None


def test_a_mean_over_days_by_hand() -> None:
    day = np.repeat(["a", "b", "c"], 2)
    found = mean_over_days(np.array([1.0, 1, 2, 2, 3, 3]), day)
    error = 1 / np.sqrt(3)
    assert (found.point, found.low) == pytest.approx((2.0, 2 - 4.302652729911275 * error))
    assert mean_over_days(np.array([1.0, 2.0]), np.array(["a", "a"])) == Estimate(1.5)
    assert mean_over_days(np.zeros(6), day).p == 1.0


def test_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    assert benjamini_hochberg(p)[[0, 2, 3, 4]] == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(benjamini_hochberg(p)[1]) and len(benjamini_hochberg(np.array([]))) == 0


def test_simes_by_hand() -> None:
    assert simes([0.01, 0.04, 0.03]) == pytest.approx(0.03) and simes([0.5]) == 0.5 and np.isnan(simes([]))
    assert simes([0.04, 0.04, 0.04]) == pytest.approx(0.04), "tests that agree cost nothing"


def discoveries(p: np.ndarray) -> np.ndarray:
    """Which inputs stand out; ``p`` is [inputs, tests]."""
    return benjamini_hochberg(np.array([simes(row.tolist()) for row in p])) <= 0.05


def by_tests(p: np.ndarray) -> np.ndarray:
    """The same by a rate over tests, any of which makes an input stand out."""
    return (benjamini_hochberg(p.ravel()).reshape(p.shape) <= 0.05).any(axis=1)


def test_of_the_inputs_that_stand_out_five_in_a_hundred_are_wrong_at_most(rng) -> None:
    """Ten inputs of 40 go with the label, in each of their tests; clusters of five share the importance of the cluster.

    A rate over tests counts each true input three times and each wrong one once.
    """
    day, markets, truth = np.repeat(np.arange(20), 24), 60, np.arange(40) < 10
    shares = {discoveries: [], by_tests: []}
    for _ in range(markets):
        noise = rng.normal(size=(2, len(day)))
        up, ret = noise[0], 0.9 * noise[0] + np.sqrt(0.19) * noise[1]
        x = rng.normal(size=(len(day), 40)) + np.where(truth, 0.25, 0.0) * up[:, None]
        common = np.repeat(rng.normal(size=(len(day), 6)), 5, axis=1)
        x[:, 10:] = 0.45 * x[:, 10:] + 0.89 * common
        worth = np.concatenate([rng.beta(0.2, 40, size=10), np.repeat(rng.random(6), 5)])
        p = np.array([[correlation(column, y, day).p for y in (up, ret)] for column in x.T])
        for rule, found in shares.items():
            out = rule(np.column_stack([p, worth]))
            found.append((out & ~truth).sum() / max(out.sum(), 1))
    error = np.std(shares[discoveries]) / np.sqrt(markets)
    assert np.mean(shares[discoveries]) <= 0.05 + 2 * error and np.mean(shares[by_tests]) > 0.05 + 2 * error


def test_information_sees_what_correlation_does_not(rng) -> None:
    x = rng.normal(size=(1500, 6))
    x[:, 2] = rng.integers(0, 2, 1500)
    x[:, 4], x[:90, 5], x[90:, 5] = np.nan, 1.0, np.nan
    y = (np.abs(x[:, 0]) + 0.3 * rng.normal(size=1500) > 0.7).astype(np.int64)
    day = np.arange(1500) // 90
    found = mutual_information(x, y, day, SEED)
    assert abs(np.corrcoef(x[:, 0], y)[0, 1]) < 0.06 and found.nats[0] > 0.2 > 5 * found.floor[0]
    assert np.isnan(found.nats[4:]).all() and np.isnan(found.floor[4:]).all() and found.rows_n == 1500
    again = mutual_information(x, y, day, SEED)
    assert np.array_equal(found.nats, again.nats, equal_nan=True)
    assert np.array_equal(found.floor, again.floor, equal_nan=True)


def test_information_of_a_flag_by_hand(rng) -> None:
    y = np.repeat([0, 0, 0, 1, 0, 1, 1, 1], 25)
    half, quarter = np.log(2), -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    found = mutual_information(np.repeat([0.0, 1.0], 100)[:, None], y, np.arange(200) // 20, SEED)
    assert found.nats[0] == pytest.approx(half - quarter - 1 / 400)


def test_what_both_owe_to_the_hour_is_in_the_floor(rng) -> None:
    """The same minutes of every day: in another order of the days a clock says what it said."""
    hour, day = np.tile(np.repeat(np.arange(24), 4), 20), np.repeat(np.arange(20), 96)
    y = (rng.random(len(day)) < np.where(hour < 8, 0.65, 0.4)).astype(np.int64)
    found = mutual_information((hour < 8)[:, None].astype(float), y, day, SEED)
    assert found.nats[0] > 0.01 and found.floor[0] == pytest.approx(found.nats[0])


def test_a_lump_at_either_end_has_a_bin_of_its_own(rng) -> None:
    x = np.where(rng.random(2000) < 0.95, 1.0, rng.random(2000))
    for values, lump in ((x, 1.0), (-x, -1.0)):
        index = np.searchsorted(bin_edges(values), values, side="left")
        assert len(np.unique(index[values == lump])) == 1 and set(index[values == lump]).isdisjoint(
            index[values != lump]
        )


def test_what_lasts_for_days_shares_with_the_label_what_its_floor_says(rng) -> None:
    """Input and share of rises differ from day to day, one knows nothing of the other."""
    day, above, by_rows, columns = np.repeat(np.arange(20), 90), 0, 0, 60
    x = np.repeat(rng.normal(size=(20, columns)), 90, axis=0)
    y = (rng.random(len(day)) < np.repeat(0.5 + 0.15 * rng.normal(size=20), 90)).astype(np.int64)
    blocks, rows = (mutual_information(x, y, unit, SEED) for unit in (day, np.arange(len(day))))
    above, by_rows = ((found.nats > found.floor).sum() for found in (blocks, rows))
    assert above <= binom.ppf(0.99, columns, 0.05) and by_rows > 0.9 * columns
    quiet = mutual_information(rng.normal(size=(len(day), 1)), y, day, SEED)
    assert quiet.floor[0] < 0.3 * blocks.floor.mean(), "a floor of its own"


def test_days_are_permuted_whole(rng) -> None:
    day = np.array([0, 0, 0, 1, 2, 2])
    found = permuted_days(np.arange(6), day, rng).tolist()
    assert sorted(found) == list(range(6)) and {(0, 1), (1, 2), (4, 5)} <= set(pairwise(found))


def test_columns_that_say_the_same_are_one_cluster(rng) -> None:
    a, b = rng.normal(size=(2, 3000))
    near, mirrored = a + 0.2 * rng.normal(size=3000), -3 * a + 0.3 * rng.normal(size=3000)
    holes = np.where(rng.random(3000) < 0.3, np.nan, b)
    x = np.column_stack([a, b, near, np.full(3000, 5.0), mirrored, holes, np.full(3000, np.nan)])
    found = redundancy(x)
    c = found.cluster
    assert c[0] == c[2] == c[4] and c[1] == c[5] and len(set(c.tolist())) == 4
    assert found.correlation[1, 5] == pytest.approx(1.0) and np.isnan(found.correlation[3]).all()
    known = np.isfinite(holes)
    assert found.correlation[0, 5] == pytest.approx(np.corrcoef(a[known], b[known])[0, 1])
    together = {tuple(sorted(g)) for g in ((0, 2, 4), (1, 5))}
    order = found.order.tolist()
    assert all(max(map(order.index, g)) - min(map(order.index, g)) == len(g) - 1 for g in together), "side by side"
    assert redundancy(x[:, :1]).cluster.tolist() == [1]


def importance_of(x: np.ndarray, y: np.ndarray, days: int, groups: list[int]):
    day = days_of(days)
    start = np.datetime64("2024-01-01", "us") + 5 * np.arange(len(day)) * np.timedelta64(60_000_000, "us")
    end = start + np.timedelta64(15 * 60_000_000, "us")
    return permutation_importance(x, y.astype(np.int8), day, start, end, np.array(groups), fit_quick, SEED)


def test_columns_that_say_the_same_are_worth_something_together_and_nothing_alone(rng) -> None:
    rows = 9 * MINUTES
    a, noise = rng.normal(size=(2, rows))
    x = np.column_stack([a, a, noise])
    y = (a + rng.normal(size=rows) > 0).astype(float)
    found, alone = importance_of(x, y, 9, [1, 1, 2]), importance_of(x, y, 9, [1, 2, 3])
    assert found.accuracy.low > 0.6 and found.lost[1].low > 0.1 and found.lost[1].p < 0.01
    assert found.lost[2].high > 0 > found.lost[2].low or abs(found.lost[2].point) < 0.01
    assert max(alone.lost[1].point, alone.lost[2].point) < found.lost[1].point
    # A third of nine days tests; three rows' labels reach into it, or touch it.
    assert found.test_rows_n == 3 * MINUTES and found.fit_rows_n == 6 * MINUTES - 3
    assert importance_of(x, y, 9, [1, 1, 2]) == found, "seeded"


def test_noise_is_worth_nothing_and_few_days_have_no_model(rng) -> None:
    wrong, markets = 0, 24
    for _ in range(markets):
        x, y = rng.normal(size=(6 * MINUTES, 5)), lasting(rng, 6 * MINUTES, 3) > 0
        wrong += sum(e.p < 0.025 for e in importance_of(x, y, 6, [1, 2, 3, 4, 5]).lost.values())
    assert wrong <= binom.ppf(0.99, 5 * markets, 0.025)  # 3 expected, 7
    short = 3 * MINUTES
    assert importance_of(rng.normal(size=(short, 2)), rng.random(short) > 0.5, 3, [1, 2]) is None
    assert importance_of(rng.normal(size=(2 * short, 2)), np.ones(2 * short), 6, [1, 2]) is None, "one class"


def test_without_openmp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLibrary:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "lightgbm":
                raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoLibrary(), *sys.meta_path])
    with pytest.raises(NoOpenMP, match=r"libgomp.so.1.*apt install libgomp1"):
        fit_quick(np.zeros((10, 1)), np.zeros(10, np.int8), 7)
