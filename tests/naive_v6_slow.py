"""Naive twins of V6's slow tables (#45, #51-75, #80, #83-86, #89-90), flags and clock (#91-100), from features.md alone.

The New York calendar is made of the exchange's holiday rules (ICE and NYSE, "Holidays and Trading Hours"), not of the
library that the platform uses: so each checks the other.
"""

import math
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from naive import Value, add_up, log_of_ratio, mean, ratio, share, std

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AGES = {"O": (2 * HOUR, 6 * HOUR), "D": (24 * HOUR, 72 * HOUR), "C": (26 * HOUR, 72 * HOUR), "G": (26 * HOUR, 72 * HOUR),
        "S": (26 * HOUR, 72 * HOUR), "A": (50 * HOUR, 7 * DAY), "H": (50 * HOUR, 14 * DAY), "N": (32 * HOUR, 7 * DAY),
        "M": (5 * DAY, 12 * DAY)}  # fmt: skip  # stale after, max age
NEW_YORK = ZoneInfo("America/New_York")


# --- what is available (1.1.5, 1.1.7) -----------------------------------------------------------------


_ROWS: dict[int, tuple[object, list[dict]]] = {}


def rows_of(frame) -> list[dict]:
    """Return the frame's rows as dicts; remembered, with the frame, because many rows ask."""
    if id(frame) not in _ROWS:
        _ROWS[id(frame)] = (frame, frame.to_dicts())
    return _ROWS[id(frame)][1]


def seen(slow, letter: str, ts: datetime, known: str = "available_ts", **key: str) -> list[dict]:
    """Return the rows of a key that are available at ``ts``, oldest observation first."""
    if letter not in slow:
        return []
    rows = [r for r in rows_of(slow[letter]) if r[known] <= ts and all(r[k] == v for k, v in key.items())]
    return sorted(rows, key=lambda r: r["hour" if letter == "O" else "obs_day"])


def usable(slow, letter: str, ts: datetime, known: str = "available_ts", **key: str) -> list[dict]:
    """Return the same, nothing at all when the newest is older than the table's max age."""
    rows = seen(slow, letter, ts, known, **key)
    return rows if rows and ts - rows[-1][known] <= AGES[letter][1] else []


def asof_row(slow, letter: str, ts: datetime, *names: str, **key: str) -> dict | None:
    """Return the newest available row that has all of these values, however old."""
    whole = [r for r in seen(slow, letter, ts, **key) if all(r[n] is not None for n in names)]
    return whole[-1] if whole else None


def asof(slow, letter: str, ts: datetime, *names: str, **key: str) -> tuple[Value, ...]:
    """Return the newest values of one row, None each when they are older than the table's max age."""
    row = asof_row(slow, letter, ts, *names, **key)
    if row is None or ts - row["available_ts"] > AGES[letter][1]:
        return (None,) * len(names)
    return tuple(row[n] for n in names)


def newest(rows: list[dict], name: str) -> Value:
    return rows[-1][name] if rows else None


def before(rows: list[dict], name: str, days: int) -> Value:
    """Return the value whose obs_day is exactly ``days`` before the newest."""
    for r in rows:
        if r["obs_day"] == rows[-1]["obs_day"] - timedelta(days=days):
            return r[name]
    return None


def change(rows: list[dict], name: str, days: int) -> Value:
    return log_of_ratio(newest(rows, name), before(rows, name, days))


def obs(rows: list[dict], name: str, k: int, need: int, fold=mean) -> Value:
    """Return ``fold`` over the valid of the last k observations; None below ``need``."""
    valid = [r[name] for r in rows[-k:] if r[name] is not None]
    return fold(valid) if len(valid) >= need else None


def difference(a: Value, b: Value) -> Value:
    return None if a is None or b is None else a - b


def z_of(x: Value, centre: Value, spread: Value) -> Value:
    return ratio(difference(x, centre), spread)


# --- 5.3 fundamental, and the slow rows of 5.2 and 5.4 --------------------------------------------------


