"""Crypto Lake's buckets: Parquet files in S3's protocol, answered by moto.

    qnt.data            market-data/cryptofeed/{table}/exchange=E/symbol=S/dt=YYYY-MM-DD/1.snappy.parquet
    sample.crypto.lake  {table}/exchange=…         the first day of each month, for whoever has no credentials

moto holds the objects and speaks the protocol. A listing shows every finished day with a placeholder; the file itself
is made when it is asked for, from the same tape and book as Tardis's, and leaves again once it was read. Columns are
those of cryptofeed, which the vendor records with; times are int64 nanoseconds. The vendor's login (a Lambda) is not
served: its client then reads S3 directly. Source: https://crypto-lake.com/data/
"""

import io
import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import polars as pl
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crpbot_dagster.sandbox import derivatives, market
from crpbot_dagster.sandbox.market import EPOCH, SYMBOLS, MarketSpec
from crpbot_dagster.sandbox.quotes import quotes
from crpbot_dagster.sandbox.world import World

BUCKETS = {"qnt.data": "market-data/cryptofeed/", "sample.crypto.lake": ""}
REGION = "eu-west-1"
PLACEHOLDER = b"not read yet"
PARTITION = re.compile(
    r"(?P<table>\w+)/exchange=(?P<exchange>\w+)/symbol=(?P<symbol>[\w-]+)/dt=(?P<day>\d{4}-\d{2}-\d{2})/1\.snappy\.parquet",
    re.ASCII,
)
ACCOUNTS = itertools.count(1)  # moto's stores are the process's: each world has its own


