"""Ten features of the clock and the exchanges' calendars, and the New York trading days that others count in.

Flags and countdowns look at the moment a row is known, one minute after its start. Sessions, holidays and early closes
of the NYSE come from ``exchange_calendars``, https://github.com/gerrymanoim/exchange_calendars; the hours of Tokyo and
London from https://www.jpx.co.jp/english/equities/trading/domestic/01.html and
https://www.londonstockexchange.com/equities-trading/business-days. Regular holidays are known years ahead, an
unscheduled closure from its announcement: the library knows it all along, ``ANNOUNCED`` says since when a trader could.
"""

import functools
from datetime import date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crpbot_dagster.assets.features.windows import Floats

Ints = NDArray[np.int64]

NEW_YORK = ZoneInfo("America/New_York")
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
FIRST_YEAR = 2009  # before the first bitcoin price; sessions are listed from here
TOKYO_LONGER_SINCE = date(2024, 11, 5)  # the Tokyo Stock Exchange closes at 15:30 instead of 15:00
FUNDING_MINUTES = 480  # 00:00, 08:00, 16:00 UTC
WEEK_MINUTES = 10_080
EXPIRY_MINUTE = 1440 + 8 * 60  # Friday 08:00 UTC, in minutes after a Thursday's midnight as is 1970-01-01's

# Closed day → the announcement by press release of the NYSE, taken as the end of that day in New York.
ANNOUNCED = {
    date(2012, 10, 29): datetime(2012, 10, 28, 23, 59, tzinfo=NEW_YORK),  # hurricane Sandy
    date(2012, 10, 30): datetime(2012, 10, 29, 23, 59, tzinfo=NEW_YORK),
    date(2018, 12, 5): datetime(2018, 12, 1, 23, 59, tzinfo=NEW_YORK),  # mourning of George H. W. Bush
    date(2025, 1, 9): datetime(2024, 12, 30, 23, 59, tzinfo=NEW_YORK),  # mourning of Jimmy Carter
}


def microseconds(ts: pl.Series) -> Ints:
    """Return moments as microseconds since 1970."""
    return ts.dt.epoch("us").to_numpy()


@functools.cache
def _sessions(last_year: int) -> tuple[Ints, Ints, Ints, tuple[date, ...]]:
    """Return days (since 1970), opens and closes (microseconds) of the NYSE, and its unscheduled closures."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XNYS", start=f"{FIRST_YEAR}-01-01", end=f"{last_year}-12-31")
    closures = tuple(d.date() for d in calendar.adhoc_holidays if d.year >= FIRST_YEAR)
    days = calendar.sessions_nanos // (1000 * DAY_US)
    return days, calendar.opens_nanos // 1000, calendar.closes_nanos // 1000, closures


def _known_from(closure: date) -> int:
    """Return when a closure could be known, microseconds; without an announcement, its own midnight in New York."""
    own_midnight = datetime(closure.year, closure.month, closure.day, tzinfo=NEW_YORK)
    return int(ANNOUNCED.get(closure, own_midnight).timestamp()) * 1_000_000


def _year(moment: int) -> int:
    return int(moment // (DAY_US * 365.2425)) + 1970


def sessions_known_at(moment: int, last_year: int) -> tuple[Ints, Ints, Ints]:
    """Return days, opens and closes of the NYSE's sessions to the end of a year as announced at ``moment``, µs."""
    days, opens, closes, closures = _sessions(last_year)
    for closure in closures:
        if moment < _known_from(closure):
            day = (closure - date(1970, 1, 1)).days
            at = int(np.searchsorted(days, day))
            open_, close = (
                int(datetime(closure.year, closure.month, closure.day, h, m, tzinfo=NEW_YORK).timestamp()) * 1_000_000
                for h, m in ((9, 30), (16, 0))
            )
            days, opens, closes = np.insert(days, at, day), np.insert(opens, at, open_), np.insert(closes, at, close)
    return days, opens, closes


