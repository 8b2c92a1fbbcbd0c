"""Sound partitions of the exchanges' own interfaces, and what breaks each of their checks and rules (see test_checks.py)."""

from collections.abc import Callable

import polars as pl

from crpbot_dagster.sandbox.market import MarketSpec

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

FACTS: dict[str, float] = {}
BROKEN: dict[tuple[str, str], Break] = {}
BROKEN_RULES: list[tuple[str, Break]] = []


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    return {}
