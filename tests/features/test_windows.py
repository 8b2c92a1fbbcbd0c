"""Window kernels: known answers, and the rules of nulls and flat windows."""

import itertools

import naive
import numpy as np
import pytest

from crpbot_dagster.assets.features import windows as w
from crpbot_dagster.assets.features.microstructure import amihud
from crpbot_dagster.assets.features.price import relative_strength_index, volatility_regime
from crpbot_dagster.tables.features import V4
from crpbot_dagster.tables.schema import bounds

NAN = float("nan")


def test_kyle_slope_known_answer() -> None:
    x = np.array([10.0, -5, 20, 0, -15])
    y = np.array([0.11, -0.04, 0.19, 0.01, -0.16])
    assert w.window_slope_of(y, x, 5, 5)[-1] == pytest.approx(0.009972603, abs=5e-10)
    assert naive.kyle_slope(x.tolist(), y.tolist()) == pytest.approx(0.009972603, abs=5e-10)


def test_imbalance_known_answers() -> None:
    bids, asks = np.cumsum([3.0, 5.0, 2.0]), np.cumsum([1.0, 4.0, 5.0])
    assert w.share(bids, asks) == pytest.approx([0.5, 0.230769, 0.0], abs=5e-7)
    assert [naive.imbalance([3, 5, 2], [1, 4, 5], k) for k in (1, 2, 3)] == pytest.approx(
        [0.5, 0.230769, 0.0], abs=5e-7
    )


def test_amihud_known_answer() -> None:
    """|r| of 10, 20 and 5 bps on 1, 2 and 0.5 million: 10 bps per million."""
    close = 100 * np.exp(np.cumsum([0, 0.0010, -0.0020, 0.0005]))
    assert amihud(close, np.array([1.0, 1e6, 2e6, 0.5e6]), 3)[-1] == pytest.approx(10.0)


def test_needed_is_eighty_percent_rounded_up() -> None:
    assert [w.needed(n) for n in (5, 7, 14, 20, 21, 50, 60, 1400)] == [4, 6, 12, 16, 17, 40, 48, 1120]


def test_a_window_with_too_few_rows_is_null() -> None:
    x = np.array([1.0, NAN, 3.0, 4.0])
    assert np.isnan(w.window_mean(x, 4, 4)[-1])
    assert w.window_mean(x, 4, 3)[-1] == pytest.approx(8 / 3)
    assert np.isnan(w.window_sum(x, 2, 2)).tolist() == [True, True, True, False]


def test_std_divisors_and_the_flat_window() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert w.window_std(x, 4, 4, 1)[-1] == pytest.approx(np.std(x, ddof=1))
    assert w.window_std(x, 4, 4, 0)[-1] == pytest.approx(np.std(x))
    nearly = 1e6 + np.array([0, 1e-7, 0, -1e-7])
    assert w.window_std(nearly, 4, 4, 0)[-1] == 0.0


def test_slope_of_a_line_skips_holes() -> None:
    x = 3.0 * np.arange(10.0) + 1
    x[4] = NAN
    assert w.window_slope(x, 10, 8)[-1] == pytest.approx(3.0)


def test_exponential_weights_go_by_age_and_need_eighty_percent() -> None:
    x = np.full(200, 2.0)
    assert w.ema(x, 12)[-1] == pytest.approx(2.0)
    x[-1] = NAN
    assert w.ema(x, 12)[-1] == pytest.approx(2.0)
    x[-12:] = NAN
    assert np.isnan(w.ema(x, 12)[-1])


def test_a_value_does_not_depend_on_where_the_frame_starts(rng) -> None:
    x = rng.normal(size=3000)
    for kernel in (lambda a: w.ema(a, 26), lambda a: w.window_std(a, 20, 16, 0), lambda a: w.wilder(a, 14)):
        assert kernel(x)[-1] == kernel(x[-1441:])[-1]


def test_quantiles_equal_numpy_on_each_window(rng) -> None:
    x = rng.normal(size=300)
    x[rng.random(300) < 0.1] = NAN
    found = w.window_quantiles(x, 50, 40, np.array([0.33, 0.67]))
    for i in range(60, 300):
        window = x[i - 49 : i + 1]
        window = window[~np.isnan(window)]
        if len(window) >= 40:
            assert found[i] == pytest.approx(np.quantile(window, [0.33, 0.67]), abs=1e-12)
        else:
            assert np.isnan(found[i]).all()


def test_rsi_is_50_on_a_zigzag_100_on_a_rise_and_null_when_nothing_moves() -> None:
    zigzag = 100 + np.tile([0.0, 1.0], 300)
    assert relative_strength_index(zigzag, 14)[-1] == pytest.approx(50, abs=2)
    assert relative_strength_index(np.arange(1.0, 601), 14)[-1] == 100
    assert np.isnan(relative_strength_index(np.full(600, 5.0), 14)[-1])


def test_regime_flags_are_one_hot_and_trailing(rng) -> None:
    v = np.abs(rng.normal(size=3000))
    low, medium, high = volatility_regime(v)
    known = ~np.isnan(low)
    assert (low[known] + medium[known] + high[known] == 1).all()
    assert known.sum() == 3000 - 1119
    assert low[known].mean() == pytest.approx(0.33, abs=0.03)


def test_ratio_and_share_are_null_on_a_zero_denominator() -> None:
    zero, one = np.array([0.0]), np.array([1.0])
    assert np.isnan(w.ratio(one, zero))[0] and np.isnan(w.share(zero, zero))[0]
    assert w.share(np.array([3.0]), one)[0] == 0.5


def test_the_range_of_volume_trend_holds_for_every_way_to_lack_four_rows_of_twenty() -> None:
    """Seen on Bitfinex, 2018-08-31: a minute of volume after a gap, in a window that is otherwise without any."""
    column = V4.column("volume_trend")
    stated = bounds(column.range).high or 0.0
    extremes = []
    for rows in itertools.combinations(range(20), 16):
        at = np.array(rows) - np.mean(rows)
        extremes.append(16 * np.abs(at).max() / (at @ at))
    assert 0.99 * stated < max(extremes) <= stated
    volume = np.array([0.0] * 15 + [np.nan] * 4 + [5.0])
    seen = w.window_slope(volume, 20, 16)[-1] / np.nanmean(volume)
    assert seen == pytest.approx(max(extremes))
