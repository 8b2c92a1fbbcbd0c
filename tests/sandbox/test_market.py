"""The simulated market keeps its docstring's promises: determinism, the planted truth, a sane book."""

import hashlib
import os
import subprocess
import sys
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.market import EPOCH, SYMBOLS, MarketSpec

SPEC = MarketSpec(seed=20_240_131, density=1.0)
DAY = date(2023, 10, 5)
LAST_LATENT_DAY = EPOCH + timedelta(days=59)
FEW_DAYS = [DAY + timedelta(days=n) for n in range(8)]


def digest(frame: pl.DataFrame) -> str:
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


def forget() -> None:
    for cached in (market._latent_minutes, market._quotes, market._book, market._tape):
        cached.cache_clear()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def latent(symbol: str) -> pl.DataFrame:
    return market.latent(SPEC, symbol, EPOCH, LAST_LATENT_DAY)


def minute_of(ts: str) -> pl.Expr:
    return (pl.col(ts) // 60_000_000 * 60_000_000).cast(pl.Datetime("us", "UTC")).alias("ts")


def mid() -> pl.Expr:
    return (pl.col("asks[0].price") + pl.col("bids[0].price")) / 2


def depth(side: str) -> pl.Expr:
    return pl.sum_horizontal(f"{side}s[{level}].amount" for level in range(25))


def replay(rows: pl.DataFrame) -> dict[int, tuple[list, list]]:
    """Return both sides, best first, after each message: a slow and obvious twin of any book builder."""
    sides: dict[str, dict[float, float]] = {"bid": {}, "ask": {}}
    books = {}
    for (ts,), message in rows.group_by("ts_exchange", maintain_order=True):
        for side, price, amount in message.select("side", "price", "amount").iter_rows():
            if amount == 0:
                del sides[side][price]
            else:
                sides[side][price] = amount
            assert not all(sides.values()) or max(sides["bid"]) < min(sides["ask"])
        books[ts] = (sorted(sides["bid"].items(), reverse=True), sorted(sides["ask"].items()))
    return books


@pytest.fixture(scope="module")
def books() -> dict[int, tuple[list, list]]:
    rows = market.book(SPEC, "BTC-USD", DAY)
    return replay(rows.filter(pl.col("ts_exchange") < rows["ts_exchange"][0] + 4 * 3_600_000_000))


@pytest.fixture(scope="module")
def minutes() -> pl.DataFrame:
    """One row per minute of eight days: what the market shows, joined to what it hides."""
    frames = []
    for day in FEW_DAYS:
        trades = (
            market.tape(SPEC, "BTC-USD", day)
            .group_by(minute_of("ts_exchange"))
            .agg(volume=pl.col("amount").sum(), trade_n=pl.len(), buy_n=(pl.col("side") == "buy").sum())
        )
        rows = (
            market.book(SPEC, "BTC-USD", day)
            .group_by(minute_of("ts_exchange"))
            .agg(set_n=pl.col("amount").gt(0).sum(), row_n=pl.len())
        )
        top = market.snapshots(SPEC, "BTC-USD", day).select(
            minute_of("ts_exchange"),
            mid().alias("mid"),
            ((pl.col("asks[0].price") - pl.col("bids[0].price")) / mid() * 1e4).alias("spread_bps"),
            depth("bid").alias("bids"),
            depth("ask").alias("asks"),
        )
        hidden = market.latent(SPEC, "BTC-USD", day, day)
        frames.append(hidden.join(top, "ts").join(rows, "ts").join(trades, "ts", how="left"))
    counts = pl.col("volume", "trade_n", "buy_n").fill_null(0)
    return pl.concat(frames).sort("ts").with_columns(counts)


def test_days_are_the_same_in_whatever_order_they_are_asked_for():
    days = [DAY, EPOCH, EPOCH + timedelta(days=100), DAY + timedelta(days=1)]
    makers = (market.tape, market.book, market.snapshots)
    forget()
    forward = {day: [digest(make(SPEC, "ETH-USD", day)) for make in makers] for day in days}
    forget()
    for day in reversed(days):
        backward = [digest(make(SPEC, "ETH-USD", day)) for make in reversed(makers)]
        assert backward[::-1] == forward[day]


def test_another_process_with_another_hash_seed_makes_the_same_day():
    code = (
        "import hashlib, datetime; from crpbot_dagster.sandbox import market as m;"
        f"s = m.MarketSpec(seed={SPEC.seed}, density=1.0); d = datetime.date.fromisoformat('{DAY}');"
        "h = lambda f: hashlib.sha256(f.write_csv().encode()).hexdigest();"
        "import sys; sys.stdout.write(h(m.tape(s, 'SOL-USD', d)) + h(m.book(s, 'SOL-USD', d)))"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(root)}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    here = digest(market.tape(SPEC, "SOL-USD", DAY)) + digest(market.book(SPEC, "SOL-USD", DAY))
    assert other.stdout == here


def test_seeds_symbols_and_days_differ():
    other = MarketSpec(seed=SPEC.seed + 1, density=1.0)
    btc, eth = "BTC-USD", "ETH-USD"
    asked = [(SPEC, btc, DAY), (other, btc, DAY), (SPEC, eth, DAY), (SPEC, btc, EPOCH)]
    assert len({digest(market.tape(*key).select("side", "amount")) for key in asked}) == len(asked)


def test_what_does_not_exist_is_refused_clearly():
    with pytest.raises(market.NoSuchDay, match="2023-08-31"):
        market.tape(SPEC, "BTC-USD", EPOCH - timedelta(days=1))
    with pytest.raises(market.NoSuchSymbol, match="DOGE-USD"):
        market.book(SPEC, "DOGE-USD", DAY)
    with pytest.raises(ValueError, match="60 or 86400"):
        candles(SPEC, "BTC-USD", *(datetime(2023, 9, n, tzinfo=UTC) for n in (1, 2)), 300)
    with pytest.raises(ValueError, match="density"):
        MarketSpec(seed=1, density=0.0)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_latent_shocks_drive_the_return_fifteen_minutes_later(symbol):
    truth, kappa = latent(symbol), SYMBOLS[symbol].kappa
    u, pressure, display = (truth[name].to_numpy() for name in ("u", "pressure", "display"))
    assert abs(u.mean()) < 0.015 and u.std() == pytest.approx(1, abs=0.015)
    sums = np.convolve(u, np.ones(15), "valid") / np.sqrt(15)
    assert np.allclose(pressure[14:], sums)
    assert (display - pressure).std() == pytest.approx(1.6, abs=0.02)
    assert abs(correlation(display - pressure, pressure)) < 0.015

    shock = np.diff(truth["log_price"].to_numpy()) / truth["sigma"].to_numpy()[1:]
    shock = np.where(np.abs(shock) > 5, 0, shock)  # without the jumps
    for lag in (*range(13), 16, 17):  # what is shown before, or long after, says nothing
        assert abs(correlation(shock[lag + 1 :], u[1 : len(u) - lag - 1])) < 0.015
    assert correlation(shock[15:], u[1:-15]) == pytest.approx(kappa, abs=0.02)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_latent_returns_say_nothing_about_later_returns(symbol):
    truth = latent(symbol)
    shock = np.diff(truth["log_price"].to_numpy()) / truth["sigma"].to_numpy()[1:]
    sign = np.sign(shock)
    for lag in range(1, 31):
        assert abs(correlation(shock[lag:], shock[:-lag])) < 0.015
        assert abs(correlation(sign[lag:], sign[:-lag])) < 0.015
    jumps_a_day = (np.abs(shock) > 4.7).sum() / 60
    assert 1.3 < jumps_a_day < 2.7


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_latent_sigma_is_sixty_percent_a_year_and_clustered(symbol):
    sigma = latent(symbol)["sigma"].to_numpy()
    assert np.sqrt((sigma**2).mean() * 525_600) == pytest.approx(0.60, abs=0.06)
    log_sigma = np.log(sigma)
    assert log_sigma.std() == pytest.approx(0.35, abs=0.05)
    assert correlation(log_sigma[360:], log_sigma[:-360]) == pytest.approx(0.5, abs=0.15)


def test_symbols_share_a_part_of_their_noise_and_no_pressure():
    btc, sol = latent("BTC-USD"), latent("SOL-USD")
    for name in ("u", "display", "sigma"):
        limit = 0.4 if name == "sigma" else 0.05  # sigma remembers hours, so few of its minutes are independent
        assert abs(correlation(btc[name].to_numpy(), sol[name].to_numpy())) < limit
    returns = [np.diff(frame["log_price"].to_numpy()) for frame in (btc, sol)]
    assert 0.1 < correlation(*returns) < 0.4


@pytest.mark.parametrize(("symbol", "low", "high"), [("BTC-USD", 63.5, 66), ("ETH-USD", 58, 61), ("SOL-USD", 49, 51)])
def test_truth_accuracy_of_the_displayed_imbalance(symbol, low, high):
    days = [EPOCH + timedelta(days=n) for n in range(40)]
    top = pl.concat([market.snapshots(SPEC, symbol, day) for day in days]).select(
        mid().alias("mid"), imbalance=depth("bid") - depth("ask")
    )
    ahead = np.sign(top["mid"].to_numpy()[15:] - top["mid"].to_numpy()[:-15])
    shown = np.sign(top["imbalance"].to_numpy()[:-15])
    hits = (ahead == shown)[ahead != 0]
    assert low < 100 * hits.mean() < high


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_truth_ceiling_is_that_of_the_pressure(symbol):
    truth = latent(symbol)
    price, pressure = truth["log_price"].to_numpy(), truth["pressure"].to_numpy()
    hits = np.sign(price[15:] - price[:-15]) == np.sign(pressure[:-15])
    assert hits.mean() == pytest.approx(0.5 + np.arcsin(SYMBOLS[symbol].kappa) / np.pi, abs=0.015)


def test_book_and_tape_display_the_same_pressure(minutes):
    q = minutes["display"].to_numpy()
    bids, asks = minutes["bids"].to_numpy(), minutes["asks"].to_numpy()
    assert np.allclose((bids - asks) / (bids + asks), np.tanh(0.35 * q), atol=1e-6)
    edges = np.quantile(q, np.linspace(0, 1, 11))
    group = np.clip(np.searchsorted(edges, q, side="right") - 1, 0, 9)
    for ten in range(10):
        here = group == ten
        share = minutes["buy_n"].to_numpy()[here].sum() / minutes["trade_n"].to_numpy()[here].sum()
        assert share == pytest.approx(((1 + np.tanh(0.3 * q[here])) / 2).mean(), abs=0.02)


def test_activity_depth_and_spread_do_not_depend_on_the_pressure(minutes):
    size = pl.col("volume") / pl.col("trade_n")
    shown = minutes.with_columns(depth=pl.col("bids") + pl.col("asks"), size=size)
    hidden = ("u", "pressure", "display")
    for name in ("volume", "trade_n", "size", "depth", "spread_bps", "sigma", "row_n"):
        column = shown[name].fill_nan(0).to_numpy()
        for other in hidden:
            assert abs(correlation(column, shown[other].to_numpy())) < 0.04, (name, other)
            assert abs(correlation(column, shown[other].abs().to_numpy())) < 0.04, (name, other)


def test_activity_is_in_the_stated_ranges(minutes):
    assert 100 < minutes["row_n"].mean() < 150
    assert minutes["trade_n"].mean() == pytest.approx(12, abs=0.2)
    assert minutes["trade_n"].var() == pytest.approx(12, abs=0.8)
    assert minutes.height == len(FEW_DAYS) * 1_440


def test_density_scales_the_events_and_leaves_the_truth_alone():
    dense = MarketSpec(seed=SPEC.seed, density=2.0)
    assert market.latent(dense, "BTC-USD", DAY, DAY).equals(market.latent(SPEC, "BTC-USD", DAY, DAY))
    for make, low, high in ((market.tape, 1.9, 2.1), (market.book, 1.2, 2.0)):
        assert low < make(dense, "BTC-USD", DAY).height / make(SPEC, "BTC-USD", DAY).height < high


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_quotes_are_tight_and_their_mid_is_the_latent_price(symbol):
    top = market.snapshots(SPEC, symbol, DAY)
    spread = top["asks[0].price"] / top["bids[0].price"] - 1
    assert spread.min() > 0 and spread.max() <= 2e-4
    truth = market.latent(SPEC, symbol, DAY, DAY)
    gap = top.select(mid()).to_series().log().to_numpy() - truth["log_price"].to_numpy()
    assert np.abs(gap).max() < 6 * truth["sigma"].max() * np.sqrt(0.5 / 60) + 1e-4
    assert abs(gap.mean()) < 3e-6


def test_book_is_a_ladder_of_25_levels_that_never_crosses(books):
    for bids, asks in books.values():
        assert len(bids) == len(asks) == 25
        assert bids[0][0] < asks[0][0]
        assert asks[0][0] - bids[0][0] <= 2e-4 * (asks[0][0] + bids[0][0]) / 2


def test_snapshots_equal_the_replayed_book(books):
    rows = market.snapshots(SPEC, "BTC-USD", DAY)
    known = rows.filter(pl.col("ts_exchange") <= max(books))
    assert known.height >= 239
    moments = sorted(books)
    for row in known.iter_rows(named=True):
        bids, asks = books[moments[bisect_right(moments, row["ts_exchange"]) - 1]]
        assert bids == [(row[f"bids[{level}].price"], row[f"bids[{level}].amount"]) for level in range(25)]
        assert asks == [(row[f"asks[{level}].price"], row[f"asks[{level}].amount"]) for level in range(25)]


def test_trades_print_at_the_best_quote_in_force(books):
    best = pl.DataFrame(
        [(ts, bids[0][0], asks[0][0]) for ts, (bids, asks) in books.items()],
        schema=["ts_exchange", "bid", "ask"],
        orient="row",
    )
    trades = market.tape(SPEC, "BTC-USD", DAY).filter(pl.col("ts_exchange") < max(books))
    quoted = trades.join_asof(best, on="ts_exchange")
    expected = quoted.select(pl.when(pl.col("side") == "buy").then("ask").otherwise("bid").alias("price"))
    assert quoted.height > 2_000
    assert quoted.select("price").equals(expected)


@pytest.mark.parametrize("make", [market.tape, market.book, market.snapshots])
def test_clocks_are_ordered_late_and_inside_the_day(make):
    rows = make(SPEC, "ETH-USD", DAY)
    midnight = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000
    sent, received = rows["ts_exchange"], rows["ts_received"]
    assert received.is_sorted() and sent.is_sorted()
    assert midnight <= sent.min() and received.max() < midnight + 86_400_000_000
    late = received - sent
    assert late.min() >= 5_000 and late.max() <= 30_000


def test_book_opens_with_one_snapshot_in_the_first_second():
    rows = market.book(SPEC, "SOL-USD", DAY)
    opening = rows.filter("is_snapshot")
    assert opening.height == 50 and rows["is_snapshot"][:50].all()
    assert opening["ts_exchange"].n_unique() == 1
    assert opening["ts_received"][0] % 86_400_000_000 < 1_000_000


def test_ids_increase_within_and_across_days():
    ids = pl.concat([market.tape(SPEC, "BTC-USD", day)["id"] for day in FEW_DAYS])
    assert ids.dtype == pl.String
    assert all(a < b for a, b in pairwise(ids.cast(pl.Int64)))


@pytest.mark.parametrize(("symbol", "decimals"), [("BTC-USD", 1), ("ETH-USD", 2), ("SOL-USD", 4)])
def test_prices_and_amounts_are_exact_decimals(symbol, decimals):
    for rows in (market.tape(SPEC, symbol, DAY), market.book(SPEC, symbol, DAY)):
        assert (rows["price"] == rows["price"].round(decimals)).all()
        assert (rows["amount"] == rows["amount"].round(8)).all()
        assert rows["price"].min() > 0 and rows["amount"].min() >= 0


def test_minute_candles_equal_the_tape():
    start = datetime(2023, 10, 5, 23, 30, tzinfo=UTC)
    got = candles(SPEC, "BTC-USD", start, start + timedelta(hours=1), 60)
    trades = pl.concat([market.tape(SPEC, "BTC-USD", day) for day in (DAY, DAY + timedelta(days=1))])
    assert got["ts"].min() >= start and got["ts"].max() < start + timedelta(hours=1)
    for row in got.iter_rows(named=True):
        here = trades.filter(minute_of("ts_exchange") == row["ts"])
        price = here["price"].to_list()
        assert (row["open"], row["close"]) == (price[0], price[-1])
        assert (row["high"], row["low"]) == (max(price), min(price))
        assert row["volume"] == pytest.approx(here["amount"].sum(), abs=1e-8)
    spanned = trades.filter(minute_of("ts_exchange").is_between(start, start + timedelta(hours=1), "left"))
    assert got["volume"].sum() == pytest.approx(spanned["amount"].sum())


def test_empty_minutes_are_absent_and_days_add_up():
    thin = MarketSpec(seed=SPEC.seed, density=0.05)
    start, end = datetime(2023, 8, 30, tzinfo=UTC), datetime(2023, 9, 3, tzinfo=UTC)
    minute, daily = (candles(thin, "BTC-USD", start, end, seconds) for seconds in (60, 86_400))
    assert 0.3 < minute.height / (2 * 1_440) < 0.6
    assert daily["ts"].to_list() == [datetime(2023, 9, 1, tzinfo=UTC), datetime(2023, 9, 2, tzinfo=UTC)]
    folded = minute.group_by(pl.col("ts").dt.truncate("1d"), maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    )
    assert folded.equals(daily.drop("volume"))
    before = candles(thin, "BTC-USD", start, datetime(2023, 8, 31, tzinfo=UTC), 60)
    assert before.is_empty() and before.schema == minute.schema
