"""Bad files: cut, padded, exploding, empty, of another kind, encoding or layout (1-25)."""

import gzip
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from faults.case import Case
from faults.see import (
    CANDLE_HEADER,
    HEADER,
    candles,
    code_of,
    delivered,
    file,
    minute,
    packed,
    read,
    row,
    rows,
    text,
    update,
)

from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, positive
from crpbot_dagster.assets.raw.records import json_of, read_records
from crpbot_dagster.assets.raw.tardis import F64

START_MS = 1_700_438_400_000
SOUND = packed(rows())
HALF = len(rows()) // 2


def flipped(at: int) -> bytes:
    return SOUND[:at] + bytes([SOUND[at] ^ 0x10]) + SOUND[at + 1 :]


def two_members(folder: Path) -> str:
    members = packed(rows()[:HALF]) + gzip.compress(("\n".join(rows()[HALF:]) + "\n").encode())
    parsed, _ = read(folder, members)
    return f"accepted, all rows of both members: {parsed.rows == parsed.frame.collect().height == len(rows())}"


MEASURE = """
import re, sys, time
from pathlib import Path
import polars as pl
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, parse
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
path, layout = Path(sys.argv[1]), Layout("trades", {"price": pl.Float64()}, {})
start, before = time.perf_counter(), peak()
try:
    parse(path, layout, path.with_suffix(".parquet"))
except DamagedFile as error:
    seconds, mib = time.perf_counter() - start, peak() - before
    within = "within 50 MiB and 5 s" if mib < 50 and seconds < 5 else f"{mib:.0f} MiB, {seconds:.1f} s"
    print(f"file refused: {str(error).partition(':')[0]}, {within}")
"""


def measured(payload: bytes):
    """See the parser in a process of its own, whose memory is measured above what its imports take."""

    def see(folder: Path) -> str:
        path = folder / "file.csv.gz"
        path.write_bytes(payload)
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True)
        return done.stdout.strip() or done.stderr[-200:]

    return see


def bomb() -> bytes:
    return gzip.compress(bytes(100 * 2**20))


def endless_line() -> bytes:
    # Members may follow each other, so a hundred times the same one is a hundred megabytes without an end of line.
    return gzip.compress(f"{HEADER}\n".encode()) + gzip.compress(os.urandom(2**19).hex().encode(), 1) * 100


def archive(folder: Path) -> str:
    outside = folder.parent / "escaped"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("../escaped", "x")
        zipped.writestr("/tmp/escaped", "x")
    said = file(made.getvalue())(folder)
    return said if not outside.exists() else "written outside of its folder"


def numbers_of_records(folder: Path) -> str:
    layout = Layout("records", {"price": F64}, {"price is not a positive number": positive("price")})
    records = json_of(b'[{"price": "1.5"}, {"price": 1.5}]', "answer")
    return "accepted, as equal" if read_records(records, layout).frame.collect()["price"].n_unique() == 1 else "guessed"


def document(body: bytes):
    def see(folder: Path) -> str:
        try:
            json_of(body, "answer")
        except DamagedFile as error:
            return code_of(error)
        return "accepted"

    return see


TRUNCATED = "QF `gz_truncated`, then RETRY fetch"
KIND = "QF `content_type`"
UNIT = "FAIL `unit`; FIX only with a dated rule"
DRIFT = "FAIL `schema_drift`; reordered by name ACC"

