"""Sound partitions of the feature analyses, and what breaks their rules (see test_checks.py)."""

from collections.abc import Callable

import polars as pl
from conftest import DAYS

from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.analyses import ANALYSES

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

FACTS: dict[str, float] = {}
BROKEN: dict[tuple[str, str], Break] = {}
BROKEN_RULES: list[tuple[str, Break]] = [(t.name, lambda f: f.head(10)) for t in ANALYSES.values()]
BROKEN_RULES += [(t.name, lambda f: f.with_columns(corr_up=pl.lit(1.1))) for t in ANALYSES.values()]


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    made = {}
    for of, table in ANALYSES.items():
        row = dict.fromkeys(table.schema) | {
            "feature_group": "g",
            "is_input": True,
            "is_level": False,
            "stands_out": False,
            "null_frac": 0.0,
        }
        row |= {"first_day": DAYS[0], "worst_day": DAYS[0], "worst_day_null_frac": 0.0, "day": DAYS[1]}
        features = TABLES[f"features/{of}"].features
        rows = [row | {"symbol": "BTC-USD", "feature": c.name, "rank_n": i} for i, c in enumerate(features, 1)]
        made[table.name] = pl.DataFrame(rows, schema=table.schema)
    return made
