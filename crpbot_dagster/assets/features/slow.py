"""Features of slow tables: what was observed by the hour or the day, read by when it became available.

At a minute only the observations with ``available_ts ≤ ts`` exist. Between two arrivals nothing changes, so a feature
is computed once per arrival and spread over the minutes until the next. What is read as of a minute (``AS_OF``) is the
newest value, of the newest observation that has it; histories and changes count from the newest observation, whatever
it says. Either is null when that observation is older than the table's maximum age.
Not here: minute tables (``multi_source.py``), which table has which delay (the assets that write them).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.features.market_calendar import DAY_US, Ints, microseconds, session_days
from crpbot_dagster.assets.features.price import arrays
from crpbot_dagster.assets.features.windows import FLAT, Floats, needed, ratio

HOUR_US = DAY_US // 24
# docs/conventions.md, slow tables: after this long without news the features are null, and the flag is 1.
MAX_AGE = {"O": 6 * HOUR_US, "D": 3 * DAY_US, "C": 3 * DAY_US, "G": 3 * DAY_US, "S": 3 * DAY_US, "A": 7 * DAY_US,
           "H": 14 * DAY_US, "N": 7 * DAY_US, "M": 12 * DAY_US}  # fmt: skip
FOREVER = 2**62
STALE_AFTER = {"O": 2 * HOUR_US, "C": 26 * HOUR_US, "G": 26 * HOUR_US, "S": 26 * HOUR_US, "A": 50 * HOUR_US,
               "H": 50 * HOUR_US, "N": 32 * HOUR_US, "M": 5 * DAY_US}  # fmt: skip
DAYS_A_YEAR = 365  # the market never closes
VALUES = {
    "O": ("dvol_frac", "skew_25d_frac", "put_volume", "call_volume", "put_oi", "call_oi"),
    "D": ("high", "close", "rv_1d", "funding_bps_8h_mean"),
    "C": ("price_usd", "market_cap_usd", "total_volume_usd", "market_cap_rank"),
    "G": ("total_cap_usd", "btc_cap_usd", "eth_cap_usd", "stable_cap_usd"),
    "S": ("fear_greed",),
    "wiki": ("wiki_views_n",),
    "A": ("reddit_subscribers_n", "news_n", "news_pos_n", "news_neg_n"),
    "H": ("commits_4w_n", "stars_n", "prs_merged_n"),
    "N": ("btc_hash_rate",),
    "M": ("value",),
}


@dataclass(frozen=True)
class Observations:
    """One key's rows of a slow table, oldest first: the day or hour described, when it was known (µs), the values."""

    letter: str
    at: Ints
    known: Ints
    values: Mapping[str, Floats]

    def _where(self, kept: NDArray[np.bool_]) -> "Observations":
        values = {name: x[kept] for name, x in self.values.items()}
        return Observations(self.letter, self.at[kept], self.known[kept], values)

    def seen(self, moment: int) -> "Observations":
        """Return what was known at ``moment``."""
        return self._where(self.known <= moment)

    def having(self, *names: str) -> "Observations":
        """Return the observations with all of these values: their newest is the newest value."""
        return self._where(~np.isnan(np.sum([self.values[name] for name in names], axis=0)))

    def newest(self, name: str) -> float:
        """Return the newest observation's value; NaN when it came without."""
        return float(self.values[name][-1])

    def on(self, name: str, days: Ints) -> Floats:
        """Return the values of exactly these days, NaN where a day was not observed."""
        place = np.minimum(np.searchsorted(self.at, days), len(self.at) - 1)
        return np.where(self.at[place] == days, self.values[name][place], np.nan)

    def before(self, name: str, days: int) -> float:
        """Return the value observed exactly ``days`` days before the newest observation."""
        return float(self.on(name, self.at[-1:] - days)[0])


def observations(frame: pl.DataFrame | None, kind: str, where: Mapping[str, str]) -> Observations | None:
    """Return the rows of ``frame`` with the key ``where``; None when there are none.

    ``kind`` is the table's letter, or ``wiki`` for the page views of A, which have an availability of their own.
    """
    if frame is None:
        return None
    rows = frame.filter(pl.lit(True), *(pl.col(name) == value for name, value in where.items()))
    if rows.is_empty():
        return None
    known = "wiki_available_ts" if kind == "wiki" else "available_ts"
    if kind == "O":
        rows = rows.sort("hour")
        at = microseconds(rows["hour"]) // HOUR_US
    else:
        rows = rows.sort("obs_day")
        at = rows["obs_day"].cast(pl.Int64).to_numpy()
    values = dict(zip(VALUES[kind], arrays(rows, *VALUES[kind]), strict=True))
    return Observations("A" if kind == "wiki" else kind, at, microseconds(rows[known]), values)


