"""What a USDT is worth in USD, minute by minute, so that USDT venues can be read in dollars (docs/conventions.md).

Not here: which venues trade it (``instruments.py``), wiring (``assets.py``).
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from crpbot_dagster.assets.bars.tape import minute_grid

CARRIED = timedelta(minutes=60)  # docs/conventions.md
FRESH = timedelta(minutes=5)


def fx_1m(trades: Mapping[str, pl.DataFrame], day: date) -> pl.DataFrame:
    """Return 1,440 rows of ``day``: the last price of USDT-USD at the first of ``trades`` that has one.

    Parameters
    ----------
    trades : venue → ts, close (USD)
        Minutes of USDT-USD of the day and the day before, most trusted venue first; any of them may lack rows.

    Returns
    -------
    ts, source (the venue), usdt_usd, carried at most 60 minutes per venue; is_stale: 1 when the price is older than
    5 minutes or missing for age, null before the first price since the day before.
    """
    found = minute_grid(day)
    since = found["ts"][0] - timedelta(days=1)
    for venue, minutes in trades.items():
        known = minutes.filter(pl.col("ts") >= since, pl.col("close").is_not_null()).sort("ts")
        last = known.select("ts", pl.col("ts").alias(f"at {venue}"), pl.col("close").alias(f"price {venue}"))
        found = found.join_asof(last, on="ts", strategy="backward")
    age = {venue: pl.col("ts") - pl.col(f"at {venue}") for venue in trades}
    valid = {venue: age[venue] <= CARRIED for venue in trades}
    price = [pl.when(valid[v]).then(pl.col(f"price {v}")) for v in trades]
    is_fresh = [pl.when(valid[v]).then(age[v] <= FRESH) for v in trades]
    was_seen = [age[v].is_not_null() for v in trades]
    nothing = pl.lit(None)
    return found.select(
        "ts",
        pl.coalesce(*(pl.when(valid[v]).then(pl.lit(v)) for v in trades), nothing.cast(pl.String)).alias("source"),
        pl.coalesce(*price, nothing.cast(pl.Float64)).alias("usdt_usd"),
        pl.when(pl.any_horizontal(*was_seen, pl.lit(value=False)))
        .then((~pl.coalesce(*is_fresh, pl.lit(value=False))).cast(pl.Int8))
        .alias("is_stale"),
    )
