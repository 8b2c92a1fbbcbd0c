"""A file of one-minute candles, CSV or Parquet, to the rows of one day; refused rows keep line, reason and text.

The file is indexed once per process and version of it: how its moments are written, and on which lines each day
lies. A day then reads its own lines. Not here: where the files are and what a day without rows means
(``candle_files.py``), the rules that judge a line's cells (``dataset_file.judge``).
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from crpbot_dagster.assets.raw.dataset_file import EARLIEST_US, LATEST_US, Layout, judge
from crpbot_dagster.assets.raw.gzip_text import BLOCK_BYTES, MAGIC, damaged, refuse_other_content
from crpbot_dagster.tables.schema import UTC_US

REQUIRED = ("ts", "open", "high", "low", "close", "volume")
OPTIONAL = {"trade_count": "trade_count_n", "buy_volume": "buy_volume"}  # name in the file → name in the table
EDGE = timedelta(minutes=10)  # a file that begins or ends further inside a day holds part of it: the gap rule's run
EPOCHS = {"epoch seconds": (10, 1_000_000), "epoch milliseconds": (13, 1_000), "epoch microseconds": (16, 1)}
FIX = "mend the file"
ISO = "ISO 8601 with its UTC offset"
ISO_TEXT = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)$"

# polars panics at some broken Parquet files instead of answering.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError)


def form_of(ts: str) -> str | None:
    """Return how a moment is written, None when that is none of the ways a file may use."""
    if re.fullmatch(ISO_TEXT, ts):
        return ISO
    return next((name for name, (digits, _) in EPOCHS.items() if re.fullmatch(rf"\d{{{digits}}}", ts)), None)


def moment(form: str) -> pl.Expr:
    """Return the text column ``ts`` as UTC µs; null where it is not written in ``form`` or not in 2009 to 2100."""
    ts = pl.col("ts")
    if form == ISO:
        sound = pl.when(ts.str.contains(ISO_TEXT)).then(ts.str.replace(" ", "T", literal=True))
        is_leap = ts.str.slice(17, 2) == "60"  # a leap second is the first of the next minute, as clocks in UTC count
        minute = pl.when(is_leap).then(sound.str.replace(":60", ":59", literal=True)).otherwise(sound)
        at = minute.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
        at = pl.when(is_leap).then(at + pl.duration(seconds=1)).otherwise(at)
    else:
        digits, factor = EPOCHS[form]
        number = pl.when(ts.str.contains(rf"^\d{{{digits}}}$")).then(ts).cast(pl.Int64, strict=False)
        at = (number * factor).cast(UTC_US)
    return pl.when(at.dt.epoch("us").is_between(EARLIEST_US, LATEST_US)).then(at)


@dataclass(frozen=True)
class CandleFile:
    """A candle file and where each of its days lies in it."""

    path: Path
    header: tuple[str, ...]
    form: str  # how ts is written
    first: datetime
    last: datetime
    lines: Mapping[date, tuple[int, int]]  # UTC day → first and last line that hold a row of it

    @property
    def layout(self) -> Layout:
        """The columns by their name in the file, and the rules a sound row obeys."""
        names = [*REQUIRED[1:], *(c for c in OPTIONAL if c in self.header)]
        at = moment(self.form)
        price, volume = pl.col("open", "high", "low", "close"), pl.col("volume")
        inside = [pl.col(c).is_between(pl.col("low"), pl.col("high")) for c in ("open", "close")]
        count, bought = pl.col("trade_count"), pl.col("buy_volume")
        rules = {
            "ts is not the start of a minute": at.dt.truncate("1m") == at,
            "a price is not a positive number": pl.all_horizontal(price.is_finite() & (price > 0)),
            "high is below low": pl.col("high") >= pl.col("low"),
            "open or close lies outside low to high": pl.all_horizontal(inside),
            "volume is not a number of at least 0": volume.is_finite() & (volume >= 0),
        }
        if "trade_count" in names:
            rules["trade_count is not a whole number of at least 0"] = (
                (count >= 0) & (count < 2**53) & (count == count.floor())
            ).fill_null(True)
        if "buy_volume" in names:
            rules["buy_volume lies outside 0 to volume"] = bought.is_between(0, volume).fill_null(True)
        return Layout("candles", {"ts": pl.String()} | dict.fromkeys(names, pl.Float64()), rules)

    def state(self, day: date, rows: int) -> str:
        """Return what the file says of ``day``, of which it holds ``rows`` rows."""
        if not self.first.date() <= day <= self.last.date():
            return "missing"
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if self.first > start + EDGE or self.last < start + timedelta(days=1) - EDGE:
            return "partial"
        return "complete" if rows else "empty"


def open_file(path: Path) -> CandleFile:
    """Return the file with its index, which is made once per process and version of the file.

    Raises
    ------
    DamagedFile
        It is no such file, lacks a column, or holds a moment that belongs to no day.
    """
    about = path.stat()
    return _indexed(path, about.st_mtime_ns, about.st_size)


@contextmanager
def _named_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        code = "encoding" if "utf" in str(error).lower() else "unreadable"
        raise damaged(code, str(path), f"it cannot be read: {error}", FIX) from error


@functools.lru_cache(maxsize=64)
def _indexed(path: Path, changed_ns: int, size: int) -> CandleFile:
    with _named_faults(path):
        header = _header(path)
        stamps = _stamps(path, header).with_columns(pl.col("ts").fill_null(""))
        opening = stamps.head(1).collect()
        if opening.is_empty():
            raise damaged("empty", str(path), "there is no candle in it", FIX)
        form = form_of(opening["ts"][0]) or ISO
        read = stamps.with_columns(moment(form).alias("at"))
        for line, ts in read.filter(pl.col("at").is_null()).select("line_n", "ts").head(1).collect().iter_rows():
            said = f"ts {ts[:100]!r} is no moment of 2009 to 2100 written as {form}"
            ways = f"{', '.join(EPOCHS)}, or {ISO}, like 2018-01-01T00:00:00Z"
            raise damaged("unit", f"{path}, line {line}", said, f"a file writes all of its moments in one way: {ways}")
        number, at = pl.col("line_n"), pl.col("at")
        days = (
            read.group_by(at.dt.date().alias("day"))
            .agg(number.min().alias("from"), number.max().alias("to"), at.min().alias("first"), at.max().alias("last"))
            .collect(engine="streaming")
        )
    lines = {day: (first, last) for day, first, last in days.select("day", "from", "to").iter_rows()}
    return CandleFile(path, header, form, days["first"].min(), days["last"].max(), lines)  # type: ignore[arg-type]


def _header(path: Path) -> tuple[str, ...]:
    if path.suffix == ".parquet":
        schema = pl.scan_parquet(path).collect_schema()
        header = tuple(schema)
        texts = [c for c in (*REQUIRED[1:], *OPTIONAL) if c in schema and not schema[c].is_numeric()]
        if texts:
            said = f"{', '.join(texts)} must be numbers, not {schema[texts[0]]}"
            raise damaged("schema_drift", str(path), said, FIX)
        if "ts" in schema and not (schema["ts"].is_integer() or getattr(schema["ts"], "time_zone", None)):
            said = f"ts must be moments in UTC or epoch integers, not {schema['ts']}"
            raise damaged("schema_drift", str(path), said, FIX)
    else:
        _require_lines(path)
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            header = tuple(file.readline().rstrip("\r\n").split(","))
    absent = [c for c in REQUIRED if c not in header]
    repeated = sorted({c for c in header if header.count(c) > 1})
    if absent or repeated:
        said = f"lacks {', '.join(absent)}" if absent else f"has {', '.join(repeated)} twice"
        raise damaged("schema_drift", str(path), f"the header {said}; it is {','.join(header)[:200]}", FIX)
    return header


def _require_lines(path: Path) -> None:
    # Before anything holds a line of it.
    with path.open("rb") as file:
        block = file.read(BLOCK_BYTES)
        if block.startswith(MAGIC):
            raise damaged("content_type", str(path), "it is a gzip file, not a CSV", "unpack it")
        refuse_other_content(block, str(path), FIX)
        while len(block) == BLOCK_BYTES:
            if b"\n" not in block:
                raise damaged("line_too_long", str(path), f"a line is longer than {BLOCK_BYTES:,} bytes", FIX)
            block = file.read(BLOCK_BYTES)


def _table(path: Path) -> pl.LazyFrame:
    # Row 0 stands in line 2, as in a CSV with its header.
    table = pl.scan_parquet(path, row_index_name="line_n", row_index_offset=2)
    ts = pl.col("ts")
    if table.collect_schema()["ts"].is_temporal():
        ts = ts.dt.epoch("us")
    return table.with_columns(ts.cast(pl.String))


def _lines(path: Path) -> pl.LazyFrame:
    return pl.scan_lines(path, name="text", row_index_name="line_n", row_index_offset=1)


def _stamps(path: Path, header: tuple[str, ...]) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return _table(path).select(pl.col("line_n").cast(pl.Int64), "ts")
    return _lines(path).slice(1).select(pl.col("line_n").cast(pl.Int64), _ts_cell(header))


def _ts_cell(header: Sequence[str]) -> pl.Expr:
    place = header.index("ts")
    return pl.col("text").str.splitn(",", place + 2).struct.field(f"field_{place}").alias("ts")


@dataclass(frozen=True)
class DayOfFile:
    """What a file says of one day."""

    candles: pl.DataFrame  # ts and the file's columns
    refused: pl.DataFrame  # line_n, reason, text
    repeated: int  # equal repeats, dropped
    state: str


def read_day(path: Path, day: date) -> DayOfFile:
    """Return the candles of ``day``, each minute once.

    A Parquet row is judged as the line it would be in a CSV: one set of rules for both.

    Raises
    ------
    DamagedFile
        The file cannot be trusted as a whole.
    """
    file = open_file(path)
    first, last = file.lines.get(day, (2, 1))
    if path.suffix == ".parquet":
        header: Sequence[str] = list(file.layout.types)
        cells = [pl.col(c).cast(pl.String).fill_null("") for c in header]
        lines = _table(path).slice(first - 2, last - first + 1)
        lines = lines.select("line_n", pl.concat_str(cells, separator=",").alias("text"))
    else:
        header = file.header
        lines = _lines(path).slice(first - 1, last - first + 1)
    own = lines.with_columns(_ts_cell(header)).filter(moment(file.form).dt.date() == day)
    with _named_faults(path):
        body = own.select(pl.col("line_n").cast(pl.Int64), "text").collect()
    kept, refused = judge(body, header, file.layout, str(path))
    candles, torn = _each_minute_once(kept.with_columns(moment(file.form).alias("ts")), body)
    refused = pl.concat([refused, torn]).sort("line_n")
    dropped = body.height - candles.height - refused.height
    return DayOfFile(candles.drop("line_n"), refused, dropped, file.state(day, body.height))


def _each_minute_once(kept: pl.DataFrame, body: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    # Equal repeats are one candle, delivered twice. With other values nobody can tell which is right.
    once = kept.unique(subset=pl.exclude("line_n"), keep="first", maintain_order=True)
    torn = pl.col("ts").is_duplicated()
    lines = kept.join(once.filter(torn).select("ts"), on="ts", how="semi").select("line_n")
    refused = body.join(lines, on="line_n", how="semi").select(
        "line_n", pl.lit("the minute is there again with other values").alias("reason"), "text"
    )
    return once.filter(~torn), refused
