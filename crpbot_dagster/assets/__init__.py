"""The route from tick to verdict: its stages in order, each a folder, a Dagster group and a key prefix.

And which tables are made together. Not here: when (``runs.py``, ``sensors/``).
"""

from collections.abc import Collection

import dagster as dg

from crpbot_dagster.assets.bars.assets import ASSETS as BARS
from crpbot_dagster.assets.bars.assets_derived import ASSETS as DERIVED_BARS
from crpbot_dagster.assets.bars.assets_slow import ASSETS as SLOW_BARS
from crpbot_dagster.assets.evaluations.assets import ASSETS as EVALUATIONS
from crpbot_dagster.assets.features.assets import ASSETS as FEATURES
from crpbot_dagster.assets.models.assets import ASSETS as MODELS
from crpbot_dagster.assets.promotion.assets import ASSETS as PROMOTION
from crpbot_dagster.assets.raw import (
    attention,
    calendar,
    candle_files,
    coinbase,
    coingecko,
    crypto_lake,
    cryptocompare,
    deribit,
    fear_greed,
    funding,
    hash_rate,
    kraken,
    tardis,
    tardis_derivatives,
    traditional_markets,
)
from crpbot_dagster.instruments import Primary
from crpbot_dagster.tables import CANDLES, TABLES, TICKS, analyses

SOURCE_MODULES = (
    tardis,
    tardis_derivatives,
    coinbase,
    candle_files,
    kraken,
    crypto_lake,
    cryptocompare,
    funding,
    deribit,
    coingecko,
    attention,
    fear_greed,
    hash_rate,
    traditional_markets,
)
"""One module per source; its docstring is the source's card, its ASSETS are the source's tables."""

ROUTE: dict[str, tuple[dg.AssetsDefinition, ...]] = {
    "raw": (*(asset for module in SOURCE_MODULES for asset in module.ASSETS), *calendar.ASSETS),
    "bars": (*BARS, *DERIVED_BARS, *SLOW_BARS),
    "features": FEATURES,
    "models": MODELS,
    "evaluations": EVALUATIONS,
    "promotion": PROMOTION,
}


def tables_of(*stages: str) -> tuple[str, ...]:
    """Return the tables of some stages, in the order of the route."""
    return tuple("/".join(asset.key.path) for stage in stages for asset in ROUTE[stage])


LABELS = "features/labels"  # of a day, once the next one is there
TRACK_RECORD = "evaluations/daily_predictions"  # of a labelled day after a verdict; before the first there is none
CALENDAR = "raw/calendar"  # of a day, after every source was asked
COMPARISON = "evaluations/source_comparison"  # of a day, no verdict needed
_OF_A_DAY = (*(t for t in tables_of("raw", "bars", "features") if t != LABELS), COMPARISON)
DAY_TABLES = tuple(t for t in _OF_A_DAY if not TABLES[t].is_market_wide)
MARKET_TABLES = tuple(t for t in _OF_A_DAY if TABLES[t].is_market_wide)
DAILY = "bars/daily"  # of every day, for the others of its kind look back on it; with funding where that was asked
_OF_A_VERDICT = {
    "bars/volume_1d",
    "bars/trades_1m",
    "bars/book_1m",
    "bars/market_1m",
    "features/v4",
    "features/v5",
}
EVERY_SOURCE_TABLES = tuple(t for t in DAY_TABLES if not t.startswith("raw/") and t not in _OF_A_VERDICT)
"""What is made of every source, on the days that ask every source, once the day of every symbol is there.

No verdict needs it: when one of them fails, the symbol goes on.
"""
ANALYSES = frozenset(t.name for t in analyses.TABLES)  # of the days up to one, when somebody asks for it
_NO_VERDICT = {TRACK_RECORD, COMPARISON, *ANALYSES}
EVALUATION_TABLES = tuple(t for t in tables_of("evaluations") if t not in _NO_VERDICT)  # of a verdict
VERDICT_RAW = (
    "raw/tardis_trades",
    "raw/tardis_book",
    "raw/tardis_book_snapshots",
    "raw/coinbase_candles",
    "raw/candle_files",
)
"""The raw tables that a verdict needs; every other source stands beside them for comparison."""


def beside(primary: Primary) -> tuple[str, ...]:
    """Return the raw tables of a day that stand beside the primary source: when one fails, the day goes on."""
    own = {t.name for s, t in (CANDLES | TICKS).items() if s == primary.source}
    needed = {*VERDICT_RAW, CALENDAR, *own}
    return tuple(t for t in DAY_TABLES if t.startswith("raw/") and t not in needed)


def made_again(tables: tuple[str, ...], absent: Collection[str]) -> tuple[str, ...]:
    """Return the tables to make when some of ``tables`` are absent: those, and what is made from them.

    What a source sent and the lake holds is not fetched, and paid for, again.
    """
    return tuple(t for t in tables if t in absent or not t.startswith("raw/"))
