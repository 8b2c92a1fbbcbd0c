"""A local server that speaks the wire formats of the sources: Tardis dataset files and Coinbase candles.

The market it serves is made in ``market.py``; the clients are the real ones (tardis-dev, ccxt), of which only
the base URL differs. Two modes, never mixed: a simulated market, or recordings served byte for byte.

Tardis    GET /v1/{exchange}/{data_type}/{yyyy}/{mm}/{dd}/{SYMBOL}.csv.gz
          The first day of each month is free; the others want ``Authorization: Bearer <key>`` if the server
          has a key. https://docs.tardis.dev/downloadable-csv-files
Coinbase  GET /api/v3/brokerage/market/products/{product_id}/candles?start=&end=&granularity=
          As ccxt 4.5 asks for it: newest first, cells are text, at most 350 candles a request. A candle that
          opens exactly at ``end`` is included, so a client that pages must drop what it has.
          https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles
"""

import gzip
import hmac
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import polars as pl
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from crpbot_dagster.sandbox import (
    coinbase_trades,
    coingecko,
    crypto_lake,
    cryptocompare,
    daily_series,
    deribit,
    derivatives,
    kraken,
    kraken_futures,
    venues,
)
from crpbot_dagster.sandbox import market as simulated
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.quotes import quotes
from crpbot_dagster.sandbox.world import NotServed, World

VENUE = "coinbase"  # the simulated market's own
DATA_TYPES = frozenset(
    {
        "book_snapshot_25",
        "book_snapshot_5",
        "book_ticker",
        "derivative_ticker",
        "incremental_book_L2",
        "liquidations",
        "options_chain",
        "quotes",
        "trades",
    }
)  # https://docs.tardis.dev/downloadable-csv-files
MAKERS = {
    (VENUE, "trades"): simulated.tape,
    (VENUE, "incremental_book_L2"): simulated.book,
    (VENUE, "book_snapshot_25"): simulated.snapshots,
    (VENUE, "quotes"): quotes,
    ("binance-futures", "derivative_ticker"): derivatives.ticker,
    ("binance-futures", "liquidations"): derivatives.liquidations,
    ("deribit", "options_chain"): derivatives.options_chain,
}
"""Exchange and data type → what makes a day of them."""

VENDORS = (coinbase_trades, kraken, kraken_futures, deribit, cryptocompare, coingecko, crypto_lake, daily_series)
"""The modules that serve the other sources, each by its ``routes(world)``."""

GRANULARITIES = {"ONE_MINUTE": 60, "ONE_DAY": 86_400}
MAX_CANDLES = 350  # Coinbase, Get Public Product Candles; ccxt asks for 300
START_SECONDS = 10.0  # how long uvicorn may take to listen
STOP_SECONDS = 5

