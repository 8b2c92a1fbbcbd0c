"""V5: V4 and 20 features of the order book and the tape (docs/conventions.md).

Reads ``bars/trades_1m`` and ``bars/book_1m`` of one symbol, venue and source on one dense grid of minutes.
Not here: V4 (``price.py``), the replay of the book (``bars/``), wiring (``assets.py``).
"""

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.price import arrays, as_frame, v4_columns
from crpbot_dagster.assets.features.windows import (
    Floats,
    lag,
    needed,
    ratio,
    share,
    window_mean,
    window_slope_of,
    window_std,
    window_sum,
)
from crpbot_dagster.tables.features import REGIME_FLAGS, V4_FEATURES, V5_FEATURES

BPS = 1e4
MILLION = 1e6


def log_ratio(a: Floats, b: Floats) -> Floats:
    """Return ln(a / b), NaN unless the quotient is positive."""
    quotient = ratio(a, b)
    return np.log(quotient, out=np.full(len(a), np.nan), where=quotient > 0)


def volume_weighted_price(value: Floats, volume: Floats, w: int) -> Floats:
    """Return Σ value / Σ volume over ``w`` rows, USD.

    Source: Berkowitz, Logue & Noser (1988), J. Finance 43(1).
    """
    return ratio(window_sum(value, w, needed(w)), window_sum(volume, w, needed(w)))


def amihud(close: Floats, value: Floats, w: int) -> Floats:
    """Return the mean of |one-minute return| in bps per million traded over ``w`` rows; minutes without trade out.

    Reads w + 1 rows. Source: Amihud (2002), J. Financial Markets 5(1), doi 10.1016/S1386-4181(01)00024-6
    """
    r = log_ratio(close, lag(close, 1))
    per_million = np.where(value > 0, ratio(np.abs(BPS * r), value / MILLION), np.nan)
    return np.asarray(window_mean(per_million, w, needed(w)))


def kyle_lambda(mid: Floats, buy: Floats, sell: Floats, w: int) -> Floats:
    """Return the slope of one-minute mid returns (bps) on signed value (millions) over ``w`` rows.

    Reads w + 1 rows. Source: Kyle (1985), Econometrica 53(6), https://doi.org/10.2307/1913210
    """
    y = BPS * log_ratio(mid, lag(mid, 1))
    return np.asarray(window_slope_of(y, (buy - sell) / MILLION, w, needed(w)))


def v5_columns(trades: pl.DataFrame, book: pl.DataFrame) -> dict[str, Floats]:
    """Return the 20 features of V5 beyond V4 by name, float64[rows] each, NaN where null."""
    close, volume, value = arrays(trades, "close", "volume", "volume_usd")
    buy, sell, large_buy, large_sell = arrays(
        trades, "buy_volume_usd", "sell_volume_usd", "large_buy_volume_usd", "large_sell_volume_usd"
    )
    buys, sells, vwap = arrays(trades, "buy_count_n", "sell_count_n", "vwap")
    c: dict[str, Floats] = {}
    for k in (1, 5, 10, 25):
        c[f"ob_imbalance_{k}"] = share(*arrays(book, f"bid_depth_{k}", f"ask_depth_{k}"))
    c["ofi_1m"] = ratio(*arrays(book, "ofi_coin", "depth_1_tw"))
    c["trade_flow_buy"], c["trade_flow_sell"] = buy, sell
    c["trade_flow_net_ratio"] = share(buy, sell)
    c["trade_flow_count_ratio"] = share(buys, sells)
    # Where every trade is large, two sums of the same trades may differ in their last bit.
    c["trade_flow_large_frac"] = np.minimum(1.0, ratio(large_buy + large_sell, value))
    c["vwap_1m"] = vwap
    c["vwap_5m"] = volume_weighted_price(value, volume, 5)
    c["vwap_15m"] = volume_weighted_price(value, volume, 15)
    c["vwap_dev_bps_1h"] = BPS * log_ratio(close, volume_weighted_price(value, volume, 60))
    c["vwap_slope_bps_15m"] = BPS * log_ratio(c["vwap_15m"], lag(c["vwap_15m"], 15))
    (c["spread_bps"], c["effective_spread_bps"], mid) = arrays(book, "spread_bps_tw", "eff_spread_bps", "mid")
    c["spread_std_bps_10m"] = window_std(c["spread_bps"], 10, needed(10), 1)
    c["kyle_lambda_30m"] = kyle_lambda(mid, buy, sell, 30)
    c["amihud_30m"] = amihud(close, value, 30)
    return c


def v5(trades: pl.DataFrame, book: pl.DataFrame) -> pl.DataFrame:
    """Return ts, the 53 features of V5 and the 3 regime flags, one row per minute.

    Parameters
    ----------
    trades, book
        Rows of ``bars/trades_1m`` and ``bars/book_1m`` on the same dense, sorted grid of minutes; a minute
        without a book has nulls.

    Returns
    -------
    One row per minute; a row reads at most the 1,413 rows before it. Source: docs/conventions.md.

    Raises
    ------
    ValueError
        The two frames are not on one grid.
    """
    if not trades["ts"].equals(book["ts"]):
        raise ValueError("trades and book must be on the same minutes: join both onto one dense grid first")
    columns = V4_FEATURES + V5_FEATURES + REGIME_FLAGS
    flags = {f.name for f in columns if f.dtype == pl.Int8}
    made = v4_columns(trades) | v5_columns(trades, book)
    return as_frame(trades["ts"], made, tuple(f.name for f in columns), flags)
