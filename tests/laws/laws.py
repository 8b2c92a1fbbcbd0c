"""The laws of features as functions of a table, what builds it and its inputs; tests ask them of each set.

``build`` takes ``Inputs`` and returns ts and the table's features. A law returns the names of the columns that break it,
so a test is one comparison with the empty set. Not here: the inputs of a set, its twins, its golden values.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.schema import Table

Build = Callable[[Inputs], pl.DataFrame]
Change = Callable[[pl.DataFrame], pl.DataFrame]

KEYS = {"ts", "end_ts", "bucket_n", "available_ts", "obs_day", "wiki_available_ts", "series_id", "symbol", "hour"}
MINUTE = timedelta(minutes=1)
PRICES = {"open", "high", "low", "close", "open_1s", "vwap", "best_bid", "best_ask", "mid", "microprice", "mid_1s",
          "mid_high", "mid_low", "mark", "index"}  # fmt: skip
VALUES = {"volume_usd", "buy_volume_usd", "sell_volume_usd", "large_buy_volume_usd", "large_sell_volume_usd",
          "liq_buy_usd", "liq_sell_usd"}  # fmt: skip
SIZES = {"volume", "buy_volume", "sell_volume", "unknown_volume", "large_threshold", "ofi_coin", "depth_1_tw",
         "remove_coin", "open_interest", "bucket_volume",
         *(f"{s}_depth_{k}" for s in ("bid", "ask") for k in (1, 5, 10, 25))}  # fmt: skip
PRICE_FACTOR = {"USD": 2.0, "USDv": 2.0, "bps/M$": 0.5}
SIZE_FACTOR = {"USDv": 2.0, "coin": 2.0, "bps/M$": 0.5}


def names(table: Table) -> list[str]:
    return [c.name for c in table.features]


def values(frame: pl.DataFrame) -> list[str]:
    return [c for c in frame.columns if c not in KEYS]


def over_minutes(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with every minute frame changed."""
    one = {n: f for n in ("book", "partner_book", "fx") if (f := getattr(inputs, n)) is not None}
    many = {n: getattr(inputs, n) for n in ("venue_trades", "venue_books", "derivatives")}
    return replace(
        inputs,
        trades=change(inputs.trades),
        **{n: change(f) for n, f in one.items()},
        **{n: {venue: change(f) for venue, f in m.items()} for n, m in many.items()},
    )