def session_days(last: int, count: int) -> Ints:
    """Return the last ``count`` trading days of the NYSE up to ``last``, oldest first; days since 1970."""
    days = _sessions(_year(last * DAY_US) + 1)[0]
    end = int(np.searchsorted(days, last, side="right"))
    return days[max(0, end - count) : end]


def _nyse(known: pl.Series) -> dict[str, Floats]:
    k = microseconds(known)
    new_york = known.dt.convert_time_zone("America/New_York")
    day = new_york.dt.date().cast(pl.Int32).to_numpy()
    weekday = new_york.dt.weekday().to_numpy()
    names = ("is_nyse_open", "is_nyse_holiday", "nyse_countdown_min")
    made = {name: np.full(len(k), np.nan) for name in names}
    last_year = _year(int(k[-1])) + 1
    news = [int(np.searchsorted(k, _known_from(c))) for c in _sessions(last_year)[3]]
    edges = sorted({0, len(k), *(at for at in news if 0 < at < len(k))})
    for start, end in pairwise(edges):  # between two announcements one calendar is known
        rows = slice(start, end)
        days, opens, closes = sessions_known_at(int(k[start]), last_year)
        following = np.searchsorted(opens, k[rows], side="right")
        is_open = closes[following - 1] > k[rows]
        until = np.where(is_open, closes[following - 1], opens[following]) - k[rows]
        made["is_nyse_open"][rows] = is_open
        made["is_nyse_holiday"][rows] = (weekday[rows] <= 5) & ~np.isin(day[rows], days)
        made["nyse_countdown_min"][rows] = until / MINUTE_US
    return made


def _is_open(known: pl.Series, zone: str, opens: int, closes: int | Floats) -> Floats:
    local = known.dt.convert_time_zone(zone)
    minute = local.dt.hour().to_numpy() * 60.0 + local.dt.minute().to_numpy()
    return ((local.dt.weekday().to_numpy() <= 5) & (opens <= minute) & (minute < closes)).astype(float)


def minute_of_day(ts: pl.Series) -> tuple[Floats, Floats]:
    """Return sine and cosine of the minute's place in its UTC day."""
    angle = 2 * np.pi * (60.0 * ts.dt.hour().to_numpy() + ts.dt.minute().to_numpy()) / 1440
    return np.sin(angle), np.cos(angle)


def funding_countdown(ts: pl.Series) -> Floats:
    """Return the share of eight hours from when a row is known to the next funding, in (0, 1]."""
    known = microseconds(ts) // MINUTE_US + 1
    return (FUNDING_MINUTES - known % FUNDING_MINUTES) / FUNDING_MINUTES


def clock_columns(ts: pl.Series) -> dict[str, Floats]:
    """Return the ten time features of V6 by name, float64[rows] each, never NaN.

    Parameters
    ----------
    ts : datetime[us, UTC]
        Starts of minutes, sorted. Each row reads its own moment and the calendar as announced by then.

    Source: the exchanges' published hours; Deribit's expiry is every Friday 08:00 UTC.
    """
    if ts.is_empty():
        return {}
    known = ts.dt.offset_by("1m")
    sine, cosine = minute_of_day(ts)
    minutes = microseconds(known) // MINUTE_US
    tokyo_day = known.dt.convert_time_zone("Asia/Tokyo").dt.date()
    tokyo_close = np.where((tokyo_day >= TOKYO_LONGER_SINCE).to_numpy(), 15 * 60 + 30.0, 15 * 60.0)
    return {
        "minute_of_day_sin": sine,
        "minute_of_day_cos": cosine,
        "day_of_week": ts.dt.weekday().to_numpy() - 1.0,
        "is_tokyo_open": _is_open(known, "Asia/Tokyo", 9 * 60, tokyo_close),
        "is_london_open": _is_open(known, "Europe/London", 8 * 60, 16 * 60 + 30),
        **_nyse(known),
        "funding_countdown_frac": funding_countdown(ts),
        "option_expiry_countdown_frac": (WEEK_MINUTES - (minutes - EXPIRY_MINUTE) % WEEK_MINUTES) / WEEK_MINUTES,
    }
