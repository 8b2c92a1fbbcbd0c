"""The page of a feature analysis: one HTML file that needs nothing else, no network either.

Pure: the same numbers give the same bytes. Its words are in ``feature_analysis.html``, its looks in ``page.html``, its
charts in ``feature_charts.py``, its numbers in ``feature_analysis.py``.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from crpbot_dagster.assets.evaluations import feature_charts
from crpbot_dagster.assets.evaluations.association import LEAST_MEMORIES
from crpbot_dagster.assets.evaluations.charts import mini_histogram
from crpbot_dagster.assets.evaluations.feature_analysis import Analysis, in_words, standing
from crpbot_dagster.assets.evaluations.page import page, percent
from crpbot_dagster.tables.schema import Column, Table

SHOWN = 15
LEVELS = {"act": "✖ act", "watch": "▲ watch", "none": "✔ none", None: "–"}


def page_name(feature_set: str, symbol: str, day: date) -> str:
    """Return the file of an analysis, relative to the folder of reports; ``day`` is its last."""
    return f"features/{feature_set}/{symbol}/{day}.html"


def render(found: Analysis, features: pl.DataFrame, table: Table, market: str) -> str:
    """Return the page of ``found``; ``features`` are the rows it was made from, ``market`` is the lake's stamp."""
    rows = list(found.columns.iter_rows(named=True))
    inputs = [r for r in rows if r["is_input"]]
    about = {c.name: c for c in table.features}
    spread = {r["feature"]: r for r in rows}
    drawn = {name: getattr(feature_charts, name)(found) for name in CHARTS}
    return page(
        Path(__file__).with_name("feature_analysis.html"),
        market=market,
        a=found,
        found=in_words(found.columns),
        about=about,
        top=inputs[:SHOWN],
        rest=inputs[SHOWN:],
        unread=[r for r in rows if not r["is_input"]],
        levels=LEVELS,
        standing=standing,
        least_memories=LEAST_MEMORIES,
        tested_n=found.columns["p"].count(),
        lingering=[r for r in inputs if r["is_level"]],
        charts=drawn,
        clusters=clusters(found),
        drifted=[r for r in inputs if r["drift_level"] in ("watch", "act")],
        never_null=[r["feature"] for r in rows if r["null_frac"] == 0],
        nulls=sorted((r for r in rows if r["null_frac"] > 0), key=lambda r: -r["null_frac"]),
        distributions=[mini(spread[name], c, features[name]) for name, c in about.items()],
    )


CHARTS = ("importance", "correlations", "information", "redundancy", "drift", "coverage")


def mini(row: Mapping[str, Any], column: Column, stored: pl.Series) -> dict[str, Any]:
    """Return a feature's spread as ``row`` of the table tells it, with a picture of the middle 98 % of ``stored``."""
    low, middle, high = (row[f"quantile_{pct:02d}"] for pct in (1, 50, 99))
    told = {"name": column.name, "unit": column.unit, "text": column.text, "null_frac": row["null_frac"]}
    if low is None:
        return told | {"svg": None}
    known = stored.cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
    return told | {"low": low, "median": middle, "high": high, "svg": mini_histogram(known, low, high)}


def clusters(found: Analysis) -> list[tuple[list[str], float]]:
    """Return the clusters of more than one input, the largest first, each with its least |correlation|."""
    told = []
    for members in (
        found.columns.drop_nulls("cluster_n").group_by("cluster_n", maintain_order=True).agg("feature")["feature"]
    ):
        names = members.to_list()
        if len(names) > 1:
            k = [found.inputs.index(n) for n in names]
            pairs = [abs(found.redundancy.correlation[i, j]) for i in k for j in k if i < j]
            told.append((names, float(min(pairs))))
    return sorted(told, key=lambda c: -len(c[0]))


def top_markdown(columns: pl.DataFrame) -> str:
    """Return the best inputs as a table for the metadata of the asset."""
    lines = [
        "| # | input | stands out | points lost | r, up or down | 95 % interval | null |",
        "|---:|---|---|---:|---:|---|---:|",
    ]
    for r in columns.drop_nulls("rank_n").sort("rank_n").head(SHOWN).iter_rows(named=True):
        lost = "–" if r["accuracy_lost"] is None else f"{100 * r['accuracy_lost']:+.2f}"
        known = (r["corr_up"], r["corr_up_low"], r["corr_up_high"])
        point, low, high = ("–" if v is None else f"{v:+.3f}" for v in known)
        interval = "–" if r["corr_up_low"] is None else f"{low} to {high}"
        cells = (r["rank_n"], r["feature"], standing(r), lost, point, interval)
        lines.append(f"| {' | '.join(str(c) for c in cells)} | {percent(r['null_frac'])} |")
    return "\n".join(lines)
