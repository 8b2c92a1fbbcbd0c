"""L2 of flags: a market in which a flag hangs by the last bit of one price, so that the oldest row of its reach turns it.

A flag turns too seldom for a row drawn at random to be seen in it. Not here: columns with a value (``laws.reads_less``).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
from laws.changes import another_market

from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.tables.schema import Column

MARGIN = 60  # rows before the reach


def _with_high(inputs: Inputs, price: float) -> Inputs:
    """The inputs with this highest price in their last minute."""
    is_last = pl.int_range(pl.len()) == pl.len() - 1
    high = pl.when(is_last).then(price).otherwise("high").alias("high")
    return replace(inputs, trades=inputs.trades.with_columns(high))


def on_the_edge(build: Build, inputs: Inputs, flag: str) -> Iterator[Inputs]:
    """Two markets whose last highs are neighbouring numbers and whose last flags differ; none if no high changes it."""

    def last(price: float) -> int:
        return build(_with_high(inputs, price))[flag][-1]

    low = max(inputs.trades[c][-1] for c in ("open", "close"))
    before = last(low)
    high = next((p for p in (low * 1.001, low * 1.01, low * 1.05) if last(p) != before), low)
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if last(middle) == before else (low, middle)
    if low < high:
        yield _with_high(inputs, low)
        yield _with_high(inputs, high)


def turns(build: Build, inputs: Inputs, flag: Column, rng: np.random.Generator) -> bool:
    """Whether the oldest row of the reach turns the flag where the reach ends, in a row where it turns of itself.

    The last tenth of the reach is tried where the flag stands on weights, which leave a single row next to nothing.
    """
    reach, made = flag.reach or 0, build(inputs)[flag.name]
    oldest = 1 if "/" in flag.valid else reach // 10
    for end in (made != made.shift(1)).arg_true():
        if end < reach + MARGIN:
            continue
        own = inputs.rows(end - reach - MARGIN + 1, end + 1)
        for edge in on_the_edge(build, own, flag.name):
            flagged = build(edge)[flag.name][-1]
            for row in range(MARGIN, MARGIN + oldest):
                is_row = pl.Series(np.arange(reach + MARGIN) == row)
                changed = edge.minutes(lambda f, is_row=is_row: another_market(f, is_row, rng))
                if build(changed)[flag.name][-1] != flagged:
                    return True
    return False
