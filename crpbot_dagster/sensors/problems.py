"""Which problems are open and what is said about them: one alert when one opens, one message when it is gone.

A problem is a table's partition. Everything wrong with it in one run is one problem: a failed check, several of them,
and the failure of the run that a blocking one causes. Retries that fail the same way are silent; a warning that becomes
an error is said. Pure: no Dagster, no clock, no network; how runs are read and messages sent is in ``alerts.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

Severity = Literal["error", "warning"]
RUN = "run"  # the cause of a problem that is no check


@dataclass(frozen=True)
class Checked:
    """One evaluated check of a table."""

    table: str
    check: str
    passed: bool
    severity: Severity
    text: str


@dataclass(frozen=True)
class Ended:
    """A run that ended, and what it said on the way."""

    run_id: str
    label: str  # what the run was, e.g. "day run": names a failure that belongs to no table
    partition: str  # "2024-01-31|BTC-USD"; empty when the run had none
    status: Literal["succeeded", "failed", "canceled"]
    checks: tuple[Checked, ...] = ()
    failed_steps: Mapping[str, str] = field(default_factory=dict)  # table → what it said
    made: frozenset[str] = frozenset()  # tables materialised
    error: str = ""


@dataclass(frozen=True)
class Problem:
    """An open problem; ``causes`` maps a check's name, or ``run``, to what it said."""

    table: str
    partition: str
    severity: Severity
    causes: Mapping[str, str]
    run_id: str
    since: str

    @property
    def name(self) -> str:
        """What it is about, as titles have it."""
        day, _, symbol = self.partition.partition("|")
        return " ".join(p for p in (self.table, symbol, day) if p)


@dataclass(frozen=True)
class Message:
    """What is sent to people."""

    title: str
    body: str
    severity: Literal["error", "warning", "recovered"]


Open = Mapping[str, Problem]


def follow(problems: Open, ended: Ended, now: str, ui_url: str) -> tuple[dict[str, Problem], list[Message]]:
    """Return the open problems after a run, and what is to be said about the change."""
    after, said = dict(problems), []
    for key, problem in _found(ended, now).items():
        known = after.get(key)
        if known is None:
            after[key] = problem
            said.append(_alert(problem, ui_url))
            continue
        worse = known.severity == "warning" and problem.severity == "error"
        severity: Severity = "error" if worse else known.severity
        causes = {**known.causes, **problem.causes}
        after[key] = replace(known, severity=severity, causes=causes, run_id=problem.run_id)
        if worse:
            said.append(_alert(after[key], ui_url))
    for key, known in problems.items():
        if known.partition != ended.partition:
            continue
        causes = {c: text for c, text in after[key].causes.items() if not _cleared(known.table, c, ended)}
        after[key] = replace(after[key], causes=causes)
        if not causes:
            del after[key]
            said.append(_recovery(known, ended, now, ui_url))
    return after, said


def _found(ended: Ended, now: str) -> dict[str, Problem]:
    causes: dict[str, dict[str, str]] = {}
    severities: dict[str, Severity] = {}
    for c in ended.checks:
        if not c.passed:
            causes.setdefault(c.table, {})[c.check] = c.text
            if severities.get(c.table) != "error":
                severities[c.table] = c.severity
    for table, text in ended.failed_steps.items():
        # A failed blocking check fails its step: one problem, and the check says more.
        if severities.get(table) != "error":
            causes.setdefault(table, {})[RUN] = text
            severities[table] = "error"
    if ended.status == "failed" and "error" not in severities.values():
        causes[ended.label], severities[ended.label] = {RUN: ended.error or "the run failed"}, "error"
    return {
        f"{table}|{ended.partition}": Problem(table, ended.partition, severities[table], why, ended.run_id, now)
        for table, why in causes.items()
    }


def _cleared(table: str, cause: str, ended: Ended) -> bool:
    if cause == RUN:
        return table in ended.made or (table == ended.label and ended.status == "succeeded")
    results = [c.passed for c in ended.checks if (c.table, c.check) == (table, cause)]
    return bool(results) and all(results)


def _alert(problem: Problem, ui_url: str) -> Message:
    lines = [f"{cause}: {text}" for cause, text in problem.causes.items()]
    links = _links(problem, problem.run_id, ui_url)
    body = "\n".join([*lines, f"since {problem.since}", *links])
    return Message(f"{problem.severity.upper()} {problem.name}", body, problem.severity)


def _recovery(problem: Problem, ended: Ended, now: str, ui_url: str) -> Message:
    causes = ", ".join(problem.causes)
    body = "\n".join([f"{causes}: open since {problem.since}, gone {now}", *_links(problem, ended.run_id, ui_url)])
    return Message(f"RECOVERED {problem.name}", body, "recovered")


def _links(problem: Problem, run_id: str, ui_url: str) -> list[str]:
    links = [f"{ui_url}/runs/{run_id}"]
    if "/" in problem.table:
        check = next((c for c in problem.causes if c != RUN), None)
        detail = f"&checkDetail={quote(check)}" if check else ""
        links.append(f"{ui_url}/assets/{problem.table}?view=checks{detail}&partition={quote(problem.partition)}")
    return links


def to_json(problem: Problem) -> dict[str, Any]:
    """Return a problem as it is stored."""
    return {**problem.__dict__, "causes": dict(problem.causes)}


def from_json(stored: Mapping[str, Any]) -> Problem:
    """Return a stored problem."""
    return Problem(**stored)
