"""The features of V4 that pandas has words for, written as one would in a notebook; the peer of ``features.py``.

They equal ours but for two things, within which a test holds them: pandas' recursive ``ewm`` reads back to the first
row, and answers from it, where ours reads ten spans and asks for 80 % of the weight; and its running sums round
differently from a window summed afresh.
"""

import numpy as np
import pandas as pd

from crpbot_dagster.assets.features.price import REGIME_QUANTILES, REGIME_ROWS
from crpbot_dagster.assets.features.windows import needed


def pandas_v4(bars: pd.DataFrame) -> pd.DataFrame:
    """Return 25 columns of V4 from open, high, low, close, volume."""
    high, low, close, volume = (bars[c] for c in ("high", "low", "close", "volume"))
    c: dict[str, pd.Series] = {"spread": high - low, "spread_pct": 100 * (high - low) / close}
    before = close.shift(1)
    reach = pd.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1, skipna=False)
    c["atr"] = _mean(reach, 14)
    c["spread_atr_ratio"] = (high - low) / c["atr"]
    c["volume_ma"] = _mean(volume, 20)
    c["volume_ratio"] = volume / c["volume_ma"]
    for w in (7, 14, 21, 50):
        c[f"sma_{w}"] = _mean(close, w)
        c[f"price_sma_{w}_ratio"] = close / c[f"sma_{w}"]
    change = close.diff()
    up, down = (side.ewm(alpha=1 / 14).mean() for side in (change.clip(lower=0), (-change).clip(lower=0)))
    c["rsi"] = 100 * up / (up + down)
    c["macd"] = close.ewm(span=12).mean() - close.ewm(span=26).mean()
    c["macd_signal"] = c["macd"].ewm(span=9).mean()
    c["macd_diff"] = c["macd"] - c["macd_signal"]
    middle, spread = _mean(close, 20), close.rolling(20, min_periods=needed(20)).std(ddof=0)
    c["bb_high"], c["bb_low"] = middle + 2 * spread, middle - 2 * spread
    c["bb_width"] = (c["bb_high"] - c["bb_low"]) / close
    c["bb_position"] = (close - c["bb_low"]) / (c["bb_high"] - c["bb_low"])
    share = c["atr"] / close
    window = share.rolling(REGIME_ROWS, min_periods=needed(REGIME_ROWS))
    q33, q67 = (window.quantile(q) for q in REGIME_QUANTILES)
    known = share.notna() & q33.notna()
    flags = {"low": share < q33, "medium": (share >= q33) & (share < q67), "high": share >= q67}
    return pd.DataFrame(c | {f"volatility_{name}": flag.where(known, np.nan) for name, flag in flags.items()})


def _mean(x: pd.Series, w: int) -> pd.Series:
    return x.rolling(w, min_periods=needed(w)).mean()
