"""Every planted fault is caught by the law that is named for it, and without the fault that law is silent (docs/laws.md)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import DAYS, SEED, with_clocks
from laws import changes, dead, holes, laws
from laws.mutations import BUILDS, DOCUMENT, LAWS, MUTATIONS, Mutation, NotPlanted, copy_of, document
from laws.replay import chunks, unlike_history
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features import price
from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.sandbox.market import MarketSpec, book, tape
from crpbot_dagster.tables.schema import Table

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
    return changes.masked(everything.rows(0, 2880), 0.05, np.random.default_rng(SEED))


@dataclass(frozen=True)
class Markets:
    """What the laws are asked of: each of those it can fail on."""

    lossy: Inputs
    whole: Inputs
    everything: Inputs
    long: Inputs
    path: Path


@pytest.fixture
def markets(lossy: Inputs, whole: Inputs, everything: Inputs, long: Inputs, tmp_path: Path) -> Markets:
    return Markets(lossy, whole, everything, long, tmp_path / "feed")


def looks_ahead(table: Table, build: Build, inputs: Inputs, column: str, rng: np.random.Generator) -> set[str]:
    """L1, asked until ``column`` is found."""
    found: set[str] = set()
    for form, cut in product(reversed(changes.FORMS), laws.telling_cuts(inputs, rng)):
        found |= laws.looks_ahead(table, build, inputs, rng, (cut,), (form,))
        if column in found:
            break
    return found


def misreads(table: Table, build: Build, markets: Markets, rng: np.random.Generator) -> set[str]:
    """L2 of what has a value; flags are asked in ``test_laws.py``."""
    flags = {c.name for c in table.features if c.limits.members}
    less = laws.reads_less(table, build, markets.whole, rng, range(400, 406))
    return (less | laws.reads_more(table, build, markets.lossy.rows(0, 1600), rng)) - flags


def other_coins(table: Table, build: Build, inputs: Inputs, rng: np.random.Generator) -> set[str]:
    """L7 of the coins' days."""
    coins = inputs.slow["C"]
    other = changes.another_market(coins, coins["symbol"] == "BTC-USD", rng)
    return laws.changed_by(table, build, inputs, replace(inputs, slow={**inputs.slow, "C": other}))


def alike(table: Table, build: Build, inputs: Inputs) -> set[str]:
    made, price = build(inputs)[1441::11], inputs.trades["close"][1441::11]
    pairs, _ = laws.twin_columns(laws.transformed(table, made, price))
    return {name for pair in pairs for name in pair}


def caught(law: str, subject: str, build: Build, markets: Markets, column: str = "") -> set[str]:
    """The columns that break the law; L1 and L11 need look for no other than ``column``."""
    rng, table, twin, lossy = (
        np.random.default_rng(SEED),
        SUBJECTS[subject].table,
        SUBJECTS[subject].twin,
        markets.lossy,
    )
    counted = [c for c in holes.counted(table) if column in ("", c.name)]
    ask: dict[str, Callable[[], set[str]]] = {
        "L1": lambda: looks_ahead(table, build, lossy, column, rng),
        "L2": lambda: misreads(table, build, markets, rng),
        "L3": lambda: laws.depends_on_partition(table, build, lossy, (1500,)),
        "L4": lambda: laws.unlike_twin(table, build, twin, lossy, range(400)),
        "L5": lambda: laws.scales_wrongly(table, build, lossy, changes.MONEY, laws.PRICE_FACTOR),
        "L6": lambda: laws.scales_wrongly(table, build, lossy, changes.AMOUNTS, laws.SIZE_FACTOR),
        "L7": lambda: other_coins(table, build, lossy, rng),
        "L8": lambda: laws.venues_wrongly(table, build, lossy, rng),
        "L9": lambda: laws.sides_wrongly(table, build, lossy),
        "L10": lambda: laws.moved_by_the_week(table, build, lossy),
        "L11": lambda: holes.miscounts(table, build, markets.whole.rows(159, 1600), counted),
        "L12": lambda: set(dead.restless(table, build(dead.frozen(lossy)), "frozen", dead.STILL[subject])),
        "L13": lambda: laws.out_of_range(table, build(changes.wild(markets.everything, "stands still", rng))),
        "L14": lambda: alike(table, build, markets.long),
        "L16": lambda: unlike_history(table, build, markets.everything, chunks(markets.everything, rng), markets.path),
    }
    return ask[law]()


def minutes_caught(build: Callable[..., pl.DataFrame], ticks: tuple[pl.DataFrame, pl.DataFrame]) -> set[str]:
    first = datetime(DAYS[0].year, DAYS[0].month, DAYS[0].day, tzinfo=UTC)
    cuts = [first + timedelta(minutes=m) for m in range(19, 60 * HOURS, 25)]
    rng = np.random.default_rng(SEED)
    return laws.minutes_look_ahead(lambda t, d: build(t, d, DAYS[0]), ticks, rng, cuts)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what the faults make of the numbers is theirs
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.leak)
def test_a_planted_fault_is_caught(mutation: Mutation, markets: Markets, ticks) -> None:
    if mutation.subject in SUBJECTS:
        found = caught(mutation.law, mutation.subject, mutation.build(), markets, mutation.column)
    else:
        found = minutes_caught(mutation.build(), ticks)
    assert mutation.column in found, f"{mutation.law} does not see it"


@pytest.mark.parametrize(
    ("law", "subject"), sorted({(m.law, m.subject) for m in MUTATIONS if m.subject in SUBJECTS and m.law != "L1"})
)
def test_the_real_functions_raise_no_alarm(law: str, subject: str, markets: Markets) -> None:
    """L1 of the sets is asked in full in ``test_laws.py``."""
    assert caught(law, subject, SUBJECTS[subject].build, markets) == set()


def test_every_law_of_values_is_seen_failing() -> None:
    assert {m.law for m in MUTATIONS} == set(LAWS) - {"L15", "L17"}


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
    stale = "docs/laws.md is stale: PYTHONPATH=tests python -m laws.mutations"
    assert DOCUMENT.read_text(encoding="utf8") == document(), stale
