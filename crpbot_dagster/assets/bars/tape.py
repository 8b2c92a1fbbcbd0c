"""Trades and candles to one row per minute (docs/conventions.md).

Not here: the order book (``order_book.py``), wiring (``assets.py``). Ticks pass one compiled loop.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl
from numba import njit

Clock = Literal["received", "exchange"]

MINUTE_US, SECOND_US = 60_000_000, 1_000_000
COLUMNS = (
    "open",
    "high",
    "low",
    "close",
    "open_1s",
    "volume",
    "volume_usd",
    "trade_count_n",
    "buy_volume",
    "sell_volume",
    "buy_volume_usd",
    "sell_volume_usd",
    "buy_count_n",
    "sell_count_n",
    "unknown_volume",
    "large_buy_volume_usd",
    "large_sell_volume_usd",
)
# Places in a row of the kernel's output; a sell stands one after its buy.
OPEN, HIGH, LOW, CLOSE, OPEN_1S, VOLUME, VOLUME_USD, TRADES, BUY_VOLUME = range(9)
BUY_VOLUME_USD, BUY_COUNT, UNKNOWN, LARGE_BUY_USD = 10, 12, 14, 15
COUNTS = ("trade_count_n", "buy_count_n", "sell_count_n")
VALUES = (
    "open",
    "high",
    "low",
    "close",
    "open_1s",
    "volume",
    "volume_usd",
    "vwap",
    "trade_count_n",
    "buy_volume",
    "sell_volume",
    "buy_volume_usd",
    "sell_volume_usd",
    "buy_count_n",
    "sell_count_n",
    "unknown_volume",
    "large_threshold",
    "large_buy_volume_usd",
    "large_sell_volume_usd",
)
GAP_RUN = 10  # docs/conventions.md: an empty run is a gap from its tenth minute on
LARGE_DIVISOR = 10_000  # docs/conventions.md: a large trade is a ten-thousandth of an average day
KNOWN_DAYS = 6  # of the last 7


def minute_grid(day: date) -> pl.DataFrame:
    """Return the day's 1,440 minute starts as column ``ts``."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return pl.DataFrame(
        {"ts": pl.datetime_range(start, start + timedelta(days=1), "1m", closed="left", eager=True)},
        schema={"ts": pl.Datetime("us", "UTC")},
    )


