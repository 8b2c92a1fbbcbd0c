"""How payloads are spoiled: bytes, lines, cells and leaves, columns and keys, by operations that hypothesis draws.

Not here: which parsers are fed with them, and what must hold (``test_fuzz.py``).
"""

import copy
import gzip
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from hypothesis import strategies as st

NASTY: tuple[Any, ...] = (
    "", "NaN", "nan", "Infinity", "-Infinity", "1e400", "1e-400", "-0", "0", "+1", " 1", "1_000.5", "1,5", "１", "١",
    "9" * 30, "9" * 400, "1." + "0" * 400, "-1", "9223372036854775807", "9223372036854775808", "1e18", "true", "null",
    "1700000000", "1700438400", "1700438400000", "1700000000.123456", "2023-11-20", "2023-11-20T00:00:00",
    "2016-12-31T23:59:60Z", "x" * 5_000, "a\0b", "\x07", "\ufeff", "\u202e", '"', "'; DROP TABLE t;--", "../../etc/passwd",
    None, True, False, 0, -1, 1, 10**30, -(10**30), 1e308, 1e-320, 0.1 + 0.2, 1.7e12, [], {}, [[]], {"a": {"b": [1]}},
    [None], ["1", "2"],
)  # fmt: skip


@dataclass(frozen=True)
class Op:
    """One operation: ``what`` at ``where`` (a share of the payload), as long as ``span``, with ``value``."""

    what: str
    where: float
    span: float
    value: int  # place in NASTY, or a byte


BYTES = ("flip", "cut", "insert", "repeat", "truncate", "append")
LINES = ("double", "drop", "swap", "empty", "split")
CELLS = ("cell", "column", "rename", "remove", "add", "reorder")
share = st.floats(0, 1, exclude_max=True)


def ops(kind: str) -> st.SearchStrategy[list[Op]]:
    """Draw one to four operations; those on meaning are drawn more often than those on bytes."""
    names = st.one_of(st.sampled_from(CELLS), st.sampled_from(LINES), st.sampled_from(BYTES))
    return st.lists(st.builds(Op, names, share, share, st.integers(0, 255)), min_size=1, max_size=4)


def spoil(kind: str, payload: bytes, drawn: list[Op]) -> bytes:
    """Return the payload after its operations; those on bytes come last, on what travels."""
    meant = [op for op in drawn if op.what not in BYTES]
    if meant:
        payload = KINDS[kind](payload, meant)
    for op in drawn:
        if op.what in BYTES:
            payload = spoil_bytes(payload, op)
    return payload


def at(share: float, n: int) -> int:
    return min(int(share * n), max(n - 1, 0))


def spoil_bytes(payload: bytes, op: Op) -> bytes:
    if not payload:
        return bytes([op.value])
    i = at(op.where, len(payload))
    j = min(i + 1 + int(op.span * 64), len(payload))
    return {
        "flip": payload[:i] + bytes([payload[i] ^ (1 << op.value % 8)]) + payload[i + 1 :],
        "cut": payload[:i] + payload[j:],
        "insert": payload[:i] + bytes([op.value]) + payload[i:],
        "repeat": payload[:j] + payload[i:],
        "truncate": payload[:i],
        "append": payload + bytes([op.value]) * (j - i),
    }[op.what]