def trades(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the tape in the columns of ``trades``."""
    return _stamped(market.tape(spec, symbol, day)).select(
        "side", "amount", "price", pl.col("id").cast(pl.Int64), *CLOCKS
    )


def book_delta_v2(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the level updates in the columns of ``book_delta_v2``: no mark of a snapshot, size 0 removes."""
    return _stamped(market.book(spec, symbol, day)).select(
        *CLOCKS,
        pl.col("ts_received").rle_id().cast(pl.Int64).alias("sequence_number"),
        (pl.col("side") == "bid").alias("side_is_bid"),
        "price",
        pl.col("amount").alias("size"),
    )


def level_1(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the best quotes in the columns of ``level_1``."""
    return _stamped(quotes(spec, symbol, day)).select(
        *CLOCKS,
        pl.int_range(pl.len()).alias("sequence_number"),
        *(
            pl.col(f"{side}_{what}").alias(f"{side}_0_{name}")
            for side in ("bid", "ask")
            for what, name in (("price", "price"), ("amount", "size"))
        ),
    )


def funding(spec: MarketSpec, name: str, day: date) -> pl.DataFrame:
    """Return the perpetual's funding; the next moment is in seconds, as cryptofeed writes it."""
    return _stamped(derivatives.ticker(spec, name, day)).select(
        *CLOCKS,
        "mark_price",
        pl.col("funding_rate").alias("rate"),
        (pl.col("funding_timestamp") // 1_000_000).alias("next_funding_time"),
        pl.col("predicted_funding_rate").alias("predicted_rate"),
    )


def open_interest(spec: MarketSpec, name: str, day: date) -> pl.DataFrame:
    """Return the perpetual's open interest, each statement of it."""
    return _stamped(derivatives.ticker(spec, name, day)).drop_nulls("open_interest").select(*CLOCKS, "open_interest")


def liquidations(spec: MarketSpec, name: str, day: date) -> pl.DataFrame:
    """Return the perpetual's liquidation orders."""
    return _stamped(derivatives.liquidations(spec, name, day)).select(
        *CLOCKS, "side", pl.col("amount").alias("quantity"), "price", "id", pl.lit("filled").alias("status")
    )


CLOCKS = ("timestamp", "receipt_timestamp")
MAKERS: dict[str, Callable[[MarketSpec, str, date], pl.DataFrame]] = {
    m.__name__: m for m in (trades, book_delta_v2, level_1, funding, open_interest, liquidations)
}
# Exchange → its symbols as Crypto Lake writes them, and as the maker wants them.
SPOT = {"COINBASE": {s: s for s in SYMBOLS}}
PERPETUALS = {"BINANCE_FUTURES": {f"{n.removesuffix('USDT')}-USDT-PERP": n for n in derivatives.PERPETUALS}}
LISTED = {table: SPOT if table in ("trades", "book_delta_v2", "level_1") else PERPETUALS for table in MAKERS}


def _stamped(frame: pl.DataFrame) -> pl.DataFrame:
    clocks = zip(CLOCKS, ("ts_exchange", "ts_received"), strict=True)
    return frame.with_columns((pl.col(ours) * 1_000).alias(theirs) for theirs, ours in clocks)


@lru_cache(maxsize=4)  # a client asks for its size, then for the file
def day_file(spec: MarketSpec, table: str, exchange: str, symbol: str, day: date) -> bytes:
    """Return one day's file; the same bytes each time."""
    out = io.BytesIO()
    MAKERS[table](spec, LISTED[table][exchange][symbol], day).write_parquet(out, compression="snappy", statistics=False)
    return out.getvalue()


def _has(bucket: str, day: str) -> bool:
    return bucket != "sample.crypto.lake" or day.endswith("-01")


@dataclass
class Store:
    """One world's buckets in moto, made when first asked."""

    world: World
    account: str = field(default_factory=lambda: f"{next(ACCOUNTS):012d}")
    lock: threading.Lock = field(default_factory=threading.Lock)
    app: Any = None
    listed: dict[str, date] = field(default_factory=lambda: dict.fromkeys(BUCKETS, EPOCH))

    def answer(self, request: Request, path: str) -> Response:
        """Return what S3 answers to the request; anything but reading an object or a listing is refused."""
        bucket, _, key = path.partition("/")
        if bucket not in BUCKETS or request.method not in ("GET", "HEAD"):
            return Response(status_code=404)
        with self.lock:
            self._list_finished_days(bucket)
            wanted = self._wanted(bucket, key)
            if wanted is not None:
                with self.world.lock:
                    self._put(bucket, key, day_file(self.world.market, *wanted))
            answered = self._ask_moto(request, path)
            if wanted is not None:
                self._put(bucket, key, PLACEHOLDER)
        return answered

    def _wanted(self, bucket: str, key: str) -> tuple[str, str, str, date] | None:
        found = PARTITION.fullmatch(key.removeprefix(BUCKETS[bucket]))
        if found is None:
            return None
        table, exchange, symbol, day = found["table"], found["exchange"], found["symbol"], found["day"]
        is_held = EPOCH.isoformat() <= day < self.world.unfinished().isoformat() and _has(bucket, day)
        if not is_held or symbol not in LISTED.get(table, {}).get(exchange, {}):
            return None
        return table, exchange, symbol, date.fromisoformat(day)

    def _list_finished_days(self, bucket: str) -> None:
        while (day := self.listed[bucket]) < self.world.unfinished():
            for table, exchanges in LISTED.items() if _has(bucket, day.isoformat()) else ():
                for exchange, symbols in exchanges.items():
                    for symbol in symbols:
                        partition = f"{table}/exchange={exchange}/symbol={symbol}/dt={day}/1.snappy.parquet"
                        self._put(bucket, BUCKETS[bucket] + partition, PLACEHOLDER)
            self.listed[bucket] = day + timedelta(days=1)

    def _put(self, bucket: str, key: str, content: bytes) -> None:
        self._backend().put_object(bucket, key, content, disable_notification=True)

    def _backend(self) -> Any:
        from moto.s3.models import FakeBucket, s3_backends

        backend = s3_backends[self.account]["aws"]
        for name in BUCKETS:
            if name not in backend.buckets:  # moto would refuse a second world the name of the first one's
                backend.buckets[name] = FakeBucket(name, self.account, REGION)  # type: ignore[abstract]
        return backend

    def _ask_moto(self, request: Request, path: str) -> Response:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.test import EnvironBuilder, run_wsgi_app

        self.app = self.app or DomainDispatcherApplication(create_backend_app)
        headers = {k: v for k, v in request.headers.items() if k in ("authorization", "range", "host")}
        signed = {"authorization": "none: the sample is public"} | headers | {"x-moto-account-id": self.account}
        environ = EnvironBuilder(
            path=f"/{path}", query_string=request.url.query, method=request.method, headers=list(signed.items())
        ).get_environ()
        body, status, found = run_wsgi_app(self.app, environ, buffered=True)
        return Response(b"".join(body), int(status.split()[0]), dict(found))


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""
    store = Store(world)

    def s3(request: Request) -> Response:
        return store.answer(request, request.path_params["path"])

    return [Route("/crypto_lake/{path:path}", s3, methods=["GET", "HEAD", "POST"])]
