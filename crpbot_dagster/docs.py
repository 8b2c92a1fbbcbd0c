"""The generated documents: ``docs/data_dictionary.md`` from ``tables/``. Run by ``make docs``.

Not here: what the columns are (``tables/``); documents written by hand.
"""

from crpbot_dagster.settings import PROJECT
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import Column, Measure, Table

TARGET = PROJECT / "docs" / "data_dictionary.md"

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
    reads = ", ".join(c.reads)
    return (
        f"| {number} | `{c.name}` | {_cell(c.text)} | {c.unit} | {_cell(c.range)} | {reads} | {c.reach} | {c.valid} "
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


def main() -> None:
    """Write the generated documents."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(data_dictionary())


if __name__ == "__main__":
    main()