def fundamental(ts: datetime, slow, symbol: str, close: Value) -> dict[str, Value]:
    """Return #51-63."""
    c, g = usable(slow, "C", ts, symbol=symbol), usable(slow, "G", ts)
    out: dict[str, Value] = {f"market_cap_change_log_{d}d": change(c, "market_cap_usd", d) for d in (1, 7, 30)}
    (out["market_cap_usd"],) = asof(slow, "C", ts, "market_cap_usd", symbol=symbol)
    (out["market_cap_rank_n"],) = asof(slow, "C", ts, "market_cap_rank", symbol=symbol)
    out["turnover_frac_1d"] = ratio(*asof(slow, "C", ts, "total_volume_usd", "market_cap_usd", symbol=symbol))
    supply = ratio(newest(c, "market_cap_usd"), newest(c, "price_usd"))
    supply_then = ratio(before(c, "market_cap_usd", 30), before(c, "price_usd", 30))
    out["supply_change_log_30d"] = log_of_ratio(supply, supply_then)
    out["high_dist_log_365d"] = log_of_ratio(close, obs(usable(slow, "D", ts, symbol=symbol), "high", 365, 292, max))
    btc = ratio(newest(g, "btc_cap_usd"), newest(g, "total_cap_usd"))
    out["btc_dominance_frac"] = ratio(*asof(slow, "G", ts, "btc_cap_usd", "total_cap_usd"))
    week_ago = ratio(before(g, "btc_cap_usd", 7), before(g, "total_cap_usd", 7))
    out["btc_dominance_change_7d"] = difference(btc, week_ago)
    out["eth_dominance_frac"] = ratio(*asof(slow, "G", ts, "eth_cap_usd", "total_cap_usd"))
    out["total_cap_change_log_30d"] = change(g, "total_cap_usd", 30)
    out["stable_cap_change_log_7d"] = change(g, "stable_cap_usd", 7)
    return out


def people(ts: datetime, slow, symbol: str) -> dict[str, Value]:
    """Return #64-73."""
    s, a = usable(slow, "S", ts), usable(slow, "A", ts, symbol=symbol)
    w, h = usable(slow, "A", ts, "wiki_available_ts", symbol=symbol), usable(slow, "H", ts, symbol=symbol)
    x = newest(s, "fear_greed")
    views = [r | {"log": None if r["wiki_views_n"] is None else math.log(1 + r["wiki_views_n"])} for r in w]
    merged = difference(newest(h, "prs_merged_n"), before(h, "prs_merged_n", 30))
    good, bad, count = asof(slow, "A", ts, "news_pos_n", "news_neg_n", "news_n", symbol=symbol)
    return {
        "fear_greed_index": asof(slow, "S", ts, "fear_greed")[0],
        "fear_greed_change_7d": difference(x, before(s, "fear_greed", 7)),
        "fear_greed_z_30d": z_of(x, obs(s, "fear_greed", 30, 24), obs(s, "fear_greed", 30, 24, std)),
        "wiki_views_z_30d": z_of(newest(views, "log"), obs(views, "log", 30, 24), obs(views, "log", 30, 24, std)),
        "reddit_subscribers_change_log_7d": change(a, "reddit_subscribers_n", 7),
        "news_n_1d": asof(slow, "A", ts, "news_n", symbol=symbol)[0],
        "news_tone_1d": ratio(difference(good, bad), count),
        "github_commits_n_4w": asof(slow, "H", ts, "commits_4w_n", symbol=symbol)[0],
        "github_stars_change_log_30d": change(h, "stars_n", 30),
        "github_prs_merged_n_30d": None if merged is None or merged < 0 else merged,
    }


def network(ts: datetime, slow) -> dict[str, Value]:
    """Return #74 and #75."""
    n = usable(slow, "N", ts)

    def week(newest_back: int) -> Value:
        days = [before(n, "btc_hash_rate", back) for back in range(newest_back + 6, newest_back - 1, -1)]
        valid = [h for h in days if h is not None]
        return mean(valid) if len(valid) >= 6 else None

    ribbon = log_of_ratio(obs(n, "btc_hash_rate", 30, 24), obs(n, "btc_hash_rate", 60, 48))
    return {"btc_hash_rate_change_log_7d": log_of_ratio(week(0), week(7)), "btc_hash_ribbon_log": ribbon}


def pearson(pairs: list[tuple[float, float]]) -> Value:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) < 24 or std(x) == 0 or std(y) == 0:
        return None
    both = add_up([(a - mean(x)) * (b - mean(y)) for a, b in pairs])
    return both / math.sqrt(add_up([(a - mean(x)) ** 2 for a in x]) * add_up([(b - mean(y)) ** 2 for b in y]))


