"""Tardis dataset files to frames: a fast typed scan, and a slow text reading that names the bad lines.

The fast path never leaves polars' streaming engine. Polars alone is too kind (a short row becomes nulls,
NaN and 1e400 pass as numbers), so the typed frame is tested by expressions, and only a file that fails them
is read again as text, where each refused line gets a reason and goes to ``raw/quarantine``.
Not here: the network (``resources/tardis.py``), the lake.
"""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

US = pl.Int64()
EARLIEST_US = 1_230_768_000_000_000  # 2009-01-01: before it there was no Bitcoin
LATEST_US = 4_102_444_800_000_000  # 2100-01-01
NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"  # no blanks, no thousands, no leading plus
UNREADABLE = "a number is not written as a number"
CHUNK_LINES = 500_000
IN_MEMORY_BYTES = 2**30  # of text: about ten million rows
SAMPLE_BYTES = 16 * 2**20
INTEGER = r"^[0-9]{1,19}$"


class DamagedFile(ValueError):
    """The file cannot be trusted as a whole: truncated, wrong checksum, or another layout."""


@dataclass(frozen=True)
class Layout:
    """A dataset file's columns by their name in the file: type, and the rule a sound value obeys."""

    data_type: str
    types: Mapping[str, pl.DataType]
    rules: Mapping[str, pl.Expr]  # reason → expression that is true for a sound row; null counts as unsound

    @property
    def sound(self) -> pl.Expr:
        """True for a row that obeys every rule."""
        return pl.all_horizontal([e.fill_null(False) for e in self.rules.values()])


@dataclass(frozen=True)
class Parsed:
    """A file as rows in file order (``line_n`` = its line, header 1) and the rows refused."""

    frame: pl.LazyFrame
    refused: pl.DataFrame  # line_n, reason, text
    rows: int  # rows in the file, header not counted
    is_large: bool = False  # lies in the staged file, too large to be held


REFUSED_SCHEMA = {"line_n": pl.Int64(), "reason": pl.String(), "text": pl.String()}


def moment(name: str) -> pl.Expr:
    """Return the rule of a timestamp column: microseconds between 2009 and 2100."""
    return pl.col(name).is_between(EARLIEST_US, LATEST_US)


def positive(name: str) -> pl.Expr:
    """Return the rule of a price or a trade's size: finite and above 0."""
    return pl.col(name).is_finite() & (pl.col(name) > 0)


def typed_scan(path: Path, layout: Layout) -> pl.LazyFrame:
    """Return the file's columns as typed by the layout (others as text), with ``line_n``; nothing is read yet.

    Keep all columns when it matters: polars sees a row with too many fields only if it reads the last one.
    """
    return pl.scan_csv(
        path,
        schema_overrides=dict(layout.types),
        infer_schema=False,
        row_index_name="line_n",
        row_index_offset=2,
    ).with_columns(pl.col("line_n").cast(pl.Int64))


def parse(path: Path, layout: Layout, staged: Path) -> Parsed:
    """Read one dataset file, in one pass when every row is sound; a large one goes through the file ``staged``.

    Raises
    ------
    DamagedFile
        The header lacks a column of the layout, the stream is cut, or its checksum is wrong.
    """
    _require_header(path, layout)
    try:
        frame = _held(typed_scan(path, layout), staged, _text_bytes(path))
    except (pl.exceptions.ComputeError, OSError, EOFError, zlib.error) as error:
        return _as_text(path, layout, staged, str(error))
    # A filter streams; the sum of so wide a condition would hold all of its columns at once.
    unsound = frame.filter(~layout.sound).select(pl.len()).collect(engine="streaming").item()
    rows = frame.select(pl.len()).collect(engine="streaming").item()
    if unsound == 0:
        return Parsed(frame, pl.DataFrame(schema=REFUSED_SCHEMA), rows, staged.exists())
    return _as_text(path, layout, staged, f"{unsound} rows break a rule")


def _held(scan: pl.LazyFrame, staged: Path, text_bytes: float) -> pl.LazyFrame:
    # What is read next several times: in memory when it fits, else on disk.
    if text_bytes <= IN_MEMORY_BYTES:
        return scan.collect(engine="streaming").lazy()
    scan.sink_parquet(staged, compression="lz4")
    return pl.scan_parquet(staged)


