"""A market with every source: around one venue's bars, or wholly random; every table has nulls, rows in no order."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.mean_reversion import MRSettings
from crpbot_dagster.assets.features.multi_source import V6Settings

SETTINGS = V6Settings(
    symbol="ETH-USD",
    primary_venue="coinbase",
    price_venues=("coinbase", "kraken", "binance", "cryptocompare"),
    book_venues=("coinbase", "kraken", "binance"),
    funding_venues=("kraken_futures", "deribit", "binance-futures"),
    usdt_venues=frozenset({"binance"}),
    taker_fee_bps={"coinbase": 6.0, "kraken": 5.0, "binance": 3.0},
    offshore_venue="binance",
    option_currency="ETH",
    option_symbol="BTC-USD",  # not the symbol, so that a mix-up shows
)
MR_SETTINGS = MRSettings("BTC-USD", SETTINGS.funding_venues)
HISTORY = 420  # days of slow tables before the first minute
LOST = 0.02
SILENT_H = {"O": 8, "C": 32, "D": 32, "G": 32, "S": 32, "N": 38, "A": 56, "H": 56, "M": 126}  # until it is called late


def random_trades(days: int, rng: np.random.Generator, first: date = date(2023, 11, 16)) -> pl.DataFrame:
    """Candles with volumes of a random walk, the columns of bars/trades_1m that V6 reads."""
    n = days * 1440
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    ts = pl.datetime_range(start, start + timedelta(days=days), "1m", closed="left", eager=True, time_unit="us")
    close = 2000 * np.exp(np.cumsum(rng.normal(0, 6e-4, n)))
    open_ = close * np.exp(rng.normal(0, 5e-4, n))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 4e-4, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 4e-4, n)))
    volume = rng.lognormal(0, 1, n)
    vwap = low + (high - low) * rng.random(n)
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    return pl.DataFrame({"ts": ts, **columns, "volume_usd": vwap * volume, "vwap": vwap})


def masked(
    frame: pl.DataFrame, share: float, rng: np.random.Generator, keep: tuple[str, ...] = ("ts",)
) -> pl.DataFrame:
    """The frame with whole rows of values lost, each with probability ``share``."""
    lost = pl.Series(rng.random(frame.height) < share)
    return frame.with_columns(pl.when(~lost).then(pl.col(c)).alias(c) for c in frame.columns if c not in keep)


def _minutes(trades: pl.DataFrame, rng: np.random.Generator, **columns: np.ndarray) -> pl.DataFrame:
    return masked(pl.DataFrame({"ts": trades["ts"], **columns}), LOST, rng)


def minute_tables(trades: pl.DataFrame, rng: np.random.Generator) -> dict:
    """The other venues, perpetuals and USDT on the grid of ``trades``."""
    n = trades.height
    close = trades["close"].interpolate().fill_null(strategy="backward").fill_null(strategy="forward").to_numpy()
    usdt = 1 + 5e-4 * np.sin(np.arange(n) / 700) + rng.normal(0, 5e-5, n)

    def near(bps: float, quote: np.ndarray | float = 1.0) -> np.ndarray:
        return close * np.exp(1e-4 * rng.normal(0, bps, n)) / quote

    def book(quote: np.ndarray | float = 1.0) -> pl.DataFrame:
        mid = near(8, quote)
        return _minutes(trades, rng, best_bid=mid * (1 - 5e-5), best_ask=mid * (1 + 5e-5))

    def perpetual(hours: float) -> pl.DataFrame:
        index = near(1)
        walk = np.cumsum(rng.normal(0, 1e-6, n))
        return _minutes(
            trades,
            rng,
            mark=index * np.exp(1e-4 * rng.normal(2, 3, n)),
            index=index,
            funding_rate=1e-4 * hours / 8 + walk,
            funding_interval_h=np.full(n, hours),
            open_interest=1e5 * np.exp(np.cumsum(rng.normal(0, 1e-4, n))),
            liq_buy_usd=np.where(rng.random(n) < 0.5, rng.lognormal(9, 1, n), 0.0),
            liq_sell_usd=np.where(rng.random(n) < 0.5, rng.lognormal(9, 1, n), 0.0),
            is_stale=(rng.random(n) < 0.01).astype(np.int8),
        )

    volume = rng.lognormal(0, 1, (3, n))
    return {
        "book": book(),
        "venue_trades": {
            "kraken": _minutes(trades, rng, close=near(3), volume=volume[0]),
            "cryptocompare": _minutes(trades, rng, close=near(2), volume=volume[1]),
            "binance": _minutes(trades, rng, close=near(4, usdt), volume=volume[2]),
        },
        "venue_books": {"kraken": book(), "binance": book(usdt)},
        "derivatives": {"kraken_futures": perpetual(4), "deribit": perpetual(8), "binance-futures": perpetual(8)},
        "fx": _minutes(trades, rng, usdt_usd=usdt, is_stale=(rng.random(n) < 0.01).astype(np.int8)),
    }


def _days(days: list[date], hours: float, **columns: np.ndarray) -> pl.DataFrame:
    midnight = [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in days]
    known = pl.Series([m + timedelta(hours=hours) for m in midnight], dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame({"obs_day": days, "available_ts": known, **columns})


def _walk(n: int, rng: np.random.Generator, level: float, step: float = 0.02) -> np.ndarray:
    return level * np.exp(np.cumsum(rng.normal(0, step, n)))


def _of_symbols(make, keep: tuple[str, ...], rng: np.random.Generator) -> pl.DataFrame:
    frames = [make().with_columns(symbol=pl.lit(s)) for s in ("ETH-USD", "BTC-USD")]
    return pl.concat([masked(f, LOST, rng, ("symbol", "obs_day", "available_ts", *keep)) for f in frames])


def slow_tables(trades: pl.DataFrame, rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Every slow table with a year and more of history, two symbols, two currencies, in no order."""
    first, last = trades["ts"][0].date() - timedelta(days=HISTORY), trades["ts"][-1].date() + timedelta(days=2)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    n, keep = len(days), ("obs_day", "available_ts")

    def daily() -> pl.DataFrame:
        close = _walk(n, rng, 2000)
        high = close * np.exp(np.abs(rng.normal(0, 0.01, n)))
        return _days(days, 24, high=high, close=close, rv_1d=rng.lognormal(-7.5, 0.3, n),
                     funding_bps_8h_mean=rng.normal(1, 0.5, n))  # fmt: skip

    def coin() -> pl.DataFrame:
        price, supply = _walk(n, rng, 2000), _walk(n, rng, 1.2e8, 1e-4)
        return _days(days, 25, price_usd=price, market_cap_usd=price * supply, total_volume_usd=_walk(n, rng, 1e10, 0.2),
                     market_cap_rank=rng.integers(1, 9, n).astype(float))  # fmt: skip

    def attention() -> pl.DataFrame:
        news = rng.integers(1, 60, n).astype(float)
        frame = _days(days, 25, wiki_views_n=rng.lognormal(8, 0.4, n).round(), reddit_subscribers_n=_walk(n, rng, 2e6),
                      news_n=news, news_pos_n=(news * rng.random(n) * 0.5).round(),
                      news_neg_n=(news * rng.random(n) * 0.5).round())  # fmt: skip
        return frame.with_columns(wiki_available_ts=pl.col("available_ts") + timedelta(hours=23))

    def developer() -> pl.DataFrame:
        return _days(days, 25, commits_4w_n=rng.integers(20, 200, n).astype(float), stars_n=_walk(n, rng, 4e4, 0.003),
                     prs_merged_n=1e3 + np.cumsum(rng.integers(-1, 9, n)).astype(float))  # fmt: skip

    share = 0.5 + 0.02 * np.cumsum(rng.normal(0, 0.1, n))
    total = _walk(n, rng, 1.5e12)
    world = _days(days, 25, total_cap_usd=total, btc_cap_usd=total * share,
                  eth_cap_usd=total * (0.18 + 0.01 * rng.random(n)), stable_cap_usd=_walk(n, rng, 1.2e11, 0.002))  # fmt: skip
    greed = _days(days, 24, fear_greed=rng.integers(5, 95, n).astype(float))
    rates = _days(days, 30, btc_hash_rate=_walk(n, rng, 450))
    made = {
        "D": _of_symbols(daily, (), rng),
        "C": _of_symbols(coin, (), rng),
        "A": _of_symbols(attention, ("wiki_available_ts",), rng),
        "H": _of_symbols(developer, (), rng),
        "G": masked(world, LOST, rng, keep),
        "S": masked(greed, LOST, rng, keep),
        "N": masked(rates, LOST, rng, keep),
        "M": _series(days, rng),
        "O": _hours(days[-(len(days) - HISTORY + 4) :], rng),
    }
    return {
        letter: frame.sample(fraction=1, shuffle=True, seed=int(rng.integers(1 << 30)))
        for letter, frame in made.items()
    }


