"""The door: the IO manager that every row passes on its way into the lake and out of it.

Not here: the lake itself (``lake.py``), the quality checks before the door (``assets/checks.py``).
"""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager

from crpbot_dagster.resources import redelivery
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
        """Write one partition, and say how it differs from the one it replaces.

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
        changes = self._changes(TABLES[name], obj, symbol, day) if isinstance(obj, Audited) else {}
        version = self.lake.publish(name, built.frame, symbol, day, built.state, is_large=built.is_large)
        written: dict[str, Any] = {"delta_version": version, "path": self.lake.path(name)}
        context.add_output_metadata(written | changes)

    def _changes(self, table: Table, new: Audited, symbol: str, day: date) -> dict[str, Any]:
        """Return, for the UI, what is new in a day that was delivered before; {} for a first delivery."""
        state = self.lake.held(table.name, symbol, [day]).get(day)
        if state is None:
            return {}
        held = self.lake.scan(table.name, symbol, day, day)
        if redelivery.content(table, held, state) == new.content:
            return {"redelivery": "the same content as before"}
        if new.built.is_large:
            rows = int(held.select(pl.len()).collect(engine="streaming").item())
            return {"redelivery": f"other content than before: {rows} rows then, {new.rows} now"}
        found = redelivery.difference(table, held, table.conform(new.built.frame.lazy()))
        return found | ({} if state == new.built.state else {"state_before": state})

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
