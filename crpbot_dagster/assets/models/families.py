"""From samples to a calibrated model of any family. Pure: no lake, no tracker; torch is loaded when a network asks.

A family is a kind of model on a feature table: ``lstm_v5`` is the kind ``lstm`` on V5.
Not here: the models themselves (one file per kind), the store (``artefact.py``), wiring (``assets.py``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crpbot_dagster.assets.models import logistic
from crpbot_dagster.assets.models.dataset import Floats, Ints, Samples
from crpbot_dagster.assets.models.temperature import fit_temperature
from crpbot_dagster.assets.models.validation import Split, purge

LEAST_FIT_ROWS = 1_000
LEAST_HELD_OUT_ROWS = 500

Numbers = Mapping[str, Any]
History = tuple[Mapping[str, float], ...]


class NotTrainable(ValueError):
    """There is too little to learn from; the message says how much there is."""


class Model(Protocol):
    """What every kind of model can do."""

    def logits(self, x: Floats, minutes: Ints) -> Floats:
        """Return the uncalibrated logit of each row of scaled inputs, NaN where the model has not all it reads."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return its numbers by name."""


@dataclass(frozen=True)
class Slices:
    """Samples to fit, stop early and calibrate on, in time order; each purged against what follows, inputs scaled."""

    fit: Samples
    stop: Samples
    calibrate: Samples


@dataclass(frozen=True)
class Trained:
    """A fitted, calibrated model, and what it was fitted on."""

    model: Model
    mean: Floats
    spread: Floats
    temperature: float
    settings: Numbers  # those that decided it
    sequence: int  # minutes it reads
    fit_rows_n: int
    calibrate_rows_n: int
    train_base_rate: float
    history: History = ()
    calibration: tuple[Floats, NDArray[np.int8]] = (np.empty(0), np.empty(0, dtype=np.int8))  # logits, labels


@dataclass(frozen=True)
class Kind:
    """A kind of model: what it is, the settings that decide it, how it is fitted, and how it is loaded."""

    words: str
    engine: str  # as the UI shows it
    settings: tuple[str, ...]
    fit: Callable[[Slices, Numbers], tuple[Model, int, History]]  # the model, rows fitted on, its epochs
    load: Callable[[Mapping[str, NDArray[Any]], Numbers, int], Model]
    sequence: str | None = None  # the setting that says how many minutes it reads; None: its own minute


def _fit_logistic(slices: Slices, settings: Numbers) -> tuple[Model, int, History]:
    # The stop days are for kinds that stop early: it leaves them alone, so that all see the same fit days.
    return logistic.fit(slices.fit.x, slices.fit.y, settings["logistic_c"]), len(slices.fit.y), ()


def _fit_lstm(slices: Slices, settings: Numbers) -> tuple[Model, int, History]:
    from crpbot_dagster.assets.models import lstm, train

    # Neighbouring labels overlap: a stride loses little and saves much, on the stop days too, scored at every epoch.
    fit, stop = (s.take(s.minutes[s.rows] % settings["lstm_stride"] == 0) for s in (slices.fit, slices.stop))
    if len(fit.y) < LEAST_FIT_ROWS or len(slices.stop.y) < LEAST_HELD_OUT_ROWS:
        raise NotTrainable(
            f"{len(fit.y)} sequences to fit on (one in {settings['lstm_stride']} minutes) and {len(slices.stop.y)} to "
            f"stop on: needs {LEAST_FIT_ROWS} and {LEAST_HELD_OUT_ROWS}"
        )
    loop = train.Loop(
        **{n.removeprefix("lstm_"): settings[n] for n in LSTM_LOOP},
        seed=settings["seed"],
        threads=settings["torch_threads"],
        device=settings["torch_device"],
    )
    network, history = train.fit_network(lstm.build, fit, stop, settings, loop)
    return network, len(fit.y), history


def _load_lstm(tensors: Mapping[str, NDArray[Any]], settings: Numbers, width: int) -> Model:
    from crpbot_dagster.assets.models import lstm, train

    return train.load(lstm.build, tensors, settings, width, settings["lstm_sequence"])