_EXCHANGE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SYMBOL = re.compile(r"[A-Z0-9]+([-_][A-Z0-9]+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SECONDS = re.compile(r"\d{1,11}", re.ASCII)


class Source(Protocol):
    """Where the bytes come from."""

    def dataset(self, exchange: str, data_type: str, symbol: str, day: date) -> bytes:
        """Return the gzipped CSV of one symbol and day, or raise NotServed."""

    def candles(self, product: str, start: datetime, end: datetime, seconds: int) -> pl.DataFrame:
        """Return ts, open, high, low, close, volume of the candles opening in [start, end), oldest first."""


@dataclass(frozen=True)
class Simulation(World):
    """The simulated market as Tardis' files and Coinbase's candles."""

    def dataset(self, exchange: str, data_type: str, symbol: str, day: date) -> bytes:
        """Write the day in Tardis' columns, gzipped; the same bytes each time."""
        make = MAKERS.get((exchange, data_type))
        if make is None:
            raise NotServed(f"the sandbox simulates no {data_type} of {exchange}")
        if day >= self.unfinished():
            raise NotServed(f"{day} is not over yet")
        try:
            with self.lock:
                frame = make(self.market, symbol, day)
        except (simulated.NoSuchDay, simulated.NoSuchSymbol) as error:
            raise NotServed(str(error)) from error
        rows = frame.select(
            pl.lit(exchange).alias("exchange"),
            # A file of a group of symbols names each row's.
            pl.col("symbol") if "symbol" in frame.columns else pl.lit(symbol).alias("symbol"),
            pl.col("ts_exchange").alias("timestamp"),
            pl.col("ts_received").alias("local_timestamp"),
            pl.exclude("symbol", "ts_exchange", "ts_received"),
        )
        text = self.faults.spoil(data_type, symbol, day, rows.write_csv(float_scientific=False).encode())
        return gzip.compress(text, compresslevel=1, mtime=0)

    def candles(self, product: str, start: datetime, end: datetime, seconds: int) -> pl.DataFrame:
        """Build the candles of the finished days from the tape."""
        over = datetime.combine(self.unfinished(), datetime.min.time(), UTC)
        try:
            with self.lock:
                if product == venues.USDT and seconds == GRANULARITIES["ONE_MINUTE"]:
                    return venues.usdt_minutes(self.market, start, min(end, over))
                return candles(self.market, product, start, min(end, over), seconds)
        except simulated.NoSuchSymbol as error:
            raise NotServed(str(error)) from error


@dataclass(frozen=True)
class Recordings:
    """Files: tardis/{exchange}/{type}/{day}/{SYMBOL}.csv.gz and candles/coinbase/{product}.parquet."""

    folder: Path

    def dataset(self, exchange: str, data_type: str, symbol: str, day: date) -> bytes:
        """Read the file as it lies there."""
        path = self.folder / "tardis" / exchange / data_type / day.isoformat() / f"{symbol}.csv.gz"
        if not path.is_file():
            raise NotServed(f"no recording of {exchange} {data_type} {symbol} on {day}")
        return path.read_bytes()

    def candles(self, product: str, start: datetime, end: datetime, seconds: int) -> pl.DataFrame:
        """Read the minutes, or fold those there are into days; a day without a minute is absent."""
        path = self.folder / "candles" / VENUE / f"{product}.parquet"
        if not path.is_file():
            raise NotServed(f"no recorded candles of {product} at {VENUE}")
        opened = pl.col("ts").dt.truncate(f"{seconds}s")
        return (
            pl.scan_parquet(path)
            .filter(opened >= start, opened < end)
            .sort("ts")
            .group_by(opened, maintain_order=True)
            .agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
            )
            .collect()
        )


def create_app(
    market: MarketSpec | None,
    recordings: Path | None,
    api_key: str | None,
    today: date | Callable[[], date] | None = None,
) -> Starlette:
    """Return the ASGI app of a simulated market or of a folder of recordings: exactly one of the two.

    ``api_key`` is what the Tardis route asks for (none: everything is free). ``today`` is the first day the
    simulated market has not finished, and so does not serve; a function is asked each time, and without either the
    wall clock decides.
    """
    source: Source
    extra = []
    if market is not None and recordings is None:
        source = Simulation(market, _clock(today))
        extra = [source.faults.route()]
        for vendor in VENDORS:
            extra += vendor.routes(source)
    elif recordings is not None and market is None:
        source = Recordings(recordings)
    else:
        raise ValueError("serve either a simulated market or recordings")
    candles = "/api/v3/brokerage/market/products/{product}/candles"
    app = Starlette(
        routes=[
            Route("/v1/{exchange}/{data_type}/{yyyy}/{mm}/{dd}/{symbol}.csv.gz", _tardis_dataset),
            Route(candles, _coinbase_candles),
            *extra,
        ],
        exception_handlers={HTTPException: _tardis_error},
    )
    app.state.source, app.state.api_key = source, api_key
    if isinstance(source, Simulation):
        app.add_middleware(source.faults.before)
    return app


def _clock(today: date | Callable[[], date] | None) -> Callable[[], date]:
    if today is None:
        return lambda: datetime.now(UTC).date()
    return today if callable(today) else lambda: today


