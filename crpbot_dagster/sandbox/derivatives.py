"""Perpetuals and options on the simulated market: figures near the latent price, liquidations that follow it.

They tell nothing of the planted truth: funding, basis and open interest wander by themselves, liquidations follow
returns that are over, and the options' volatility is the day's own, which is no secret of the market. Within a minute
the price runs straight to the minute's end, so what is read at the end of a minute is known then.
Everything is a pure function of (seed, symbol, day). Not here: wire formats and HTTP (``server.py``).

Source: ours; option prices: Black (1976), "The pricing of commodity contracts", J. Financial Economics 3, 167-179,
https://doi.org/10.1016/0304-405X(76)90024-6, in coin as Deribit quotes them.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.market import LATENCY_US, MINUTE_US, SYMBOLS, YEAR_MINUTES, MarketSpec, NoSuchSymbol, latent

DAY_US = 86_400_000_000
PERPETUALS = {f"{s.partition('-')[0]}USDT": s for s in SYMBOLS}  # as Binance's futures venue writes them
TICKER_S = 10  # seconds between two statements of a perpetual
FUNDING_US = 8 * 3_600_000_000
BASIS_BPS = 2.0  # standard deviation of mark against index
OPEN_INTEREST_TRADES = 2_500_000.0  # open interest, in median trades of the symbol
FORCED_SIGMAS = 2.0  # a minute that moves so far liquidates somebody
EVERY_OPTION = "OPTIONS"
OPTION_SYMBOLS = {"BTC": ("BTC-USD", 1_000.0), "ETH": ("ETH-USD", 50.0)}  # and the grid of their strikes, USD
EXPIRY_DAYS = (7, 21, 49)  # about so far away, on a Friday at 08:00 UTC
MONEYNESS = np.arange(-6, 7) / 2.5  # strikes, in standard deviations of the price at expiry
CHAIN_MINUTES = 30
SMILE = (-0.04, 0.03)  # slope and curvature of volatility in moneyness: puts are dearer


def ticker(spec: MarketSpec, name: str, day: date) -> pl.DataFrame:
    """Return a perpetual's figures every ten seconds, in Tardis' derivative_ticker columns.

    ts_exchange, ts_received and funding_timestamp are int64, µs since 1970. Open interest is null in the first minute,
    the predicted rate always, as Binance has none.
    """
    symbol, rng = _perpetual(spec, name, day, "ticker")
    n = 86_400 // TICKER_S
    midnight = market._midnight_us(day)
    at = midnight + np.arange(n) * TICKER_S * 1_000_000 + rng.integers(0, 1_000_000, n)
    index = _price(spec, symbol, day, at)
    mark = index * (1 + _wander(rng, n, 360) * BASIS_BPS * 1e-4)
    open_interest = SYMBOLS[symbol].trade_coin * OPEN_INTEREST_TRADES * np.exp(0.05 * _wander(rng, n, 4_320))
    rate = 1e-4 + 1e-4 * _wander(rng, n, 2_880)
    said = np.arange(n) >= 60 // TICKER_S
    return pl.DataFrame(
        {
            "ts_exchange": at,
            "ts_received": _received(rng, at, midnight),
            "funding_timestamp": (at // FUNDING_US + 1) * FUNDING_US,
            "funding_rate": np.round(rate, 8),
            "predicted_funding_rate": pl.Series([None] * n, dtype=pl.Float64),
            "open_interest": pl.Series(np.round(open_interest, 3)).set(pl.Series(~said), None),
            "last_price": np.round(mark * (1 + 5e-5 * rng.standard_normal(n)), 2),
            "index_price": np.round(index, 4),
            "mark_price": np.round(mark, 4),
        }
    )


def liquidations(spec: MarketSpec, name: str, day: date) -> pl.DataFrame:
    """Return the orders that minutes of two sigma and more force, in Tardis' liquidations columns.

    ts_exchange and ts_received are int64, µs since 1970; id is null, as Binance has none.
    """
    symbol, rng = _perpetual(spec, name, day, "liquidations")
    minutes = latent(spec, symbol, day, day)
    returns = minutes["log_price"].diff().fill_null(0.0).to_numpy()
    size = np.abs(returns) / minutes["sigma"].to_numpy()
    orders = np.where(size > FORCED_SIGMAS, rng.poisson(np.minimum(size, 12.0)), 0)[:-1]
    minute = np.repeat(np.arange(len(orders)), orders)
    midnight = market._midnight_us(day)
    # In the minute after the move: who is liquidated has seen it.
    at = np.sort(midnight + (minute + 1) * MINUTE_US + rng.integers(0, MINUTE_US - 100_000, len(minute)))
    falls = returns[minute] < 0
    amount = SYMBOLS[symbol].trade_coin * 10 * np.exp(rng.standard_normal(len(at)))
    slipped = _price(spec, symbol, day, at) * (1 + np.where(falls, -1, 1) * rng.uniform(2e-4, 2e-3, len(at)))
    return pl.DataFrame(
        {
            "ts_exchange": at,
            "ts_received": _received(rng, at, midnight),
            "id": pl.Series([None] * len(at), dtype=pl.String),
            "side": pl.Series(np.where(falls, "sell", "buy"), dtype=pl.String),
            "price": np.round(slipped, 2),
            "amount": np.maximum(np.round(amount, 3), 1e-3),
        }
    )


def options_chain(spec: MarketSpec, name: str, day: date) -> pl.DataFrame:
    """Return every option's ticker each half hour, in Tardis' options_chain columns, symbol first.

    Three expiries, thirteen strikes and both types a currency. ts_exchange, ts_received and expiration are int64, µs
    since 1970; prices are in coin, volatilities in percent a year.
    """
    if name != EVERY_OPTION:
        raise NoSuchSymbol(f"the sandbox serves options as {EVERY_OPTION} only, not {name!r}")
    chains = [_chain(spec, currency, day) for currency in OPTION_SYMBOLS]
    return pl.concat(chains).sort("ts_received", maintain_order=True)


def _chain(spec: MarketSpec, currency: str, day: date) -> pl.DataFrame:
    symbol, step = OPTION_SYMBOLS[currency]
    rng = _generator(spec, symbol, day, "options")
    sigma = latent(spec, symbol, day, day)["sigma"].to_numpy() * np.sqrt(YEAR_MINUTES)
    midnight = market._midnight_us(day)
    opened = _price(spec, symbol, day, np.array([midnight]))[0]
    listed = []
    for expiry in sorted({_friday(day + timedelta(days=n)) for n in EXPIRY_DAYS}):
        spread = sigma.mean() * np.sqrt((expiry - day).days / 365)
        strikes = {max(step, round(opened * float(np.exp(m * spread)) / step) * step) for m in MONEYNESS}
        listed += [(expiry, k, is_call) for k in sorted(strikes) for is_call in (True, False)]
    times = midnight + np.arange(0, 1_440, CHAIN_MINUTES) * MINUTE_US
    n = len(listed) * len(times)
    at = np.repeat(times, len(listed)) + np.sort(rng.integers(0, 20_000_000, (len(times), len(listed))), axis=1).ravel()
    expiry_us = np.tile([market._midnight_us(e) + 8 * 3_600_000_000 for e, _, _ in listed], len(times))
    strike = np.tile([k for _, k, _ in listed], len(times))
    is_call = np.tile([c for _, _, c in listed], len(times))
    forward = _price(spec, symbol, day, at)
    years = (expiry_us - at) / DAY_US / 365
    day_sigma = np.repeat(sigma[::CHAIN_MINUTES], len(listed))
    figures = _black(forward, strike, years, 0.5 * day_sigma + 0.5 * sigma.mean(), is_call)
    half = 0.01 + 0.01 * rng.random(n)
    names = [f"{currency}-{e.day}{e:%b%y}-{k:.0f}-{'C' if c else 'P'}".upper() for e, k, c in listed]
    indices = [f"SYN.{x.rpartition('-')[0].rpartition('-')[0]}" for x in names]
    return pl.DataFrame(
        {
            "symbol": names * len(times),
            "ts_exchange": at,
            "ts_received": _received(rng, at, midnight),
            "type": np.where(is_call, "call", "put"),
            "strike_price": strike,
            "expiration": expiry_us,
            "open_interest": np.round(np.tile(rng.lognormal(4, 1, len(listed)), len(times)), 1),
            "last_price": pl.Series([None] * n, dtype=pl.Float64),  # nobody has traded it today
            "bid_price": np.round(figures["price"] * (1 - half), 4),
            "bid_amount": np.round(rng.uniform(1, 30, n), 1),
            "bid_iv": np.round(figures["iv"] * 100 * (1 - half), 2),
            "ask_price": np.round(figures["price"] * (1 + half), 4),
            "ask_amount": np.round(rng.uniform(1, 30, n), 1),
            "ask_iv": np.round(figures["iv"] * 100 * (1 + half), 2),
            "mark_price": np.round(figures["price"], 8),
            "mark_iv": np.round(figures["iv"] * 100, 2),
            "underlying_index": indices * len(times),
            "underlying_price": np.round(forward, 2),
            **{g: np.round(figures[g], 5) for g in ("delta", "gamma", "vega", "theta", "rho")},
        }
    )


def _black(
    forward: np.ndarray, strike: np.ndarray, years: np.ndarray, sigma: np.ndarray, is_call: np.ndarray
) -> dict[str, np.ndarray]:
    # Prices in coin of the forward; greeks in dollars, as Deribit states them.
    from scipy.special import ndtr  # a tenth of a second that only a chain should pay

    root = np.sqrt(years)
    k = np.log(strike / forward) / (sigma * root)
    iv = sigma * np.maximum(1 + SMILE[0] * k + SMILE[1] * k**2, 0.5)
    d1 = -np.log(strike / forward) / (iv * root) + iv * root / 2
    d2 = d1 - iv * root
    sign = np.where(is_call, 1.0, -1.0)
    dollars = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * d2))
    bell = np.exp(-(d1**2) / 2) / np.sqrt(2 * np.pi)
    return {
        "iv": iv,
        "price": np.maximum(dollars / forward, 1e-6),
        "delta": sign * ndtr(sign * d1),
        "gamma": bell / (forward * iv * root),
        "vega": forward * bell * root / 100,
        "theta": -forward * bell * iv / (2 * root) / 365,
        "rho": -years * dollars / 100,
    }


def _friday(day: date) -> date:
    return day + timedelta(days=(4 - day.weekday()) % 7)


def _perpetual(spec: MarketSpec, name: str, day: date, stream: str) -> tuple[str, np.random.Generator]:
    if name not in PERPETUALS:
        raise NoSuchSymbol(f"the sandbox has no perpetual {name!r}; it has {', '.join(PERPETUALS)}")
    return PERPETUALS[name], _generator(spec, PERPETUALS[name], day, stream)


def _generator(spec: MarketSpec, symbol: str, day: date, stream: str) -> np.random.Generator:
    return market._generator(spec.seed, symbol, day.isoformat(), stream)


def _price(spec: MarketSpec, symbol: str, day: date, at: np.ndarray) -> np.ndarray:
    # The latent price of the minute that is over, straight to that of the minute that runs.
    ends = latent(spec, symbol, day, day)["log_price"].to_numpy()
    known = market._midnight_us(day) + MINUTE_US * np.arange(1, 1_441)
    return np.exp(np.interp(at, known, ends))


def _wander(rng: np.random.Generator, n: int, half_life: int) -> np.ndarray:
    # A slow walk of about unit size that begins anywhere: noise, smoothed.
    steps = rng.standard_normal(n + half_life) / np.sqrt(half_life)
    sums = np.cumsum(steps)
    return sums[half_life:] - sums[:-half_life]


def _received(rng: np.random.Generator, at: np.ndarray, midnight: int) -> np.ndarray:
    # In order, and on the day: one connection delivers in sequence.
    late = np.minimum(at + rng.integers(*LATENCY_US, len(at)), midnight + DAY_US - 1)
    return np.maximum.accumulate(late) if len(late) else late
