"""Raw tables of the dataset vendors: Tardis beyond trades and book, and Crypto Lake."""

from crpbot_dagster.tables.schema import Table

TABLES: tuple[Table, ...] = ()
