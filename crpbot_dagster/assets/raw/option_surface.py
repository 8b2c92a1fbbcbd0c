"""An options book summary to four numbers of a currency, open interest and the 30-day surface; the hours they stand in.

The implied volatility at the money and the 25-delta skew are read on each of the two expiries around 30 days, between
strikes linearly in delta, and between the expiries linearly in total variance.
Not here: how the summary is asked for and what a record must hold (``deribit.py``).
Source: Black (1976), The Pricing of Commodity Contracts, Journal of Financial Economics 3, 167-179, for the delta of an
option on a forward, undiscounted; interpolation as docs/conventions.md, options.
"""

from datetime import UTC, date, datetime, timedelta
from statistics import NormalDist

import numpy as np
import polars as pl

CURRENCIES = ("BTC", "ETH")
TARGET_DAYS = 30.0
YEAR_DAYS = 365.0
DELTAS = {"put_25": -0.25, "call_25": 0.25}
NORMAL = NormalDist()


def hours_of(day: date, currencies: tuple[str, ...]) -> pl.DataFrame:
    """Return currency, hour and when it is known, 24 rows of ``day`` for each currency."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    hours = pl.datetime_range(start, start + timedelta(hours=23), "1h", time_unit="us", eager=True).alias("hour")
    return (
        pl.DataFrame({"currency": currencies})
        .join(pl.DataFrame({"hour": hours}), how="cross")
        .with_columns((pl.col("hour") + pl.duration(hours=1, minutes=1)).alias("available_ts"))
    )


def summarised(options: pl.DataFrame, taken: datetime) -> dict[str, float | None]:
    """Return put_oi, call_oi, atm_iv_frac and skew_25d_frac; the last two null without expiries around 30 days.

    Parameters
    ----------
    options : expiry (UTC), strike (USD), is_put, open_interest (coin), iv (frac a year), forward (USD)
        One row per option.
    taken : when; expiries before it are over.

    Returns
    -------
    Coin, coin, frac a year, frac a year.
    """
    interest = options.group_by("is_put").agg(pl.col("open_interest").sum())
    by_side = dict(interest.iter_rows())
    smiles = []
    for (expiry,), of_one in options.filter(pl.col("expiry") > taken).sort("strike").group_by("expiry"):
        days = (expiry - taken).total_seconds() / 86_400  # type: ignore[operator]
        if (smile := _smile(of_one, days / YEAR_DAYS)) is not None:
            smiles.append((days, smile))
    at = {name: _at_target([(d, s[name]) for d, s in sorted(smiles)]) for name in ("atm", *DELTAS)}
    put, call = at["put_25"], at["call_25"]
    return {
        "put_oi": by_side.get(True, 0.0),
        "call_oi": by_side.get(False, 0.0),
        "atm_iv_frac": at["atm"],
        "skew_25d_frac": None if put is None or call is None else put - call,
    }


def _smile(options: pl.DataFrame, years: float) -> dict[str, float] | None:
    """Return the volatilities at the money and at 25 delta of one expiry, None where its strikes do not reach."""
    forward = float(options["forward"].mean())  # type: ignore[arg-type]
    found = {}
    for is_put, delta, name in ((True, -0.25, "put_25"), (False, 0.25, "call_25")):
        side = options.filter(pl.col("is_put") == is_put)
        deltas = np.array([_delta(r["strike"], forward, r["iv"], years, is_put) for r in side.iter_rows(named=True)])
        order = np.argsort(deltas)
        if len(order) < 2 or not deltas[order[0]] <= delta <= deltas[order[-1]]:
            return None
        found[name] = float(np.interp(delta, deltas[order], side["iv"].to_numpy()[order]))
    strikes = options.group_by("strike").agg(pl.col("iv").mean()).sort("strike")
    if not strikes["strike"][0] <= forward <= strikes["strike"][-1]:
        return None
    found["atm"] = float(np.interp(forward, strikes["strike"].to_numpy(), strikes["iv"].to_numpy()))
    return found


def _delta(strike: float, forward: float, iv: float, years: float, is_put: bool) -> float:
    spread = iv * years**0.5
    d1 = np.log(forward / strike) / spread + spread / 2
    return NORMAL.cdf(d1) - (1.0 if is_put else 0.0)


def _at_target(points: list[tuple[float, float]]) -> float | None:
    """Return the volatility at 30 days of (days, volatility) sorted by days, None unless two lie around."""
    before = [p for p in points if p[0] <= TARGET_DAYS]
    after = [p for p in points if p[0] > TARGET_DAYS]
    if not before or not after:
        return None
    (near, low), (far, high) = before[-1], after[0]
    share = (TARGET_DAYS - near) / (far - near)
    variance = (1 - share) * low**2 * near + share * high**2 * far
    return float((variance / TARGET_DAYS) ** 0.5)
