"""Deribit's public interface: funding, options, the volatility index; all of it derived from the market.

    GET /api/v2/public/get_funding_rate_history?instrument_name=&start_timestamp=&end_timestamp=
        ``interest_1h`` of the hour that ended at the stamp; ``interest_8h``, the sum of the last eight.
    GET .../get_volatility_index_data?currency=&start_timestamp=&end_timestamp=&resolution=3600
        [ms, open, high, low, close] in per cent: the latent volatility of the hours, times 1.05.
    GET .../get_last_trades_by_currency_and_time?currency=&kind=option&start_timestamp=&end_timestamp=&count=
        Oldest first (&sorting=asc). A Poisson number of trades an hour, mean 40 at density 1, 45 % of them puts, near
        the money, on the four expiries of the summary.
    GET .../get_book_summary_by_currency?currency=&kind=option
        As the last finished day ended: four expiries (7, 14, 35 and 70 days on), eleven strikes from -25 % to +25 %,
        volatility rising to the low strikes: the 25-delta put is dearer than the call.

Moments are UNIX milliseconds, both ends included. https://docs.deribit.com/api-reference/market-data
"""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox import market, venues
from crpbot_dagster.sandbox.coinbase_trades import day_of
from crpbot_dagster.sandbox.world import World

PERPETUALS = {"BTC-PERPETUAL": "BTC-USD", "ETH-PERPETUAL": "ETH-USD", "SOL_USDC-PERPETUAL": "SOL-USD"}
CURRENCIES = {"BTC": "BTC-USD", "ETH": "ETH-USD"}
EXPIRY_DAYS = (7, 14, 35, 70)
MONEYNESS = tuple(round(0.75 + 0.05 * i, 2) for i in range(11))
INDEX_OVER_LATENT = 1.05
TRADES_AN_HOUR = 40
PUT_SHARE = 0.45
SMILE = (-0.25, 0.8)  # slope and curvature of the volatility in log-moneyness
LIMIT = 1000


class Refused(ValueError):
    """An argument is not one of the interface's; the message names it."""


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    def endpoint(name: str, answer: Callable[[World, Any], Any]) -> Route:
        def handle(request: Request) -> Response:
            try:
                with world.lock:
                    return JSONResponse({"jsonrpc": "2.0", "result": answer(world, request.query_params)})
            except Refused as error:
                wrong = {"code": -32602, "message": "Invalid params", "data": {"reason": str(error)}}
                return JSONResponse({"jsonrpc": "2.0", "error": wrong}, 400)

        return Route(f"/deribit/api/v2/public/{name}", handle)

    return [
        endpoint("get_funding_rate_history", _funding),
        endpoint("get_volatility_index_data", _dvol),
        endpoint("get_last_trades_by_currency_and_time", _option_trades),
        endpoint("get_book_summary_by_currency", _summary),
    ]


def _one_of(known: dict[str, str], query: Any, name: str) -> str:
    if query.get(name) not in known:
        raise Refused(f"invalid {name}")
    return known[query[name]]


def _span(query: Any) -> tuple[int, int]:
    texts = [query.get(n, "") for n in ("start_timestamp", "end_timestamp")]
    if not all(t.isascii() and t.isdigit() and len(t) < 15 for t in texts):
        raise Refused("start_timestamp and end_timestamp are milliseconds")
    return int(texts[0]), int(texts[1])


def _days(world: World, start: int, end: int) -> list[date]:
    first = max(day_of(str(start), 1000), market.EPOCH)
    last = min(day_of(str(end), 1000), world.unfinished() - timedelta(days=1))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _funding(world: World, query: Any) -> list[dict[str, Any]]:
    symbol, (start, end) = _one_of(PERPETUALS, query, "instrument_name"), _span(query)
    rate = pl.col("rate_1h")
    rows = venues.funding(world.market, symbol, "deribit", world.unfinished()).select(
        pl.col("ts").dt.epoch("ms").alias("timestamp"),
        pl.col("log_price").exp().round(2).alias("index_price"),
        rate.rolling_sum(8, min_samples=1).round(12).alias("interest_8h"),
        rate.alias("interest_1h"),
    )
    return rows.filter(pl.col("timestamp").is_between(start, end)).head(744).to_dicts()