@contextmanager
def serve(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Run the app in a thread of this process and yield its base URL; port 0 takes a free one."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    with socket.create_server((host, port)) as door:
        thread = threading.Thread(target=server.run, args=([door],), name="sandbox-server", daemon=True)
        thread.start()
        try:
            _wait_until_it_accepts(server, thread)
            yield f"http://{host}:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=2 * STOP_SECONDS)


def _wait_until_it_accepts(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the sandbox server did not start")
        time.sleep(0.005)


def _tardis_error(_: Request, error: Exception) -> Response:
    refusal = cast(HTTPException, error)  # the only type this handler is registered for
    return JSONResponse({"code": refusal.status_code, "message": refusal.detail}, refusal.status_code)


def _tardis_dataset(request: Request) -> Response:
    path = request.path_params
    exchange, data_type, symbol = path["exchange"], path["data_type"], path["symbol"]
    if data_type not in DATA_TYPES:
        raise HTTPException(400, f"unknown data type; there are {', '.join(sorted(DATA_TYPES))}")
    if not _EXCHANGE.fullmatch(exchange) or not _SYMBOL.fullmatch(symbol):
        raise HTTPException(404, "no such exchange or symbol")
    day = _day(path["yyyy"], path["mm"], path["dd"])
    if not _may_read(request, day):
        raise HTTPException(401, "a valid API key is needed for all but the first day of each month")
    try:
        content = request.app.state.source.dataset(exchange, data_type, symbol, day)
    except NotServed as error:
        raise HTTPException(404, str(error)) from error
    return Response(content, headers={"content-type": "text/csv"})


def _day(yyyy: str, mm: str, dd: str) -> date:
    text = f"{yyyy}-{mm}-{dd}"
    if not _DAY.fullmatch(text):
        raise HTTPException(404, "a day is written YYYY/MM/DD")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise HTTPException(404, f"there is no {text}") from error


def _may_read(request: Request, day: date) -> bool:
    key = request.app.state.api_key
    if key is None or day.day == 1:
        return True
    shown = request.headers.get("authorization", "")
    return hmac.compare_digest(shown.encode(), f"Bearer {key}".encode())


def _coinbase_error(status: int, error: str, message: str) -> Response:
    return JSONResponse({"error": error, "error_details": message, "message": message}, status)


def _coinbase_candles(request: Request) -> Response:
    product, query = request.path_params["product"], request.query_params
    seconds = GRANULARITIES.get(query.get("granularity", ""))
    if seconds is None:
        return _coinbase_error(400, "INVALID_ARGUMENT", f"granularity is one of {', '.join(GRANULARITIES)}")
    if not all(_SECONDS.fullmatch(query.get(name, "")) for name in ("start", "end")):
        return _coinbase_error(400, "INVALID_ARGUMENT", "start and end are UNIX seconds")
    start, end = int(query["start"]), int(query["end"])
    if end < start or (end - start) // seconds > MAX_CANDLES:
        return _coinbase_error(400, "INVALID_ARGUMENT", f"a request spans 0 to {MAX_CANDLES} candles")
    if not _SYMBOL.fullmatch(product):
        return _coinbase_error(404, "NOT_FOUND", "no such product")
    first, stop = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC) + timedelta(seconds=1)
    try:
        frame = request.app.state.source.candles(product, first, stop, seconds)
    except NotServed as error:
        return _coinbase_error(404, "NOT_FOUND", str(error))
    return JSONResponse({"candles": [_coinbase_candle(row) for row in frame.reverse().iter_rows(named=True)]})


def _coinbase_candle(row: dict[str, Any]) -> dict[str, str]:
    # Plain decimals, never 1e-05.
    names = ("low", "high", "open", "close", "volume")
    cells = {name: np.format_float_positional(row[name], trim="-") for name in names}
    return {"start": str(int(row["ts"].timestamp())), **cells}
