"""Naive twins of V6 #1-50 and #76-88 (law L4), one row at a time, written from features.md section 5 alone.

A series is a function of the row; plain loops, each window from its oldest row to its newest. Not here: the slow
tables and the calendar (``naive_v6_slow.py``), the twins of V4 and V5 (``naive.py``).
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import permutations
from statistics import median

import polars as pl
from naive import Value, add_up, log_of_ratio, mean, ratio, required, share, std
from naive_v6_slow import calendar_row, flags_row, slow_row

Series = Callable[[int], Value]


def op(function: Callable[..., Value], *values: Value) -> Value:
    """Return ``function(*values)``; None if one of them is missing."""
    return None if None in values else function(*values)


def column(frame: pl.DataFrame | None, name: str) -> Series:
    """Return a column as a function of the row; None everywhere when there is no frame."""
    values = [] if frame is None else frame[name].to_list()
    return lambda t: values[t] if 0 <= t < len(values) else None


def log_return(x: Series, j: int) -> Series:
    """Return lr(x, j)."""
    return lambda t: log_of_ratio(x(t), x(t - j))


def fold(x: Series, t: int, w: int, function: Callable[[list[float]], Value], need: int = 0) -> Value:
    """Return ``function`` of the valid values in rows t-w+1 .. t; None below column N."""
    valid = [v for v in (x(j) for j in range(t - w + 1, t + 1)) if v is not None]
    return function(valid) if len(valid) >= (need or required(w)) else None


def mean_w(x: Series, t: int, w: int) -> Value:
    return fold(x, t, w, mean)


def sum_w(x: Series, t: int, w: int) -> Value:
    return fold(x, t, w, add_up)


def z_w(x: Series, t: int, w: int) -> Value:
    """Return (x - mean) / std of the window, own row included."""
    return op(lambda v, m, s: ratio(v - m, s), x(t), mean_w(x, t, w), fold(x, t, w, std))


def truncated(x: Series, t: int, a: float, width: int) -> Value:
    """Return the mean with weights a^age over ``width`` rows; None below 80 % of the weight."""
    kept = weighted = 0.0
    whole = add_up([a**age for age in range(width - 1, -1, -1)])
    for age in range(width - 1, -1, -1):
        value = x(t - age)
        if value is not None:
            kept += a**age
            weighted += a**age * value
    return weighted / kept if kept >= 0.8 * whole else None


def ema(x: Series, span: int) -> Series:
    return cache(lambda t: truncated(x, t, 1 - 2 / (span + 1), 10 * span))


def wilder(x: Series, n: int) -> Series:
    return cache(lambda t: truncated(x, t, 1 - 1 / n, 10 * (2 * n - 1)))


def both(weights: Series, x: Series) -> Series:
    """Return x where ``weights`` and ``x`` are both there."""
    return lambda t: op(lambda _, v: v, weights(t), x(t))


def spread_of(top: Value, bottom: Value) -> Value:
    """Return top - bottom; 0 where it counts as 0."""
    return op(lambda a, b: 0.0 if a - b <= 1e-12 * max(abs(a), abs(b)) else a - b, top, bottom)


def cs_spread(high: Series, low: Series, t: int) -> Value:
    """Return the Corwin-Schultz spread of rows t-1 and t, not below 0."""
    if None in (h := [high(t - 1), high(t)]) or None in (lo := [low(t - 1), low(t)]):
        return None
    k = 3 - 2 * math.sqrt(2)
    beta = math.log(h[0] / lo[0]) ** 2 + math.log(h[1] / lo[1]) ** 2
    gamma = math.log(max(h) / min(lo)) ** 2
    alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
    return max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)))


# --- 5.1 price and volume ---------------------------------------------------------------------------


def price_volume(t: int, c: dict[str, Series], prices: list[Series]) -> dict[str, Value]:
    """Return #1-20; ``prices`` are the price venues' closes in USD."""
    close, high, low, volume, value = (c[n] for n in ("close", "high", "low", "volume", "volume_usd"))
    out: dict[str, Value] = {}
    for name, j in (("1m", 1), ("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1440)):
        out[f"ret_log_{name}"] = log_return(close, j)(t)
    for name, w in (("15m", 15), ("4h", 240)):
        out[f"range_log_{name}"] = log_of_ratio(fold(high, t, w, max), fold(low, t, w, min))
    for name, w in (("4h", 240), ("1d", 1440)):
        top, bottom = fold(high, t, w, max), fold(low, t, w, min)
        out[f"close_position_{name}"] = op(lambda x, b, s: ratio(x - b, s), close(t), bottom, spread_of(top, bottom))
    out["volume_ratio_5m_1h"] = ratio(mean_w(volume, t, 5), mean_w(volume, t, 60))
    out["volume_ratio_1h_1d"] = ratio(mean_w(volume, t, 60), mean_w(volume, t, 1440))

    def gap(j: int) -> Value:
        return op(lambda x: 1e4 * x, log_of_ratio(c["kraken_close"](j), close(j)))

    out["gap_kraken_bps"], out["gap_kraken_z_1h"] = gap(t), z_w(gap, t, 60)
    average = log_of_ratio(c["cryptocompare_close"](t - 1), close(t - 1))
    out["gap_cryptocompare_bps"] = op(lambda x: 1e4 * x, average)
    logs = [math.log(p) for p in (price(t - 1) for price in prices) if p is not None]
    out["venue_dispersion_bps"] = 1e4 * std(logs, lost=0) if len(logs) >= 3 else None
    k = sum_w(both(volume, c["kraken_volume"]), t, 60)
    v = sum_w(both(c["kraken_volume"], volume), t, 60)
    out["kraken_volume_frac_1h"] = op(lambda a, b: ratio(a, a + b), k, v)
    vwap = ratio(sum_w(value, t, 60), sum_w(volume, t, 60))
    out["vwap_dev_bps_1h"] = op(lambda x: 1e4 * x, log_of_ratio(close(t), vwap))

    def cost(j: int) -> Value:
        r = log_return(close, 1)(j)
        return op(lambda x, usd: abs(1e4 * x) / (usd / 1e6) if usd > 0 else None, r, value(j))

    out["amihud_1h"] = mean_w(cost, t, 60)
    out["spread_cs_bps_1h"] = op(lambda x: 1e4 * x, mean_w(lambda j: cs_spread(high, low, j), t, 59))
    return out


# --- 5.2 technical ----------------------------------------------------------------------------------


def trend_series(c: dict[str, Series]) -> dict[str, Series]:
    """Return the cached series that many rows share: emas, MACD line, directional indicators, DX, TR."""
    close, high, low = c["close"], c["high"], c["low"]
    fast, slow = ema(close, 12), ema(close, 26)
    line = cache(lambda t: op(lambda a, b: a - b, fast(t), slow(t)))

    def moves(t: int) -> tuple[Value, Value]:
        u = op(lambda a, b: a - b, high(t), high(t - 1))
        w = op(lambda a, b: a - b, low(t - 1), low(t))
        return u, w

    plus = wilder(cache(lambda t: op(lambda u, w: u if u > w and u > 0 else 0.0, *moves(t))), 14)
    minus = wilder(cache(lambda t: op(lambda u, w: w if w > u and w > 0 else 0.0, *moves(t))), 14)
    tr = cache(lambda t: op(lambda h, lo, b: max(h - lo, abs(h - b), abs(lo - b)), high(t), low(t), close(t - 1)))
    moved = wilder(tr, 14)
    up, down = cache(lambda t: ratio(plus(t), moved(t))), cache(lambda t: ratio(minus(t), moved(t)))
    dx = cache(lambda t: op(lambda s: 100 * abs(s), share(up(t), down(t))))
    return {"fast": fast, "line": line, "signal": ema(line, 9), "ema_144": ema(close, 144), "up": up, "down": down,
            "adx": wilder(dx, 14), "tr": tr}  # fmt: skip


def aroon_age(x: Series, t: int, better: Callable[[float, float], bool]) -> Value:
    """Return the rows since the latest extreme of the last 26 rows."""
    best, age, n = None, None, 0
    for back in range(25, -1, -1):
        value = x(t - back)
        if value is not None:
            n += 1
            if best is None or better(value, best):
                best, age = value, back
    return age if n >= 21 else None


def trend(t: int, c: dict[str, Series], s: dict[str, Series]) -> dict[str, Value]:
    """Return #21-30."""
    close = c["close"]
    bps = {
        "sma_dev_bps_30m": log_of_ratio(close(t), mean_w(close, t, 30)),
        "sma_dev_bps_4h": log_of_ratio(close(t), mean_w(close, t, 240)),
        "sma_cross_bps_15m_4h": log_of_ratio(mean_w(close, t, 15), mean_w(close, t, 240)),
        "ema_dev_bps_12m": log_of_ratio(close(t), s["fast"](t)),
        "ema_dev_bps_144m": log_of_ratio(close(t), s["ema_144"](t)),
        "macd_bps": ratio(s["line"](t), close(t)),
        "macd_hist_bps": ratio(op(lambda a, b: a - b, s["line"](t), s["signal"](t)), close(t)),
    }
    out = {name: op(lambda x: 1e4 * x, x) for name, x in bps.items()}
    out["adx_14m"] = s["adx"](t)
    out["di_diff_14m"] = op(lambda a, b: 100 * (a - b), s["up"](t), s["down"](t))
    a_high, a_low = aroon_age(c["high"], t, lambda a, b: a >= b), aroon_age(c["low"], t, lambda a, b: a <= b)
    out["aroon_osc_25m"] = op(lambda a, b: 100 * (a - b) / 25, a_low, a_high)
    return out


def strength(close: Series, t: int, step: int) -> Value:
    """Return Cutler's RSI of 14 trailing steps."""
    changes = [op(lambda a, b: a - b, close(t - step * i), close(t - step * i - step)) for i in range(13, -1, -1)]
    valid = [d for d in changes if d is not None]
    up, down = add_up([max(d, 0.0) for d in valid]), add_up([max(-d, 0.0) for d in valid])
    return ratio(100 * up, up + down) if len(valid) >= 12 else None


def momentum(t: int, c: dict[str, Series]) -> dict[str, Value]:
    """Return #31-38."""
    close, high, low, volume = (c[n] for n in ("close", "high", "low", "volume"))
    out: dict[str, Value] = {"rsi_14x5m": strength(close, t, 5), "rsi_14x15m": strength(close, t, 15)}

    def stochastic(j: int) -> Value:
        top, bottom = fold(high, j, 14, max), fold(low, j, 14, min)
        return op(lambda x, b, s: ratio(100 * (x - b), s), close(j), bottom, spread_of(top, bottom))

    out["stoch_k_14m"], out["stoch_d_14m"] = stochastic(t), fold(stochastic, t, 3, mean, need=3)
    top, bottom = fold(high, t, 60, max), fold(low, t, 60, min)
    out["williams_r_1h"] = op(lambda a, x, s: ratio(-100 * (a - x), s), top, close(t), spread_of(top, bottom))

    def tp(j: int) -> Value:
        return op(lambda h, lo, x: (h + lo + x) / 3, high(j), low(j), close(j))

    def deviation(valid: list[float]) -> float:
        m = mean(valid)
        a = mean([abs(v - m) for v in valid])
        return 0.0 if a <= 1e-12 * max(abs(v) for v in valid) else a

    m, a = mean_w(tp, t, 20), fold(tp, t, 20, deviation)
    out["cci_20m"] = op(lambda x, m, a: ratio(x - m, 0.015 * a), tp(t), m, a)

    def flow(j: int, rises: bool) -> Value:
        now, before, f = tp(j), tp(j - 1), op(lambda x, v: x * v, tp(j), volume(j))
        return op(lambda x, b, f: f if (x > b if rises else x < b) else 0.0, now, before, f)

    p, q = sum_w(lambda j: flow(j, True), t, 14), sum_w(lambda j: flow(j, False), t, 14)
    out["mfi_14m"] = op(lambda p, q: ratio(100 * p, p + q), p, q)

    def pressure(j: int) -> Value:
        return op(lambda x, lo, b: x - min(lo, b), close(j), low(j), close(j - 1))

    def reach(j: int) -> Value:
        return op(lambda h, lo, b: max(h, b) - min(lo, b), high(j), low(j), close(j - 1))

    parts = [ratio(sum_w(pressure, t, n), sum_w(reach, t, n)) for n in (7, 14, 28)]
    out["ult_osc_7_14_28m"] = op(lambda a, b, c: 100 * (4 * a + 2 * b + c) / 7, *parts)
    return out


def volatility(t: int, c: dict[str, Series], s: dict[str, Series]) -> dict[str, Value]:
    """Return #39-44."""
    close, high, low = c["close"], c["high"], c["low"]
    m, sd = mean_w(close, t, 60), fold(close, t, 60, lambda valid: std(valid, lost=0))
    squared = lambda j: op(lambda r: r * r, log_return(close, 1)(j))  # noqa: E731
    ranges = lambda j: op(lambda x: x * x, log_of_ratio(high(j), low(j)))  # noqa: E731
    parkinson = op(lambda v: v / (4 * math.log(2)), mean_w(ranges, t, 240))
    annual = lambda v: op(lambda v: math.sqrt(525600 * v), v)  # noqa: E731
    return {
        "bb_position_1h": op(lambda x, m, d: ratio(x - m + 2 * d, 4 * d), close(t), m, sd),
        "bb_width_1h": op(lambda d, x: ratio(4 * d, x), sd, close(t)),
        "atr_bps_1h": op(lambda a, x: ratio(1e4 * a, x), mean_w(s["tr"], t, 60), close(t)),
        "parkinson_vol_4h": annual(parkinson),
        "realized_vol_1d": annual(mean_w(squared, t, 1440)),
        "vol_ratio_1h_1d": op(math.sqrt, ratio(mean_w(squared, t, 60), mean_w(squared, t, 1440))),
    }


def volume_profile(t: int, c: dict[str, Series]) -> tuple[Value, Value, Value]:
    """Return the centre of the fullest bin, VAL and VAH, in ln USD."""
    bottom, top = fold(c["low"], t, 1440, min), fold(c["high"], t, 1440, max)
    if not spread_of(top, bottom):
        return None, None, None
    a, b = math.log(bottom), math.log(top)
    h, bins, n = (b - a) / 50, [0.0] * 50, 0
    for j in range(t - 1439, t + 1):
        price, volume = c["vwap"](j), c["volume"](j)
        if price is not None and volume is not None:
            bins[min(49, max(0, math.floor((math.log(price) - a) / h)))] += volume
            n += 1
    if n < 1152 or max(bins) == 0:
        return None, None, None
    poc = bins.index(max(bins))
    first = last = poc
    while add_up(bins[first : last + 1]) < 0.7 * add_up(bins) and last - first < 49:
        upper = bins[last + 1] if last < 49 else None
        lower = bins[first - 1] if first > 0 else None
        if lower is None or (upper is not None and upper >= lower):
            last += 1
        else:
            first -= 1
    return a + (poc + 0.5) * h, a + first * h, a + (last + 1) * h


def volumes(t: int, c: dict[str, Series]) -> dict[str, Value]:
    """Return #46-50."""
    close, high, low, volume = (c[n] for n in ("close", "high", "low", "volume"))
    sign = lambda j: op(lambda r: float((r > 0) - (r < 0)), log_return(close, 1)(j))  # noqa: E731

    def place(j: int) -> Value:
        middle = lambda x, h, lo: 0.0 if h == lo else (2 * x - h - lo) / (h - lo)  # noqa: E731
        return op(middle, close(j), high(j), low(j))

    def weighted(x: Series) -> Value:
        flow = lambda j: op(lambda a, v: a * v, x(j), volume(j))  # noqa: E731
        return ratio(sum_w(flow, t, 60), sum_w(both(x, volume), t, 60))

    vwap = ratio(sum_w(c["volume_usd"], t, 1440), sum_w(volume, t, 1440))
    centre, val, vah = volume_profile(t, c)
    return {
        "obv_frac_1h": weighted(sign),
        "vwap_dev_bps_1d": op(lambda x: 1e4 * x, log_of_ratio(close(t), vwap)),
        "vp_poc_dev_bps_1d": op(lambda x, p: 1e4 * (math.log(x) - p), close(t), centre),
        "vp_value_area_pos_1d": op(lambda x, lo, hi: ratio(math.log(x) - lo, hi - lo), close(t), val, vah),
        "cmf_1h": weighted(place),
    }


# --- 5.4 across venues ------------------------------------------------------------------------------


def best_arbitrage(t: int, quotes: dict[str, tuple[Series, Series]], fees: dict[str, float]) -> Value:
    """Return the best net gain of buying at a and selling at b; quotes are (bid, ask) in USD."""
    now = {v: (bid(t), ask(t)) for v, (bid, ask) in quotes.items() if None not in (bid(t), ask(t))}
    gains = [1e4 * math.log(now[b][0] / now[a][1]) - fees[a] - fees[b] for a, b in permutations(now, 2)]
    return max(gains) if gains else None


def perpetuals(t: int, x: dict[str, dict[str, Series]]) -> dict[str, Value]:
    """Return #78, #79, #81, #82 from the series of each funding venue."""
    rates = [op(lambda f, h: 1e4 * f * 8 / h, v["funding_rate"](t), v["funding_interval_h"](t)) for v in x.values()]
    rates = [r for r in rates if r is not None]
    bases = [log_of_ratio(v["mark"](t), v["index"](t)) for v in x.values()]
    bases = [1e4 * b for b in bases if b is not None]
    held = [(v["open_interest"](t), v["open_interest"](t - 1440)) for v in x.values()]
    held = [pair for pair in held if None not in pair]
    now, before = add_up([a for a, _ in held]), add_up([b for _, b in held])
    return {
        "funding_rate_bps_8h": median(rates) if len(rates) >= 2 else None,
        "funding_dispersion_bps_8h": max(rates) - min(rates) if len(rates) >= 2 else None,
        "basis_bps": median(bases) if len(bases) >= 2 else None,
        "oi_change_log_1d": log_of_ratio(now, before) if held else None,
    }


def v6(inputs, settings, rows: list[int]) -> pl.DataFrame:
    """Return the 100 features and 8 flags of the given rows, in no order of columns."""
    frames = {**inputs.venue_trades, settings.primary_venue: inputs.trades}
    books = {**inputs.venue_books, settings.primary_venue: inputs.book}
    usdt = column(inputs.fx, "usdt_usd")

    def in_usd(venue: str, x: Series) -> Series:
        return (lambda t: op(lambda a, b: a * b, x(t), usdt(t))) if venue in settings.usdt_venues else x

    c = {n: column(inputs.trades, n) for n in ("high", "low", "close", "volume", "volume_usd", "vwap")}
    c |= {f"kraken_{n}": column(frames.get("kraken"), n) for n in ("close", "volume")}
    c["cryptocompare_close"] = column(frames.get("cryptocompare"), "close")
    prices = [in_usd(v, column(frames.get(v), "close")) for v in settings.price_venues]
    quotes = {
        v: (in_usd(v, column(books.get(v), "best_bid")), in_usd(v, column(books.get(v), "best_ask")))
        for v in settings.book_venues
    }
    names = ("mark", "index", "funding_rate", "funding_interval_h", "open_interest", "is_stale")
    x = {v: {n: column(inputs.derivatives.get(v), n) for n in names} for v in settings.funding_venues}
    gain = cache(lambda t: best_arbitrage(t, quotes, settings.taker_fee_bps))
    offshore = column(frames.get(settings.offshore_venue), "close")
    local = column(frames.get("coinbase"), "close")

    @cache
    def premium(t: int) -> Value:
        return op(lambda r: 1e4 * r, log_of_ratio(local(t), op(lambda a, b: a * b, offshore(t), usdt(t))))

    shared, made = trend_series(c), []
    for t in rows:
        ts = inputs.trades["ts"][t]
        out = price_volume(t, c, prices) | trend(t, c, shared) | momentum(t, c) | volatility(t, c, shared)
        out |= volumes(t, c) | perpetuals(t, x)
        out["arb_net_bps"] = gain(t)
        out["arb_open_frac_1h"] = mean_w(lambda j: op(lambda g: float(g > 0), gain(j)), t, 60)
        out["coinbase_premium_bps"], out["coinbase_premium_mean_bps_4h"] = premium(t), mean_w(premium, t, 240)
        out |= slow_row(ts, inputs.slow, settings, c["close"](t), out["funding_rate_bps_8h"]) | calendar_row(ts)
        stale = [v["is_stale"](t) for v in x.values() if v["is_stale"](t) is not None]
        out["is_stale_derivatives"] = max(stale) if stale else None
        out["is_stale_fx"] = column(inputs.fx, "is_stale")(t)
        made.append({"ts": ts} | out | flags_row(ts, inputs.slow, settings))
    return pl.DataFrame(made, infer_schema_length=None)
