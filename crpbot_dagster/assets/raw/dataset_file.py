"""Dataset files to frames: a fast typed reading, and a slow one of text that names the bad lines, block by block.

Polars alone is too kind (a short row becomes nulls; NaN, 1e400, `+1` and ` 1` pass as numbers; a quote swallows
lines), so a block is read the fast way only when its bytes are plain, and what came out is tested by the layout's
rules; any other block is read as text, where each refused line gets a reason and goes to ``raw/quarantine``.
Not here: the network (``resources/tardis.py``), the gzip stream (``gzip_text.py``), the lake.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from crpbot_dagster.assets.raw.gzip_text import DamagedFile, blocks, damaged
from crpbot_dagster.tables.raw import CLOCK_SKEW_REFUSE_S

__all__ = ["DamagedFile"]

US = pl.Int64()
EARLIEST_US = 1_230_768_000_000_000  # 2009-01-01: before it there was no Bitcoin
LATEST_US = 4_102_444_800_000_000  # 2100-01-01
NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"  # no blanks, no thousands, no leading plus
ZERO = r"^-?[0.]+([eE]|$)"  # another text that reads as 0 is too small for a float
INTEGER = r"^-?[0-9]{1,19}$"
LONGEST_NUMBER = 60  # characters; a float needs 25
USUAL_CELL = 32  # characters, on average over a line
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"  # tabs and line ends belong to prose
UNREADABLE = "a number is not written as a number"
UNITS = {"seconds": 1_000_000, "milliseconds": 1_000, "nanoseconds": 1e-3}  # what µs are when another unit was meant
OPENING_ROWS = 100  # that say in which unit a file writes its times
IN_MEMORY_BYTES = 2**30  # of text: about ten million rows
PART_BYTES = 2**27  # of text in one staged part of a larger file


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

    @property
    def moments(self) -> list[str]:
        """The columns whose rule is ``moment``."""
        return [c for c in self.types if any(rule.meta == moment(c) for rule in self.rules.values())]


@dataclass(frozen=True)
class Parsed:
    """A file as rows in file order (``line_n`` = its line, header 1) and the rows refused."""

    frame: pl.LazyFrame
    refused: pl.DataFrame  # line_n, reason, text
    rows: int  # rows in the file, header not counted
    is_large: bool = False  # lies in the staged file, too large to be held
    notes: Mapping[str, object] = field(default_factory=dict)  # what was mended, and the columns that nobody reads


REFUSED_SCHEMA = {"line_n": pl.Int64(), "reason": pl.String(), "text": pl.String()}


def moment(name: str) -> pl.Expr:
    """Return the rule of a timestamp column: microseconds between 2009 and 2100."""
    return pl.col(name).is_between(EARLIEST_US, LATEST_US)


def positive(name: str) -> pl.Expr:
    """Return the rule of a price or a trade's size: finite and above 0."""
    return pl.col(name).is_finite() & (pl.col(name) > 0)


def received_on(layout: Layout, day: date) -> Layout:
    """Return ``layout`` with the rules of a file cut on the recorder's clock: of this day, and the clock was right.

    A row of another day lies in that day's own file too: kept here it would be there twice.
    """
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    end = start + timedelta(days=1) // timedelta(microseconds=1)
    lag = pl.col("local_timestamp") - pl.col("timestamp")
    rules = {
        "local_timestamp is not on the file's day": pl.col("local_timestamp").is_between(start, end, closed="left"),
        f"received more than {CLOCK_SKEW_REFUSE_S:.0f} s before it happened": lag >= -CLOCK_SKEW_REFUSE_S * 1e6,
    }
    return replace(layout, rules=dict(layout.rules) | rules)


def typed_scan(path: Path, layout: Layout) -> pl.LazyFrame:
    """Return a sound file's columns as typed by the layout (others as text), with ``line_n``; nothing is read yet."""
    return pl.scan_csv(
        path,
        schema_overrides=dict(layout.types),
        infer_schema=False,
        row_index_name="line_n",
        row_index_offset=2,
    ).with_columns(pl.col("line_n").cast(pl.Int64))