CASES = (
    Case(1, "gzip cut by 5 bytes", TRUNCATED, "file refused: gz_truncated", file(SOUND[:-5])),
    Case(2, "gzip cut in the middle", "QF, RETRY; never a short partition", "file refused: gz_truncated, the day stays",
         delivered(SOUND, SOUND[: len(SOUND) // 2])),
    Case(3, "CRC flipped in the trailer", "QF `gz_crc`", "file refused: gz_crc", file(flipped(len(SOUND) - 8))),
    Case(4, "one bit flipped in the body", "QF", "file refused: gz_crc", file(flipped(len(SOUND) // 2))),
    Case(5, "two gzip members", "ACC, all rows of both members", "accepted, all rows of both members: True", two_members),
    Case(6, "second member lost at the boundary", "caught by bytes/sha/row-count check → QF",
         "asked again: until the body is as long as it was said to be",
         where="tests/resources/test_landing.py::test_a_cut_download_is_tried_again_and_leaves_nothing"),
    Case(7, "garbage after the last member", "QF `gz_trailing`", "file refused: gz_trailing", file(SOUND + b"garbage")),
    Case(8, "zeros after the last member", "FIX, counted", "repaired: bytes of zero padding", file(SOUND + bytes(512))),
    Case(9, "gzip bomb, 100 MiB of zeros", "QF `ratio`, peak RSS < 300 MiB, < 5 s",
         "file refused: ratio, within 50 MiB and 5 s", measured(bomb())),
    Case(10, "gzip in gzip", "QF (no recursion)", "file refused: gz_nested", file(gzip.compress(SOUND))),
    Case(11, "zip with ../ and absolute names", "REJ, nothing written outside the temp dir",
         "file refused: content_type", archive),
    Case(12, "0 bytes with 200", "QF `empty`; not the same as no trades", "file refused: empty", file(b"")),
    Case(12, "0 bytes with 200, through the asset", "QF `empty`; not the same as no trades",
         "file refused: empty, the day stays", delivered(SOUND, b"")),
    Case(13, "header only, of a dataset: the vendor's word for no trades", "EMPTY_CONFIRMED only if the source says so",
         "state empty", delivered(packed([]))),
    Case(13, "header only, of a candle file", "else FAIL", "file refused: empty", candles(f"{CANDLE_HEADER}\n".encode())),
    Case(14, "HTML page with 200", KIND, "file refused: content_type", file(b"<!DOCTYPE html><html>no</html>")),
    Case(14, "HTML page with 200, packed", KIND, "file refused: content_type", file(gzip.compress(b"\n<html>no</html>"))),
    Case(14, "JSON error with 200", KIND, "file refused: content_type", file(b'{"error": "limit"}')),
    Case(15, "UTF-16", "QF", "file refused: encoding", file(gzip.compress(text(rows()).decode().encode("utf-16")))),
    Case(15, "byte-order mark", "FIX", "repaired: byte-order marks", file(gzip.compress(b"\xef\xbb\xbf" + text(rows())))),
    Case(15, "a Latin-1 byte", "QF", "file refused: encoding",
         file(gzip.compress(text(rows()) + row(9, side="b\xe9").encode("latin-1") + b"\n"))),
    Case(16, "NUL in a field", "QR", "row refused: a quote or a control character", file(packed([*rows(9), row(9, id="a\0b")]))),
    Case(16, "bell in a field", "QR", "row refused: a quote or a control character", file(packed([*rows(9), row(9, id="\7")]))),
    Case(17, "CRLF", "FIX", "repaired: lines ended as Windows does", file(gzip.compress(text(rows(), newline="\r\n")))),
    Case(17, "last line without its end", "FIX", "repaired: last line without its end", file(gzip.compress(text(rows())[:-1]))),
    Case(18, "line of 100 MB", "QF `line_too_long`, memory bounded", "file refused: line_too_long, within 50 MiB and 5 s",
         measured(endless_line())),
    Case(18, "line of 3 MB in a candle file", "QF `line_too_long`, memory bounded", "file refused: line_too_long",
         candles(f"{CANDLE_HEADER}\n".encode() + b"1" * 3_000_000)),
    Case(19, "unbalanced quote", "QF", "file refused: quotes", file(packed([*rows(9), row(9, id='"a'), row(10)]))),
    Case(20, "too few fields", "QR", "row refused: not 8 fields", file(packed([*rows(), "coinbase,BTC-USD"]))),
    Case(20, "too many fields", "QR", "row refused: not 8 fields", file(packed([*rows(), row(9) + ",1"]))),
    Case(20, "too few fields in 0.2 % of the rows", "> 0.1 % → FAIL", "day refused: share of rows quarantined, the day stays",
         delivered(SOUND, packed([*rows(), *["coinbase,BTC-USD"] * 4]))),
    Case(21, "column renamed", DRIFT, "file refused: schema_drift", file(packed(rows(), HEADER.replace("price", "px")))),
    Case(21, "column dropped", DRIFT, "file refused: schema_drift",
         file(packed([r.rpartition(",")[0] for r in rows()], HEADER.rpartition(",")[0]))),
    Case(21, "columns reordered", DRIFT, "accepted",
         file(packed([",".join(reversed(r.split(","))) for r in rows()], ",".join(reversed(HEADER.split(",")))))),
    Case(22, "new extra column", "ACC, kept in raw, alert once", "noted: columns not read: fee",
         file(packed([f"{r},0.1" for r in rows()], f"{HEADER},fee"))),
    Case(23, '`"1.5"` in a CSV that quotes nothing', "per-source contract: FIX or FAIL, never guessed",
         "row refused: a quote or a control character", file(packed([*rows(9), row(9, price='"1.5"')]))),
    Case(23, '`"1.5"` and `1.5` in JSON', "per-source contract: FIX or FAIL, never guessed", "accepted, as equal",
         numbers_of_records),
    Case(23, "`True` for a flag", "per-source contract: FIX or FAIL, never guessed", "accepted", update(is_snapshot="True")),
    *(Case(23, f"`{flag}` for a flag", "per-source contract: FIX or FAIL, never guessed",
           "row refused: is_snapshot is neither true nor false", update(is_snapshot=flag)) for flag in ("1", "t")),
    Case(24, "header missing", "detect by contract, FIX", "file refused: schema_drift",
         file(gzip.compress("\n".join(rows()).encode()))),
    Case(25, "ms where µs are agreed", UNIT, "file refused: unit",
         file(packed([row(i, timestamp=str(START_MS + i), local_timestamp=str(START_MS + i)) for i in range(9)]))),
    Case(25, "ns where µs are agreed", UNIT, "file refused: unit",
         file(packed([row(i, timestamp=f"{START_MS + i}000000") for i in range(9)]))),
    Case(25, "µs in a candle file of seconds", UNIT, "file refused: unit",
         candles("\n".join([CANDLE_HEADER, minute("1700438400"), minute("1700438460000000"), ""]).encode())),
    Case(64, "JSON cut", "QF", "file refused: json", document(b'{"a": [1, 2')),
    Case(64, "JSON with a key twice", "QF", "file refused: json", document(b'{"a": 1, "a": 2}')),
    Case(64, "JSON 10,000 deep", "QF; no RecursionError escape", "file refused: json", document(b"[" * 10_000)),
    Case(64, "JSON with NaN", "QF", "file refused: json", document(b'{"a": NaN}')),
)  # fmt: skip
