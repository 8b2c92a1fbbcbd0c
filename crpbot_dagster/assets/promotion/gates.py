"""What a model's numbers must reach before it may be in force, and the verdict when they do not.

Pure: from metrics to a verdict, no table, no registry, no clock. The numbers come from
``evaluations/metrics.py`` (their names are its ``METRIC_KEYS``); moving the alias of the registered model is
``assets.py`` beside this module.

The order of the verdicts is docs/conventions.md's and is part of the contract:

1. too few independent labels: INSUFFICIENT;
2. the accuracy row failed: TUNE if accuracy is near enough, else INVESTIGATE, whatever else is missing;
3. a row without its input: INSUFFICIENT; 4. every row passed: PROMOTE; 5. else TUNE.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

Metric: TypeAlias = float | int | str | None
Verdict: TypeAlias = Literal["PROMOTE", "TUNE", "INVESTIGATE", "INSUFFICIENT"]

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
WORDS = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}


@dataclass(frozen=True)
class Thresholds:
    """What each row asks for; docs/conventions.md names the plan's values, the caller states them.

    ``accuracy``, ``tune_accuracy``, ``ece``, ``p_value`` are shares; ``min_n_eff`` counts independent labels;
    ``strict`` asks the lower 95 % bound of the accuracy, not only the point, to reach ``accuracy``.
    """

    accuracy: float
    tune_accuracy: float
    ece: float
    min_n_eff: float
    p_value: float
    strict: bool

    def __post_init__(self) -> None:
        for name in ("accuracy", "tune_accuracy", "ece", "p_value"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"threshold {name} must lie between 0 and 1, got {getattr(self, name)}")
        if not (math.isfinite(self.min_n_eff) and self.min_n_eff > 0.0):
            raise ValueError(f"min_n_eff must be a positive number of labels, got {self.min_n_eff}")
        if self.tune_accuracy > self.accuracy:
            raise ValueError(f"tune_accuracy {self.tune_accuracy} lies above accuracy {self.accuracy}")


@dataclass(frozen=True)
class GateRow:
    """One gate: the number, what it was held against, on how many rows, and what came of it in words.

    Where a gate has several conditions, ``value``, ``comparison`` and ``threshold`` are of the one that
    decided: the first missing or failed, else the first; ``reason`` tells all. ``passed`` is None where
    nobody can know.
    """

    name: str
    value: float | None
    threshold: float | None
    comparison: str
    n: int | None
    passed: bool | None
    reason: str


@dataclass(frozen=True)
class Decision:
    """The verdict on one model, the rows behind it, and the sentences that explain it, first things first."""

    verdict: Verdict
    rows: tuple[GateRow, ...]
    reasons: tuple[str, ...]

    def to_rows(self) -> list[dict[str, float | int | str | bool | None]]:
        """Return one plain dict per gate, with the verdict, for a table."""
        return [{"verdict": self.verdict, **asdict(row)} for row in self.rows]


@dataclass(frozen=True)
class Candidate:
    """A model family that was judged, with the metrics it was judged on."""

    decision: Decision
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Choice:
    """The family a symbol is left with: promoted, or the best of those that are not, with its verdict."""

    family: str
    verdict: Verdict
    is_promoted: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Condition:
    metric: str
    value: float | None
    comparison: str
    threshold: float | None
    threshold_name: str

    @property
    def holds(self) -> bool | None:
        if self.value is None or self.threshold is None:
            return None
        return COMPARISONS[self.comparison](self.value, self.threshold)

    @property
    def sentence(self) -> str:
        if self.value is None:
            return f"{self.metric} is missing"
        if self.threshold is None:
            return f"{self.threshold_name} is missing, to hold {self.metric} {self.value:.6g} against"
        negation = "" if self.holds else "not "
        bound = f"{self.threshold_name} {self.threshold:.6g}"
        return f"{self.metric} {self.value:.6g} is {negation}{WORDS[self.comparison]} {bound}"


def decide(metrics: Mapping[str, Metric], thresholds: Thresholds) -> Decision:
    """Return the verdict on one model, with every number beside its threshold.

    Parameters
    ----------
    metrics : mapping
        From ``evaluations.metrics.evaluate``; an absent, None or not finite number is a missing input.
    thresholds : Thresholds

    Returns
    -------
    Decision
        Rows ``sample``, ``accuracy``, ``calibration``, ``skill``, ``guards``; no row passes on too few
        labels.

    Source
    ------
    docs/conventions.md, rows Accuracy, Calibration, Skill, guards.
    """
    sample = _row("sample", [_enough(metrics, thresholds)], metrics, enough=True)
    enough = sample.passed is True
    accuracy = _row("accuracy", _accuracy_conditions(metrics, thresholds), metrics, enough=enough)
    rows = (
        sample,
        accuracy,
        _row("calibration", _calibration_conditions(metrics, thresholds), metrics, enough=enough),
        _row("skill", _skill_conditions(metrics, thresholds), metrics, enough=enough),
        _guards_row(metrics, enough=enough),
    )
    verdict, why = _verdict(sample, accuracy, rows, _number(metrics, "accuracy_frac"), thresholds)
    return Decision(verdict, rows, (why, *(row.reason for row in rows if row.passed is not True)))


def choose(candidates: Mapping[str, Candidate]) -> Choice:
    """Return the best promotable family, or the best of the others with its verdict.

    Best: highest lower 95 % bound of the accuracy, then highest accuracy, then first name; a missing number
    comes last. When nobody is promotable, the symbol's verdict is that of the best family.

    Parameters
    ----------
    candidates : family name -> Candidate, at least one

    Returns
    -------
    Choice

    Source
    ------
    Ours: the lower bound, because the point alone favours the family with the fewest labels.
    """
    if not candidates:
        raise ValueError("no candidate was evaluated: there is nothing to choose from, not even a loser")
    promotable = sorted(name for name in candidates if candidates[name].decision.verdict == "PROMOTE")
    family = min(promotable or candidates, key=lambda name: (*_rank(candidates[name].metrics), name))
    decision = candidates[family].decision
    if promotable:
        why = f"{family} is the best of {len(promotable)} promotable among {len(candidates)} families."
    else:
        why = f"None of {len(candidates)} families is promotable; {family} is the best of them."
    return Choice(family, decision.verdict, bool(promotable), (why, *decision.reasons))


def _verdict(
    sample: GateRow, accuracy: GateRow, rows: tuple[GateRow, ...], point: float | None, thresholds: Thresholds
) -> tuple[Verdict, str]:
    if sample.passed is not True:
        return "INSUFFICIENT", "INSUFFICIENT: too few independent labels to judge."
    if accuracy.passed is False and point is not None:
        near = point >= thresholds.tune_accuracy
        words = f"accuracy {point:.6g} is {'at least' if near else 'below'} {thresholds.tune_accuracy:.6g}"
        verdict: Verdict = "TUNE" if near else "INVESTIGATE"
        return verdict, f"{verdict}: the accuracy gate failed, {words}."
    missing = [row.name for row in rows if row.passed is None]
    if missing:
        return "INSUFFICIENT", f"INSUFFICIENT: no judgement without the inputs of {', '.join(missing)}."
    failed = [row.name for row in rows if row.passed is False]
    if failed:
        return "TUNE", f"TUNE: accurate enough, but failed {', '.join(failed)}."
    return "PROMOTE", "PROMOTE: every gate passed."


def _enough(metrics: Mapping[str, Metric], thresholds: Thresholds) -> _Condition:
    return _Condition("n_eff", _number(metrics, "n_eff"), ">=", thresholds.min_n_eff, "the minimum")


def _accuracy_conditions(metrics: Mapping[str, Metric], thresholds: Thresholds) -> list[_Condition]:
    point, low = _number(metrics, "accuracy_frac"), _number(metrics, "accuracy_low_frac")
    baselines = [_number(metrics, "base_rate_frac"), _number(metrics, "baseline_accuracy_frac")]
    known = [baseline for baseline in baselines if baseline is not None]
    best = max(known) if len(known) == len(baselines) else None
    conditions = [_Condition("accuracy_frac", point, ">=", thresholds.accuracy, "the threshold")]
    if thresholds.strict:
        conditions.append(_Condition("accuracy_low_frac", low, ">=", thresholds.accuracy, "the threshold"))
    return [*conditions, _Condition("accuracy_low_frac", low, ">", best, "the best baseline")]


def _calibration_conditions(metrics: Mapping[str, Metric], thresholds: Thresholds) -> list[_Condition]:
    upper = _Condition("ece_upper", _number(metrics, "ece_upper"), "<=", thresholds.ece, "the threshold")
    return [upper, _enough(metrics, thresholds)]


def _skill_conditions(metrics: Mapping[str, Metric], thresholds: Thresholds) -> list[_Condition]:
    significant = thresholds.p_value
    loss, base = _number(metrics, "log_loss"), _number(metrics, "log_loss_base")
    brier_p, loss_p = _number(metrics, "brier_p_value"), _number(metrics, "log_loss_p_value")
    return [
        _Condition("brier_skill", _number(metrics, "brier_skill"), ">", 0.0, "the base rate's"),
        _Condition("brier_p_value", brier_p, "<", significant, "the threshold"),
        _Condition("log_loss", loss, "<", base, "log_loss_base"),
        _Condition("log_loss_p_value", loss_p, "<", significant, "the threshold"),
    ]


def _guards_row(metrics: Mapping[str, Metric], *, enough: bool) -> GateRow:
    reasons = metrics.get("guard_reasons")
    if reasons is not None and not isinstance(reasons, str):
        raise TypeError(f"guard_reasons must be text, got {reasons!r}")
    found = None if reasons is None else float(len(reasons.split(", "))) if reasons else 0.0
    condition = _Condition("degenerate outputs", found, "<=", 0.0, "the limit")
    row = _row("guards", [condition], metrics, enough=enough)
    if not reasons:
        return row
    return GateRow(**{**asdict(row), "reason": f"{row.reason[:-1]}: {reasons}."})


def _row(name: str, conditions: list[_Condition], metrics: Mapping[str, Metric], *, enough: bool) -> GateRow:
    # A missing input leaves a row open, with one exception: an accuracy that is known and fails is a failure.
    results = [condition.holds for condition in conditions]
    failed_anyway = name == "accuracy" and results[0] is not None and False in results
    passed = None if None in results and not failed_anyway else all(results)
    n = _number(metrics, "n")
    parts = [condition.sentence for condition in conditions]
    if n is None:
        parts.append("the number of rows is missing")
    if passed is True and (n is None or not enough):
        passed = None
        parts.append("nothing passes on too few labels")
    decisive = False if passed is False else None
    shown = conditions[results.index(decisive)] if decisive in results else conditions[0]
    return GateRow(
        name=name,
        value=shown.value,
        threshold=shown.threshold,
        comparison=f"{shown.metric} {shown.comparison} {shown.threshold_name}",
        n=None if n is None else int(n),
        passed=passed,
        reason=f"{name}: {'; '.join(parts)}.",
    )


def _number(metrics: Mapping[str, Metric], name: str) -> float | None:
    value = metrics.get(name)
    if value is None:
        return None
    if isinstance(value, str | bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value) if math.isfinite(value) else None


def _rank(metrics: Mapping[str, Metric]) -> tuple[float, float]:
    values = (_number(metrics, name) for name in ("accuracy_low_frac", "accuracy_frac"))
    low, point = (math.inf if value is None else -value for value in values)
    return low, point
