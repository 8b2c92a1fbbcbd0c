"""Sound partitions of the certification, and what breaks each of their checks and rules (see test_checks.py)."""

from collections.abc import Callable

import polars as pl

from crpbot_dagster.sandbox.market import MarketSpec

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

FACTS: dict[str, float] = {
    "crossed_frac": 0.0,
    "longest_cross_s": 0.0,
    "sequence_gaps_n": 0.0,
    "silences_n": 0.0,
}
BROKEN: dict[tuple[str, str], Break] = {
    ("bars/book_1m", "crossed_book"): {"crossed_frac": 0.011},
    ("bars/book_1m", "seldom_crossed"): {"crossed_frac": 0.0002},
    ("bars/book_1m", "unbroken"): {"sequence_gaps_n": 1.0},
    ("bars/book_1m", "unmasked"): lambda f: f.with_columns(is_masked=pl.lit(1, pl.Int8)),
}
BROKEN_RULES: list[tuple[str, Break]] = []


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    return {}
