"""The charts of the verdict's report: plotly figures as JSON, and small histograms as SVG.

Colours of text and grid come from the page's style sheet, so that one figure reads in light, dark and print; the
colours of the lines read on both, and every family has a mark and a dash of its own.
Not here: the page (``report.py``, ``report.html``) and pictures for other places (``models/pictures.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import numpy as np

from crpbot_dagster.assets.models.calibration import CalibrationBins
from crpbot_dagster.assets.models.dataset import Floats
from crpbot_dagster.assets.models.pictures import best_epoch

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


def accuracy_by_family(found: Interval, baselines: Sequence[float | None]) -> Chart:
    """Draw each family's accuracy with its interval, beside the accuracy of the base rate."""
    layout = {"xaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"}, "yaxis": {"autorange": "reversed"}}
    names = [escape(f) for f in found.labels]
    traces = [
        {
            "x": _plain(found.point),
            "y": names,
            "error_x": _error(found),
            "mode": "markers",
            "name": "accuracy, 95 %",
            "marker": {"size": 10, "color": COLOURS[0]},
        },
        {
            "x": _plain(baselines),
            "y": names,
            "mode": "markers",
            "name": "baseline",
            "marker": {"size": 12, "symbol": "line-ns-open", "color": COLOURS[1], "line": {"width": 3}},
        },
    ]
    rows = zip(found.labels, found.point, baselines, strict=True)
    said = "; ".join(f"{family} {_share(point)}, baseline {_share(base)}" for family, point, base in rows)
    height = 130 + 40 * len(names)
    return _chart("accuracy", "Accuracy by family, 95 % interval", f"Accuracy: {said}.", traces, layout, height)


def accuracy_at_coverage(tiers: Mapping[str, Sequence[float | None]], coverage_pct: Sequence[int]) -> Chart:
    """Draw each family's accuracy on its most confident minutes, from all of them to the fewest."""
    layout = {
        "xaxis": {"title": {"text": "most confident share of minutes"}, "type": "category"},
        "yaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"},
    }
    x = [f"{pct} %" for pct in coverage_pct]
    traces = [_line(i, family, x, values) for i, (family, values) in enumerate(tiers.items())]
    rows = (", ".join(f"{c} {_share(v)}" for c, v in zip(x, values, strict=True)) for values in tiers.values())
    said = "; ".join(f"{family}: {row}" for family, row in zip(tiers, rows, strict=True))
    return _chart("coverage", "Accuracy at coverage", f"Accuracy at coverage. {said}.", traces, layout)


def daily_accuracy(daily: Mapping[str, Interval]) -> Chart:
    """Draw each family's accuracy on each test day, with its interval."""
    layout = {
        "xaxis": {"type": "category", "nticks": 8},
        "yaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"},
        "shapes": [_rule("y", 0.5)],
    }
    traces = []
    for i, (family, found) in enumerate(daily.items()):
        trace = _line(i, family, list(found.labels), found.point)
        traces.append(trace | {"error_y": _error(found) | {"thickness": 1, "width": 2}})
    spans = ((family, _least(found.point), _most(found.point)) for family, found in daily.items())
    said = "; ".join(f"{family} from {_share(low)} to {_share(high)}" for family, low, high in spans)
    return _chart("daily", "Accuracy per test day, 95 % interval", f"Accuracy per test day: {said}.", traces, layout)