def over_arrivals(
    ts: Ints, compute: Callable[..., dict[str, float]], *tables: Observations | None, max_age: int | None = None
) -> dict[str, Floats]:
    """Return what ``compute`` makes of the tables as seen at each row, float64[rows] each.

    Parameters
    ----------
    ts : int64[rows], microseconds
        Starts of minutes, sorted.
    compute
        Takes what is seen of each table, none of it empty, and returns values by name.
    tables
        {} is returned when one of them is absent.
    max_age
        Microseconds, instead of each table's own.

    Returns
    -------
    One array per name; NaN before each table has an observation and where the newest of one exceeds its maximum age.
    """
    present = [t for t in tables if t is not None]
    if len(present) < len(tables):
        return {}
    arrivals = np.concatenate([np.searchsorted(ts, t.known) for t in present])
    edges = sorted({0, len(ts), *arrivals[arrivals < len(ts)].tolist()})
    made: dict[str, Floats] = {}
    for start, end in pairwise(edges):
        seen = [t.seen(int(ts[start])) for t in present]
        if not all(len(s.at) for s in seen):
            continue
        limits = [max_age or MAX_AGE[s.letter] for s in seen]
        fresh = np.all([ts[start:end] - s.known[-1] <= most for s, most in zip(seen, limits, strict=True)], axis=0)
        for name, value in compute(*seen).items():
            made.setdefault(name, np.full(len(ts), np.nan))[start:end] = np.where(fresh, value, np.nan)
    return made


def stale(ts: Ints, tables: Iterable[Observations], read: Iterable[Observations]) -> Floats:
    """Return 1 where a newest observation is late, else 0, NaN where there is none.

    Of ``tables`` however old it is; of ``read``, the rows that values are read from, while it is still read: a value
    that is told no more makes its column null, and the flag does not depend on how far back the tables reach.
    """
    flag = np.full(len(ts), np.nan)
    for table, max_age in [*((t, FOREVER) for t in tables), *((t, MAX_AGE[t.letter]) for t in read)]:
        newest = over_arrivals(ts, lambda seen: {"known": float(seen.known[-1])}, table, max_age=max_age)
        if newest:
            is_late = ts - newest["known"] > STALE_AFTER[table.letter]
            flag = np.fmax(flag, np.where(np.isnan(newest["known"]), np.nan, is_late))
    return flag


def log_of(a: float, b: float) -> float:
    """Return ln(a / b), NaN unless both are there and the quotient is positive."""
    quotient = over(a, b)
    return math.log(quotient) if quotient > 0 else math.nan


def over(a: float, b: float) -> float:
    """Return a / b, NaN where b is 0."""
    return a / b if b != 0 else math.nan


def share_of(a: float, b: float) -> float:
    """Return (a − b) / (a + b), NaN where the sum is 0."""
    return over(a - b, a + b)


def tone_of(positive: float, negative: float, count: float) -> float:
    """Return the positive less the negative articles as a share of all, NaN where there is none."""
    return over(positive - negative, count)


def sum_of(x: Floats, k: int, need: int) -> float:
    """Return the sum of the valid among the last ``k`` observations, NaN below ``need`` of them."""
    valid = x[-k:][~np.isnan(x[-k:])]
    return float(valid.sum()) if len(valid) >= need else math.nan


def mean_of(x: Floats, k: int, need: int) -> float:
    """Return the mean of the valid among the last ``k`` observations, NaN below ``need`` of them."""
    return over(sum_of(x, k, need), float(np.isfinite(x[-k:]).sum()))


def deviation_of(x: Floats, k: int, need: int) -> float:
    """Return the sample standard deviation of the valid among the last ``k`` observations; a flat series has 0."""
    valid = x[-k:][~np.isnan(x[-k:])]
    if len(valid) < max(need, 2):
        return math.nan
    spread = float(np.sqrt(((valid - valid.sum() / len(valid)) ** 2).sum() / (len(valid) - 1)))
    return spread if spread > FLAT * np.abs(valid).max() else 0.0


def zscore_of(x: Floats, k: int) -> float:
    """Return the newest observation's distance from the mean of the last ``k``, in their standard deviations."""
    need = needed(k)
    return over(float(x[-1]) - mean_of(x, k, need), deviation_of(x, k, need))