def parse(path: Path, layout: Layout, staged: Path) -> Parsed:
    """Read one dataset file: verified first, then in one typed pass when every byte is plain and every row sound.

    A large file goes through the file ``staged``, or parts beside it.

    Raises
    ------
    DamagedFile
        The faults of ``gzip_text.blocks``, and schema_drift, unit, quotes.
    """
    found = _survey(path, layout)
    if found.is_plain:
        try:
            frame = _scanned(path, layout, staged, found.text_bytes)
        except pl.exceptions.ComputeError:
            return _by_blocks(path, layout, staged)  # a cell is not of its type; the slow reading says which
        # A filter streams; the sum of so wide a condition would hold all of its columns at once.
        unsound = frame.filter(~layout.sound).select(pl.len()).collect(engine="streaming").item()
        if unsound == 0 and frame.select(pl.len()).collect(engine="streaming").item() == found.rows:
            return Parsed(frame, pl.DataFrame(schema=REFUSED_SCHEMA), found.rows, staged.exists(), found.notes)
    return _by_blocks(path, layout, staged)


@dataclass(frozen=True)
class _Surveyed:
    is_plain: bool
    text_bytes: int = 0
    rows: int = 0
    notes: Mapping[str, object] = field(default_factory=dict)


def _survey(path: Path, layout: Layout) -> _Surveyed:
    """Read the file's bytes once, up to the first that is not plain."""
    repaired: Counter[str] = Counter()
    header: list[str] = []
    rows = text_bytes = 0
    for block in blocks(path, repaired):
        body = block
        if not header:
            header, body = _opened(block, layout, path.name)
        lines = plain_lines(body, len(header))
        if lines is None:
            return _Surveyed(False)
        rows, text_bytes = rows + lines, text_bytes + len(block)
    notes = _notes(header, layout, repaired, path.name)
    # Polars does not forgive padding.
    return _Surveyed("bytes of zero padding" not in notes, text_bytes, rows, notes)


def _scanned(path: Path, layout: Layout, staged: Path, text_bytes: int) -> pl.LazyFrame:
    # What is read next several times: in memory when it fits, else on disk.
    scan = typed_scan(path, layout)
    if text_bytes <= IN_MEMORY_BYTES:
        return scan.collect(engine="streaming").lazy()
    scan.sink_parquet(staged, compression="lz4")
    return pl.scan_parquet(staged)


def _by_blocks(path: Path, layout: Layout, staged: Path) -> Parsed:
    """Read the file block by block, so that one bad line costs the text of its own block alone."""
    repaired: Counter[str] = Counter()
    header: list[str] = []
    held = _Held(staged)
    refused: list[pl.DataFrame] = [pl.DataFrame(schema=REFUSED_SCHEMA)]
    rows = 0
    for block in blocks(path, repaired):
        body = block
        if not header:
            header, body = _opened(block, layout, path.name)
        kept, bad, n = _read_block(body, rows + 2, header, layout, path.name)
        held.add(kept, len(body))
        refused.append(bad)
        rows += n
    notes = _notes(header, layout, repaired, path.name)
    return Parsed(held.rows(layout), pl.concat(refused), rows, held.is_large, notes)


def _opened(block: bytes, layout: Layout, what: str) -> tuple[list[str], bytes]:
    first, _, body = block.partition(b"\n")
    header = _header(first, layout, what)
    _require_unit(body, header, layout, what)
    return header, body


def _notes(header: list[str], layout: Layout, repaired: Counter[str], what: str) -> dict[str, object]:
    if not header:
        raise damaged("empty", what, "there is no line of text in it, not even a header")
    unread = sorted(set(header) - set(layout.types) - {"exchange", "symbol"})
    return {k: n for k, n in repaired.items() if n} | ({"columns not read": ", ".join(unread)} if unread else {})


