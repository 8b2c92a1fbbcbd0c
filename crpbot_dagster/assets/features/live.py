"""The engine of live features: minutes arrive in chunks, and the functions of history give the bits of history.

A feed keeps the rows that the longest reach needs, builds a set on them and each new chunk, and returns the chunk's
own rows. It can be saved and opened again: a process that was killed goes on from its last save. Not here: where
minutes come from, the service around it; the formulas (one module per set).
"""

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from crpbot_dagster.assets.features.inputs import Build, Inputs

HELD_ROWS = 1_440  # the longest reach, 1,441 minutes (docs/conventions.md), less the new row itself
HELD_BUCKETS = timedelta(minutes=HELD_ROWS)


class BrokenFeed(ValueError):
    """A chunk does not follow the minutes that the feed holds: a row of a window would be missing or double."""


@dataclass(frozen=True)
class Feed:
    """The last minutes of one symbol; ``push`` returns a feed with the new ones, and never changes this one."""

    held: Inputs | None = None

    @property
    def last(self) -> datetime | None:
        """The start of the newest minute held, None before the first."""
        return None if self.held is None else self.held.trades["ts"][-1]

    def push(self, fresh: Inputs, build: Build) -> tuple["Feed", pl.DataFrame]:
        """Return the feed after a chunk of minutes, and the set's rows of the chunk.

        ``fresh`` has the new minutes, the buckets they completed, and the slow tables as they are known now.

        Raises
        ------
        BrokenFeed
            The chunk does not begin one minute after the newest held.
        """
        first = fresh.trades["ts"][0]
        if self.last is not None and first != self.last + timedelta(minutes=1):
            raise BrokenFeed(f"the feed ends with {self.last}, the chunk begins with {first}: send what lies between")
        joined = fresh if self.held is None else _joined(self.held, fresh)
        n, new = joined.trades.height, fresh.trades.height
        made = build(joined).tail(new)
        kept = joined.rows(max(0, n - HELD_ROWS), n)
        if kept.buckets is not None:
            since = kept.trades["ts"][0] - HELD_BUCKETS
            kept = replace(kept, buckets=kept.buckets.filter(pl.col("end_ts") >= since))
        return Feed(kept), made

    def save(self, path: Path) -> None:
        """Write the feed to one file, whole or not at all."""
        if self.held is None:
            raise BrokenFeed("the feed holds nothing yet: there is nothing to save")
        temporary = path.with_suffix(".tmp")
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, frame in _frames(self.held).items():
                body = io.BytesIO()
                frame.write_ipc(body)
                archive.writestr(name, body.getvalue())
        os.replace(temporary, path)

    @classmethod
    def open(cls, path: Path) -> "Feed":
        """Return the feed that was saved last."""
        with zipfile.ZipFile(path) as archive:
            frames = {name: pl.read_ipc(archive.read(name)) for name in archive.namelist()}
        found: dict[str, Any] = {}
        for name, frame in frames.items():
            group, _, key = name.partition("/")
            if key:
                found.setdefault(group, {})[key] = frame
            else:
                found[name] = frame
        return cls(Inputs(**found))


def _frames(inputs: Inputs) -> dict[str, pl.DataFrame]:
    found: dict[str, pl.DataFrame] = {}
    for f in fields(inputs):
        value = getattr(inputs, f.name)
        if isinstance(value, Mapping):
            found |= {f"{f.name}/{key}": frame for key, frame in value.items()}
        elif value is not None:
            found[f.name] = value
    return found


def _joined(held: Inputs, fresh: Inputs) -> Inputs:
    ours, theirs = _frames(held), _frames(fresh)
    both = {name: pl.concat([ours[name], frame]) for name, frame in theirs.items() if not name.startswith("slow/")}

    def group(name: str) -> dict[str, pl.DataFrame]:
        return {key: both[f"{name}/{key}"] for key in getattr(fresh, name)}

    return Inputs(
        trades=both["trades"],
        book=both.get("book"),
        partner_book=both.get("partner_book"),
        venue_trades=group("venue_trades"),
        venue_books=group("venue_books"),
        derivatives=group("derivatives"),
        fx=both.get("fx"),
        buckets=both.get("buckets"),
        slow=fresh.slow,
    )
