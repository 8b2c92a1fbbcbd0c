"""Raw tables of the web sources: aggregates, coins, sentiment, network, attention, macro."""

from crpbot_dagster.tables.schema import Table

TABLES: tuple[Table, ...] = ()
