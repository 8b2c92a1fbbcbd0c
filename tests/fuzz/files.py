"""The parsers of files under fuzz: Tardis' dataset files, and candle files of one's own."""

import gzip
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from fuzz.parser import Outcome, Parser

from crpbot_dagster.assets.raw.candle_files import candles_of
from crpbot_dagster.assets.raw.dataset_file import Layout, parse, received_on
from crpbot_dagster.assets.raw.jumps import without_jumps
from crpbot_dagster.assets.raw.minute_file import open_file, read_day
from crpbot_dagster.assets.raw.tardis import (
    BOOK,
    LEVEL_NAMES,
    SNAPSHOTS,
    TRADES,
    book_from,
    deduplicated,
    snapshots_from,
    trades_from,
)

SYMBOL, DAY, ROWS = "BTC-USD", date(2023, 11, 20), 60
START = 1_700_438_400_000_000  # of DAY, µs
SHAPES = {"trades": trades_from, "incremental_book_L2": book_from, "book_snapshot_25": snapshots_from}


def dataset(layout: Layout) -> Callable[[bytes], Outcome]:
    def read(payload: bytes) -> Outcome:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "file.csv.gz"
            path.write_bytes(payload)
            parsed, repeated = parse(path, received_on(layout, DAY), Path(folder) / "staged.parquet"), 0
            if layout is TRADES:
                parsed, repeated = deduplicated(without_jumps(parsed))
            keys = {"symbol": SYMBOL, "day": DAY, "venue": "coinbase"}
            kept = SHAPES[layout.data_type](parsed.frame).select(
                *(pl.lit(v).alias(k) for k, v in keys.items()), pl.all()
            )
            return Outcome(kept.collect(), parsed.rows, parsed.refused.height, repeated)

    return read


def packed(header: str, rows: list[str]) -> bytes:
    return gzip.compress("\n".join([header, *rows, ""]).encode(), mtime=0)


def lines(tail: Callable[[int], str]) -> list[str]:
    return [f"coinbase,BTC-USD,{START + i * 1_000_000},{START + i * 1_000_000 + 900},{tail(i)}" for i in range(ROWS)]


def ladder(i: int) -> str:
    return ",".join(
        f"{37_000 + (n // 4) * (1 if n % 4 < 2 else -1) + i}.5" if n % 2 == 0 else "0.25" for n in range(100)
    )


CLOCKS = "exchange,symbol,timestamp,local_timestamp"
PAYLOADS = {
    "trades": packed(
        f"{CLOCKS},id,side,price,amount",
        lines(lambda i: f"{i},{('buy', 'sell', 'unknown')[i % 3]},{37_000 + i}.5,0.{i + 1}"),
    ),
    "incremental_book_L2": packed(
        f"{CLOCKS},is_snapshot,side,price,amount",
        lines(lambda i: f"{str(i < 9).lower()},{('bid', 'ask')[i % 2]},{37_000 + i}.5,{i % 4}.5"),
    ),
    "book_snapshot_25": packed(f"{CLOCKS},{','.join(LEVEL_NAMES)}", lines(ladder)),
}


def candle_rows() -> pl.DataFrame:
    i = pl.int_range(ROWS)
    at = (pl.lit(START) + i * 60_000_000).cast(pl.Datetime("us", "UTC"))
    price = pl.lit(37_000.5) + i
    ts = {"ts": at, "open": price, "high": price + 2, "low": price - 1, "close": price + 1, "volume": i + 0.5}
    return pl.select(trade_count=i + 1, buy_volume=i * 0.5, **ts)


def candle_csv() -> bytes:
    return candle_rows().with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv().encode()


def candle_parquet() -> bytes:
    buffer = io.BytesIO()
    candle_rows().write_parquet(buffer)
    return buffer.getvalue()


def candle_file(kind: str) -> Callable[[bytes], Outcome]:
    def read(payload: bytes) -> Outcome:
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{SYMBOL}.{kind}"
            path.write_bytes(payload)
            days = {day: read_day(path, day) for day in {DAY, *open_file(path).lines}}
            kept = candles_of({"bitfinex": days[DAY]}, SYMBOL, DAY)
            elsewhere = sum(d.candles.height for day, d in days.items() if day != DAY)
            refused, repeated = (
                sum(n) for n in zip(*((d.refused.height, d.repeated) for d in days.values()), strict=True)
            )
            rows = pl.scan_parquet(path).select(pl.len()).collect().item() if kind == "parquet" else csv_rows(payload)
            return Outcome(kept, rows - elsewhere, refused, repeated)

    return read


def csv_rows(payload: bytes) -> int:
    """Lines after the header; the last one may lack its end."""
    return payload.count(b"\n") - payload.endswith(b"\n")


PARSERS = [
    *(
        Parser(f"raw/tardis_{table}", "csv.gz", PAYLOADS[layout.data_type], dataset(layout))
        for table, layout in (("trades", TRADES), ("book", BOOK), ("book_snapshots", SNAPSHOTS))
    ),
    Parser("raw/candle_files", "csv", candle_csv(), candle_file("csv")),
    Parser("raw/candle_files", "parquet", candle_parquet(), candle_file("parquet")),
]
