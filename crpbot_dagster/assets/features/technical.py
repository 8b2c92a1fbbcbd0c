"""Technical indicators of V6: 29 features from the prices and volumes of one venue (docs/conventions.md).

Reads ``bars/trades_1m`` of one symbol, venue and source on a dense grid of minutes. Multi-minute steps are trailing:
they end at the row, so there is never an unclosed bar. Not here: what needs another venue or a slow table
(``multi_source.py``, ``slow.py``).
"""

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.microstructure import BPS, log_ratio, volume_weighted_price
from crpbot_dagster.assets.features.price import arrays, true_range
from crpbot_dagster.assets.features.technical_windows import (
    rows_since_max,
    volume_profile,
    window_max,
    window_mean_deviation,
    window_min,
)
from crpbot_dagster.assets.features.windows import (
    FLAT,
    Floats,
    annualised,
    ema,
    lag,
    mean,
    needed,
    ratio,
    share,
    total,
    wilder,
    window_mean,
    window_std,
)

ULTIMATE_WEIGHTS = {7: 4, 14: 2, 28: 1}  # Williams (1985), The Ultimate Oscillator
CCI_SCALE = 0.015  # Lambert (1980): most values then lie within ±100


def extremes(high: Floats, low: Floats, w: int) -> tuple[Floats, Floats, Floats]:
    """Return the highest high, the lowest low and their difference over ``w`` rows; a flat window's is exactly 0."""
    top, bottom = np.asarray(window_max(high, w, needed(w))), window_min(low, w, needed(w))
    span = top - bottom
    return top, bottom, np.where(span <= FLAT * np.abs(top), 0.0, span)


def directional_movement(high: Floats, low: Floats, close: Floats, n: int) -> tuple[Floats, Floats]:
    """Return the directional indicators I⁺ and I⁻, shares of the true range in [0, 1]; NaN where nothing moved.

    Reads 10·(2n − 1) + 1 rows. Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    up, down = high - lag(high, 1), lag(low, 1) - low
    unknown = np.isnan(up) | np.isnan(down)
    plus = np.where(unknown, np.nan, np.where((up > down) & (up > 0), up, 0.0))
    minus = np.where(unknown, np.nan, np.where((down > up) & (down > 0), down, 0.0))
    moved = wilder(true_range(high, low, close), n)
    return ratio(wilder(plus, n), moved), ratio(wilder(minus, n), moved)


def average_directional_index(plus: Floats, minus: Floats, n: int) -> Floats:
    """Return Wilder's ADX in [0, 100] from the directional indicators; reads 10·(2n − 1) rows of them.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    return wilder(100 * np.abs(share(plus, minus)), n)


def plain_strength_index(close: Floats, steps: int, minutes: int) -> Floats:
    """Return Cutler's RSI in [0, 100] over ``steps`` changes of ``minutes`` each; NaN when nothing moved.

    Plain sums of trailing steps, so it has no start. Reads steps·minutes + 1 rows.
    Source: Cutler's RSI, after Wilder (1978), New Concepts in Technical Trading Systems.
    """
    up, down, known = (np.zeros(len(close)) for _ in range(3))
    for i in range(steps - 1, -1, -1):
        change = lag(close, minutes * i) - lag(close, minutes * (i + 1))
        up += np.where(change > 0, change, 0.0)
        down += np.where(change < 0, -change, 0.0)
        known += ~np.isnan(change)
    return np.where(known >= needed(steps), 100 * ratio(up, up + down), np.nan)


def money_flow_index(typical: Floats, volume: Floats, w: int) -> Floats:
    """Return the share of money that flowed on rising typical prices, [0, 100]; reads w + 1 rows.

    Source: Quong & Soudack (1989), Technical Analysis of Stocks & Commodities.
    """
    change, flow = typical - lag(typical, 1), typical * volume
    unknown = np.isnan(change) | np.isnan(flow)
    rising = total(np.where(unknown, np.nan, np.where(change > 0, flow, 0.0)), w)
    falling = total(np.where(unknown, np.nan, np.where(change < 0, flow, 0.0)), w)
    return 100 * ratio(rising, rising + falling)


def ultimate_oscillator(high: Floats, low: Floats, close: Floats) -> Floats:
    """Return the buying pressure over 7, 14 and 28 rows, weighted 4 : 2 : 1, [0, 100]; reads 29 rows.

    Source: Williams (1985), The Ultimate Oscillator, Technical Analysis of Stocks & Commodities.
    """
    bottom, top = np.minimum(low, lag(close, 1)), np.maximum(high, lag(close, 1))
    weighted = np.zeros(len(close))
    for n, weight in ULTIMATE_WEIGHTS.items():
        weighted = weighted + weight * ratio(total(close - bottom, n), total(top - bottom, n))
    return 100 * weighted / sum(ULTIMATE_WEIGHTS.values())


def volume_share(signed: Floats, volume: Floats, w: int) -> Floats:
    """Return Σ signed·volume / Σ volume over the rows that have both, [−1, 1] for ``signed`` in [−1, 1]."""
    flow = signed * volume
    return ratio(total(flow, w), total(np.where(np.isnan(flow), np.nan, volume), w))


