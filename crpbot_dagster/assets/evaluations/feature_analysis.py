"""What a feature set holds of one symbol over a span of days, column by column, and which columns say something.

Pure: no lake, no clock, no setting; the same rows give the same numbers. How one column is measured: ``association.py``
(label, other columns), ``drift.py``, ``importance.py``. Not here: the page (``feature_page.py``), its wiring
(``assets.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from crpbot_dagster.assets.evaluations.association import (
    LEAST_MEMORIES,
    Information,
    Redundancy,
    benjamini_hochberg,
    correlation,
    memories,
    mutual_information,
    redundancy,
    simes,
)
from crpbot_dagster.assets.evaluations.day_blocks import Days, Estimate, Floats, Ints
from crpbot_dagster.assets.evaluations.drift import DRIFT_LEVELS, Drift, Span, drifts, spans
from crpbot_dagster.assets.evaluations.importance import Importance, permutation_importance
from crpbot_dagster.assets.evaluations.metrics import KNOWN_AFTER
from crpbot_dagster.assets.models.dataset import input_values, inputs
from crpbot_dagster.assets.models.gradient_boosting import fit_quick
from crpbot_dagster.assets.models.validation import effective_n
from crpbot_dagster.tables.analyses import COLUMNS, QUANTILES
from crpbot_dagster.tables.schema import Column, Table

FALSE_DISCOVERIES = 0.05  # the share of wrong inputs that is accepted among those said to stand out
LIFE_MIN = 16  # a label's: every 16th minute has labels that share no moment
MOST_COMPARED_ROWS = 20_000  # columns among each other
KEYS = ["symbol", "venue", "ts"]


@dataclass(frozen=True)
class Analysis:
    """The numbers of one feature set and symbol.

    ``columns`` has a row per feature (``tables/analyses.py``), best first; ``nulls`` a row per day with each feature's
    null share. ``inputs`` names the columns of ``redundancy``. ``drifts`` has one entry per span after the
    first, of each input that reads more than the clock.
    """

    feature_set: str
    symbol: str
    first: date
    last: date
    seed: int
    columns: pl.DataFrame
    nulls: pl.DataFrame
    inputs: tuple[str, ...]
    redundancy: Redundancy
    information: Information
    importance: Importance | None
    spans: tuple[Span, ...]
    drifts: dict[str, list[Drift | None]]
    minutes_n: int
    labelled_n: int
    n_eff: float

    @property
    def days_n(self) -> int:
        """Days that were looked at."""
        return self.nulls.height

    @property
    def standing_out(self) -> list[str]:
        """The inputs that stand out, best first."""
        return self.columns.filter("stands_out")["feature"].to_list()


def in_words(columns: pl.DataFrame) -> str:
    """Return what was found, in one sentence; ``columns`` as in ``Analysis``."""
    read = columns.filter("is_input").sort("rank_n")
    found, levels = read.filter("stands_out")["feature"].to_list(), read["is_level"].sum()
    untested = f" Not tested, as they linger too long for so few days: {levels}." if levels else ""
    if read["p"].null_count() == read.height:
        return f"Nothing could be tested of the {read.height} model inputs.{untested}"
    if not found:
        return f"None of the {read.height} model inputs stands out: their order here is that of noise.{untested}"
    shown = ", ".join(found[:12]) + (" …" if len(found) > 12 else "")
    stand = "stand" if len(found) > 1 else "stands"
    return f"{len(found)} of the {read.height} model inputs {stand} out: {shown}.{untested}"


def standing(row: Mapping[str, Any]) -> str:
    """Return in words whether an input stands out; ``row`` of ``Analysis.columns``."""
    if row["is_level"]:
        return "level: not tested"
    return "yes" if row["stands_out"] else "no"


def summary(columns: pl.DataFrame) -> dict[str, str]:
    """Return what is told first: what was found, the worst coverage, the strongest drift."""
    worst = columns.sort("null_frac", descending=True).row(0, named=True)
    coverage = "no feature is ever null"
    if worst["null_frac"] > 0:
        coverage = (
            f"{worst['feature']}: null in {100 * worst['null_frac']:.2f} % of the minutes, "
            f"{100 * worst['worst_day_null_frac']:.2f} % on {worst['worst_day']}"
        )
    moved = columns.drop_nulls("drift_psi").sort(pl.col("drift_psi") / pl.col("drift_limit"), descending=True)
    drifted = "too few days to compare"
    if moved.height:
        m = moved.row(0, named=True)
        drifted = (
            f"{m['feature']}: PSI {m['drift_psi']:.2f} against a limit of {m['drift_limit']:.2f}, "
            f"{m['drift_since']} to {m['drift_until']} ({m['drift_level']})"
        )
    return {"found": in_words(columns), "worst_coverage": coverage, "strongest_drift": drifted}


def analyse(features: pl.DataFrame, labels: pl.DataFrame, feature_set: str, table: Table, seed: int) -> Analysis:
    """Return what ``features`` of one symbol hold over their days, beside the ``labels`` of the same minutes.

    Drift, correlation, information, redundancy and importance are those of the columns as a model reads them; a column
    that no model reads has none. Every correlation, and the importance of the input's cluster, is a test of "nothing is
    there"; together they give the input one p-value, and it *stands out* when its false discovery rate among all inputs
    is at most 5 %. A *level*, which lingers as a price does (``association.memories``), is not tested.
    """
    joined = features.join(labels, on=KEYS, how="left", validate="1:1", suffix="_label").sort("ts")
    day = joined["ts"].dt.date().to_numpy()
    values = input_values(joined, table)
    names = tuple(c.name for c in values)
    # The number of a category is only its name: it goes with no other column, and a model reads a flag per value.
    x = np.column_stack([np.full(len(v), np.nan) if c.transform == "category" else v for c, v in values.items()])
    width = [len(c.limits.members) - 1 if c.transform == "category" else 1 for c in values]
    up = joined["y_up_15m"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    y = joined["y_ret_15m"].fill_null(np.nan).to_numpy()
    known = np.isfinite(up)
    hour = joined["ts"].dt.epoch("s").to_numpy() // 3_600
    start = (joined["ts"] + KNOWN_AFTER).dt.replace_time_zone(None).to_numpy()
    end = joined["label_end_ts_15m"].dt.replace_time_zone(None).to_numpy()
    together = redundancy(x[:: -(-len(x) // MOST_COMPARED_ROWS)])
    of_rows = (up[known].astype(np.int8), day[known], start[known], end[known], np.repeat(together.cluster, width))
    importance = permutation_importance(inputs(joined, table)[known], *of_rows, fit_quick, seed)
    informed = known & (joined["ts"].dt.epoch("s").to_numpy() // 60 % LIFE_MIN == 0)
    stored = np.column_stack([v[informed] for v in values.values()])
    information = mutual_information(stored, up[informed].astype(np.int64), day[informed], seed)
    first, last = day[0].astype(object), day[-1].astype(object)
    periods = spans(first, last)
    # What reads the clock alone differs between two spans only by the days they have.
    may_drift = {c.name: v for c, v in values.items() if periods and not c.reads_clock_alone}
    moved = {name: drifts(v, day, periods) for name, v in may_drift.items()}
    nulls = joined.group_by(pl.col("ts").dt.date().alias("day")).agg(
        pl.col(c.name).is_null().mean() for c in table.features
    )
    tests = _tests(values, {"corr_ret": y, "corr_up": up}, day, hour, together, importance)
    told = [
        _spread(joined[c.name], c)
        | _worst_day(nulls, c.name)
        | _drift(moved.get(c.name, []))
        | tests.get(c.name, {})
        | _together(names, c, together, information)
        for c in table.features
    ]
    return Analysis(
        feature_set, joined["symbol"][0], first, last, seed, _ranked(told), nulls.sort("day"), names, together,
        information, importance, periods, moved, joined.height, int(known.sum()), effective_n(start[known], end[known]),
    )  # fmt: skip


def _tests(
    values: Mapping[Column, Floats], labels: Mapping[str, Floats], day: Days, hour: Ints, together: Redundancy,
    importance: Importance | None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Return of each input its correlations and importance, with intervals, its one p-value and its q among inputs."""
    told: dict[str, dict[str, Any]] = {}
    for k, (c, v) in enumerate(values.items()):
        found: dict[str, Estimate] = {}
        # The clock is no level: no market moves it. The number of a category is only its name.
        held = memories(v, hour) if c.transform != "category" and not c.reads_clock_alone else np.nan
        is_level = held < LEAST_MEMORIES
        if c.transform != "category" and not is_level:
            found |= {kind: correlation(v, y, day) for kind, y in labels.items()}
        # A category of one value is no flag of the model's, so nothing of it was shuffled.
        if importance is not None and (lost := importance.lost.get(int(together.cluster[k]))) is not None:
            found["accuracy_lost"] = replace(lost, p=None) if is_level else lost
        told[c.name] = {"is_input": True, "is_level": is_level, "memories_n": _number(held)}
        told[c.name] |= {"p": _number(simes([e.p for e in found.values() if e.p is not None]))}
        for kind, e in found.items():
            ends = {f"{kind}_low": e.low, f"{kind}_high": e.high, f"{kind}_p": e.p}
            told[c.name] |= {kind: _number(e.point)} | ends
    q = benjamini_hochberg(np.array([np.nan if t["p"] is None else t["p"] for t in told.values()]))
    for found_of, level in zip(told.values(), q.tolist(), strict=True):
        found_of |= {"q": _number(level), "stands_out": level <= FALSE_DISCOVERIES}
    return told


