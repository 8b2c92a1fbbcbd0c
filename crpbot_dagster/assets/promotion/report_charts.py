"""The charts of the verdict's report. What every page's charts share is in ``evaluations/charts.py``.

Not here: the page (``report.py``, ``report.html``) and pictures for other places (``models/pictures.py``).
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from crpbot_dagster.assets.evaluations.charts import (
    COLOURS,
    GREY,
    MINI_BARS,
    Chart,
    Interval,
    chart,
    error_bars,
    line,
    plain,
    rule,
    share,
)
from crpbot_dagster.assets.models.calibration import CalibrationBins
from crpbot_dagster.assets.models.dataset import Floats
from crpbot_dagster.assets.models.pictures import best_epoch


def accuracy_by_family(found: Interval, baselines: Sequence[float | None]) -> Chart:
    """Draw each family's accuracy with its interval, beside the accuracy of the base rate."""
    layout = {"xaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"}, "yaxis": {"autorange": "reversed"}}
    names = [escape(f) for f in found.labels]
    traces = [
        {
            "x": plain(found.point),
            "y": names,
            "error_x": error_bars(found),
            "mode": "markers",
            "name": "accuracy, 95 %",
            "marker": {"size": 10, "color": COLOURS[0]},
        },
        {
            "x": plain(baselines),
            "y": names,
            "mode": "markers",
            "name": "baseline",
            "marker": {"size": 12, "symbol": "line-ns-open", "color": COLOURS[1], "line": {"width": 3}},
        },
    ]
    rows = zip(found.labels, found.point, baselines, strict=True)
    said = "; ".join(f"{family} {share(point)}, baseline {share(base)}" for family, point, base in rows)
    height = 130 + 40 * len(names)
    return chart("accuracy", "Accuracy by family, 95 % interval", f"Accuracy: {said}.", traces, layout, height)


def accuracy_at_coverage(tiers: Mapping[str, Sequence[float | None]], coverage_pct: Sequence[int]) -> Chart:
    """Draw each family's accuracy on its most confident minutes, from all of them to the fewest."""
    layout = {
        "xaxis": {"title": {"text": "most confident share of minutes"}, "type": "category"},
        "yaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"},
    }
    x = [f"{pct} %" for pct in coverage_pct]
    traces = [line(i, family, x, values) for i, (family, values) in enumerate(tiers.items())]
    rows = (", ".join(f"{c} {share(v)}" for c, v in zip(x, values, strict=True)) for values in tiers.values())
    said = "; ".join(f"{family}: {row}" for family, row in zip(tiers, rows, strict=True))
    return chart("coverage", "Accuracy at coverage", f"Accuracy at coverage. {said}.", traces, layout)


def daily_accuracy(daily: Mapping[str, Interval]) -> Chart:
    """Draw each family's accuracy on each test day, with its interval."""
    layout = {
        "xaxis": {"type": "category", "nticks": 8},
        "yaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"},
        "shapes": [rule("y", 0.5)],
    }
    traces = []
    for i, (family, found) in enumerate(daily.items()):
        trace = line(i, family, list(found.labels), found.point)
        traces.append(trace | {"error_y": error_bars(found) | {"thickness": 1, "width": 2}})
    spans = ((family, _least(found.point), _most(found.point)) for family, found in daily.items())
    said = "; ".join(f"{family} from {share(low)} to {share(high)}" for family, low, high in spans)
    return chart("daily", "Accuracy per test day, 95 % interval", f"Accuracy per test day: {said}.", traces, layout)


def reliability(family: str, bins: CalibrationBins, p: Floats) -> Chart:
    """Draw the share of ups against the predicted probability, and below it how the predictions are spread."""
    room = max(0.02 * float(p.max() - p.min()), 1e-4)
    ends = [float(p.min()) - room, float(p.max()) + room]
    counts, edges = np.histogram(p, MINI_BARS, (ends[0], ends[1]))
    error = {"array": plain(bins.high_frac - bins.up_frac), "arrayminus": plain(bins.up_frac - bins.low_frac)}
    spread = {"type": "bar", "yaxis": "y2", "name": "minutes", "showlegend": False, "marker": {"color": COLOURS[0]}}
    traces = [
        {"x": ends, "y": ends, "mode": "lines", "name": "perfect", "line": {"dash": "dot", "color": GREY}},
        line(0, "observed, 95 %", plain(bins.mean_p), bins.up_frac) | {"error_y": error},
        spread | {"x": plain((edges[1:] + edges[:-1]) / 2), "y": counts.tolist()},
    ]
    layout = {
        "xaxis": {"title": {"text": "predicted probability of up"}, "anchor": "y2", "range": ends},
        "yaxis": {"title": {"text": "share of ups"}, "domain": [0.3, 1]},
        "yaxis2": {"title": {"text": "minutes"}, "domain": [0, 0.2], "nticks": 3},
        "bargap": 0,
    }
    said = ", ".join(f"{m:.3f} predicted {u:.3f} came" for m, u in zip(bins.mean_p, bins.up_frac, strict=True))
    return chart(f"reliability-{family}", f"{family}", f"Reliability of {family}: {said}.", traces, layout, 420)


def learning_curves(family: str, history: Sequence[Mapping[str, Any]]) -> tuple[Chart, Chart]:
    """Draw the loss on fit and stop days, and the accuracy on the stop days, per epoch; the best epoch is marked."""
    epoch = [entry["epoch"] for entry in history]
    fit, stop, right = (plain([e.get(n) for e in history]) for n in ("fit_loss", "stop_loss", "stop_accuracy_frac"))
    best = best_epoch(history)
    marked = {} if best is None else {"shapes": [rule("x", epoch[best])]}
    words = "no epoch has a loss"
    if best is not None:
        words = f"best epoch {epoch[best]} of {len(epoch)}, loss {stop[best]:.4g}"
    axis = {"title": {"text": "epoch"}, "dtick": max(1, len(epoch) // 8)}
    losses = [line(0, "fit days", epoch, fit), line(1, "stop days", epoch, stop)]
    loss_layout = {"xaxis": axis, "yaxis": {"title": {"text": "cross-entropy, nats"}}} | marked
    share_layout = {"xaxis": axis, "yaxis": {"title": {"text": "share right"}, "tickformat": ".2~%"}} | marked
    said = f"{family}: {words}"
    return (
        chart(f"loss-{family}", f"{said}", f"Loss per epoch of {said}.", losses, loss_layout),
        chart(
            f"learnt-{family}",
            f"{family}: accuracy on the stop days",
            f"Accuracy on the stop days per epoch of {family}: last {share(right[-1])}.",
            [line(2, "stop days", epoch, right)],
            share_layout,
        ),
    )


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _least(values: Sequence[float | None]) -> float | None:
    return min(_known(values), default=None)


def _most(values: Sequence[float | None]) -> float | None:
    return max(_known(values), default=None)
