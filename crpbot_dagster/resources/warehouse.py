"""DuckDB over the lake, and the SQL models read by sqlglot: inputs, columns and lineage.

Not here: the models themselves (``dbt_like_sql/``), wiring (``assets/``).
"""

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.tables import TABLES

BATCH_ROWS = 50_000
MODELS = Path(__file__).resolve().parents[1] / "dbt_like_sql"


class ModelError(ValueError):
    """A SQL model does not parse, or names a table or column that the data dictionary does not know."""


class QueryError(ValueError):
    """A query is no single select, names what is not there, or asks for more than the lake."""


@dataclass(frozen=True)
class SqlModel:
    """One file of ``dbt_like_sql``: its table, text, the tables it reads, and where each column comes from."""

    table: str
    sql: str
    inputs: tuple[str, ...]
    lineage: dict[str, tuple[tuple[str, str], ...]]  # column → (table, column) it is made from


def extension(name: str) -> str:
    """Return the path of a DuckDB extension that comes as a Python package, so that nothing is downloaded."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package duckdb-extension-{name} is not installed")
    return str(next(Path(spec.submodule_search_locations[0]).rglob(f"{name}.duckdb_extension")))


@functools.lru_cache(maxsize=64)
def read_model(path: Path) -> SqlModel:
    """Parse one model and hold its tables and columns against the data dictionary.

    Raises
    ------
    ModelError
        With file and line, when the text or a name in it is wrong.
    """
    sql = path.read_text()
    table = path.relative_to(MODELS).with_suffix("").as_posix()
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        raise ModelError(f"{path.name}: {error}") from error
    ctes = {c.alias for c in tree.find_all(exp.CTE)}
    names = sorted({f"{t.db}/{t.name}" for t in tree.find_all(exp.Table) if t.name not in ctes})
    for name in names:
        if name not in TABLES:
            raise ModelError(f"{path.name}: line {_line(sql, name.split('/')[1])}: no table {name}")
    schema: dict[str, Any] = {}
    for name in names:
        stage, short = name.split("/")
        schema.setdefault(stage, {})[short] = dict.fromkeys(TABLES[name].schema, "text")
    try:
        qualified = qualify(tree.copy(), schema=schema, dialect="duckdb", validate_qualify_columns=True)
    except SqlglotError as error:
        raise ModelError(f"{path.name}: {_located(sql, str(error))}") from error
    made = [e.alias_or_name for e in qualified.selects]  # type: ignore[attr-defined]
    absent = [c for c in TABLES[table].schema if c not in made]
    if absent:
        raise ModelError(f"{path.name}: {table} needs the columns {', '.join(absent)}")
    # All columns at once: what they share is walked once, and every process that loads the definitions pays for it.
    walked = lineage(None, sql, schema=schema, dialect="duckdb", trim_selects=False)
    return SqlModel(table, sql, tuple(names), {c: _origins(walked[c]) for c in made})


def lineage_of(model: SqlModel) -> dg.TableColumnLineage:
    """Return where the columns of a model come from, as Dagster wants it."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(t.split("/")), c) for t, c in origins]
            for column, origins in model.lineage.items()
        }
    )


def _origins(column: Node) -> tuple[tuple[str, str], ...]:
    leaves = set()
    for node in column.walk():
        if isinstance(node.expression, exp.Table) and not node.downstream and node.expression.db:
            leaves.add((f"{node.expression.db}/{node.expression.name}", node.name.rpartition(".")[2]))
    return tuple(sorted(leaves))


def _line(sql: str, word: str) -> int:
    return next((i for i, text in enumerate(sql.splitlines(), 1) if word.lower() in text.lower()), 1)


def _located(sql: str, message: str) -> str:
    named = re.search(r"[Cc]olumn:?\W+([\w.\"]+)", message)
    if named is None:
        return message
    word = named[1].replace('"', "").rpartition(".")[2]
    return f"line {_line(sql, word)}: {message}"


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
        for table in _tables_of(sql):
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


def assertions(table: str) -> list[Path]:
    """Return the assertion files of a table, sorted."""
    return sorted((MODELS / "assert").glob(f"{table.partition('/')[2]}_*.sql"))


def _bare(path: Path) -> str:
    return path.read_text().strip().rstrip(";")


@functools.lru_cache(maxsize=256)
def _tables_of(sql: str) -> tuple[str, ...]:
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    return tuple(sorted({f"{t.db}/{t.name}" for t in tree.find_all(exp.Table) if t.db}))
