"""Naive twins of the mean-reversion features, written from features.md section 6 alone (law L4).

One row at a time, so that a test may ask for a few rows only; plain loops, each window summed from its oldest row to
its newest. Not here: the twins of V4 and V5 (``naive.py``), of the bars (``naive_bars_derived.py``).
"""

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from naive import (
    Series,
    Value,
    add_up,
    counts_as_zero,
    difference,
    kyle_slope,
    log_of_ratio,
    log_return,
    mean,
    ratio,
    required,
    rowwise,
    share,
    std,
    true_range,
    window,
)

MINUTE = timedelta(minutes=1)


def mean_at(values: Series, t: int, w: int) -> Value:
    valid = window(values, t, w)
    return mean(valid) if len(valid) >= required(w) else None


def sum_at(values: Series, t: int, w: int) -> Value:
    valid = window(values, t, w)
    return add_up(valid) if len(valid) >= required(w) else None


def times(*factors: Value) -> Value:
    return None if None in factors else math.prod(factors)


def lagged(values: Series, t: int, j: int) -> Value:
    return values[t - j] if t >= j else None


def lr(values: Series, t: int, j: int) -> Value:
    return log_of_ratio(values[t], lagged(values, t, j))


def ann(v: Value) -> Value:
    return None if v is None else math.sqrt(525600 * v)


def bps(v: Value) -> Value:
    return None if v is None else 1e4 * v


def from_first(values: Sequence[float]) -> list[float]:
    """The values minus the first of them: ln price has no digits to lose."""
    return [value - values[0] for value in values]


def z_at(values: Series, t: int, w: int) -> Value:
    valid = window(values, t, w)
    if values[t] is None or len(valid) < required(w):
        return None
    shifted = from_first(valid)
    centre = mean(shifted)
    spread = math.sqrt(add_up([(v - centre) ** 2 for v in shifted]) / (len(valid) - 1))
    return None if counts_as_zero(spread, valid) else (shifted[-1] - centre) / spread


def truncated_at(values: Series, t: int, a: float, width: int) -> Value:
    weights = [a**age for age in range(width)]
    ages = [age for age in range(min(t, width - 1), -1, -1) if values[t - age] is not None]
    kept = add_up([weights[age] for age in ages])
    if kept < 0.8 * add_up(weights[::-1]):
        return None
    return add_up([weights[age] * values[t - age] for age in ages]) / kept


def wilder_at(values: Series, t: int, n: int) -> Value:
    return truncated_at(values, t, 1 - 1 / n, 10 * (2 * n - 1))


def pairs_at(x: Series, y: Series, t: int, w: int) -> list[tuple[float, float]]:
    rows = range(max(0, t - w + 1), t + 1)
    return [(x[j], y[j]) for j in rows if x[j] is not None and y[j] is not None]


def covariance(pairs: Sequence[tuple[float, float]]) -> float:
    centre_x, centre_y = mean([a for a, _ in pairs]), mean([b for _, b in pairs])
    return add_up([(a - centre_x) * (b - centre_y) for a, b in pairs]) / (len(pairs) - 1)


def corr_at(x: Series, y: Series, t: int, w: int) -> Value:
    pairs = pairs_at(x, y, t, w)
    if len(pairs) < required(w):
        return None
    spreads = std([a for a, _ in pairs]), std([b for _, b in pairs])
    return ratio(covariance(pairs), spreads[0] * spreads[1])


def beta_at(y: Series, x: Series, t: int, w: int) -> Value:
    pairs = pairs_at(x, y, t, w)
    if len(pairs) < required(w):
        return None
    return ratio(covariance(pairs), std([a for a, _ in pairs]) ** 2)


def ar1_at(x: Series, t: int, w: int) -> dict[str, float] | None:
    """AR(1) over the w pairs that end at t, in values minus the window's first valid x; None below N or if x is flat."""
    rows = range(max(1, t - w + 1), t + 1)
    first = next((x[j] for j in range(max(0, t - w), t + 1) if x[j] is not None), None)
    pairs = [(x[j - 1] - first, x[j] - first) for j in rows if x[j - 1] is not None and x[j] is not None]
    n = len(pairs)
    if n < required(w):
        return None
    before, now = [a for a, _ in pairs], [b for _, b in pairs]
    centre_x, centre_y = mean(before), mean(now)
    squares = add_up([(a - centre_x) ** 2 for a in before])
    if counts_as_zero(squares, before):
        return None
    phi = add_up([(a - centre_x) * (b - centre_y) for a, b in pairs]) / squares
    a = centre_y - phi * centre_x
    errors = add_up([(b - a - phi * c) ** 2 for c, b in pairs])
    return {"phi": phi, "a": a, "sigma": math.sqrt(errors / (n - 2)), "n": n, "first": first}


