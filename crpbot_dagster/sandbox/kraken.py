"""Kraken's REST interface: trades of a venue with its own lag, spread and outages (``venues.py``).

GET /0/public/Trades?pair=&since=&count=
    Oldest first, at most 1,000, later than ``since`` (nanoseconds); ``last`` is the nanosecond of the last one, to be
    sent as the next ``since``. A trade is [price, volume, seconds, b or s (the taker), m or l, misc, id].
    https://docs.kraken.com/api/docs/rest-api/get-recent-trades
"""

from datetime import timedelta
from typing import Any

import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox import market, venues
from crpbot_dagster.sandbox.coinbase_trades import day_of
from crpbot_dagster.sandbox.world import World

LIMIT = 1000
PAIRS = {"XXBTZUSD": "BTC-USD", "XETHZUSD": "ETH-USD", "SOLUSD": "SOL-USD"}


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    def trades(request: Request) -> Response:
        query = request.query_params
        pair, since = query.get("pair", ""), query.get("since", "0")
        if pair not in PAIRS:
            return JSONResponse({"error": ["EQuery:Unknown asset pair"]})
        count = query.get("count", str(LIMIT))
        if not all(t.isascii() and t.isdigit() and len(t) < 20 for t in (since, count)):
            return JSONResponse({"error": ["EGeneral:Invalid arguments"]})
        rows = _after(world, PAIRS[pair], int(since), min(int(count), LIMIT))
        last = str(rows[-1]["ts_exchange"] * 1000) if rows else since
        found = [_record(PAIRS[pair], row) for row in rows]
        return JSONResponse({"error": [], "result": {pair: found, "last": last}})

    return [Route("/kraken/0/public/Trades", trades)]


def _after(world: World, symbol: str, since_ns: int, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    day = max(day_of(str(since_ns), 10**9), market.EPOCH)
    while len(found) < count and day < world.unfinished():
        with world.lock:
            tape = venues.kraken_tape(world.market, symbol, day)
        later = tape.filter(pl.col("ts_exchange") > since_ns // 1000).head(count - len(found))
        found += later.iter_rows(named=True)
        day += timedelta(days=1)
    return found


def _record(symbol: str, row: dict[str, Any]) -> list[Any]:
    price = f"{row['price']:.{max(5, venues.decimals(symbol))}f}"
    return [price, f"{row['amount']:.8f}", row["ts_exchange"] / 1e6, row["side"][0], "m", "", row["id"]]
