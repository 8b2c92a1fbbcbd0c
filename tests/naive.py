"""Naive twins of the V4 and V5 features and of the labels, written from features.md alone (law L4).

Not here: the twins of the bars (``naive_bars.py``) and the real kernels (``crpbot_dagster/assets/features``).
Plain loops over lists, each window summed from its oldest row to its newest; polars only at the door.
Section numbers in the comments are those of features.md.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

Value = float | None
Series = Sequence[Value]

ZERO_SPREAD = 1e-12  # 1.3.3
V5_DIRECT = {  # feature: (table, column), same row
    "trade_flow_buy": ("T", "buy_volume_usd"),
    "trade_flow_sell": ("T", "sell_volume_usd"),
    "vwap_1m": ("T", "vwap"),
    "spread_bps": ("B", "spread_bps_tw"),
    "effective_spread_bps": ("B", "eff_spread_bps"),
}
V4_NAMES = [
    "open", "high", "low", "close", "volume", "session_tokyo", "session_london", "session_new_york",
    "day_of_week", "is_weekend", "spread", "spread_pct", "atr", "spread_atr_ratio", "volume_ma",
    "volume_ratio", "volume_trend", "sma_7", "sma_14", "sma_21", "sma_50", "price_sma_7_ratio",
    "price_sma_14_ratio", "price_sma_21_ratio", "price_sma_50_ratio", "rsi", "macd", "macd_signal",
    "macd_diff", "bb_high", "bb_low", "bb_width", "bb_position",
]  # fmt: skip
V5_NAMES = [
    "ob_imbalance_1", "ob_imbalance_5", "ob_imbalance_10", "ob_imbalance_25", "ofi_1m", "trade_flow_buy",
    "trade_flow_sell", "trade_flow_net_ratio", "trade_flow_count_ratio", "trade_flow_large_frac", "vwap_1m",
    "vwap_5m", "vwap_15m", "vwap_dev_bps_1h", "vwap_slope_bps_15m", "spread_bps", "spread_std_bps_10m",
    "effective_spread_bps", "kyle_lambda_30m", "amihud_30m",
]  # fmt: skip
LABEL_NAMES = [
    "y_ret_15m", "y_up_15m", "y_ret_5m", "y_class_5m", "y_triple_barrier", "y_triple_barrier_min",
    "entry_price", "label_end_ts_15m", "label_end_ts_barrier",
]  # fmt: skip
REGIMES = ["volatility_low", "volatility_medium", "volatility_high"]
SMALL_INTEGERS = {
    "session_tokyo", "session_london", "session_new_york", "day_of_week", "is_weekend", *REGIMES,
    "y_up_15m", "y_class_5m", "y_triple_barrier",
}  # fmt: skip


# --- arithmetic on plain numbers ------------------------------------------------------------------


def add_up(values: Sequence[float]) -> float:
    """Return the sum, first to last (the builtin compensates since Python 3.12)."""
    total = 0.0
    for value in values:
        total += value
    return total


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return add_up(values) / len(values)


def counts_as_zero(spread: float, values: Sequence[float]) -> bool:
    """Return whether a spread of ``values`` counts as 0 by 1.3.3."""
    return spread <= ZERO_SPREAD * max(abs(value) for value in values)


def std(values: Sequence[float], lost: int = 1) -> float:
    """Return the deviation with divisor ``n - lost``, in two passes; exactly 0 where it counts as 0."""
    centre = mean(values)
    spread = math.sqrt(add_up([(value - centre) ** 2 for value in values]) / (len(values) - lost))
    return 0.0 if counts_as_zero(spread, values) else spread


def slope(x: Sequence[float], y: Sequence[float]) -> Value:
    """Return the least-squares slope, with intercept, of y on x; None if x does not vary."""
    x_mean, y_mean = mean(x), mean(y)
    x_squares = add_up([(a - x_mean) ** 2 for a in x])
    if counts_as_zero(x_squares, x):
        return None
    return add_up([(a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True)]) / x_squares


def percentile_linear(values: Sequence[float], q: float) -> float:
    """Return the q-quantile (0..1) with linear interpolation between the two neighbours in rank."""
    ranked = sorted(values)
    place = q * (len(ranked) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])


def ratio(a: Value, b: Value) -> Value:
    """Return a / b; None if either is missing or b is 0."""
    return None if a is None or b is None or b == 0 else a / b


def share(a: Value, b: Value) -> Value:
    """Return (a - b) / (a + b); None if either is missing or the sum is 0."""
    return None if a is None or b is None else ratio(a - b, a + b)


def difference(a: Value, b: Value) -> Value:
    """Return a - b; None if either is missing."""
    return None if a is None or b is None else a - b


def log_of_ratio(a: Value, b: Value) -> Value:
    """Return ln(a / b); None if either is missing, b is 0 or the ratio is not positive."""
    x = ratio(a, b)
    return None if x is None or x <= 0 else math.log(x)


def imbalance(bid_sizes: Sequence[float], ask_sizes: Sequence[float], k: int) -> Value:
    """Return share(bid_depth_k, ask_depth_k) from sizes, best level first; None below k levels."""
    if len(bid_sizes) < k or len(ask_sizes) < k:
        return None
    return share(add_up(bid_sizes[:k]), add_up(ask_sizes[:k]))


def microprice(bid: float, bid_size: float, ask: float, ask_size: float) -> float:
    """Return the weighted mid, which leans to the ask when the bid queue is longer."""
    return (ask * bid_size + bid * ask_size) / (bid_size + ask_size)


def ofi_events(quotes: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """Return e_n for each quote after the first; a quote is (bid, bid size, ask, ask size)."""
    events = []
    for (bid_0, bid_size_0, ask_0, ask_size_0), (bid, bid_size, ask, ask_size) in pairwise(quotes):
        e = 0.0
        if bid >= bid_0:
            e += bid_size
        if bid <= bid_0:
            e -= bid_size_0
        if ask <= ask_0:
            e -= ask_size
        if ask >= ask_0:
            e += ask_size_0
        events.append(e)
    return events


def kyle_slope(x: Series, y: Series) -> Value:
    """Return the slope of y (bps) on x (M$) over the rows where both are present."""
    both = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    return slope([a for a, _ in both], [b for _, b in both]) if both else None


# --- windows: rows t-w+1 .. t, rows before the frame are missing (1.2, 1.3.2) -----------------------


def required(w: int) -> int:
    """Return ceil(0.8 w), the valid rows a window of w rows needs."""
    return (4 * w + 4) // 5


def window(values: Series, t: int, w: int) -> list[float]:
    """Return the non-null values of rows t-w+1 .. t, oldest first."""
    return [values[j] for j in range(max(0, t - w + 1), t + 1) if values[j] is not None]


def over(values: Series, w: int, fold: Callable[[list[float]], Value]) -> list[Value]:
    """Return ``fold`` of the valid values of each window; None below column N."""
    windows = [window(values, t, w) for t in range(len(values))]
    return [fold(valid) if len(valid) >= required(w) else None for valid in windows]


def lag(values: Series, j: int) -> list[Value]:
    """Return x[j] for every row; None before the frame."""
    return [values[t - j] if t >= j else None for t in range(len(values))]


def log_return(values: Series, j: int) -> list[Value]:
    """Return lr(x, j) = ln(x / x[j]) for every row."""
    return [log_of_ratio(a, b) for a, b in zip(values, lag(values, j), strict=True)]


def slope_w(values: Series, t: int, w: int) -> Value:
    """Return slope_w: least squares on the row index 0 (oldest) .. w-1 (newest), valid rows only."""
    first = t - w + 1
    places = [j for j in range(max(0, first), t + 1) if values[j] is not None]
    if len(places) < required(w):
        return None
    return slope([float(j - first) for j in places], [values[j] for j in places])


def truncated(values: Series, a: float, width: int) -> list[Value]:
    """Return the mean with weights a^age over ``width`` rows; None below 80 % of the total weight."""
    weights = [a**age for age in range(width)]
    total = add_up(weights[::-1])
    result: list[Value] = []
    for t in range(len(values)):
        ages = [age for age in range(min(t, width - 1), -1, -1) if values[t - age] is not None]
        kept = add_up([weights[age] for age in ages])
        weighted = add_up([weights[age] * values[t - age] for age in ages])
        result.append(None if kept < 0.8 * total else weighted / kept)
    return result


def ema(values: Series, span: int) -> list[Value]:
    """Return ema_s: alpha = 2/(s+1), over 10 s rows."""
    return truncated(values, 1 - 2 / (span + 1), 10 * span)


def wilder(values: Series, n: int) -> list[Value]:
    """Return wil_n: alpha = 1/n, over 10 (2n - 1) rows."""
    return truncated(values, 1 - 1 / n, 10 * (2 * n - 1))


def rowwise(function: Callable[..., Value], *columns: Series) -> list[Value]:
    """Return ``function`` of each row's values; None where one of them is missing."""
    return [None if None in row else function(*row) for row in zip(*columns, strict=True)]


