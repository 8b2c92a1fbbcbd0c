"""What is to be done next, decided from facts: the day runs and the label runs of the last days.

A day run makes everything of a day up to the features that a verdict reads; a sets run what is made of every source,
once every symbol has the day; a label run makes the labels of a day, which needs the day after. Pure: no Dagster, no
clock, no lake; the facts are read in ``facts.py`` and the moment is an argument.
Not here: training (``retraining.py``), promotion (``promotion.py``).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from crpbot_dagster.assets import made_again
from crpbot_dagster.tables.schema import MARKET_WIDE

READY_AFTER = timedelta(hours=6, minutes=30)  # Tardis has a day about 06:00 UTC of the next
TAKE_OVER_AFTER = timedelta(hours=7)  # from then on a day the schedule did not bring is the catch-up sensor's
LATE_AFTER = timedelta(days=3)  # counted from the day's start: a primary source that has no file by then has a gap

# What a day's run reads of the days before it: table → how many of them.
LOOK_BACK = {"bars/trades_1m": 1, "bars/book_1m": 1, "bars/volume_1d": 7}

Kind = Literal["sources", "day", "sets", "label", "training", "evaluation", "promotion"]
Status = Literal["in_flight", "succeeded", "failed"]


@dataclass(frozen=True)
class Attempt:
    """One run that was requested for a piece of work, as its tags tell it."""

    kind: Kind
    symbol: str
    day: date
    number: int
    requested_at: datetime  # the platform's clock
    status: Status
    digest: str = ""


@dataclass(frozen=True)
class Request:
    """A run to be made: these tables of one symbol's day."""

    kind: Kind
    symbol: str
    day: date
    tables: tuple[str, ...]
    attempt: int
    requested_at: datetime
    reason: str
    digest: str = ""  # of what it reads, where the day alone does not say it

    @property
    def key(self) -> str:
        """What makes the request one of its kind: the same work never gets the same key twice, a replay does."""
        parts = (self.kind, self.symbol, self.day.isoformat(), self.digest, str(self.attempt))
        return "|".join(p for p in parts if p)


@dataclass(frozen=True)
class Day:
    """What the lake holds of one symbol's day."""

    absent: frozenset[str]  # tables that are not there, or whose files are gone
    is_late: bool = False  # the primary source did not have the day when it was asked


@dataclass(frozen=True)
class Span:
    """The oldest and the newest day of a symbol whose features the lake holds; of the market, of any symbol."""

    first: date
    last: date


@dataclass(frozen=True)
class Rules:
    """The settings of the catch-up, and the tables of its kinds of runs."""

    days: int
    budget: int
    retry_h: float
    day_tables: tuple[str, ...]
    label_tables: tuple[str, ...]
    market_tables: tuple[str, ...] = ()  # of a day of the whole market, which has no labels
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # symbol → raw tables beside its primary source
    set_tables: tuple[str, ...] = ()  # of a symbol's day, made of every source; nothing waits for them

    def tables_of(self, symbol: str) -> tuple[str, ...]:
        """Return the tables of a day run."""
        if symbol == MARKET_WIDE:
            return self.market_tables
        return tuple(t for t in self.day_tables if t not in self.beside.get(symbol, ()))


@dataclass(frozen=True)
class State:
    """All that the catch-up decides from."""

    now: datetime
    start_day: date
    held: Mapping[str, Span | None]  # symbol → what the lake spans, None: nothing
    days: Mapping[tuple[str, date], Day]  # the window and its look-back
    in_flight: frozenset[tuple[str, date]]  # partitions with a run queued, starting or started, whoever asked
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Plan:
    """What to request now, and in words what waits and why."""

    requests: tuple[Request, ...] = ()
    waits: tuple[str, ...] = ()


@dataclass
class _Found:
    requests: list[Request] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


