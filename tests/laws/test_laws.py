"""The laws every column of every feature set obeys (docs/laws.md); each law is one test over ``SUBJECTS``.

A new column is under them by being in its table. Of each a fault is seen that it catches (``test_mutations.py``); flags
under L2 are not among those. Not
here: L11 by count (``test_null_mask.py``), L12 (``test_dead_market.py``), L15 (known answers: ``tests/features``,
``tests/bars``), L16 (``test_live.py``), L17 (``test_catalogue.py``).
"""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from conftest import DAYS
from laws import changes, edges, laws
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.reading import primary_minutes
from crpbot_dagster.instruments import Primary

every_set = pytest.mark.parametrize("name", SUBJECTS)
Bars = tuple[pl.DataFrame, pl.DataFrame]

TO_A_MONTH_S_END = timedelta(days=14)  # the second day is the first of December
OF_PARTNER = {"lead_ret_log_5m", "lead_residual_bps_15m", "lead_corr_4h", "lead_lag_asym_4h", "ratio_zscore_4h"}
OF_ANOTHER_SYMBOL = {"mean_reversion": OF_PARTNER, "v6": {"iv_rv_spread_frac"}}  # D of the option currency
BELOW_ZERO = {"bb_low"}  # m − 2s of prices that treble within 20 minutes: no price does, the made-up one here does


@every_set
def test_every_column_has_values_when_every_source_is_there(name: str, whole: Inputs) -> None:
    table, made = SUBJECTS[name].table, SUBJECTS[name].build(whole)
    at = made[1599:1600]  # the last row that VPIN's thin buckets reach
    assert [c.name for c in table.features if at[c.name].null_count() and c.name != "vpin_ma10"] == []
    assert made.columns == ["ts", *laws.names(table)]
    assert [made.schema[c.name] for c in table.features] == [c.dtype for c in table.features]


@every_set
def test_l1_no_look_ahead(name: str, everything: Inputs, rng) -> None:
    two_days = changes.moved(changes.masked(everything.rows(0, 2880), 0.02, rng), TO_A_MONTH_S_END)
    assert two_days.trades["ts"].dt.day()[1440] == 1
    cuts, lost = laws.telling_cuts(two_days, rng), two_days.trades["close"].is_null().arg_true()
    assert len(cuts) >= 8 and lost[-1] in cuts
    assert laws.looks_ahead(SUBJECTS[name].table, SUBJECTS[name].build, two_days, rng, cuts) == set()


@every_set
def test_l2_reach_is_true(name: str, whole: Inputs, rng) -> None:
    subject = SUBJECTS[name]
    # At row 1,600 the thin buckets are 24 within VPIN's time, and older ones behind them.
    assert laws.reads_more(subject.table, subject.build, whole.known_at(1600), rng) == set()
    unmoved = laws.reads_less(subject.table, subject.build, whole, rng, range(400, 406))
    flags = [c for c in subject.table.features if c.name in unmoved and c.limits.members == (0, 1)]
    turned = {c.name for c in flags if edges.turns(subject.build, whole, c, rng)}
    assert unmoved - turned == set()


@every_set
def test_l3_partition_invariance(name: str, everything: Inputs) -> None:
    subject = SUBJECTS[name]
    assert laws.depends_on_partition(subject.table, subject.build, everything, (1440, 1500, 2881, 4319)) == set()


@every_set
def test_every_flag_is_seen_with_both_values_and_so_is_its_twin(name: str, everything: Inputs) -> None:
    subject, made = SUBJECTS[name], SUBJECTS[name].build(everything)
    flags = [
        c.name for c in subject.table.features if c.limits.members == (0, 1) and c.reads not in (("ts",), ("CAL",))
    ]
    for rows in (range(made.height), subject.twin_rows):
        seen = {f: set(made[list(rows)][f].drop_nulls()) for f in flags}
        assert {f: values for f, values in seen.items() if values != {0, 1}} == {}


@pytest.mark.parametrize("share", [0.0, 0.05, 0.21, 0.6])
@every_set
def test_l4_and_l11_twin_and_null_mask(name: str, share: float, everything: Inputs, rng) -> None:
    subject, lossy = SUBJECTS[name], changes.masked(everything, share, rng)
    assert laws.unlike_twin(subject.table, subject.build, subject.twin, lossy, subject.twin_rows) == set()
    assert laws.not_plain(subject.table, subject.build(lossy)) == set()


