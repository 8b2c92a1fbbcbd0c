"""A web source's answer to rows: strict JSON, records judged by the rules that files are judged by, each key once.

Numbers stay the text that was sent until they are judged, so nothing is rounded or guessed on the way. Not here: the
network (``resources/web_apis.py``, ``resources/exchanges.py``), the rules of a source (its own module).
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NoReturn

import polars as pl

from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed, judge_cells
from crpbot_dagster.assets.raw.gzip_text import damaged
from crpbot_dagster.assets.raw.quarantine import quarantine
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import DAY, SYMBOL

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def json_of(body: bytes, what: str) -> Any:
    """Return the document of a JSON answer, its numbers as the text that was sent.

    Raises
    ------
    DamagedFile
        It is no JSON: cut, not UTF-8, with a key twice in one object, NaN or Infinity, or nested without end.
    """

    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is there twice in one object")
        return found

    def no_number(text: str) -> NoReturn:
        raise ValueError(f"{text} is no number of JSON")

    try:
        return json.loads(
            body, parse_float=str, parse_int=str, parse_constant=no_number, object_pairs_hook=each_key_once
        )
    except (ValueError, RecursionError) as error:
        raise damaged("json", what, f"the answer is no sound JSON: {error}") from error


def read_records(records: Sequence[Mapping[str, Any]], layout: Layout) -> Parsed:
    """Return the records as typed rows, ``line_n`` = place in the answer from 1, and the refused ones with reason.

    A record without one of the layout's names is refused, and one with a text that no file can hold or that has a
    control character; a value that is null is a missing value, as an empty cell.
    """
    cells = [{c: _cell(r.get(c)) for c in layout.types} for r in records]
    texts = {c: pl.Series(c, [_writable(row[c]) for row in cells], pl.String) for c in layout.types}
    frame = pl.DataFrame(
        {
            "line_n": pl.Series(range(1, len(records) + 1), dtype=pl.Int64),
            # In ASCII, as JSON may spell it: half a character (\\ud800) has no other form.
            "text": pl.Series([json.dumps(r, default=str) for r in records], dtype=pl.String),
            "printable": pl.Series([_is_printable(row) for row in cells], dtype=pl.Boolean),
            "complete": pl.Series([all(c in r for c in layout.types) for r in records], dtype=pl.Boolean),
        }
        | texts
    )
    kept, refused = judge_cells(frame, "a field is absent", layout)
    return Parsed(kept.lazy(), refused, len(records))


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else json.dumps(value, default=str)


def _writable(text: str | None) -> str | None:
    return None if text is None else text.encode(errors="replace").decode()


def _is_printable(cells: Mapping[str, str | None]) -> bool:
    return all(text is None or (text == _writable(text) and not CONTROL.search(text)) for text in cells.values())


def each_once(parsed: Parsed, *key: str) -> tuple[Parsed, int]:
    """Return the rows with each key once, and how many equal repeats were dropped.

    Rows that share a key and differ in a value are refused, all of them: nobody can tell which is right.
    """
    frame = parsed.frame.collect()
    once = frame.unique(subset=pl.exclude("line_n"), keep="first", maintain_order=True)
    torn = once.select(pl.struct(key).is_duplicated()).to_series()
    lines = frame.join(once.filter(torn).select(key), on=key, how="semi", nulls_equal=True)
    refused = lines.select(
        "line_n",
        pl.lit(f"the same {', '.join(key)} is there again with other values").alias("reason"),
        pl.struct(pl.exclude("line_n")).struct.json_encode().alias("text"),
    )
    kept = once.filter(~torn)
    repeated = frame.height - kept.height - refused.height
    return Parsed(kept.lazy(), pl.concat([parsed.refused, refused]).sort("line_n"), parsed.rows), repeated


def land(
    lake: Lake,
    table: str,
    symbol: str,
    day: date,
    parsed: Parsed,
    *,
    repeated: int = 0,
    source: str,
    origin: str,
    state: str | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Built:
    """Quarantine the refused rows and return the others as the day's partition.

    The frame of ``parsed`` has the table's columns but symbol and day, which are added, and ``line_n``, which is
    dropped. ``origin`` is the address that was asked, without a key. ``state`` is complete or empty unless given.
    """
    state = state or ("complete" if parsed.rows else "empty")
    lake.keep_held(table, symbol, day, state, origin)
    quarantine(lake, table, symbol, day, parsed.refused.with_columns(pl.lit(origin).alias("source")))
    schema = TABLES[table].schema
    own = [pl.lit(v).alias(n) for n, v in ((SYMBOL.name, symbol), (DAY.name, day)) if n in schema]
    frame = parsed.frame.with_columns(own).select(pl.col(n).cast(t) for n, t in schema.items())
    share = parsed.refused.height / parsed.rows if parsed.rows else 0.0
    facts = {"quarantined_frac": share, "duplicates_n": float(repeated)}
    return Built(frame, state, source, facts, {"url": origin} | dict(notes or {}))


def nothing(lake: Lake, table: str, symbol: str, day: date, state: str, source: str, why: str) -> Built:
    """Return a partition of no rows with the state that explains it; a held day is never replaced by it."""
    lake.keep_held(table, symbol, day, state, why)
    return Built(TABLES[table].empty(), state, source, {"quarantined_frac": 0.0, "duplicates_n": 0.0}, {"why": why})
