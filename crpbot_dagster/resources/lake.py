"""The lake: Delta tables partitioned by symbol and UTC day.

A partition is replaced whole, in one Delta commit, or not at all. The same commit carries the day's state
(``complete``, ``empty``, ``partial``, ``missing``, ``not_licensed``, ``not_configured``) as a Delta application
transaction, so that a day of zero rows is still known to be there, and data and state can never disagree.
Every load is complete or refused. A market-wide table has one partition a day, the same for whatever symbol it is
asked about. Not here: the door every row passes (``door.py``), which rules hold (``tables/``), soft checks
(``assets/checks.py``).

Source: the Delta transaction protocol, "Transaction Identifiers",
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#transaction-identifiers
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from pydantic import PrivateAttr

from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import Table

STATES = ("complete", "empty", "partial", "missing", "not_licensed", "not_configured")
ANSWERED = ("complete", "partial", "empty")  # the source answered: what is held is what happened
STATE_CODE = {name: code for code, name in enumerate(STATES, start=1)}
WITHOUT_ROWS = frozenset(
    STATE_CODE[s] for s in ("empty", "missing", "not_licensed", "not_configured")
)  # a day that needs no file


BATCH_ROWS = 200_000
TICK_FILES = WriterProperties(
    compression="SNAPPY",
    # Prices, times and ids hardly repeat, and a day is read whole: looking for a dictionary in them and keeping
    # the extremes of every page costs a third of the write.
    default_column_properties=ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE"),
    column_properties={
        "venue": ColumnProperties(dictionary_enabled=True, statistics_enabled="NONE"),
        "side": ColumnProperties(dictionary_enabled=True, statistics_enabled="NONE"),
        "ts_received": ColumnProperties(dictionary_enabled=False, statistics_enabled="CHUNK"),
    },
)


class IncompleteError(LookupError):
    """Days that were asked for are not in the lake."""


class WouldErase(ValueError):
    """A source says it has no such day, but the lake holds it: the day stays until a better one replaces it."""


class OtherSchema(ValueError):
    """A table of the lake was made by another version of the platform, and adding columns does not mend it."""


class StampError(ValueError):
    """The lake holds data of another market."""


@dataclass(frozen=True)
class Built:
    """What an asset made: a frame, the day's state, where it came from, and facts for checks and metadata."""

    frame: pl.DataFrame | pl.LazyFrame
    state: str
    source: str
    facts: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    folder: TemporaryDirectory[str] | None = None  # holds the staged file; lives until the door has read it
    is_large: bool = False  # lies in a file, too large to be held
    after: Callable[[], None] | None = None  # what may happen only once the partition is published
    refused: Callable[[], None] | None = None  # what must happen when the audit refuses it

    def __post_init__(self) -> None:
        if self.state not in STATE_CODE:
            raise ValueError(f"state {self.state!r} is none of {', '.join(STATES)}")


@dataclass(frozen=True)
class Audited:
    """A built frame whose rules were measured and held: what the door lets through."""

    built: Built
    rows: int
    content: str  # digest of what it says: redelivery.py


def measure(frame: pl.LazyFrame, measures: Mapping[str, pl.Expr], apart: bool) -> dict[str, float | None]:
    """Compute aggregating expressions; name → number.

    Together in one pass, or each in a pass of its own: one expression that cannot stream (a difference of
    neighbours) would otherwise hold the columns of all in memory.
    """
    if not measures:
        return {}
    if apart:
        return {k: v for n, e in measures.items() for k, v in measure(frame, {n: e}, False).items()}
    row = frame.select(e.cast(pl.Float64).alias(n) for n, e in measures.items()).collect(engine="streaming")
    return row.row(0, named=True)


