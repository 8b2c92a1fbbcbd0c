"""The laws over every column of V6: blind to the future, true reach, one value however it is cut, units, nulls, range."""

import re
from dataclasses import replace
from datetime import date, datetime, timedelta

import naive_v6
import numpy as np
import polars as pl
import pytest
from conftest import SEED
from laws import generic
from laws.v6_inputs import HISTORY, SETTINGS, inputs_of, masked, random_trades

from crpbot_dagster.assets.features import multi_source
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.market_calendar import session_days
from crpbot_dagster.tables.features_v6 import V6

PRICES = {"open", "high", "low", "close", "vwap", "best_bid", "best_ask", "mark", "index", "price_usd"}
VALUES = {
    "volume_usd",
    "market_cap_usd",
    "total_volume_usd",
    "total_cap_usd",
    "btc_cap_usd",
    "eth_cap_usd",
    "stable_cap_usd",
}
SIZES = {"volume", "open_interest"}
NEW_YORK = {"corr_spx_30d", "corr_dxy_30d"}  # count in NYSE days


def build(inputs: Inputs) -> pl.DataFrame:
    return multi_source.build(inputs, SETTINGS)


@pytest.fixture(scope="module")
def inputs(bars) -> Inputs:
    """Everything around three days of the sandbox's bars."""
    return inputs_of(bars[0], np.random.default_rng(SEED))


@pytest.fixture(scope="module")
def whole() -> Inputs:
    """The same around a random walk, without a null."""
    rng = np.random.default_rng(SEED)
    made = inputs_of(random_trades(3, rng), rng)

    def filled(f: pl.DataFrame) -> pl.DataFrame:
        order = [c for c in ("symbol", "currency", "series_id", "obs_day", "hour", "ts") if c in f.columns]
        return f.sort(order).with_columns(
            pl.col(generic.values(f)).fill_null(strategy="forward").fill_null(strategy="backward")
        )

    return generic.with_slow(generic.with_minutes(made, filled), filled)


def test_every_feature_has_values_when_every_source_is_there(whole: Inputs) -> None:
    made = build(whole).tail(1440)
    assert [c.name for c in V6.features if made[c.name].null_count() > 0] == []
    assert made.columns == ["ts", *generic.names(V6)]
    assert [made.schema[c.name] for c in V6.features] == [c.dtype for c in V6.features]


def test_l1_no_look_ahead(inputs: Inputs, rng) -> None:
    n = inputs.trades.height
    cuts = [1439, 1440 + 60, n - 2, *rng.integers(1500, n - 1, 2).tolist()]
    assert generic.looks_ahead(V6, build, inputs, cuts, rng) == set()


def test_l1_catches_a_value_joined_on_the_day_it_describes(inputs: Inputs, rng) -> None:
    def early(given: Inputs) -> pl.DataFrame:
        clocks = ("available_ts", "wiki_available_ts")
        shifted = lambda f: f.with_columns(pl.col(c) - timedelta(days=1) for c in clocks if c in f.columns)  # noqa: E731
        return build(generic.with_slow(given, shifted))

    found = generic.looks_ahead(V6, early, inputs, [1600], rng)
    assert {"market_cap_usd", "btc_dominance_frac", "fear_greed_index", "dvol_frac", "news_n_1d"} <= found
    assert "ret_log_1d" not in found


def test_l1_catches_a_row_of_the_future(inputs: Inputs, rng) -> None:
    leaks = {"ret_log_1m": pl.col("ret_log_1m").shift(-1), "adx_14m": pl.col("adx_14m").fill_null(strategy="backward"),
             "arb_net_bps": pl.col("arb_net_bps") - pl.col("arb_net_bps").mean()}  # fmt: skip
    found = generic.looks_ahead(V6, lambda i: build(i).with_columns(**leaks), inputs, [20, 2000], rng)
    assert found == set(leaks)


def test_l2_minute_reach_is_true(whole: Inputs) -> None:
    shorter = generic.rows(whole, 1300, 1600)
    assert generic.reads_too_far(V6, build, shorter) == set()
    assert generic.reads_too_little(V6, build, generic.rows(whole, 0, 3000), range(1500, 1510)) == set()


def _slow_changed(inputs: Inputs, letter: str, where: pl.Expr, factor: float) -> set[str]:
    frame = inputs.slow[letter]
    factors = [(c, factor ** (1 + i / 7)) for i, c in enumerate(generic.values(frame))]  # ratios of columns must change
    numbers = [pl.when(where).then(pl.col(c) * x).otherwise(pl.col(c)).alias(c) for c, x in factors]
    changed = replace(inputs, slow={**inputs.slow, letter: frame.with_columns(numbers)})
    return generic.differing(build(inputs).tail(1), build(changed).tail(1), V6)


