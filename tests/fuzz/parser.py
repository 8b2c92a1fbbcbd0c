"""What the fuzz needs to know of a parser: a sound payload, and how to read any payload of its kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl


@dataclass(frozen=True)
class Outcome:
    """What a parser made of a payload: every record that went in is in one of three places."""

    kept: pl.DataFrame  # rows as the raw table takes them, symbol and day included
    rows: int  # records in the payload
    refused: int
    repeated: int = 0


@dataclass(frozen=True)
class Parser:
    """One parser under fuzz; ``parse`` raises DamagedFile, and nothing else, for a payload it cannot trust."""

    table: str  # the raw table the rows are meant for
    kind: Literal["csv.gz", "csv", "json", "parquet"]
    payload: bytes  # a sound example of at most a few hundred records
    parse: Callable[[bytes], Outcome]
