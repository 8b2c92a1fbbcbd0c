"""What every page's charts share: plotly figures as JSON, small histograms as SVG, colours, marks, intervals.

Colours of text and grid come from the page's style sheet, so that one figure reads in light, dark and print; the
colours of the lines read on both, and every line has a mark and a dash of its own.
Not here: the page (``page.py``), what a chart shows (``feature_charts.py``, ``promotion/report_charts.py``), pictures
for other places (``models/pictures.py``).
"""

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import numpy as np
import polars as pl

from crpbot_dagster.assets.models.dataset import Floats
from crpbot_dagster.tables.schema import Column

COLOURS = ("#3b82c4", "#e07b39", "#2a9d78", "#b565c4", "#b8901f", "#d1495b")
MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GREY = "#888888"
MINI_WIDTH, MINI_HEIGHT, MINI_BARS = 160, 40, 40


@dataclass(frozen=True)
class Chart:
    """One figure of the page: what it is called, the same in words for who cannot see it, and plotly's JSON."""

    name: str
    title: str
    alt: str
    figure: str


@dataclass(frozen=True)
class Interval:
    """One number per label with the ends of its 95 % interval; None where it is unknown."""

    labels: tuple[str, ...]
    point: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@lru_cache(maxsize=1)
def plotly_js() -> str:
    """Return plotly's own script, which the page carries so that it needs no network."""
    from plotly.offline import get_plotlyjs

    # A page's script ends at the first closing tag, wherever it stands.
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def distribution(features: pl.DataFrame, column: Column) -> dict[str, Any]:
    """Return how a column is spread, how much of it is null, and a small picture of the middle 98 %: a ``mini``."""
    values = features[column.name].cast(pl.Float64)
    known = values.drop_nulls().drop_nans().to_numpy()
    found: dict[str, Any] = {"name": column.name, "unit": column.unit, "text": column.text, "svg": None}
    found["null_frac"] = 1.0 - len(known) / len(values) if len(values) else None
    if len(known):
        low, middle, high = np.quantile(known, [0.01, 0.5, 0.99])
        svg = mini_histogram(known, float(low), float(high))
        found |= {"low": float(low), "median": float(middle), "high": float(high), "svg": svg}
    return found


def mini_histogram(values: Floats, low: float, high: float) -> str:
    """Return a small SVG histogram of the values between two ends, in the colour of the page's text."""
    edges = np.linspace(low, high, MINI_BARS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    counts, _ = np.histogram(values, edges)
    width = MINI_WIDTH / len(counts)
    tallest = max(int(counts.max()), 1)
    bars = "".join(
        f"M{i * width:g} {MINI_HEIGHT}v{-MINI_HEIGHT * int(n) / tallest:.1f}h{width:g}V{MINI_HEIGHT}z"
        for i, n in enumerate(counts)
        if n
    )
    box = f"0 0 {MINI_WIDTH} {MINI_HEIGHT}"
    return f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true"><path d="{bars}"/></svg>'


def chart(
    name: str, title: str, alt: str, traces: list[dict[str, Any]], layout: dict[str, Any], height: int = 320
) -> Chart:
    """Return a figure of ``traces`` (scatter where they name no type) in the looks that every page shares."""
    import plotly.graph_objects as go

    fixed = {
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "template": go.layout.Template(),  # plotly's own carries colours for a white page
        "dragmode": False,  # a finger on a chart scrolls the page
    }
    axes = {k: {"automargin": True} | v for k, v in layout.items() if k[1:].startswith("axis")}
    figure = go.Figure(data=[{"type": "scatter"} | t for t in traces], layout=fixed | layout | axes)
    return Chart(name, title, alt, str(figure.to_json()))


def line(i: int, name: str, x: list[Any], y: Any) -> dict[str, Any]:
    """Return the ``i``-th line of a chart: its colour, dash and mark are its own."""
    colour, k = COLOURS[i % len(COLOURS)], i % len(MARKS)
    return {
        "x": x,
        "y": plain(y),
        "mode": "lines+markers",
        "name": escape(name),
        "line": {"color": colour, "dash": DASHES[k]},
        "marker": {"symbol": MARKS[k], "size": 7, "color": colour},
    }


def error_bars(found: Interval) -> dict[str, Any]:
    """Return how far the ends of an interval lie from its points."""

    def apart(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a - b

    return {
        "array": [apart(h, p) for h, p in zip(found.high, found.point, strict=True)],
        "arrayminus": [apart(p, low) for low, p in zip(found.low, found.point, strict=True)],
    }


def rule(axis: str, at: float) -> dict[str, Any]:
    """Return a dotted line across the chart where ``axis``, x or y, is ``at``."""
    across = "x" if axis == "y" else "y"
    ends = {f"{across}0": 0, f"{across}1": 1, f"{across}ref": f"{across} domain", f"{axis}0": at, f"{axis}1": at}
    return {"type": "line", "line": {"color": GREY, "dash": "dot", "width": 1}} | ends


def plain(values: Any) -> list[float | None]:
    """Return numbers as JSON has them: it knows no NaN, and six digits are more than a screen shows."""
    return [None if v is None or not np.isfinite(v) else round(float(v), 6) for v in values]


def share(value: float | None) -> str:
    """Return a share in per cent, for the words beside a chart."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


def embedded(figure: str) -> str:
    """Return JSON that can stand inside a script element: no character of it can end the element."""
    return figure.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
