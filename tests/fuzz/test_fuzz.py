"""Every parser under fuzz: it refuses a payload by name, or accounts for every record and keeps none that is unsound."""

import importlib
import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from fuzz.mutations import Op, ops, spoil
from fuzz.parser import Parser
from hypothesis import HealthCheck, given, settings

from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.resources.door import broken_rules
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

SAMPLE = 40
SOAK = int(os.environ.get("FUZZ_EXAMPLES", "20000"))
WITHOUT_PARSERS = {"parser", "mutations", "test_fuzz"}
AREAS = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in WITHOUT_PARSERS)
PARSERS = {
    f"{p.table}-{p.kind}-{area}{n}": p
    for area in AREAS
    for n, p in enumerate(importlib.import_module(f"fuzz.{area}").PARSERS)
}


def partitions(parser: Parser) -> set[tuple[str, date]]:
    """Symbol and day of the sound payload's rows; an answer of a daily source holds many days, its asset takes one."""
    sound = parser.parse(parser.payload).kept
    symbol = sound["symbol"] if "symbol" in sound.columns else [MARKET_WIDE] * sound.height
    return set(zip(symbol, sound["day"], strict=True))


def judge(parser: Parser, payload: bytes, own: set[tuple[str, date]]) -> None:
    """Raise AssertionError when the parser breaks its promise on this payload; ``own`` are the sound rows' partitions."""
    try:
        made = parser.parse(payload)
    except DamagedFile as error:
        assert str(error), "a refusal names its reason"
        return
    assert made.rows == made.kept.height + made.refused + made.repeated, "every record is in one of three places"
    table = replace(TABLES[parser.table], streamed=False)
    symbol, day = min(own)
    broken = broken_rules(table, table.conform(made.kept.lazy()), symbol, day)
    assert [rule for rule in broken if len(own) == 1 or not rule.startswith("rows outside")] == []


def fuzz(parser: Parser, examples: int) -> None:
    own = partitions(parser)

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(drawn=ops(parser.kind))
    def every_mutation(drawn: list[Op]) -> None:
        judge(parser, spoil(parser.kind, parser.payload, drawn), own)

    every_mutation()


@pytest.mark.parametrize("name", PARSERS)
def test_a_sound_payload_is_kept_whole(name: str) -> None:
    made = PARSERS[name].parse(PARSERS[name].payload)
    assert made.kept.height == made.rows > 0 and made.refused == made.repeated == 0
    judge(PARSERS[name], PARSERS[name].payload, partitions(PARSERS[name]))


@pytest.mark.parametrize("name", PARSERS)
def test_a_sample_of_spoilt_payloads_is_refused_or_accounted_for(name: str) -> None:
    fuzz(PARSERS[name], SAMPLE)


@pytest.mark.soak
@pytest.mark.parametrize("name", PARSERS)
def test_twenty_thousand_spoilt_payloads_are_refused_or_accounted_for(name: str) -> None:
    fuzz(PARSERS[name], SOAK)
