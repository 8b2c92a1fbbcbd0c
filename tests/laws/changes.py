"""Changes to a market that the laws are asked under: lost, doubled, moved, later and older rows, other sides.

Not here: the questions (``laws.py``), the markets themselves (``every_source.py``), a dead one (``dead.py``).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs

Change = Callable[[pl.DataFrame], pl.DataFrame]

KEYS = {"ts", "end_ts", "bucket_n", "available_ts", "obs_day", "wiki_available_ts", "series_id", "symbol", "hour",
        "currency", "venue", "day", "source"}  # fmt: skip
MINUTE = timedelta(minutes=1)
FORMS = ("delete", "shuffle", "replace")
PRICES = {"open", "high", "low", "close", "open_1s", "vwap", "best_bid", "best_ask", "mid", "microprice", "mid_1s",
          "mid_high", "mid_low", "mark", "index", "price_usd"}  # fmt: skip
VALUES = {"volume_usd", "buy_volume_usd", "sell_volume_usd", "large_buy_volume_usd", "large_sell_volume_usd",
          "liq_buy_usd", "liq_sell_usd"}  # fmt: skip
CAPS = {"market_cap_usd", "total_volume_usd", "total_cap_usd", "btc_cap_usd", "eth_cap_usd", "stable_cap_usd"}
SIZES = {"volume", "buy_volume", "sell_volume", "unknown_volume", "large_threshold", "ofi_coin", "depth_1_tw",
         "remove_coin", "open_interest", "bucket_volume",
         *(f"{s}_depth_{k}" for s in ("bid", "ask") for k in (1, 5, 10, 25))}  # fmt: skip

MONEY, AMOUNTS = PRICES | VALUES | CAPS, SIZES | VALUES  # what is doubled with the price, and with the size


def values(frame: pl.DataFrame) -> list[str]:
    return [c for c in frame.columns if c not in KEYS]


def over_minutes(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with every minute frame and the buckets changed."""
    buckets = None if inputs.buckets is None else change(inputs.buckets)
    return replace(inputs.minutes(change), buckets=buckets)


