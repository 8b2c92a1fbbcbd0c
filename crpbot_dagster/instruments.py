"""Instruments are data: each symbol's name at each source, with validity dates, venue and quote currency.

Adding a symbol changes the table below and nothing else. Not here: prices, partitions, settings.
"""

import re
from dataclasses import dataclass
from datetime import date

from crpbot_dagster.tables import CANDLES, TICKS

SYMBOL = re.compile(r"[A-Z0-9]{2,10}-[A-Z]{3,5}")
VENUE = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class Listing:
    """One symbol's name at one source and venue, valid on ``[since, until)``."""

    symbol: str
    source: str  # as sources.py names it
    venue: str
    name: str  # what the source calls it
    quote: str
    since: date
    until: date | None = None


# Tardis's own first days per exchange and symbol: https://docs.tardis.dev/historical-data-details
LISTINGS = (
    Listing("BTC-USD", "tardis", "coinbase", "BTC-USD", "USD", date(2019, 3, 30)),
    Listing("ETH-USD", "tardis", "coinbase", "ETH-USD", "USD", date(2019, 3, 30)),
    Listing("SOL-USD", "tardis", "coinbase", "SOL-USD", "USD", date(2021, 6, 17)),
    Listing("BTC-USD", "tardis", "binance", "BTCUSDT", "USDT", date(2019, 3, 30)),
    Listing("ETH-USD", "tardis", "binance", "ETHUSDT", "USDT", date(2019, 3, 30)),
    Listing("SOL-USD", "tardis", "binance", "SOLUSDT", "USDT", date(2020, 8, 11)),
    # Kraken's name on Tardis is its older one; the dataset's file is XBT-USD.
    Listing("BTC-USD", "tardis", "kraken", "XBT/USD", "USD", date(2019, 6, 4)),
    Listing("ETH-USD", "tardis", "kraken", "ETH/USD", "USD", date(2019, 6, 4)),
    Listing("SOL-USD", "tardis", "kraken", "SOL/USD", "USD", date(2021, 6, 17)),
    # Recorded by ob-analytics before Tardis existed; served from a recordings folder only.
    Listing("BTC-USD", "tardis", "bitstamp", "BTCUSD", "USD", date(2015, 1, 1)),
    Listing("BTC-USD", "coinbase", "coinbase", "BTC-USD", "USD", date(2015, 7, 20)),
    Listing("ETH-USD", "coinbase", "coinbase", "ETH-USD", "USD", date(2016, 5, 18)),
    Listing("SOL-USD", "coinbase", "coinbase", "SOL-USD", "USD", date(2021, 6, 17)),
    # Perpetuals, for mark, index, funding, open interest and liquidations.
    Listing("BTC-USD", "tardis", "binance-futures", "BTCUSDT", "USDT", date(2019, 11, 17)),
    Listing("ETH-USD", "tardis", "binance-futures", "ETHUSDT", "USDT", date(2019, 11, 27)),
    Listing("SOL-USD", "tardis", "binance-futures", "SOLUSDT", "USDT", date(2020, 9, 14)),
    # Coinbase's own trades, beside its own candles.
    Listing("BTC-USD", "coinbase_trades", "coinbase", "BTC-USD", "USD", date(2015, 7, 20)),
    Listing("ETH-USD", "coinbase_trades", "coinbase", "ETH-USD", "USD", date(2016, 5, 18)),
    Listing("SOL-USD", "coinbase_trades", "coinbase", "SOL-USD", "USD", date(2021, 6, 17)),
    # Kraken calls Bitcoin XBT; X and Z mark a coin and a currency among its first listings.
    Listing("BTC-USD", "kraken", "kraken", "XXBTZUSD", "USD", date(2013, 10, 6)),
    Listing("ETH-USD", "kraken", "kraken", "XETHZUSD", "USD", date(2015, 8, 7)),
    Listing("SOL-USD", "kraken", "kraken", "SOLUSD", "USD", date(2021, 6, 17)),
    Listing("BTC-USD", "cryptocompare", "cryptocompare", "BTC", "USD", date(2010, 7, 17)),
    Listing("ETH-USD", "cryptocompare", "cryptocompare", "ETH", "USD", date(2015, 8, 7)),
    Listing("SOL-USD", "cryptocompare", "cryptocompare", "SOL", "USD", date(2020, 4, 10)),
    Listing("BTC-USD", "crypto_lake", "coinbase", "BTC-USD", "USD", date(2022, 10, 1)),
    Listing("ETH-USD", "crypto_lake", "coinbase", "ETH-USD", "USD", date(2022, 10, 1)),
    Listing("SOL-USD", "crypto_lake", "coinbase", "SOL-USD", "USD", date(2022, 10, 1)),
    Listing("BTC-USD", "crypto_lake", "binance-futures", "BTC-USDT-PERP", "USDT", date(2022, 10, 1)),
    Listing("ETH-USD", "crypto_lake", "binance-futures", "ETH-USDT-PERP", "USDT", date(2022, 10, 1)),
    Listing("SOL-USD", "crypto_lake", "binance-futures", "SOL-USDT-PERP", "USDT", date(2022, 10, 1)),
    Listing("BTC-USD", "funding", "kraken_futures", "PF_XBTUSD", "USD", date(2022, 3, 22)),
    Listing("ETH-USD", "funding", "kraken_futures", "PF_ETHUSD", "USD", date(2022, 3, 22)),
    Listing("SOL-USD", "funding", "kraken_futures", "PF_SOLUSD", "USD", date(2022, 3, 22)),
    Listing("BTC-USD", "funding", "deribit", "BTC-PERPETUAL", "USD", date(2019, 4, 30)),
    Listing("ETH-USD", "funding", "deribit", "ETH-PERPETUAL", "USD", date(2019, 4, 30)),
    Listing("SOL-USD", "funding", "deribit", "SOL_USDC-PERPETUAL", "USDC", date(2022, 6, 15)),
    Listing("BTC-USD", "coingecko", "coingecko", "bitcoin", "USD", date(2013, 4, 28)),
    Listing("ETH-USD", "coingecko", "coingecko", "ethereum", "USD", date(2015, 8, 7)),
    Listing("SOL-USD", "coingecko", "coingecko", "solana", "USD", date(2020, 4, 11)),
    Listing("BTC-USD", "wikimedia", "wikimedia", "Bitcoin", "", date(2015, 7, 1)),
    Listing("ETH-USD", "wikimedia", "wikimedia", "Ethereum", "", date(2015, 7, 1)),
    Listing("SOL-USD", "wikimedia", "wikimedia", "Solana_(blockchain_platform)", "", date(2021, 2, 1)),
)

