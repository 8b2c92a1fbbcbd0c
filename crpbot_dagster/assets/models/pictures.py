"""Pictures of training and calibration as PNG, for the metadata of an asset and the experiment tracker.

Not here: the report's charts, which one can zoom into (``evaluations/charts.py``), and the bins of a
reliability diagram (``calibration.py``).
"""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from crpbot_dagster.assets.models.calibration import calibration_bins
from crpbot_dagster.assets.models.dataset import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart by colour-blind readers; every line differs in its mark too.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the index of the epoch with the smallest finite loss on the stop days, None when there is none."""
    loss = np.array([_number(entry, "stop_loss") for entry in history])
    return int(np.nanargmin(loss)) if np.isfinite(loss).any() else None


def learning_curves(history: list[dict[str, Any]]) -> bytes:
    """Return a PNG: loss on fit and stop days beside the accuracy on the stop days, per epoch.

    Parameters
    ----------
    history : one entry per epoch, at least one
        ``epoch``, ``fit_loss``, ``stop_loss``, ``stop_accuracy_frac``; a number may be null or not finite, then the
        line has a gap there.
    """
    if not history:
        raise ValueError("no epoch was run: there is no learning curve to draw")
    epoch = [entry["epoch"] for entry in history]
    fit, stop, accuracy = (
        [_number(entry, name) for entry in history] for name in ("fit_loss", "stop_loss", "stop_accuracy_frac")
    )
    figure = _figure(7.0, 3.0)
    losses, right = figure.subplots(1, 2)
    losses.plot(epoch, fit, color=BLUE, marker="o", markersize=3, label="fit days")
    losses.plot(epoch, stop, color=ORANGE, marker="s", markersize=3, linestyle="--", label="stop days")
    right.plot(epoch, accuracy, color=GREEN, marker="^", markersize=3, label="stop days")
    losses.set(title="Loss", xlabel="epoch", ylabel="cross-entropy, nats")
    right.set(title="Accuracy", xlabel="epoch", ylabel="share right")
    best = best_epoch(history)
    for axes in (losses, right):
        if best is not None:
            axes.axvline(epoch[best], color=GREY, linestyle=":", label=f"best epoch: {epoch[best]}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.locator_params(axis="x", integer=True)
    return _png(figure)


def reliability(p: Floats, y: Floats, title: str) -> bytes:
    """Return a PNG: share of ups against predicted probability in 15 equal-mass bins, and how ``p`` is spread.

    Parameters
    ----------
    p, y : float64[n], share and 0 or 1
        Predicted probability of up and what came; a row where either is NaN is left out. The bars are 95 %
        intervals as if the labels did not overlap.
    title : what is drawn, e.g. family, symbol and days
    """
    known = np.isfinite(p) & np.isfinite(y)
    if not known.any():
        raise ValueError("no row has both a prediction and a label: there is no calibration to draw")
    bins = calibration_bins(p, y, 1.0)
    figure = _figure(5.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    error = np.clip([bins.up_frac - bins.low_frac, bins.high_frac - bins.up_frac], 0.0, None)
    upper.errorbar(
        bins.mean_p, bins.up_frac, yerr=error, color=BLUE, marker="o", markersize=4, capsize=2, label="observed, 95 %"
    )
    room = max(0.02 * float(np.ptp(p[known])), 1e-4)
    span = (float(p[known].min()) - room, float(p[known].max()) + room)
    low, high = min(float(bins.low_frac.min()), span[0]), max(float(bins.high_frac.max()), span[1])
    upper.set(title=title, ylabel="share of ups", xlim=span, ylim=(low - 0.02, high + 0.02))
    upper.grid(alpha=0.3)
    upper.legend(fontsize=8)
    lower.hist(p[known], bins=40, range=span, color=BLUE)
    lower.set(xlabel=f"predicted probability of up (n = {int(known.sum()):,})", ylabel="minutes")
    return _png(figure)


def as_markdown(png: bytes, alt: str) -> str:
    """Return a markdown image that carries its own bytes; ``alt`` says in words what it shows."""
    words = " ".join(alt.translate(str.maketrans("[]", "()")).split())
    return f"![{words}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    return np.nan if value is None or not np.isfinite(value) else float(value)


def _figure(width: float, height: float) -> "Figure":
    # An object of its own: pyplot would keep a list of figures for the whole process.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _png(figure: "Figure") -> bytes:
    held = BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})  # no version: same numbers, same bytes
    return held.getvalue()
