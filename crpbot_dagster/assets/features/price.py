"""V4: 33 features from prices and volumes, and three volatility-regime flags (docs/conventions.md).

Reads ``bars/trades_1m`` of one symbol, venue and source on a dense grid of minutes; candles are enough.
Not here: the microstructure features (``microstructure.py``), wiring (``assets.py``).
"""

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.windows import (
    Floats,
    ema,
    lag,
    needed,
    ratio,
    wilder,
    window_mean,
    window_quantiles,
    window_slope,
    window_std,
)
from crpbot_dagster.tables.features import REGIME_FLAGS, V4_FEATURES

REGIME_ROWS = 1400  # docs/conventions.md: reach 1,414 with the 15 rows of atr
REGIME_QUANTILES = (0.33, 0.67)


def arrays(frame: pl.DataFrame, *names: str) -> tuple[Floats, ...]:
    """Return columns as float64 arrays of their own, null as NaN; writable: kernels compile for one type."""
    return tuple(frame[n].cast(pl.Float64).to_numpy(writable=True) for n in names)


def as_frame(ts: pl.Series, columns: dict[str, Floats], order: tuple[str, ...], flags: set[str]) -> pl.DataFrame:
    """Return ts and the columns in ``order``; NaN becomes null, ``flags`` become Int8."""
    made = pl.DataFrame([ts, *(pl.Series(n, columns[n], nan_to_null=True) for n in order)])
    return made.with_columns(pl.col(n).cast(pl.Int8) for n in order if n in flags)


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """Return the largest of high − low and the distances of both from the close before; USD, reads 2 rows.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    before = lag(close, 1)
    return np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))


def relative_strength_index(close: Floats, n: int) -> Floats:
    """Return Wilder's RSI in [0, 100] with truncated smoothing over ``n``; NaN when nothing moved.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    change = close - lag(close, 1)
    up, down = wilder(np.maximum(change, 0.0), n), wilder(np.maximum(-change, 0.0), n)
    return 100 * ratio(up, up + down)


def bollinger_bands(close: Floats, w: int) -> tuple[Floats, Floats, Floats]:
    """Return the upper and lower band (USD), two deviations from the mean of ``w`` rows, and the close's place: 0 to 1.

    The place is NaN when the window is flat. Source: Bollinger (2001), Bollinger on Bollinger Bands.
    """
    middle, spread = window_mean(close, w, needed(w)), window_std(close, w, needed(w), 0)
    high, low = middle + 2 * spread, middle - 2 * spread
    return high, low, np.where(spread == 0, np.nan, ratio(close - low, high - low))


def volatility_regime(v: Floats) -> tuple[Floats, Floats, Floats]:
    """Return flags low, medium, high of ``v`` against the 33rd and 67th percentile of its last 1,400 rows.

    Trailing cut-offs only: full-sample quantiles would let the future decide today's regime. Source: ours.
    """
    cuts = window_quantiles(v, REGIME_ROWS, needed(REGIME_ROWS), np.array(REGIME_QUANTILES))
    known = ~(np.isnan(v) | np.isnan(cuts[:, 0]))
    low, high = v < cuts[:, 0], v >= cuts[:, 1]
    return tuple(np.where(known, flag, np.nan) for flag in (low, ~low & ~high, high))  # type: ignore[return-value]


def v4_columns(trades: pl.DataFrame) -> dict[str, Floats]:
    """Return the 33 features and 3 flags by name, float64[rows] each, NaN where null."""
    open_, high, low, close, volume = arrays(trades, "open", "high", "low", "close", "volume")
    c: dict[str, Floats] = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    c |= _session(trades["ts"])
    c["spread"] = high - low
    c["spread_pct"] = 100 * ratio(high - low, close)
    c["atr"] = window_mean(true_range(high, low, close), 14, needed(14))
    c["spread_atr_ratio"] = ratio(high - low, c["atr"])
    c["volume_ma"] = window_mean(volume, 20, needed(20))
    c["volume_ratio"] = ratio(volume, c["volume_ma"])
    c["volume_trend"] = ratio(window_slope(volume, 20, needed(20)), c["volume_ma"])
    for w in (7, 14, 21, 50):
        c[f"sma_{w}"] = window_mean(close, w, needed(w))
        c[f"price_sma_{w}_ratio"] = ratio(close, c[f"sma_{w}"])
    c["rsi"] = relative_strength_index(close, 14)
    c["macd"] = ema(close, 12) - ema(close, 26)
    c["macd_signal"] = ema(c["macd"], 9)
    c["macd_diff"] = c["macd"] - c["macd_signal"]
    c["bb_high"], c["bb_low"], c["bb_position"] = bollinger_bands(close, 20)
    c["bb_width"] = ratio(c["bb_high"] - c["bb_low"], close)
    regime = volatility_regime(ratio(c["atr"], close))
    c["volatility_low"], c["volatility_medium"], c["volatility_high"] = regime
    return c


def v4(trades: pl.DataFrame) -> pl.DataFrame:
    """Return ts, the 33 features of V4 and the 3 regime flags, one row per row of ``trades``.

    Parameters
    ----------
    trades : ts, open, high, low, close (USD), volume (coin)
        A dense, sorted minute grid of one symbol, venue and source.

    Returns
    -------
    One row per minute; a row reads at most the 1,413 rows before it. Source: docs/conventions.md.
    """
    columns = V4_FEATURES + REGIME_FLAGS
    flags = {f.name for f in columns if f.dtype == pl.Int8}
    return as_frame(trades["ts"], v4_columns(trades), tuple(f.name for f in columns), flags)


def _session(ts: pl.Series) -> dict[str, Floats]:
    hour = ts.dt.hour().to_numpy()
    weekday = ts.dt.weekday().to_numpy() - 1.0
    return {
        "session_tokyo": (hour < 8).astype(float),
        "session_london": ((hour >= 8) & (hour < 16)).astype(float),
        "session_new_york": (hour >= 16).astype(float),
        "day_of_week": weekday,
        "is_weekend": (weekday >= 5).astype(float),
    }
