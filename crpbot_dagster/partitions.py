"""Partition definitions and mappings: the only module that touches Dagster's beta partition mappings.

A partition is one UTC day of one symbol, key ``2024-01-31|BTC-USD`` (Dagster sorts dimensions by name).
Long windows are not mappings (they would fan a backfill out to thousands of unselected keys): the asset
asks the lake for ``window(...)`` and the lake refuses an incomplete one.
"""

import warnings
from datetime import date

import dagster as dg

from crpbot_dagster.settings import Settings

# Multi-partition mappings and partitioned checks are beta and preview in Dagster 1.13; the versions are pinned,
# and every process would print the same dozen warnings.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def symbol_day(settings: Settings) -> dg.MultiPartitionsDefinition:
    """Return the platform's partitions: every symbol × every UTC day since the start day."""
    return dg.MultiPartitionsDefinition(
        {
            "day": dg.DailyPartitionsDefinition(start_date=settings.start_day.isoformat(), timezone="UTC"),
            "symbol": dg.StaticPartitionsDefinition(list(settings.symbols)),
        }
    )


def trailing(days: int) -> dg.MultiPartitionMapping:
    """Map a partition to itself and the ``days`` days before it, of the same symbol."""
    look_back = dg.TimeWindowPartitionMapping(start_offset=-days, allow_nonexistent_upstream_partitions=True)
    return dg.MultiPartitionMapping(
        {
            "day": dg.DimensionPartitionMapping("day", look_back),
            "symbol": dg.DimensionPartitionMapping("symbol", dg.IdentityPartitionMapping()),
        }
    )


def key(symbol: str, day: date) -> dg.MultiPartitionKey:
    """Return the partition key of a symbol's day."""
    return dg.MultiPartitionKey({"day": day.isoformat(), "symbol": symbol})


def split(partition_key: str) -> tuple[str, date]:
    """Return (symbol, day) of a partition key ``day|symbol``."""
    day, _, symbol = partition_key.partition("|")
    return symbol, date.fromisoformat(day)