def trend(high: Floats, low: Floats, close: Floats) -> dict[str, Floats]:
    """Return V6 #21–30."""
    c: dict[str, Floats] = {}
    day_part = mean(close, 240)
    c["sma_dev_bps_30m"] = BPS * log_ratio(close, mean(close, 30))
    c["sma_dev_bps_4h"] = BPS * log_ratio(close, day_part)
    c["sma_cross_bps_15m_4h"] = BPS * log_ratio(mean(close, 15), day_part)
    fast, slow = ema(close, 12), ema(close, 26)
    c["ema_dev_bps_12m"] = BPS * log_ratio(close, fast)
    c["ema_dev_bps_144m"] = BPS * log_ratio(close, ema(close, 144))
    line = fast - slow
    c["macd_bps"] = BPS * ratio(line, close)
    c["macd_hist_bps"] = BPS * ratio(line - ema(line, 9), close)
    plus, minus = directional_movement(high, low, close, 14)
    c["adx_14m"] = average_directional_index(plus, minus, 14)
    c["di_diff_14m"] = 100 * (plus - minus)
    highest, lowest = rows_since_max(high, 26, needed(26)), rows_since_max(-low, 26, needed(26))
    c["aroon_osc_25m"] = 100 * (lowest - highest) / 25
    return c


def momentum(high: Floats, low: Floats, close: Floats, volume: Floats) -> dict[str, Floats]:
    """Return V6 #31–38."""
    c: dict[str, Floats] = {}
    c["rsi_14x5m"] = plain_strength_index(close, 14, 5)
    c["rsi_14x15m"] = plain_strength_index(close, 14, 15)
    _, bottom, span = extremes(high, low, 14)
    c["stoch_k_14m"] = 100 * ratio(close - bottom, span)
    c["stoch_d_14m"] = np.asarray(window_mean(c["stoch_k_14m"], 3, 3))
    top, _, span = extremes(high, low, 60)
    c["williams_r_1h"] = -100 * ratio(top - close, span)
    typical = (high + low + close) / 3
    deviation = np.asarray(window_mean_deviation(typical, 20, needed(20)))
    c["cci_20m"] = ratio(typical - mean(typical, 20), CCI_SCALE * deviation)
    c["mfi_14m"] = money_flow_index(typical, volume, 14)
    c["ult_osc_7_14_28m"] = ultimate_oscillator(high, low, close)
    return c


def volatility(high: Floats, low: Floats, close: Floats) -> dict[str, Floats]:
    """Return V6 #39–44."""
    c: dict[str, Floats] = {}
    middle, deviation = mean(close, 60), np.asarray(window_std(close, 60, needed(60), 0))
    c["bb_position_1h"] = ratio(close - middle + 2 * deviation, 4 * deviation)
    c["bb_width_1h"] = ratio(4 * deviation, close)
    c["atr_bps_1h"] = BPS * ratio(mean(true_range(high, low, close), 60), close)
    c["parkinson_vol_4h"] = annualised(mean(log_ratio(high, low) ** 2, 240) / (4 * np.log(2)))
    squared = log_ratio(close, lag(close, 1)) ** 2
    of_day = mean(squared, 1440)
    c["realized_vol_1d"] = annualised(of_day)
    c["vol_ratio_1h_1d"] = np.sqrt(ratio(mean(squared, 60), of_day))
    return c


def volumes(trades: pl.DataFrame) -> dict[str, Floats]:
    """Return V6 #46–50."""
    high, low, close = arrays(trades, "high", "low", "close")
    volume, value, vwap = arrays(trades, "volume", "volume_usd", "vwap")
    c: dict[str, Floats] = {}
    c["obv_frac_1h"] = volume_share(np.sign(log_ratio(close, lag(close, 1))), volume, 60)
    c["vwap_dev_bps_1d"] = BPS * log_ratio(close, volume_weighted_price(value, volume, 1440))
    top, bottom, span = extremes(high, low, 1440)
    flat = ~(span > 0)
    borders = (np.log(np.where(flat, np.nan, bottom)), np.log(np.where(flat, np.nan, top)))
    profile = volume_profile(np.log(vwap), volume, *borders, 1440, needed(1440))
    c["vp_poc_dev_bps_1d"] = BPS * (np.log(close) - profile[:, 0])
    c["vp_value_area_pos_1d"] = ratio(np.log(close) - profile[:, 1], profile[:, 2] - profile[:, 1])
    place = np.where(high == low, 0.0, ratio(2 * close - high - low, high - low))
    c["cmf_1h"] = volume_share(np.where(np.isnan(close), np.nan, place), volume, 60)
    return c


def technical_columns(trades: pl.DataFrame) -> dict[str, Floats]:
    """Return the technical features of V6 but ``dvol_frac`` by name, float64[rows] each, NaN where null."""
    high, low, close, volume = arrays(trades, "high", "low", "close", "volume")
    made = trend(high, low, close) | momentum(high, low, close, volume)
    return made | volatility(high, low, close) | volumes(trades)