# --- V4 (section 3) -------------------------------------------------------------------------------


def true_range(high: Series, low: Series, close: Series) -> list[Value]:
    """Return TR for every row; it needs the row before."""
    return rowwise(lambda h, lo, c1: max(h - lo, abs(h - c1), abs(lo - c1)), high, low, lag(close, 1))


def calendar(ts: Sequence[datetime]) -> dict[str, list[Value]]:
    """Return the five session columns."""
    return {
        "session_tokyo": [int(0 <= at.hour <= 7) for at in ts],
        "session_london": [int(8 <= at.hour <= 15) for at in ts],
        "session_new_york": [int(16 <= at.hour <= 23) for at in ts],
        "day_of_week": [at.isoweekday() - 1 for at in ts],
        "is_weekend": [int(at.isoweekday() - 1 >= 5) for at in ts],
    }


def regimes(v: Series) -> dict[str, list[Value]]:
    """Return the three volatility flags from v = atr/close; N = 1120/1400."""
    q33 = over(v, 1400, lambda valid: percentile_linear(valid, 0.33))
    q67 = over(v, 1400, lambda valid: percentile_linear(valid, 0.67))
    return {
        "volatility_low": rowwise(lambda x, low, high: int(x < low), v, q33, q67),
        "volatility_medium": rowwise(lambda x, low, high: int(low <= x < high), v, q33, q67),
        "volatility_high": rowwise(lambda x, low, high: int(x >= high), v, q33, q67),
    }


