"""Law L17: names, order, formulas, units, ranges, reads, reach, column N and transforms are the catalogue's."""

import re

import pytest
from conftest import SHARED
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.tables.features import READ_FROM, REGIME_FLAGS, manifest, origins
from crpbot_dagster.tables.features_mr import MR_FLAGS
from crpbot_dagster.tables.features_v6 import STALE_FLAGS
from crpbot_dagster.tables.schema import Column

CATALOGUE = SHARED / "features.md"
SECTIONS = {"v4": "## 3", "v5": "## 4", "v6": "## 5", "mean_reversion": "## 6"}
# features, of them inputs, flags beside, columns on disk
COUNTS = {"v4": (33, 24, 3, 39), "v5": (53, 44, 3, 59), "v6": (100, 100, 8, 111), "mean_reversion": (60, 59, 1, 64)}
FLAGS = {c.name for c in REGIME_FLAGS + STALE_FLAGS + MR_FLAGS}
V6_GROUPS = {"5.1": "price_volume", "5.2": "technical", "5.3": "fundamental", "5.4": "macro", "5.5": "time"}
SIZES = {"v4": [5, 5, 4, 3, 8, 8], "v5": [5, 5, 4, 3, 8, 8, 5, 5, 5, 3, 2], "v6": [20, 30, 25, 15, 10],
         "mean_reversion": [10, 8, 6, 6, 6, 4, 3, 5, 5, 2, 5]}  # fmt: skip
# Where the catalogue was found wrong, the dictionary is right: docs/decisions/0011 and 0015.
RANGE = {"volume_trend": "[−0.434, 0.434]"}
CLIPPED = {"ou_speed_4h", "hurst_12h", "variance_ratio_5_4h"}


def own(name: str) -> list[Column]:
    """The columns that the catalogue counts: the flags stored beside are not among them."""
    return [c for c in SUBJECTS[name].table.features if c.name not in FLAGS]


def listed(name: str) -> list[list[str]]:
    """The rows of a set's section and the group above each, with what ``as #n`` reads put in words."""
    text = CATALOGUE.read_text(encoding="utf8").split(f"\n{SECTIONS[name]}")[1].split("\n## ")[0]
    rows: list[list[str]] = []
    group = ""
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if bold := re.match(r"\| \| \*\*(.+) \(\d+\)[^|]*\*\*", line):
            group = group if name == "v6" else re.sub(r"\W", "_", bold[1].lower())
        elif line.startswith("### "):
            group = V6_GROUPS.get(line[4:7], group)
        elif len(cells) == 10 and cells[0].isdigit():
            rows.append([*cells, group])
    reads = {row[0]: row[5] for row in rows}
    for row in rows:
        found: list[str] = []
        for part in row[5].split(", "):
            number = re.fullmatch(r"(?:as )?#(\d+)", part)
            found += [p for p in (reads[number[1]].split(", ") if number else [part]) if p not in found]
        row[5] = reads[row[0]] = ", ".join(found)
    return [row[1:] for row in rows]


def test_every_set_that_is_built_is_under_the_laws() -> None:
    assert [name for name, s in SETS.items() if name not in SUBJECTS or SUBJECTS[name].table is not s.table] == []


@pytest.mark.skipif(not CATALOGUE.is_file(), reason="the catalogue is not on this machine")
@pytest.mark.parametrize("name", SUBJECTS)
def test_l17_the_dictionary_is_the_catalogue_line_by_line(name: str) -> None:
    expected = (listed("v4") if name == "v5" else []) + listed(name)
    ours = [
        [c.name, c.text, c.unit, c.range, ", ".join(c.reads), c.slow_reach or str(c.reach), c.valid, c.transform, c.source, c.group]
        for c in own(name)
    ]  # fmt: skip
    for row in expected:
        row[1] = row[1].replace("**", "") + ("; clipped to the range" if row[0] in CLIPPED else "")
        row[3] = RANGE.get(row[0], row[3])
    assert ours == expected


@pytest.mark.parametrize("name", SUBJECTS)
def test_l17_counts_and_manifest(name: str) -> None:
    table, columns = SUBJECTS[name].table, own(name)
    features, inputs, flags, on_disk = COUNTS[name]
    beside = len(table.features) - len(columns)
    # `day` lies on disk too, and is not counted.
    assert (len(columns), beside, len(table.columns) - 1) == (features, flags, on_disk)
    assert sum(c.is_input for c in table.features) == inputs
    assert len(set(manifest(table))) == features + flags
    groups = [c.group for c in columns]
    assert [groups.count(g) for g in dict.fromkeys(groups)] == SIZES[name]
    for c in table.features:
        assert c.reach is not None and 1 <= c.reach <= 1441, c.name
        assert all(source in READ_FROM.values() for source, _ in origins(c)), c.name
