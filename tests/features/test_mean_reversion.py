"""Mean reversion: known answers, what random walks and jumps give, and what degenerate windows may not do."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from crpbot_dagster.assets.bars.derivatives import VENUES_NEEDED, funding_bps_8h, middle
from crpbot_dagster.assets.features import mean_reversion, perpetuals
from crpbot_dagster.assets.features import reversion as r
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.mean_reversion import MRSettings, jump_statistic, vpin
from crpbot_dagster.assets.features.windows import lag, needed, window_z

NAN = float("nan")
START = datetime(2023, 11, 16, tzinfo=UTC)
TRADES = ("open", "high", "low", "close", "volume", "volume_usd", "trade_count_n", "buy_volume", "sell_volume",
          "buy_volume_usd", "sell_volume_usd")  # fmt: skip
BOOK = ("mid", "microprice", "imbalance_5_tw", "spread_bps_tw", "eff_spread_bps", "impact_5s_bps", "ofi_coin",
        "depth_1_tw", "remove_coin", "best_ask_up_n", "best_bid_down_n",
        *(f"{s}_depth_{k}" for s in ("bid", "ask") for k in (1, 10, 25)))  # fmt: skip


def build(inputs: Inputs) -> pl.DataFrame:
    return mean_reversion.build(inputs, MRSettings("BTC-USD", ("kraken_futures", "deribit")))


def market(log_mid: np.ndarray, **book: np.ndarray) -> Inputs:
    """A market of which only the mid (and ``book``) is told."""
    n = len(log_mid)
    ts = pl.datetime_range(START, START + timedelta(minutes=n - 1), "1m", time_unit="us", eager=True).alias("ts")
    mid = np.exp(log_mid)
    told = {c: np.ones(n) for c in BOOK} | {"mid": mid, "microprice": mid} | book
    return Inputs(
        trades=pl.DataFrame([ts, *(pl.Series(c, mid) for c in TRADES)]),
        book=pl.DataFrame([ts, *(pl.Series(c, v) for c, v in told.items())]),
    )


def walks(rng: np.random.Generator, paths: int, rows: int) -> np.ndarray:
    return rng.normal(0, 5e-4, (paths, rows)).cumsum(axis=1) + 10.5


def test_half_life_known_answers() -> None:
    found = r.half_life(np.array([0.99, 0.95, 0.9, 0.5]))
    assert found == pytest.approx([68.96756, 13.51341, 6.578813, 1.0], rel=1e-6)
    assert r.half_life(np.array([-0.5, 0.0, 1.0, 1.2, 0.99999, NAN])).tolist()[:5] == [0, 0, 1440, 1440, 1440]


def test_variance_ratio_known_answers() -> None:
    zigzag = np.tile([1.0, -1.0], 8)
    assert r.variance_ratio(zigzag, 2, 16)[-1, 0] == 0
    steps = np.tile([1.0, 1.0, -1.0, -1.0], 4)
    assert r.variance_ratio(steps, 2, 16)[-1, 0] == pytest.approx(1.142857, rel=1e-6)


def test_vpin_known_answer() -> None:
    """Buckets of 10 with buys of 8, 5, 2 and 6: 0.35."""
    gaps = np.abs(np.array([8.0, 5, 2, 6]) - np.array([2.0, 5, 8, 4])) / 10
    ends = np.array([10, 20, 30, 40])
    found = r.volume_synchronised_imbalance(gaps, ends, np.array([40, 41, 60, 61]), 4, 50)
    assert np.isnan(found[[0, 2, 3]]).all(), "a bucket that ends as the row is known is too late, one 50 back too old"
    assert found[1] == pytest.approx(0.35)


def test_vpin_needs_25_buckets() -> None:
    ts = pl.Series("ts", [START + timedelta(minutes=i) for i in range(60)], pl.Datetime("us", "UTC"))
    ends = [START + timedelta(minutes=i, seconds=30) for i in range(30)]
    buckets = pl.DataFrame(
        {"end_ts": ends, "bucket_volume": 10.0, "buy_volume": 8.0, "sell_volume": 2.0},
        schema_overrides={"end_ts": pl.Datetime("us", "UTC")},
    )
    found = vpin(ts, buckets)
    assert np.isnan(found[:24]).all() and found[24] == pytest.approx(0.6)
    assert np.isnan(vpin(ts, None)).all()


def test_a_line() -> None:
    made = build(market(10 + 1e-4 * np.arange(1440.0)))
    last = made.row(-1, named=True)
    assert last["hurst_12h"] == pytest.approx(1.0, abs=1e-9)
    assert last["efficiency_ratio_1h"] == pytest.approx(1.0, abs=1e-9)
    assert last["realized_vol_60min"] == pytest.approx(0.0724983, rel=1e-5)


def test_a_zigzag() -> None:
    made = build(market(10 + np.tile([0.0, 1e-4], 360)))
    last = made.row(-1, named=True)
    assert last["ou_speed_4h"] == pytest.approx(2.0, abs=0.02)
    assert last["variance_ratio_5_4h"] < 1
    assert last["efficiency_ratio_1h"] == 0
    assert last["ou_half_life_min_12h"] == 0


def test_microprice_in_basis_points_from_the_mid() -> None:
    x = np.full(60, math.log(100.1))
    made = build(market(x, microprice=np.full(60, 100.15)))
    assert made["microprice_dev_bps"][-1] == pytest.approx(4.993758, rel=1e-6)


def test_random_walks(rng) -> None:
    """300 paths: no estimator may see reversion where there is none; about half of the half-lives are at the cap."""
    found = []
    for x in walks(rng, 300, 721):
        m1 = x - lag(x, 1)
        phi, _, pairs, _ = r.autoregression(x, 720, needed(720))[-1:].T
        found.append(
            (r.hurst(x, 720)[-1], r.variance_ratio(m1, 5, 240)[-1, 0], r.variance_ratio(m1, 15, 720)[-1, 1],
             r.half_life(r.unbiased(phi, pairs))[0])
        )  # fmt: skip
    hurst, ratio_5, z_15, half_lives = np.array(found).T
    assert (hurst.mean(), hurst.std()) == (pytest.approx(0.50, abs=0.01), pytest.approx(0.035, abs=0.01))
    assert (ratio_5.mean(), ratio_5.std()) == (pytest.approx(1.0, abs=0.03), pytest.approx(0.14, abs=0.02))
    assert (z_15.mean(), z_15.std()) == (pytest.approx(0, abs=0.15), pytest.approx(1, abs=0.12))
    assert 0.45 <= (half_lives == 1440).mean() <= 0.55


def test_jumps(rng) -> None:
    quiet = rng.normal(0, 5e-4, 240 * 1500)
    z = jump_statistic(quiet, 240)[1][239::240]
    assert (z.mean(), z.std()) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.05))
    quiet[120::240] = 12 * 5e-4
    z = jump_statistic(quiet, 240)[1][239::240]
    assert np.median(z) == pytest.approx(5.7, abs=0.15)
    assert np.quantile(z, 0.05) == pytest.approx(3.4, abs=0.2)


def test_a_half_life_of_34_minutes_is_found(rng) -> None:
    phi, plain, corrected = 0.5 ** (1 / 34), [], []
    for _ in range(200):
        noise, x = rng.normal(0, 5e-4, 1800), np.zeros(1800)
        for j in range(1, 1800):
            x[j] = phi * x[j - 1] + noise[j]
        short, long = (r.autoregression(x[-721:], w, needed(w))[-1:] for w in (240, 720))
        plain.append(r.half_life(short[:, 0])[0])
        corrected.append(r.half_life(r.unbiased(long[:, 0], long[:, 2]))[0])
    assert np.median(plain) == pytest.approx(20, abs=3)
    assert np.median(corrected) == pytest.approx(36, abs=5)


def test_digits_of_a_price_near_eleven_are_not_lost(rng) -> None:
    x = walks(rng, 1, 241)[0] - 10.5
    for shift in (0.0, 11.0):
        phi, sigma, n, distance = r.autoregression(x + shift, 240, 192)[-1]
        assert (phi, sigma, distance, n) == pytest.approx((0.98, 5e-4, distance, 240), rel=0.2)
    a, b = (r.autoregression(x + shift, 240, 192)[-1] for shift in (0.0, 11.0))
    assert a == pytest.approx(b, rel=1e-9)
    assert window_z(x, 240, 192)[-1] == pytest.approx(window_z(x + 11.0, 240, 192)[-1], rel=1e-9)


def test_degenerate_windows_are_clipped_to_the_range(rng) -> None:
    """Decision 0015: a price that stood still for hours and then bolted has no speed of reversion."""
    bolting = np.concatenate([np.zeros(1200), [1e-6, 1e-5, 1e-4]]) + 10
    phi, _, pairs, _ = r.autoregression(bolting, 240, 192)[-1:].T
    assert 1 - r.unbiased(phi, pairs)[0] < -8
    made = build(market(bolting))
    assert made["ou_speed_4h"][-1] == -1
    # One tick, later a move of 5 % that a missing minute hides from the one-minute changes but not from longer ones.
    hidden = np.concatenate([np.zeros(300), np.full(300, 1e-7), [NAN], np.full(300, 0.05)]) + 10
    assert build(market(hidden))["hurst_12h"][-1] == 1.5


def test_a_step_over_a_hole_is_no_step(rng) -> None:
    """Decision 0015: were it one, a move in a missing minute would make a variance ratio of thousands."""
    x = walks(rng, 1, 400)[0]
    x[300:] += 0.05
    x[300] = NAN
    assert r.variance_ratio(x - lag(x, 1), 5, 240)[-1, 0] == pytest.approx(1.0, abs=0.5)


def test_rank_counts_itself_and_its_equals_half() -> None:
    x = np.array([1.0, 2.0, 3.0, 2.0])
    assert r.window_rank(x, 4, 4)[-1] == pytest.approx((1 + 0.5 * 2) / 4)
    assert np.isnan(r.window_rank(np.array([1.0, NAN]), 2, 1)[-1])


def test_funding_over_venues() -> None:
    """An hourly rate counts eight times; one venue is no market."""
    rates = np.array([[1e-5, 1e-5, NAN], [1e-4, 3e-4, 1e-4]])
    scaled = funding_bps_8h(rates, np.array([[1.0] * 3, [8.0] * 3]))
    found = middle(scaled, VENUES_NEEDED)
    assert found[:2] == pytest.approx([0.9, 1.9]) and np.isnan(found[2])
    with pytest.raises(ValueError, match="at least 2 venues, got deribit"):
        MRSettings("BTC-USD", ("deribit",))


def test_median_of_venues() -> None:
    values = np.array([[1.0, NAN, 1.0], [5.0, 2.0, 3.0], [2.0, NAN, NAN]])
    found = middle(values, 2)
    assert found[[0, 2]].tolist() == [2.0, 2.0] and np.isnan(found[1])


def test_liquidations_none_is_zero_and_no_feed_is_null() -> None:
    none, no_feed = np.zeros(3), np.full(3, NAN)
    shorts, longs = np.array([3.0, 0, 0]), np.array([0, 1.0, 0])

    def found(bought: list, sold: list) -> np.ndarray:
        return perpetuals.liquidation_imbalance(np.array(bought), np.array(sold), 3)

    assert found([none, no_feed], [none, no_feed])[-1] == 0
    assert np.isnan(found([no_feed], [no_feed])).all()
    assert found([shorts, none], [longs, none])[-1] == pytest.approx(0.5)


def funding_z(known: list[float], minutes: int) -> pl.Series:
    """The column when both venues fund 4 bps and ``known`` are the days before, a minute a day for ``minutes``."""
    inputs = market(np.full(minutes, 10.0))
    ts = pl.Series("ts", [START + timedelta(days=i) for i in range(minutes)], pl.Datetime("us", "UTC"))
    told = pl.DataFrame([ts]).with_columns(
        *(pl.lit(1.0).alias(c) for c in ("mark", "index", "liq_buy_usd", "liq_sell_usd", "is_stale")),
        funding_rate=4e-4, funding_interval_h=8.0,
    )  # fmt: skip
    days = [START - timedelta(days=len(known) - i) for i in range(len(known))]
    daily = pl.DataFrame(
        {"symbol": "BTC-USD", "obs_day": [d.date() for d in days], "available_ts": [d + timedelta(days=1) for d in days],
         **dict.fromkeys(("high", "close", "rv_1d"), 1.0), "funding_bps_8h_mean": known},
        schema_overrides={"available_ts": pl.Datetime("us", "UTC")},
    ).with_columns(pl.col("funding_bps_8h_mean").fill_nan(None))  # fmt: skip
    moved = replace(inputs, trades=inputs.trades.with_columns(ts), book=inputs.book.with_columns(ts))
    return build(replace(moved, derivatives={"kraken_futures": told, "deribit": told}, slow={"D": daily}))[
        "funding_z_30d"
    ]


def test_funding_z_reads_the_last_thirty_known_days() -> None:
    known = [100.0] + [1.0, 3.0] * 15  # the first is out of the window
    expected = (4 - 2) / np.std([1.0, 3.0] * 15, ddof=1)
    found = funding_z(known, 5)
    assert found[:4].to_list() == pytest.approx([expected] * 4) and found[4] is None, "older than 72 hours"
    assert funding_z([1.0, 3.0] * 11 + [2.0], 2).is_null().all(), "23 days"
    assert funding_z([1.0] * 30, 2).is_null().all(), "days that do not differ"


def test_the_countdown_to_funding_looks_at_the_end_of_the_minute() -> None:
    made = build(market(np.full(482, 10.0)))["funding_countdown_frac"]
    assert (made[0], made[478], made[479], made[480]) == (479 / 480, 1 / 480, 1.0, 479 / 480)


def test_candles_have_no_sides_and_the_reason_names_the_empty_column() -> None:
    whole = market(np.linspace(10, 10.01, 300))
    flows = [c for c in TRADES if c.startswith(("buy", "sell", "trade_count"))]
    candles = replace(whole, trades=whole.trades.with_columns(pl.lit(None, pl.Float64).alias(c) for c in flows))
    told = MRSettings("BTC-USD", ("kraken_futures", "deribit"))
    more = mean_reversion.absent(candles, told).items() - mean_reversion.absent(whole, told).items()
    assert dict(more) == dict.fromkeys(
        ("aggressor_flow", "flow_zscore", "ix_zscore_flow"), "T.buy_volume has no value"
    ) | (
        dict.fromkeys(("trade_flow_net_ratio_15m", "kyle_lambda_30m"), "T.buy_volume_usd has no value")
        | dict.fromkeys(("trade_size_z_1h", "trade_count_z_1h"), "T.trade_count_n has no value")
    )