def technical(close: Series) -> dict[str, list[Value]]:
    """Return V4 #26-33."""
    change = rowwise(lambda now, before: now - before, close, lag(close, 1))
    up = wilder(rowwise(lambda d: max(d, 0.0), change), 14)
    down = wilder(rowwise(lambda d: max(-d, 0.0), change), 14)
    macd = rowwise(lambda fast, slow: fast - slow, ema(close, 12), ema(close, 26))
    signal = ema(macd, 9)
    middle, deviation = over(close, 20, mean), over(close, 20, lambda valid: std(valid, lost=0))
    bb_high = rowwise(lambda m, s: m + 2 * s, middle, deviation)
    bb_low = rowwise(lambda m, s: m - 2 * s, middle, deviation)
    width = rowwise(lambda s, high, low: 0.0 if s == 0 else high - low, deviation, bb_high, bb_low)
    return {
        "rsi": rowwise(lambda u, d: ratio(100 * u, u + d), up, down),
        "macd": macd,
        "macd_signal": signal,
        "macd_diff": rowwise(lambda m, s: m - s, macd, signal),
        "bb_high": bb_high,
        "bb_low": bb_low,
        "bb_width": rowwise(ratio, width, close),
        "bb_position": rowwise(lambda c, low, w: ratio(c - low, w), close, bb_low, width),
    }


