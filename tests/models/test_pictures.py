"""Pictures: what they are drawn from, their size, and that the same numbers give the same bytes."""

import base64
import struct
import subprocess
import sys

import numpy as np
import pytest

from crpbot_dagster.assets.evaluations.metrics import bin_index, expected_calibration_error
from crpbot_dagster.assets.models.calibration import BINS, calibration_bins
from crpbot_dagster.assets.models.pictures import as_markdown, best_epoch, learning_curves, reliability

HISTORY = [
    {"epoch": i + 1, "fit_loss": 0.69 - 0.01 * i, "stop_loss": stop, "stop_accuracy_frac": 0.55, "learning_rate": 5e-4}
    for i, stop in enumerate((0.69, 0.68, 0.66, 0.67, 0.70))
]


def drawn(rng: np.random.Generator, n: int = 8640) -> tuple[np.ndarray, np.ndarray]:
    p = np.round(rng.beta(8, 8, n), 2)  # ties, as saturated models have them
    return p, (rng.random(n) < p).astype(float)


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_the_bins_are_those_of_the_calibration_gate(rng: np.random.Generator) -> None:
    p, y = drawn(rng)
    bins = calibration_bins(p, y, 1.0)
    ece = float((bins.n * np.abs(bins.up_frac - bins.mean_p)).sum() / len(p))
    assert ece == pytest.approx(expected_calibration_error(p, y, BINS, "mass"), abs=1e-12)
    counts = np.bincount(bin_index(p, BINS, "mass"), minlength=BINS)
    assert bins.n.tolist() == counts[counts > 0].tolist()


def test_the_interval_covers_the_truth_and_widens_with_overlap(rng: np.random.Generator) -> None:
    inside = []
    for _ in range(40):
        p, y = drawn(rng, 3000)
        bins = calibration_bins(p, y, 1.0)
        inside.append((bins.low_frac <= bins.mean_p) & (bins.mean_p <= bins.high_frac))
    assert 0.92 < np.concatenate(inside).mean() < 0.98
    apart = calibration_bins(p, y, 1 / 15)
    assert ((apart.high_frac - apart.low_frac) > 3 * (bins.high_frac - bins.low_frac)).all()


def test_rows_without_prediction_or_label_are_left_out() -> None:
    p, y = np.array([0.4, np.nan, 0.6, 0.7]), np.array([0.0, 1.0, np.nan, 1.0])
    assert calibration_bins(p, y, 1.0).n.sum() == 2
    with pytest.raises(ValueError, match="no row has both"):
        reliability(p[1:3], y[1:3], "nothing")
    with pytest.raises(ValueError, match="uniqueness"):
        calibration_bins(p, y, 0.0)


def test_the_best_epoch_has_the_smallest_loss_on_the_stop_days() -> None:
    assert best_epoch(HISTORY) == 2
    assert best_epoch([HISTORY[0] | {"stop_loss": float("nan")}, HISTORY[1] | {"stop_loss": None}]) is None
    assert best_epoch([HISTORY[0] | {"stop_loss": None}, HISTORY[1]]) == 1


def test_learning_curves_are_a_small_png_that_shows_its_numbers() -> None:
    png = learning_curves(HISTORY)
    assert size(png) == (700, 300) and len(png) < 60_000
    assert learning_curves(HISTORY) == png
    assert learning_curves(HISTORY[:3]) != png
    assert size(learning_curves([HISTORY[0] | {"stop_loss": None}])) == (700, 300)
    with pytest.raises(ValueError, match="no epoch"):
        learning_curves([])


def test_reliability_is_a_small_png_that_shows_its_numbers(rng: np.random.Generator) -> None:
    p, y = drawn(rng)
    png = reliability(p, y, "logistic_v5 of BTC-USD")
    assert size(png) == (500, 500) and len(png) < 60_000
    assert reliability(p, y, "logistic_v5 of BTC-USD") == png
    assert reliability(p, 1 - y, "logistic_v5 of BTC-USD") != png
    assert size(reliability(np.full(9, 0.5), np.ones(9), "a constant")) == (500, 500)


def test_markdown_carries_the_bytes_and_the_words(rng: np.random.Generator) -> None:
    text = as_markdown(b"\x89PNG", "loss of a ] model\nin [words")
    assert text.startswith("![loss of a ) model in (words](data:image/png;base64,")
    assert base64.b64decode(text.partition("base64,")[2].removesuffix(")")) == b"\x89PNG"


def test_drawing_needs_no_screen_and_leaves_no_global_state() -> None:
    script = (
        "import sys; from crpbot_dagster.assets.models import pictures;"
        "assert 'matplotlib' not in sys.modules;"
        "pictures.learning_curves([{'epoch': 1, 'fit_loss': 1.0, 'stop_loss': 1.0, 'stop_accuracy_frac': 0.5}]);"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