def midnight(day: date) -> datetime:
    """Return the moment a UTC day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def newest_day(now: datetime, after: timedelta) -> date:
    """Return the newest day that was over ``after`` ago."""
    return (now - after).date() - timedelta(days=1)


def window(now: datetime, days: int) -> list[date]:
    """Return the days that the catch-up looks after, newest first."""
    last = newest_day(now, TAKE_OVER_AFTER)
    return [last - timedelta(days=i) for i in range(days)]


def facts_needed(now: datetime, days: int) -> list[date]:
    """Return the days whose facts ``catch_up`` and ``daily`` may ask for, oldest first."""
    last = newest_day(now, READY_AFTER)
    return [last - timedelta(days=i) for i in range(days + 1 + max(LOOK_BACK.values()), -1, -1)]


def next_attempt(past: Iterable[Attempt], now: datetime, retry_h: float) -> int | datetime:
    """Return the number of the attempt to make now, or the moment before which none is made.

    The wait after the n-th attempt is ``retry_h`` · 2^(n-1) hours, whatever became of it: a run that succeeded
    and left its work undone must not be asked for at every tick.
    """
    tried = list(past)
    if not tried:
        return 1
    newest = max(tried, key=lambda a: (a.number, a.requested_at))
    again = newest.requested_at + timedelta(hours=retry_h * 2 ** (newest.number - 1))
    return again if now < again else newest.number + 1


def of(attempts: Iterable[Attempt], kind: Kind, symbol: str, day: date, digest: str = "") -> list[Attempt]:
    """Return the attempts at one piece of work."""
    return [a for a in attempts if (a.kind, a.symbol, a.day, a.digest) == (kind, symbol, day, digest)]


def catch_up(state: State, rules: Rules) -> Plan:
    """Return the runs that bring the last days into the lake: newest first, within the budget.

    Never asked for: a day before the oldest one held, a partition with a run in flight, a day whose look-back is not
    there yet. A symbol whose newest day lies before the window is left to ``crpbot backfill``.
    """
    found = _Found()
    days = window(state.now, rules.days)
    work: list[tuple[date, str, Kind]] = []
    for symbol, span in state.held.items():
        if span is None or span.last < days[-1] - timedelta(days=1):
            found.waits.append(_far_behind(symbol, span, days[-1]))
            continue
        for day in days:
            if day >= span.first:
                work += [(day, symbol, "sources"), (day, symbol, "day"), (day, symbol, "sets")]
            before = day - timedelta(days=1)
            if before >= span.first and symbol != MARKET_WIDE:
                work.append((before, symbol, "label"))
    left = rules.budget - sum(a.status == "in_flight" and a.kind in ASKERS for a in state.attempts)
    for day, symbol, kind in sorted(work, key=lambda w: (-w[0].toordinal(), w[1], list(ASKERS).index(w[2]))):
        answer = ASKERS[kind](symbol, day, state, rules)
        if isinstance(answer, str):
            found.waits.append(answer)
        elif answer is not None and len(found.requests) < left:
            found.requests.append(answer)
        elif answer is not None:
            found.waits.append(f"{answer.symbol} {answer.day} {answer.kind} run: {rules.budget} runs are in flight")
    return Plan(tuple(found.requests), tuple(found.waits))


def daily(state: State, rules: Rules) -> Plan:
    """Return the first day runs of yesterday, one per symbol; every later attempt is the catch-up's."""
    found = _Found()
    day = newest_day(state.now, READY_AFTER)
    for symbol, span in state.held.items():
        if span is None or span.last < day - timedelta(days=rules.days):
            found.waits.append(_far_behind(symbol, span, day))
            continue
        if of(state.attempts, "day", symbol, day):
            found.waits.append(f"{symbol} {day} was requested before")
            continue
        answers = [ask(symbol, day, state, rules) for ask in (_source_run, _day_run, _set_run)]
        found.requests += [a for a in answers if isinstance(a, Request)]
        found.waits += [a for a in answers if isinstance(a, str)]
        if not any(answers):
            found.waits.append(f"{symbol} {day} is in the lake")
    return Plan(tuple(found.requests), tuple(found.waits))


def _far_behind(symbol: str, span: Span | None, first: date) -> str:
    if span is None:
        return f"{symbol}: the lake holds no day of it, run crpbot backfill first"
    return (
        f"{symbol}: the newest day held is {span.last}, the days up to {first} are missing: run crpbot backfill first"
    )


def _source_run(symbol: str, day: date, state: State, rules: Rules) -> Request | str | None:
    """Ask the sources beside the primary one, apart from the day run: the day goes on when one of them fails."""
    facts, own = state.days[symbol, day], rules.tables_of(symbol)
    absent = facts.absent & set(rules.beside.get(symbol, ()))
    if not absent:
        return None
    if (symbol, day) in state.in_flight:
        return f"{symbol} {day}: a run is in flight"
    # The day run that comes after reads them; without one to come, what the day is made of is made again.
    made = (*made_again(own, ()), *rules.set_tables)
    tables = tuple(sorted(absent)) if facts.absent & set(own) else (*sorted(absent), *made)
    return _asked("sources", symbol, day, tables, f"not in the lake: {', '.join(sorted(absent))}", state, rules)


