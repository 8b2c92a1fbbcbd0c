"""Labels: what happened after the minute (docs/conventions.md). The only module that reads forward.

The entry is the price in force one second after the row is known, never the last price the features saw,
whose bounce between bid and ask would look like predictability.
Source: López de Prado (2018), Advances in Financial Machine Learning, ch. 3 (triple barrier).
"""

from typing import Literal

import numpy as np
import polars as pl
from numba import njit

from crpbot_dagster.assets.features.microstructure import log_ratio
from crpbot_dagster.assets.features.price import arrays, as_frame
from crpbot_dagster.assets.features.windows import Floats, lag, needed, window_mean
from crpbot_dagster.tables import CANDLES, TICKS

PriceSource = Literal["mid", "trade", "ohlcv"]

PRICE_SOURCE: dict[str, PriceSource] = {
    **dict.fromkeys(CANDLES, "ohlcv"),
    **dict.fromkeys(TICKS, "trade"),
    "tardis": "mid",
}
"""Source → the prices its labels use (docs/conventions.md): the mid needs a book, which only Tardis delivers here.

Fixed per source, never per row."""

HORIZON_MIN = 15
CLASS_CUT = 0.0005  # docs/conventions.md: y_class_5m
LEAST_BARRIER = 0.0020  # twice a 10 bps round trip
BARRIER_MIN = 60
BARRIER_NULLS = 12

FLAGS = {"y_up_15m", "y_class_5m", "y_triple_barrier"}


def lead(x: Floats, rows: int) -> Floats:
    """Return ``x`` of the row ``rows`` later, NaN past the frame; same unit."""
    out = np.full_like(x, np.nan)
    out[: len(x) - rows] = x[rows:]
    return out


@njit(cache=True)
def triple_barrier(entry, width, high, low, close):  # type: ignore[no-untyped-def]
    """Return (label, minutes): which of entry·exp(±width) is touched first within 60 minutes.

    Parameters
    ----------
    entry : float64[n], USD
    width : float64[n], log
    high, low, close : float64[n], USD
        Row + 1 is tested with its close only (its extremes may precede the entry), rows + 2 … + 60 with
        high and low.

    Returns
    -------
    float64[n] twice
        1 upper, −1 lower, 0 none; NaN when both are touched in one row, when entry or width is missing, or
        when more than 12 path rows are missing before the decision. Reads rows i + 1 … i + 60.
    """
    label, minutes = np.full(len(entry), np.nan), np.full(len(entry), np.nan)
    for i in range(len(entry)):
        if np.isnan(entry[i]) or np.isnan(width[i]):
            continue
        upper, lower = entry[i] * np.exp(width[i]), entry[i] * np.exp(-width[i])
        missing = 0
        for k in range(1, BARRIER_MIN + 1):
            j = i + k
            top = bottom = np.nan
            if j < len(entry):
                top, bottom = (close[j], close[j]) if k == 1 else (high[j], low[j])
            if np.isnan(top) or np.isnan(bottom):
                missing += 1
                if missing > BARRIER_NULLS:
                    break
                continue
            up, down = top >= upper, bottom <= lower
            if up and down:
                break
            if up or down:
                label[i], minutes[i] = (1.0 if up else -1.0), float(k)
                break
            if k == BARRIER_MIN:
                label[i], minutes[i] = 0.0, float(k)
        else:
            if missing and np.isnan(label[i]):
                label[i], minutes[i] = 0.0, float(BARRIER_MIN)
    return label, minutes


def _prices(
    trades: pl.DataFrame, book: pl.DataFrame | None, source: PriceSource
) -> tuple[Floats, Floats, Floats, Floats]:
    if source == "mid":
        if book is None:
            raise ValueError("price source mid needs the book: build bars/book_1m, or choose trade or ohlcv")
        entry, exit_, high, low = arrays(book, "mid_1s", "mid", "mid_high", "mid_low")
    else:
        entry, exit_, high, low = arrays(trades, "open_1s" if source == "trade" else "open", "close", "high", "low")
    return lead(entry, 1), exit_, high, low


def labels(trades: pl.DataFrame, book: pl.DataFrame | None, source: PriceSource) -> pl.DataFrame:
    """Return one row per minute of ``trades``: the labels of docs/conventions.md.

    Parameters
    ----------
    trades, book
        Bars on one dense, sorted grid of minutes; ``book`` may be None unless ``source`` is mid.
    source : mid, trade or ohlcv
        Which prices enter and leave; fixed per symbol and venue, never per row.

    Returns
    -------
    ts, y_* columns, price_source, entry_price (USD) and the times after which a label reads nothing.
    Rows whose exit lies past the frame are null.
    """
    entry, exit_, high, low = _prices(trades, book, source)
    c: dict[str, Floats] = {"entry_price": entry}
    c["y_ret_15m"] = log_ratio(lead(exit_, HORIZON_MIN), entry)
    c["y_up_15m"] = np.where(
        np.isnan(c["y_ret_15m"]) | (c["y_ret_15m"] == 0), np.nan, (c["y_ret_15m"] > 0).astype(float)
    )
    c["y_ret_5m"] = log_ratio(lead(exit_, 5), entry)
    beyond = np.sign(c["y_ret_5m"]) * (np.abs(c["y_ret_5m"]) > CLASS_CUT)
    c["y_class_5m"] = np.where(np.isnan(c["y_ret_5m"]), np.nan, beyond)
    r = log_ratio(exit_, lag(exit_, 1))
    sigma = np.sqrt(window_mean(r**2, 60, needed(60)))
    width = np.where(np.isnan(sigma), np.nan, np.maximum(LEAST_BARRIER, sigma * np.sqrt(BARRIER_MIN)))
    c["y_triple_barrier"], c["y_triple_barrier_min"] = triple_barrier(entry, width, high, low, exit_)
    order = (
        "y_ret_15m",
        "y_up_15m",
        "y_ret_5m",
        "y_class_5m",
        "y_triple_barrier",
        "y_triple_barrier_min",
        "entry_price",
    )
    minute = pl.duration(minutes=1)
    return as_frame(trades["ts"], c, order, FLAGS).with_columns(
        pl.lit(source).alias("price_source"),
        (pl.col("ts") + (HORIZON_MIN + 1) * minute).alias("label_end_ts_15m"),
        (pl.col("ts") + minute + pl.duration(minutes=pl.col("y_triple_barrier_min"))).alias("label_end_ts_barrier"),
    )
