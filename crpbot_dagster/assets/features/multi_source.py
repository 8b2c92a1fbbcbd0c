"""V6: exactly 100 features that put prices, venues, perpetuals, options and slow sources side by side.

Reads minute tables on one dense grid and slow tables by availability. What is absent is null, never replaced, and
``absent`` says which columns that empties. Not here: indicators of one venue (``technical.py``), slow tables
(``slow.py``), calendars (``market_calendar.py``), reading the lake (``assets.py``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import polars as pl

from crpbot_dagster.assets.bars.derivatives import VENUES_NEEDED, funding_bps_8h, middle
from crpbot_dagster.assets.features import slow
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.market_calendar import clock_columns, microseconds
from crpbot_dagster.assets.features.microstructure import BPS, amihud, log_ratio, volume_weighted_price
from crpbot_dagster.assets.features.perpetuals import basis_bps, columns_of, of_venues
from crpbot_dagster.assets.features.price import arrays, as_frame
from crpbot_dagster.assets.features.slow import Observations, over_arrivals
from crpbot_dagster.assets.features.technical import extremes, technical_columns
from crpbot_dagster.assets.features.windows import FLAT, Floats, lag, mean, ratio, total, zscore
from crpbot_dagster.tables.features_v6 import STALE_FLAGS, V6_FEATURES

PRICE_VENUES_NEEDED = 3
CORWIN_SCHULTZ = 3 - 2 * np.sqrt(2)  # Corwin & Schultz (2012), equation 14


class UnknownVenue(ValueError):
    """The settings name a venue without what is needed to use it."""


@dataclass(frozen=True)
class V6Settings:
    """What V6 is told instead of guessing; no value has a default.

    ``usdt_venues`` quote in USDT: their prices are multiplied by its price. ``taker_fee_bps`` holds every book venue.
    ``option_currency`` is the currency whose options are read, ``option_symbol`` the symbol of its daily rows.
    """

    symbol: str
    primary_venue: str
    price_venues: tuple[str, ...]
    book_venues: tuple[str, ...]
    funding_venues: tuple[str, ...]
    usdt_venues: frozenset[str]
    taker_fee_bps: Mapping[str, float]
    offshore_venue: str
    option_currency: str
    option_symbol: str

    def __post_init__(self) -> None:
        free = [v for v in self.book_venues if v not in self.taker_fee_bps]
        if free:
            raise UnknownVenue(f"no taker fee for {', '.join(free)}: state it in taker_fee_bps (basis points)")
        if len(self.funding_venues) < VENUES_NEEDED:
            raise UnknownVenue(f"funding needs at least two venues, got {', '.join(self.funding_venues) or 'none'}")


@dataclass(frozen=True)
class _Venues:
    """The minute columns of every venue, NaN where the venue or its minute is absent."""

    inputs: Inputs
    settings: V6Settings

    def trades(self, venue: str) -> pl.DataFrame | None:
        own = venue == self.settings.primary_venue
        return self.inputs.trades if own else self.inputs.venue_trades.get(venue)

    def book(self, venue: str) -> pl.DataFrame | None:
        return self.inputs.book if venue == self.settings.primary_venue else self.inputs.venue_books.get(venue)

    def column(self, frame: pl.DataFrame | None, name: str) -> Floats:
        return columns_of(frame, self.inputs.trades.height, name)[0]

    def usd(self, venue: str) -> Floats:
        """Return what one unit of the venue's quote currency is worth in USD."""
        if venue not in self.settings.usdt_venues:
            return np.ones(self.inputs.trades.height)
        return self.column(self.inputs.fx, "usdt_usd")

    def perpetuals(self, name: str) -> Floats:
        """One column of every funding venue, float64[venues, rows]."""
        return of_venues(self.inputs.derivatives, self.settings.funding_venues, self.inputs.trades.height, name)


def venue_range(x: Floats, need: int) -> Floats:
    """Return the largest less the smallest valid value of float64[venues, rows], NaN with fewer than ``need``."""
    n = (~np.isnan(x)).sum(axis=0)
    return np.where(n >= need, np.fmax.reduce(x, axis=0) - np.fmin.reduce(x, axis=0), np.nan)


def dispersion(x: Floats, need: int) -> Floats:
    """Return the population standard deviation over the valid of float64[venues, rows], NaN with fewer than ``need``.

    Source: Makarov & Schoar (2020), J. Financial Economics 135(2), https://doi.org/10.1016/j.jfineco.2019.07.001
    """
    n = (~np.isnan(x)).sum(axis=0)
    count = np.maximum(n, 1)
    centre = np.nansum(x, axis=0) / count
    spread = np.sqrt(np.nansum((x - centre) ** 2, axis=0) / count)
    spread = np.where(spread <= FLAT * np.fmax.reduce(np.abs(x), axis=0), 0.0, spread)
    return np.where(n >= need, spread, np.nan)


