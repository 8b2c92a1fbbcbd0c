"""Every planted fault is caught by the law that is named for it, and without the fault that law is silent (docs/laws.md)."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import DAYS, SEED, with_clocks
from laws import laws
from laws.mutations import BUILDS, DOCUMENT, MUTATIONS, Mutation, NotPlanted, copy_of, document
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features import price
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.sandbox.market import MarketSpec, book, tape

HOURS = 2  # of ticks


@pytest.fixture(scope="module")
def ticks(market: MarketSpec) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two hours of trades and level updates; one trade in ten arrives exactly as a minute begins."""
    found = []
    for of in (tape, book):
        rows = with_clocks(of(market, "BTC-USD", DAYS[0]))
        found.append(rows.filter(pl.col("ts_received").dt.hour() < HOURS))
    on_time = pl.when(pl.col("seq") % 10 == 0).then(pl.col("ts_received").dt.truncate("1m")).otherwise("ts_received")
    return found[0].with_columns(on_time.alias("ts_received")), found[1]


@pytest.fixture(scope="module")
def lossy(everything: Inputs) -> Inputs:
    """Two days with a twentieth of the minutes lost."""
    return laws.masked(everything.rows(0, 2880), 0.05, np.random.default_rng(SEED))


def caught(law: str, subject: str, build: Callable[..., Any], inputs: Inputs, column: str) -> set[str]:
    """The columns that break the law; no more is asked once ``column`` is among them."""
    rng, table = np.random.default_rng(SEED), SUBJECTS[subject].table
    if law == "L1":
        found: set[str] = set()
        for form, cut in product(reversed(laws.FORMS), laws.telling_cuts(inputs, rng)):
            found |= laws.looks_ahead(table, build, inputs, rng, (cut,), (form,))
            if column in found:
                break
        return found
    if law == "L2":
        return laws.reads_more(table, build, inputs.rows(0, 1600), rng)
    if law == "L3":
        return laws.depends_on_partition(table, build, inputs, (1500,))
    if law == "L4":
        return laws.unlike_twin(table, build, SUBJECTS[subject].twin, inputs, range(400))
    if law == "L5":
        return laws.scales_wrongly(table, build, inputs, laws.PRICES | laws.VALUES | laws.CAPS, laws.PRICE_FACTOR)
    if law == "L7":
        coins = inputs.slow["C"]
        other = laws.another_market(coins, coins["symbol"] == "BTC-USD", rng)
        return laws.changed_by(table, build, inputs, replace(inputs, slow={**inputs.slow, "C": other}))
    assert law == "L11"
    return laws.miscounts(table, build, inputs)


def minutes_caught(build: Callable[..., pl.DataFrame], ticks: tuple[pl.DataFrame, pl.DataFrame]) -> set[str]:
    first = datetime(DAYS[0].year, DAYS[0].month, DAYS[0].day, tzinfo=UTC)
    cuts = [first + timedelta(minutes=m) for m in range(19, 60 * HOURS, 25)]
    return laws.minutes_look_ahead(lambda t, d: build(t, d, DAYS[0]), ticks, cuts)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what the faults make of the numbers is theirs
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.leak)
def test_a_planted_fault_is_caught(mutation: Mutation, lossy: Inputs, whole: Inputs, ticks) -> None:
    if mutation.subject in SUBJECTS:
        inputs = whole.rows(0, 1500) if mutation.law == "L11" else lossy
        found = caught(mutation.law, mutation.subject, mutation.build(), inputs, mutation.column)
    else:
        found = minutes_caught(mutation.build(), ticks)
    assert mutation.column in found, f"{mutation.law} does not see it"
    sys.stdout.write(f"| {mutation.leak} | {mutation.where} | {mutation.column} | {mutation.law} |\n")


@pytest.mark.parametrize(
    ("law", "subject"), sorted({(m.law, m.subject) for m in MUTATIONS if m.subject in SUBJECTS and m.law != "L1"})
)
def test_the_real_functions_raise_no_alarm(law: str, subject: str, lossy: Inputs, whole: Inputs) -> None:
    """L1 of the sets is asked in full in ``test_laws.py``."""
    inputs = whole.rows(0, 1500) if law == "L11" else lossy
    assert caught(law, subject, SUBJECTS[subject].build, inputs, "") == set()


def test_the_real_minutes_raise_no_alarm(ticks) -> None:
    for (module, table), build in BUILDS.items():
        if table not in SUBJECTS:
            assert minutes_caught(build(module, ""), ticks) == set(), table


def test_a_copy_is_the_function_it_was_taken_from(everything: Inputs) -> None:
    trades = everything.trades.head(1500)
    assert copy_of(price).v4(trades).equals(price.v4(trades), null_equal=True)
    gone = Mutation("", price, "v4_columns", "no such expression", "", "v4", "", "")
    with pytest.raises(NotPlanted, match="change the mutation too"):
        gone.changed()


def test_at_least_twelve_faults_are_planted_and_the_document_lists_them() -> None:
    assert len({m.leak for m in MUTATIONS}) == len(MUTATIONS) >= 12
    stale = "docs/laws.md is stale: PYTHONPATH=.:tests python tests/laws/mutations.py"
    assert DOCUMENT.read_text(encoding="utf8") == document(), stale
