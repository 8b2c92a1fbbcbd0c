"""The simulated market: trades, order book, snapshots and candles of one symbol and one UTC day.

Wire formats and HTTP live in ``server.py``; what a platform makes of the data is no business of this module.
Everything is a pure function of (seed, symbol, day), in whatever order days are asked for.

The planted truth
-----------------
The market is the control experiment of the platform, so this is normative:

* Every symbol and minute ``t`` has an independent standard normal shock ``u_t``. The pressure is
  ``P_t = (u_t + ... + u_{t-14}) / sqrt(15)``, itself standard normal.
* The one-minute log return is ``r_t = sigma_t * (sqrt(1 - kappa^2) * eps_t + kappa * u_{t-15})``. It
  accrues through the minute (a Brownian bridge between the minute's log prices, not a jump at its open).
  About twice a day a symmetric jump of 6 sigma is added at a random moment of a minute.
* So the sign of the return from 1 s after the end of minute ``t`` to the end of minute ``t + 15`` is driven
  by ``P_t``: whoever knew ``P_t`` would be right with probability ``1/2 + arcsin(kappa) / pi`` (jumps and
  changing volatility cost him a little). Returns are unpredictable from past returns, so candles say nothing
  (but for a trace: the last trade of a minute prints at the bid or the ask, and q leans on which).
* The book and the tape of minute ``t`` display one noisy pressure ``q_t = P_t + 1.6 * eta_t``, the same for
  every level and for the tape, held from 0.2 s after the minute's start to its end: depth imbalance
  ``tanh(0.35 q_t)``, probability of a buying aggressor ``(1 + tanh(0.3 q_t)) / 2``.
* ``sigma`` is about 60 % a year (of 525,600 minutes); its logarithm is an AR(1) with standard deviation 0.35
  and a half-life of 6 hours. Sigma, volume, counts, sizes, total depth and spread never depend on ``u``,
  ``P`` or ``q``.
* Trades have no impact. The quoted spread is at most 2 bps. Symbols share nothing but a part of ``eps``.
* The quotes are the primary venue's (Coinbase): its mid is the latent price, rounded to the day's grid.
* ``kappa`` is 0.9 for BTC-USD (strong), 0.6 for ETH-USD (middling) and 0 for SOL-USD (a martingale: no model
  may beat chance on it). Time starts at ``EPOCH``; days before it do not exist.

Source: ours; every number above is a choice. Order flow that moves prices: Cont, Kukanov & Stoikov (2014),
https://doi.org/10.1093/jjfinec/nbt003 (theirs moves them at once, ours fifteen minutes later).
"""

import zlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl
from numba import njit

EPOCH = date(2023, 9, 1)
LEVELS = 25  # a side, as in Tardis book_snapshot_25
DAY_MINUTES = 1_440
MINUTE_US = 60_000_000
HORIZON = 15  # minutes that P sums, and the lag between a shock and the return it drives
ANNUAL_SIGMA = 0.60
YEAR_MINUTES = 525_600
LOG_SIGMA_SD = 0.35
SIGMA_HALF_LIFE = 360  # minutes
SHARED_EPS = 0.5  # variance share of eps common to all symbols
JUMPS_A_DAY = 2.0
JUMP_SIGMAS = 6.0
DISPLAY_NOISE = 1.6
DEPTH_TILT = 0.35
TAPE_TILT = 0.30
GRID_BPS = 0.8  # distance of two book levels, in bps of the day's opening price
MAX_SPREAD_FRAC = 2e-4
WIDE_SHARE = 0.25  # share of quotes whose spread is two grid steps instead of one
QUOTES_A_MINUTE = 7  # quote messages at density 1
TRADES_A_MINUTE = 12  # expected trades at density 1
DEPTH_SD = 0.30  # of the logarithm of a minute's depth
TRADE_SIZE_SD = 1.0  # of the logarithm of a trade's size
LATENCY_US = (5_000, 30_000)  # exchange to receiver
BLOCK_DAYS = 64  # latent minutes are made in whole blocks, so that neighbouring days share one computation


class NoSuchDay(ValueError):
    """The market did not exist on that day."""


class NoSuchSymbol(ValueError):
    """The market does not know that symbol."""