def _oldest(reach: str, letter: str, newest: date | datetime) -> date | datetime:
    """The oldest observation inside a reach that ends at ``newest``."""
    count = int(re.match(r"\d+", reach)[0])
    if letter == "O":
        return newest - timedelta(hours=23)  # a day of hours
    if "NYSE" in reach:
        return date(1970, 1, 1) + timedelta(days=int(session_days((newest - date(1970, 1, 1)).days, count)[0]))
    return newest - timedelta(days=count - 1)


def _slow_reads() -> set[tuple[str, str]]:
    """(reach, read) of every slow read; beside a daily table an hour and the other table's days are read as they are."""
    pairs = {
        (c.slow_reach, r)
        for c in V6.features
        if c.group != "staleness"
        for r in c.reads
        if r.partition(".")[0] in set("ODCGSAHNM")
    }
    return {(reach, r) for reach, r in pairs if (r[0] != "O" or reach == "1 d") and r != "D.close"}


@pytest.mark.parametrize(("reach", "read"), sorted(_slow_reads()))
def test_l2_slow_reach_is_true(reach: str, read: str, whole: Inputs) -> None:
    """What is older than the reach is not read, its oldest observation is."""
    inputs, letter = generic.rows(whole, 2800, 61), read[0]
    frame = inputs.slow[letter].filter(
        pl.col("wiki_available_ts" if "wiki" in read else "available_ts") <= inputs.trades["ts"][-1]
    )
    if letter == "M":
        frame = frame.filter(pl.col("series_id") == read[len("M.value(") : -1])
    at = "hour" if letter == "O" else "obs_day"
    oldest = _oldest(reach, letter, frame[at].max())
    readers = {c.name for c in V6.features if c.slow_reach == reach and read in c.reads}
    assert not readers & _slow_changed(inputs, letter, pl.col(at) < oldest, 1.7)
    assert readers <= _slow_changed(inputs, letter, pl.col(at) == oldest, 3.0)


def test_l3_partition_invariance(inputs: Inputs) -> None:
    assert generic.depends_on_partition(V6, build, inputs, (1440, 1500, 2881, 4319)) == set()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.21, 0.6])
def test_l4_and_l11_twin_and_null_mask(share: float, rng) -> None:
    given = inputs_of(masked(random_trades(3, rng), share, rng), rng)
    given = generic.with_minutes(given, lambda f: masked(f, share / 4, rng))
    ours = build(given)
    at = sorted({700, 1439, *rng.integers(1441, 4310, 6).tolist(), *range(4312, 4320)})
    twin = naive_v6.v6(given, SETTINGS, at).select(ours.columns)
    size = float(given.trades["close"].max())
    assert generic.unequal(ours[at], twin, V6, size) == []
    assert generic.unhealthy(V6, ours) == []


WINDOWS = {
    14: ["stoch_k_14m"],
    15: ["range_log_15m"],
    20: ["cci_20m"],
    30: ["sma_dev_bps_30m"],
    60: ["bb_width_1h", "bb_position_1h", "williams_r_1h", "vwap_dev_bps_1h", "gap_kraken_z_1h", "kraken_volume_frac_1h", "cmf_1h"],
    240: ["range_log_4h", "close_position_4h", "sma_dev_bps_4h", "parkinson_vol_4h", "coinbase_premium_mean_bps_4h"],
    1440: ["close_position_1d", "volume_ratio_1h_1d", "vwap_dev_bps_1d", "vp_poc_dev_bps_1d", "vp_value_area_pos_1d"],
}  # fmt: skip


@pytest.mark.parametrize("w", WINDOWS)
def test_l11_exactly_n_valid_rows_are_enough_and_one_less_is_not(w: int, whole: Inputs) -> None:
    given, t = generic.rows(whole, 0, 1500), 1480
    spare = w - (4 * w + 4) // 5
    for holes, is_null in ((spare, False), (spare + 1, True)):
        lost = pl.int_range(pl.len()).is_between(t - w + 1, t - w + holes)
        change = lambda f, lost=lost: f.with_columns(pl.when(~lost).then(pl.col(c)).alias(c) for c in generic.values(f))  # noqa: E731
        made = build(generic.with_minutes(given, change))
        assert [n for n in WINDOWS[w] if (made[n][t] is None) != is_null] == [], f"{holes} holes of {w}"


@pytest.mark.parametrize(
    ("scaled", "factors"),
    [(PRICES | VALUES, {"USD": 2.0, "USDv": 2.0, "bps/M$": 0.5}), (SIZES | {"volume_usd"}, {"USDv": 2.0, "coin": 2.0, "bps/M$": 0.5})],
    ids=["l5 prices", "l6 sizes"],
)  # fmt: skip
def test_l5_l6_units(scaled: set[str], factors: dict[str, float], inputs: Inputs) -> None:
    double = lambda f: f.with_columns(pl.col(c) * 2 for c in f.columns if c in scaled)  # noqa: E731
    doubled = build(generic.with_slow(generic.with_minutes(inputs, double), double))
    assert generic.unequal(build(inputs), doubled, V6, float(inputs.trades["close"].max()), factors) == []


