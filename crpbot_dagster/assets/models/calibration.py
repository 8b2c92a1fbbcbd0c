"""Predicted probability against what came true, in bins: what a reliability diagram shows; and a share's interval.

Not here: the calibration error that the gates read (``evaluations/metrics.py``), drawing (``pictures.py``), and
fitting the temperature (``logistic.py``).
"""

from dataclasses import dataclass

import numpy as np

from crpbot_dagster.assets.models.dataset import Floats

BINS = 15  # those of the calibration gate
Z_95 = 1.959963984540054  # standard normal quantile at 97.5 %


@dataclass(frozen=True)
class CalibrationBins:
    """Equal-mass bins of predictions, by rising probability; all arrays are float64[bins that hold rows].

    ``mean_p`` and ``up_frac`` (with its 95 % interval ``low_frac`` … ``high_frac``) are shares, ``n`` counts rows.
    """

    mean_p: Floats
    up_frac: Floats
    low_frac: Floats
    high_frac: Floats
    n: Floats


def calibration_bins(p: Floats, y: Floats, uniqueness: float) -> CalibrationBins:
    """Return the share of ups beside the mean prediction in 15 bins of equal mass.

    Parameters
    ----------
    p, y : float64[n], share and 0 or 1
        Predicted probability of up and what came; a row where either is NaN is left out.
    uniqueness : share, above 0 and at most 1
        Independent labels per row, which the interval counts; 1 when the labels do not overlap.

    Returns
    -------
    CalibrationBins
        Edges as in ``evaluations.metrics.bin_index``: equal predictions share a bin, an empty bin is left out.

    Source
    ------
    Roelofs et al. (2022), AISTATS, arXiv 2012.08668; the interval is ``share_interval``.
    """
    if not 0.0 < uniqueness <= 1.0:
        raise ValueError(f"uniqueness must lie above 0 and at most at 1, got {uniqueness}")
    known = np.isfinite(p) & np.isfinite(y)
    p, y = p[known], y[known]
    position = -(-np.arange(1, BINS) * len(p) // BINS)
    edges = np.sort(p)[position[position < len(p)]]
    index = np.searchsorted(edges, p, side="right")
    n = np.bincount(index, minlength=BINS).astype(np.float64)
    held = n > 0
    n_held = n[held]
    mean_p = np.bincount(index, weights=p, minlength=BINS)[held] / n_held
    up_frac = np.bincount(index, weights=y, minlength=BINS)[held] / n_held
    low_frac, high_frac = share_interval(up_frac, n_held * uniqueness)
    return CalibrationBins(mean_p, up_frac, low_frac, high_frac, n_held)


def share_interval(share: Floats, independent: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % interval of each share, seen on so many independent rows.

    Parameters
    ----------
    share, independent : float64[n], share and count above 0

    Returns
    -------
    float64[n], float64[n], shares
        Element ``i`` reads element ``i`` of the arguments.

    Source
    ------
    Wilson (1927), J. American Statistical Association 22(158), 209-212.
    """
    centre = (share + Z_95**2 / (2 * independent)) / (1 + Z_95**2 / independent)
    half = np.sqrt(share * (1 - share) / independent + (Z_95 / (2 * independent)) ** 2)
    half = half * Z_95 / (1 + Z_95**2 / independent)
    return centre - half, centre + half
