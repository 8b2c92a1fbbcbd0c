"""L11 by count: the rows that a column may lose before it is null, and one more (rows of minutes; days: ``test_slow_reach.py``).

The oldest rows of a reach are lost, so that windows which stand on other windows lose one of theirs for each row beyond
what the inner ones can spare. Not here: random masks and the twins' nulls (``laws.unlike_twin``).
"""

import re
from collections.abc import Iterable, Iterator

import numpy as np
from laws.changes import without

from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.tables.schema import Column, Table


def _spare(alpha: float, width: int) -> int:
    """The oldest of ``width`` rows with weights (1 − alpha)^age that together hold at most a fifth of the weight."""
    held = np.cumsum((1 - alpha) ** np.arange(width))
    return width - 1 - int(np.argmax(held >= 0.8 * held[-1]))


EMA = {span: _spare(2 / (span + 1), 10 * span) for span in (9, 12, 26, 60, 144)}
WILDER_14 = _spare(1 / 14, 270)
SPARE = {
    "rsi": WILDER_14, "di_diff_14m": WILDER_14, "adx_14m": 2 * WILDER_14,
    "macd": EMA[26], "macd_bps": EMA[26],
    "macd_signal": EMA[26] + EMA[9], "macd_diff": EMA[26] + EMA[9], "macd_hist_bps": EMA[26] + EMA[9],
    "ema_dev_bps_12m": EMA[12], "ema_dev_bps_60m": EMA[60], "ema_dev_bps_144m": EMA[144],
    "stoch_d_14m": 2,  # 3 of 3 over 12 of 14
    "volatility_low": 282, "volatility_medium": 282, "volatility_high": 282,  # 1,120 of 1,400 over 12 of 14
    "realized_vol_rank_1d": 288,  # 1,104 of 1,380 over 48 of 60
    "hurst_12h": 137,  # 551 of the 688 pairs that are 32 minutes apart
    "bipower_vol_4h": 47, "jump_z_4h": 47,  # 192 of 239 pairs, 191 of 238 triples
}  # fmt: skip
"""Column → the oldest rows it can spare, where one window stands on another or rows have weights."""

NOT_COUNTED = {
    "gap_cryptocompare_bps": "reads one minute, the one before",
    "venue_dispersion_bps": "venues are counted",
    "arb_net_bps": "venues are counted",
    "funding_rate_bps_8h": "venues are counted",
    "funding_dispersion_bps_8h": "venues are counted",
    "basis_bps": "venues are counted",
    "funding_parity_dev_bps": "made of two columns whose venues are counted",
    "is_ranging": "made of two columns whose rows are counted",
    "vpin": "its 25 buckets are counted",
    "vpin_ma10": "counts minutes that have 25 buckets; under L4",
}
"""Columns of minutes whose rows are not counted, and why; venues and buckets are, in ``test_null_mask.py``."""


def windows(column: Column) -> list[tuple[int, int]]:
    """(N, w) of each window that the column names."""
    return [(int(n), int(w)) for n, w in re.findall(r"(\d+)/(\d+)", column.valid)]


def losses(column: Column, last: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Rows to lose, and whether the column must then be null in the row ``last``."""
    reach, found = column.reach or 0, windows(column)
    first, ends = last - reach + 1, column.valid.startswith("ends")
    if column.name in SPARE:
        runs = [(first, SPARE[column.name], 1)]
    elif column.valid == "row":
        runs = [(last, 0, 1)]
    elif not found:
        yield tuple(range(first + 1, last)), False
        yield (first,), True
        yield (last,), True
        return
    elif len(found) == 1 and reach == 2 * found[0][1]:  # one window, now and before
        runs = [(start, found[0][1] - found[0][0], 1) for start in (first, first + found[0][1])]
    elif len(found) == 1 and reach > found[0][1] + 2:  # steps of several minutes
        runs = [(first, found[0][1] - found[0][0], (reach - 1) // found[0][1])]
    else:
        changes = reach - max(w for _, w in found)
        # A row between two ends takes the changes on both of its sides with it.
        runs = [(last - w - changes + 1 + ends, w - n - ends, 1) for n, w in found]
    for start, spare, step in runs:
        for lost in (spare, spare + 1):
            yield tuple(range(start, start + lost * step, step)), lost > spare


def counted(table: Table) -> list[Column]:
    """The columns of minutes that name how many rows they need and are not in ``NOT_COUNTED``."""
    return [c for c in table.features if c.valid != "–" and not c.slow_reach and c.name not in NOT_COUNTED]


def miscounts(table: Table, build: Build, inputs: Inputs, columns: Iterable[Column]) -> set[str]:
    """L11: columns that are null in the last row with as many rows lost as they can spare, or are not with one more."""
    last, found = inputs.trades.height - 1, set()
    expected: dict[tuple[int, ...], list[tuple[str, bool]]] = {}
    for column in columns:
        for lost, is_null in losses(column, last):
            expected.setdefault(lost, []).append((column.name, is_null))
    for lost, answers in expected.items():
        made = build(without(inputs, lost))
        found |= {name for name, is_null in answers if (made[name][last] is None) != is_null}
    return found
