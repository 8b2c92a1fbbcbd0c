"""Every case of the fault corpus: what the platform makes of it, seen, and written to docs/faults.md.

``python tests/faults/test_faults.py`` writes the document anew. Not here: the cases (``cases_*.py``).
"""

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults.case import Case  # noqa: E402

DOCUMENT = ROOT / "docs" / "faults.md"
AREAS = sorted(p.stem for p in Path(__file__).parent.glob("cases_*.py"))
CASES: list[Case] = sorted(
    (c for a in AREAS for c in importlib.import_module(f"faults.{a}").CASES), key=lambda c: c.number
)
NUMBERS = range(1, 81)
LATER = "later: "

INTRODUCTION = """# What bad inputs become

Written by `python tests/faults/test_faults.py`, which feeds every bad input to the platform and notes what it saw;
`make test` does the same and fails when this page says otherwise. The first column numbers the fault corpus.

| result it must have | in this platform |
|---|---|
| QF, the file is quarantined | `file refused: <code>`: the parser raises `DamagedFile`, the run fails with the code, its meaning and what to do; nothing is written, the day keeps its rows and its state, the alert is sent |
| FAIL, the partition fails | `day refused: <rule>`: a blocking check fails before the write; nothing is written, the day stays |
| QR, the row is quarantined | `row refused: <reason>`: it lies in `raw/quarantine` with its line, reason and text, counted in `quarantined_frac`; more than 0.1 % of a day's rows are `day refused` |
| FIX | `repaired: <how>`: counted in the metadata of the run |
| ACC | `accepted`, as sent; `flag <check>`: a check that warns fails, its number is in the UI; `noted`: in the metadata |
| EMPTY, PARTIAL, MISSING | `state <state>` of the day, written in the same commit as its rows |
| RETRY | `asked again: <how>`: within the bounds of `resources/politeness.py`, then the run fails and Dagster's retries and the backfill take over |
| REJ | `request refused: <why>`, before any I/O |
| HALT | no orders are sent yet: `later: trading` |

| # | bad input | must be | is to be here | seen |
|---|---|---|---|---|
"""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def document(see: Callable[[Case], str]) -> str:
    """Return the page, its last column as ``see`` saw it."""
    lines = [
        (str(c.number), c.bad, c.expected, c.ours, see(c) if c.see else c.where.replace("::", " · ")) for c in CASES
    ]
    return INTRODUCTION + "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def seen(case: Case, folder: Path) -> str:
    assert case.see is not None
    return case.see(folder)


@pytest.fixture(scope="module")
def see(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], str]:
    """What each case became, looked at once."""
    found: dict[int, str] = {}

    def look(case: Case) -> str:
        if id(case) not in found:
            found[id(case)] = seen(case, tmp_path_factory.mktemp("case"))
        return found[id(case)]

    return look


def name(case: Case) -> str:
    return f"{case.number}-{case.bad}"


@pytest.mark.parametrize("case", [c for c in CASES if c.see], ids=name)
def test_a_bad_input_becomes_what_it_must(case: Case, see: Callable[[Case], str]) -> None:
    assert see(case) == case.ours


@pytest.mark.parametrize("case", [c for c in CASES if not c.see], ids=name)
def test_what_other_tests_prove_is_proved_there(case: Case) -> None:
    if case.where.startswith(LATER):
        return
    path, _, test = case.where.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_every_case_of_the_corpus_has_a_row() -> None:
    assert sorted({c.number for c in CASES}) == list(NUMBERS)
    assert len({(c.number, c.bad) for c in CASES}) == len(CASES)


def test_the_document_is_what_was_seen(see: Callable[[Case], str]) -> None:
    assert DOCUMENT.read_text() == document(see), "run: python tests/faults/test_faults.py"


def main() -> None:
    with TemporaryDirectory() as folder:

        def look(case: Case) -> str:
            place = Path(folder) / str(id(case))
            place.mkdir()
            return seen(case, place)

        DOCUMENT.write_text(document(look))


if __name__ == "__main__":
    main()