def test_l7_l8_other_symbols_and_venues_change_nothing_unless_declared(inputs: Inputs) -> None:
    other = {"symbol": "BTC-USD", "currency": "BTC"}

    def strange(f: pl.DataFrame) -> pl.DataFrame:
        key = next((k for k in other if k in f.columns), None)
        where = pl.lit(False) if key is None else pl.col(key) == other[key]
        return f.with_columns(
            pl.when(where).then(pl.col(c) * 3).otherwise(pl.col(c)).alias(c) for c in generic.values(f)
        )

    changed = generic.with_slow(inputs, strange)
    foreign = {**inputs.venue_trades, "bitstamp": inputs.trades}
    changed = replace(
        changed, venue_trades=foreign, derivatives={**inputs.derivatives, "okex": inputs.derivatives["deribit"]}
    )
    assert generic.differing(build(inputs), build(changed), V6) == {"iv_rv_spread_frac"}  # of OPTION_CURRENCY


def test_l10_seven_days_earlier_nothing_else_changes(inputs: Inputs) -> None:
    def earlier(f: pl.DataFrame) -> pl.DataFrame:
        return f.with_columns(
            pl.col(c) - timedelta(days=7)
            for c in ("ts", "obs_day", "hour", "available_ts", "wiki_available_ts")
            if c in f.columns
        )

    shifted = build(generic.with_slow(generic.with_minutes(inputs, earlier), earlier))
    assert generic.differing(build(inputs), shifted, V6) <= NEW_YORK


def _dead(kind: str, given: Inputs) -> Inputs:
    def constant(f: pl.DataFrame) -> pl.DataFrame:
        ones = [pl.lit(100.0).alias(c) for c in f.columns if c in PRICES]
        zeros = [pl.lit(0.0).alias(c) for c in f.columns if c in SIZES | {"volume_usd", "funding_rate"}]
        return f.with_columns(ones + zeros)

    def gap(f: pl.DataFrame) -> pl.DataFrame:
        return f.with_columns(pl.lit(None, f.schema[c]).alias(c) for c in generic.values(f))

    def hourly(f: pl.DataFrame) -> pl.DataFrame:
        traded, f = pl.col("ts").dt.minute() == 0, constant(f)
        prices = [pl.when(traded).then(pl.col(c)).alias(c) for c in f.columns if c in PRICES]
        return f.with_columns(
            [*prices, *(traded.cast(pl.Float64).alias(c) for c in ("volume", "volume_usd") if c in f.columns)]
        )

    change = {"constant": constant, "gaps": gap, "one trade an hour": hourly}[kind]
    still = lambda f: f.with_columns(pl.lit(1.0).alias(c) for c in generic.values(f))  # noqa: E731
    return generic.with_slow(generic.with_minutes(given, change), gap if kind == "gaps" else still)


@pytest.mark.parametrize("kind", ["constant", "gaps", "one trade an hour"])
def test_l12_dead_market(kind: str, whole: Inputs) -> None:
    made = build(_dead(kind, generic.rows(whole, 0, 2880)))
    assert generic.unhealthy(V6, made) == []
    if kind == "gaps":
        clock = {c.name for c in V6.features if c.reads in (("ts",), ("CAL",)) or "available_ts" in "".join(c.reads)}
        assert [n for n in generic.names(V6) if n not in clock and made[n].null_count() < made.height] == []
    if kind == "constant":
        assert made["vp_poc_dev_bps_1d"].null_count() == made.height
        assert made["realized_vol_1d"].drop_nulls().unique().to_list() == [0.0]


def test_l13_range_on_extremes(inputs: Inputs, rng) -> None:
    def wild(f: pl.DataFrame) -> pl.DataFrame:
        burst = pl.Series(np.where(rng.random(f.height) < 0.02, 1e4, 1.0))
        jump = pl.Series(np.exp(np.cumsum(np.where(rng.random(f.height) < 0.01, rng.normal(0, 0.5, f.height), 0))))
        prices = [pl.col(c) * jump for c in f.columns if c in PRICES]
        return masked(f.with_columns([*prices, *(pl.col(c) * burst for c in f.columns if c in SIZES)]), 0.15, rng)

    assert generic.unhealthy(V6, build(generic.with_minutes(inputs, wild))) == []


def test_l14_no_twin_columns(rng) -> None:
    days = 45  # more than there are daily features
    made = build(inputs_of(random_trades(days, rng), rng)).slice(1441).gather_every(11)
    share, pairs = generic.twin_columns(V6, made)
    assert pairs == []
    assert share > 1e-6
    assert HISTORY > 365