def correlation_of(x: Floats, y: Floats, need: int) -> float:
    """Return Pearson's correlation over the pairs that are both there; NaN below ``need`` or when one is flat."""
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    spreads = deviation_of(x, len(x), need), deviation_of(y, len(y), need)
    if len(x) < need or not min(spreads) > 0:
        return math.nan
    dx, dy = x - x.sum() / len(x), y - y.sum() / len(y)
    return min(1.0, max(-1.0, float((dx * dy).sum() / np.sqrt((dx * dx).sum() * (dy * dy).sum()))))


def coin(c: Observations) -> dict[str, float]:
    """Return V6 #52–54 and #57 from the coin's days. Source: CoinGecko API v3, docs.coingecko.com."""
    cap = c.newest("market_cap_usd")
    supply, supply_before = (over(x("market_cap_usd"), x("price_usd")) for x in (c.newest, lambda n: c.before(n, 30)))
    changes = {f"market_cap_change_log_{d}d": log_of(cap, c.before("market_cap_usd", d)) for d in (1, 7, 30)}
    return changes | {"supply_change_log_30d": log_of(supply, supply_before)}


def dominance(g: Observations) -> dict[str, float]:
    """Return V6 #60, #62 and #63 from the whole market's days. Source: CoinGecko API v3, docs.coingecko.com."""
    total = g.newest("total_cap_usd")
    btc, btc_before = (over(x("btc_cap_usd"), x("total_cap_usd")) for x in (g.newest, lambda n: g.before(n, 7)))
    return {
        "btc_dominance_change_7d": btc - btc_before,
        "total_cap_change_log_30d": log_of(total, g.before("total_cap_usd", 30)),
        "stable_cap_change_log_7d": log_of(g.newest("stable_cap_usd"), g.before("stable_cap_usd", 7)),
    }


def sentiment(s: Observations) -> dict[str, float]:
    """Return V6 #65 and #66. Source: alternative.me/crypto/fear-and-greed-index."""
    return {
        "fear_greed_change_7d": s.newest("fear_greed") - s.before("fear_greed", 7),
        "fear_greed_z_30d": zscore_of(s.values["fear_greed"], 30),
    }


def page_views(a: Observations) -> dict[str, float]:
    """Return V6 #67. Source: Kristoufek (2013), Scientific Reports 3, https://doi.org/10.1038/srep03415."""
    return {"wiki_views_z_30d": zscore_of(np.log(1 + a.values["wiki_views_n"]), 30)}


def social(a: Observations) -> dict[str, float]:
    """Return V6 #68. Source: CoinGecko API v3, docs.coingecko.com."""
    change = log_of(a.newest("reddit_subscribers_n"), a.before("reddit_subscribers_n", 7))
    return {"reddit_subscribers_change_log_7d": change}


def developers(h: Observations) -> dict[str, float]:
    """Return V6 #72 and #73; a counter that fell was reset and says nothing. Source: docs.github.com/rest."""
    merged = h.newest("prs_merged_n") - h.before("prs_merged_n", 30)
    return {
        "github_stars_change_log_30d": log_of(h.newest("stars_n"), h.before("stars_n", 30)),
        "github_prs_merged_n_30d": merged if merged >= 0 else math.nan,
    }


def network(n: Observations) -> dict[str, float]:
    """Return V6 #74 and #75. Source: blockchain.com/explorer/charts/hash-rate."""
    week, week_before = (n.on("btc_hash_rate", n.at[-1] - np.arange(last + 6, last - 1, -1)) for last in (0, 7))
    rates = n.values["btc_hash_rate"]
    return {
        "btc_hash_rate_change_log_7d": log_of(mean_of(week, 7, needed(7)), mean_of(week_before, 7, needed(7))),
        "btc_hash_ribbon_log": log_of(mean_of(rates, 30, needed(30)), mean_of(rates, 60, needed(60))),
    }


def traded_options(o: Observations) -> dict[str, float]:
    """Return V6 #84 from the last 24 hours of the option currency.

    Source: Pan & Poteshman (2006), Rev. Financial Studies 19(3), https://doi.org/10.1093/rfs/hhj024
    """
    put, call = (sum_of(o.values[f"{side}_volume"], 24, needed(24)) for side in ("put", "call"))
    return {"put_call_volume_ratio_1d": share_of(put, call)}


