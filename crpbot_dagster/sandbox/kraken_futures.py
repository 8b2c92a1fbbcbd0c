"""Kraken Futures' REST interface: the settled funding rates of a perpetual, derived from the market (``venues.py``).

GET /derivatives/api/v4/historicalfundingrates?symbol=PF_XBTUSD
    The whole series at once, oldest first: ``relativeFundingRate`` is the fraction of the hour that begins at the
    stamp, ``fundingRate`` the same in dollars a coin.
    https://docs.kraken.com/api/docs/futures-api/trading/historical-funding-rates
"""

from functools import lru_cache

import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox import venues
from crpbot_dagster.sandbox.world import World

CONTRACTS = {"PF_XBTUSD": "BTC-USD", "PF_ETHUSD": "ETH-USD", "PF_SOLUSD": "SOL-USD"}


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    @lru_cache(maxsize=8)
    def series(contract: str, until: object) -> bytes:
        # Years of hours, asked for day by day: written once.
        with world.lock:
            rates = venues.funding(world.market, CONTRACTS[contract], "kraken_futures", world.unfinished())
        rows = rates.select(
            pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%S.000Z").alias("timestamp"),
            (pl.col("rate_1h") * pl.col("log_price").exp()).round(9).alias("fundingRate"),
            pl.col("rate_1h").alias("relativeFundingRate"),
        )
        return b'{"result":"success","rates":' + rows.write_json().encode() + b"}"

    def historical(request: Request) -> Response:
        contract = request.query_params.get("symbol", "")
        if contract not in CONTRACTS:
            errors = [{"code": 11, "message": "Argument invalid: symbol"}]
            return JSONResponse({"status": "BAD_REQUEST", "result": "error", "errors": errors}, 400)
        return Response(series(contract, world.unfinished()), media_type="application/json")

    return [Route("/kraken_futures/derivatives/api/v4/historicalfundingrates", historical)]