def reliability(family: str, bins: CalibrationBins, p: Floats) -> Chart:
    """Draw the share of ups against the predicted probability, and below it how the predictions are spread."""
    room = max(0.02 * float(p.max() - p.min()), 1e-4)
    ends = [float(p.min()) - room, float(p.max()) + room]
    counts, edges = np.histogram(p, MINI_BARS, (ends[0], ends[1]))
    error = {"array": _plain(bins.high_frac - bins.up_frac), "arrayminus": _plain(bins.up_frac - bins.low_frac)}
    spread = {"type": "bar", "yaxis": "y2", "name": "minutes", "showlegend": False, "marker": {"color": COLOURS[0]}}
    traces = [
        {"x": ends, "y": ends, "mode": "lines", "name": "perfect", "line": {"dash": "dot", "color": GREY}},
        _line(0, "observed, 95 %", _plain(bins.mean_p), bins.up_frac) | {"error_y": error},
        spread | {"x": _plain((edges[1:] + edges[:-1]) / 2), "y": counts.tolist()},
    ]
    layout = {
        "xaxis": {"title": {"text": "predicted probability of up"}, "anchor": "y2", "range": ends},
        "yaxis": {"title": {"text": "share of ups"}, "domain": [0.3, 1]},
        "yaxis2": {"title": {"text": "minutes"}, "domain": [0, 0.2], "nticks": 3},
        "bargap": 0,
    }
    said = ", ".join(f"{m:.3f} predicted {u:.3f} came" for m, u in zip(bins.mean_p, bins.up_frac, strict=True))
    return _chart(f"reliability-{family}", f"{family}", f"Reliability of {family}: {said}.", traces, layout, 420)


def learning_curves(family: str, history: Sequence[Mapping[str, Any]]) -> tuple[Chart, Chart]:
    """Draw the loss on fit and stop days, and the accuracy on the stop days, per epoch; the best epoch is marked."""
    epoch = [entry["epoch"] for entry in history]
    fit, stop, right = (_plain([e.get(n) for e in history]) for n in ("fit_loss", "stop_loss", "stop_accuracy_frac"))
    best = best_epoch(history)
    marked = {} if best is None else {"shapes": [_rule("x", epoch[best])]}
    words = "no epoch has a loss"
    if best is not None:
        words = f"best epoch {epoch[best]} of {len(epoch)}, loss {stop[best]:.4g}"
    axis = {"title": {"text": "epoch"}, "dtick": max(1, len(epoch) // 8)}
    losses = [_line(0, "fit days", epoch, fit), _line(1, "stop days", epoch, stop)]
    loss_layout = {"xaxis": axis, "yaxis": {"title": {"text": "cross-entropy, nats"}}} | marked
    share_layout = {"xaxis": axis, "yaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"}} | marked
    said = f"{family}: {words}"
    return (
        _chart(f"loss-{family}", f"{said}", f"Loss per epoch of {said}.", losses, loss_layout),
        _chart(
            f"learnt-{family}",
            f"{family}: accuracy on the stop days",
            f"Accuracy on the stop days per epoch of {family}: last {_share(right[-1])}.",
            [_line(2, "stop days", epoch, right)],
            share_layout,
        ),
    )


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


def _chart(
    name: str, title: str, alt: str, traces: list[dict[str, Any]], layout: dict[str, Any], height: int = 320
) -> Chart:
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


def _line(i: int, name: str, x: list[Any], y: Any) -> dict[str, Any]:
    colour, k = COLOURS[i % len(COLOURS)], i % len(MARKS)
    return {
        "x": x,
        "y": _plain(y),
        "mode": "lines+markers",
        "name": escape(name),
        "line": {"color": colour, "dash": DASHES[k]},
        "marker": {"symbol": MARKS[k], "size": 7, "color": colour},
    }


def _error(found: Interval) -> dict[str, Any]:
    def apart(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a - b

    return {
        "array": [apart(h, p) for h, p in zip(found.high, found.point, strict=True)],
        "arrayminus": [apart(p, low) for low, p in zip(found.low, found.point, strict=True)],
    }


def _rule(axis: str, at: float) -> dict[str, Any]:
    across = "x" if axis == "y" else "y"
    ends = {f"{across}0": 0, f"{across}1": 1, f"{across}ref": f"{across} domain", f"{axis}0": at, f"{axis}1": at}
    return {"type": "line", "line": {"color": GREY, "dash": "dot", "width": 1}} | ends


def _plain(values: Any) -> list[float | None]:
    # JSON knows no NaN; six digits are more than a screen shows.
    return [None if v is None or not np.isfinite(v) else round(float(v), 6) for v in values]


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _least(values: Sequence[float | None]) -> float | None:
    return min(_known(values), default=None)


def _most(values: Sequence[float | None]) -> float | None:
    return max(_known(values), default=None)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def embedded(figure: str) -> str:
    """Return JSON that can stand inside a script element: no character of it can end the element."""
    return figure.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