def variance_premium(o: Observations, d: Observations) -> dict[str, float]:
    """Return V6 #83. Source: Bollerslev, Tauchen & Zhou (2009), https://doi.org/10.1093/rfs/hhp008."""
    variance = mean_of(d.values["rv_1d"], 30, needed(30))
    return {"iv_rv_spread_frac": o.newest("dvol_frac") - math.sqrt(DAYS_A_YEAR * variance)}


def correlation_with(name: str) -> Callable[[Observations, Observations], dict[str, float]]:
    """Return the rule of V6 #89 and #90: daily returns of a series and of the coin over 30 NYSE days.

    A week-end is one return on both sides. Source: fred.stlouisfed.org, first vintages.
    """

    def compute(m: Observations, d: Observations) -> dict[str, float]:
        days = session_days(int(m.at[-1]), 31)
        levels = (m.on("value", days), d.on("close", days))
        returns = [np.array([log_of(b, a) for a, b in zip(x.tolist(), x[1:].tolist(), strict=False)]) for x in levels]
        return {name: correlation_of(returns[0], returns[1], needed(30))}

    return compute


def _usual_funding(d: Observations) -> dict[str, float]:
    x, need = d.values["funding_bps_8h_mean"], needed(30)
    return {"mean": mean_of(x, 30, need), "deviation": deviation_of(x, 30, need)}


def funding_zscore(ts: Ints, funding: Floats, d: Observations | None) -> Floats:
    """Return V6 #80: each row's funding, bps per 8 h, in deviations from the mean of the last 30 days. Source: ours."""
    usual = over_arrivals(ts, _usual_funding, d)
    return ratio(funding - usual["mean"], usual["deviation"]) if usual else np.full(len(ts), np.nan)


def highest(d: Observations) -> dict[str, float]:
    """Return the highest price of the last 365 observed days, USD: V6 #58 compares the close with it.

    Source: George & Hwang (2004), J. Finance 59(5).
    """
    last = d.values["high"][-365:]
    return {"year_high": float(np.nanmax(last)) if np.isfinite(last).sum() >= needed(365) else math.nan}


# Feature → the table, the values it takes of one observation, and what it makes of them. Sources: CoinGecko API v3,
# CryptoCompare (news), docs.github.com/rest, docs.deribit.com (DVOL), and of the options Pan & Poteshman (2006), as
# above, and Xing, Zhang & Zhao (2010), J. Financial and Quantitative Analysis 45(3).
AS_OF: Mapping[str, tuple[str, tuple[str, ...], Callable[..., float]]] = {
    "dvol_frac": ("O", ("dvol_frac",), float),
    "market_cap_usd": ("C", ("market_cap_usd",), float),
    "market_cap_rank_n": ("C", ("market_cap_rank",), float),
    "turnover_frac_1d": ("C", ("total_volume_usd", "market_cap_usd"), over),
    "btc_dominance_frac": ("G", ("btc_cap_usd", "total_cap_usd"), over),
    "eth_dominance_frac": ("G", ("eth_cap_usd", "total_cap_usd"), over),
    "fear_greed_index": ("S", ("fear_greed",), float),
    "news_n_1d": ("A", ("news_n",), float),
    "news_tone_1d": ("A", ("news_pos_n", "news_neg_n", "news_n"), tone_of),
    "github_commits_n_4w": ("H", ("commits_4w_n",), float),
    "put_call_oi_ratio": ("O", ("put_oi", "call_oi"), share_of),
    "iv_skew_25d_frac": ("O", ("skew_25d_frac",), float),
}


def as_of(ts: Ints, tables: Mapping[str, Observations | None]) -> dict[str, Floats]:
    """Return V6 #45, #51, #55, #56, #59, #61, #64, #69–71, #85 and #86: the newest values known at each row."""
    made: dict[str, Floats] = {}
    for feature, (name, columns, rule) in AS_OF.items():
        table = tables[name]
        if table is not None:
            newest = _newest_of(feature, columns, rule)
            made |= over_arrivals(ts, newest, table.having(*columns))
    return made


def _newest_of(
    feature: str, columns: tuple[str, ...], rule: Callable[..., float]
) -> Callable[[Observations], dict[str, float]]:
    return lambda seen: {feature: rule(*(seen.newest(c) for c in columns))}


def stale_of(ts: Ints, tables: Mapping[str, Observations | None], *names: str) -> Floats:
    """Return ``stale`` of these tables and of each value that is read of one of them as of a row."""
    held = {name: table for name in names if (table := tables[name]) is not None}
    read = [held[name].having(*columns) for name, columns, _ in AS_OF.values() if name in held]
    return stale(ts, held.values(), read)