def corrected(model: dict[str, float]) -> float:
    return model["phi"] + (1 + 3 * model["phi"]) / model["n"]


def half_life(phi: float) -> float:
    if phi <= 0:
        return 0.0
    return 1440.0 if phi >= 1 else min(1440.0, -math.log(2) / math.log(phi))


def ou_score_at(x: Series, t: int) -> Value:
    model = ar1_at(x, t, 240)
    if model is None or x[t] is None or not 0 < model["phi"] < 1:
        return None
    distance = x[t] - model["first"] - model["a"] / (1 - model["phi"])
    score = ratio(distance, model["sigma"] / math.sqrt(1 - model["phi"] ** 2))
    return None if score is None else min(10.0, max(-10.0, score))


def hurst_at(x: Series, t: int) -> Value:
    taus, logs = (1, 2, 4, 8, 16, 32), []
    first = t - 719
    for tau in taus:
        rows = [j for j in range(max(first + tau, tau), t + 1) if x[j] is not None and x[j - tau] is not None]
        if len(rows) < required(720 - tau):
            return None
        k = mean([abs(x[j] - x[j - tau]) for j in rows])
        if k == 0:
            return None
        logs.append(math.log(k))
    steps = [math.log(tau) for tau in taus]
    centre_x, centre_y = mean(steps), mean(logs)
    up = add_up([(a - centre_x) * (b - centre_y) for a, b in zip(steps, logs, strict=True)])
    return min(1.5, max(-0.5, up / add_up([(a - centre_x) ** 2 for a in steps])))


def variance_ratio_at(m1: Series, t: int, q: int, w: int) -> tuple[Value, Value]:
    """VR(q) and z*(q); a q-step is valid when all its returns are."""
    first = t - w + 1
    rows = [k for k in range(max(0, first), t + 1) if m1[k] is not None]
    n = len(rows)
    if n < required(w):
        return None, None
    mu = mean([m1[k] for k in rows])
    s1 = add_up([(m1[k] - mu) ** 2 for k in rows]) / (n - 1)
    if counts_as_zero(math.sqrt(s1), [m1[k] for k in rows]):
        return None, None
    steps = [[m1[j] for j in range(k - q + 1, k + 1)] for k in range(max(0, first) + q - 1, t + 1)]
    steps = [add_up(step) for step in steps if None not in step]
    if not steps:
        return None, None
    vr = add_up([(step - q * mu) ** 2 for step in steps]) / (q * len(steps) * (1 - q / n)) / s1
    inside, total, theta = set(rows), add_up([(m1[k] - mu) ** 2 for k in rows]), 0.0
    for j in range(1, q):
        both = [(m1[k] - mu) ** 2 * (m1[k - j] - mu) ** 2 for k in rows if k - j in inside]
        theta += (2 * (q - j) / q) ** 2 * add_up(both) / total**2
    return vr, (vr - 1) / math.sqrt(theta) if theta > 0 else None


def median(values: Sequence[float]) -> float:
    ranked, half = sorted(values), len(values) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2


