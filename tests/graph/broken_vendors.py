"""Sound partitions of the dataset vendors, and what breaks each of their checks and rules (see test_checks.py)."""

from collections.abc import Callable

import polars as pl
from conftest import DAYS, with_clocks
from raw.lake_frames import handed_over

from crpbot_dagster.assets.raw import crypto_lake as lake
from crpbot_dagster.sandbox import derivatives
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.quotes import quotes

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

DAY = DAYS[1]
LAKE_SHAPES = {
    "trades": (lake.TRADES, lake.trades_from),
    "book": (lake.BOOK, lake.book_from),
    "quotes": (lake.QUOTES, lake.quotes_from),
    "funding": (lake.FUNDING, lake.funding_from),
    "open_interest": (lake.OPEN_INTEREST, lake.open_interest_from),
    "liquidations": (lake.LIQUIDATIONS, lake.liquidations_from),
}
VENDOR_TABLES = (
    "raw/tardis_quotes",
    "raw/tardis_derivatives",
    "raw/tardis_liquidations",
    "raw/tardis_options",
    *(f"raw/crypto_lake_{name}" for name in LAKE_SHAPES),
)


def skewed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(ts_received=pl.col("ts_exchange") + pl.duration(seconds=90))


def third(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.head(frame.height // 3)


def crossed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(bid_price=pl.col("ask_price"))


FACTS: dict[str, float] = {}
BROKEN: dict[tuple[str, str], Break] = {(name, "clock_skew"): skewed for name in VENDOR_TABLES}
BROKEN |= {(name, "coverage"): third for name in VENDOR_TABLES if not name.endswith("liquidations")}
BROKEN |= {
    ("raw/tardis_quotes", "crossed_book"): crossed,
    ("raw/crypto_lake_quotes", "crossed_book"): crossed,
    ("raw/tardis_derivatives", "mark_near_index"): lambda f: f.with_columns(pl.col("mark_price") * 1.05),
    ("raw/crypto_lake_trades", "duplicates"): {"duplicates_n": 3.0},
}
BROKEN_RULES: list[tuple[str, Break]] = [(name, {"quarantined_frac": 0.002}) for name in VENDOR_TABLES]


def utc(*names: str) -> list[pl.Expr]:
    return [pl.col(c).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for c in names]


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    ticker = with_clocks(derivatives.ticker(market, "BTCUSDT", DAY))
    options = with_clocks(derivatives.options_chain(market, "OPTIONS", DAY))
    made = {
        "raw/tardis_quotes": with_clocks(quotes(market, "BTC-USD", DAY)),
        "raw/tardis_derivatives": ticker.with_columns(*utc("funding_timestamp")).rename(
            {"funding_timestamp": "funding_ts"}
        ),
        "raw/tardis_liquidations": with_clocks(derivatives.liquidations(market, "BTCUSDT", DAY)).rename(
            {"id": "liquidation_id"}
        ),
        "raw/tardis_options": options.with_columns(*utc("expiration")).rename(
            {"symbol": "instrument", "type": "option_type", "expiration": "expiry_ts"}
            | {f"{side}_price": f"{side}_price_coin" for side in ("bid", "ask", "last", "mark")}
        ),
    }
    for name, (layout, shape) in LAKE_SHAPES.items():
        parsed, _ = lake.parse(handed_over(market, layout.data_type, DAY), layout, shape, DAY)
        made[f"raw/crypto_lake_{name}"] = parsed.frame.collect()
    return made
