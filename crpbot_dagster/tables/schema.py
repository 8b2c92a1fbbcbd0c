"""The words of the data dictionary: column, measure, check, table; and the hard rules every table obeys.

Not here: the tables themselves (one module per stage beside this one), and who judges the measures
(``assets/checks.py``) or enforces them on writing (``resources/lake.py``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

UTC_US = pl.Datetime("us", "UTC")
CROWDED_RANGE = 1.25  # docs/conventions.md: windows with nulls may exceed a stated range by this factor


@dataclass(frozen=True)
class Bounds:
    """The values a column may take: ``low`` and ``high`` in its unit, or a finite set of ``members``."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    members: tuple[float, ...] = ()

    def violated(self, column: str) -> pl.Expr:
        """Return an expression that is true where the column holds a value outside; null where it is null."""
        x = pl.col(column).cast(pl.Float64)
        if self.members:
            return ~x.is_in(list(self.members))
        bad = x.is_nan() | x.is_infinite()
        if self.low is not None:
            bad |= x <= self.low if self.low_open else x < self.low
        if self.high is not None:
            bad |= x >= self.high if self.high_open else x > self.high
        return bad


def bounds(text: str) -> Bounds:
    """Parse a range as the catalogue writes it: ``R``, ``> 0``, ``≥ 0``, ``[-1, 1]``, ``(0, 1]``, ``{0,1}``, ``0…6``.

    Raises
    ------
    ValueError
        The text is none of these.
    """
    t = text.replace("−", "-").replace(" ", "")
    if t in ("R", ""):
        return Bounds()
    if m := re.fullmatch(r"(>|≥)(-?[\d.]+)", t):
        return Bounds(low=float(m[2]), low_open=m[1] == ">")
    if m := re.fullmatch(r"([\[(])(-?[\d.]+),(-?[\d.]+)([\])])", t):
        return Bounds(float(m[2]), float(m[3]), m[1] == "(", m[4] == ")")
    if m := re.fullmatch(r"\{([-\d.,]+)\}", t):
        return Bounds(members=tuple(float(x) for x in m[1].split(",")))
    if m := re.fullmatch(r"(\d+)…(\d+)", t):
        return Bounds(members=tuple(float(x) for x in range(int(m[1]), int(m[2]) + 1)))
    raise ValueError(f"range {text!r} is not understood")


@dataclass(frozen=True)
class Column:
    """One column, described once: casting, rules, documentation and model input derive from it."""

    name: str
    dtype: pl.DataType
    unit: str
    text: str  # description, or the formula of a feature
    range: str = "R"
    required: bool = False  # null is refused
    # Features only; see docs/conventions.md
    reads: tuple[str, ...] = ()
    reach: int | None = None  # minute rows read, own row included
    slow_reach: str = ""  # observations of slow tables read, newest included: "8 d", "6 h"
    valid: str = ""  # "column N": how many rows of a window must be there
    transform: str = ""  # model input transform; "" for a column that is no feature
    source: str = ""  # paper
    group: str = ""

    @property
    def is_input(self) -> bool:
        """True when a model reads the column."""
        return self.transform != "" and not self.transform.startswith("excluded")

    @property
    def reads_clock_alone(self) -> bool:
        """True of a feature that reads nothing but the time and the calendars."""
        return bool(self.reads) and set(self.reads) <= {"ts", "CAL"}

    @property
    def reach_text(self) -> str:
        """How far back it reads: minutes, and observations of slow tables."""
        minutes = f"{self.reach} minute{'' if self.reach == 1 else 's'}"
        return f"{minutes}, {self.slow_reach} of slow rows" if self.slow_reach else minutes

    @property
    def limits(self) -> Bounds:
        """The range that a check uses: stated, or ×1.25 for a windowed feature with two finite ends."""
        stated = bounds(self.range)
        windowed = self.reach is not None and self.reach > 1
        if windowed and stated.low is not None and stated.high is not None:
            return Bounds(stated.low * CROWDED_RANGE, stated.high * CROWDED_RANGE)
        return stated