def correlation(ts: datetime, slow, symbol: str, series: str) -> Value:
    """Return #89 or #90: the last 30 NYSE days up to the newest available observation of the series."""
    m, d = usable(slow, "M", ts, series_id=series), usable(slow, "D", ts, symbol=symbol)
    if not m or not d:
        return None
    level = {r["obs_day"]: r["value"] for r in m}
    price = {r["obs_day"]: r["close"] for r in d}
    days, day = [], m[-1]["obs_day"]
    while len(days) < 31:
        if session(day, ts) is not None:
            days.insert(0, day)
        day -= DAY
    pairs = [
        (log_of_ratio(level.get(b), level.get(a)), log_of_ratio(price.get(b), price.get(a))) for a, b in pairwise(days)
    ]
    return pearson([p for p in pairs if None not in p])


def slow_row(ts: datetime, slow, settings, close: Value, funding: Value) -> dict[str, Value]:
    """Return #45, #51-75, #80, #83-86, #89, #90 of one minute."""
    out = fundamental(ts, slow, settings.symbol, close) | people(ts, slow, settings.symbol) | network(ts, slow)
    o, d = usable(slow, "O", ts, currency=settings.option_currency), usable(slow, "D", ts, symbol=settings.symbol)
    variance = obs(usable(slow, "D", ts, symbol=settings.option_symbol), "rv_1d", 30, 24)
    (out["dvol_frac"],) = asof(slow, "O", ts, "dvol_frac", currency=settings.option_currency)
    (out["iv_skew_25d_frac"],) = asof(slow, "O", ts, "skew_25d_frac", currency=settings.option_currency)
    out["put_call_oi_ratio"] = share(*asof(slow, "O", ts, "put_oi", "call_oi", currency=settings.option_currency))
    put, call = (obs(o, f"{side}_volume", 24, 20, add_up) for side in ("put", "call"))
    out["put_call_volume_ratio_1d"] = share(put, call)
    realised = None if variance is None else math.sqrt(365 * variance)
    out["iv_rv_spread_frac"] = difference(out["dvol_frac"], realised)
    usual = [obs(d, "funding_bps_8h_mean", 30, 24, fold) for fold in (mean, std)]
    out["funding_z_30d"] = z_of(funding, *usual)
    out["corr_spx_30d"] = correlation(ts, slow, settings.symbol, "SP500")
    out["corr_dxy_30d"] = correlation(ts, slow, settings.symbol, "DTWEXBGS")
    return out


READ_AS_OF = {  # what #45 to #86 take by asof, values of one formula together
    "O": (("dvol_frac",), ("skew_25d_frac",), ("put_oi", "call_oi")),
    "C": (("market_cap_usd",), ("market_cap_rank",), ("total_volume_usd", "market_cap_usd")),
    "G": (("btc_cap_usd", "total_cap_usd"), ("eth_cap_usd", "total_cap_usd")),
    "S": (("fear_greed",),),
    "A": (("news_n",), ("news_pos_n", "news_neg_n", "news_n")),
    "H": (("commits_4w_n",),),
}


def flags_row(ts: datetime, slow, settings) -> dict[str, Value]:
    """Return the six staleness flags of slow tables: the oldest value still read counts, the newest row however old."""
    own = {"symbol": settings.symbol}

    def late(*tables: tuple[str, str, dict[str, str]]) -> Value:
        found = []
        for letter, known, key in tables:
            used = seen(slow, letter, ts, known, **key)[-1:]
            if known == "available_ts":
                read = [asof_row(slow, letter, ts, *names, **key) for names in READ_AS_OF.get(letter, ())]
                used += [r for r in read if r and ts - r[known] <= AGES[letter][1]]
            found += [int(ts - r[known] > AGES[letter][0]) for r in used]
        return max(found) if found else None

    known = "available_ts"
    return {
        "is_stale_options": late(("O", known, {"currency": settings.option_currency})),
        "is_stale_coin": late(("C", known, own), ("G", known, {})),
        "is_stale_sentiment": late(("S", known, {})),
        "is_stale_attention": late(("A", known, own), ("A", "wiki_available_ts", own)),
        "is_stale_developer": late(("H", known, own)),
        "is_stale_slow": late(("N", known, {}), *(("M", known, {"series_id": s}) for s in ("SP500", "DTWEXBGS"))),
    }


# --- 5.5 time -----------------------------------------------------------------------------------------


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    """Return the n-th weekday (Monday 0) of a month; n = -1 is the last."""
    days = [date(year, month, 1) + timedelta(days=i) for i in range(31)]
    return [d for d in days if d.month == month and d.weekday() == weekday][n if n < 0 else n - 1]


