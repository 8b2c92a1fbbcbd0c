"""The SQL models of ``dbt_like_sql``, read by sqlglot: what they read, what they make, where each column comes from.

Not here: running them (``warehouse.py``), the models themselves.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from crpbot_dagster.tables import TABLES

MODELS = Path(__file__).resolve().parents[1] / "dbt_like_sql"

Schema = dict[str, Any]  # schema → table → column → type, or table → column → type


class ModelError(ValueError):
    """A SQL model does not parse, or names a table or column that the data dictionary does not know."""


@dataclass(frozen=True)
class SqlModel:
    """One file of ``dbt_like_sql``: its table, text, the tables it reads, and where each column comes from."""

    table: str
    sql: str
    inputs: tuple[str, ...]
    lineage: dict[str, tuple[tuple[str, str], ...]]  # column → (table, column) it is made from


@functools.lru_cache(maxsize=64)
def read_model(path: Path) -> SqlModel:
    """Parse one model and its assertions, and hold their tables and columns against the data dictionary.

    Raises
    ------
    ModelError
        With file and line, when the text or a name in it is wrong.
    """
    table = path.relative_to(MODELS).with_suffix("").as_posix()
    tree = _parsed(path)
    ctes = {c.alias for c in tree.find_all(exp.CTE)}
    read = [t for t in tree.find_all(exp.Table) if t.name not in ctes]
    schema: Schema = {}
    for node in read:
        name = f"{node.db}/{node.name}"
        if name not in TABLES:
            raise ModelError(f"{path.name}: line {_line(path, node)}: no table {name}")
        schema.setdefault(node.db, {})[node.name] = dict.fromkeys(TABLES[name].schema, "text")
    qualified = _qualified(path, tree, schema)
    made = [e.alias_or_name for e in qualified.selects]
    absent = [c for c in TABLES[table].schema if c not in made]
    if absent:
        where = f"{path.name}: line {_line(path, tree.selects[0])}"
        raise ModelError(f"{where}: {table} needs the columns {', '.join(absent)}")
    for assertion in assertions(table):
        _qualified(assertion, _parsed(assertion), {"this": dict.fromkeys(TABLES[table].schema, "text")})
    # All columns at once: what they share is walked once, and every process that loads the definitions pays for it.
    walked = lineage(
        None, qualified, schema, dialect="duckdb", scope=build_scope(qualified), trim_selects=False, copy=False
    )
    names = sorted({f"{t.db}/{t.name}" for t in read})
    return SqlModel(table, path.read_text(), tuple(names), {c: _origins(walked[c]) for c in made})


def lineage_of(model: SqlModel) -> dg.TableColumnLineage:
    """Return where the columns of a model come from, as Dagster wants it."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(t.split("/")), c) for t, c in origins]
            for column, origins in model.lineage.items()
        }
    )


def assertions(table: str) -> list[Path]:
    """Return the assertion files of a table, sorted."""
    return sorted((MODELS / "assert").glob(f"{table.partition('/')[2]}_*.sql"))


@functools.lru_cache(maxsize=256)
def tables_of(sql: str) -> tuple[str, ...]:
    """Return the tables that a query names, ``stage/table``."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    return tuple(sorted({f"{t.db}/{t.name}" for t in tree.find_all(exp.Table) if t.db}))


def _parsed(path: Path) -> exp.Query:
    try:
        tree = sqlglot.parse_one(path.read_text(), dialect="duckdb")
    except SqlglotError as error:
        raise ModelError(f"{path.name}: {error}") from error
    if not isinstance(tree, exp.Query):
        raise ModelError(f"{path.name}: it is no select")
    return tree


def _qualified(path: Path, tree: exp.Query, schema: Schema) -> Any:
    try:
        return qualify(tree.copy(), schema=schema, dialect="duckdb", identify=False, validate_qualify_columns=True)
    except OptimizeError as error:
        name = _unknown(error)
        wrong = [n for n in _columns(tree, name) if _is_wrong(tree, n, name, schema)]
        where = f"line {_line(path, wrong[0])}: " if wrong else ""
        raise ModelError(f"{path.name}: {where}{error}") from error


def _unknown(error: OptimizeError) -> str:
    named = re.search(r"[Cc]olumn:?\W+([\w.\"]+)", str(error))
    return named[1].replace('"', "").rpartition(".")[2] if named else ""


def _columns(tree: exp.Query, name: str) -> list[exp.Column]:
    return [c for c in tree.find_all(exp.Column, bfs=False) if c.name.lower() == name.lower()]


def _is_wrong(tree: exp.Query, column: exp.Column, name: str, schema: Schema) -> bool:
    """Say whether the query still lacks the column when every other use of its name is gone."""
    alone = tree.copy()
    for mine, theirs in zip(_columns(tree, name), _columns(alone, name), strict=True):
        if mine is not column:
            gone = exp.Null()
            theirs.replace(exp.alias_(gone, name) if isinstance(theirs.parent, exp.Select) else gone)
    try:
        qualify(alone, schema=schema, dialect="duckdb", validate_qualify_columns=True)
    except OptimizeError as error:
        return _unknown(error).lower() == name.lower()
    return False


def _line(path: Path, node: Any) -> int:
    # The place of the token; the line that sqlglot keeps beside it counts some line ends twice.
    start = next((n.meta["start"] for n in node.walk() if "start" in n.meta), 0)
    return path.read_text().count("\n", 0, start) + 1


def _origins(column: Node) -> tuple[tuple[str, str], ...]:
    leaves = set()
    for node in column.walk():
        if isinstance(node.expression, exp.Table) and not node.downstream and node.expression.db:
            leaves.add((f"{node.expression.db}/{node.expression.name}", node.name.rpartition(".")[2]))
    return tuple(sorted(leaves))
