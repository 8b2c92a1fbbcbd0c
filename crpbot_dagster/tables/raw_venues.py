"""Raw tables of the exchanges' own interfaces: trades, funding, options."""

from crpbot_dagster.tables.schema import Table

TABLES: tuple[Table, ...] = ()
