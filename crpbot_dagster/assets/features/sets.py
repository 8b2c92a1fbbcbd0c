"""The feature sets by name: each one's table, and the function that builds it for a symbol.

What a set is told of venues and currencies comes from ``instruments.py``, fees from the settings. Not here: the
formulas (one module per set), reading the lake (``reading.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.features import mean_reversion, multi_source
from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.assets.features.mean_reversion import MRSettings
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.multi_source import V6Settings
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.instruments import Primary
from crpbot_dagster.tables.features import V4, V5
from crpbot_dagster.tables.features_mr import MEAN_REVERSION
from crpbot_dagster.tables.features_v6 import V6
from crpbot_dagster.tables.schema import Table


@dataclass(frozen=True)
class FeatureSet:
    """A table of features and, for a symbol and its primary venue, its function: one row per minute of the trades."""

    table: Table
    of: Callable[[str, Primary], Build]


def v6_settings(symbol: str, primary: Primary) -> V6Settings:
    """Return what V6 is told of a symbol."""
    currency, fees = instruments.option_currency(symbol), settings.load().taker_fee_bps
    return V6Settings(
        symbol=symbol,
        primary_venue=primary.venue,
        price_venues=tuple(instruments.PRICE_VENUES),
        book_venues=tuple(v for v in instruments.BOOK_VENUES if v in fees),  # a fee has no default
        funding_venues=tuple(instruments.FUNDING_VENUES),
        usdt_venues=instruments.USDT_VENUES,
        taker_fee_bps=fees,
        offshore_venue=instruments.OFFSHORE_VENUE,
        option_currency=currency,
        option_symbol=instruments.OPTION_SYMBOLS[currency],
    )


def mr_settings(symbol: str, _: Primary) -> MRSettings:
    """Return what mean reversion is told of a symbol."""
    return MRSettings(symbol, tuple(instruments.FUNDING_VENUES))


def _v5(inputs: Inputs) -> pl.DataFrame:
    absent = inputs.trades.select("ts")
    return v5(inputs.trades, absent if inputs.book is None else inputs.book)


def _v6(symbol: str, primary: Primary) -> Build:
    told = v6_settings(symbol, primary)
    return lambda inputs: multi_source.build(inputs, told)


def _mean_reversion(symbol: str, primary: Primary) -> Build:
    told = mr_settings(symbol, primary)
    return lambda inputs: mean_reversion.build(inputs, told)


SETS = {
    "v4": FeatureSet(V4, lambda *_: lambda inputs: v4(inputs.trades)),
    "v5": FeatureSet(V5, lambda *_: _v5),
    "v6": FeatureSet(V6, _v6),
    "mean_reversion": FeatureSet(MEAN_REVERSION, _mean_reversion),
}
