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
from crpbot_dagster.assets.raw.candle_files import ASSETS as CANDLE_FILES
from crpbot_dagster.assets.raw.coinbase import ASSETS as COINBASE
from crpbot_dagster.assets.raw.tardis import ASSETS as TARDIS

ROUTE: dict[str, tuple[dg.AssetsDefinition, ...]] = {
    "raw": TARDIS + COINBASE + CANDLE_FILES,
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
DAY_TABLES = tuple(t for t in tables_of("raw", "bars", "features") if t != LABELS)
EVALUATION_TABLES = tuple(t for t in tables_of("evaluations") if t != TRACK_RECORD)  # of a verdict


def made_again(tables: tuple[str, ...], absent: Collection[str]) -> tuple[str, ...]:
    """Return the tables to make when some of ``tables`` are absent: those, and what is made from them.

    What a source sent and the lake holds is not fetched, and paid for, again.
    """
    return tuple(t for t in tables if t in absent or not t.startswith("raw/"))
