"""Coinbase's trades as its REST interface sends them, from the tape that Tardis' files are made of.

GET /api/v3/brokerage/market/products/{product_id}/ticker?limit=&start=&end=
    Newest first, at most 1,000, from ``start`` to ``end`` in UNIX seconds, both included; cells are text, and ``side``
    is the maker's.
    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.world import World

LIMIT = 1000
MAKER = {"buy": "SELL", "sell": "BUY"}


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    def ticker(request: Request) -> Response:
        product, query = request.path_params["product"], request.query_params
        if product not in market.SYMBOLS:
            return _refusal(404, "NOT_FOUND", "no such product")
        texts = {name: query.get(name, "") for name in ("limit", "start", "end")}
        if not all(text.isascii() and text.isdigit() and len(text) < 12 for text in texts.values()):
            return _refusal(400, "INVALID_ARGUMENT", "limit is a number, start and end are UNIX seconds")
        limit, start, end = (int(texts[n]) for n in ("limit", "start", "end"))
        found = _trades(world, product, start, end, min(limit, LIMIT))
        return JSONResponse({"trades": found, "best_bid": "", "best_ask": ""})

    return [Route("/api/v3/brokerage/market/products/{product}/ticker", ticker)]


def _refusal(status: int, error: str, message: str) -> Response:
    return JSONResponse({"error": error, "error_details": message, "message": message}, status)


def _trades(world: World, product: str, start: int, end: int, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    day = min(datetime.fromtimestamp(end, UTC).date(), world.unfinished() - timedelta(days=1))
    while len(found) < limit and day >= max(market.EPOCH, datetime.fromtimestamp(start, UTC).date()):
        with world.lock:
            tape = market.tape(world.market, product, day)
        at = pl.col("ts_exchange")
        rows = tape.filter(at >= start * 1_000_000, at < (end + 1) * 1_000_000).reverse().head(limit - len(found))
        found += [_record(product, row) for row in rows.iter_rows(named=True)]
        day -= timedelta(days=1)
    return found


def _record(product: str, row: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row["ts_exchange"])
    return {
        "trade_id": row["id"],
        "product_id": product,
        "price": decimal(row["price"]),
        "size": decimal(row["amount"]),
        "time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "side": MAKER[row["side"]],
        "bid": "",
        "ask": "",
        "exchange": "coinbase",
    }


def decimal(value: float) -> str:
    """Return a number as plain decimals, never 1e-05."""
    return np.format_float_positional(value, trim="-")


def day_of(text: str, unit: int) -> date:
    """Return the UTC day of an epoch number of ``unit`` to the second."""
    return datetime.fromtimestamp(int(text) // unit, UTC).date()