def _series(days: list[date], rng: np.random.Generator) -> pl.DataFrame:
    weekdays = [d for d in days if d.weekday() < 5]
    frames = [
        _days(weekdays, hours, value=_walk(len(weekdays), rng, level, 0.01)).with_columns(series_id=pl.lit(name))
        for name, hours, level in (("SP500", 60, 4500.0), ("DTWEXBGS", 228, 120.0))
    ]
    return masked(pl.concat(frames), LOST, rng, ("series_id", "obs_day", "available_ts"))


def _hours(days: list[date], rng: np.random.Generator) -> pl.DataFrame:
    start = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC)
    hours = pl.Series([start + timedelta(hours=i) for i in range(24 * len(days))], dtype=pl.Datetime("us", "UTC"))
    n = len(hours)
    frames = [
        pl.DataFrame(
            {
                "currency": [currency] * n,
                "hour": hours,
                "available_ts": hours.dt.offset_by("61m"),
                "dvol_frac": 0.5 * np.exp(rng.normal(0, 0.1, n)),
                "skew_25d_frac": rng.normal(0.02, 0.02, n),
                **{k: rng.lognormal(5, 0.5, n) for k in ("put_volume", "call_volume", "put_oi", "call_oi")},
            }
        )
        for currency in ("ETH", "BTC")
    ]
    return masked(pl.concat(frames), LOST, rng, ("currency", "hour", "available_ts"))


