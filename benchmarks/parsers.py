"""Every parser beside the bare reading of the same payload, on the payloads that the fuzz spoils.

Peer: what only decodes (polars for CSV and Parquet, the standard library for JSON) and judges nothing. The payloads
are a page or a few hundred rows, so that a parser's fixed cost shows; files of a whole day are in ``ingest.py``.
"""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.measure import Line, Size, race
from crpbot_dagster.settings import PROJECT

BARE = {
    "csv.gz": lambda payload: pl.read_csv(payload, infer_schema=False),
    "csv": lambda payload: pl.read_csv(payload, infer_schema=False),
    "json": json.loads,
    "parquet": lambda payload: pl.read_parquet(io.BytesIO(payload)),
}


def lines(size: Size, folder: Path) -> Iterator[Line]:
    """One line per parser: rows a second, ours and bare."""
    sys.path.insert(0, str(PROJECT / "tests"))  # where the parsers are registered, with a sound payload each
    from fuzz import vendors, venues, web

    for parser in (*vendors.PARSERS, *venues.PARSERS, *web.PARSERS):
        rows = max(1, parser.parse(parser.payload).rows)
        ours, bare = race(
            lambda p=parser: p.parse(p.payload), lambda p=parser: BARE[p.kind](p.payload), times=size.times
        )
        yield Line(
            f"parse {parser.table.removeprefix('raw/')}, {rows:,} rows of {parser.kind}",
            f"{rows / ours:,.0f} rows/s",
            f"{rows / bare:,.0f} rows/s bare",
            ours / bare,
        )
