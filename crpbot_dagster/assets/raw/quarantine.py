"""What is not let in: rows that a source sent and no table takes, and answers that cannot be trusted as a whole.

Not here: which rows are refused (each source's module), the share from which a day fails (``tables/raw.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg
import polars as pl

from crpbot_dagster.assets.raw.gzip_text import DamagedFile
from crpbot_dagster.resources.lake import Lake


def quarantine(lake: Lake, table: str, symbol: str, day: date, refused: pl.DataFrame) -> None:
    """Replace the refused rows of one (table, symbol, day); write nothing when there are and were none.

    ``refused`` has source (the file), line_n, reason and text.
    """
    name = table.replace("/", ".")
    if refused.is_empty() and lake.state("raw/quarantine", symbol, day, table=name) is None:
        return
    rows = refused.select(
        pl.lit(symbol).alias("symbol"),
        pl.lit(day).alias("day"),
        pl.lit(name).alias("table"),
        "source",
        "line_n",
        "reason",
        "text",
    )
    lake.publish("raw/quarantine", rows, symbol, day, "complete" if rows.height else "empty", table=name)


@contextmanager
def trusted(origin: str) -> Iterator[None]:
    """Turn a damaged answer into a failed run that leaves the lake as it was.

    Raises
    ------
    dg.Failure
        The answer cannot be trusted as a whole.
    """
    try:
        yield
    except DamagedFile as error:
        raise dg.Failure(f"{origin}: {error}. Nothing was written; run the partition again.") from error