def over_all(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with every frame changed: minutes, buckets, slow tables."""
    return replace(over_minutes(inputs, change), slow={n: change(f) for n, f in inputs.slow.items()})


def masked(inputs: Inputs, share: float, rng: np.random.Generator) -> Inputs:
    """The inputs with ``share`` of the rows of every minute frame lost, each frame its own."""

    def lose(frame: pl.DataFrame) -> pl.DataFrame:
        kept = pl.Series(rng.random(frame.height) >= share)
        return frame.with_columns(pl.when(kept).then(pl.col(c)).alias(c) for c in values(frame))

    return inputs.minutes(lose)


def without(inputs: Inputs, rows: Iterable[int]) -> Inputs:
    """The inputs with these rows of every minute frame lost."""
    lost = pl.int_range(pl.len()).is_in(list(rows))
    return inputs.minutes(lambda f: f.with_columns(pl.when(~lost).then(pl.col(c)).alias(c) for c in values(f)))


def another_market(frame: pl.DataFrame, rows: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    """The frame with every value of ``rows`` multiplied by its own random factor: no ratio stays what it was."""
    made = []
    for c in values(frame):
        dtype = frame.schema[c]
        if dtype.is_numeric() and dtype != pl.Int8:
            other = (frame[c] * rng.lognormal(0, 1, frame.height) + (0 if dtype.is_float() else 1)).cast(dtype)
            made.append(pl.when(rows).then(other).otherwise(pl.col(c)).alias(c))
    return frame.with_columns(made)


def swapped(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with buy and sell, and sizes of bid and ask, changed over; prices stay."""
    made = {}
    for c in frame.columns:
        for a, b in (("buy", "sell"), ("bid_depth", "ask_depth")):
            if a in c and c.replace(a, b) in frame.columns and not c.startswith("best"):
                made[c], made[c.replace(a, b)] = pl.col(c.replace(a, b)), pl.col(c)
    signed = [c for c in ("imbalance_1_tw", "imbalance_5_tw", "ofi_coin", "eff_spread_bps", "impact_5s_bps")
              if c in frame.columns]  # fmt: skip
    if "microprice" in frame.columns:
        made["microprice"] = 2 * pl.col("mid") - pl.col("microprice")
    return frame.with_columns(**made, **{c: -pl.col(c) for c in signed})


def doubled(inputs: Inputs, columns: set[str]) -> Inputs:
    """The inputs with these columns of every frame doubled."""
    return over_all(inputs, lambda f: f.with_columns(pl.col(c) * 2 for c in f.columns if c in columns))


def moved(inputs: Inputs, by: timedelta) -> Inputs:
    """The inputs with every day and moment ``by`` later."""

    def move(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col(c) + by for c, kind in frame.schema.items() if kind.is_temporal())

    return over_all(inputs, move)


def is_older(frame: pl.DataFrame, moment: datetime) -> pl.Series:
    return frame["end_ts" if "end_ts" in frame.columns else "ts"] < moment


def between(inputs: Inputs, first: datetime, last: datetime) -> Inputs:
    """The minutes (and buckets) of [first, last]; slow tables whole."""
    return over_minutes(inputs, lambda f: f.filter(~is_older(f, first) & is_older(f, last + MINUTE)))


def wild(inputs: Inputs, kind: str, rng: np.random.Generator) -> Inputs:
    """The inputs with bursts of size, and a price that jumps, or that stands still for hours and then bolts."""
    n = inputs.trades.height
    burst = pl.Series(np.where(rng.random(n) < 0.02, 1e4, 1.0))
    jumps = np.where(rng.random(n) < 0.01, rng.normal(0, 0.5, n), 0.0)
    still = np.where(np.cumsum(rng.random(n) < 0.005) % 2 == 0, 0.0, rng.standard_t(1.2, n) * 1e-4).clip(-0.3, 0.3)
    path = pl.Series(np.exp(np.cumsum(jumps if kind == "jumps" else still)))

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        prices = [c for c in frame.columns if c in PRICES]
        sizes = [c for c in frame.columns if c in {"volume", "buy_volume"} | VALUES]
        priced = [pl.col(c) * path if kind == "jumps" else (path * 100).alias(c) for c in prices]
        return frame.with_columns(*priced, *(pl.col(c) * burst for c in sizes))

    return inputs.minutes(change)


# --- what comes after a cut -------------------------------------------------------------------------


def _is_later(frame: pl.DataFrame, cut: datetime, column: str = "") -> pl.Series:
    """Rows that nobody knew when the minute ``cut`` was over (slow values: when it began)."""
    if column == "wiki_views_n":  # two availabilities: each column is late by its own
        return frame["wiki_available_ts"] > cut
    if "available_ts" in frame.columns:
        return frame["available_ts"] > cut
    if "end_ts" in frame.columns:
        return frame["end_ts"] >= cut + MINUTE
    return frame["ts"] > cut


def _noise(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Another market: tenfold and random, sides reversed, a value in ten not a number."""
    other = another_market(swapped(frame), pl.Series([True] * frame.height), rng)
    floats = [c for c in values(other) if other.schema[c].is_float()]
    hole = {c: pl.Series(rng.random(frame.height) < 0.1) for c in floats}
    return other.with_columns(pl.when(hole[c]).then(np.nan).otherwise(pl.col(c) * 10).alias(c) for c in floats)


def shuffled(column: pl.Series, rows: pl.Series, rng: np.random.Generator) -> pl.Series:
    """The column with ``rows`` in a random order that leaves none of them in its place."""
    order, ring = np.arange(len(column)), rng.permutation(rows.arg_true().to_numpy())
    order[ring] = np.roll(ring, 1)  # each takes the value of the one before it on the ring
    return column.gather(order)


def later(inputs: Inputs, cut: datetime, form: str, rng: np.random.Generator) -> Inputs:
    """The inputs with everything after the minute ``cut`` deleted, shuffled, or replaced by another market."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        if form == "delete" and "ts" not in frame.columns and "wiki_available_ts" not in frame.columns:
            return frame.filter(~_is_later(frame, cut))
        other, made = _noise(frame, rng) if form == "replace" else frame, []
        for c in values(frame):
            late = _is_later(frame, cut, c)
            if form == "delete":
                made.append(frame.select(pl.when(~late).then(pl.col(c)).alias(c)).to_series())
            else:
                made.append(shuffled(frame[c], late, rng) if form == "shuffle" else frame[c].zip_with(~late, other[c]))
        return frame.with_columns(made)

    return over_all(inputs, change)


OTHER_SIDE = {"buy": "sell", "sell": "buy", "bid": "ask", "ask": "bid"}


def later_ticks(ticks: pl.DataFrame, cut: datetime, form: str, rng: np.random.Generator) -> pl.DataFrame:
    """Ticks of which those received after the minute ``cut`` are deleted, shuffled, or of other sides, prices and sizes."""
    late = ticks["ts_received"] >= cut + MINUTE
    if form == "delete":
        return ticks.filter(~late)
    if form == "shuffle":
        return ticks.with_columns(shuffled(ticks[c], late, rng) for c in ("side", "price", "amount"))
    other = ticks.select(
        pl.col("side").replace(OTHER_SIDE),
        *(pl.col(c) * pl.Series(rng.lognormal(0, 1, ticks.height)) for c in ("price", "amount")),
    )
    return ticks.with_columns(ticks[c].zip_with(~late, other[c]) for c in other.columns)
