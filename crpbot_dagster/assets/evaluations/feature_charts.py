"""The charts of a feature analysis. What every page's charts share is in ``charts.py``.

Not here: the numbers (``feature_analysis.py``), the page (``feature_page.py``).
"""

from typing import Any

import numpy as np
import polars as pl

from crpbot_dagster.assets.evaluations.charts import (
    COLOURS,
    GREY,
    MARKS,
    Chart,
    Interval,
    chart,
    error_bars,
    plain,
    rule,
    share,
)
from crpbot_dagster.assets.evaluations.feature_analysis import Analysis

SHOWN = 20  # features of a chart
ROW_PX = 24
RGB = "59,130,196"  # the first colour, to be seen through: whatever page lies below it
ENDS = ("", "_low", "_high")
LABELS = {"corr_up": "up or down", "corr_ret": "return"}


def importance(found: Analysis) -> Chart | None:
    """Draw what the quick model loses without each cluster of inputs, the most first; None without a model."""
    if found.importance is None:
        return None
    clusters = (
        found.columns.drop_nulls("accuracy_lost")
        .group_by("cluster_n", maintain_order=True)
        .agg(pl.col("feature", *(f"accuracy_lost{end}" for end in ENDS)).first(), pl.len())
        .sort("accuracy_lost", descending=True)
        .head(SHOWN)
    )  # fmt: skip
    names = [n if more == 1 else f"{n} +{more - 1}" for n, more in clusters.select("feature", "len").iter_rows()]
    ends = (tuple(clusters[f"accuracy_lost{end}"].to_list()) for end in ENDS)
    drawn = Interval(tuple(names), *ends)
    said = "; ".join(f"{n} {share(p)}" for n, p in zip(names[:8], drawn.point, strict=False))
    title = "Right calls lost when a cluster of inputs is shuffled, 95 % interval"
    return _rows("importance", title, f"Right calls lost: {said}.", [_dots(0, "", drawn)], "share of minutes", ".2~%")


def correlations(found: Analysis) -> Chart:
    """Draw the correlations of the best inputs with both labels, with their intervals."""
    best = found.columns.filter("is_input").drop_nulls("corr_up").head(SHOWN)
    traces, names = [], tuple(best["feature"])
    for i, (kind, words) in enumerate(LABELS.items()):
        ends = (tuple(best[f"{kind}{end}"].to_list()) for end in ENDS)
        traces.append(_dots(i, words, Interval(names, *ends)))
    said = "; ".join(f"{n} {r:+.3f}" for n, r in best.head(8).select("feature", "corr_up").iter_rows())
    title = "Correlation with the label, 95 % interval over days"
    return _rows("correlation", title, f"Correlation with up or down: {said}.", traces, "correlation", ".2~f")


def information(found: Analysis) -> Chart:
    """Draw the mutual information of the inputs that say most, beside what a shuffled label shows."""
    most = (
        found.columns.drop_nulls("mutual_information_nats").sort("mutual_information_nats", descending=True).head(SHOWN)
    )
    names, nats = most["feature"].to_list(), most["mutual_information_nats"].to_list()
    floors = most["mutual_information_floor_nats"].to_list()
    against = ["" if f is None else f" against {f:.3f}" for f in floors]
    said = "; ".join(f"{n} {v:.3f}{f}" for n, v, f in zip(names[:8], nats, against, strict=False))
    title = "Mutual information with up or down, and the noise floor of each input"
    traces = [_bars(names, nats, 2) | {"name": "information"}, _limits(names, floors, "noise floor")]
    return _rows("information", title, f"Nats against the noise floor: {said}.", traces, "nats", ".2~f")


def redundancy(found: Analysis) -> Chart:
    """Draw |correlation| of every pair of inputs, those that say the same side by side."""
    order = found.redundancy.order
    names = [found.inputs[k] for k in order]
    matrix = np.abs(found.redundancy.correlation[np.ix_(order, order)])
    cells = _heat(names, names, [plain(row) for row in matrix], 1.0, "|correlation|")
    layout = {
        "xaxis": {"showticklabels": len(names) <= 60, "tickangle": -90, "tickfont": {"size": 9}, "showgrid": False},
        "yaxis": {"autorange": "reversed", "tickfont": {"size": 9}, "dtick": 1, "showgrid": False},
    }
    return chart(
        "redundancy", "Correlation among the inputs", "Correlation among the inputs; the clusters are listed below.",
        [cells], layout, max(320, 160 + 13 * len(names)),
    )  # fmt: skip