def _spread(values: pl.Series, column: Column) -> dict[str, Any]:
    """Return how the stored values of a feature are spread."""
    known = values.cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
    found: dict[str, Any] = {
        "feature": column.name,
        "feature_group": column.group,
        "is_input": False,
        "is_level": False,
        "stands_out": False,
    }
    found |= {"null_frac": 1 - len(known) / len(values)}
    if len(known):
        cuts = np.quantile(known, [pct / 100 for pct in QUANTILES]).tolist()
        found |= {"mean": float(known.mean()), "sd": float(known.std())}
        found |= {f"quantile_{pct:02d}": cut for pct, cut in zip(QUANTILES, cuts, strict=True)}
    return found


def _worst_day(nulls: pl.DataFrame, name: str) -> dict[str, Any]:
    day, share = nulls.select("day", name).sort(name, "day", descending=[True, False]).row(0)
    return {"worst_day": day, "worst_day_null_frac": share}


def _drift(found: list[Drift | None]) -> dict[str, Any]:
    known = [d for d in found if d is not None]
    if not known:
        return {}
    worst = max(known, key=lambda d: (DRIFT_LEVELS.index(d.level), d.psi / d.watch))
    told = {"drift_psi": worst.psi, "drift_limit": worst.watch, "drift_level": worst.level}
    return told | {"drift_since": worst.since, "drift_until": worst.until}


