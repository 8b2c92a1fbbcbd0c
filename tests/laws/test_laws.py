"""The laws every column of every feature set obeys (docs/laws.md); each law is one test over ``SUBJECTS``.

A new column is under them by being in its table. That a law can fail is shown by ``test_mutations.py``. Not here: L15
(known answers: ``tests/features``, ``tests/bars``), L16 (``test_live.py``), L17 (``test_catalogue.py``).
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import DAYS
from laws import laws
from laws.every_source import long_market
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.reading import primary_minutes
from crpbot_dagster.instruments import Primary
from crpbot_dagster.tables.schema import Column

every_set = pytest.mark.parametrize("name", SUBJECTS)
Bars = tuple[pl.DataFrame, pl.DataFrame]

FLIPS = {"imbalance", "imbalance_ma5", "ob_imbalance_1", "ob_imbalance_5", "ob_imbalance_10", "ob_imbalance_25",
         "ofi_1m", "ofi_15m", "aggressor_flow", "trade_flow_net_ratio", "trade_flow_net_ratio_15m",
         "trade_flow_count_ratio", "flow_zscore", "liq_imbalance_1h", "kyle_lambda_30m", "effective_spread_bps",
         "price_impact_bps_5s", "ix_imbalance_vol", "ix_spread_imbalance", "ix_zscore_flow"}  # fmt: skip
OTHER_SIDE = {"trade_flow_buy": "trade_flow_sell", "trade_flow_sell": "trade_flow_buy"}
NEW_YORK = {"corr_spx_30d", "corr_dxy_30d"}  # count in sessions of the exchange, which a week may hold four of
OF_PARTNER = {"lead_ret_log_5m", "lead_residual_bps_15m", "lead_corr_4h", "lead_lag_asym_4h", "ratio_zscore_4h"}
OF_ANOTHER_SYMBOL = {"mean_reversion": OF_PARTNER, "v6": {"iv_rv_spread_frac"}}  # D of the option currency
SELDOM_TURN = {"volatility_low", "volatility_medium", "volatility_high", "is_ranging"}  # flags: one row of 540 or more
BELOW_ZERO = {"bb_low"}  # m − 2s of prices that treble within 20 minutes: no price does, the made-up one here does
# What a dead market's windows are: documented constants, and nulls where an estimator has no meaning.
STILL = {
    "mean_reversion": {
        0.0: {"liq_imbalance_1h", "realized_vol_60min"},
        None: {"hurst_12h", "ou_speed_4h", "variance_ratio_5_4h", "jump_z_4h", "price_zscore_60min", "is_ranging"},
    },
    "v6": {0.0: {"realized_vol_1d", "range_log_4h"}, None: {"vp_poc_dev_bps_1d", "rsi_14x5m", "close_position_4h"}},
    "v5": {0.0: {"spread", "trade_flow_buy"}, None: {"rsi", "bb_position", "trade_flow_net_ratio", "volume_ratio"}},
    "v4": {0.0: {"spread", "volume_ma"}, None: {"rsi", "bb_position", "volume_ratio"}},
}


def reads_only_the_clock(column: Column) -> bool:
    return column.reads in (("ts",), ("CAL",)) or "available_ts" in "".join(column.reads)


@every_set
def test_every_column_has_values_when_every_source_is_there(name: str, whole: Inputs) -> None:
    table, made = SUBJECTS[name].table, SUBJECTS[name].build(whole)
    at = made[1599:1600]  # the last row that VPIN's thin buckets reach
    assert [c.name for c in table.features if at[c.name].null_count() and c.name != "vpin_ma10"] == []
    assert made.columns == ["ts", *laws.names(table)]
    assert [made.schema[c.name] for c in table.features] == [c.dtype for c in table.features]


@every_set
def test_l1_no_look_ahead(name: str, everything: Inputs, rng) -> None:
    two_days = everything.rows(0, 2880)
    cuts = laws.telling_cuts(two_days, rng)
    assert len(cuts) >= 8
    assert laws.looks_ahead(SUBJECTS[name].table, SUBJECTS[name].build, two_days, rng, cuts) == set()


@every_set
def test_l2_reach_is_true(name: str, whole: Inputs, rng) -> None:
    subject = SUBJECTS[name]
    # At row 1,600 the thin buckets are 24 within VPIN's time, and older ones behind them.
    assert laws.reads_more(subject.table, subject.build, whole.known_at(1600), rng) == set()
    assert laws.reads_less(subject.table, subject.build, whole, rng, range(400, 406)) <= SELDOM_TURN


@every_set
def test_l3_partition_invariance(name: str, everything: Inputs) -> None:
    subject = SUBJECTS[name]
    assert laws.depends_on_partition(subject.table, subject.build, everything, (1440, 1500, 2881, 4319)) == set()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.21, 0.6])
@every_set
def test_l4_and_l11_twin_and_null_mask(name: str, share: float, everything: Inputs, rng) -> None:
    subject, lossy = SUBJECTS[name], laws.masked(everything, share, rng)
    assert laws.unlike_twin(subject.table, subject.build, subject.twin, lossy, subject.twin_rows) == set()
    assert laws.not_plain(subject.table, subject.build(lossy)) == set()


@pytest.mark.parametrize(
    ("columns", "factors"),
    [(laws.PRICES | laws.VALUES | laws.CAPS, laws.PRICE_FACTOR), (laws.SIZES | laws.VALUES, laws.SIZE_FACTOR)],
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
        return laws.another_market(frame, theirs, rng)

    slow = {letter: strange(f) for letter, f in everything.slow.items()}
    partner = laws.another_market(other_bars[1], pl.Series([True] * other_bars[1].height), rng)
    changed = replace(everything, partner_book=partner, slow=slow)
    found = laws.changed_by(SUBJECTS[name].table, SUBJECTS[name].build, everything, changed)
    assert found == OF_ANOTHER_SYMBOL.get(name, set())


@every_set
def test_l8_another_venue_changes_what_declares_it(name: str, everything: Inputs, rng) -> None:
    def strange(frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {v: laws.another_market(f, pl.Series([True] * f.height), rng) for v, f in frames.items()}

    table, build = SUBJECTS[name].table, SUBJECTS[name].build
    x = everything.derivatives
    unasked = replace(
        everything,
        venue_trades={**everything.venue_trades, "bitstamp": everything.trades},
        venue_books={**everything.venue_books, "bitstamp": everything.book},
        derivatives={**x, "okex-swap": x["deribit"]},
    )
    assert laws.changed_by(table, build, everything, unasked) == set()
    many = {n: strange(getattr(everything, n)) for n in ("venue_trades", "venue_books", "derivatives")}
    found = laws.changed_by(table, build, everything, replace(everything, **many))
    declared = {c.name for c in table.features if any(":" in read.partition(".")[0] for read in c.reads)}
    assert found == declared - {c.name for c in table.features if c.dtype == pl.Int8()}  # a flag is not multiplied


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
    table, build = SUBJECTS[name].table, SUBJECTS[name].build
    plain, other = build(everything), build(laws.over_all(everything, laws.swapped))
    wrong = set()
    for column in table.features:
        c, scale = column.name, laws.ROUNDING.get(column.unit, 1.0)
        if c == "microprice_dev_bps":  # flips to first order
            flipped = np.allclose(-plain[c].to_numpy(), other[c].to_numpy(), rtol=1e-2, atol=1e-3, equal_nan=True)
            wrong |= set() if flipped else {c}
            continue
        expected = -plain[c] if c in FLIPS else plain[OTHER_SIDE.get(c, c)]
        if not laws.close(expected, other[c], scale):
            wrong.add(c)
    assert wrong == set()


@every_set
def test_l10_a_week_earlier_is_the_same(name: str, everything: Inputs) -> None:
    subject = SUBJECTS[name]
    assert laws.moved_by_the_week(subject.table, subject.build, everything) <= NEW_YORK


@every_set
def test_l11_exactly_n_valid_rows_are_enough_and_one_less_is_not(name: str, whole: Inputs) -> None:
    subject = SUBJECTS[name]
    assert laws.miscounts(subject.table, subject.build, whole.rows(0, 1500)) == set()


@pytest.mark.parametrize("kind", ["constant", "gaps", "one trade an hour"])
@every_set
def test_l12_dead_market(name: str, kind: str, everything: Inputs) -> None:
    table, made = SUBJECTS[name].table, SUBJECTS[name].build(laws.dead(everything.rows(0, 2880), kind))
    assert laws.not_plain(table, made) | laws.out_of_range(table, made) == set()
    if kind == "gaps":
        measured = [c.name for c in table.features if not reads_only_the_clock(c)]
        assert [c for c in measured if made[c].null_count() < made.height] == []
    if kind == "constant":
        for value, columns in STILL[name].items():
            expected = [] if value is None else [value]
            assert [c for c in columns if made[c].drop_nulls().unique().to_list() != expected] == []


@pytest.mark.parametrize(("kind", "share"), [("jumps", 0.15), ("stands still", 0.0), ("stands still", 0.15)])
@every_set
def test_l13_range_on_extremes(name: str, kind: str, share: float, everything: Inputs, rng) -> None:
    """Bursts of size, and a price that jumps, or that stands still for hours and then bolts; holes beside."""
    n = everything.trades.height
    burst = pl.Series(np.where(rng.random(n) < 0.02, 1e4, 1.0))
    jumps = np.where(rng.random(n) < 0.01, rng.normal(0, 0.5, n), 0.0)
    still = np.where(np.cumsum(rng.random(n) < 0.005) % 2 == 0, 0.0, rng.standard_t(1.2, n) * 1e-4).clip(-0.3, 0.3)
    path = pl.Series(np.exp(np.cumsum(jumps if kind == "jumps" else still)))

    def wild(frame: pl.DataFrame) -> pl.DataFrame:
        prices = [c for c in frame.columns if c in laws.PRICES]
        sizes = [c for c in frame.columns if c in {"volume", "buy_volume"} | laws.VALUES]
        moved = [pl.col(c) * path if kind == "jumps" else (path * 100).alias(c) for c in prices]
        return frame.with_columns(*moved, *(pl.col(c) * burst for c in sizes))

    table, made = SUBJECTS[name].table, SUBJECTS[name].build(laws.masked(everything.minutes(wild), share, rng))
    assert laws.out_of_range(table, made) | laws.not_plain(table, made) <= (BELOW_ZERO if kind == "jumps" else set())


@pytest.fixture(scope="module")
def long(bars: Bars, other_bars: Bars) -> Inputs:
    """45 days: more than there are daily features."""
    return long_market(bars, other_bars, 15, np.random.default_rng(7))


@every_set
def test_l14_no_column_is_another(name: str, long: Inputs) -> None:
    subject = SUBJECTS[name]
    made = subject.build(long).slice(1441).gather_every(11)
    close = long.trades["close"].slice(1441).gather_every(11)
    alike, least = laws.twin_columns(laws.transformed(subject.table, made, close))
    assert alike == set()
    assert least > 1e-6