LSTM_SHAPE = ("lstm_layers", "lstm_hidden", "lstm_dropout", "lstm_stride")
LSTM_LOOP = (
    *("lstm_sequence", "lstm_batch", "lstm_learning_rate", "lstm_weight_decay", "lstm_epochs", "lstm_patience"),
    *("lstm_clip_norm", "lstm_lr_factor", "lstm_lr_patience"),
)
TORCH = ("seed", "torch_threads", "torch_device")

KINDS = {
    "logistic": Kind("logistic regression on one minute", "scikitlearn", ("logistic_c",), _fit_logistic, logistic.load),
    "lstm": Kind(
        "an LSTM that reads the minutes before",
        "torch",
        (*LSTM_SHAPE, *LSTM_LOOP, *TORCH),
        _fit_lstm,
        _load_lstm,
        "lstm_sequence",
    ),
}


def kind_of(family: str) -> Kind:
    """Return the kind of a family: the first word of its name."""
    return KINDS[family.partition("_")[0]]


def sequence_of(family: str, settings: Numbers) -> int:
    """Return how many minutes a family reads, its own included."""
    name = kind_of(family).sequence
    return 1 if name is None else int(settings[name])


def within(samples: Samples, days: tuple[date, date]) -> NDArray[np.bool_]:
    """Return which samples start on the inclusive range of UTC days."""
    first, after = np.datetime64(days[0]), np.datetime64(days[1] + timedelta(days=1))
    # A row is known a minute after its ts; its day is the day of ts.
    ts = samples.start - np.timedelta64(1, "m")
    return (ts >= first) & (ts < after)


def slices(samples: Samples, split: Split) -> Slices:
    """Return the samples of each range of days, without labels that reach into the days after it. Not scaled yet.

    Raises
    ------
    NotTrainable
        Too few complete rows, or a single class.
    """
    fit, stop, calibrate = (samples.take(within(samples, days)) for days in split)
    if len(fit.y) < LEAST_FIT_ROWS or len(calibrate.y) < LEAST_HELD_OUT_ROWS:
        raise NotTrainable(
            f"{len(fit.y)} complete labelled rows to fit on and {len(calibrate.y)} to calibrate on, of "
            f"{samples.rows_seen} rows seen: needs {LEAST_FIT_ROWS} and {LEAST_HELD_OUT_ROWS}"
        )
    fit = _purged(fit, samples.take(within(samples, (split.stop[0], split.calibrate[1]))))
    stop = _purged(stop, calibrate)
    if len(np.unique(fit.y)) < 2:
        raise NotTrainable("the fit days hold a single class")
    return Slices(fit, stop, calibrate)


def _purged(before: Samples, after: Samples) -> Samples:
    return before.take(purge(before.start, before.end, [(after.start.min(), after.end.max())], np.timedelta64(0, "us")))


def fit_scaler(x: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each raw input; a constant one gets spread 1, so it becomes 0."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    return mean, np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, 1.0)


def train(family: str, samples: Samples, split: Split, settings: Numbers) -> Trained:
    """Scale and fit on the fit days, stop on the stop days, calibrate on the calibration days.

    Parameters
    ----------
    samples : raw inputs, complete over the family's ``sequence_of`` minutes
    settings : every setting of the platform by name; those that decide the kind are kept

    Raises
    ------
    NotTrainable
        Too few complete rows, or a single class.
    """
    kind = kind_of(family)
    own = {name: settings[name] for name in kind.settings}
    raw = slices(samples, split)
    mean, spread = fit_scaler(raw.fit.x)
    scaled = (samples.inputs - mean) / spread
    parts = Slices(*(replace(part, inputs=scaled) for part in (raw.fit, raw.stop, raw.calibrate)))
    model, fit_rows_n, history = kind.fit(parts, own)
    held = parts.calibrate
    sequence = sequence_of(family, settings)
    first = max(0, int(held.rows[0]) - sequence + 1)
    logits = model.logits(scaled[first:], samples.minutes[first:])[held.rows - first]
    return Trained(
        model,
        mean,
        spread,
        fit_temperature(logits, held.y),
        own,
        sequence,
        fit_rows_n,
        len(held.y),
        float(raw.fit.y.mean()),
        history,
        (logits, held.y),
    )