def corwin_schultz_spread(high: Floats, low: Floats) -> Floats:
    """Return the spread that two neighbouring minutes' highs and lows imply, a fraction ≥ 0; reads 2 rows.

    Source: Corwin & Schultz (2012), J. Finance 67(2), https://doi.org/10.1111/j.1540-6261.2012.01729.x
    """
    own = log_ratio(high, low) ** 2
    beta = lag(own, 1) + own
    gamma = log_ratio(np.maximum(high, lag(high, 1)), np.minimum(low, lag(low, 1))) ** 2
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / CORWIN_SCHULTZ - np.sqrt(gamma / CORWIN_SCHULTZ)
    return np.maximum(0.0, 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)))


def price_volume(venues: _Venues) -> dict[str, Floats]:
    """Return V6 #1–20."""
    trades = venues.inputs.trades
    high, low, close, volume, value = arrays(trades, "high", "low", "close", "volume", "volume_usd")
    c: dict[str, Floats] = {}
    for name, minutes in (("1m", 1), ("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1440)):
        c[f"ret_log_{name}"] = log_ratio(close, lag(close, minutes))
    top, bottom, _ = extremes(high, low, 15)
    c["range_log_15m"] = log_ratio(top, bottom)
    top, bottom, span = extremes(high, low, 240)
    c["range_log_4h"] = log_ratio(top, bottom)
    c["close_position_4h"] = ratio(close - bottom, span)
    _, bottom, span = extremes(high, low, 1440)
    c["close_position_1d"] = ratio(close - bottom, span)
    c["volume_ratio_5m_1h"] = ratio(mean(volume, 5), mean(volume, 60))
    c["volume_ratio_1h_1d"] = ratio(mean(volume, 60), mean(volume, 1440))
    kraken = venues.trades("kraken")
    c["gap_kraken_bps"] = BPS * log_ratio(venues.column(kraken, "close"), close)
    c["gap_kraken_z_1h"] = zscore(c["gap_kraken_bps"], 60)
    average = venues.column(venues.trades("cryptocompare"), "close")
    c["gap_cryptocompare_bps"] = BPS * log_ratio(lag(average, 1), lag(close, 1))
    prices = [venues.column(venues.trades(v), "close") * venues.usd(v) for v in venues.settings.price_venues]
    logs = np.vstack([np.log(lag(p, 1)) for p in prices])
    c["venue_dispersion_bps"] = BPS * dispersion(logs, PRICE_VENUES_NEEDED)
    there = venues.column(kraken, "volume")
    both = np.isnan(there) | np.isnan(volume)
    traded, here = (total(np.where(both, np.nan, v), 60) for v in (there, volume))
    c["kraken_volume_frac_1h"] = ratio(traded, traded + here)
    c["vwap_dev_bps_1h"] = BPS * log_ratio(close, volume_weighted_price(value, volume, 60))
    c["amihud_1h"] = amihud(close, value, 60)
    c["spread_cs_bps_1h"] = BPS * mean(corwin_schultz_spread(high, low), 59)
    return c


def arbitrage(venues: _Venues) -> Floats:
    """Return what the best pair of book venues pays after both taker fees, bps; NaN with fewer than two venues.

    Source: Makarov & Schoar (2020), J. Financial Economics 135(2), https://doi.org/10.1016/j.jfineco.2019.07.001
    """
    best = np.full(venues.inputs.trades.height, np.nan)
    quotes = {}
    for v in venues.settings.book_venues:
        bid, ask = (venues.column(venues.book(v), name) * venues.usd(v) for name in ("best_bid", "best_ask"))
        known = ~(np.isnan(bid) | np.isnan(ask))
        quotes[v] = np.where(known, bid, np.nan), np.where(known, ask, np.nan)
    for buy, sell in permutations(quotes, 2):
        fees = venues.settings.taker_fee_bps[buy] + venues.settings.taker_fee_bps[sell]
        best = np.fmax(best, BPS * log_ratio(quotes[sell][0], quotes[buy][1]) - fees)
    return best


def across_venues(venues: _Venues) -> dict[str, Floats]:
    """Return V6 #76–79, #81, #82, #87 and #88."""
    c: dict[str, Floats] = {"arb_net_bps": arbitrage(venues)}
    is_open = np.where(np.isnan(c["arb_net_bps"]), np.nan, c["arb_net_bps"] > 0)
    c["arb_open_frac_1h"] = mean(is_open, 60)
    of_8h = funding_bps_8h(venues.perpetuals("funding_rate"), venues.perpetuals("funding_interval_h"))
    c["funding_rate_bps_8h"] = middle(of_8h, VENUES_NEEDED)
    c["funding_dispersion_bps_8h"] = venue_range(of_8h, VENUES_NEEDED)
    c["basis_bps"] = middle(basis_bps(venues.perpetuals("mark"), venues.perpetuals("index")), VENUES_NEEDED)
    now = venues.perpetuals("open_interest")
    before = np.vstack([lag(x, 1440) for x in now])
    absent = np.isnan(now) | np.isnan(before)
    sums = [np.where(absent, 0.0, x).sum(axis=0) for x in (now, before)]
    c["oi_change_log_1d"] = log_ratio(*sums)
    local, offshore = (venues.column(venues.trades(v), "close") for v in ("coinbase", venues.settings.offshore_venue))
    usdt = venues.column(venues.inputs.fx, "usdt_usd")
    c["coinbase_premium_bps"] = BPS * log_ratio(local, offshore * usdt)
    c["coinbase_premium_mean_bps_4h"] = mean(c["coinbase_premium_bps"], 240)
    return c


def observed(inputs: Inputs, settings: V6Settings) -> dict[str, Observations | None]:
    """Return the slow tables of the symbol, of the option currency and of the market; None where one is absent."""
    own = {"symbol": settings.symbol}
    wanted: dict[str, tuple[str, str, dict[str, str]]] = {
        "O": ("O", "O", {"currency": settings.option_currency}),
        "D": ("D", "D", own),
        "D of options": ("D", "D", {"symbol": settings.option_symbol}),
        "C": ("C", "C", own),
        "G": ("G", "G", {}),
        "S": ("S", "S", {}),
        "A": ("A", "A", own),
        "wiki": ("A", "wiki", own),
        "H": ("H", "H", own),
        "N": ("N", "N", {}),
        "SP500": ("M", "M", {"series_id": "SP500"}),
        "DTWEXBGS": ("M", "M", {"series_id": "DTWEXBGS"}),
    }
    return {
        name: slow.observations(inputs.slow.get(letter), kind, where) for name, (letter, kind, where) in wanted.items()
    }


def slow_columns(ts: pl.Series, tables: Mapping[str, Observations | None]) -> dict[str, Floats]:
    """Return the features of slow tables alone, and what those with a minute part are measured by."""
    us = microseconds(ts)
    rules = (
        (slow.coin, "C"), (slow.dominance, "G"), (slow.sentiment, "S"), (slow.page_views, "wiki"), (slow.social, "A"),
        (slow.developers, "H"), (slow.network, "N"), (slow.traded_options, "O"), (slow.highest, "D"),
    )  # fmt: skip
    made = slow.as_of(us, tables)
    for rule, name in rules:
        made |= over_arrivals(us, rule, tables[name])
    implied = tables["O"] and tables["O"].having("dvol_frac")
    made |= over_arrivals(us, slow.variance_premium, implied, tables["D of options"])
    for name, series in (("corr_spx_30d", "SP500"), ("corr_dxy_30d", "DTWEXBGS")):
        made |= over_arrivals(us, slow.correlation_with(name), tables[series], tables["D"])
    return made


def staleness(venues: _Venues, tables: Mapping[str, Observations | None]) -> dict[str, Floats]:
    """Return the eight staleness flags; NaN where there is nothing to be stale."""
    us = microseconds(venues.inputs.trades["ts"])
    of_slow = {
        "is_stale_options": ("O",),
        "is_stale_coin": ("C", "G"),
        "is_stale_sentiment": ("S",),
        "is_stale_attention": ("A", "wiki"),
        "is_stale_developer": ("H",),
        "is_stale_slow": ("N", "SP500", "DTWEXBGS"),
    }
    return {
        "is_stale_derivatives": np.fmax.reduce(venues.perpetuals("is_stale"), axis=0),
        "is_stale_fx": venues.column(venues.inputs.fx, "is_stale"),
        **{flag: slow.stale_of(us, tables, *names) for flag, names in of_slow.items()},
    }


def _absent_reads(inputs: Inputs, settings: V6Settings) -> dict[str, str]:
    """Return what of the reads is not there: prefix or whole read → why, in words."""
    venues, tables = _Venues(inputs, settings), observed(inputs, settings)
    priced = inputs.fx is not None
    found: dict[str, str] = {}

    def too_few(prefix: str, wanted: tuple[str, ...], there: list[str], need: int) -> None:
        if len(there) < need:
            lacking = ", ".join(v for v in wanted if v not in there)
            found[prefix] = f"{prefix} has {len(there)} of the {need} venues it takes: without {lacking}"

    def usable(wanted: tuple[str, ...], of: Callable[[str], pl.DataFrame | None]) -> list[str]:
        return [v for v in wanted if of(v) is not None and (priced or v not in settings.usdt_venues)]

    for name in ("kraken", "cryptocompare", "coinbase", "offshore"):
        venue = settings.offshore_venue if name == "offshore" else name
        if venues.trades(venue) is None:
            found[f"T:{name}"] = f"no trades of {venue}"
    too_few("T:*", settings.price_venues, usable(settings.price_venues, venues.trades), PRICE_VENUES_NEEDED)
    too_few("B:*", settings.book_venues, usable(settings.book_venues, venues.book), VENUES_NEEDED)
    if len(settings.book_venues) < VENUES_NEEDED:
        found["B:*"] = "no taker fee is stated for two venues with a book: CRPBOT_TAKER_FEE_BPS"
    perpetuals = [v for v in settings.funding_venues if v in inputs.derivatives]
    too_few("X:*", settings.funding_venues, perpetuals, VENUES_NEEDED)
    for name, need in (
        ("mark", VENUES_NEEDED),
        ("index", VENUES_NEEDED),
        ("funding_rate", VENUES_NEEDED),
        ("funding_interval_h", VENUES_NEEDED),
        ("open_interest", 1),
    ):
        told = [v for v in perpetuals if inputs.derivatives[v][name].count()]
        too_few(f"X:*.{name}", settings.funding_venues, told, need)
    if not priced:
        found["F"] = "no price of USDT"
    for name, table in tables.items():
        if table is None:
            read = f"M.value({name})" if name in ("SP500", "DTWEXBGS") else name
            found[read] = f"no rows of {read}"
    return found


def absent(inputs: Inputs, settings: V6Settings) -> dict[str, str]:
    """Return the features that are null in every row because of what ``inputs`` lacks, each with the reason."""
    lacking = _absent_reads(inputs, settings)
    empty = {f"T.{name}" for name in inputs.trades.columns if inputs.trades[name].is_null().all()}
    reasons: dict[str, str] = {}
    for feature in V6_FEATURES:
        for read in feature.reads:
            prefix = read.partition(".")[0]
            if read == "X:*.open_interest":
                prefix = read
            elif feature.name == "iv_rv_spread_frac" and prefix == "D":
                prefix = "D of options"
            elif prefix == "F" and any(":*" in other for other in feature.reads):
                continue  # only its venues in USDT need it: counted with them
            why = lacking.get(read, lacking.get(prefix, f"{read} has no value" if read in empty else None))
            if why is not None:
                reasons.setdefault(feature.name, why)
    return reasons


def build(inputs: Inputs, settings: V6Settings) -> pl.DataFrame:
    """Return ts, the 100 features of V6 and the 8 staleness flags, one row per minute.

    Parameters
    ----------
    inputs
        Minute tables on the grid of ``trades``; slow tables with a history as long as their features' reach.
    settings
        Which venues, fees and currencies are meant.

    Returns
    -------
    One row per minute; a row reads at most the 1,440 rows before it. Source: docs/conventions.md.

    Raises
    ------
    ValueError
        A minute table is not on the grid of ``trades``.
    """
    ts = inputs.trades["ts"]
    by_venue = (("T", inputs.venue_trades), ("B", inputs.venue_books), ("X", inputs.derivatives))
    frames = [("B", inputs.book), ("F", inputs.fx), *((f"{x}:{v}", f) for x, of in by_venue for v, f in of.items())]
    astray = [name for name, f in frames if f is not None and not f["ts"].equals(ts)]
    if astray:
        raise ValueError(f"not on the grid of trades: {', '.join(astray)}; join all onto one dense grid first")
    venues, tables = _Venues(inputs, settings), observed(inputs, settings)
    made = price_volume(venues) | technical_columns(inputs.trades) | across_venues(venues)
    made |= slow_columns(ts, tables) | clock_columns(ts) | staleness(venues, tables)
    nothing = np.full(len(ts), np.nan)
    made["funding_z_30d"] = slow.funding_zscore(microseconds(ts), made["funding_rate_bps_8h"], tables["D"])
    made["high_dist_log_365d"] = log_ratio(arrays(inputs.trades, "close")[0], made.get("year_high", nothing))
    columns = V6_FEATURES + STALE_FLAGS
    order = tuple(c.name for c in columns)
    flags = {c.name for c in columns if c.dtype == pl.Int8()}
    return as_frame(ts, {name: made.get(name, nothing) for name in order}, order, flags)
