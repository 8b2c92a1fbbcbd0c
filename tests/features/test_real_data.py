"""Feature sets on recorded markets: they equal their slow twins there, so every null has the rule that the twin reads.

``pytest -s`` prints the null shares that docs/results.md has. The books of Bitstamp and Binance, through the whole
route: ``tests/route/test_real_data.py``.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import naive_v6
import numpy as np
import polars as pl
import pytest
from conftest import days_between
from features.nulls import null_shares
from laws import laws
from laws.every_source import SETTINGS
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.bars.fx import fx_1m
from crpbot_dagster.assets.bars.tape import candles_1m
from crpbot_dagster.assets.features import multi_source
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.features import V4
from crpbot_dagster.tables.features_v6 import V6, V6_FEATURES

MARCH = days_between(date(2023, 3, 1), date(2023, 3, 21))
YEAR = days_between(date(2018, 1, 1), date(2018, 12, 31))
TOLD = replace(
    SETTINGS,
    symbol="BTC-USD",
    price_venues=("coinbase", "kraken", "binanceus"),
    offshore_venue="binanceus",
    usdt_venues=frozenset({"binanceus"}),
)
ACROSS = ("gap_kraken_bps", "gap_kraken_z_1h", "venue_dispersion_bps", "kraken_volume_frac_1h", "coinbase_premium_bps")


def minutes(folder: Path, market: str, days: Iterable[date]) -> pl.DataFrame:
    """The bars of some days from a file of candles, on the dense grid."""
    candles = pl.read_parquet(folder / f"candles/{market}.parquet").with_columns(day=pl.col("ts").dt.date())
    by_day = candles.partition_by("day", as_dict=True)
    return pl.concat([candles_1m(by_day[(d,)], d) for d in days])


@pytest.mark.parametrize("market", ["bitfinex/BTC-USD", "bitfinex/ETH-USD"])
def test_v4_of_a_year_is_its_twin(market: str, shared_data: Path) -> None:
    inputs = Inputs(trades=minutes(shared_data, market, YEAR))
    made = SUBJECTS["v4"].build(inputs)
    shares = null_shares(f"V4, {market}, 2018", V4, made)
    empty = inputs.trades["close"].is_null().mean()
    assert shares["close"] == pytest.approx(empty) and 0.005 < empty < 0.05, "a minute without a trade has no price"
    assert max(shares.values()) < 1
    # A day of rows that begins anywhere holds every window: the twin of two days says what the last of them must be.
    rng = np.random.default_rng(7)
    for start in rng.integers(0, inputs.trades.height - 2_880, 4):
        part = inputs.rows(int(start), int(start) + 1_500)
        subject = SUBJECTS["v4"]
        rows = range(1_441, 1_500)
        assert laws.unlike_twin(V4, subject.build, subject.twin, part, rows) == set()
        assert laws.same(subject.build(part)[1_441:], made[int(start) + 1_441 : int(start) + 1_500], shares) == set()


def test_three_venues_of_march_2023_build_v4_and_what_v6_says_across_venues(shared_data: Path) -> None:
    trades = {
        "coinbase": minutes(shared_data, "coinbase/BTC-USD", MARCH),
        "kraken": minutes(shared_data, "kraken/BTC-USD", MARCH),
        "binanceus": minutes(shared_data, "binanceus/BTC-USDT", MARCH),
    }
    usdt = minutes(shared_data, "coinbase/USDT-USD", MARCH)
    inputs = Inputs(
        trades=trades["coinbase"],
        venue_trades={v: f for v, f in trades.items() if v != "coinbase"},
        fx=pl.concat([fx_1m({"coinbase": usdt}, d) for d in MARCH]),
    )
    null_shares("V4, coinbase BTC-USD, March 2023", V4, SUBJECTS["v4"].build(inputs))
    made = multi_source.build(inputs, TOLD)
    shares = null_shares("V6, coinbase BTC-USD beside kraken and binanceus, March 2023", V6, made)
    absent = multi_source.absent(inputs, TOLD)
    assert {c.name for c in V6_FEATURES if shares[c.name] == 1} == set(absent), (
        "an empty column is one whose source is absent"
    )
    assert all(shares[n] < 0.02 for n in ACROSS)
    # The de-peg of 10 to 13 March: USDT was dear, so a price in USDT was low; in dollars the venues agree.
    apart = made.filter(pl.col("ts").dt.date() == date(2023, 3, 11))["coinbase_premium_bps"]
    assert apart.abs().median() < 40
    rows = np.random.default_rng(7).integers(1_500, made.height, 12).tolist()
    twin = lambda i, chosen: naive_v6.v6(i, TOLD, chosen)  # noqa: E731
    assert laws.unlike_twin(V6, lambda i: multi_source.build(i, TOLD), twin, inputs, rows) == set()
