"""What each column of a set costs: its function copied with a stopwatch after every statement that makes columns.

A column pays for the statements since the one before it. Not here: what a set costs as a whole (``features.py``).
"""

import ast
import inspect
import time
from collections import defaultdict
from collections.abc import Collection
from types import ModuleType

_NEW_OF_C = ast.parse("tick(*(c.keys() - before))").body
_BEFORE = ast.parse("before = set(c)").body


class _Stopwatches(ast.NodeTransformer):
    """Puts ``tick(names)`` after each ``c[name] = ...``, and each ``c |= ...``, of the functions named."""

    def __init__(self, functions: Collection[str]) -> None:
        self.functions = functions

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if node.name in self.functions:
            node.body = [_call("begin", []), *self._ticked(node.body)]
        return node

    def _ticked(self, body: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, ast.For):
                statement.body = self._ticked(statement.body)
            if _adds_to_c(statement):
                made += [*_BEFORE, statement, *_NEW_OF_C]
                continue
            made.append(statement)
            if names := _made(statement):
                made.append(_call("tick", names))
        return made


def _made(statement: ast.stmt) -> list[ast.expr]:
    """Return the expressions that name the columns of ``c`` a statement assigns."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Dict):
        return [key for key in statement.value.keys if key is not None]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    subscripts = [s for t in targets for s in ast.walk(t) if isinstance(s, ast.Subscript)]
    return [s.slice for s in subscripts if isinstance(s.value, ast.Name) and s.value.id == "c"]


def _adds_to_c(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name) and statement.target.id == "c"
    )


def _call(name: str, arguments: list[ast.expr]) -> ast.stmt:
    return ast.Expr(ast.Call(ast.Name(name, ast.Load()), arguments, []))


class Costs:
    """Seconds by column, added up by copies of modules that were made with ``copy_of``."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._since = 0.0

    def begin(self) -> None:
        self._since = time.perf_counter()

    def tick(self, *names: str) -> None:
        now = time.perf_counter()
        for name in names:
            self.seconds[name] += (now - self._since) / len(names)
        self._since = now

    def copy_of(self, module: ModuleType, *functions: str, **instead: object) -> ModuleType:
        """Return the module made again with stopwatches in ``functions``, then with other names ``instead``."""
        tree = _Stopwatches(functions).visit(ast.parse(inspect.getsource(module)))
        made = ModuleType(module.__name__)
        exec(compile(ast.fix_missing_locations(tree), f"<{module.__name__}>", "exec"), made.__dict__)
        made.__dict__.update(instead, begin=self.begin, tick=self.tick)
        return made
