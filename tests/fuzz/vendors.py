"""The parsers of files under fuzz: Tardis's datasets, candle files, and the frames that lakeapi hands over."""

import gzip
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow.parquet as pq
from fuzz.parser import Outcome, Parser
from raw.lake_frames import handed_over

from crpbot_dagster.assets.raw import crypto_lake as lake
from crpbot_dagster.assets.raw import tardis, tardis_derivatives
from crpbot_dagster.assets.raw.candle_files import candles_of
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, parse, received_on
from crpbot_dagster.assets.raw.jumps import without_jumps
from crpbot_dagster.assets.raw.minute_file import open_file, read_day
from crpbot_dagster.resources.crypto_lake import UNREADABLE
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import MAKERS, Simulation
from crpbot_dagster.tables import TABLES

MARKET, SYMBOL, DAY = MarketSpec(7, 0.3), "BTC-USD", date(2023, 11, 20)
ROWS = 200
Shape = Callable[[pl.LazyFrame], pl.LazyFrame]


def as_held(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    own = {"symbol": SYMBOL, "day": DAY, "venue": "coinbase", "source": "crypto_lake"}
    named = [pl.lit(v).alias(c) for c, v in own.items() if c in TABLES[table].schema and c not in frame.columns]
    return frame.with_columns(named).select(pl.col(c).cast(t) for c, t in TABLES[table].schema.items())


# --- Tardis -------------------------------------------------------------------------------------------


def dataset(table: str, layout: Layout, shape: Shape) -> Parser:
    """A Tardis dataset: gzip CSV from the sandbox, read as the asset reads it."""
    exchange = next(e for e, data_type in MAKERS if data_type == layout.data_type)
    name = {"coinbase": SYMBOL, "binance-futures": "BTCUSDT", "deribit": "OPTIONS"}[exchange]
    whole = gzip.decompress(
        Simulation(MARKET, lambda: DAY + timedelta(days=1)).dataset(exchange, layout.data_type, name, DAY)
    )

    def read(payload: bytes) -> Outcome:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "file.csv.gz"
            path.write_bytes(payload)
            blank = tardis.has_no_text(path)
            own = received_on(layout, DAY)
            parsed = tardis.nothing_sent(layout) if blank else parse(path, own, Path(folder) / "staged.parquet")
            repeated = 0
            if layout is tardis.TRADES:
                parsed, repeated = tardis.deduplicated(without_jumps(parsed))
            kept = as_held(shape(parsed.frame).collect(), table)
        return Outcome(kept, parsed.rows, parsed.refused.height, repeated)

    return Parser(table, "csv.gz", gzip.compress(b"\n".join(whole.splitlines()[: ROWS + 1]) + b"\n", mtime=0), read)


# --- candle files -------------------------------------------------------------------------------------


def minutes() -> pl.DataFrame:
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    return candles(MARKET, SYMBOL, start, start + timedelta(days=1), 60).head(ROWS)


def read_candles(payload: bytes, kind: str) -> Outcome:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"BTC-USD.{kind}"
        path.write_bytes(payload)
        days = {day: read_day(path, day) for day in {DAY, *open_file(path).lines}}
        rows = pl.scan_parquet(path).select(pl.len()).collect().item() if kind == "parquet" else lines_of(payload) - 1
    refused, repeated = (sum(n) for n in zip(*((d.refused.height, d.repeated) for d in days.values()), strict=True))
    elsewhere = sum(d.candles.height for day, d in days.items() if day != DAY)  # rows of other partitions
    return Outcome(candles_of({"bitfinex": days[DAY]}, SYMBOL, DAY), rows - elsewhere, refused, repeated)


def lines_of(payload: bytes) -> int:
    return payload.count(b"\n") + (not payload.endswith(b"\n"))


def parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out, compression="uncompressed", statistics=False)
    return out.getvalue()


# --- Crypto Lake --------------------------------------------------------------------------------------


def handed(table: str, layout: Layout, shape: Shape) -> Parser:
    """A frame of lakeapi's, written as Parquet; that no frame can be read at all is the client's news."""

    def read(payload: bytes) -> Outcome:
        try:
            frame = pl.from_pandas(pq.ParquetFile(io.BytesIO(payload)).read().to_pandas())
        except (*UNREADABLE, OSError) as error:
            raise DamagedFile(str(error)) from error
        parsed, repeated = lake.parse(frame, layout, shape, DAY)
        return Outcome(as_held(parsed.frame.collect(), table), frame.height, parsed.refused.height, repeated)

    return Parser(table, "parquet", parquet(handed_over(MARKET, layout.data_type, DAY).head(ROWS)), read)


PARSERS: list[Parser] = [
    dataset("raw/tardis_trades", tardis.TRADES, tardis.trades_from),
    dataset("raw/tardis_book", tardis.BOOK, tardis.book_from),
    dataset("raw/tardis_book_snapshots", tardis.SNAPSHOTS, tardis.snapshots_from),
    dataset("raw/tardis_quotes", tardis.QUOTES, tardis.quotes_from),
    dataset("raw/tardis_derivatives", tardis_derivatives.TICKER, tardis_derivatives.ticker_from),
    dataset("raw/tardis_liquidations", tardis_derivatives.LIQUIDATIONS, tardis_derivatives.liquidations_from),
    dataset("raw/tardis_options", tardis_derivatives.OPTIONS, tardis_derivatives.options_from),
    Parser("raw/candle_files", "csv", minutes().write_csv().encode(), lambda p: read_candles(p, "csv")),
    Parser("raw/candle_files", "parquet", parquet(minutes()), lambda p: read_candles(p, "parquet")),
    handed("raw/crypto_lake_trades", lake.TRADES, lake.trades_from),
    handed("raw/crypto_lake_book", lake.BOOK, lake.book_from),
    handed("raw/crypto_lake_quotes", lake.QUOTES, lake.quotes_from),
    handed("raw/crypto_lake_funding", lake.FUNDING, lake.funding_from),
    handed("raw/crypto_lake_open_interest", lake.OPEN_INTEREST, lake.open_interest_from),
    handed("raw/crypto_lake_liquidations", lake.LIQUIDATIONS, lake.liquidations_from),
]