def _day_run(symbol: str, day: date, state: State, rules: Rules) -> Request | str | None:
    facts = state.days[symbol, day]
    own = rules.tables_of(symbol)
    absent, awaited = facts.absent & set(own), _awaited(symbol, day, state)
    if not absent and not awaited:
        return None
    if (symbol, day) in state.in_flight:
        return f"{symbol} {day}: a run is in flight"
    lacking = _look_back_lacking(symbol, day, state, window(state.now, rules.days)[-1])
    if lacking is not None:
        return f"{symbol} {day} waits for {lacking}"
    reason = f"not in the lake: {', '.join(sorted(absent))}" if absent else "the source did not have the day yet"
    tables = own if awaited else made_again(own, absent)
    stale = tuple(t for t in rules.set_tables if symbol != MARKET_WIDE and t not in facts.absent)
    return _asked("day", symbol, day, (*tables, *stale), reason, state, rules)


def _set_run(symbol: str, day: date, state: State, rules: Rules) -> Request | str | None:
    """Make what is made of every source, for a symbol that has the day; for a while it waits for the other symbols."""
    absent = state.days[symbol, day].absent & set(rules.set_tables)
    if symbol == MARKET_WIDE or not absent:
        return None
    if (symbol, day) in state.in_flight:
        return f"{symbol} {day}: a run is in flight"
    others = [s for s, span in state.held.items() if span is not None] if state.now < midnight(day) + LATE_AFTER else []
    for needed in dict.fromkeys((symbol, *others)):
        facts = state.days[needed, day]
        if facts.absent & set(rules.tables_of(needed)) or (needed, day) in state.in_flight:
            return f"{symbol} {day} sets wait for {needed}"
    return _asked("sets", symbol, day, rules.set_tables, f"not in the lake: {', '.join(sorted(absent))}", state, rules)


def _label_run(symbol: str, day: date, state: State, rules: Rules) -> Request | str | None:
    after = day + timedelta(days=1)
    absent = state.days[symbol, day].absent & set(rules.label_tables)
    if not absent:
        return None
    for needed in (day, after):
        if (symbol, needed) in state.in_flight:
            return f"{symbol} {day} labels: a run of {needed} is in flight"
        if state.days[symbol, needed].absent & set(rules.tables_of(symbol)) or _awaited(symbol, needed, state):
            return f"{symbol} {day} labels wait for {needed}"
    reason = f"not in the lake: {', '.join(sorted(absent))}"
    return _asked("label", symbol, day, rules.label_tables, reason, state, rules)


ASKERS: Mapping[Kind, Callable[[str, date, State, Rules], Request | str | None]] = {
    "sources": _source_run,
    "day": _day_run,
    "sets": _set_run,
    "label": _label_run,
}
"""The kinds of work of the catch-up, in the order in which a day's are asked for."""


def _awaited(symbol: str, day: date, state: State) -> bool:
    """Return whether the primary source's file is still to come: what reads the day waits for it, for a while."""
    return state.days[symbol, day].is_late and state.now < midnight(day) + LATE_AFTER


def _look_back_lacking(symbol: str, day: date, state: State, oldest: date) -> str | None:
    for table, reach in LOOK_BACK.items():
        for back in range(1, reach + 1):
            before = day - timedelta(days=back)
            if before < state.start_day:
                break
            if table in state.days[symbol, before].absent:
                return f"{table} of {before}" + ("" if before >= oldest else ": run crpbot backfill for it")
            if back == 1 and _awaited(symbol, before, state):
                return f"the source's files of {before}"
    return None


def _asked(
    kind: Kind, symbol: str, day: date, tables: tuple[str, ...], reason: str, state: State, rules: Rules
) -> Request | str:
    number = next_attempt(of(state.attempts, kind, symbol, day), state.now, rules.retry_h)
    if isinstance(number, datetime):
        return f"{symbol} {day} {kind} run: tried, again at {number:%Y-%m-%d %H:%M} UTC"
    return Request(kind, symbol, day, tables, number, state.now, reason)
