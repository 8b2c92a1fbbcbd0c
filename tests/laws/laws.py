"""The laws of features as questions about any set: each returns the names of the columns that break it.

``build`` takes ``Inputs`` and returns ts and the table's features. Not here: how a market is changed (``changes.py``),
holes (``holes.py``), the sets (``subjects.py``), what the answer must be (``test_laws.py``).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
from laws.changes import (
    FORMS,
    MINUTE,
    another_market,
    between,
    doubled,
    is_older,
    later,
    later_ticks,
    moved,
    over_all,
    over_minutes,
    swapped,
    values,
)

from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.tables.schema import Table

PRICE_FACTOR = {"USD": 2.0, "USDv": 2.0, "bps/M$": 0.5}
SIZE_FACTOR = {"USDv": 2.0, "coin": 2.0, "bps/M$": 0.5}
ROUNDING = {"bps": 1e4, "bps/M$": 1e4, "z": 1e2, "1": 1e2}  # what the rounding of a logarithm or a mean is times


def names(table: Table) -> list[str]:
    return [c.name for c in table.features]


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


def telling_cuts(inputs: Inputs, rng: np.random.Generator) -> list[int]:
    """At least eight: random, midnight, first and last row, a gap's edges, the minute before something slow arrives."""
    ts, lost = inputs.trades["ts"], inputs.trades["close"].is_null().arg_true()
    last = len(ts) - 3  # two later minutes at least: one alone cannot be shuffled
    cuts = {0, 1439, 1440, last, *rng.integers(1440, last, 3).tolist()}
    cuts |= {int(lost[-1]) - 1, int(lost[-1])} if len(lost) else set()
    for frame in inputs.slow.values():
        coming = frame.filter(pl.col("available_ts") > ts[1440], pl.col("available_ts") <= ts[last])
        if frame.height and coming.height:
            cuts.add(int(ts.search_sorted(coming["available_ts"].max())) - 1)
    if inputs.buckets is not None:
        on_time = inputs.buckets.filter(pl.col("end_ts").is_in(ts.slice(1440).implode()))["end_ts"]
        cuts |= {int(ts.search_sorted(on_time[0])) - 1} if len(on_time) else set()
    return sorted(cut for cut in cuts if 0 <= cut <= last)


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
    build: Callable[..., pl.DataFrame],
    ticks: tuple[pl.DataFrame, ...],
    rng: np.random.Generator,
    cuts: Iterable[datetime],
    forms: Iterable[str] = FORMS,
) -> set[str]:
    """L1 of bars: columns of which a minute up to a cut changes when what was received after its end does."""
    whole, found = build(*ticks), set()
    for cut, form in product(cuts, forms):
        again = build(*(later_ticks(frame, cut, form, rng) for frame in ticks))
        known = whole["ts"] <= cut
        found |= same(whole.filter(known), again.filter(known), values(whole))
    return found


# --- L2, L3: reach and partitions -------------------------------------------------------------------


def reads_more(table: Table, build: Build, inputs: Inputs, rng: np.random.Generator) -> set[str]:
    """L2: columns of which the last row changes when what is older than its reach does."""
    whole, last, found = build(inputs), inputs.trades.height - 1, set()
    for reach in sorted({c.reach for c in table.features if c.reach is not None}):
        first = inputs.trades["ts"][last - reach + 1]
        older = over_minutes(inputs, lambda f, first=first: another_market(f, is_older(f, first), rng))
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
            return another_market(frame, ~is_older(frame, start) & is_older(frame, start + MINUTE), rng)

        again = build(over_minutes(inputs, one_row))
        for name, c in list(left.items()):
            reach = c.reach or 0
            tail = slice(row + reach - max(1, reach // 10 if c.valid.startswith("w80") else 1), row + reach)
            if not whole[name][tail].equals(again[name][tail], null_equal=True):
                del left[name]
        if not left:
            break
    return set(left)


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
    price = float(inputs.trades["close"].max())  # type: ignore[arg-type]
    return unequal(table, build(inputs), build(doubled(inputs, columns)), price, factors)


def changed_by(table: Table, build: Build, inputs: Inputs, other: Inputs) -> set[str]:
    """L7, L8: columns that ``other`` inputs change."""
    return same(build(inputs), build(other), names(table))


def moved_by_the_week(table: Table, build: Build, inputs: Inputs) -> set[str]:
    """L10: columns that change when all data move back by 7 whole days."""
    return changed_by(table, build, inputs, moved(inputs, -timedelta(days=7)))


def venues_wrongly(table: Table, build: Build, inputs: Inputs, rng: np.random.Generator) -> set[str]:
    """L8: columns that other venues' markets change and that do not declare it, or declare it and do not change."""

    def strange(frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return {v: another_market(f, pl.Series([True] * f.height), rng) for v, f in frames.items()}

    many = {n: strange(getattr(inputs, n)) for n in ("venue_trades", "venue_books", "derivatives")}
    declared = {c.name for c in table.features if any(":" in read.partition(".")[0] for read in c.reads)}
    flags = {c.name for c in table.features if c.dtype == pl.Int8()}  # are not multiplied
    return changed_by(table, build, inputs, replace(inputs, **many)) ^ (declared - flags)


FLIPS = {"imbalance", "imbalance_ma5", "ob_imbalance_1", "ob_imbalance_5", "ob_imbalance_10", "ob_imbalance_25",
         "ofi_1m", "ofi_15m", "aggressor_flow", "trade_flow_net_ratio", "trade_flow_net_ratio_15m",
         "trade_flow_count_ratio", "flow_zscore", "liq_imbalance_1h", "kyle_lambda_30m", "effective_spread_bps",
         "price_impact_bps_5s", "ix_imbalance_vol", "ix_spread_imbalance", "ix_zscore_flow"}  # fmt: skip
OTHER_SIDE = {"trade_flow_buy": "trade_flow_sell", "trade_flow_sell": "trade_flow_buy"}


def sides_wrongly(table: Table, build: Build, inputs: Inputs) -> set[str]:
    """L9: columns that do not turn, or do not stay, when the sides are changed over."""
    plain, other, found = build(inputs), build(over_all(inputs, swapped)), set()
    for column in table.features:
        c, scale = column.name, ROUNDING.get(column.unit, 1.0)
        if c == "microprice_dev_bps":  # flips to first order
            right = np.allclose(-plain[c].to_numpy(), other[c].to_numpy(), rtol=1e-2, atol=1e-3, equal_nan=True)
        else:
            right = close(-plain[c] if c in FLIPS else plain[OTHER_SIDE.get(c, c)], other[c], scale)
        found |= set() if right else {c}
    return found


# --- L11 to L14: what values may be -------------------------------------------------------------------


def not_plain(table: Table, frame: pl.DataFrame) -> set[str]:
    """L11: columns with NaN or infinity."""
    floats = [c.name for c in table.features if c.dtype == pl.Float64()]
    return {c for c in floats if not frame[c].is_finite().fill_null(value=True).all()}


def out_of_range(table: Table, frame: pl.DataFrame) -> set[str]:
    """L13: columns that leave their range."""
    return {c.name for c in table.features if frame.select(c.limits.violated(c.name).sum()).item() > 0}


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
