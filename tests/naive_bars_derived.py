"""Naive twins of ``bars/volume_buckets``, ``derivatives_1m`` and ``fx_1m``, written from features.md 2.3 and 2.4 alone.

Times are integers in microseconds since 1970, UTC. Sizes of buckets are exact fractions, so a border is where it is.
"""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

import polars as pl
from naive import Value
from naive_bars import MINUTE, microseconds, minutes_of

HOUR = 60 * MINUTE


def volume_buckets(ticks: pl.DataFrame, day: date, size: float | None, clock: str) -> list[dict[str, float | int]]:
    """Return the completed buckets of a day: trades in time order, split over borders, unknown sides halved."""
    if size is None:
        return []
    start = minutes_of(day)[0]
    times, sides, amounts = microseconds(ticks, f"ts_{clock}"), ticks["side"].to_list(), ticks["amount"].to_list()
    trades = sorted((t, i) for i, t in enumerate(times) if start <= t < start + 24 * HOUR)
    full, made = Fraction(size), []
    buy = sell = Fraction(0)
    for when, i in trades:
        left = Fraction(amounts[i])
        while left > 0:
            part = min(left, full - buy - sell)
            left -= part
            buy += {"buy": part, "sell": Fraction(0), None: part / 2}[sides[i]]
            sell += {"buy": Fraction(0), "sell": part, None: part / 2}[sides[i]]
            if buy + sell == full:
                made.append(
                    {"bucket_n": len(made), "end_ts": when, "buy_volume": float(buy), "sell_volume": float(sell)}
                )
                buy = sell = Fraction(0)
    return made


def last_stated(times: Sequence[int], values: Sequence[Value], before: int, since: int) -> tuple[Value, int | None]:
    """Return the last value stated in [since, before) and its age at ``before``."""
    for when, value in sorted(zip(times, values, strict=True), key=lambda stated: stated[0])[::-1]:
        if since <= when < before and value is not None:
            return value, before - when
    return None, None


def interval_of_last(statements: pl.DataFrame, times: Sequence[int], before: int, since: int) -> Value:
    """Return the interval that stands beside the last rate stated in [since, before)."""
    intervals = (
        statements["funding_interval_h"].to_list()
        if "funding_interval_h" in statements.columns
        else [None] * len(times)
    )
    rows = zip(times, statements["funding_rate"].to_list(), intervals, strict=True)
    stated = [(when, hours) for when, rate, hours in rows if since <= when < before and rate is not None]
    return sorted(stated, key=lambda s: s[0])[-1][1]


def intervals(times: Sequence[int], payments: Sequence[int | None]) -> list[float | None]:
    """Return each statement's interval in hours (docs/decisions/0016), from µs since midnight: itself and what was said."""
    made: list[float | None] = []
    announced: list[tuple[int, int]] = []  # the payments in turn, each with the moment it was first named
    for when, payment in zip(times, payments, strict=True):
        if payment is not None and (not announced or announced[-1][0] != payment):
            announced.append((payment, when))
        fitting = []
        for hours in (1, 4, 8):
            if announced:
                due, first_named = announced[-1]
                is_near = due - first_named <= hours * HOUR + MINUTE
                follows = len(announced) == 1 or (
                    due > announced[-2][0] and (due - announced[-2][0]) % (hours * HOUR) == 0
                )
                if due % (hours * HOUR) == 0 and is_near and follows:
                    fitting.append(float(hours))
        made.append(fitting[0] if len(fitting) == 1 else None)
    return made


def derivatives_1m(
    statements: pl.DataFrame, liquidations: pl.DataFrame | None, day: date, clock: str
) -> list[dict[str, Value]]:
    """Return the minutes of a perpetual, one dictionary per minute."""
    carried = {"mark": ("mark_price", 10 * MINUTE), "index": ("index_price", 10 * MINUTE),
               "funding_rate": ("funding_rate", 8 * HOUR), "open_interest": ("open_interest", 10 * MINUTE)}  # fmt: skip
    times, starts, rows = microseconds(statements, f"ts_{clock}"), minutes_of(day), []
    since = starts[0] - 24 * HOUR
    for start in starts:
        row: dict[str, Value] = {"funding_interval_h": None, "is_stale": 0}
        youngest = None
        for name, (stated, limit) in carried.items():
            values = statements[stated].to_list() if stated in statements.columns else [None] * len(times)
            value, age = last_stated(times, values, start + MINUTE, since)
            row[name] = value if age is not None and age <= limit else None
            if age is not None:
                youngest = age if youngest is None else min(age, youngest)
                interval_h = (
                    interval_of_last(statements, times, start + MINUTE, since) if name == "funding_rate" else None
                )
                fresh = (interval_h or 8) * HOUR if name == "funding_rate" else 2 * MINUTE
                if name == "funding_rate" and age <= limit:
                    row["funding_interval_h"] = interval_h
                row["is_stale"] = 1 if age > fresh else row["is_stale"]
        alive = youngest is not None and youngest <= 10 * MINUTE
        for side in ("buy", "sell"):
            row[f"liq_{side}_usd"] = None
            if liquidations is not None:
                orders = zip(
                    microseconds(liquidations, f"ts_{clock}"), *liquidations["side", "price", "amount"], strict=True
                )
                inside = [order for order in orders if start <= order[0] < start + MINUTE]
                if alive or inside:
                    row[f"liq_{side}_usd"] = sum((price * amount for _, s, price, amount in inside if s == side), 0.0)
        rows.append(row)
    return rows


def fx_1m(trades: dict[str, pl.DataFrame], day: date) -> list[dict[str, Value | str]]:
    """Return the price of USDT, one dictionary per minute."""
    rows: list[dict[str, Value | str]] = []
    starts = minutes_of(day)
    for start in starts:
        row: dict[str, Value | str] = {"source": None, "usdt_usd": None, "is_stale": None}
        for venue, minutes in trades.items():
            known = [(t, c) for t, c in zip(microseconds(minutes, "ts"), minutes["close"].to_list(), strict=True)
                     if c is not None and starts[0] - 24 * HOUR <= t <= start]  # fmt: skip
            if not known:
                continue
            at, close = max(known)
            row["is_stale"] = 1 if row["is_stale"] is None else row["is_stale"]
            if row["source"] is None and start - at <= 60 * MINUTE:
                row = {"source": venue, "usdt_usd": close, "is_stale": int(start - at > 5 * MINUTE)}
        rows.append(row)
    return rows
