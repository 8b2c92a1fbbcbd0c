"""Problems open once, close once, and everything wrong with one table's partition in one run is one problem."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from crpbot_dagster.sensors import problems
from crpbot_dagster.sensors.problems import Checked, Ended, Message, Problem, follow

UI = "http://ui:3000"
DAY = "2024-01-31|BTC-USD"
TICKS, BARS = "raw/tardis_trades", "bars/trades_1m"
BAD = Checked(TICKS, "hard_rules", False, "error", "broken: a fifth of the rows refused")
WARN = Checked(TICKS, "coverage", False, "warning", "broken: half of the minutes")
FAILED = Ended("r1", "day run", DAY, "failed", (BAD,), {TICKS: "Failure: hard_rules failed"})
WELL = Ended(
    "r9", "day run", DAY, "succeeded", (replace(BAD, passed=True), replace(WARN, passed=True)), {}, frozenset({TICKS})
)


def live(*runs: Ended) -> tuple[dict[str, Problem], list[Message]]:
    known: dict[str, Problem] = {}
    said: list[Message] = []
    for n, run in enumerate(runs):
        known, new = follow(known, run, f"day {n}", UI)
        said += new
    return known, said


def test_a_failed_check_and_the_run_it_fails_are_one_problem_with_links() -> None:
    known, (message,) = live(FAILED)
    assert list(known) == [f"{TICKS}|{DAY}"]
    assert (message.title, message.severity) == ("ERROR raw/tardis_trades BTC-USD 2024-01-31", "error")
    assert message.body.splitlines() == [
        "hard_rules: broken: a fifth of the rows refused",
        "since day 0",
        "http://ui:3000/runs/r1",
        "http://ui:3000/assets/raw/tardis_trades?view=checks&checkDetail=hard_rules&partition=2024-01-31%7CBTC-USD",
    ]


def test_retries_are_silent_and_the_recovery_is_said_once() -> None:
    known, said = live(FAILED, replace(FAILED, run_id="r2"), replace(FAILED, run_id="r3"), WELL, WELL)
    assert known == {}
    assert [m.title.split()[0] for m in said] == ["ERROR", "RECOVERED"]
    assert "hard_rules: open since day 0, gone day 3" in said[1].body and "/runs/r9" in said[1].body


def test_a_problem_that_comes_back_is_said_again() -> None:
    assert [m.severity for m in live(FAILED, WELL, FAILED)[1]] == ["error", "recovered", "error"]


def test_a_warning_of_a_run_that_succeeded_is_said_and_an_error_after_it_too() -> None:
    warned = Ended("r1", "day run", DAY, "succeeded", (replace(BAD, passed=True), WARN), {}, frozenset({TICKS}))
    known, said = live(warned, warned, FAILED, FAILED, WELL)
    assert [m.title.split()[0] for m in said] == ["WARNING", "ERROR", "RECOVERED"]
    assert known == {}


def test_one_passing_check_does_not_close_what_another_holds_open() -> None:
    both = replace(FAILED, checks=(BAD, WARN))
    half = replace(WELL, checks=(replace(BAD, passed=True), WARN))
    known, said = live(both, half)
    assert [m.severity for m in said] == ["error"]
    assert list(known[f"{TICKS}|{DAY}"].causes) == ["coverage"]
    assert [m.severity for m in live(both, half, WELL)[1]] == ["error", "recovered"]


def test_partitions_and_tables_are_problems_of_their_own() -> None:
    other = replace(FAILED, partition="2024-01-31|ETH-USD")
    step = replace(FAILED, failed_steps={TICKS: "x", BARS: "IncompleteError: volumes lack a day"})
    known, said = live(step, other)
    assert len(known) == len(said) == 3
    assert any("run: IncompleteError: volumes lack a day" in m.body for m in said)
    # A success of another partition closes nothing.
    assert live(other, WELL)[1] == live(other)[1]


def test_a_failed_step_is_well_again_when_its_table_is_made() -> None:
    broken = Ended("r1", "day run", DAY, "failed", (), {BARS: "SourceError: no answer"})
    canceled = Ended("r2", "day run", DAY, "canceled")
    made = Ended("r3", "run", DAY, "failed", (), {"features/v4": "no"}, frozenset({BARS}))
    assert [m.title for m in live(broken, canceled, made)[1]] == [
        "ERROR bars/trades_1m BTC-USD 2024-01-31",
        "ERROR features/v4 BTC-USD 2024-01-31",
        "RECOVERED bars/trades_1m BTC-USD 2024-01-31",
    ]


def test_a_run_that_died_without_a_failed_step_is_named_for_itself() -> None:
    died = Ended("r1", "training run", DAY, "failed", error="the process unexpectedly exited")
    _, said = live(died, died)
    assert [m.title for m in said] == ["ERROR training run BTC-USD 2024-01-31"]
    assert "unexpectedly exited" in said[0].body and "/assets/" not in said[0].body
    assert len(live(died, replace(WELL, label="day run"))[0]) == 1  # another kind of run does not close it
    assert live(died, replace(WELL, label="training run"))[0] == {}


def test_a_problem_survives_being_stored() -> None:
    (problem,) = live(FAILED)[0].values()
    assert problems.from_json(problems.to_json(problem)) == problem


RUNS = st.lists(
    st.sampled_from(
        [
            FAILED,
            WELL,
            replace(FAILED, checks=(BAD, WARN)),
            Ended("r2", "day run", DAY, "succeeded", (replace(BAD, passed=True), WARN), {}, frozenset({TICKS})),
            Ended("r3", "day run", DAY, "failed", (), {TICKS: "SourceError"}),
            Ended("r4", "day run", DAY, "failed", error="died"),
        ]
    ),
    max_size=12,
)


@given(RUNS)
def test_alerts_and_recoveries_alternate_for_every_problem(runs: list[Ended]) -> None:
    known, said = live(*runs)
    for name in {m.title.split(" ", 1)[1] for m in said}:
        told = [m.severity for m in said if m.title.split(" ", 1)[1] == name]
        state = None
        for severity in told:
            if severity == "recovered":
                assert state in ("error", "warning")
                state = None
            else:
                assert state is None or (state, severity) == ("warning", "error")
                state = severity
        assert (state is not None) == any(p.name == name for p in known.values())
    # A last good run closes everything that a day run can close.
    known, _ = live(*runs, WELL)
    assert known == {}