@dataclass(frozen=True)
class Measure:
    """One number of a partition and the closed interval it must lie in.

    ``value`` is an aggregating expression over the table, or the name of a fact the asset reports.
    """

    name: str
    value: pl.Expr | str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Check:
    """A quality check of a table: measures, whether failing blocks the write, and what it means."""

    name: str
    blocking: bool
    text: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Table:
    """One table of the lake; ``name`` is ``stage/table``."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    rules: tuple[Measure, ...] = ()  # hard rules of this table, beside those that every table obeys
    checks: tuple[Check, ...] = ()
    ordered_by: str | None = None  # a column that strictly increases from row to row: the key of tick tables
    streamed: bool = False  # too large to collect: written through a staged file
    candle_source: str = ""  # set: rows are candles, read by bars/trades_1m as the source of this name
    tick_source: str = ""  # set: rows are trades, read by bars/trades_1m as the source of this name
    partition: tuple[str, ...] = field(default=("symbol", "day"))

    @property
    def stage(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def is_market_wide(self) -> bool:
        """True when one partition a day serves every symbol."""
        return "symbol" not in self.partition

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column name → type, in order."""
        return {c.name: c.dtype for c in self.columns}

    def column(self, name: str) -> Column:
        """Return one column.

        Raises
        ------
        KeyError
            The table has no such column.
        """
        for c in self.columns:
            if c.name == name:
                return c
        raise KeyError(f"{self.name} has no column {name!r}")

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns with a model input transform, in catalogue order."""
        return tuple(c for c in self.columns if c.transform != "")

    def empty(self) -> pl.DataFrame:
        """Return a frame of no rows with the table's schema."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Select and cast the table's columns, in order; the lake refuses a column it does not know.

        Raises
        ------
        ValueError
            A column is unknown or absent.
        """
        have = frame.collect_schema()
        unknown = [c for c in have if c not in self.schema]
        absent = [c for c in self.schema if c not in have]
        if unknown or absent:
            raise ValueError(
                f"{self.name}: "
                + "; ".join(
                    f"{what} {', '.join(names)}"
                    for what, names in (("unknown columns", unknown), ("missing columns", absent))
                    if names
                )
            )
        return frame.select(pl.col(n).cast(t) if have[n] != t else pl.col(n) for n, t in self.schema.items())

    def hard_rules(self, symbol: str, day: date, own: bool) -> Check:
        """Return the rules no partition may break: inside the partition, key unique, required, in range.

        ``own`` adds the table's own rules; a day without rows has nothing they could hold for.
        """
        outside = pl.col("day") != day
        if not self.is_market_wide:
            outside |= pl.col("symbol") != symbol
        if self.ordered_by is not None:
            repeats = (pl.col(self.ordered_by).diff() <= 0).sum()
        else:
            repeats = pl.len() - pl.struct(self.key).n_unique()
        measures = [
            Measure("rows outside the partition", outside.sum(), 0, 0),
            Measure("repeated keys", repeats, 0, 0),
        ]
        for c in self.columns:
            if c.required:
                measures.append(Measure(f"{c.name}: nulls", pl.col(c.name).null_count(), 0, 0))
            if c.dtype.is_float() or c.limits != Bounds():
                measures.append(Measure(f"{c.name}: outside {c.range}", c.limits.violated(c.name).sum(), 0, 0))
        text = "every row belongs to the partition, keys are unique, values are finite and in range"
        if own and self.rules:
            text += "; " + ", ".join(m.name for m in self.rules)
        return Check("hard_rules", True, text, (*measures, *(self.rules if own else ())))


def columns(*groups: Sequence[Column] | Column) -> tuple[Column, ...]:
    """Flatten columns and sequences of columns."""
    flat: list[Column] = []
    for g in groups:
        flat.extend([g] if isinstance(g, Column) else g)
    return tuple(flat)


MARKET_WIDE = "market"
"""What stands for the symbol of a market-wide table wherever a symbol is named: in a plan, a run, a log line."""

SYMBOL = Column("symbol", pl.String(), "", "our name of the instrument, e.g. BTC-USD", required=True)
DAY = Column("day", pl.Date(), "", "UTC day of the partition", required=True)
VENUE = Column("venue", pl.String(), "", "where it traded, lower case", required=True)
SOURCE = Column("source", pl.String(), "", "who delivered it: tardis, coinbase, kraken, files …", required=True)
TS = Column("ts", UTC_US, "UTC", "start of the minute; the row is known at ts + 1 min", required=True)