def _hours(world: World, symbol: str, day: date) -> pl.DataFrame:
    # Each hour's start, its mean volatility in per cent a year, and the price at its end.
    minutes = market.latent(world.market, symbol, day, day)
    return minutes.group_by_dynamic("ts", every="1h").agg(
        (pl.col("sigma").mean() * math.sqrt(market.YEAR_MINUTES) * 100 * INDEX_OVER_LATENT).round(4).alias("dvol"),
        pl.col("log_price").last().exp().alias("price"),
    )


def _dvol(world: World, query: Any) -> dict[str, Any]:
    symbol, (start, end) = _one_of(CURRENCIES, query, "currency"), _span(query)
    if query.get("resolution") != "3600":
        raise Refused("resolution of the sandbox is 3600")
    data = []
    for day in _days(world, start, end):
        for at, dvol in _hours(world, symbol, day).select("ts", "dvol").iter_rows():
            if start <= (ms := int(at.timestamp() * 1000)) <= end:
                data.append([ms, dvol, dvol, dvol, dvol])
    return {"data": data, "continuation": None}


def _expiries(day: date) -> list[date]:
    return [day + timedelta(days=n) for n in EXPIRY_DAYS]


def _name(currency: str, expiry: date, strike: float, is_put: bool) -> str:
    return f"{currency}-{expiry.day}{expiry:%b%y}-{strike:.0f}-{'P' if is_put else 'C'}".upper()


def _strikes(price: float) -> list[float]:
    return [float(f"{price * m:.2g}") for m in MONEYNESS]


def _trades_of_day(world: World, currency: str, day: date) -> list[dict[str, Any]]:
    symbol = CURRENCIES[currency]
    rng = market._generator(world.market.seed, symbol, day.isoformat(), "option trades")
    made: list[dict[str, Any]] = []
    for at, _, price in _hours(world, symbol, day).iter_rows():
        n = int(rng.poisson(TRADES_AN_HOUR * world.market.density))
        ms = int(at.timestamp() * 1000) + np.sort(rng.integers(0, 3_600_000, n))
        strikes, expiries = _strikes(price), _expiries(day)
        for stamp in ms:
            expiry, strike = expiries[rng.integers(4)], strikes[rng.integers(3, 8)]
            name = _name(currency, expiry, strike, bool(rng.random() < PUT_SHARE))
            number = ((day - market.EPOCH).days + 1) * 1_000_000 + len(made)
            made.append(
                {
                    "trade_seq": len(made),
                    "trade_id": str(number) if currency == "BTC" else f"{currency}-{number}",
                    "timestamp": int(stamp),
                    "instrument_name": name,
                    "index_price": round(price, 2),
                    "direction": "buy" if rng.random() < 0.5 else "sell",
                    "amount": float(rng.integers(1, 50)) / 10,
                }
            )
    return made


def _option_trades(world: World, query: Any) -> dict[str, Any]:
    _one_of(CURRENCIES, query, "currency")
    start, end = _span(query)
    count = query.get("count", "10")
    if query.get("kind") != "option" or query.get("sorting") != "asc" or not count.isdigit():
        raise Refused("the sandbox knows kind option, sorting asc and a count")
    found = [
        t
        for day in _days(world, start, end)
        for t in _trades_of_day(world, query["currency"], day)
        if start <= t["timestamp"] <= end
    ]
    page = found[: min(int(count), LIMIT)]
    return {"trades": page, "has_more": len(page) < len(found)}


def _summary(world: World, query: Any) -> list[dict[str, Any]]:
    symbol, currency = _one_of(CURRENCIES, query, "currency"), query["currency"]
    day = world.unfinished() - timedelta(days=1)
    if query.get("kind") != "option":
        raise Refused("the sandbox knows kind option")
    _, dvol, price = _hours(world, symbol, day).row(-1)
    rng = market._generator(world.market.seed, symbol, day.isoformat(), "open interest")
    made = []
    for expiry in _expiries(day):
        for strike in _strikes(price):
            for is_put in (True, False):
                away = math.log(strike / price)
                iv = dvol * (1 + SMILE[0] * away + SMILE[1] * away**2)
                made.append(
                    {
                        "instrument_name": _name(currency, expiry, strike, is_put),
                        "open_interest": round(float(rng.uniform(0, 500)), 1),
                        "mark_iv": round(iv, 2),
                        "underlying_price": round(price, 2),
                        "creation_timestamp": int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
                        + 86_400_000,
                    }
                )
    return made
