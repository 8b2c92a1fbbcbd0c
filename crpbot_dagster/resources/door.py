"""The door: the IO manager that every row passes on its way into the lake and out of it.

Not here: the lake itself (``lake.py``), the quality checks before the door (``assets/checks.py``).
"""

from datetime import date

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager

from crpbot_dagster.resources.lake import Audited, Built, IncompleteError, Lake, measure
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE, Table


class DoorError(ValueError):
    """A frame breaks a hard rule of its table; the partition in the lake stays as it was."""


def broken_rules(table: Table, frame: pl.LazyFrame, symbol: str, day: date) -> list[str]:
    """Return the hard rules that ``frame`` breaks, in words; empty when none."""
    rules = table.hard_rules(symbol, day, own=False).measures
    found = measure(frame, {m.name: m.value for m in rules if isinstance(m.value, pl.Expr)}, table.streamed)
    return [f"{name}: {value:.0f} rows" for name, value in found.items() if value]


class Door(PolarsDeltaIOManager):
    """The IO manager of every table: casts, enforces the hard rules, replaces the partition whole."""

    lake: dg.ResourceDependency[Lake]

    def handle_output(self, context: dg.OutputContext, obj: Audited | Built) -> None:  # type: ignore[override]
        """Write one partition.

        Raises
        ------
        DoorError
            The frame breaks a hard rule; nothing is written.
        """
        name = "/".join(context.asset_key.path)
        symbol, day = _partition(context)
        built = obj.built if isinstance(obj, Audited) else obj
        if not isinstance(obj, Audited):
            broken = broken_rules(TABLES[name], TABLES[name].conform(built.frame.lazy()), symbol, day)
            if broken:
                raise DoorError(f"{name} {symbol} {day}: " + "; ".join(broken))
        version = self.lake.publish(name, built.frame, symbol, day, built.state, is_large=built.is_large)
        context.add_output_metadata({"delta_version": version, "path": self.lake.path(name)})

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:  # type: ignore[override]
        """Return the mapped partitions of one symbol as one lazy frame, complete or refused.

        Raises
        ------
        IncompleteError
            A mapped partition is not in the lake.
        """
        name = "/".join(context.asset_key.path)
        keys = [split_key(k) for k in context.asset_partition_keys]
        days = sorted(day for _, day in keys)
        symbols = {symbol for symbol, _ in keys}
        if len(symbols) != 1:
            raise IncompleteError(f"{name}: one symbol at a time, asked for {sorted(symbols)}")
        return self.lake.window(name, symbols.pop(), days[0], days[-1])


def _partition(context: dg.OutputContext) -> tuple[str, date]:
    if len(context.asset_partition_keys) != 1:
        raise DoorError("the lake takes one partition a run: backfill with one run per partition")
    return split_key(context.asset_partition_keys[0])


def split_key(partition_key: str) -> tuple[str, date]:
    """Return (symbol, day) of a partition key; the symbol of a market-wide one is ``MARKET_WIDE``."""
    day, _, symbol = partition_key.partition("|")
    return symbol or MARKET_WIDE, date.fromisoformat(day)
