"""How good a column of probabilities is, and how sure of it we are.

One symbol at a time. What a number must reach lives in ``promotion/gates.py``; money (costs, trades,
drawdown) in ``backtest.py``; how many independent labels a sample holds in ``validation.py``.

Rows of one day are not independent (labels overlap, regimes last), so every interval and p-value here treats
whole UTC days as the unit that could have come out differently. Arguments that recur:

- ``p`` float64[n], share: predicted probability of up, finite, from 0 to 1; ``y`` float64[n]: 1 for up, 0 for
  down;
- ``day`` [n], any sortable type: UTC day of each row;
- ``weights`` int64[draws, days], counts: how often each day, in time order, occurs in each resample.

The rules of the gates are in docs/conventions.md.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from crpbot_dagster.assets.evaluations.day_blocks import (
    CONFIDENCE,
    Days,
    Floats,
    Ints,
    day_sums,
    ratio_error,
    ratio_shift,
    student,
)
from crpbot_dagster.assets.models.validation import effective_n, mean_uniqueness

Times: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.datetime64]
BinKind: TypeAlias = Literal["width", "mass"]
Metric: TypeAlias = float | int | str | None

MIN_DRAWS = 1000  # fewer make the 5 % quantile a matter of luck
ECE_BINS_MASS = 15  # the gate's bins
ECE_BINS_WIDTH = 10  # reported beside it
ECE_LOW_QUANTILE = 0.05  # of the day-block bootstrap
TIERS_PCT = (50, 20, 10, 5)  # 100 % is the headline
MAX_ABS_LOGIT = 20.0  # beyond it a probability is 0 or 1 to nine digits: no market gives that
MAX_CLASS_FRAC = 0.95  # a model that always says the same is a constant
CONSTANT_SPREAD = 1e-9  # predictions closer together than this are one number written down many times
LOG_LOSS_FLOOR = 1e-15  # keeps the loss of a certain and wrong forecast finite; the guards report it
KNOWN_AFTER = timedelta(minutes=1)  # a row is known at ts + 1m, there its label's life begins
NULL_CHUNK = 2_000_000  # numbers drawn at once for the calibrated null, about 16 MB

METRIC_KEYS = (
    *("rows_n", "null_predictions_n", "null_labels_n", "nan_predictions_n", "guard_reasons", "guards_n"),
    *("n", "n_eff", "mean_uniqueness", "days_n", "ties_n"),
    *("accuracy_frac", "accuracy_low_frac", "accuracy_high_frac", "base_rate_frac", "baseline_accuracy_frac"),
    *("accuracy_low_bootstrap_frac", "accuracy_high_bootstrap_frac"),
    *("ece_width_10", "ece_mass_15", "ece_null_mass_15", "ece_debiased", "ece_upper"),
    *("brier", "brier_base", "brier_skill", "brier_p_value", "log_loss", "log_loss_base", "log_loss_p_value"),
    *(key for pct in TIERS_PCT for key in (f"accuracy_top_{pct}_frac", f"n_top_{pct}", f"n_eff_top_{pct}")),
)


@dataclass(frozen=True)
class AccuracyInterval:
    """A share of right calls with two 95 % intervals over days; None where there are fewer than two days."""

    point: float
    low_t: float | None
    high_t: float | None
    low_bootstrap: float | None
    high_bootstrap: float | None


@dataclass(frozen=True)
class Tier:
    """Accuracy on the most confident rows, with how many rows and independent labels that is."""

    accuracy: float
    n: int
    n_eff: float


def resample_days(days_n: int, draws: int, rng: np.random.Generator) -> Ints:
    """Return ``weights``, int64[draws, days_n]: how often each day occurs in each resample of whole days.

    Drawn once per evaluation and shared by its metrics. ``draws`` is at least 1,000; ``rng`` is seeded by the
    caller. Source: Efron (1979), Annals of Statistics 7(1), 1-26, with the day as the unit.
    """
    if draws < MIN_DRAWS:
        raise ValueError(f"at least {MIN_DRAWS} bootstrap draws are needed, got {draws}")
    if days_n < 1:
        raise ValueError("no day to resample")
    return rng.multinomial(days_n, np.full(days_n, 1.0 / days_n), size=draws)


def hits(p: Floats, y: Floats) -> Floats:
    """Return 1 per right call, 0 per wrong one, 0.5 where the model made none; element ``i`` reads row ``i``.

    ``p > 0.5`` calls up, ``p < 0.5`` calls down; ``p == 0.5`` is no call and counts half right, whatever
    came, so that a flipped market (``1 - p``, ``1 - y``) scores the same and silence scores a coin's 50 %.
    Source: ours; were ``p >= 0.5`` up, a constant 0.5 would score the market's drift.
    """
    return np.where(p == 0.5, 0.5, (p > 0.5) == (y > 0.5)).astype(np.float64)


def accuracy_interval(p: Floats, y: Floats, day: Days, weights: Ints) -> AccuracyInterval:
    """Return the accuracy with its t interval over days and its day-block bootstrap percentile interval.

    Both treat accuracy as a ratio of per-day sums (right calls / calls), so days may differ in length. The
    gate reads the t interval: over few days the percentile interval covers 93 % instead of 95 %.

    Returns
    -------
    AccuracyInterval, shares; the t bounds are cut to 0 and 1
        point ± t(0.975, days - 1)·s with s² = days/(days - 1)·Σ_d (right_d - point·n_d)²/n².

    Source
    ------
    Cochran (1977), Sampling Techniques, 3rd ed., ch. 6 (ratio estimator).
    """
    _refuse_bad_rows(p, y)
    right, count = day_sums(hits(p, y), day, weights)
    point = float(right.sum() / count.sum())
    if len(right) < 2:
        return AccuracyInterval(point, None, None, None, None)
    low_t, high_t, _ = student(point, ratio_error(right - point * count, count), len(right) - 1)
    resampled = (weights @ right) / (weights @ count)  # (draws,)
    low, high = np.quantile(resampled, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return AccuracyInterval(point, max(low_t, 0.0), min(high_t, 1.0), float(low), float(high))


def accuracy_at_coverage(p: Floats, y: Floats, start: Times, end: Times, coverage_pct: float) -> Tier:
    """Return the accuracy on the given share, in (0, 100] %, of rows with the largest ``|p - 0.5|``.

    Rows tied with the last one to enter all enter, so row order does not matter and ``n`` may exceed the
    share (a constant model has one tier: everything). ``start``, ``end`` [n] are the lives of the labels,
    half-open; ``n_eff`` is the tier's rows times the mean uniqueness among the tier's own labels.
    Source: El-Yaniv & Wiener (2010), JMLR 11, 1605-1641 (risk against coverage).
    """
    _refuse_bad_rows(p, y)
    if not 0 < coverage_pct <= 100:
        raise ValueError(f"coverage must lie in (0, 100], got {coverage_pct}")
    confidence = np.round(np.abs(p - 0.5), 12)  # 0.7 - 0.5 and 0.5 - 0.3 differ in the last bit
    last = len(p) - max(1, int(np.ceil(len(p) * coverage_pct / 100)))
    chosen = confidence >= np.partition(confidence, last)[last]
    right = hits(p[chosen], y[chosen])
    return Tier(float(right.mean()), len(right), effective_n(start[chosen], end[chosen]))


def bin_index(p: Floats, bins: int, kind: BinKind) -> Ints:
    """Return the calibration bin of each prediction, 0 to bins - 1; bins are ``[a, b)``, the last one closed.

    "width": edges k/bins by division (``linspace`` moves them by a bit, which moves rows). "mass": edge k is
    the sorted prediction at position ceil(k·n/bins), so bins differ by at most one row where no two
    predictions are equal; equal predictions share a bin, whatever the order of rows, and a bin may be empty.
    Source: Roelofs et al. (2022), AISTATS, arXiv 2012.08668.
    """
    if bins < 1:
        raise ValueError(f"at least one bin is needed, got {bins}")
    inner = np.arange(1, bins)
    if kind == "width":
        edges = inner / bins
    elif kind == "mass":
        position = -(-inner * len(p) // bins)
        edges = np.sort(p)[position[position < len(p)]]
    else:
        raise ValueError(f"kind must be 'width' or 'mass', got {kind!r}")
    return np.searchsorted(edges, p, side="right").astype(np.int64)


def expected_calibration_error(p: Floats, y: Floats, bins: int, kind: BinKind) -> float:
    """Return Σ_b (n_b/n)·|frequency of up - mean probability of up|, a share; bins as in ``bin_index``.

    Of the probability of *up*, not of the predicted class. Noise biases it upwards: see
    ``calibrated_null_ece``.
    Source: Naeini, Cooper & Hauskrecht (2015), AAAI; Guo et al. (2017), ICML.
    """
    _refuse_bad_rows(p, y)
    return float(np.abs(np.bincount(bin_index(p, bins, kind), weights=y - p)).sum() / len(p))


def calibrated_null_ece(p: Floats, bins: int, kind: BinKind, draws: int, rng: np.random.Generator) -> float:
    """Return the mean ECE that these very predictions would show if they were perfectly calibrated.

    Labels are drawn row by row, each up with its own ``p``. Overlapping labels are noisier than that, so the
    debiased ECE (ECE minus this) still holds some noise: it is reported, no gate reads it.
    Source: Bröcker (2012), Ferro & Fricker (2012).
    """
    if draws < 1:
        raise ValueError(f"at least one draw is needed, got {draws}")
    index = bin_index(p, bins, kind)
    expected = np.bincount(index, weights=p, minlength=bins)
    member = np.equal.outer(index, np.arange(bins)).astype(np.float32)  # (rows, bins); counts stay exact
    odds = p.astype(np.float32)
    total, left = 0.0, draws
    while left > 0:
        chunk = min(left, max(1, NULL_CHUNK // len(p)))
        up = rng.random((chunk, len(p)), dtype=np.float32) < odds  # (chunk, rows)
        ups = up.astype(np.float32) @ member  # (chunk, bins)
        total += float(np.abs(ups - expected).sum())
        left -= chunk
    return total / (draws * len(p))


def ece_upper_bound(p: Floats, y: Floats, day: Days, weights: Ints) -> float | None:
    """Return 2·ECE minus the 5 % quantile of the ECEs of resampled days, a share; None below two days.

    15 equal-mass bins, fixed on the full sample: a resample moves days, not edges, so it needs only each
    day's sum of ``y - p`` per bin. A resampled ECE carries the noise twice, which the subtraction takes out
    again; the bound can therefore lie below the (upward biased) ECE itself.
    Source: Davison & Hinkley (1997), Bootstrap Methods, section 5.2 (basic bootstrap).
    """
    _refuse_bad_rows(p, y)
    index = bin_index(p, ECE_BINS_MASS, "mass")
    gaps = [day_sums(np.where(index == k, y - p, 0.0), day, weights) for k in range(ECE_BINS_MASS)]
    gap, count = np.stack([sums for sums, _ in gaps], axis=1), gaps[0][1]  # (days, bins), (days,)
    if len(count) < 2:
        return None
    resampled = np.abs(weights @ gap).sum(axis=1) / (weights @ count)  # (draws,)
    point = float(np.abs(gap.sum(axis=0)).sum() / len(p))
    return 2 * point - float(np.quantile(resampled, ECE_LOW_QUANTILE))


def brier_score(p: Floats, y: Floats) -> float:
    """Return the mean of (p - y)². Source: Brier (1950), Monthly Weather Review 78(1), 1-3."""
    _refuse_bad_rows(p, y)
    return float(np.mean((p - y) ** 2))


def brier_skill(p: Floats, y: Floats, train_base_rate: float) -> float:
    """Return 1 - Brier / (ȳ(1 - ȳ)), with ȳ the share of ups in *train*. Source: Brier (1950).

    The denominator is the base rate's score if the market drifts as it did in train. The p-value of the gate
    compares row by row with the base rate's actual score, so a lucky drift cannot pass as skill.
    """
    _refuse_bad_base(train_base_rate)
    return 1.0 - brier_score(p, y) / (train_base_rate * (1.0 - train_base_rate))


def row_log_loss(p: Floats, y: Floats) -> Floats:
    """Return -ln(probability given to what came) per row, in nats, with ``p`` cut to [1e-15, 1 - 1e-15]."""
    _refuse_bad_rows(p, y)
    cut = np.clip(p, LOG_LOSS_FLOOR, 1.0 - LOG_LOSS_FLOOR)
    return -np.log(np.where(y > 0.5, cut, 1.0 - cut))


def bootstrap_t(gain: Floats, day: Days, weights: Ints) -> tuple[float, float, Floats] | None:
    """Return (mean, its standard error s, t* of each resample) of ``gain`` float64[n]; None below two days.

    Days are resampled whole and the statistic is studentised, t* = (mean* - mean)/s*: the plain percentile is too
    narrow with few days. ±inf or NaN where a resample is one day many times over.
    Source: Hall (1992), The Bootstrap and Edgeworth Expansion, ch. 3 (percentile-t).
    """
    total, count = day_sums(gain, day, weights)
    if len(total) < 2:
        return None
    mean = float(total.sum() / count.sum())
    residual = total - mean * count
    error = ratio_error(residual, count)
    shift, errors = ratio_shift(residual, count, weights)
    errors[errors < 1e-6 * error] = 0.0  # what rounding leaves of a spread of nothing: the root of 1e-16, and room
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean, error, shift / errors


def better_p_value(gain: Floats, day: Days, weights: Ints) -> float | None:
    """Return the one-sided p-value of "the mean gain over the baseline is not above zero", from ``bootstrap_t``.

    Paired: ``gain`` float64[n] is the baseline's loss minus the model's on the same row. From 1/(draws + 1) to 1:
    (1 + number of resamples with t* >= mean/s)/(draws + 1); None for fewer than two days.
    """
    found = bootstrap_t(gain, day, weights)
    if found is None:
        return None
    mean, error, drawn = found
    if error == 0.0:
        return 1.0 / (len(weights) + 1) if mean > 0 else 1.0
    beaten = np.isnan(drawn) | (drawn >= mean / error)
    return float((1 + np.count_nonzero(beaten)) / (len(weights) + 1))


def degenerate_reasons(p: Floats) -> tuple[str, ...]:
    """Return why this output cannot be a working model's, by name; empty when it can.

    ``p`` holds all predictions made, with or without a label, NaN included. The names: ``no_predictions``,
    ``nan`` (infinite too), ``out_of_range``, ``constant``, ``one_class`` (above 95 % of the rows are called
    up, or down), ``extreme_logit`` (some |ln(p/(1-p))| > 20). Source: ours.
    """
    if len(p) == 0:
        return ("no_predictions",)
    reasons = [] if np.isfinite(p).all() else ["nan"]
    known = p[np.isfinite(p)]
    valid = known[(known >= 0.0) & (known <= 1.0)]
    if len(valid) < len(known):
        reasons.append("out_of_range")
    if len(valid) == 0:
        return tuple(reasons)
    if valid.max() - valid.min() <= CONSTANT_SPREAD:
        reasons.append("constant")
    if max(np.mean(valid > 0.5), np.mean(valid < 0.5)) > MAX_CLASS_FRAC:
        reasons.append("one_class")
    tail = 1.0 / (1.0 + np.exp(MAX_ABS_LOGIT))
    if min(valid.min(), (1.0 - valid).min()) < tail * (1.0 - 1e-7):  # the room is for the rounding of 1 - p
        reasons.append("extreme_logit")
    return tuple(reasons)


def evaluate(frame: pl.DataFrame, train_base_rate: float, draws: int, seed: int) -> dict[str, Metric]:
    """Return every metric of one model on one symbol as a flat row, in the order of ``METRIC_KEYS``.

    Rows without label or prediction are counted and left out, and so are predictions that are NaN or no
    probability, which the guards name. A metric that the rows cannot give is None, never 0.

    Parameters
    ----------
    frame : one row per minute, in any order
        ``ts``, ``label_end_ts`` (Datetime us UTC), ``day`` (UTC day of ts), ``p_up``, ``y_up``; the last two
        and, on rows without a label, ``label_end_ts`` may be null. A label lives in [ts + 1m, label_end_ts).
    train_base_rate : share, above 0 and below 1
        Share of ups among the labels the model was fitted on.
    draws, seed : bootstrap samples, at least 1,000; same arguments, same numbers

    Returns
    -------
    dict, keys ``METRIC_KEYS``
        ``accuracy_low_frac`` and ``accuracy_high_frac`` are the t interval over days.

    Source
    ------
    Each part names its own; docs/conventions.md says what the gates ask.
    """
    _refuse_bad_base(train_base_rate)
    if draws < MIN_DRAWS:
        raise ValueError(f"at least {MIN_DRAWS} bootstrap draws are needed, got {draws}")
    _refuse_bad_frame(frame)
    predicted = frame["p_up"].cast(pl.Float64)
    reasons = degenerate_reasons(predicted.drop_nulls().to_numpy())
    scored = frame.filter(predicted.is_between(0.0, 1.0) & frame["y_up"].is_not_null()).sort("ts")
    metrics: dict[str, Metric] = dict.fromkeys(METRIC_KEYS)
    metrics |= {
        "rows_n": frame.height,
        "null_predictions_n": predicted.null_count(),
        "null_labels_n": frame["y_up"].null_count(),
        "nan_predictions_n": int((~predicted.is_finite()).sum()),
        "guard_reasons": ", ".join(reasons),
        "guards_n": len(reasons),
    }
    if scored.height == 0:
        return metrics | {"n": 0, "n_eff": 0.0, "days_n": 0, "ties_n": 0}
    return metrics | _scores(scored, train_base_rate, draws, np.random.default_rng(seed))


def _scores(scored: pl.DataFrame, base: float, draws: int, rng: np.random.Generator) -> dict[str, Metric]:
    p, y = (scored[name].cast(pl.Float64).to_numpy() for name in ("p_up", "y_up"))
    day = scored["day"].cast(pl.Date).to_numpy()
    lives = (scored["ts"] + KNOWN_AFTER, scored["label_end_ts"])
    start, end = (moment.to_physical().to_numpy() for moment in lives)
    always = np.full(len(p), base)
    weights = resample_days(len(np.unique(day)), draws, rng)
    accuracy = accuracy_interval(p, y, day, weights)
    ece = expected_calibration_error(p, y, ECE_BINS_MASS, "mass")
    null = calibrated_null_ece(p, ECE_BINS_MASS, "mass", draws, rng)
    loss, loss_base = row_log_loss(p, y), row_log_loss(always, y)
    tiers = {pct: accuracy_at_coverage(p, y, start, end, pct) for pct in TIERS_PCT}
    return {
        "ties_n": int(np.count_nonzero(p == 0.5)),
        "n": len(p),
        "n_eff": effective_n(start, end),
        "mean_uniqueness": mean_uniqueness(start, end),
        "days_n": weights.shape[1],
        "accuracy_frac": accuracy.point,
        "accuracy_low_frac": accuracy.low_t,
        "accuracy_high_frac": accuracy.high_t,
        "accuracy_low_bootstrap_frac": accuracy.low_bootstrap,
        "accuracy_high_bootstrap_frac": accuracy.high_bootstrap,
        "base_rate_frac": float(max(y.mean(), 1.0 - y.mean())),
        "baseline_accuracy_frac": float(hits(always, y).mean()),
        "ece_width_10": expected_calibration_error(p, y, ECE_BINS_WIDTH, "width"),
        "ece_mass_15": ece,
        "ece_null_mass_15": null,
        "ece_debiased": ece - null,
        "ece_upper": ece_upper_bound(p, y, day, weights),
        "brier": brier_score(p, y),
        "brier_base": brier_score(always, y),
        "brier_skill": brier_skill(p, y, base),
        "brier_p_value": better_p_value((always - y) ** 2 - (p - y) ** 2, day, weights),
        "log_loss": float(loss.mean()),
        "log_loss_base": float(loss_base.mean()),
        "log_loss_p_value": better_p_value(loss_base - loss, day, weights),
        **{f"accuracy_top_{pct}_frac": tier.accuracy for pct, tier in tiers.items()},
        **{f"n_top_{pct}": tier.n for pct, tier in tiers.items()},
        **{f"n_eff_top_{pct}": tier.n_eff for pct, tier in tiers.items()},
    }


def _refuse_bad_rows(p: Floats, y: Floats) -> None:
    if p.ndim != 1 or p.shape != y.shape or len(p) == 0:
        raise ValueError(f"p and y must be columns of one length, not empty; got {p.shape} and {y.shape}")
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise ValueError("p must lie from 0 to 1 without NaN")
    if not np.all((y == 0.0) | (y == 1.0)):
        raise ValueError("y must be 0 or 1")


def _refuse_bad_base(train_base_rate: float) -> None:
    if not 0.0 < train_base_rate < 1.0:
        raise ValueError(f"train_base_rate must lie between 0 and 1, both excluded; got {train_base_rate}")


def _refuse_bad_frame(frame: pl.DataFrame) -> None:
    missing = sorted({"ts", "day", "label_end_ts", "p_up", "y_up"} - set(frame.columns))
    if missing:
        raise ValueError(f"columns missing: {', '.join(missing)}")
    for name in ("ts", "label_end_ts"):
        if frame.schema[name] != pl.Datetime("us", "UTC"):
            raise TypeError(f"{name} must be Datetime us UTC, got {frame.schema[name]}")
    if frame["ts"].null_count() or frame["ts"].is_duplicated().any():
        raise ValueError("ts must be present and occur once: one symbol, one prediction a minute")
    if not (frame["day"].cast(pl.Date) == frame["ts"].dt.date()).fill_null(value=False).all():
        raise ValueError("day must be the UTC day of ts")
    labelled = frame.filter(frame["y_up"].is_not_null())
    if labelled["label_end_ts"].null_count():
        raise ValueError("a label without label_end_ts: its life, and so its independence, is unknown")
    if not labelled["y_up"].is_in([0, 1]).all():
        raise ValueError("y_up must be 0, 1 or null")