def buckets_of(ends: list[datetime], rng: np.random.Generator) -> pl.DataFrame:
    """Volume buckets of 4 coins that are complete at ``ends``."""
    bought = 4 * rng.random(len(ends))
    columns = {"bucket_n": range(len(ends)), "end_ts": ends, "bucket_volume": 4.0, "buy_volume": bought}
    frame = pl.DataFrame(columns, schema_overrides={"end_ts": pl.Datetime("us", "UTC")})
    return frame.with_columns(sell_volume=4 - pl.col("buy_volume"))


def random_buckets(ts: pl.Series, rng: np.random.Generator, a_day: int = 100) -> pl.DataFrame:
    """Buckets that end at random, one in ten exactly as a minute does."""
    seconds = np.sort(rng.choice(60 * len(ts), a_day * len(ts) // 1440, replace=False))
    seconds[::10] -= seconds[::10] % 60
    return buckets_of([ts[0] + timedelta(seconds=int(s)) for s in np.sort(seconds)], rng)


def thin_buckets(ts: pl.Series, first: int, rng: np.random.Generator) -> pl.DataFrame:
    """Buckets so thin that 25 of them reach back 20 hours from row ``first`` + 1,199 to ``first``, and end there."""
    older = [ts[first] - timedelta(minutes=10 * i, seconds=30) for i in range(25, 0, -1)]
    middle = [ts[first + 1000] + timedelta(minutes=5 * i) for i in range(24)]
    after = [ts[first + 1200] + timedelta(seconds=10 + 60 * i) for i in range(30)]
    return buckets_of([*older, ts[first] + timedelta(seconds=30), *middle, *after], rng)


def inputs_of(trades: pl.DataFrame, rng: np.random.Generator) -> Inputs:
    """Everything V6 reads, around one venue's bars."""
    return Inputs(trades, slow=slow_tables(trades, rng), **minute_tables(trades, rng))


def everything(
    bars: tuple[pl.DataFrame, pl.DataFrame], partner: tuple[pl.DataFrame, pl.DataFrame], rng: np.random.Generator
) -> Inputs:
    """Everything that any set reads, around one venue's bars and book and its partner's."""
    made, buckets = inputs_of(bars[0], rng), random_buckets(bars[0]["ts"], rng)
    return replace(made, book=bars[1], partner_book=partner[1], buckets=buckets)


def interrupted(inputs: Inputs) -> Inputs:
    """The inputs with each slow source silent into the second day: the oldest row due is absent, the others come late."""
    slow = {}
    for i, (letter, frame) in enumerate(inputs.slow.items()):
        end = inputs.trades["ts"][0] + timedelta(hours=30, minutes=30 * (i % 3))
        at = pl.col("hour" if letter == "O" else "obs_day")
        due = pl.col("available_ts").is_between(end - timedelta(hours=SILENT_H[letter]), end, closed="left")
        heard = frame.filter(~due | (at > at.filter(due).min()))
        made = heard.with_columns(pl.when(due).then(pl.lit(end)).otherwise("available_ts").alias("available_ts"))
        if "wiki_available_ts" in frame.columns:
            made = made.with_columns(pl.max_horizontal("wiki_available_ts", "available_ts").alias("wiki_available_ts"))
        slow[letter] = made
    return replace(inputs, slow=slow)


def filled(inputs: Inputs) -> Inputs:
    """The inputs without a null: each table's holes take a neighbour's value, whatever the side."""

    def fill(frame: pl.DataFrame) -> pl.DataFrame:
        keys = [c for c in ("symbol", "currency", "series_id", "obs_day", "hour", "ts") if c in frame.columns]
        known = frame.sort(keys).with_columns(pl.exclude(*keys).fill_null(strategy="forward"))
        return known.with_columns(pl.exclude(*keys).fill_null(strategy="backward"))

    return replace(inputs.minutes(fill), slow={letter: fill(f) for letter, f in inputs.slow.items()})


def long_market(
    bars: tuple[pl.DataFrame, pl.DataFrame],
    partner: tuple[pl.DataFrame, pl.DataFrame],
    times: int,
    rng: np.random.Generator,
) -> Inputs:
    """The same bars again and again on later days, with noise of its own on each level of the book.

    The sandbox's levels all lean one way; real ones do not.
    """

    def again(frame: pl.DataFrame) -> pl.DataFrame:
        days = timedelta(minutes=frame.height)
        return pl.concat([frame.with_columns(pl.col("ts") + i * days) for i in range(times)])

    trades, book, other = again(bars[0]), again(bars[1]), again(partner[1])
    noise = {c: pl.Series(rng.lognormal(0, 0.5, book.height)) for c in book.columns if "_depth_" in c}
    leaning = pl.Series(rng.uniform(-1, 1, book.height))
    book = book.with_columns(*(pl.col(c) * x for c, x in noise.items()), leaning.alias("imbalance_5_tw"))
    return everything((trades, book), (trades, other), rng)
