"""The laws of features as questions about any set: each returns the names of the columns that break it.

``build`` takes ``Inputs`` and returns ts and the table's features. Not here: the markets (``every_source.py``), the sets
(``subjects.py``), what the answer must be (``test_laws.py``).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.schema import Table

Build = Callable[[Inputs], pl.DataFrame]
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
PRICE_FACTOR = {"USD": 2.0, "USDv": 2.0, "bps/M$": 0.5}
SIZE_FACTOR = {"USDv": 2.0, "coin": 2.0, "bps/M$": 0.5}
ROUNDING = {
    "bps": 1e4,
    "bps/M$": 1e4,
    "z": 1e2,
    "1": 1e2,
}  # what the rounding of a logarithm or a mean is multiplied by


def names(table: Table) -> list[str]:
    return [c.name for c in table.features]


def values(frame: pl.DataFrame) -> list[str]:
    return [c for c in frame.columns if c not in KEYS]


def over_minutes(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with every minute frame and the buckets changed."""
    buckets = None if inputs.buckets is None else change(inputs.buckets)
    return replace(inputs.minutes(change), buckets=buckets)


def over_all(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with every frame changed: minutes, buckets, slow tables."""
    return replace(over_minutes(inputs, change), slow={n: change(f) for n, f in inputs.slow.items()})


def same(a: pl.DataFrame, b: pl.DataFrame, columns: Iterable[str]) -> set[str]:
    """The columns that are not equal bit for bit, nulls included."""
    return {c for c in columns if not a[c].equals(b[c], null_equal=True)}


def close(a: pl.Series, b: pl.Series, scale: float = 1.0) -> bool:
    """Equal null masks, values to 1e-9 relative and 1e-12 absolute (of ``scale``, the size of what was subtracted)."""
    if (a.is_null() != b.is_null()).any():
        return False
    x, y = a.drop_nulls().cast(pl.Float64).to_numpy(), b.drop_nulls().cast(pl.Float64).to_numpy()
    return bool(np.allclose(x, y, rtol=1e-9, atol=1e-12 * scale))


def unequal(
    table: Table, a: pl.DataFrame, b: pl.DataFrame, price: float, factors: dict[str, float] | None = None
) -> set[str]:
    """The columns of ``a``, times the factor of their unit, that are not ``close`` to those of ``b``."""
    found = set()
    for c in table.features:
        scale = price if c.unit == "USD" else ROUNDING.get(c.unit, 1.0)
        x, y = a[c.name].cast(pl.Float64), b[c.name].cast(pl.Float64)
        if not close(x * (factors or {}).get(c.unit, 1.0), y, scale):
            found.add(c.name)
    return found


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


# --- L1: no look-ahead ------------------------------------------------------------------------------


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
            elif form == "shuffle":
                order, rows = np.arange(frame.height), late.arg_true().to_numpy()
                order[rows] = np.roll(rows, 1 + int(rng.integers(max(1, len(rows) - 1))))
                made.append(frame[c].gather(order))
            else:
                made.append(frame[c].zip_with(~late, other[c]))
        return frame.with_columns(made)

    return over_all(inputs, change)


def telling_cuts(inputs: Inputs, rng: np.random.Generator) -> list[int]:
    """At least eight: random, midnight, first and last row, a gap's edges, the minute before something slow arrives."""
    ts, lost = inputs.trades["ts"], inputs.trades["close"].is_null().arg_true()
    n = len(ts)
    cuts = {0, 1439, 1440, n - 2, *rng.integers(1440, n - 1, 3).tolist()}
    cuts |= {int(lost[-1]) - 1, int(lost[-1])} if len(lost) else set()
    for frame in inputs.slow.values():
        coming = frame.filter(pl.col("available_ts") > ts[1440], pl.col("available_ts") <= ts[n - 1])
        if frame.height and coming.height:
            cuts.add(int(ts.search_sorted(coming["available_ts"].max())) - 1)
    if inputs.buckets is not None:
        on_time = inputs.buckets.filter(pl.col("end_ts").is_in(ts.slice(1440).implode()))["end_ts"]
        cuts |= {int(ts.search_sorted(on_time[0])) - 1} if len(on_time) else set()
    return sorted(cut for cut in cuts if 0 <= cut < n - 1)


def looks_ahead(
    table: Table,
    build: Build,
    inputs: Inputs,
    rng: np.random.Generator,
    cuts: Iterable[int],
    forms: Iterable[str] = FORMS,
) -> set[str]:
    """L1: columns of which a row up to a cut changes when what comes after the cut does."""
    whole, found = build(inputs), set()
    for cut in cuts:
        for form in forms:
            again = build(later(inputs, inputs.trades["ts"][cut], form, rng))
            found |= same(whole.head(cut + 1), again.head(cut + 1), names(table))
    return found


def minutes_look_ahead(
    build: Callable[..., pl.DataFrame], ticks: tuple[pl.DataFrame, ...], cuts: Iterable[datetime]
) -> set[str]:
    """L1 of bars: columns of which a minute up to a cut changes when what was received after its end does."""
    whole, found = build(*ticks), set()
    for cut in cuts:
        changed = []
        for frame in ticks:
            prices = [c for c in ("price", "amount") if c in frame.columns]
            late = pl.col("ts_received") >= cut + MINUTE
            changed.append(frame.with_columns(pl.when(late).then(pl.col(c) * 1.5).otherwise(pl.col(c)) for c in prices))
        again = build(*changed)
        known = whole["ts"] <= cut
        found |= same(whole.filter(known), again.filter(known), values(whole))
    return found


# --- L2, L3: reach and partitions -------------------------------------------------------------------


def _is_older(frame: pl.DataFrame, moment: datetime) -> pl.Series:
    return frame["end_ts" if "end_ts" in frame.columns else "ts"] < moment


def reads_more(table: Table, build: Build, inputs: Inputs, rng: np.random.Generator) -> set[str]:
    """L2: columns of which the last row changes when what is older than its reach does."""
    whole, last, found = build(inputs), inputs.trades.height - 1, set()
    for reach in sorted({c.reach for c in table.features if c.reach is not None}):
        first = inputs.trades["ts"][last - reach + 1]
        older = over_minutes(inputs, lambda f, first=first: another_market(f, _is_older(f, first), rng))
        own = [c.name for c in table.features if c.reach == reach]
        found |= same(whole.tail(1), build(older).tail(1), own)
    return found


def reads_less(
    table: Table, build: Build, inputs: Inputs, rng: np.random.Generator, candidates: Iterable[int]
) -> set[str]:
    """L2: windowed columns that no candidate row moves at the end of their reach (or its last tenth, for weights).

    One row is changed at a time; it can be without effect on a maximum, say, so several are tried.
    """
    whole, left = build(inputs), {c.name: c for c in table.features if c.reach is not None and c.reach > 1}
    for row in candidates:
        start = inputs.trades["ts"][row]

        def one_row(frame: pl.DataFrame, start: datetime = start) -> pl.DataFrame:
            return another_market(frame, ~_is_older(frame, start) & _is_older(frame, start + MINUTE), rng)

        again = build(over_minutes(inputs, one_row))
        for name, c in list(left.items()):
            reach = c.reach or 0
            tail = slice(row + reach - max(1, reach // 10 if c.valid.startswith("w80") else 1), row + reach)
            if not whole[name][tail].equals(again[name][tail], null_equal=True):
                del left[name]
        if not left:
            break
    return set(left)


def between(inputs: Inputs, first: datetime, last: datetime) -> Inputs:
    """The minutes (and buckets) of [first, last]; slow tables whole."""

    def inside(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(~_is_older(frame, first) & _is_older(frame, last + MINUTE))

    return over_minutes(inputs, inside)


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


# --- L4 to L10: twins, units, other markets, sides, weeks ---------------------------------------------


def unlike_twin(
    table: Table, build: Build, twin: Callable[[Inputs, list[int]], pl.DataFrame], inputs: Inputs, rows: Iterable[int]
) -> set[str]:
    """L4, L11: columns with other values, or other nulls, than the slow twin's in these rows."""
    chosen = sorted(rows)
    price = float(inputs.trades["close"].max())  # type: ignore[arg-type]
    return unequal(table, build(inputs)[chosen], twin(inputs, chosen), price)


def scales_wrongly(
    table: Table, build: Build, inputs: Inputs, columns: set[str], factors: dict[str, float]
) -> set[str]:
    """L5, L6: columns that do not follow their unit when ``columns`` of all inputs are doubled."""

    def double(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col(c) * 2 for c in frame.columns if c in columns)

    price = float(inputs.trades["close"].max())  # type: ignore[arg-type]
    return unequal(table, build(inputs), build(over_all(inputs, double)), price, factors)


def changed_by(table: Table, build: Build, inputs: Inputs, other: Inputs) -> set[str]:
    """L7, L8: columns that ``other`` inputs change."""
    return same(build(inputs), build(other), names(table))


def moved_by_the_week(table: Table, build: Build, inputs: Inputs) -> set[str]:
    """L10: columns that change when all data move back by 7 whole days."""

    def move(frame: pl.DataFrame) -> pl.DataFrame:
        moments = [c for c, kind in frame.schema.items() if kind.is_temporal()]
        return frame.with_columns(pl.col(c) - timedelta(days=7) for c in moments)

    return changed_by(table, build, inputs, over_all(inputs, move))


# --- L11 to L14: what values may be -------------------------------------------------------------------


def not_plain(table: Table, frame: pl.DataFrame) -> set[str]:
    """L11: columns with NaN or infinity."""
    floats = [c.name for c in table.features if c.dtype == pl.Float64()]
    return {c for c in floats if not frame[c].is_finite().fill_null(value=True).all()}


def miscounts(table: Table, build: Build, inputs: Inputs) -> set[str]:
    """L11: columns N of N/w that are null with the oldest w − N rows of their reach lost, or not null with one more.

    Columns of one window, over rows or over changes from row to row; the last row is looked at.
    """
    found, last = set(), inputs.trades.height - 1
    windows: dict[tuple[int, int], list[str]] = {}
    for c in table.features:
        need, _, w = c.valid.partition("/")
        if need.isdigit() and w.isdigit() and c.reach in (int(w), int(w) + 1):
            windows.setdefault((c.reach, int(w) - int(need)), []).append(c.name)
    for (reach, spare), columns in windows.items():
        for holes in (spare, spare + 1):
            first = last - reach + 1
            made = build(without(inputs, range(first, first + holes)))
            found |= {c for c in columns if (made[c][last] is None) != (holes > spare)}
    return found


def out_of_range(table: Table, frame: pl.DataFrame) -> set[str]:
    """L13: columns that leave their range."""
    return {c.name for c in table.features if frame.select(c.limits.violated(c.name).sum()).item() > 0}


def dead(inputs: Inputs, kind: str) -> Inputs:
    """L12: a constant price without trade, a frame of gaps, or one trade an hour; slow tables that never move."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        if kind == "gaps":
            return frame.with_columns(pl.lit(None, frame.schema[c]).alias(c) for c in values(frame))
        if "ts" not in frame.columns:
            still = [c for c in values(frame) if frame.schema[c].is_numeric()]
            return frame.with_columns(pl.lit(1.0).alias(c) for c in still)
        prices = [pl.lit(100.0).alias(c) for c in frame.columns if c in PRICES]
        events = [c for c in frame.columns if c in VALUES | {"volume", "ofi_coin", "remove_coin"} or c.endswith("_n")]
        events += [c for c in ("buy_volume", "sell_volume") if c in frame.columns]
        silent = pl.lit(value=True) if kind == "constant" else pl.col("ts").dt.minute() != 0
        nothing = [pl.when(silent).then(0).otherwise(pl.col(c)).cast(frame.schema[c]).alias(c) for c in events]
        made = frame.with_columns(prices + nothing)
        if kind == "one trade an hour" and "close" in frame.columns:
            made = made.with_columns(pl.when(~silent).then(pl.col(c)).alias(c) for c in frame.columns if c in PRICES)
        return made

    made = over_all(inputs, change)
    return replace(made, buckets=None if made.buckets is None else made.buckets.head(0)) if kind == "gaps" else made


def transformed(table: Table, frame: pl.DataFrame, close_: pl.Series) -> dict[str, np.ndarray]:
    """The numeric model inputs of a set after their transform."""
    into: dict[str, Callable[[pl.Series], pl.Series]] = {
        "as_is": lambda x: x,
        "log1p": lambda x: (1 + x).log(),
        "log_vs_close": lambda x: (x / close_).log(),
        "over_close": lambda x: x / close_,
    }
    inputs = [c for c in table.features if c.is_input and c.transform != "category"]
    return {c.name: into[c.transform](frame[c.name].cast(pl.Float64)).to_numpy() for c in inputs}


def twin_columns(columns: dict[str, np.ndarray]) -> tuple[set[tuple[str, str]], float]:
    """L14: pairs with abs(correlation) > 0.9999, and the smallest singular value's share of the standardised matrix."""
    matrix = np.column_stack(list(columns.values()))
    matrix = matrix[~np.isnan(matrix).any(axis=1)]
    standard = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    alike = np.argwhere(np.triu(np.abs(np.corrcoef(standard.T)), 1) > 0.9999)
    order = list(columns)
    singular = np.linalg.svd(standard, compute_uv=False)
    return {(order[i], order[j]) for i, j in alike}, float(singular[-1] / singular.sum())