class Lake(dg.ConfigurableResource):
    """Reads and writes the lake's tables by name.

    ``url`` is its folder, ``market`` the stamp (live, recordings, or which simulated market),
    ``start_day`` the first day of the platform, before which nothing exists.
    """

    url: str
    market: str
    start_day: str
    storage_options: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    _opened: dict[str, DeltaTable] = PrivateAttr(default_factory=dict)
    _codes: dict[str, tuple[int, dict[str, int | None]]] = PrivateAttr(default_factory=dict)  # of one version
    _stamped: bool = PrivateAttr(default=False)

    def path(self, table: str) -> str:
        """Return the Delta table's address; ``table`` is ``stage/name``."""
        if table not in TABLES:
            raise KeyError(f"no table {table!r} in the data dictionary")
        return f"{self.url}/{table}"

    def delta(self, table: str) -> DeltaTable | None:
        """Return the Delta table as it is now, None when nothing was ever written to it.

        An open table is brought up to date instead of opened again: that reads the new commits only.
        """
        if table in self._opened:
            self._opened[table].update_incremental()
            return self._opened[table]
        try:
            self._opened[table] = DeltaTable(self.path(table), storage_options=self.storage_options)
        except TableNotFoundError:
            return None
        return self._opened[table]

    # --- the stamp ---------------------------------------------------------------------------------

    def stamp(self) -> str | None:
        """Return the market this lake was made from, None when it is new."""
        try:
            stamped = DeltaTable(f"{self.url}/stamp", storage_options=self.storage_options)
        except TableNotFoundError:
            return None
        return str(pl.read_delta(stamped)["market"][0])

    def check_stamp(self) -> None:
        """Stamp a new lake; refuse one made from another market.

        Raises
        ------
        StampError
            The lake was made from another market.
        """
        if self._stamped:
            return
        made = self.stamp()
        if made is None:
            row = pl.DataFrame({"market": [self.market], "stamped_at": [datetime.now(UTC)]})
            # "ignore": of two processes that stamp at once, one wins and both read the same stamp below.
            write_deltalake(f"{self.url}/stamp", row, mode="ignore", storage_options=self.storage_options)
            made = self.stamp()
        if made != self.market:
            raise StampError(
                f"the lake at {self.url} was made from {made!r} data and the market is set to {self.market!r}: "
                "choose another CRPBOT_HOME, or the market's settings as before"
            )
        self._stamped = True

    # --- writing -----------------------------------------------------------------------------------

    def create(self, table: str) -> DeltaTable:
        """Return the Delta table, made empty if it was not there; safe against a process that does the same."""
        found = self.delta(table)
        if found is not None:
            return found
        try:
            return DeltaTable.create(
                self.path(table),
                schema=TABLES[table].empty().to_arrow().schema,
                mode="ignore",
                partition_by=list(TABLES[table].partition),
                storage_options=self.storage_options,
            )
        except CommitFailedError:
            found = self.delta(table)
            if found is None:
                raise
            return found

    def prepare(self) -> None:
        """Stamp the lake and have every table as it is declared, before several processes write to it at once.

        Raises
        ------
        OtherSchema
            A table in the lake differs by more than columns that were added and may be null.
        """
        self.check_stamp()
        for table in TABLES:
            self._migrate(table, self.create(table))

    def _migrate(self, table: str, delta: DeltaTable) -> None:
        held, declared = [f.name for f in delta.schema().fields], TABLES[table].schema
        gone = [n for n in held if n not in declared]
        new = [n for n in declared if n not in held]
        forced = [n for n in new if TABLES[table].column(n).required]
        if gone or forced:
            raise OtherSchema(
                f"{table} in {self.url} was made by another version: columns {', '.join(gone + forced)} differ and no "
                "migration fits. Build it again in another CRPBOT_HOME, or keep the version that made it"
            )
        if new:
            fields = Schema.from_arrow(pl.DataFrame(schema={n: declared[n] for n in new}).to_arrow().schema).fields
            delta.alter.add_columns(fields)

    def publish(
        self,
        table: str,
        frame: pl.DataFrame | pl.LazyFrame,
        symbol: str,
        day: date,
        state: str,
        /,
        is_large: bool = False,
        **extra: str,
    ) -> int:
        """Replace one partition in one commit and return the Delta version.

        The caller has checked the hard rules; ``extra`` names further partition columns of the table. A frame
        that ``is_large`` is written batch by batch: polars' own writer would hold most of it.
        """
        self.check_stamp()
        delta = self.create(table)
        keys = {"symbol": symbol, "day": day.isoformat(), **extra}
        if TABLES[table].is_market_wide:
            del keys["symbol"]
        where = " AND ".join(f"{c} = DATE '{v}'" if c == "day" else f"{c} = '{v}'" for c, v in keys.items())
        options: dict[str, Any] = {
            "partition_by": list(TABLES[table].partition),
            "predicate": where,
            "commit_properties": CommitProperties(
                app_transactions=[Transaction(app_id=_app_id(table, symbol, day, extra), version=STATE_CODE[state])]
            ),
        }
        if TABLES[table].streamed:
            options["writer_properties"] = TICK_FILES
        rows = TABLES[table].conform(frame.lazy())
        if is_large:
            write_deltalake(delta, _batches(rows, TABLES[table]), mode="overwrite", **_write_options(options))
        else:
            rows.sink_delta(delta, mode="overwrite", delta_write_options=options)
        return delta.version()

    # --- reading -----------------------------------------------------------------------------------

    def state(self, table: str, symbol: str, day: date, /, **extra: str) -> str | None:
        """Return the state of a partition, None when it was never published."""
        delta = self.delta(table)
        if delta is None:
            return None
        code = self._code(table, delta, _app_id(table, symbol, day, extra))
        return None if code is None else STATES[code - 1]

    def _code(self, table: str, delta: DeltaTable, app_id: str) -> int | None:
        # delta-rs reads the log again for each question, milliseconds a time; the answer changes with a commit only.
        version, known = self._codes.get(table, (-1, {}))
        if version != delta.version():
            known = {}
            self._codes[table] = delta.version(), known
        if app_id not in known:
            known[app_id] = delta.transaction_version(app_id)
        return known[app_id]

    def states(self, table: str, symbol: str, days: Iterable[date]) -> dict[date, str | None]:
        """Return the state of each of ``days``, None where it was never published or was deleted."""
        wanted = list(days)
        return dict.fromkeys(wanted) | self.held(table, symbol, wanted)

    def keep_held(self, table: str, symbol: str, day: date, state: str, said: str) -> None:
        """Refuse to replace a day the lake holds by the news that there is none.

        Raises
        ------
        WouldErase
            ``state`` is missing, not_licensed or not_configured and the lake holds the day.
        """
        if state not in ANSWERED and self.held(table, symbol, [day]).get(day) in ANSWERED:
            raise WouldErase(
                f"{said} is {state} now, but the lake holds {table} of {symbol} {day}: it stays as it was. Check the "
                "source and its licence before running it again"
            )

    def held(self, table: str, symbol: str, days: Iterable[date]) -> dict[date, str]:
        """Return those of ``days`` that are there, with their state.

        Deleting a partition's files leaves its state in the log: a day said to be complete without a file is gone.
        """
        delta = self.delta(table)
        if delta is None:
            return {}
        filled = {p["day"] for p in delta.partitions() if p.get("symbol", symbol) == symbol}
        found = {}
        for day in days:
            code = self._code(table, delta, _app_id(table, symbol, day))
            if code is not None and (day.isoformat() in filled or code in WITHOUT_ROWS):
                found[day] = STATES[code - 1]
        return found

    def missing(self, table: str, symbol: str, days: Iterable[date]) -> list[date]:
        """Return those of ``days`` whose partition was never published, or was deleted."""
        wanted = list(days)
        held = self.held(table, symbol, wanted)
        return [d for d in wanted if d not in held]

    def days(self, table: str, symbol: str) -> list[date]:
        """Return the days of ``symbol`` that hold rows, sorted."""
        delta = self.delta(table)
        if delta is None:
            return []
        return sorted(date.fromisoformat(p["day"]) for p in delta.partitions() if p.get("symbol", symbol) == symbol)

    def scan(self, table: str, symbol: str, first: date, last: date) -> pl.LazyFrame:
        """Return the rows of ``symbol`` on ``first`` … ``last`` that are there, unsorted."""
        delta = self.delta(table)
        if delta is None:
            return TABLES[table].empty().lazy()
        found = pl.scan_delta(delta)
        here = pl.col("day").is_between(first, last)
        if not TABLES[table].is_market_wide:
            here &= pl.col("symbol") == symbol
        return found.filter(here).select(list(TABLES[table].schema))

    def window(self, table: str, symbol: str, first: date, last: date) -> pl.LazyFrame:
        """Return the rows of ``symbol`` on ``first`` … ``last``: all of those days, or an error.

        Raises
        ------
        IncompleteError
            A day of the window was never published; the message names each.
        """
        days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
        absent = self.missing(table, symbol, days)
        if absent:
            shown = ", ".join(d.isoformat() for d in absent[:10]) + (" …" if len(absent) > 10 else "")
            raise IncompleteError(
                f"{table} of {symbol} lacks {len(absent)} of the {len(days)} days asked for: {shown}. "
                f"Materialise them first: {_advice(table, symbol, absent[0], absent[-1])}"
            )
        return self.scan(table, symbol, first, last)

    def look_back(self, table: str, symbol: str, first: date, last: date) -> pl.LazyFrame:
        """Return a window whose days before the platform's start day do not exist and are not asked for.

        For look-backs alone: a training or test window is never shortened.
        """
        first = max(first, date.fromisoformat(self.start_day))
        return self.window(table, symbol, first, last) if first <= last else TABLES[table].empty().lazy()

    def version(self, table: str) -> int | None:
        """Return the Delta version of a table, None when it does not exist."""
        delta = self.delta(table)
        return None if delta is None else delta.version()


def _batches(rows: pl.LazyFrame, table: Table) -> pa.RecordBatchReader:
    schema = table.empty().to_arrow().schema
    frames = rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")
    batches = (batch for frame in frames for batch in frame.to_arrow().cast(schema).to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)


def _write_options(options: Mapping[str, Any]) -> dict[str, Any]:
    # The table exists with its partitioning; the writer takes the rest.
    return {k: v for k, v in options.items() if k != "partition_by"}


def _advice(table: str, symbol: str, first: date, last: date) -> str:
    stage = TABLES[table].stage
    if TABLES[table].is_market_wide:
        return f"crpbot backfill --from {first} --to {last}"
    if stage in ("models", "evaluations", "promotion"):
        return f"crpbot run --symbols {symbol} --to {last} --until {stage}"
    # The labels of a day are built once the next day is there.
    end = last + timedelta(days=1) if table == "features/labels" else last
    return f"crpbot run --symbols {symbol} --from {first} --to {end} --until {stage}"


def _app_id(table: str, symbol: str, day: date, extra: Mapping[str, str] | None = None) -> str:
    own = () if TABLES[table].is_market_wide else (symbol,)
    return "|".join((*own, day.isoformat(), *(extra or {}).values()))