def v4_columns(ts: Sequence[datetime], rows: dict[str, list]) -> dict[str, list[Value]]:
    """Return the 33 features and the 3 flags, unordered."""
    high, low, close, volume = rows["high"], rows["low"], rows["close"], rows["volume"]
    out = {name: list(rows[name]) for name in ("open", "high", "low", "close", "volume")} | calendar(ts)
    out["spread"] = rowwise(lambda h, lo: h - lo, high, low)
    out["spread_pct"] = rowwise(lambda s, c: ratio(100 * s, c), out["spread"], close)
    out["atr"] = over(true_range(high, low, close), 14, mean)
    out["spread_atr_ratio"] = rowwise(ratio, out["spread"], out["atr"])
    out["volume_ma"] = over(volume, 20, mean)
    out["volume_ratio"] = rowwise(ratio, volume, out["volume_ma"])
    out["volume_trend"] = rowwise(ratio, [slope_w(volume, t, 20) for t in range(len(ts))], out["volume_ma"])
    for w in (7, 14, 21, 50):
        out[f"sma_{w}"] = over(close, w, mean)
        out[f"price_sma_{w}_ratio"] = rowwise(ratio, close, out[f"sma_{w}"])
    return out | technical(close) | regimes(rowwise(ratio, out["atr"], close))


def to_frame(ts: Sequence[datetime], names: Sequence[str], columns: dict[str, list]) -> pl.DataFrame:
    """Return ts and the named columns, in that order, with the types of the catalogue."""
    kinds = {name: pl.Int8 if name in SMALL_INTEGERS else pl.Float64 for name in names}
    kinds |= {name: pl.Datetime("us", "UTC") for name in names if name.startswith("label_end_ts")}
    series = [pl.Series("ts", ts, pl.Datetime("us", "UTC"))]
    return pl.DataFrame(series + [pl.Series(name, columns[name], kinds[name]) for name in names])


def v4(trades: pl.DataFrame) -> pl.DataFrame:
    """Return ts, the 33 V4 features and the 3 regime flags of a dense minute frame."""
    rows = trades.to_dict(as_series=False)
    return to_frame(rows["ts"], V4_NAMES + REGIMES, v4_columns(rows["ts"], rows))


# --- V5 (section 4) -------------------------------------------------------------------------------


def kyle_lambda(mid: Series, buy_usd: Series, sell_usd: Series, w: int) -> list[Value]:
    """Return V5 #52: bps per million dollars of net buying, over rows where both are present."""
    y = rowwise(lambda m1: 1e4 * m1, log_return(mid, 1))
    x = rowwise(lambda buy, sell: (buy - sell) / 1e6, buy_usd, sell_usd)
    result: list[Value] = []
    for t in range(len(mid)):
        rows = [j for j in range(max(0, t - w + 1), t + 1) if x[j] is not None and y[j] is not None]
        enough = len(rows) >= required(w)
        result.append(kyle_slope([x[j] for j in rows], [y[j] for j in rows]) if enough else None)
    return result


def v5_columns(trades: dict[str, list], book: dict[str, list]) -> dict[str, list[Value]]:
    """Return V5 #34-53, unordered."""
    table = {"T": trades, "B": book}
    out = {name: list(table[source][column]) for name, (source, column) in V5_DIRECT.items()}
    close, volume, volume_usd = trades["close"], trades["volume"], trades["volume_usd"]
    for k in (1, 5, 10, 25):
        out[f"ob_imbalance_{k}"] = rowwise(share, book[f"bid_depth_{k}"], book[f"ask_depth_{k}"])
    out["ofi_1m"] = rowwise(ratio, book["ofi_coin"], book["depth_1_tw"])
    out["trade_flow_net_ratio"] = rowwise(share, trades["buy_volume_usd"], trades["sell_volume_usd"])
    out["trade_flow_count_ratio"] = rowwise(share, trades["buy_count_n"], trades["sell_count_n"])
    large_buy, large_sell = trades["large_buy_volume_usd"], trades["large_sell_volume_usd"]
    large = rowwise(lambda buy, sell: buy + sell, large_buy, large_sell)
    out["trade_flow_large_frac"] = rowwise(ratio, large, volume_usd)
    # each sum over its own non-null values, each with its own column N (1.2: sum_w)
    vwap = {w: rowwise(ratio, over(volume_usd, w, add_up), over(volume, w, add_up)) for w in (5, 15, 60)}
    out["vwap_5m"], out["vwap_15m"] = vwap[5], vwap[15]
    deviation = rowwise(log_of_ratio, close, vwap[60])
    out["vwap_dev_bps_1h"] = rowwise(lambda change: 1e4 * change, deviation)
    out["vwap_slope_bps_15m"] = rowwise(lambda change: 1e4 * change, log_return(vwap[15], 15))
    out["spread_std_bps_10m"] = over(book["spread_bps_tw"], 10, std)
    out["kyle_lambda_30m"] = kyle_lambda(book["mid"], trades["buy_volume_usd"], trades["sell_volume_usd"], 30)
    cost = rowwise(lambda r, usd: abs(1e4 * r) / (usd / 1e6) if usd > 0 else None, log_return(close, 1), volume_usd)
    out["amihud_30m"] = over(cost, 30, mean)
    return out


