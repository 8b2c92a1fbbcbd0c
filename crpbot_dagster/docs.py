"""The generated documents, one function each: data dictionary, sources, bring your own.

From ``tables/``, from the sources' cards (``assets/raw/``), from ``examples/``. Run by ``make docs``. Not here: what
the columns are (``tables/``); documents written by hand.
"""

import inspect

from crpbot_dagster.assets import SOURCE_MODULES
from crpbot_dagster.settings import PREFIX, PROJECT
from crpbot_dagster.sources import SOURCES
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import Column, Measure, Table

TARGET = PROJECT / "docs" / "data_dictionary.md"
BRING_YOUR_OWN = PROJECT / "docs" / "bring_your_own.md"
SOURCE_CARDS = PROJECT / "docs" / "sources.md"
EXAMPLES = PROJECT / "examples" / "bring_your_own"

OWN_INTRODUCTION = """# Bring your own

Generated from `examples/bring_your_own/*.patch` by `make docs`; do not edit. Each example is a patch against this
checkout that touches at most three files. Try one with `git apply examples/bring_your_own/1_source.patch`, undo it with
`git apply -R` and the same file. `tests/examples` applies each to a copy and uses it, so they fit the code as it is.

After a change of your own: `make docs` (the data dictionary), `python tests/graph/test_platform.py` (the snapshot of
the graph), and in `tests/` a case that breaks each new check. `make test` names what is missing.
"""

SOURCES_INTRODUCTION = """# Sources

Generated from the docstrings of `crpbot_dagster/assets/raw/` and from `sources.py` by `make docs`; do not edit.

`crpbot doctor --calendar` shows what each raw table says of each day, and so does the metadata of `raw/calendar` in
the UI: `complete`, `empty` (the source answered that there was nothing), `partial`, `missing` (it has no such day),
`not_licensed`, `not_configured` (nobody asked, because a setting is absent). The newest `CRPBOT_EVERY_SOURCE_DAYS`
days of a run ask every source; older days those that a verdict needs. A source beside the primary one may fail: the
day goes on without it.

Budgets are what a vendor grants a caller without a paid plan; every process here shares them.
"""

INTRODUCTION = """# Data dictionary

Generated from `crpbot_dagster/tables/` by `make docs`; do not edit. `docs/conventions.md` explains the words.

Units: `USD` price in the quote currency · `USDv` price × size · `coin` size in the base coin · `bps` 1/10,000 ·
`log` natural logarithm · `frac` share · `n` count · `%` percent · `1` no unit.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(c: Column) -> str:
    null = "no" if c.required else "yes"
    return f"| `{c.name}` | {c.dtype} | {c.unit} | {_cell(c.range)} | {null} | {_cell(c.text)} |"


def _feature(number: int, c: Column) -> str:
    reads, reach = ", ".join(c.reads), ", ".join(filter(None, (str(c.reach), c.slow_reach)))
    return (
        f"| {number} | `{c.name}` | {_cell(c.text)} | {c.unit} | {_cell(c.range)} | {reads} | {reach} | {c.valid} "
        f"| {_cell(c.transform)} | {c.group} | {c.source} |"
    )


def _rule(m: Measure) -> str:
    limits = f"= {m.low:g}" if m.low == m.high else f"from {m.low:g} to {m.high:g}"
    return f"{m.name} {limits}"


def _section(table: Table) -> str:
    lines = [
        f"## `{table.name}`",
        "",
        f"One row: {table.grain}. Key: {', '.join(f'`{k}`' for k in table.key)}.",
        "",
    ]
    plain = [c for c in table.columns if not c.transform]
    lines += ["| column | type | unit | range | null | what |", "|---|---|---|---|---|---|"]
    lines += [_plain(c) for c in plain]
    if table.features:
        lines += [
            "",
            "| # | feature | formula | unit | range | reads | reach | N | model input | group | source |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_feature(i, c) for i, c in enumerate(table.features, 1)]
    if table.rules:
        lines += [
            "",
            "Hard rules of its own (each blocks): " + "; ".join(_rule(m) for m in table.rules) + ".",
        ]
    if table.checks:
        lines += ["", "| check | when it fails | holds when |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {'blocks' if c.blocking else 'warns'} | {_cell(c.text)} |" for c in table.checks]
    return "\n".join(lines)


def data_dictionary() -> str:
    """Return the document as text."""
    stages: dict[str, list[Table]] = {}
    for table in TABLES.values():
        stages.setdefault(table.stage, []).append(table)
    parts = [INTRODUCTION]
    for stage, tables in stages.items():
        parts.append(f"# {stage}\n\n" + "\n\n".join(_section(t) for t in tables) + "\n")
    return "\n".join(parts)


def sources() -> str:
    """Return the document as text: every address and budget, then the card of each source module."""
    parts = [
        SOURCES_INTRODUCTION,
        "| source | address | a second | a day | keys | vendor's page |",
        "|---|---|---|---|---|---|",
    ]
    for s in SOURCES.values():
        keys = ", ".join(f"`{PREFIX}{k.upper()}`" for k in s.keys) + (" (needed)" if s.needs_keys else "")
        parts.append(f"| {s.name} | {s.url} | {s.per_second:g} | {s.per_day or '–'} | {keys or 'none'} | {s.page} |")
    for name, module in sorted((m.__name__.rpartition(".")[2], m) for m in SOURCE_MODULES):
        title, _, text = inspect.cleandoc(module.__doc__ or "").partition("\n")
        tables = ", ".join(f"`{'/'.join(a.key.path)}`" for a in module.ASSETS)
        parts.append(f"\n## `{name}`\n\n{title}\n\n{text.strip()}\n\nTables: {tables}.".replace("``", "`"))
    return "\n".join(parts) + "\n"


def bring_your_own() -> str:
    """Return the document as text: of each patch, the words before the first file, and the patch itself."""
    parts = [OWN_INTRODUCTION]
    for path in sorted(EXAMPLES.glob("*.patch")):
        words, mark, patch = path.read_text().partition("diff --git")
        title, _, text = words.partition("\n")
        parts.append(f"## {title}\n\n`{path.relative_to(PROJECT)}`\n\n{text.strip()}\n\n```diff\n{mark}{patch}```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the generated documents."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(data_dictionary())
    SOURCE_CARDS.write_text(sources())
    BRING_YOUR_OWN.write_text(bring_your_own())


if __name__ == "__main__":
    main()