def drift(found: Analysis) -> Chart | None:
    """Draw the PSI of the inputs that moved most beside the limit of each; None without two spans."""
    moved = found.columns.drop_nulls("drift_psi")
    if moved.is_empty():
        return None
    most = moved.sort(pl.col("drift_psi") / pl.col("drift_limit"), descending=True).head(SHOWN)
    names = most["feature"].to_list()
    traces = [_bars(names, most["drift_psi"], 0) | {"name": "PSI"}, _limits(names, most["drift_limit"], "limit")]
    told = most.head(8).select("feature", "drift_psi", "drift_limit").iter_rows()
    said = "; ".join(f"{n} {psi:.2f} against {limit:.2f}" for n, psi, limit in told)
    title = "Drift: the largest PSI of each input, and its limit"
    return _rows("drift", title, f"PSI against its limit: {said}.", traces, "population stability index", ".2~f")


def coverage(found: Analysis) -> Chart | None:
    """Draw the null share of each day, of the features that are ever null; None where none is."""
    ever = found.columns.filter(pl.col("null_frac") > 0).sort("null_frac", descending=True)["feature"].to_list()
    if not ever:
        return None
    days = [d.isoformat() for d in found.nulls["day"]]
    most = max(found.nulls[name].max() for name in ever)
    cells = _heat(days, ever, [plain(found.nulls[name]) for name in ever], most, "null share", 0.15)
    layout = {
        "xaxis": {"type": "category", "nticks": 8, "showgrid": False},
        "yaxis": {"autorange": "reversed", "dtick": 1, "tickfont": {"size": 10}, "showgrid": False},
    }
    worst = found.columns.sort("worst_day_null_frac", descending=True).row(0, named=True)
    said = f"worst: {worst['feature']} on {worst['worst_day']}, {share(worst['worst_day_null_frac'])}"
    alt = f"Null share per day; {said}."
    return chart("coverage", "Null share per day", alt, [cells], layout, 140 + 16 * len(ever))


def _bars(names: list[str], values: Any, i: int) -> dict[str, Any]:
    return {"type": "bar", "orientation": "h", "x": plain(values), "y": names, "marker": {"color": COLOURS[i]}}


def _limits(names: list[str], values: Any, name: str) -> dict[str, Any]:
    mark = {"size": 14, "symbol": "line-ns-open", "color": COLOURS[1], "line": {"width": 3}}
    return {"y": names, "x": plain(values), "mode": "markers", "name": name, "marker": mark}


def _dots(i: int, name: str, found: Interval) -> dict[str, Any]:
    bars = error_bars(found) | {"thickness": 1.5, "width": 3}
    marker = {"size": 9, "color": COLOURS[i], "symbol": MARKS[i]}
    drawn = {"x": plain(found.point), "y": list(found.labels), "error_x": bars, "mode": "markers", "marker": marker}
    return drawn | ({"name": name} if name else {"showlegend": False})


def _heat(
    x: list[str], y: list[str], z: list[list[float | None]], most: float, name: str, least: float = 0.0
) -> dict[str, Any]:
    # Whatever is above zero is at least as dark as ``least``.
    scale = [[0, f"rgba({RGB},0)"], [1e-9, f"rgba({RGB},{least})"], [1, f"rgba({RGB},1)"]]
    bar = {"thickness": 10, "title": {"text": name, "side": "right"}, "outlinewidth": 0}
    said = f"%{{y}}, %{{x}}: %{{z:.2f}}<extra>{name}</extra>"
    return {
        "type": "heatmap", "x": x, "y": y, "z": z, "zmin": 0, "zmax": most, "colorscale": scale, "colorbar": bar,
        "hovertemplate": said, "hoverongaps": False, "xgap": 1, "ygap": 1,
    }  # fmt: skip


def _rows(name: str, title: str, alt: str, traces: list[dict[str, Any]], unit: str, form: str) -> Chart:
    """Return a chart with a feature per row, the first on top."""
    rows = max(len(t["y"]) for t in traces)
    layout = {
        "xaxis": {"title": {"text": unit}, "tickformat": form, "zerolinecolor": GREY},
        "yaxis": {"autorange": "reversed", "type": "category", "dtick": 1},
        "shapes": [rule("x", 0.0)],
        "barmode": "overlay",
        "showlegend": len(traces) > 1,
    }
    return chart(name, title, alt, traces, layout, 110 + ROW_PX * rows)