@njit(cache=True)
def _sum_minutes(when, side, price, amount, start, large, out):  # type: ignore[no-untyped-def]
    """Add trades, in order, to the rows of their minutes; ``out`` is float64[1440, len(COLUMNS)].

    Sequential on purpose: a parallel sum would change its last bits from run to run.
    """
    for i in range(len(when)):
        offset = when[i] - start
        if offset < 0 or offset >= 1440 * MINUTE_US:
            continue
        row = out[offset // MINUTE_US]
        p, q = price[i], amount[i]
        value = p * q
        if row[TRADES] == 0:
            row[OPEN] = row[HIGH] = row[LOW] = p
        row[HIGH] = max(row[HIGH], p)
        row[LOW] = min(row[LOW], p)
        row[CLOSE] = p
        if np.isnan(row[OPEN_1S]) and offset % MINUTE_US >= SECOND_US:
            row[OPEN_1S] = p
        row[VOLUME] += q
        row[VOLUME_USD] += value
        row[TRADES] += 1
        if side[i] == 0:
            row[UNKNOWN] += q
            continue
        sold = 1 if side[i] < 0 else 0
        row[BUY_VOLUME + sold] += q
        row[BUY_VOLUME_USD + sold] += value
        row[BUY_COUNT + sold] += 1
        if q >= large:
            row[LARGE_BUY_USD + sold] += value


def aggregate(ticks: pl.LazyFrame, day: date, large_threshold: float | None, clock: Clock) -> pl.DataFrame:
    """Return 1,440 rows of sums and prices, one per minute of ``day``; a minute without a trade has 0 and null.

    Parameters
    ----------
    ticks : ts_exchange, ts_received (UTC µs), side (buy, sell or null), price (USD), amount (coin)
        In file order; the order within a minute is (chosen clock, file order).
    large_threshold : coin
        Size from which a trade is large; None when it is not known, large sums are then null.
    clock : received or exchange
        The clock that cuts the minutes. Received is what a live system knows; exchange reproduces the
        exchange's own candles.

    Returns
    -------
    ts and the columns of ``COLUMNS``: prices in USD, sums in coin and USDv, counts.
    """
    signs = pl.when(pl.col("side") == "buy").then(1).when(pl.col("side") == "sell").then(-1).otherwise(0)
    found = ticks.select(
        pl.col(f"ts_{clock}").dt.epoch("us").alias("when"),
        signs.cast(pl.Int8).alias("side"),
        "price",
        "amount",
    ).collect(engine="streaming")
    if not found["when"].is_sorted():
        found = found.sort("when", maintain_order=True)
    grid = minute_grid(day)
    out = np.zeros((1440, len(COLUMNS)))
    out[:, [OPEN, HIGH, LOW, CLOSE, OPEN_1S]] = np.nan
    _sum_minutes(
        found["when"].to_numpy(),
        found["side"].to_numpy(),
        found["price"].to_numpy(),
        found["amount"].to_numpy(),
        grid["ts"].dt.epoch("us")[0],
        np.inf if large_threshold is None else large_threshold,
        out,
    )
    sums = pl.DataFrame(out, schema=list(COLUMNS)).with_columns(
        *(pl.col(c).fill_nan(None) for c in ("open", "high", "low", "close", "open_1s")),
        *(pl.col(c).cast(pl.Int64) for c in COUNTS),
    )
    if large_threshold is None:
        sums = sums.with_columns(pl.lit(None, pl.Float64).alias(f"large_{s}_volume_usd") for s in ("buy", "sell"))
    return pl.concat([grid, sums], how="horizontal")


def is_gap(empty: pl.Expr) -> pl.Expr:
    """Return 1 from the tenth minute on of a run of empty minutes, else 0; reads the rows up to its own.

    The rule of docs/conventions.md for a source without a capture log: it uses no hindsight.
    """
    run = empty.cast(pl.Int32).cum_sum().over(empty.rle_id())
    return (empty & (run >= GAP_RUN)).cast(pl.Int8)


def trades_1m(ticks: pl.LazyFrame, day: date, large_threshold: float | None, clock: Clock) -> pl.DataFrame:
    """Return 1,440 rows of ``day`` from ticks: a minute without a trade has null prices and zero sums."""
    filled = aggregate(ticks, day, large_threshold, clock).with_columns(
        pl.lit(large_threshold, pl.Float64).alias("large_threshold"),
        pl.when(pl.col("volume") > 0)
        .then(pl.col("volume_usd") / pl.col("volume"))
        # Rounding may put the quotient one ulp outside the minute's range.
        .clip(pl.col("low"), pl.col("high"))
        .alias("vwap"),
        is_gap(pl.col("trade_count_n") == 0).alias("is_gap"),
    )
    return _blank_gaps(filled).select("ts", *VALUES, "is_gap")


def candles_1m(candles: pl.DataFrame, day: date) -> pl.DataFrame:
    """Return 1,440 rows of ``day`` from one-minute candles: the reduced set, all else null.

    An absent candle is a minute without a trade (volume 0) until the run of them counts as a gap. Where the source
    gives the quote volume (``quote_volume``), it is the volume in USD; the price it implies is the vwap unless it lies
    outside the candle, as an aggregate's may: then nobody knows the vwap.
    """
    names = ("open", "high", "low", "close", "volume")
    has_quote = "quote_volume" in candles.columns
    quote = pl.col("quote_volume") if has_quote else pl.lit(None, pl.Float64)
    known = candles.select("ts", *names, quote.alias("volume_usd"))
    grid = minute_grid(day).join(known, on="ts", how="left", maintain_order="left")
    absent = (set(VALUES) - {*names, "volume_usd", "vwap"}) - set(COUNTS)
    implied = pl.col("volume_usd") / pl.col("volume")
    filled = grid.with_columns(
        is_gap(pl.col("close").is_null()).alias("is_gap"),
        pl.col("volume").fill_null(0.0),
        pl.col("volume_usd").fill_null(pl.lit(0.0 if has_quote else None, pl.Float64)),
        pl.when((pl.col("volume") > 0) & implied.is_between("low", "high")).then(implied).alias("vwap"),
        *(pl.lit(None, pl.Float64).alias(c) for c in absent),
        *(pl.lit(None, pl.Int64).alias(c) for c in COUNTS),
    )
    return _blank_gaps(filled).select("ts", *VALUES, "is_gap")


def all_gaps(day: date) -> pl.DataFrame:
    """Return 1,440 gap rows: the source says it has nothing for the day."""
    nulls = [pl.lit(None, pl.Int64 if c in COUNTS else pl.Float64).alias(c) for c in VALUES]
    return minute_grid(day).select("ts", *nulls, pl.lit(1, pl.Int8).alias("is_gap"))


def large_threshold(volumes: pl.DataFrame) -> float | None:
    """Return the size from which a trade is large: mean of the last 7 known daily volumes / 10,000.

    ``volumes`` holds the rows of ``bars/volume_1d`` of the 7 days before; None with fewer than 6 known.
    """
    known = volumes["volume"].drop_nulls()
    return float(known.mean()) / LARGE_DIVISOR if len(known) >= KNOWN_DAYS else None  # type: ignore[arg-type]


def daily_bar(minutes: pl.DataFrame) -> dict[str, Any]:
    """Return open, high, low, close, volume, volume_usd, rv_1d and valid_n of a day's minute rows.

    ``rv_1d`` is the sum of squared one-minute log returns between neighbouring minutes that both have a
    close. Source: Andersen & Bollerslev (1998), International Economic Review 39(4).
    """
    m = minutes.sort("ts")
    traded = m.filter(pl.col("close").is_not_null())
    returns = (m["close"].log() - m["close"].shift(1).log()).drop_nulls()
    return {
        "open": traded["open"].first() if traded.height else None,
        "high": traded["high"].max(),
        "low": traded["low"].min(),
        "close": traded["close"].last() if traded.height else None,
        "volume": m["volume"].sum() if m["volume"].count() else None,
        "volume_usd": m["volume_usd"].sum() if m["volume_usd"].count() else None,
        "rv_1d": float((returns**2).sum()) if len(returns) else None,
        "valid_n": traded.height,
    }


def _blank_gaps(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.col("is_gap") == 0).then(pl.col(c)).alias(c) for c in VALUES)
