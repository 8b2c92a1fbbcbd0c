"""The route from tick to verdict: its stages in order, each a folder, a Dagster group and a key prefix.

And which tables are made together. Not here: when (``runs.py``, ``sensors/``).
"""

from collections.abc import Collection

import dagster as dg

from crpbot_dagster.assets.bars.assets import ASSETS as BARS
from crpbot_dagster.assets.evaluations.assets import ASSETS as EVALUATIONS
from crpbot_dagster.assets.features.assets import ASSETS as FEATURES
from crpbot_dagster.assets.models.assets import ASSETS as MODELS
from crpbot_dagster.assets.promotion.assets import ASSETS as PROMOTION
from crpbot_dagster.assets.raw import (
    attention,
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
from crpbot_dagster.tables import CANDLES, TABLES, TICKS

RAW = (
    *tardis.ASSETS,
    *tardis_derivatives.ASSETS,
    *coinbase.ASSETS,
    *candle_files.ASSETS,
    *kraken.ASSETS,
    *crypto_lake.ASSETS,
    *cryptocompare.ASSETS,
    *funding.ASSETS,
    *deribit.ASSETS,
    *coingecko.ASSETS,
    *attention.ASSETS,
    *fear_greed.ASSETS,
    *hash_rate.ASSETS,
    *traditional_markets.ASSETS,
)
ROUTE: dict[str, tuple[dg.AssetsDefinition, ...]] = {
    "raw": RAW,
    "bars": BARS,
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
_OF_A_DAY = tuple(t for t in tables_of("raw", "bars", "features") if t != LABELS)
DAY_TABLES = tuple(t for t in _OF_A_DAY if not TABLES[t].is_market_wide)
MARKET_TABLES = tuple(t for t in _OF_A_DAY if TABLES[t].is_market_wide)
EVALUATION_TABLES = tuple(t for t in tables_of("evaluations") if t != TRACK_RECORD)  # of a verdict
VERDICT_RAW = (
    "raw/tardis_trades",
    "raw/tardis_book",
    "raw/tardis_book_snapshots",
    "raw/coinbase_candles",
    "raw/candle_files",
)
"""The raw tables that a verdict needs; every other source stands beside them for comparison."""


def verdict_tables(primary: Primary) -> tuple[str, ...]:
    """Return the tables of a day that a verdict needs: those of the primary source, and what is made from them."""
    own = {t.name for s, t in (CANDLES | TICKS).items() if s == primary.source}
    return tuple(t for t in DAY_TABLES if not t.startswith("raw/") or t in VERDICT_RAW or t in own)


def made_again(tables: tuple[str, ...], absent: Collection[str]) -> tuple[str, ...]:
    """Return the tables to make when some of ``tables`` are absent: those, and what is made from them.

    What a source sent and the lake holds is not fetched, and paid for, again.
    """
    return tuple(t for t in tables if t in absent or not t.startswith("raw/"))
