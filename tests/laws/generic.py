"""The laws as questions about any set: each takes (table, build, inputs) and returns the columns that break it.

``build`` takes ``Inputs`` and returns ts, features and flags. Not here: the sets (one test module each), and the laws
of V4 and V5, which read two frames only (``test_feature_laws.py``).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import polars as pl

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.schema import Table

Build = Callable[[Inputs], pl.DataFrame]
Change = Callable[[pl.DataFrame], pl.DataFrame]

KEYS = (
    "ts",
    "symbol",
    "currency",
    "series_id",
    "obs_day",
    "hour",
    "available_ts",
    "wiki_available_ts",
    "end_ts",
    "venue",
)
UNITS = {"bps": 1e4, "bps/M$": 1e4, "z": 1e2, "1": 1e2}  # what rounding of the inputs is multiplied by


def names(table: Table) -> list[str]:
    return [c.name for c in table.features]


def values(frame: pl.DataFrame) -> list[str]:
    return [c for c in frame.columns if c not in KEYS]


def with_minutes(inputs: Inputs, change: Change) -> Inputs:
    """The inputs with ``change`` applied to every minute frame."""
    one = {
        n: None if (f := getattr(inputs, n)) is None else change(f) for n in ("trades", "book", "partner_book", "fx")
    }
    many = {
        n: {v: change(f) for v, f in getattr(inputs, n).items()} for n in ("venue_trades", "venue_books", "derivatives")
    }
    return replace(inputs, **one, **many)


def with_slow(inputs: Inputs, change: Change) -> Inputs:
    return replace(inputs, slow={letter: change(f) for letter, f in inputs.slow.items()})


def rows(inputs: Inputs, start: int, length: int) -> Inputs:
    """The same slow tables under a stretch of the minutes."""
    return with_minutes(inputs, lambda f: f.slice(start, length))


def differing(a: pl.DataFrame, b: pl.DataFrame, table: Table) -> set[str]:
    """Columns that are not equal bit for bit, nulls included."""
    return {c for c in names(table) if not a[c].equals(b[c], null_equal=True)}


def unequal(
    a: pl.DataFrame, b: pl.DataFrame, table: Table, size: float, factors: dict[str, float] | None = None
) -> list[str]:
    """Columns with other nulls, or with values further apart than 1e-9 relative and 1e-12 absolute.

    The absolute part is of the inputs' size: a difference of prices carries the rounding of the prices.
    """
    wrong = []
    for c in table.features:
        x, y = (f[c.name].cast(pl.Float64).to_numpy() for f in (a, b))
        absolute = 1e-12 * (size if c.unit == "USD" else UNITS.get(c.unit, 1.0))
        x = x * (factors or {}).get(c.unit, 1.0)
        if not np.allclose(x, y, rtol=1e-9, atol=absolute, equal_nan=True):
            wrong.append(c.name)
    return wrong


def _later_rows(frame: pl.DataFrame, late: pl.Series, form: str, rng: np.random.Generator) -> pl.DataFrame:
    kept, tail = frame.filter(~late), frame.filter(late)
    if form == "delete":
        changed = tail.with_columns(pl.lit(None, tail.schema[c]).alias(c) for c in values(tail))
    elif form == "shuffle":
        order = pl.Series(rng.permutation(tail.height), dtype=pl.UInt32)
        changed = tail.with_columns(tail[c].gather(order).alias(c) for c in values(tail))
    else:
        numbers = [c for c in values(tail) if tail.schema[c].is_numeric()]
        changed = tail.with_columns((pl.col(c) * 10).cast(tail.schema[c]).alias(c) for c in numbers)
    return pl.concat([kept, changed])


def perturbed(inputs: Inputs, cut: int, form: str, rng: np.random.Generator) -> Inputs:
    """What was not known at minute ``cut``: deleted, shuffled, or another market's."""
    moment = inputs.trades["ts"][cut]
    minutes = with_minutes(inputs, lambda f: _later_rows(f, f["ts"] > moment, form, rng))

    def slow(f: pl.DataFrame) -> pl.DataFrame:
        if "wiki_available_ts" in f.columns:  # two availabilities: what is late on either clock is late there only
            views = _later_rows(f, f["wiki_available_ts"] > moment, form, rng).select(
                "symbol", "obs_day", "wiki_views_n"
            )
            rest = _later_rows(f, f["available_ts"] > moment, form, rng).drop("wiki_views_n")
            return rest.join(views, on=["symbol", "obs_day"])
        late = f["available_ts"] > moment
        return f.filter(~late) if form == "delete" else _later_rows(f, late, form, rng)

    return with_slow(minutes, slow)