@dataclass(frozen=True)
class MarketSpec:
    """Which market; ``density`` scales trades and book messages a minute (1.0 = normal), never the truth."""

    seed: int
    density: float

    def __post_init__(self) -> None:
        if self.seed < 0 or self.density <= 0:
            raise ValueError(f"a market needs seed >= 0 and density > 0, not {self}")


@dataclass(frozen=True)
class Symbol:
    """What is chosen per symbol: strength of the truth, first price, median size of levels and of a trade."""

    kappa: float
    start_usd: float
    depth_coin: float
    trade_coin: float


SYMBOLS = {
    "BTC-USD": Symbol(kappa=0.9, start_usd=37_000.0, depth_coin=1.2, trade_coin=0.03),
    "ETH-USD": Symbol(kappa=0.6, start_usd=2_000.0, depth_coin=20.0, trade_coin=0.5),
    "SOL-USD": Symbol(kappa=0.0, start_usd=55.0, depth_coin=700.0, trade_coin=18.0),
}


@dataclass(frozen=True)
class _Minutes:
    # Latent minutes. open_log has one element more than the others: its last is the last minute's close.
    open_log: np.ndarray
    jump: np.ndarray
    sigma: np.ndarray
    shock: np.ndarray
    pressure: np.ndarray
    display: np.ndarray

    def cut(self, first: int, stop: int) -> "_Minutes":
        rest = (self.jump, self.sigma, self.shock, self.pressure, self.display)
        return _Minutes(self.open_log[first : stop + 1], *(column[first:stop] for column in rest))


@dataclass(frozen=True)
class _Quotes:
    # A day's quote messages in time order, `a_minute` of them each minute. Prices are counted in grid steps
    # of step / 10**decimals dollars, so that a price is one division and prints as the exact decimal.
    a_minute: int
    step: int
    decimals: int
    ts_exchange: np.ndarray
    ts_received: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    bid_size: np.ndarray
    ask_size: np.ndarray

    def price(self, index: np.ndarray) -> np.ndarray:
        return index * self.step / 10**self.decimals