def _text_bytes(path: Path) -> float:
    """Return about how much text the file holds, judged by how its beginning is compressed."""
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as file:
        text = len(file.read(SAMPLE_BYTES))
        return path.stat().st_size * text / max(raw.tell(), 1)


def _require_header(path: Path, layout: Layout) -> None:
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            header = file.readline().strip().split(",")
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError, zlib.error) as error:
        raise DamagedFile(f"{path.name}: not a readable gzip text file: {error}") from error
    absent = [c for c in layout.types if c not in header]
    if absent:
        raise DamagedFile(f"{path.name}: the header lacks {', '.join(absent)}; it is {','.join(header)[:200]}")


def _as_text(path: Path, layout: Layout, staged: Path, why: str) -> Parsed:
    """Read the file as text, chunk by chunk, so that one bad line of a large day does not cost its memory."""
    refused: list[pl.DataFrame] = []
    parts: list[Path] = []
    rows = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="\n") as file:
            header = file.readline().rstrip("\r\n").split(",")
            while lines := list(islice(file, CHUNK_LINES)):
                text = [line.rstrip("\r\n") for line in lines]
                body = pl.DataFrame({"line_n": range(rows + 2, rows + 2 + len(text)), "text": text})
                kept, bad = judge(body, header, layout)
                parts.append(staged.with_suffix(f".{len(parts)}.parquet"))
                kept.write_parquet(parts[-1], compression="lz4")
                refused.append(bad)
                rows += len(text)
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError, zlib.error) as error:
        raise DamagedFile(f"{path.name}: {error} (the typed scan said: {why})") from error
    if not parts:
        raise DamagedFile(f"{path.name}: no row can be read (the typed scan said: {why})")
    return Parsed(pl.scan_parquet(parts), pl.concat(refused), rows, len(parts) > 1)


def judge(body: pl.DataFrame, header: list[str], layout: Layout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sound rows, typed, and the refused ones with their reason; ``body`` has line_n and text."""
    fields = pl.col("text").str.split(",")
    cells = body.select(
        pl.col("line_n").cast(pl.Int64),
        "text",
        (fields.list.len() == len(header)).alias("complete"),
        # An empty cell is a missing value; whether it may be missing is the layout's rule.
        *(fields.list.get(header.index(c), null_on_oob=True).replace("", None).alias(c) for c in layout.types),
    )
    return judge_cells(cells, f"not {len(header)} fields", layout)


def judge_cells(cells: pl.DataFrame, incomplete: str, layout: Layout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sound rows, typed, and the refused ones with their reason.

    ``cells`` has line_n, text (the row as delivered), complete (false: refused as ``incomplete``), and the layout's
    columns as text, null where the source left a cell empty.
    """
    readable = [
        pl.col(c).str.contains(INTEGER if t.is_integer() else NUMBER).fill_null(True)
        for c, t in layout.types.items()
        if t.is_numeric()
    ]
    typed = cells.with_columns(
        pl.all_horizontal(True, *readable).alias("readable"),
        *(
            pl.col(c).str.to_lowercase().replace_strict({"true": True, "false": False}, default=None).alias(c)
            if t == pl.Boolean
            else pl.col(c).cast(t, strict=False).alias(c)
            for c, t in layout.types.items()
        ),
    )
    broken = {incomplete: ~pl.col("complete"), UNREADABLE: ~pl.col("readable")}
    broken |= {text: ~rule.fill_null(False) for text, rule in layout.rules.items()}
    # The first rule a row breaks is its reason.
    reason = pl.coalesce(pl.when(is_broken).then(pl.lit(text)) for text, is_broken in broken.items())
    judged = typed.with_columns(reason.alias("reason"))
    refused = judged.filter(pl.col("reason").is_not_null())
    kept = judged.filter(pl.col("reason").is_null())
    return kept.select("line_n", *layout.types), refused.select("line_n", "reason", pl.col("text").str.slice(0, 1000))