PERPETUALS = "binance-futures"
"""The venue whose perpetual contract stands for a symbol's."""

USDT = Listing("USDT-USD", "coinbase", "coinbase", "USDT-USD", "USD", date(2021, 5, 4))
"""The price of USDT in dollars. No symbol of the platform: it is read to turn prices in USDT into dollars."""

# What V6 and mean reversion are told (docs/conventions.md, settings). A change raises the code version of both.
PRICE_VENUES = {"coinbase": "tardis", "kraken": "kraken", "cryptocompare": "cryptocompare", "binance": "tardis"}
"""Venue → the source whose minutes stand for it; of the primary venue it is the primary source."""

BOOK_VENUES = {"coinbase": "tardis", "kraken": "tardis", "binance": "tardis"}
FUNDING_VENUES = {PERPETUALS: "tardis", "kraken_futures": "funding", "deribit": "funding"}
OFFSHORE_VENUE = "binance"
OPTION_SYMBOLS = {"BTC": "BTC-USD", "ETH": "ETH-USD"}
"""Currency with options of its own → the symbol of its daily rows."""

PRIMARY = {"BTC-USD": "coinbase/tardis", "ETH-USD": "coinbase/tardis", "SOL-USD": "coinbase/tardis"}


PRICE_SOURCES = frozenset(CANDLES) | frozenset(TICKS)
"""The sources of bars: only they can be primary."""

OPEN_SOURCES = frozenset(CANDLES) - {x.source for x in LISTINGS}
"""Candle sources without a listing: their rows name the venue, and what they hold is known to their owner alone.

So any venue and symbol is accepted as primary; the raw asset refuses a venue that is not there.
"""


USDT_VENUES = frozenset(x.venue for x in LISTINGS if x.quote == "USDT")
"""Venues whose prices are in USDT."""


class UnknownInstrument(ValueError):
    """The symbol, source or venue is not in the table."""


@dataclass(frozen=True)
class Primary:
    """The venue whose bars a symbol's features read, and the source those bars come from."""

    venue: str
    source: str


def symbols() -> tuple[str, ...]:
    """Return every symbol of the table, sorted."""
    return tuple(sorted({listing.symbol for listing in LISTINGS}))


def primary(symbol: str, overrides: dict[str, str]) -> Primary:
    """Return the primary venue and source of ``symbol``; ``overrides`` maps symbols to ``venue/source``."""
    chosen = overrides.get(symbol, PRIMARY.get(symbol))
    if chosen is None:
        raise UnknownInstrument(f"{symbol!r} has no primary venue: known symbols are {', '.join(symbols())}")
    venue, _, source = chosen.partition("/")
    if source in OPEN_SOURCES and SYMBOL.fullmatch(symbol) and VENUE.fullmatch(venue):
        return Primary(venue, source)
    priced = [x for x in LISTINGS if x.symbol == symbol and x.source in PRICE_SOURCES]
    if not any((x.source, x.venue) == (source, venue) for x in priced):
        known = sorted({f"{x.venue}/{x.source}" for x in priced})
        known += [f"<venue>/{s}" for s in sorted(OPEN_SOURCES)]
        raise UnknownInstrument(f"{symbol} is not listed as {chosen!r}; known: {', '.join(known)}")
    return Primary(venue, source)


def listing(symbol: str, source: str, venue: str, day: date) -> Listing | None:
    """Return the listing in force on ``day``, None when the symbol was not listed there then."""
    if not SYMBOL.fullmatch(symbol):
        raise UnknownInstrument(f"{symbol!r} is not a symbol: expected for example BTC-USD")
    for x in LISTINGS:
        in_force = x.since <= day and (x.until is None or day < x.until)
        if in_force and (x.symbol, x.source, x.venue) == (symbol, source, venue):
            return x
    return None


def partner(symbol: str) -> str:
    """Return the symbol whose price is said to lead: ETH-USD for BTC-USD, BTC-USD for every other."""
    return "ETH-USD" if symbol == "BTC-USD" else "BTC-USD"


def option_currency(symbol: str) -> str:
    """Return the currency whose options are read: the symbol's own, or BTC where it has none."""
    own = symbol.partition("-")[0]
    return own if own in OPTION_SYMBOLS else "BTC"
