"""Train one model of a family on one symbol, from samples to an artefact. Pure: no lake, no tracker.

Not here: the networks (one file each), the store (``artefact.py``), wiring (``assets.py``).
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from crpbot_dagster.assets.models.dataset import Samples
from crpbot_dagster.assets.models.logistic import Logistic, fit_logistic, fit_temperature
from crpbot_dagster.assets.models.validation import Split, purge

LEAST_FIT_ROWS = 1_000
LEAST_CALIBRATION_ROWS = 500


class NotTrainable(ValueError):
    """There is too little to learn from; the message says how much there is."""


@dataclass(frozen=True)
class Trained:
    """A fitted, calibrated model and what it was fitted on."""

    model: Logistic
    fit_rows_n: int
    calibrate_rows_n: int
    train_base_rate: float


def within(samples: Samples, days: tuple[date, date]) -> np.ndarray:
    """Return which rows start on the inclusive range of UTC days."""
    first, after = np.datetime64(days[0]), np.datetime64(days[1] + timedelta(days=1))
    # A row is known a minute after its ts; its day is the day of ts.
    ts = samples.start - np.timedelta64(1, "m")
    return (ts >= first) & (ts < after)


def train_logistic(samples: Samples, split: Split, c: float) -> Trained:
    """Fit on the fit days, calibrate on the calibration days, each purged against what follows.

    The stop days are for families that stop early; the logistic regression leaves them alone, so that all
    families are fitted and calibrated on the same days.

    Raises
    ------
    NotTrainable
        Too few complete rows, or a single class.
    """
    fit, calibrate = samples.take(within(samples, split.fit)), samples.take(within(samples, split.calibrate))
    if len(fit.y) < LEAST_FIT_ROWS or len(calibrate.y) < LEAST_CALIBRATION_ROWS:
        raise NotTrainable(
            f"{len(fit.y)} complete labelled rows to fit on and {len(calibrate.y)} to calibrate on, of "
            f"{samples.rows_seen} rows seen: needs {LEAST_FIT_ROWS} and {LEAST_CALIBRATION_ROWS}"
        )
    # Labels of the fit days that end inside the days after them are dropped.
    held = samples.take(within(samples, (split.stop[0], split.calibrate[1])))
    fit = fit.take(purge(fit.start, fit.end, [(held.start.min(), held.end.max())], np.timedelta64(0, "us")))
    if len(np.unique(fit.y)) < 2:
        raise NotTrainable("the fit days hold a single class")
    model = fit_logistic(fit.x, fit.y, c)
    temperature = fit_temperature(model.logits(calibrate.x), calibrate.y)
    fitted = Logistic(model.mean, model.spread, model.weight, model.bias, temperature)
    return Trained(fitted, len(fit.y), len(calibrate.y), float(fit.y.mean()))
