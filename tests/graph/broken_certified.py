"""Sound partitions of the certification, and what breaks each of their checks and rules (see test_checks.py)."""

from collections.abc import Callable

import polars as pl

from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.tables import TABLES

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

COMPARISON = "evaluations/source_comparison"
FACTS: dict[str, float] = {
    "crossed_frac": 0.0,
    "longest_cross_s": 0.0,
    "sequence_gaps_n": 0.0,
    "silences_n": 0.0,
    "source_comparison_one_primary": 0.0,
}
BROKEN: dict[tuple[str, str], Break] = {
    ("bars/book_1m", "crossed_book"): {"crossed_frac": 0.011},
    ("bars/book_1m", "seldom_crossed"): {"crossed_frac": 0.0002},
    ("bars/book_1m", "unbroken"): {"sequence_gaps_n": 1.0},
    ("bars/book_1m", "unmasked"): lambda f: f.with_columns(is_masked=pl.lit(1, pl.Int8)),
    (COMPARISON, "coverage"): lambda f: f.with_columns(coverage_frac=pl.lit(0.94)),
    (COMPARISON, "sources_agree"): lambda f: f.with_columns(diff_median_bps=pl.lit(25.1)),
    (COMPARISON, "primary_stands"): lambda f: f.with_columns(is_primary=~pl.col("is_primary")),
}
BROKEN_RULES: list[tuple[str, Break]] = [
    (COMPARISON, {"source_comparison_one_primary": 2.0}),
    (COMPARISON, lambda f: f.with_columns(shift_min=pl.lit(4))),
]


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    pair = dict.fromkeys(TABLES[COMPARISON].schema) | {
        "coverage_frac": 0.99,
        "diff_median_bps": 2.0,
        "grade": "A",
        "reason": "r",
    }
    names = ("coinbase", "tardis"), ("coinbase", "coinbase")
    rows = [
        pair | dict(zip(("venue", "source", "other_venue", "other_source"), (*one, *other), strict=True))
        | {"is_configured": chosen, "is_primary": chosen}
        for one, other, chosen in ((*names, True), (*names[::-1], False))
    ]  # fmt: skip
    return {COMPARISON: pl.DataFrame(rows, schema=TABLES[COMPARISON].schema)}