def looks_ahead(table: Table, build: Build, inputs: Inputs, cuts: Iterable[int], rng: np.random.Generator) -> set[str]:
    """Columns of which a row up to a cut changes when what becomes known after it does (L1)."""
    whole, found = build(inputs), set()
    for cut in cuts:
        for form in ("delete", "shuffle", "replace"):
            again = build(perturbed(inputs, cut, form, rng))
            found |= differing(whole.head(cut + 1), again.head(cut + 1), table)
    return found


def _times(frame: pl.DataFrame, where: pl.Series, factor: float) -> pl.DataFrame:
    # Each column by a factor of its own, or their ratios would stay.
    numbers = [(c, factor ** (1 + i / 7)) for i, c in enumerate(values(frame)) if frame.schema[c].is_float()]
    return frame.with_columns(pl.when(where).then(pl.col(c) * x).otherwise(pl.col(c)).alias(c) for c, x in numbers)


def reads_too_far(table: Table, build: Build, inputs: Inputs) -> set[str]:
    """Columns of the last row that change with rows older than their reach (L2)."""
    n, whole, found = inputs.trades.height, build(inputs).tail(1), set()
    index = pl.Series(range(n))
    for reach in {c.reach for c in table.features}:
        older = with_minutes(inputs, lambda f, reach=reach: _times(f, index <= n - 1 - reach, 1.5))
        own = {c.name for c in table.features if c.reach == reach}
        found |= own & differing(whole, build(older).tail(1), table)
    return found


def reads_too_little(table: Table, build: Build, inputs: Inputs, candidates: Iterable[int]) -> set[str]:
    """Windowed columns that ignore their oldest row: one row is changed, the rows that reach back to it are looked at.

    A column must show it for one of the ``candidates``: a row can be without effect on a maximum, say.
    """
    whole, index = build(inputs), pl.Series(range(inputs.trades.height))
    left = {c.name: c for c in table.features if c.reach != 1}
    for row in candidates:
        for x in (3.0, 1 / 3, 1.0003):
            changed = build(with_minutes(inputs, lambda f, row=row, x=x: _times(f, index == row, x)))
            for name, c in list(left.items()):
                # The last tenth of the reach: an exponential tail is lost in rounding at its very last row.
                first = row + (c.reach - 1 if not c.valid.startswith("w80") else int(0.9 * c.reach))
                span = slice(first, row + c.reach)
                if not whole[name][span].equals(changed[name][span], null_equal=True):
                    del left[name]
            if not left:
                return set()
    return set(left)


def depends_on_partition(table: Table, build: Build, inputs: Inputs, single: Iterable[int]) -> set[str]:
    """Columns that differ between all days at once, two days at a time, and one row from its own 1,441 (L3)."""
    whole, found = build(inputs), set()
    for day in range(1, inputs.trades.height // 1440):
        alone = build(rows(inputs, 1440 * (day - 1), 2880)).tail(1440)
        found |= differing(whole.slice(1440 * day, 1440), alone, table)
    for row in single:
        alone = build(rows(inputs, row - 1440, 1441)).tail(1)
        found |= differing(whole.slice(row, 1), alone, table)
    return found


def unhealthy(table: Table, made: pl.DataFrame) -> list[str]:
    """Columns with a value that is NaN, infinite or outside the stated range (L11, L12, L13)."""
    return [
        c.name
        for c in table.features
        if not made[c.name].cast(pl.Float64).is_finite().fill_null(True).all()
        or made.select(c.limits.violated(c.name).sum()).item() > 0
    ]


def twin_columns(table: Table, made: pl.DataFrame) -> tuple[float, list[tuple[str, str]]]:
    """Smallest share of a singular value of the standardised inputs, and pairs with abs(corr) > 0.9999 (L14)."""
    inputs = [c for c in table.features if c.is_input and c.transform != "category"]
    close = pl.col("close") if "close" in made.columns else pl.lit(1.0)
    into = {
        "as_is": lambda x: x,
        "log1p": lambda x: x.log1p(),
        "log_vs_close": lambda x: (x / close).log(),
        "over_close": lambda x: x / close,
    }
    chosen = made.select(into[c.transform](pl.col(c.name).cast(pl.Float64)).alias(c.name) for c in inputs)
    matrix = chosen.drop_nulls().to_numpy()
    matrix = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    correlation = np.triu(matrix.T @ matrix / len(matrix), 1)
    pairs = [(inputs[i].name, inputs[j].name) for i, j in zip(*np.nonzero(np.abs(correlation) > 0.9999), strict=True)]
    singular = np.linalg.svd(matrix, compute_uv=False)
    return float(singular[-1] / singular.sum()), pairs
