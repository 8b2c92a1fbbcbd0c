"""The route from tick to verdict: its stages in order, each a folder, a Dagster group and a key prefix."""

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