def v5(trades: pl.DataFrame, book: pl.DataFrame) -> pl.DataFrame:
    """Return ts, the 53 V5 features and the 3 regime flags; both frames lie on one minute grid."""
    rows, book_rows = trades.to_dict(as_series=False), book.to_dict(as_series=False)
    assert rows["ts"] == book_rows["ts"], "trades and book are not on one grid"
    columns = v4_columns(rows["ts"], rows) | v5_columns(rows, book_rows)
    return to_frame(rows["ts"], V4_NAMES + V5_NAMES + REGIMES, columns)


# --- labels (section 7) -----------------------------------------------------------------------------


def triple_barrier(
    entry: float, sigma: float, ahead: Callable[[Series, int], Value], last: Series, high: Series, low: Series
) -> tuple[int | None, int | None]:
    """Return (label, minutes to the decision) of one row; ``ahead(x, j)`` is x[+j], None past the frame."""
    half_width = max(0.0020, sigma * math.sqrt(60))
    upper, lower = entry * math.exp(half_width), entry * math.exp(-half_width)
    missing = 0
    for j in range(1, 61):
        top, bottom = (ahead(last, j), ahead(last, j)) if j == 1 else (ahead(high, j), ahead(low, j))
        if top is None or bottom is None:
            missing += 1
            if missing > 12:
                return None, None
            continue
        if top >= upper and bottom <= lower:
            return None, None
        if top >= upper:
            return 1, j
        if bottom <= lower:
            return -1, j
    return 0, 60


def labels(trades: pl.DataFrame, book: pl.DataFrame | None, price_source: str) -> pl.DataFrame:
    """Return the six labels and their bookkeeping for 'mid', 'trade' or 'ohlcv'."""
    ts = trades["ts"].to_list()
    table, entry_name, last_name, high_name, low_name = {
        "mid": (book, "mid_1s", "mid", "mid_high", "mid_low"),
        "trade": (trades, "open_1s", "close", "high", "low"),
        "ohlcv": (trades, "open", "close", "high", "low"),
    }[price_source]
    assert table is not None, "price source 'mid' needs a book"
    assert table["ts"].to_list() == ts, "trades and book are not on one grid"
    entry, last, high, low = (table[name].to_list() for name in (entry_name, last_name, high_name, low_name))
    variance = over(rowwise(lambda r: r * r, log_return(last, 1)), 60, mean)
    out: dict[str, list] = {name: [] for name in LABEL_NAMES}
    for t in range(len(ts)):

        def ahead(values: Series, j: int, t: int = t) -> Value:
            return values[t + j] if t + j < len(values) else None

        e = ahead(entry, 1)
        ret = {h: log_of_ratio(ahead(last, h), e) for h in (5, 15)}
        decided, minutes = None, None
        if e is not None and variance[t] is not None:
            decided, minutes = triple_barrier(e, math.sqrt(variance[t]), ahead, last, high, low)
        out["y_ret_15m"].append(ret[15])
        out["y_up_15m"].append(None if ret[15] is None or ret[15] == 0 else int(ret[15] > 0))
        out["y_ret_5m"].append(ret[5])
        out["y_class_5m"].append(None if ret[5] is None else int(ret[5] > 0.0005) - int(ret[5] < -0.0005))
        out["y_triple_barrier"].append(decided)
        out["y_triple_barrier_min"].append(minutes)
        out["entry_price"].append(e)
        out["label_end_ts_15m"].append(ts[t] + timedelta(minutes=16))
        end = None if minutes is None else ts[t] + timedelta(minutes=1 + minutes)
        out["label_end_ts_barrier"].append(end)
    return to_frame(ts, LABEL_NAMES, out)
