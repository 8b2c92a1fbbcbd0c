"""A day of fifty million rows passes parser, audit and door within 3 GiB."""

import gzip
import multiprocessing
import resource
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from crpbot_dagster.assets.checks import audit
from crpbot_dagster.assets.raw.dataset_file import parse
from crpbot_dagster.assets.raw.tardis import BOOK, book_from
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import TABLES

pytestmark = pytest.mark.soak
ROWS, MEMBERS = 50_000_000, 500
DAY = date(2024, 1, 2)


def write(path: Path) -> None:
    """Gzip members of 100,000 rows: a valid multi-member file, made without holding it in memory."""
    start, step = 1704153600000000, 86_400_000_000 // ROWS
    with path.open("wb") as file:
        file.write(gzip.compress(b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n", 1))
        for i in range(MEMBERS):
            n = ROWS // MEMBERS
            at = start + step * pl.int_range(i * n, (i + 1) * n, eager=True)
            frame = pl.DataFrame({"exchange": ["coinbase"] * n, "symbol": ["BTC-USD"] * n, "timestamp": at}).with_columns(
                (pl.col("timestamp") + 1000).alias("local_timestamp"),
                pl.lit("true" if i == 0 else "false").alias("is_snapshot"),
                pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("bid")).otherwise(pl.lit("ask")).alias("side"),
                (37000 + (pl.int_range(pl.len()) % 997) * 0.01).alias("price"),
                ((pl.int_range(pl.len()) % 13) * 0.1).alias("amount"),
            )  # fmt: skip
            file.write(gzip.compress(frame.write_csv(include_header=False).encode(), 1))


def land(path: str, lake_url: str, answer) -> None:
    with TemporaryDirectory() as folder:
        parsed = parse(Path(path), BOOK, Path(folder) / "staged.parquet")
        frame = book_from(parsed.frame).select(
            pl.lit("BTC-USD").alias("symbol"),
            pl.lit(DAY).alias("day"),
            pl.lit("coinbase").alias("venue"),
            pl.all(),
        )
        built = Built(frame, "complete", "test", {"quarantined_frac": 0.0}, is_large=parsed.is_large)
        results, profile = audit(TABLES["raw/tardis_book"], built, "BTC-USD", DAY)
        Lake(url=lake_url, market="sandbox", start_day="2024-01-01").publish(
            "raw/tardis_book", frame, "BTC-USD", DAY, "complete", is_large=parsed.is_large
        )
    failed = [c.name for c, ok, _ in results if not ok]
    answer.put((profile["rows"], failed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def test_fifty_million_rows_pass_within_three_gibibytes(tmp_path: Path) -> None:
    path = tmp_path / "book.csv.gz"
    write(path)
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    worker = context.Process(target=land, args=(str(path), str(tmp_path / "lake"), answer))
    worker.start()
    rows, failed, peak_gib = answer.get(timeout=1200)
    worker.join()
    print(f"{rows:.0f} rows, peak {peak_gib:.2f} GiB")
    assert rows == ROWS and failed == []
    assert peak_gib < 3.0