def tape(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the day's trades as the exchange prints them.

    Columns ts_exchange and ts_received (int64, µs since 1970), id (text, increasing), side of the aggressor
    ('buy', 'sell'), price (USD; the best ask or best bid in force at that exchange time), amount (base coin).
    """
    return _tape(spec, known(symbol), _existing(day))


def book(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the day's incremental L2 rows; a row sets the amount resting at a price, 0 removes the level.

    Columns ts_exchange and ts_received (int64, µs since 1970), is_snapshot (the day's first message), side
    ('bid', 'ask'), price (USD), amount (base coin). The rows of a message share both clocks, removals first.
    """
    return _book(spec, known(symbol), _existing(day))


def snapshots(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the top 25 levels in the last half second of each minute, in Tardis' book_snapshot_25 columns.

    Columns ts_exchange, ts_received, then for i < 25 asks[i].price, asks[i].amount, bids[i].price and
    bids[i].amount.
    """
    quotes = _quotes(spec, known(symbol), _existing(day))
    last = slice(quotes.a_minute - 1, None, quotes.a_minute)
    columns = {"ts_exchange": quotes.ts_exchange[last], "ts_received": quotes.ts_received[last]}
    for level in range(LEVELS):
        columns[f"asks[{level}].price"] = quotes.price(quotes.ask[last] + level)
        columns[f"asks[{level}].amount"] = quotes.ask_size[last]
        columns[f"bids[{level}].price"] = quotes.price(quotes.bid[last] - level)
        columns[f"bids[{level}].amount"] = quotes.bid_size[last]
    return pl.DataFrame(columns)


def latent(spec: MarketSpec, symbol: str, first_day: date, last_day: date) -> pl.DataFrame:
    """Return the hidden minutes of the days from ``first_day`` to ``last_day``, both included.

    Columns ts (start of the minute, UTC), log_price (at the minute's end), sigma (of its return), u, pressure
    (P) and display (q). For tests and experiments on the truth only: nothing that trades may read it.
    """
    if last_day < first_day:
        raise ValueError(f"last day {last_day} lies before first day {first_day}")
    minutes = _minutes_of(spec, known(symbol), _existing(first_day), last_day)
    ts = _midnight_us(first_day) + MINUTE_US * np.arange(len(minutes.sigma))
    return pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(pl.Datetime("us", "UTC")),
            "log_price": minutes.open_log[1:],
            "sigma": minutes.sigma,
            "u": minutes.shock,
            "pressure": minutes.pressure,
            "display": minutes.display,
        }
    )


def mids(spec: MarketSpec, symbol: str, day: date) -> tuple[np.ndarray, np.ndarray]:
    """Return since when each mid of the primary venue was in force (int64, µs since 1970), and the mid (USD)."""
    quotes = _quotes(spec, known(symbol), _existing(day))
    return quotes.ts_exchange, quotes.price(quotes.bid + quotes.ask) / 2


@lru_cache(maxsize=8)
def hourly(spec: MarketSpec, symbol: str, until: date) -> pl.DataFrame:
    """Return the log price at the end of every hour from the epoch to ``until``: columns ts (hour's end), log_price."""
    days = (until - EPOCH).days
    # Years of minutes, of which one in sixty is kept: not through the cache, they would push the working days out.
    minutes = _latent_minutes.__wrapped__(spec.seed, known(symbol), -(-days // BLOCK_DAYS))
    ends = 60 * np.arange(1, 24 * days + 1)
    ts = pl.Series(_midnight_us(EPOCH) + MINUTE_US * ends).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"ts": ts, "log_price": minutes.open_log[ends]})


def known(symbol: str) -> str:
    """Return the symbol, or raise NoSuchSymbol."""
    if symbol not in SYMBOLS:
        raise NoSuchSymbol(f"the sandbox has no symbol {symbol!r}; it has {', '.join(SYMBOLS)}")
    return symbol


def _existing(day: date) -> date:
    if day < EPOCH:
        raise NoSuchDay(f"the sandbox market starts on {EPOCH}; it has no {day}")
    return day


def _midnight_us(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_MINUTES * MINUTE_US


def _generator(seed: int, *key: str) -> np.random.Generator:
    # crc32 and not hash(): the latter changes with every process.
    words = [seed, *(zlib.crc32(word.encode()) for word in key)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


@njit(cache=True)
def _ar1(noise: np.ndarray, memory: float) -> np.ndarray:
    # A stationary AR(1) of unit variance.
    out = np.empty_like(noise)
    out[0] = noise[0]
    fresh = np.sqrt(1.0 - memory * memory)
    for i in range(1, len(noise)):
        out[i] = memory * out[i - 1] + fresh * noise[i]
    return out


@lru_cache(maxsize=4)
def _latent_minutes(seed: int, symbol: str, blocks: int) -> _Minutes:
    # Each stream is drawn from the epoch on, so more blocks extend it and never change what was there.
    chosen, n = SYMBOLS[symbol], blocks * BLOCK_DAYS * DAY_MINUTES
    lead = _generator(seed, symbol, "shock").standard_normal(HORIZON + n)  # begins HORIZON minutes early
    shock = lead[HORIZON:]
    pressure = sum(lead[lag : lag + n] for lag in range(1, HORIZON + 1)) / np.sqrt(HORIZON)

    wander = _ar1(_generator(seed, symbol, "sigma").standard_normal(n), 0.5 ** (1 / SIGMA_HALF_LIFE))
    unit = ANNUAL_SIGMA / np.sqrt(YEAR_MINUTES)
    sigma = unit * np.exp(LOG_SIGMA_SD * wander - LOG_SIGMA_SD**2)  # so that the mean of sigma^2 is unit^2

    own = _generator(seed, symbol, "eps").standard_normal(n)
    shared = _generator(seed, "every symbol", "eps").standard_normal(n)
    eps = np.sqrt(SHARED_EPS) * shared + np.sqrt(1 - SHARED_EPS) * own
    half = JUMPS_A_DAY / DAY_MINUTES / 2
    luck = _generator(seed, symbol, "jumps").random(n)
    jump = JUMP_SIGMAS * sigma * ((luck > 1 - half).astype(float) - (luck < half))

    returns = sigma * (np.sqrt(1 - chosen.kappa**2) * eps + chosen.kappa * lead[:n]) + jump
    open_log = np.cumsum(np.concatenate([[np.log(chosen.start_usd)], returns]))
    display = pressure + DISPLAY_NOISE * _generator(seed, symbol, "display").standard_normal(n)
    for column in (open_log, jump, sigma, shock, pressure, display):
        column.setflags(write=False)
    return _Minutes(open_log, jump, sigma, shock, pressure, display)


def _minutes_of(spec: MarketSpec, symbol: str, first_day: date, last_day: date) -> _Minutes:
    first, stop = (first_day - EPOCH).days, (last_day - EPOCH).days + 1
    minutes = _latent_minutes(spec.seed, symbol, -(-stop // BLOCK_DAYS))
    return minutes.cut(first * DAY_MINUTES, stop * DAY_MINUTES)


def _quote_seconds(rng: np.random.Generator, a_minute: int) -> np.ndarray:
    # The first message shows the new q early, the last one a fresh closing mid; the others are jittered in
    # slots of their own, a little shorter than their distance so that no two messages meet.
    jitter = rng.random((DAY_MINUTES, a_minute))
    slot = 57.5 / (a_minute - 2)
    seconds = 1.0 + slot * (np.arange(a_minute) - 1 + 0.95 * jitter)
    seconds[:, 0] = 0.05 + 0.15 * jitter[:, 0]
    seconds[:, -1] = 59.5 + 0.4 * jitter[:, -1]
    return seconds


def _latent_path(rng: np.random.Generator, minutes: _Minutes, seconds: np.ndarray) -> np.ndarray:
    # The log price at `seconds` of each minute: minutes x messages.
    n, a_minute = seconds.shape
    share = seconds / 60
    steps = np.diff(share, axis=1, prepend=0.0, append=1.0)
    walk = np.cumsum(np.sqrt(steps) * rng.standard_normal((n, a_minute + 1)), axis=1)
    bridge = walk[:, :-1] - share * walk[:, -1:]
    smooth = np.diff(minutes.open_log) - minutes.jump
    jumped = share >= rng.random((n, 1))
    path = minutes.open_log[:-1, None] + smooth[:, None] * share + minutes.sigma[:, None] * bridge
    return path + minutes.jump[:, None] * jumped


def _received(rng: np.random.Generator, ts_exchange: np.ndarray) -> np.ndarray:
    # Never out of order: one connection delivers in sequence.
    return np.maximum.accumulate(ts_exchange + rng.integers(*LATENCY_US, len(ts_exchange)))


@lru_cache(maxsize=8)
def _quotes(spec: MarketSpec, symbol: str, day: date) -> _Quotes:
    rng = _generator(spec.seed, symbol, day.isoformat(), "quotes")
    minutes = _minutes_of(spec, symbol, day, day)
    a_minute = max(3, round(QUOTES_A_MINUTE * spec.density))
    seconds = _quote_seconds(rng, a_minute)
    starts = _midnight_us(day) + MINUTE_US * np.arange(DAY_MINUTES)
    ts_exchange = (starts[:, None] + (seconds * 1e6).astype(np.int64)).ravel()

    grid_usd = GRID_BPS * 1e-4 * np.exp(minutes.open_log[0])
    decimals = max(0, 1 - int(np.floor(np.log10(grid_usd))))  # a grid step of two digits
    step = round(grid_usd * 10**decimals)
    mid = np.exp(_latent_path(rng, minutes, seconds)).ravel() * 10**decimals / step
    narrow = np.floor(mid).astype(np.int64)
    wide = (rng.random(len(mid)) < WIDE_SHARE) & (narrow * MAX_SPREAD_FRAC >= 2)
    bid = np.where(wide, np.floor(mid + 0.5).astype(np.int64) - 1, narrow)

    depth = SYMBOLS[symbol].depth_coin * np.exp(DEPTH_SD * rng.standard_normal(DAY_MINUTES))
    tilt = np.tanh(DEPTH_TILT * minutes.display)
    bid_size, ask_size = (np.repeat(np.round(depth * (1 + lean) / 2, 8), a_minute) for lean in (tilt, -tilt))
    ts_received = _received(rng, ts_exchange)
    ask = bid + 1 + wide
    return _Quotes(a_minute, step, decimals, ts_exchange, ts_received, bid, ask, bid_size, ask_size)


def _changed_levels(best: np.ndarray, size: np.ndarray, away: int) -> tuple[np.ndarray, np.ndarray]:
    # One side's rows: price indices (messages x 2 * LEVELS) and which of them to send. The first half are the
    # levels before the message, sent where gone; the second half those after it, sent where new or resized.
    before = np.concatenate([best[:1], best[:-1]])
    ladder = away * np.arange(LEVELS)
    depth_of_old = away * (before - best)[:, None] + np.arange(LEVELS)
    depth_of_new = np.arange(LEVELS) - away * (before - best)[:, None]
    resized = np.concatenate([[True], size[1:] != size[:-1]])
    gone = (depth_of_old < 0) | (depth_of_old >= LEVELS)
    sent = (depth_of_new < 0) | (depth_of_new >= LEVELS) | resized[:, None]
    return np.hstack([before[:, None] + ladder, best[:, None] + ladder]), np.hstack([gone, sent])


@lru_cache(maxsize=4)
def _book(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    quotes = _quotes(spec, symbol, day)
    bids, send_bids = _changed_levels(quotes.bid, quotes.bid_size, -1)
    asks, send_asks = _changed_levels(quotes.ask, quotes.ask_size, 1)
    # Columns: gone bids, gone asks, set bids, set asks. Removals come first, or whoever applies row by row
    # would see a crossed book.
    order = np.arange(4 * LEVELS).reshape(2, 2, LEVELS).swapaxes(0, 1).ravel()
    flat = np.flatnonzero(np.hstack([send_bids, send_asks])[:, order])
    message, column = np.divmod(flat, 4 * LEVELS)
    is_bid = column // LEVELS % 2 == 0
    size = np.where(is_bid, quotes.bid_size[message], quotes.ask_size[message])
    return pl.DataFrame(
        {
            "ts_exchange": quotes.ts_exchange[message],
            "ts_received": quotes.ts_received[message],
            "is_snapshot": message == 0,
            "is_bid": is_bid,
            "price": quotes.price(np.hstack([bids, asks])[:, order].ravel()[flat]),
            "amount": np.where(column < 2 * LEVELS, 0.0, size),
        }
    ).select(
        "ts_exchange",
        "ts_received",
        "is_snapshot",
        pl.when("is_bid").then(pl.lit("bid")).otherwise(pl.lit("ask")).alias("side"),
        "price",
        "amount",
    )


@lru_cache(maxsize=8)
def _tape(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    rng = _generator(spec.seed, symbol, day.isoformat(), "tape")
    quotes = _quotes(spec, symbol, day)
    minute = np.repeat(np.arange(DAY_MINUTES), rng.poisson(TRADES_A_MINUTE * spec.density, DAY_MINUTES))
    n = len(minute)
    # From 0.25 s, when the book shows the minute's q, to its end; the day's last trades arrive that day.
    reach_us = np.where(minute == DAY_MINUTES - 1, 59_650_000, 59_750_000)
    offset_us = 250_000 + (rng.random(n) * reach_us).astype(np.int64)
    ts_exchange = np.sort(_midnight_us(day) + MINUTE_US * minute + offset_us)
    display = _minutes_of(spec, symbol, day, day).display[minute]
    is_buy = rng.random(n) < (1 + np.tanh(TAPE_TILT * display)) / 2
    in_force = np.searchsorted(quotes.ts_exchange, ts_exchange, side="right") - 1
    size = SYMBOLS[symbol].trade_coin * np.exp(TRADE_SIZE_SD * rng.standard_normal(n))
    return pl.DataFrame(
        {
            "ts_exchange": ts_exchange,
            "ts_received": _received(rng, ts_exchange),
            "id": ((day - EPOCH).days + 1) * 10_000_000 + np.arange(n),
            "side": is_buy,
            "price": quotes.price(np.where(is_buy, quotes.ask[in_force], quotes.bid[in_force])),
            "amount": np.maximum(np.round(size, 8), 1e-8),
        }
    ).with_columns(
        pl.col("id").cast(pl.String),
        pl.when("side").then(pl.lit("buy")).otherwise(pl.lit("sell")).alias("side"),
    )