class Twin:
    """Lists of the inputs, and every feature as a function of the row."""

    def __init__(self, inputs) -> None:
        lists = {name: frame.to_dict(as_series=False) for name, frame in inputs.derivatives.items()}
        self.T = inputs.trades.to_dict(as_series=False)
        self.B, self.P = (f.to_dict(as_series=False) for f in (inputs.book, inputs.partner_book))
        self.X, self.V = list(lists.values()), inputs.buckets.rows(named=True)
        self.D = [d for d in inputs.slow["D"].rows(named=True) if d["symbol"] == "BTC-USD"]
        self.ts = self.T["ts"]
        self.x = [None if mid is None else math.log(mid) for mid in self.B["mid"]]
        self.m1, self.p1 = log_return(self.B["mid"], 1), log_return(self.P["mid"], 1)
        self.p1_before, self.m1_before = [None, *self.p1[:-1]], [None, *self.m1[:-1]]
        self.squares = [None if m is None else m * m for m in self.m1]
        self.volatility: dict[int, Value] = {}
        self.directions: dict[int, Value] = {}
        self.tr = true_range(self.T["high"], self.T["low"], self.T["close"])
        self.moves = [None if m is None else abs(m) for m in self.m1]
        self.bps = [bps(m) for m in self.m1]
        self.flow = list(map(difference, self.T["buy_volume"], self.T["sell_volume"]))
        self.millions = [
            None if (d := difference(buy, sell)) is None else d / 1e6
            for buy, sell in zip(self.T["buy_volume_usd"], self.T["sell_volume_usd"], strict=True)
        ]
        self.depth = rowwise(
            lambda a, b: math.log(a + b) if a + b > 0 else None, self.B["bid_depth_25"], self.B["ask_depth_25"]
        )
        self.size = rowwise(
            lambda usd, n: math.log(usd / n) if n > 0 and usd > 0 else None,
            self.T["volume_usd"],
            self.T["trade_count_n"],
        )
        self.count = rowwise(lambda n: math.log(1 + n), self.T["trade_count_n"])
        self.change = list(map(difference, self.T["close"], [None, *self.T["close"][:-1]]))
        self.rise = rowwise(lambda d: max(d, 0.0), self.change)
        self.fall = rowwise(lambda d: max(-d, 0.0), self.change)
        self.movements = self.up_and_down()
        self.gap = rowwise(log_of_ratio, self.B["mid"], self.P["mid"])

    def up_and_down(self) -> tuple[list[Value], list[Value]]:
        plus: list[Value] = [None]
        minus: list[Value] = [None]
        high, low = self.T["high"], self.T["low"]
        for t in range(1, len(high)):
            up, down = difference(high[t], high[t - 1]), difference(low[t - 1], low[t])
            missing = up is None or down is None
            plus.append(None if missing else up if up > down and up > 0 else 0.0)
            minus.append(None if missing else down if down > up and down > 0 else 0.0)
        return plus, minus

    def vpin(self, t: int) -> Value:
        if t < 0:
            return None
        end = self.ts[t] + MINUTE
        inside = [b for b in self.V if end - 1200 * MINUTE < b["end_ts"] < end][-25:]
        if len(inside) < 25:
            return None
        gaps = [abs(b["buy_volume"] - b["sell_volume"]) / b["bucket_volume"] for b in inside]
        return mean(gaps)

    def realized_vol(self, t: int) -> Value:
        if t not in self.volatility:
            self.volatility[t] = ann(mean_at(self.squares, t, 60))
        return self.volatility[t]

    def rank(self, t: int) -> Value:
        v = self.realized_vol(t)
        known = [u for j in range(max(0, t - 1379), t + 1) if (u := self.realized_vol(j)) is not None]
        if v is None or len(known) < required(1380):
            return None
        return (sum(u < v for u in known) + 0.5 * sum(u == v for u in known)) / len(known)

    def dx(self, t: int) -> Value:
        if t not in self.directions:
            moved = wilder_at(self.tr, t, 14)
            plus, minus = (ratio(wilder_at(m, t, 14), moved) for m in self.movements)
            shared = share(plus, minus)
            self.directions[t] = None if shared is None else 100 * abs(shared)
        return self.directions[t]

    def adx(self, t: int) -> Value:
        first = max(0, t - 269)
        return wilder_at([None] * first + [self.dx(j) for j in range(first, t + 1)], t, 14)

    def jumps(self, t: int) -> tuple[Value, Value]:
        """Bipower variance per minute and the jump statistic over the last 240 returns."""
        m1, first = self.m1, t - 239
        size = [None if m1[j] is None else abs(m1[j]) for j in range(max(0, first), t + 1)]
        pairs = [a * b for a, b in pairwise(size) if None not in (a, b)]
        triples = [a * b * c for a, b, c in zip(size, size[1:], size[2:], strict=False) if None not in (a, b, c)]
        if len(pairs) < required(239):
            return None, None
        bv = math.pi / 2 * mean(pairs)
        returns = [s for s in size if s is not None]
        rv, n = mean([s * s for s in returns]), len(returns)
        if len(triples) < required(238) or rv == 0 or bv == 0:
            return bv, None
        mu = 2 ** (2 / 3) * math.gamma(7 / 6) / math.gamma(1 / 2)
        tq = mu**-3 * mean([p ** (4 / 3) for p in triples])
        return bv, (1 - bv / rv) / math.sqrt((math.pi**2 / 4 + math.pi - 5) * max(1, tq / bv**2) / n)

    def semivariance(self, t: int) -> Value:
        valid = window(self.m1, t, 240)
        if len(valid) < required(240):
            return None
        return share(add_up([m * m for m in valid if m > 0]), add_up([m * m for m in valid if m < 0]))

    def funding(self, t: int) -> Value:
        known = [(x["funding_rate"][t], x["funding_interval_h"][t]) for x in self.X]
        rates = [1e4 * rate * 8 / hours for rate, hours in known if rate is not None and hours is not None]
        return median(rates) if len(rates) >= 2 else None

    def basis(self, t: int) -> Value:
        logs = [bps(log_of_ratio(x["mark"][t], x["index"][t])) for x in self.X]
        known = [v for v in logs if v is not None]
        return median(known) if len(known) >= 2 else None

    def funding_z(self, t: int) -> Value:
        days = sorted((d for d in self.D if d["available_ts"] <= self.ts[t]), key=lambda d: d["obs_day"])[-30:]
        values = [d["funding_bps_8h_mean"] for d in days if d["funding_bps_8h_mean"] is not None]
        now = self.funding(t)
        if now is None or len(values) < 24 or self.ts[t] - days[-1]["available_ts"] > timedelta(hours=72):
            return None
        return ratio(now - mean(values), std(values))

    def countdown(self, t: int) -> float:
        k = self.ts[t] + MINUTE
        following = k.replace(minute=0, second=0) + timedelta(hours=1)
        while following.hour % 8:
            following += timedelta(hours=1)
        return (following - k) / MINUTE / 480

    def liquidations(self, t: int) -> Value:
        sums = []
        for side in ("liq_buy_usd", "liq_sell_usd"):
            rows = [[x[side][j] for x in self.X if x[side][j] is not None] for j in range(max(0, t - 59), t + 1)]
            if sum(bool(row) for row in rows) < required(60):
                return None
            sums.append(add_up([add_up(row) for row in rows]))
        return 0.0 if sums[0] + sums[1] == 0 else share(*sums)

    def kyle(self, t: int) -> Value:
        pairs = pairs_at(self.millions, self.bps, t, 30)
        return kyle_slope([a for a, _ in pairs], [b for _, b in pairs]) if len(pairs) >= required(30) else None

    def of_book(self, t: int) -> dict[str, Value]:
        """#1, 2, 5, 11-18, 22, 23, 33."""
        book = self.B
        out = {f"ob_imbalance_{k}": share(book[f"bid_depth_{k}"][t], book[f"ask_depth_{k}"][t]) for k in (1, 10, 25)}
        traded = ratio(sum_at(self.T["volume"], t, 15), sum_at(book["remove_coin"], t, 15))
        return out | {
            "imbalance": book["imbalance_5_tw"][t],
            "imbalance_ma5": mean_at(book["imbalance_5_tw"], t, 5),
            "spread_bps": book["spread_bps_tw"][t],
            "ofi_1m": ratio(book["ofi_coin"][t], book["depth_1_tw"][t]),
            "ofi_15m": ratio(sum_at(book["ofi_coin"], t, 15), mean_at(book["depth_1_tw"], t, 15)),
            "queue_depletion_asym_15m": share(
                sum_at(book["best_ask_up_n"], t, 15), sum_at(book["best_bid_down_n"], t, 15)
            ),
            "queue_cancel_frac_15m": None if traded is None else max(0.0, 1 - traded),
            "depth_z_4h": z_at(self.depth, t, 240),
            "effective_spread_bps": book["eff_spread_bps"][t],
            "price_impact_bps_5s": book["impact_5s_bps"][t],
            "microprice_dev_bps": bps(log_of_ratio(book["microprice"][t], book["mid"][t])),
        }

    def of_trades(self, t: int) -> dict[str, Value]:
        """#6, 7, 19-21, 24, 31, 32, 35, 36, 41."""
        trades, close = self.T, self.T["close"]
        bought, sold = (sum_at(trades[f"{side}_volume_usd"], t, 15) for side in ("buy", "sell"))
        vwap = ratio(sum_at(trades["volume_usd"], t, 240), sum_at(trades["volume"], t, 240))
        up, down = wilder_at(self.rise, t, 14), wilder_at(self.fall, t, 14)
        valid, position = window(close, t, 20), None
        if len(valid) >= required(20) and close[t] is not None:
            middle, spread = mean(valid), std(valid, lost=0)
            position = ratio(close[t] - (middle - 2 * spread), 4 * spread)
        return {
            "aggressor_flow": self.flow[t],
            "flow_zscore": z_at(self.flow, t, 60),
            "trade_flow_net_ratio_15m": share(bought, sold),
            "trade_size_z_1h": z_at(self.size, t, 60),
            "trade_count_z_1h": z_at(self.count, t, 60),
            "kyle_lambda_30m": self.kyle(t),
            "vwap_dev_bps_4h": bps(log_of_ratio(close[t], vwap)),
            "ema_dev_bps_60m": bps(log_of_ratio(close[t], truncated_at(close, t, 1 - 2 / 61, 600))),
            "bb_position": position,
            "rsi": None if None in (up, down) else ratio(100 * up, up + down),
            "adx_14m": self.adx(t),
        }

    def of_mid(self, t: int) -> dict[str, Value]:
        """#8-10, 25-30, 37-40, 42."""
        x, half_day, four_hours = self.x, ar1_at(self.x, t, 720), ar1_at(self.x, t, 240)
        vr = variance_ratio_at(self.m1, t, 5, 240)[0]
        moved = sum_at(self.moves, t, 60)
        straight = ratio(None if (d := difference(x[t], lagged(x, t, 60))) is None else abs(d), moved)
        bipower, jump = self.jumps(t)
        speed = None if four_hours is None else min(3.0, max(-1.0, 1 - corrected(four_hours)))
        return {
            "realized_vol_60min": self.realized_vol(t),
            "price_zscore_60min": z_at(x, t, 60),
            "price_zscore_240min": z_at(x, t, 240),
            "ou_half_life_min_12h": None if half_day is None else half_life(corrected(half_day)),
            "ou_speed_4h": speed,
            "ou_zscore_4h": ou_score_at(x, t),
            "hurst_12h": hurst_at(x, t),
            "variance_ratio_5_4h": None if vr is None else min(6.0, vr),
            "variance_ratio_z_15_12h": variance_ratio_at(self.m1, t, 15, 720)[1],
            "bipower_vol_4h": ann(bipower),
            "jump_z_4h": jump,
            "semivar_asym_4h": self.semivariance(t),
            "realized_vol_rank_1d": self.rank(t),
            "efficiency_ratio_1h": None if straight is None else min(1.0, straight),
        }

    def of_partner(self, t: int) -> dict[str, Value]:
        """#44-48."""
        mine, theirs = self.B["mid"], self.P["mid"]
        own, other, beta = lr(mine, t, 15), lr(theirs, t, 15), beta_at(self.m1, self.p1, t, 240)
        leads, follows = corr_at(self.m1, self.p1_before, t, 240), corr_at(self.p1, self.m1_before, t, 240)
        return {
            "lead_ret_log_5m": lr(theirs, t, 5),
            "lead_residual_bps_15m": bps(difference(own, times(beta, other))),
            "lead_corr_4h": corr_at(self.m1, self.p1, t, 240),
            "lead_lag_asym_4h": difference(leads, follows),
            "ratio_zscore_4h": z_at(self.gap, t, 240),
        }

    def row(self, t: int) -> dict[str, Value]:
        """All sixty features and the flag of one row."""
        c = self.of_book(t) | self.of_trades(t) | self.of_mid(t) | self.of_partner(t)
        c["vpin"] = self.vpin(t)
        valid = [v for j in range(t - 9, t + 1) if (v := self.vpin(j)) is not None]
        c["vpin_ma10"] = mean(valid) if len(valid) >= 8 else None
        vr, adx = c["variance_ratio_5_4h"], c["adx_14m"]
        c["is_ranging"] = None if None in (vr, adx) else int(vr < 1 and adx < 25)
        c["funding_rate_bps_8h"], c["basis_bps"] = self.funding(t), self.basis(t)
        c["funding_z_30d"], c["funding_countdown_frac"] = self.funding_z(t), self.countdown(t)
        expected = times(c["funding_rate_bps_8h"], c["funding_countdown_frac"])
        c["funding_parity_dev_bps"] = difference(c["basis_bps"], expected)
        c["liq_imbalance_1h"] = self.liquidations(t)
        angle = 2 * math.pi * (60 * self.ts[t].hour + self.ts[t].minute) / 1440
        c["minute_of_day_sin"], c["minute_of_day_cos"] = math.sin(angle), math.cos(angle)
        c["ix_imbalance_vol"] = times(c["imbalance"], c["realized_vol_60min"])
        c["ix_vpin_size"] = times(c["vpin"], c["trade_size_z_1h"])
        c["ix_spread_imbalance"] = times(c["spread_bps"], c["imbalance"])
        c["ix_zscore_sq_60min"] = times(c["price_zscore_60min"], c["price_zscore_60min"])
        c["ix_zscore_flow"] = times(c["price_zscore_60min"], c["flow_zscore"])
        flags = [x["is_stale"][t] for x in self.X if x["is_stale"][t] is not None]
        c["is_stale_derivatives"] = max(flags, default=None)
        return c
