"""Law L12: in a dead market a column is null or its documented constant, and nothing is infinite or out of range."""

import pytest
from laws import dead, laws
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs


@pytest.mark.parametrize("kind", dead.KINDS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_l12_dead_market(name: str, kind: str, undisturbed: Inputs) -> None:
    table, made = SUBJECTS[name].table, SUBJECTS[name].build(dead.KINDS[kind](undisturbed.rows(0, 2880)))
    assert laws.not_plain(table, made) | laws.out_of_range(table, made) == set()
    assert dead.restless(table, made, kind, dead.STILL[name]) == {}
