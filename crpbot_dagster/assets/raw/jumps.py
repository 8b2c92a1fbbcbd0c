"""Prices that leap for one trade and come back: a misplaced comma, not a market.

Not here: a leap that stays, or takes two trades to come back, which is kept and flagged (``tables/raw.py``).
"""

import math
from dataclasses import replace

import polars as pl

from crpbot_dagster.assets.raw.dataset_file import Parsed

SIGMAS = 20.0
MAD_TO_SIGMA = 1.4826  # of a normal distribution
# Ours, a floor: a tick's robust sigma is a few hundredths of a basis point, and an order that sweeps a thin book and is
# followed by the old price is a trade that happened. No book of a major coin is so thin that it costs a twentieth.
LEAST_JUMP_LOG = math.log(1.05)


def without_jumps(parsed: Parsed) -> Parsed:
    """Return the trades without single prices more than 20 robust sigma off both neighbours, which agree.

    A leap is at least a twentieth; a day whose prices all lie closer than that is returned as it is.
    """
    price = pl.col("price").log()
    ends = parsed.frame.select(price.min().alias("lowest"), price.max().alias("highest"))
    lowest, highest = ends.collect(engine="streaming").row(0)
    if lowest is None or highest - lowest < LEAST_JUMP_LOG:
        return parsed
    steps = parsed.frame.select("line_n", price.diff().alias("to"), (-price.diff(-1)).alias("back")).collect()
    middle = steps.select(pl.col("to").abs().median()).item() or 0.0
    limit = max(SIGMAS * MAD_TO_SIGMA * middle, LEAST_JUMP_LOG)
    to, back = pl.col("to"), pl.col("back")
    leaps = (to.abs() > limit) & (back.abs() > limit) & ((to + back).abs() < limit) & (to * back < 0)
    lines = steps.filter(leaps)["line_n"]
    if lines.is_empty():
        return parsed
    is_leap = pl.col("line_n").is_in(lines.implode())
    refused = parsed.frame.filter(is_leap).select(
        "line_n",
        pl.lit("jump: the price leaps for one trade and comes back").alias("reason"),
        pl.concat_str(pl.col("id", "side").fill_null(""), "price", "amount", separator=",").alias("text"),
    )
    bad = pl.concat([parsed.refused, refused.collect()])
    return replace(parsed, frame=parsed.frame.filter(~is_leap), refused=bad)