@pytest.mark.parametrize(
    ("columns", "factors"),
    [
        (changes.MONEY, laws.PRICE_FACTOR),
        (changes.AMOUNTS, laws.SIZE_FACTOR),
    ],
    ids=["l5 prices", "l6 sizes"],
)
@every_set
def test_l5_l6_units(name: str, columns: set[str], factors: dict[str, float], everything: Inputs) -> None:
    subject = SUBJECTS[name]
    assert laws.scales_wrongly(subject.table, subject.build, everything, columns, factors) == set()


@every_set
def test_l7_another_symbol_changes_what_declares_it(name: str, everything: Inputs, other_bars: Bars, rng) -> None:
    """The partner's book, and every slow row of another symbol or currency, are another market's."""
    own = {"v6": ("ETH-USD", "ETH"), "mean_reversion": ("BTC-USD", "")}.get(name, ("", ""))

    def strange(frame: pl.DataFrame) -> pl.DataFrame:
        key = next((k for k in ("symbol", "currency") if k in frame.columns), None)
        theirs = pl.Series([False] * frame.height) if key is None else ~frame[key].is_in(own)
        return changes.another_market(frame, theirs, rng)

    slow = {letter: strange(f) for letter, f in everything.slow.items()}
    partner = changes.another_market(other_bars[1], pl.Series([True] * other_bars[1].height), rng)
    changed = replace(everything, partner_book=partner, slow=slow)
    found = laws.changed_by(SUBJECTS[name].table, SUBJECTS[name].build, everything, changed)
    assert found == OF_ANOTHER_SYMBOL.get(name, set())


@every_set
def test_l8_another_venue_changes_what_declares_it(name: str, everything: Inputs, rng) -> None:
    table, build = SUBJECTS[name].table, SUBJECTS[name].build
    x = everything.derivatives
    unasked = replace(
        everything,
        venue_trades={**everything.venue_trades, "bitstamp": everything.trades},
        venue_books={**everything.venue_books, "bitstamp": everything.book},
        derivatives={**x, "okex-swap": x["deribit"]},
    )
    assert laws.changed_by(table, build, everything, unasked) == set()
    assert laws.venues_wrongly(table, build, everything, rng) == set()


def stored(own: pl.DataFrame, venue: str, source: str) -> pl.DataFrame:
    return own.with_columns(
        pl.lit(venue).alias("venue"), pl.lit(source).alias("source"), pl.col("ts").dt.date().alias("day")
    )


def test_l8_the_lake_s_other_venues_and_sources_are_left_out(bars: Bars, other_bars: Bars) -> None:
    primary = Primary("coinbase", "tardis")
    for own, other in zip(bars, other_bars, strict=True):
        alone = stored(own, "coinbase", "tardis")
        crowded = [stored(other, "binance", "tardis"), alone, stored(other, "coinbase", "coinbase")]
        read = [primary_minutes(pl.concat(f).lazy(), primary, DAYS[0], DAYS[-1]) for f in ([alone], crowded)]
        assert read[0].equals(read[1], null_equal=True)


@every_set
def test_l9_sides(name: str, everything: Inputs) -> None:
    assert laws.sides_wrongly(SUBJECTS[name].table, SUBJECTS[name].build, everything) == set()


@every_set
def test_l10_a_week_earlier_is_the_same(name: str, everything: Inputs) -> None:
    subject = SUBJECTS[name]
    assert laws.moved_by_the_week(subject.table, subject.build, everything) == set()


@pytest.mark.parametrize(("kind", "share"), [("jumps", 0.15), ("stands still", 0.0), ("stands still", 0.15)])
@every_set
def test_l13_range_on_extremes(name: str, kind: str, share: float, everything: Inputs, rng) -> None:
    table, made = (
        SUBJECTS[name].table,
        SUBJECTS[name].build(changes.masked(changes.wild(everything, kind, rng), share, rng)),
    )
    assert laws.out_of_range(table, made) | laws.not_plain(table, made) <= (BELOW_ZERO if kind == "jumps" else set())


@every_set
def test_l14_no_column_is_another(name: str, long: Inputs) -> None:
    subject = SUBJECTS[name]
    made = subject.build(long).slice(1441).gather_every(11)
    close = long.trades["close"].slice(1441).gather_every(11)
    alike, least = laws.twin_columns(laws.transformed(subject.table, made, close))
    assert alike == set()
    assert least > 1e-6