class _Held:
    """The rows read so far: in memory while they fit, else in parts on disk, a file each."""

    def __init__(self, staged: Path) -> None:
        self.staged, self.frames, self.bytes = staged, list[pl.DataFrame](), 0
        self.parts: list[Path] = []

    @property
    def is_large(self) -> bool:
        return bool(self.parts)

    def add(self, frame: pl.DataFrame, text_bytes: int) -> None:
        self.frames.append(frame)
        self.bytes += text_bytes
        if self.bytes > (PART_BYTES if self.parts else IN_MEMORY_BYTES):
            self._write()

    def rows(self, layout: Layout) -> pl.LazyFrame:
        if not self.parts:
            return pl.concat([pl.DataFrame(schema={"line_n": pl.Int64(), **layout.types}), *self.frames]).lazy()
        if self.frames:
            self._write()
        return pl.scan_parquet(self.parts)

    def _write(self) -> None:
        self.parts.append(self.staged.with_suffix(f".{len(self.parts)}.parquet"))
        pl.concat(self.frames).write_parquet(self.parts[-1], compression="lz4")
        self.frames, self.bytes = [], 0


def _header(line: bytes, layout: Layout, what: str) -> list[str]:
    header = _text(line, what).split(",")
    absent = [c for c in layout.types if c not in header]
    repeated = sorted({c for c in header if header.count(c) > 1})
    if len(absent) == len(layout.types):
        said = "there is no header: no name of a column is in the first line"
    elif absent:
        said = f"the header lacks {', '.join(absent)}"
    elif repeated:
        said = f"the header has {', '.join(repeated)} twice"
    else:
        return header
    fix = "when the vendor changed the file, change the layout and its table"
    raise damaged("schema_drift", what, f"{said}; it is {','.join(header)[:200]!r}", fix)


