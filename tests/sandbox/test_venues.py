"""The simulated Kraken: Coinbase's price with the stated lag, spread, premium and outages, the same on every call."""

from datetime import date, timedelta

import httpx
import numpy as np
import polars as pl
import pytest

from crpbot_dagster.assets.bars.tape import aggregate
from crpbot_dagster.sandbox import market, venues
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve

SPEC = MarketSpec(seed=3, density=1.0)
DAY = date(2023, 10, 5)
DAYS = [date(2023, 9, 1) + timedelta(days=n) for n in range(70)]


def against_mid(lag_us: int, day: date = DAY) -> pl.DataFrame:
    """Kraken's trades and how far each lies from the mid of ``lag_us`` before it, bps."""
    tape = venues.kraken_tape(SPEC, "BTC-USD", day)
    since, mid = market.mids(SPEC, "BTC-USD", day)
    behind = np.searchsorted(since, tape["ts_exchange"].to_numpy() - lag_us, side="right") - 1
    away = 1e4 * np.log(tape["price"].to_numpy() / mid[np.maximum(behind, 0)])
    return tape.with_columns(away=pl.Series(away), minute=pl.col("ts_exchange") // 60_000_000)


def test_the_lag_is_two_seconds() -> None:
    def unexplained(lag_us: int) -> float:
        # Within a minute premium and noise stand still: what remains is the wrong moment.
        return float(against_mid(lag_us).select(pl.col("away").std().over("minute", "side").mean()).item())

    found = {s: unexplained(int(s * 1e6)) for s in (0, 1, 2, 3, 4)}
    assert min(found, key=lambda s: found[s]) == 2 and found[2] < 0.05, found


def test_spread_premium_and_noise_are_as_stated() -> None:
    found = against_mid(venues.LAG_US)
    by_side = dict(found.group_by("side").agg(pl.col("away").mean()).iter_rows())
    assert by_side["buy"] - by_side["sell"] == pytest.approx(venues.SPREAD_BPS, abs=0.3)
    days = pl.concat([against_mid(venues.LAG_US, day) for day in DAYS[:30]])
    assert days["away"].mean() == pytest.approx(venues.PREMIUM_BPS, abs=0.7)
    assert days["away"].std() == pytest.approx((venues.NOISE_BPS**2 + 1.5**2) ** 0.5, rel=0.15)


def test_the_venues_correlate_as_real_ones_do() -> None:
    stamps = pl.col("ts_exchange").cast(pl.Datetime("us", "UTC"))
    ours = [
        aggregate(tape.lazy().with_columns(stamps), DAY, None, "exchange")["close"].forward_fill().log().diff()
        for tape in (market.tape(SPEC, "BTC-USD", DAY), venues.kraken_tape(SPEC, "BTC-USD", DAY))
    ]
    frame = pl.DataFrame({"coinbase": ours[0], "kraken": ours[1]})
    found = {lag: frame.select(pl.corr("coinbase", pl.col("kraken").shift(lag))).item() for lag in range(-3, 4)}
    assert max(found, key=lambda lag: found[lag]) == 0 and 0.75 < found[0] < 0.97, found


def test_one_day_in_seven_has_an_outage_of_one_to_three_hours() -> None:
    found = {day: venues.outage(SPEC, day) for day in DAYS}
    closed = {day: o for day, o in found.items() if o is not None}
    assert 4 <= len(closed) <= 18
    assert all(60 <= o.stop - o.first <= 180 for o in closed.values())
    day, o = next(iter(closed.items()))
    for symbol in ("BTC-USD", "SOL-USD"):
        minutes = (venues.kraken_tape(SPEC, symbol, day)["ts_exchange"] // 60_000_000 % 1440).unique()
        assert minutes.filter(minutes.is_between(o.first, o.stop - 1)).is_empty() and len(minutes) > 1000


@pytest.mark.parametrize("symbol", market.SYMBOLS)
def test_ids_and_times_strictly_rise_and_the_day_is_the_same_in_whatever_order(symbol: str) -> None:
    first = venues.kraken_tape(SPEC, symbol, DAY)
    venues.kraken_tape.cache_clear()
    venues.kraken_tape(SPEC, symbol, DAY + timedelta(days=1))
    again = venues.kraken_tape(SPEC, symbol, DAY)
    assert first.equals(again) and first.height > 8000
    assert (first["id"].diff().drop_nulls() == 1).all() and (first["ts_exchange"].diff().drop_nulls() > 0).all()
    assert first["price"].n_unique() > 100 and first["amount"].min() > 0


def test_funding_follows_the_hours_before_it_and_the_venues_agree() -> None:
    until = DAYS[-1]
    kraken, deribit = (venues.funding(SPEC, "BTC-USD", v, until) for v in ("kraken_futures", "deribit"))
    assert kraken["ts"].equals(deribit["ts"]) and kraken.height == 24 * (len(DAYS) - 2)
    assert np.corrcoef(kraken["rate_1h"], deribit["rate_1h"])[0, 1] > 0.6
    moved = kraken.with_columns(past=pl.col("log_price") - pl.col("log_price").shift(8))
    assert moved.drop_nulls().select(pl.corr("rate_1h", "past")).item() > 0.8
    longer = venues.funding(SPEC, "BTC-USD", "deribit", until + timedelta(days=100))
    assert longer.head(deribit.height).equals(deribit), "later days change nothing"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("kraken/0/public/Trades?pair=XBTUSD&since=0", 200),  # Kraken's own way to refuse
        ("kraken/0/public/Trades?pair=XXBTZUSD&since=yesterday", 200),
        ("kraken_futures/derivatives/api/v4/historicalfundingrates?symbol=PF_DOGEUSD", 400),
        ("deribit/api/v2/public/get_funding_rate_history?instrument_name=DOGE&start_timestamp=1&end_timestamp=2", 400),
        ("deribit/api/v2/public/get_funding_rate_history?instrument_name=BTC-PERPETUAL", 400),
        ("deribit/api/v2/public/get_volatility_index_data?currency=SOL&start_timestamp=1&end_timestamp=2", 400),
        ("deribit/api/v2/public/get_book_summary_by_currency?currency=BTC&kind=future", 400),
        ("api/v3/brokerage/market/products/DOGE-USD/ticker?limit=1&start=1&end=2", 404),
        ("api/v3/brokerage/market/products/BTC-USD/ticker?limit=1&start=x&end=2", 400),
    ],
)
def test_what_is_not_there_is_refused_in_the_vendor_s_words(path: str, status: int, base: str) -> None:
    answer = httpx.get(f"{base}/{path}")
    assert answer.status_code == status
    assert answer.json().get("error") or answer.json().get("errors")


@pytest.fixture(scope="module")
def base():
    with serve(create_app(SPEC, None, None, today=date(2023, 10, 10))) as url:
        yield url


def test_the_day_that_is_not_over_is_not_served(base: str) -> None:
    end = 1_696_896_000  # 2023-10-10
    query = f"limit=1000&start={end - 60}&end={end + 3600}"
    trades = httpx.get(f"{base}/api/v3/brokerage/market/products/BTC-USD/ticker?{query}").json()["trades"]
    assert trades and all(t["time"] < "2023-10-10" for t in trades)
    later = httpx.get(f"{base}/kraken/0/public/Trades?pair=XXBTZUSD&since={end}000000000").json()["result"]
    assert later == {"XXBTZUSD": [], "last": f"{end}000000000"}