def _together(names: tuple[str, ...], c: Column, together: Redundancy, information: Information) -> dict[str, Any]:
    if c.name not in names:
        return {}
    k = names.index(c.name)
    told = {"cluster_n": int(together.cluster[k]), "mutual_information_nats": _number(float(information.nats[k]))}
    # In another order the days have the same hours: what is told by the clock stays, and is no floor.
    floor = np.nan if c.reads_clock_alone else float(information.floor[k])
    return told | {"mutual_information_floor_nats": _number(floor)}


def _ranked(told: list[dict[str, Any]]) -> pl.DataFrame:
    """Return the features, inputs first: those that stand out, then by importance above noise, then by correlation."""
    schema = {c.name: c.dtype for c in COLUMNS if c.name not in ("first_day", "rank_n")}
    frame = pl.DataFrame([{n: row.get(n) for n in schema} for row in told], schema=schema)
    shown = pl.when(pl.col("accuracy_lost_low") > 0, ~pl.col("is_level")).then("accuracy_lost")  # the rest is noise
    order = (shown.fill_null(0.0), pl.col("corr_up").abs().round(6).fill_null(0.0))
    placed = frame.sort("is_input", "stands_out", *order, descending=True, maintain_order=True)
    rank = pl.when("is_input").then(pl.int_range(1, pl.len() + 1, dtype=pl.Int64)).alias("rank_n")
    return placed.with_columns(rank)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
