"""DuckDB over the lake: a user's queries, and the SQL models of one partition.

Not here: reading the models (``sql_models.py``), wiring (``assets/``).
"""

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.sql_models import SqlModel, assertions, tables_of
from crpbot_dagster.tables import TABLES

BATCH_ROWS = 50_000


class QueryError(ValueError):
    """A query is no single select, names what is not there, or asks for more than the lake."""


def extension(name: str) -> str:
    """Return the path of a DuckDB extension that comes as a Python package, so that nothing is downloaded."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package duckdb-extension-{name} is not installed")
    return str(next(Path(spec.submodule_search_locations[0]).rglob(f"{name}.duckdb_extension")))


def _database() -> duckdb.DuckDBPyConnection:
    """Return a new DuckDB database, in memory, with the delta extension and UTC set."""
    opened = duckdb.connect()
    opened.load_extension(extension("delta"))
    opened.execute("load icu; set global TimeZone = 'UTC'")
    return opened


@functools.lru_cache(maxsize=1)
def _connection() -> duckdb.DuckDBPyConnection:
    return _database()


def _view(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str) -> None:
    stage, _, short = table.partition("/")
    connection.execute(f"create schema if not exists {stage}")
    connection.execute(f"create or replace view {stage}.{short} as from delta_scan({_quoted(lake.path(table))})")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def select(lake: Lake, sql: str) -> Iterator[pl.DataFrame]:
    """Run one ``select`` of a user's over the lake's tables, named ``stage.table``; yield its rows in batches.

    The first batch has no row, it shows the columns. The query sees the lake's folder and nothing else of the
    machine, and cannot write: it must be a select, and DuckDB is locked before it runs.

    Raises
    ------
    QueryError
        It is not one select, does not parse, names a table or column that is not there, or reads another file.
    LookupError
        The lake is empty.
    """
    tables = [t for t in TABLES if lake.delta(t) is not None]
    if not tables:
        raise LookupError(f"the lake at {lake.url} is empty. First: crpbot demo, or crpbot backfill")
    connection = _database()
    for table in tables:
        _view(connection, lake, table)
    # A view of Delta files is read through the file system, so the lake's folder stays open; that it could be
    # written to by `copy` is why nothing but a select is run.
    connection.execute(f"set allowed_directories = [{_quoted(lake.url.rstrip('/') + '/')}]")
    connection.execute("set enable_external_access = false; set lock_configuration = true")
    try:
        statements = connection.extract_statements(sql)
        if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
            raise QueryError("the lake is read only: write one select")
        reader = connection.execute(statements[0]).to_arrow_reader(BATCH_ROWS)
        for name in (f.name for f in reader.schema if pa.types.is_interval(f.type)):
            raise QueryError(f"{name} is an interval: write epoch({name}) for its seconds, or {name}::varchar")
        yield pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
        for batch in reader:
            yield pl.DataFrame(pl.from_arrow(batch))
    except duckdb.Error as error:
        raise QueryError(_worded(str(error), tables)) from error


def _worded(message: str, tables: list[str]) -> str:
    named = re.search(r'Table with name "?(?:\w+\.)?(\w+)"? does not exist', message)
    if named is None:
        return message
    names = [t.replace("/", ".") for t in tables]
    close = difflib.get_close_matches(named[1], [n.partition(".")[2] for n in names], n=3)
    near = [n for n in names if n.partition(".")[2] in close]
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    return f"there is no table {named[1]}. {hint}The lake has {', '.join(names)}"


class Warehouse(dg.ConfigurableResource):
    """Runs SQL over the lake's tables, named ``stage.table``, read only."""

    lake: dg.ResourceDependency[Lake]

    def query(self, sql: str, **parameters: Any) -> pl.DataFrame:
        """Run one ``select`` over the lake; ``$name`` in the text is bound to the parameter of that name.

        Raises
        ------
        LookupError
            A table of the query was never written.
        """
        connection = _connection().cursor()
        for table in tables_of(sql):
            if self.lake.delta(table) is None:
                raise LookupError(f"{table} has never been materialised")
            _view(connection, self.lake, table)
        return connection.execute(sql, parameters or None).pl()

    def made(self, model: SqlModel, symbol: str, day: date, **parameters: Any) -> tuple[pl.DataFrame, dict[str, float]]:
        """Run a SQL model for one partition; return its rows, and of each assertion how many offend.

        ``parameters`` are bound beside ``$symbol`` and ``$day``, to a model that names them.

        Raises
        ------
        IncompleteError
            The day of an input is not in the lake.
        """
        for table in model.inputs:
            self.lake.window(table, symbol, day, day)
        frame = self.query(model.sql, symbol=symbol, day=day, **parameters)
        return frame, self.offending(frame, model.table)

    def offending(self, frame: pl.DataFrame, table: str) -> dict[str, float]:
        """Run the table's assertions over the unpublished ``frame``; assertion name → offending rows."""
        connection = _connection().cursor()
        connection.register("this", frame.to_arrow())
        try:
            return {
                path.stem: float(connection.execute(f"select count(*) from ({_bare(path)})").fetchall()[0][0])
                for path in assertions(table)
            }
        finally:
            connection.unregister("this")


def _bare(path: Path) -> str:
    return path.read_text().strip().rstrip(";")
