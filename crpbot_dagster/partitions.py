"""Partition definitions and mappings: the only module that touches Dagster's beta partition mappings.

A partition is one UTC day of one symbol, key ``2024-01-31|BTC-USD`` (Dagster sorts dimensions by name), or, of a
table about the whole market, one UTC day, key ``2024-01-31``.
Long windows are not mappings (they would fan a backfill out to thousands of unselected keys): the asset
asks the lake for ``window(...)`` and the lake refuses an incomplete one.
"""

import warnings
from datetime import date

import dagster as dg

from crpbot_dagster.resources.door import split_key as split
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables.schema import MARKET_WIDE

__all__ = ["key", "only_day", "split", "symbol_day", "trailing"]

# Multi-partition mappings and partitioned checks are beta and preview in Dagster 1.13; the versions are pinned,
# and every process would print the same dozen warnings.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def only_day(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return the partitions of a market-wide table: every UTC day since the start day."""
    return dg.DailyPartitionsDefinition(start_date=settings.start_day.isoformat(), timezone="UTC")


def symbol_day(settings: Settings) -> dg.MultiPartitionsDefinition:
    """Return the platform's partitions: every symbol × every UTC day since the start day."""
    return dg.MultiPartitionsDefinition(
        {"day": only_day(settings), "symbol": dg.StaticPartitionsDefinition(list(settings.symbols))}
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


def key(symbol: str, day: date) -> str:
    """Return the partition key of a symbol's day, or of a day of the whole market (``MARKET_WIDE``)."""
    if symbol == MARKET_WIDE:
        return day.isoformat()
    return dg.MultiPartitionKey({"day": day.isoformat(), "symbol": symbol})