def spoil_rows(rows: list[Any], op: Op) -> list[Any]:
    if not rows:
        return rows
    i, j = at(op.where, len(rows)), at(op.span, len(rows))
    made = list(rows)
    if op.what == "double":
        made.insert(j, copy.deepcopy(rows[i]))
    elif op.what == "drop":
        del made[i]
    elif op.what == "swap":
        made[i], made[j] = made[j], made[i]
    elif op.what == "empty":
        made[i] = type(rows[i])() if rows[i] is not None else None
    elif op.what == "split" and isinstance(rows[i], str):
        made[i : i + 1] = [rows[i][: len(rows[i]) // 2], rows[i][len(rows[i]) // 2 :]]
    return made


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def spoil_table(rows: list[list[str]], op: Op) -> list[list[str]]:
    """Spoil the cells and columns of a table whose first row is its header."""
    width = len(rows[0])
    column, row = at(op.where, width), 1 + at(op.span, len(rows) - 1)
    value = text_of(NASTY[op.value % len(NASTY)])
    if op.what == "cell" and row < len(rows) and column < len(rows[row]):
        rows[row][column] = value
    elif op.what == "column":
        rows[1:] = [[value if i == column else c for i, c in enumerate(r)] for r in rows[1:]]
    elif op.what == "rename":
        rows[0][column] = value
    elif op.what == "remove":
        rows = [r[:column] + r[column + 1 :] for r in rows]
    elif op.what == "add":
        rows = [[*r[:column], "new" if n == 0 else value, *r[column:]] for n, r in enumerate(rows)]
    elif op.what == "reorder":
        rows = [r[column:] + r[:column] for r in rows]
    return rows


def spoil_csv(payload: bytes, drawn: list[Op]) -> bytes:
    lines = payload.decode().split("\n")
    for op in drawn:
        if op.what in LINES:
            lines = spoil_rows(lines, op)
        elif lines:
            lines = [",".join(r) for r in spoil_table([line.split(",") for line in lines], op)]
    return "\n".join(lines).encode()


def spoil_gzip(payload: bytes, drawn: list[Op]) -> bytes:
    try:
        text = gzip.decompress(payload)
    except (EOFError, OSError, zlib.error):
        return payload
    return gzip.compress(spoil_csv(text, drawn), 1, mtime=0)


def spoil_parquet(payload: bytes, drawn: list[Op]) -> bytes:
    frame = pl.read_parquet(io.BytesIO(payload))
    for op in drawn:
        i, n = at(op.where, max(frame.width, 1)), at(op.span, max(frame.height, 1))
        name = frame.columns[i] if frame.width else "none"
        value = NASTY[op.value % len(NASTY)]
        if op.what in LINES:
            picked = spoil_rows(
                list(range(frame.height)), op if op.what not in ("empty", "split") else Op("drop", op.where, op.span, 0)
            )
            frame = frame[picked]
        elif op.what == "rename" and frame.width:
            new = text_of(value)[:50]
            frame = frame if new in frame.columns else frame.rename({name: new})
        elif op.what == "remove" and frame.width > 1:
            frame = frame.drop(name)
        elif op.what == "reorder":
            frame = frame.select(frame.columns[i:] + frame.columns[:i])
        elif op.what == "add":
            frame = frame.with_columns(pl.lit(text_of(value)).alias("new"))
        elif frame.width and frame.height:
            here = pl.int_range(pl.len()) == n if op.what == "cell" else pl.lit(True)
            own = frame.schema[name]
            unlike = pl.lit(None) if own in (pl.Boolean, pl.Null) else pl.lit(text_of(value)).cast(own, strict=False)
            spoilt = pl.lit(text_of(value)) if op.value % 2 else unlike
            kept = pl.col(name).cast(pl.String, strict=False) if op.value % 2 else pl.col(name)
            if own.is_float() and op.value % 3 == 0:
                spoilt, kept = pl.lit((float("nan"), float("inf"), -0.0, 1e300)[op.value % 4]), pl.col(name)
            frame = (
                frame.with_columns(pl.when(here).then(spoilt).otherwise(kept).alias(name))
                if not own.is_nested()
                else frame
            )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def places(node: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every node below."""
    found: list[tuple[Any, Any]] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        found.append((node, key))
        found += places(child)
    return found


def spoil_json(payload: bytes, drawn: list[Op]) -> bytes:
    try:
        root = [json.loads(payload)]
    except ValueError:
        return payload
    for op in drawn:
        spots = places(root)
        container, key = spots[at(op.where, len(spots))]
        value = copy.deepcopy(NASTY[op.value % len(NASTY)])
        if op.what in LINES:
            lists = [(c, k) for c, k in spots if isinstance(c[k], list)]
            if lists:
                c, k = lists[at(op.span, len(lists))]
                c[k] = spoil_rows(c[k], op)
        elif op.what == "column" and isinstance(container, dict):
            for c, k in spots:  # the same key, wherever it is
                if k == key and isinstance(c, dict):
                    c[k] = copy.deepcopy(value)
        elif op.what == "rename" and isinstance(container, dict):
            container[text_of(value)[:50]] = container.pop(key)
        elif op.what == "remove":
            del container[key]
        elif op.what == "add" and isinstance(container, dict):
            container["new"] = value
        elif op.what == "reorder" and isinstance(container[key], list):
            container[key].reverse()
        else:
            container[key] = value
        if not root:
            root = [None]
    return json.dumps(root[0]).encode()


KINDS: dict[str, Callable[[bytes, list[Op]], bytes]] = {
    "csv": spoil_csv,
    "csv.gz": spoil_gzip,
    "json": spoil_json,
    "parquet": spoil_parquet,
}