def easter(year: int) -> date:
    """Return Easter Sunday, by the Gregorian rule (Meeus, Astronomical Algorithms, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e, f = b // 4, b % 4, (b + 8) // 25
    g = (b - f + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    last = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * last) // 451
    month, day = divmod(h + last - 7 * m + 114, 31)
    return date(year, month, day + 1)


@cache
def holidays(year: int) -> frozenset[date]:
    """Return the regular holidays of the NYSE: a Sunday's is kept on Monday, a Saturday's on Friday but for New Year."""
    fixed = [date(year, 7, 4), date(year, 12, 25)] + ([date(year, 6, 19)] if year >= 2022 else [])
    kept = [d + DAY if d.weekday() == 6 else d - DAY if d.weekday() == 5 else d for d in fixed]
    new_year = date(year, 1, 1)
    kept.append(new_year + DAY if new_year.weekday() == 6 else new_year)
    kept += [nth_weekday(year, 1, 0, 3), nth_weekday(year, 2, 0, 3), easter(year) - 2 * DAY,
             nth_weekday(year, 5, 0, -1), nth_weekday(year, 9, 0, 1), nth_weekday(year, 11, 3, 4)]  # fmt: skip
    return frozenset(kept)


# Closed without a rule: day → when everyone knew (a few hours after the announcement).
MOURNING = {
    date(2018, 12, 5): datetime(2018, 12, 2, 4, 59, tzinfo=UTC),
    date(2025, 1, 9): datetime(2024, 12, 31, 4, 59, tzinfo=UTC),
}


def session(day: date, k: datetime) -> tuple[datetime, datetime] | None:
    """Return open and close of the day in UTC as known at ``k``; None without a session."""
    closed = day in MOURNING and k >= MOURNING[day]
    if day.weekday() >= 5 or day in holidays(day.year) or closed:
        return None
    thanksgiving = nth_weekday(day.year, 11, 3, 4)
    early = day in (thanksgiving + DAY, date(day.year, 12, 24))
    early = early or (day == date(day.year, 7, 3) and day.weekday() <= 3)
    hours = ((9, 30), (13, 0) if early else (16, 0))
    opens, closes = (datetime(day.year, day.month, day.day, h, m, tzinfo=NEW_YORK).astimezone(UTC) for h, m in hours)
    return opens, closes


def calendar_row(ts: datetime) -> dict[str, Value]:
    """Return #91-100 of one minute."""
    k = ts + timedelta(minutes=1)
    angle = 2 * math.pi * (60 * ts.hour + ts.minute) / 1440
    tokyo, london = k.astimezone(ZoneInfo("Asia/Tokyo")), k.astimezone(ZoneInfo("Europe/London"))
    new_york = k.astimezone(NEW_YORK)
    tokyo_end = (15, 30) if tokyo.date() >= date(2024, 11, 5) else (15, 0)
    today = session(new_york.date(), k)
    is_open = today is not None and today[0] <= k < today[1]
    day = new_york.date()
    while not is_open and (session(day, k) is None or session(day, k)[0] <= k):
        day += DAY
    target = today[1] if is_open else session(day, k)[0]
    ahead = (k + timedelta(minutes=i) for i in range(1, 481))
    funding = next(h for h in ahead if h.hour % 8 == 0 and h.minute == 0)
    friday = datetime(k.year, k.month, k.day, 8, tzinfo=UTC)
    while friday <= k or friday.weekday() != 4:
        friday += DAY
    return {
        "minute_of_day_sin": math.sin(angle),
        "minute_of_day_cos": math.cos(angle),
        "day_of_week": ts.isoweekday() - 1,
        "is_tokyo_open": int(tokyo.weekday() < 5 and (9, 0) <= (tokyo.hour, tokyo.minute) < tokyo_end),
        "is_london_open": int(london.weekday() < 5 and (8, 0) <= (london.hour, london.minute) < (16, 30)),
        "is_nyse_open": int(is_open),
        "is_nyse_holiday": int(new_york.weekday() < 5 and today is None),
        "nyse_countdown_min": (target - k).total_seconds() / 60,
        "funding_countdown_frac": (funding - k).total_seconds() / 60 / 480,
        "option_expiry_countdown_frac": (friday - k).total_seconds() / 60 / 10080,
    }