def _text(line: bytes, what: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise damaged("encoding", what, f"it is not written in UTF-8 ({error.reason})", "write it in UTF-8") from error


def _require_unit(body: bytes, header: list[str], layout: Layout, what: str) -> None:
    lines = body.split(b"\n", OPENING_ROWS)[:OPENING_ROWS]
    cells = [line.split(b",") for line in lines if line]
    for name in layout.moments:
        place = header.index(name)
        require_unit([row[place].decode("ascii", "replace") for row in cells if len(row) == len(header)], name, what)


def require_unit(texts: Sequence[str | None], name: str, what: str) -> None:
    """Refuse a column of times that is written in another unit than microseconds, from its first value on.

    Raises
    ------
    DamagedFile
        unit: every one of ``texts`` is a moment of 2009 to 2100, but in seconds, milliseconds or nanoseconds.
    """
    found = [int(t) for t in texts if t and re.fullmatch(INTEGER, t)]
    for unit, factor in UNITS.items():
        if found and all(EARLIEST_US <= n * factor <= LATEST_US for n in found):
            said = f"{name} is written in {unit}, and microseconds were agreed, like {found[0]}"
            raise damaged("unit", what, said, "when the vendor changed the unit, give its layout a rule with a date")


def _read_block(
    body: bytes, first_line: int, header: list[str], layout: Layout, what: str
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Return the rows kept, the rows refused, and how many there were."""
    nothing = pl.DataFrame(schema=REFUSED_SCHEMA)
    rows = plain_lines(body, len(header))
    if rows is not None:
        try:
            schema = {c: layout.types.get(c, pl.String()) for c in header}
            frame = pl.read_csv(body, has_header=False, schema=schema) if rows else pl.DataFrame(schema=schema)
        except pl.exceptions.ComputeError:
            frame = pl.DataFrame()
        if frame.height == rows and (rows == 0 or frame.select(layout.sound.all()).item()):
            line = pl.int_range(first_line, first_line + rows, dtype=pl.Int64).alias("line_n")
            return frame.select(line, *layout.types), nothing, rows
    lines = _text(body, what).split("\n")[:-1]
    text = pl.DataFrame(
        {"line_n": range(first_line, first_line + len(lines)), "text": pl.Series(lines, dtype=pl.String)}
    )
    return *judge(text, header, layout, what), len(lines)


def plain_lines(body: bytes, columns: int) -> int | None:
    """Return the number of lines, None when a typed reading of ``body`` cannot be trusted, judged by its bytes alone.

    It can when they are ASCII without quotes, blanks and control characters, a line has its commas and no cell of
    unusual length, no number begins with a plus, and none has a negative exponent, which may round to 0 unseen.
    """
    if b'"' in body or b"\x7f" in body or not body.isascii():
        return None
    if b"+" in body and re.search(rb"(?<![eE])\+", body):
        return None
    codes = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    minus = np.flatnonzero(codes == ord("-"))
    is_plain = (
        np.count_nonzero(codes <= ord(" ")) == len(ends)
        and np.count_nonzero(codes == ord(",")) == len(ends) * (columns - 1)
        and np.diff(ends, prepend=-1).max(initial=0) <= USUAL_CELL * columns
        and not ((codes[minus - 1] | 0x20) == ord("e")).any()  # 0x20 makes a letter lower case
    )
    return len(ends) if is_plain else None


def judge(body: pl.DataFrame, header: Sequence[str], layout: Layout, what: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sound rows, typed, and the refused ones with their reason; ``body`` has line_n and text.

    Raises
    ------
    DamagedFile
        quotes: one is opened and not closed, so nobody can tell where its cell ends.
    """
    quotes = pl.col("text").str.count_matches('"', literal=True)
    for (line,) in body.filter(quotes % 2 == 1).select("line_n").head(1).iter_rows():
        raise damaged("quotes", what, f"line {line} opens a quote that it does not close")
    cells_of = pl.col("text").str.split(",")
    cells = body.select(
        pl.col("line_n").cast(pl.Int64),
        "text",
        (cells_of.list.len() == len(header)).alias("complete"),
        (~pl.col("text").str.contains(r'[\x00-\x1f\x7f"]')).alias("printable"),
        # An empty cell is a missing value; whether it may be missing is the layout's rule.
        *(cells_of.list.get(header.index(c), null_on_oob=True).replace("", None).alias(c) for c in layout.types),
    )
    return judge_cells(cells, f"not {len(header)} fields", layout)


def judge_cells(cells: pl.DataFrame, incomplete: str, layout: Layout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sound rows, typed, and the refused ones with their reason.

    ``cells`` has line_n, text (the row as delivered), complete (false: refused as ``incomplete``), printable (false:
    it has a quote or a control character) and the layout's columns as text, null where the source left a cell empty.
    """
    numbers = {c: t for c, t in layout.types.items() if t.is_numeric()}
    booleans = [c for c, t in layout.types.items() if t == pl.Boolean]
    typed = cells.with_columns(
        pl.all_horizontal(True, *(_is_number(c, t) for c, t in numbers.items())).alias("readable"),
        pl.all_horizontal(True, *(_as_boolean(c).is_not_null() | pl.col(c).is_null() for c in booleans)).alias("true"),
        *(_as_boolean(c) if c in booleans else pl.col(c).cast(t, strict=False) for c, t in layout.types.items()),
    )
    broken = {
        incomplete: ~pl.col("complete"),
        "a quote or a control character": ~pl.col("printable"),
        UNREADABLE: ~pl.col("readable"),
    }
    broken |= {text: ~rule.fill_null(False) for text, rule in layout.rules.items()}
    broken["a flag is neither true nor false"] = ~pl.col("true")
    # The first rule a row breaks is its reason.
    reason = pl.coalesce(pl.when(is_broken).then(pl.lit(text)) for text, is_broken in broken.items())
    judged = typed.with_columns(reason.alias("reason"))
    refused = judged.filter(pl.col("reason").is_not_null())
    kept = judged.filter(pl.col("reason").is_null())
    return kept.select("line_n", *layout.types), refused.select("line_n", "reason", pl.col("text").str.slice(0, 1000))


def _is_number(name: str, dtype: pl.DataType) -> pl.Expr:
    text, value = pl.col(name), pl.col(name).cast(dtype, strict=False)
    if dtype.is_integer():
        return text.is_null() | (text.str.contains(INTEGER) & value.is_not_null())
    written = text.str.contains(NUMBER) & (text.str.len_bytes() <= LONGEST_NUMBER)
    return text.is_null() | (written & value.is_finite() & ((value != 0) | text.str.contains(ZERO)))


def _as_boolean(name: str) -> pl.Expr:
    return pl.col(name).str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