def over_all(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with every frame changed: minutes, buckets, slow tables."""
    buckets = None if inputs.buckets is None else change(inputs.buckets)
    changed = over_minutes(inputs, change)
    return replace(changed, buckets=buckets, slow={n: change(f) for n, f in inputs.slow.items()})


def same(a: pl.DataFrame, b: pl.DataFrame, columns: Iterable[str]) -> set[str]:
    """The columns that are not equal bit for bit, nulls included."""
    return {c for c in columns if not a[c].equals(b[c], null_equal=True)}


def close(a: pl.Series, b: pl.Series, scale: float = 0.0) -> bool:
    """Equal null masks, values to 1e-9 relative and 1e-12 absolute (of ``scale``, the size of the inputs)."""
    if (a.is_null() != b.is_null()).any():
        return False
    x, y = a.drop_nulls().cast(pl.Float64).to_numpy(), b.drop_nulls().cast(pl.Float64).to_numpy()
    return bool(np.allclose(x, y, rtol=1e-9, atol=1e-12 * max(1.0, scale)))


def masked(inputs: Inputs, share: float, rng: np.random.Generator) -> Inputs:
    """The inputs with ``share`` of the rows of every minute frame lost, each frame its own."""

    def lose(frame: pl.DataFrame) -> pl.DataFrame:
        kept = pl.Series(rng.random(frame.height) >= share)
        return frame.with_columns(pl.when(kept).then(pl.col(c)).alias(c) for c in values(frame))

    return over_minutes(inputs, lose)


def another_market(frame: pl.DataFrame, rows: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    """The frame with every value of ``rows`` multiplied by its own random factor: no ratio stays what it was."""
    made = []
    for c in values(frame):
        dtype = frame.schema[c]
        if dtype.is_numeric() and dtype != pl.Int8:
            other = (frame[c] * rng.lognormal(0, 1, frame.height) + (0 if dtype.is_float() else 1)).cast(dtype)
            made.append(pl.when(rows).then(other).otherwise(pl.col(c)).alias(c))
    return frame.with_columns(made)


def _is_later(frame: pl.DataFrame, cut: datetime) -> pl.Series:
    """Rows that nobody knew when the minute ``cut`` was over (slow values: when it began)."""
    if "available_ts" in frame.columns:
        return frame["available_ts"] > cut
    if "end_ts" in frame.columns:
        return frame["end_ts"] >= cut + MINUTE
    return frame["ts"] > cut


def later(inputs: Inputs, cut: datetime, form: str, rng: np.random.Generator) -> Inputs:
    """The inputs with everything after the minute ``cut`` deleted, shuffled, or replaced by another market."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        is_later = _is_later(frame, cut)
        if form == "replace":
            return another_market(frame, is_later, rng)
        if form == "delete":
            if "ts" not in frame.columns:
                return frame.filter(~is_later)
            return frame.with_columns(pl.when(~is_later).then(pl.col(c)).alias(c) for c in values(frame))
        order = np.arange(frame.height)
        order[is_later.to_numpy()] = rng.permutation(order[is_later.to_numpy()])
        return frame.with_columns(frame[c].gather(order).alias(c) for c in values(frame))

    return over_all(inputs, change)


def looks_ahead(table: Table, build: Build, inputs: Inputs, rng: np.random.Generator, cuts: Iterable[int]) -> set[str]:
    """L1: columns of which a row up to a cut changes when what comes after the cut does."""
    whole, found = build(inputs), set()
    for cut in cuts:
        for form in ("delete", "shuffle", "replace"):
            again = build(later(inputs, inputs.trades["ts"][cut], form, rng))
            found |= same(whole.head(cut + 1), again.head(cut + 1), names(table))
    return found


def reads_more(
    table: Table, build: Build, inputs: Inputs, rng: np.random.Generator, only: Container[int] = range(1442)
) -> set[str]:
    """L2: columns of which the last row changes when what is older than its reach does; ``only`` these reaches."""
    whole, last, found = build(inputs), inputs.trades.height - 1, set()
    for reach in sorted({c.reach for c in table.features if c.reach is not None and c.reach in only}):
        first = inputs.trades["ts"][last - reach + 1]

        def older(frame: pl.DataFrame, first: datetime = first) -> pl.DataFrame:
            when = "end_ts" if "end_ts" in frame.columns else "ts"
            return another_market(frame, frame[when] < first, rng)

        buckets = None if inputs.buckets is None else older(inputs.buckets)
        again = build(replace(over_minutes(inputs, older), buckets=buckets))
        own = [c.name for c in table.features if c.reach == reach]
        found |= same(whole.tail(1), again.tail(1), own)
    return found


def reads_less(table: Table, build: Build, inputs: Inputs, rng: np.random.Generator, first: int) -> set[str]:
    """L2: windowed columns that row ``first`` does not move at the end of their reach (or its last tenth, for weights)."""
    start = inputs.trades["ts"][first]

    def one_row(frame: pl.DataFrame) -> pl.DataFrame:
        when = frame["end_ts" if "end_ts" in frame.columns else "ts"]
        return another_market(frame, (when >= start) & (when < start + MINUTE), rng)

    buckets = None if inputs.buckets is None else one_row(inputs.buckets)
    whole, again = build(inputs), build(replace(over_minutes(inputs, one_row), buckets=buckets))
    found = set()
    for c in table.features:
        reach = c.reach or 0
        if reach > 1:
            tail = slice(first + reach - max(1, reach // 10 if c.valid == "w80" else 1), first + reach)
            if whole[c.name][tail].equals(again[c.name][tail], null_equal=True):
                found.add(c.name)
    return found


def between(inputs: Inputs, first: datetime, last: datetime) -> Inputs:
    """The minutes (and buckets) of [first, last]; slow tables whole."""
    buckets = inputs.buckets
    if buckets is not None:
        buckets = buckets.filter(pl.col("end_ts") >= first, pl.col("end_ts") < last + MINUTE)
    made = over_minutes(inputs, lambda f: f.filter(pl.col("ts").is_between(first, last)))
    return replace(made, buckets=buckets)


def depends_on_partition(table: Table, build: Build, inputs: Inputs, rows: Iterable[int]) -> set[str]:
    """L3: columns that differ when built day by day, or one row at a time from its own 1,441 rows."""
    ts, whole, found = inputs.trades["ts"], build(inputs), set()
    for day in sorted(set(ts.dt.date()))[1:]:
        of_two = ts.filter(ts.dt.date().is_between(day - timedelta(days=1), day))
        alone = build(between(inputs, of_two[0], of_two[-1])).filter(pl.col("ts").dt.date() == day)
        found |= same(whole.filter(pl.col("ts").dt.date() == day), alone, names(table))
    for row in rows:
        one = build(between(inputs, ts[row - 1440], ts[row])).tail(1)
        found |= same(whole.slice(row, 1), one, names(table))
    return found


def scales_wrongly(
    table: Table, build: Build, inputs: Inputs, columns: set[str], factors: dict[str, float], scale: float
) -> set[str]:
    """L5, L6: columns that do not follow their unit when ``columns`` of all inputs are doubled."""

    def double(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col(c) * 2 for c in frame.columns if c in columns)

    buckets = None if inputs.buckets is None else double(inputs.buckets)
    plain, doubled = build(inputs), build(replace(over_minutes(inputs, double), buckets=buckets))
    return {
        c.name
        for c in table.features
        if not close(plain[c.name] * factors.get(c.unit, 1.0), doubled[c.name], scale if c.unit == "USD" else 0.0)
    }


def moves_with_the_week(table: Table, build: Build, inputs: Inputs) -> set[str]:
    """L10: columns that change when all data move by 7 whole days."""

    def move(frame: pl.DataFrame) -> pl.DataFrame:
        moments = [c for c, kind in frame.schema.items() if kind.is_temporal()]
        return frame.with_columns(pl.col(c) + timedelta(days=7) for c in moments)

    return same(build(inputs), build(over_all(inputs, move)), names(table))


def not_plain(table: Table, frame: pl.DataFrame) -> set[str]:
    """L11: columns with NaN or infinity."""
    floats = [c.name for c in table.features if c.dtype == pl.Float64()]
    return {c for c in floats if not frame[c].is_finite().fill_null(value=True).all()}


def out_of_range(table: Table, frame: pl.DataFrame) -> set[str]:
    """L13: columns that leave their range."""
    return {c.name for c in table.features if frame.select(c.limits.violated(c.name).sum()).item() > 0}


def dead(inputs: Inputs, kind: str) -> Inputs:
    """L12: a constant price without trade, a frame of gaps, or one trade an hour."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        if kind == "gaps":
            return frame.with_columns(pl.lit(None, frame.schema[c]).alias(c) for c in values(frame))
        prices = [pl.lit(100.0).alias(c) for c in frame.columns if c in PRICES]
        events = [c for c in frame.columns if c in VALUES | {"volume", "ofi_coin", "remove_coin"} or c.endswith("_n")]
        events += [c for c in ("buy_volume", "sell_volume") if c in frame.columns]
        silent = pl.lit(value=True) if kind == "constant" else pl.col("ts").dt.minute() != 0
        nothing = [pl.when(silent).then(0).otherwise(pl.col(c)).cast(frame.schema[c]).alias(c) for c in events]
        made = frame.with_columns(prices + nothing)
        if kind == "one trade an hour" and "close" in frame.columns:
            made = made.with_columns(pl.when(~silent).then(pl.col(c)).alias(c) for c in frame.columns if c in PRICES)
        return made

    return over_minutes(inputs, change)


def transformed(table: Table, frame: pl.DataFrame, close_: pl.Series) -> dict[str, np.ndarray]:
    """The numeric model inputs of a set after their transform."""
    made = {}
    for c in table.features:
        x = frame[c.name].cast(pl.Float64)
        if c.transform == "as_is":
            made[c.name] = x.to_numpy()
        elif c.transform == "log1p":
            made[c.name] = (1 + x).log().to_numpy()
        elif c.transform == "log_vs_close":
            made[c.name] = (x / close_).log().to_numpy()
        elif c.transform == "over_close":
            made[c.name] = (x / close_).to_numpy()
    return made


def twin_columns(columns: dict[str, np.ndarray]) -> tuple[set[tuple[str, str]], float]:
    """L14: pairs with abs(correlation) > 0.9999, and the smallest singular value's share of the standardised matrix."""
    matrix = np.column_stack(list(columns.values()))
    matrix = matrix[~np.isnan(matrix).any(axis=1)]
    standard = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    alike = np.argwhere(np.triu(np.abs(np.corrcoef(standard.T)), 1) > 0.9999)
    order = list(columns)
    singular = np.linalg.svd(standard, compute_uv=False)
    return {(order[i], order[j]) for i, j in alike}, float(singular[-1] / singular.sum())
