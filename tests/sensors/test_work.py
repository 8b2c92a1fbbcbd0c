"""The catch-up and the daily schedule, decided from facts: what is asked for, what waits, and never twice."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpbot_dagster import runs
from crpbot_dagster.sensors import work
from crpbot_dagster.sensors.work import Attempt, Day, Plan, Request, Rules, Span, State

DAY_TABLES = ("raw/ticks", "bars/volume_1d", "bars/trades_1m", "bars/book_1m", "features/v4", "features/v5")
LABELS = ("features/labels",)
ALL = frozenset(DAY_TABLES + LABELS)
START = date(2024, 1, 1)
NOW = datetime(2024, 2, 10, 12, 0, tzinfo=UTC)  # yesterday is the 9th
RULES = Rules(days=7, budget=6, retry_h=1.0, day_tables=DAY_TABLES, label_tables=LABELS)


def d(n: int, month: int = 2) -> date:
    return date(2024, month, n)


def lake(now: datetime = NOW, symbols: tuple[str, ...] = ("BTC-USD",), **changed: object) -> State:
    """A lake that holds everything up to yesterday, labels up to the day before."""
    days = {}
    for symbol in symbols:
        for day in work.facts_needed(now, RULES.days):
            labelled = day < work.newest_day(now, work.READY_AFTER)
            days[symbol, day] = Day(frozenset() if labelled else frozenset(LABELS))
    held = {s: Span(START, d(9)) for s in symbols}
    return replace(State(now, START, held, days, frozenset(), ()), **changed)


def without(state: State, *lost: tuple[date, frozenset[str]], symbol: str = "BTC-USD") -> State:
    days = dict(state.days)
    for day, tables in lost:
        days[symbol, day] = Day(days[symbol, day].absent | tables)
    return replace(state, days=days)


def late(state: State, day: date) -> State:
    return replace(state, days={**state.days, ("BTC-USD", day): replace(state.days["BTC-USD", day], is_late=True)})


def asked(plan: Plan) -> list[tuple[str, date]]:
    return [(r.kind, r.day) for r in plan.requests]


def done(request: Request, status: str = "in_flight") -> Attempt:
    return Attempt(request.kind, request.symbol, request.day, request.attempt, request.requested_at, status)


def test_a_complete_lake_asks_for_nothing() -> None:
    assert work.catch_up(lake(), RULES) == Plan()


def test_a_missing_day_is_asked_for_and_then_its_labels() -> None:
    state = without(lake(), (d(9), ALL), (d(8), frozenset(LABELS)))
    plan = work.catch_up(state, RULES)
    assert asked(plan) == [("day", d(9))]
    assert plan.waits == ("BTC-USD 2024-02-08 labels wait for 2024-02-09",)
    assert plan.requests[0].tables == DAY_TABLES and "features/v5" in plan.requests[0].reason
    assert asked(work.catch_up(without(lake(), (d(8), frozenset(LABELS))), RULES)) == [("label", d(8))]


def test_what_a_source_sent_is_not_fetched_again_for_a_lost_table() -> None:
    plan = work.catch_up(without(lake(), (d(9), frozenset({"features/v5"}))), RULES)
    assert [r.tables for r in plan.requests] == [DAY_TABLES[1:]]


def test_newest_first_but_a_look_back_first_of_all() -> None:
    # Two holes: 4-5 and 8. The 5th reads the 4th; the 9th needs the volumes of the 4th, 5th and 8th.
    state = without(lake(), (d(4), ALL), (d(5), ALL), (d(8), ALL))
    plan = work.catch_up(state, RULES)
    assert asked(plan) == [("day", d(4))]
    assert "BTC-USD 2024-02-05 waits for bars/trades_1m of 2024-02-04" in plan.waits
    assert "BTC-USD 2024-02-08 waits for bars/volume_1d of 2024-02-05" in plan.waits
    features = frozenset({"features/v4"})
    assert asked(work.catch_up(without(lake(), (d(4), features), (d(8), features)), RULES)) == [
        ("day", d(8)),
        ("day", d(4)),
    ]


def test_symbols_do_not_wait_for_each_other() -> None:
    state = without(lake(symbols=("BTC-USD", "ETH-USD")), (d(8), ALL), (d(9), ALL))
    state = without(state, (d(9), ALL), symbol="ETH-USD")
    found = work.catch_up(state, RULES).requests
    assert [(r.symbol, r.day) for r in found] == [("ETH-USD", d(9)), ("BTC-USD", d(8))]


@pytest.mark.parametrize(
    ("hour", "minute", "newest"), [(0, 1, d(8)), (6, 29, d(8)), (6, 59, d(8)), (7, 0, d(9)), (23, 59, d(9))]
)
def test_a_day_is_not_asked_for_before_the_source_can_have_it(hour: int, minute: int, newest: date) -> None:
    now = NOW.replace(hour=hour, minute=minute)
    assert work.window(now, 7)[0] == newest
    # The schedule comes half an hour before the sensor takes over: the two never ask for the same day at once.
    assert work.newest_day(now, work.READY_AFTER) == (d(9) if (hour, minute) >= (6, 30) else d(8))


def test_nothing_before_the_oldest_day_held_nor_before_the_start_day() -> None:
    state = lake(held={"BTC-USD": Span(d(8), d(9))})
    state = without(state, *((d(i), ALL) for i in range(1, 8) if i < 7), (d(8), ALL))
    assert all(day >= d(8) for _, day in asked(work.catch_up(state, RULES)))
    young = without(
        lake(start_day=d(8), held={"BTC-USD": Span(d(8), d(9))}), *((d(i), ALL) for i in range(1, 8)), (d(8), ALL)
    )
    assert asked(work.catch_up(young, RULES)) == [("day", d(8))]  # what lies before the start day is not waited for


@pytest.mark.parametrize("span", [None, Span(START, d(1)), Span(START, d(30, 1))])
def test_a_lake_far_behind_is_left_to_the_backfill(span: Span | None) -> None:
    state = lake(held={"BTC-USD": span})
    state = without(state, *((day, ALL) for _, day in list(state.days)))
    plan = work.catch_up(state, RULES)
    assert plan.requests == () and "run crpbot backfill first" in plan.waits[0]
    assert work.daily(state, RULES).requests == ()


def test_a_lake_that_ends_just_before_the_window_is_caught_up_day_by_day() -> None:
    state = lake(held={"BTC-USD": Span(START, d(2))})
    state = without(state, *((d(i), ALL) for i in range(3, 10)), (d(2), frozenset(LABELS)))
    assert asked(work.catch_up(state, RULES)) == [("day", d(3))]


def test_a_look_back_older_than_the_window_is_a_case_for_the_backfill() -> None:
    state = without(lake(), (d(2), frozenset({"bars/book_1m"})), (d(3), ALL))
    plan = work.catch_up(state, RULES)
    assert plan.requests == ()
    assert "BTC-USD 2024-02-03 waits for bars/book_1m of 2024-02-02: run crpbot backfill for it" in plan.waits


def test_a_partition_in_flight_is_never_asked_for() -> None:
    state = without(lake(), (d(9), ALL), (d(8), frozenset(LABELS)))
    assert asked(work.catch_up(replace(state, in_flight=frozenset({("BTC-USD", d(9))})), RULES)) == []
    assert asked(work.daily(replace(state, in_flight=frozenset({("BTC-USD", d(9))})), RULES)) == []
    labels = without(lake(), (d(7), frozenset(LABELS)))
    for busy in (d(7), d(8)):  # the labels read both days
        assert asked(work.catch_up(replace(labels, in_flight=frozenset({("BTC-USD", busy)})), RULES)) == []
    assert asked(work.catch_up(replace(labels, in_flight=frozenset({("BTC-USD", d(6))})), RULES)) == [("label", d(7))]


def test_the_budget_counts_what_is_in_flight() -> None:
    symbols = tuple(f"S{i}-USD" for i in range(9))
    state = lake(symbols=symbols)
    for symbol in symbols:
        state = without(state, (d(9), ALL), symbol=symbol)
    first = work.catch_up(state, RULES)
    assert len(first.requests) == RULES.budget and any("6 runs are in flight" in w for w in first.waits)
    flying = tuple(done(r) for r in first.requests)
    busy = frozenset((r.symbol, r.day) for r in first.requests)
    assert work.catch_up(replace(state, attempts=flying, in_flight=busy), RULES).requests == ()
    landed = (done(first.requests[0], "succeeded"), *flying[1:])
    again = work.catch_up(replace(state, attempts=landed, in_flight=frozenset(list(busy)[1:])), RULES)
    assert len(again.requests) == 1


def test_a_failed_day_is_tried_again_after_a_wait_that_doubles() -> None:
    state = without(lake(now=NOW), (d(9), ALL))
    attempts: list[Attempt] = []
    hours = [0.0]
    while len(hours) < 5:
        now = NOW + timedelta(hours=hours[-1])
        ask = replace(state, now=now, attempts=tuple(attempts))
        (request,) = [r for r in work.catch_up(ask, RULES).requests if r.day == d(9)]
        assert request.attempt == len(attempts) + 1
        attempts.append(done(request, "failed"))
        wait = 2 ** (request.attempt - 1)
        just_before = now + timedelta(hours=wait, seconds=-1)
        early = work.catch_up(replace(state, now=just_before, attempts=tuple(attempts)), RULES)
        assert early.requests == () and any("tried, again at" in w for w in early.waits)
        hours.append(hours[-1] + wait)
        if (NOW + timedelta(hours=hours[-1])).day != NOW.day:
            break
    assert hours[:4] == [0, 1, 3, 7]


def test_a_run_that_succeeded_and_left_its_day_undone_does_not_storm() -> None:
    state = without(lake(), (d(9), ALL))
    (request,) = work.catch_up(state, RULES).requests
    for status in ("succeeded", "failed"):
        assert work.catch_up(replace(state, attempts=(done(request, status),)), RULES).requests == ()


def test_a_deleted_partition_of_a_day_long_done_is_asked_for_at_once() -> None:
    old = Attempt("day", "BTC-USD", d(6), 1, NOW - timedelta(days=3), "succeeded")
    state = without(lake(attempts=(old,)), (d(6), frozenset({"features/v5"})))
    (request,) = work.catch_up(state, RULES).requests
    assert (request.attempt, request.key) == (2, "day|BTC-USD|2024-02-06|2")


def test_a_day_its_source_does_not_have_yet_is_asked_again_and_holds_up_what_reads_it() -> None:
    state = late(without(lake(), (d(8), frozenset(LABELS))), d(9))
    plan = work.catch_up(state, RULES)
    assert [(r.kind, r.day, r.reason) for r in plan.requests] == [("day", d(9), "the source did not have the day yet")]
    assert "BTC-USD 2024-02-08 labels wait for 2024-02-09" in plan.waits
    tomorrow = replace(lake(NOW + timedelta(days=1)), held={"BTC-USD": Span(START, d(9))})
    waiting = late(without(tomorrow, (d(10), ALL)), d(9))
    assert "BTC-USD 2024-02-10 waits for the source's files of 2024-02-09" in work.catch_up(waiting, RULES).waits


def test_a_source_that_never_has_the_day_leaves_a_gap_and_life_goes_on() -> None:
    on_the_12th = NOW + timedelta(days=2)
    state = late(without(lake(on_the_12th), (d(9), frozenset(LABELS)), (d(8), frozenset(LABELS))), d(9))
    assert asked(work.catch_up(state, RULES)) == [("label", d(9)), ("label", d(8))]
    an_hour_before = replace(state, now=datetime(2024, 2, 11, 23, 0, tzinfo=UTC))
    assert ("day", d(9)) in asked(work.catch_up(an_hour_before, RULES))


def test_the_schedule_asks_once_for_yesterday_and_leaves_the_rest_to_the_catch_up() -> None:
    state = without(lake(NOW.replace(hour=6, minute=30)), (d(9), ALL))
    plan = work.daily(state, RULES)
    assert asked(plan) == [("day", d(9))]
    for status in ("in_flight", "failed", "succeeded"):
        assert work.daily(replace(state, attempts=(done(plan.requests[0], status),)), RULES).requests == ()
    assert work.daily(lake(), RULES).waits == ("BTC-USD 2024-02-09 is in the lake",)
    blocked = work.daily(without(state, (d(8), ALL)), RULES)
    assert blocked.requests == () and "waits for bars/trades_1m of 2024-02-08" in blocked.waits[0]


def test_the_schedule_and_the_catch_up_give_the_same_work_the_same_key() -> None:
    state = without(lake(), (d(9), ALL))
    assert work.daily(state, RULES).requests[0].key == work.catch_up(state, RULES).requests[0].key


def test_the_look_back_is_the_one_of_the_command_line() -> None:
    assert work.LOOK_BACK["bars/volume_1d"] == runs.VOLUME_DAYS
    assert {work.LOOK_BACK["bars/trades_1m"], work.LOOK_BACK["bars/book_1m"]} == {runs.LOOK_BACK_DAYS}


TABLE_SETS = st.frozensets(st.sampled_from(sorted(ALL)))
STATUS = st.sampled_from(["in_flight", "succeeded", "failed"])


@st.composite
def states(draw: st.DrawFn) -> State:
    symbols = ("BTC-USD", "ETH-USD")
    now = NOW + timedelta(minutes=draw(st.integers(0, 3 * 1440)))
    days, attempts, busy = {}, [], []
    for symbol in symbols:
        for day in work.facts_needed(now, RULES.days):
            days[symbol, day] = Day(draw(TABLE_SETS) if draw(st.booleans()) else frozenset(), draw(st.booleans()))
            for n in range(1, draw(st.integers(0, 2)) + 1):
                ago = timedelta(hours=draw(st.integers(0, 9)))
                attempts.append(
                    Attempt(draw(st.sampled_from(["day", "label"])), symbol, day, n, now - ago, draw(STATUS))
                )
                if attempts[-1].status == "in_flight":
                    busy.append((symbol, day))
    held = {s: draw(st.sampled_from([None, Span(START, d(9)), Span(d(7), d(9)), Span(START, d(1))])) for s in symbols}
    return State(now, START, held, days, frozenset(busy), tuple(attempts))


@given(states())
def test_laws_of_every_plan(state: State) -> None:
    plan = work.catch_up(state, RULES)
    assert [r.key for r in plan.requests] == [r.key for r in work.catch_up(state, RULES).requests]  # a replay
    assert len({r.key for r in plan.requests}) == len(plan.requests)
    assert not {r.key for r in plan.requests} & {f"{a.kind}|{a.symbol}|{a.day}|{a.number}" for a in state.attempts}, (
        "a run key is used once"
    )
    flying = sum(a.status == "in_flight" for a in state.attempts)
    assert len(plan.requests) <= max(RULES.budget - flying, 0)
    order = [r.day for r in plan.requests]
    assert order == sorted(order, reverse=True)
    for r in plan.requests:
        assert (r.symbol, r.day) not in state.in_flight
        span = state.held[r.symbol]
        assert span is not None and span.first <= r.day <= work.newest_day(state.now, work.TAKE_OVER_AFTER)
        if r.kind == "day":
            assert not state.days[r.symbol, r.day - timedelta(days=1)].absent & {"bars/trades_1m", "bars/book_1m"}
        else:
            assert not state.days[r.symbol, r.day + timedelta(days=1)].absent & set(DAY_TABLES)
    # What was asked for is in flight at the next tick, and is not asked for again.
    asked_for = tuple(done(r) for r in plan.requests)
    busy = state.in_flight | {(r.symbol, r.day) for r in plan.requests}
    then = replace(state, attempts=state.attempts + asked_for, in_flight=frozenset(busy))
    assert not {r.key for r in work.catch_up(then, RULES).requests} & {r.key for r in plan.requests}


MARKET = ("raw/fear_greed",)
BESIDE = replace(
    RULES, day_tables=(*DAY_TABLES, "raw/kraken"), market_tables=MARKET, beside={"BTC-USD": ("raw/kraken",)}
)


def test_the_sources_beside_the_primary_one_are_a_run_of_their_own_before_the_day() -> None:
    state = without(lake(), (d(9), ALL | {"raw/kraken"}), (d(8), frozenset(LABELS)))
    plan = work.catch_up(state, BESIDE)
    assert [(r.kind, r.tables) for r in plan.requests] == [("sources", ("raw/kraken",)), ("day", DAY_TABLES)]


def test_a_day_goes_on_without_a_source_beside_it_and_takes_it_in_when_it_comes() -> None:
    state = without(lake(), (d(9), frozenset({"raw/kraken"})), (d(8), frozenset(LABELS)))
    plan = work.catch_up(state, BESIDE)
    assert [(r.kind, r.day) for r in plan.requests] == [("sources", d(9)), ("label", d(8))]
    assert plan.requests[0].tables == ("raw/kraken", *DAY_TABLES[1:]), "bars that lack it are made again"
    tried = done(plan.requests[0], "failed")
    assert asked(work.catch_up(replace(state, attempts=(tried,)), BESIDE)) == [("label", d(8))]
    later = replace(state, attempts=(tried,), now=NOW + timedelta(hours=2))
    assert ("sources", d(9)) in asked(work.catch_up(later, BESIDE))


def test_the_whole_market_has_day_runs_and_no_labels() -> None:
    state = lake(symbols=("BTC-USD", "market"))
    assert work.catch_up(state, BESIDE) == Plan()
    plan = work.catch_up(without(state, (d(7), frozenset(MARKET)), symbol="market"), BESIDE)
    assert [(r.symbol, r.kind, r.tables) for r in plan.requests] == [("market", "day", MARKET)]
    new = work.daily(without(state, (d(9), frozenset(MARKET)), symbol="market"), BESIDE)
    assert [(r.symbol, r.day) for r in new.requests] == [("market", d(9))]


SETS = ("bars/daily", "features/v6")
WIDE = replace(RULES, set_tables=SETS)


def test_what_is_made_of_every_source_waits_for_every_symbol_and_nothing_waits_for_it() -> None:
    new = frozenset({*DAY_TABLES, *SETS, *LABELS})
    state = without(lake(symbols=("BTC-USD", "ETH-USD")), (d(9), new), (d(8), frozenset({*LABELS, *SETS})))
    plan = work.catch_up(state, WIDE)
    assert asked(plan) == [("day", d(9)), ("sets", d(8))]
    assert "BTC-USD 2024-02-09 sets wait for BTC-USD" in plan.waits
    there = without(lake(symbols=("BTC-USD", "ETH-USD")), (d(9), frozenset(SETS)))
    behind = without(there, (d(9), frozenset(DAY_TABLES)), symbol="ETH-USD")
    assert ("sets", d(9)) not in asked(work.catch_up(behind, WIDE))
    assert "BTC-USD 2024-02-09 sets wait for ETH-USD" in work.catch_up(behind, WIDE).waits
    both = without(lake(symbols=("BTC-USD", "ETH-USD")), (d(6), frozenset(SETS)))
    long_ago = without(both, (d(6), frozenset(DAY_TABLES)), symbol="ETH-USD")
    assert ("sets", d(6)) in asked(work.catch_up(long_ago, WIDE)), "a day that never came is not waited for"
    (request,) = [r for r in work.catch_up(there, WIDE).requests if r.kind == "sets"]
    assert request.tables == SETS
    failed = replace(there, attempts=(done(request, "failed"),))
    assert ("label", d(8)) in asked(work.catch_up(without(failed, (d(8), frozenset(LABELS))), WIDE))


def test_a_day_made_again_makes_again_what_was_made_of_it() -> None:
    state = without(lake(), (d(9), frozenset({"bars/book_1m"})))
    (request,) = work.catch_up(state, WIDE).requests
    assert request.tables[-2:] == SETS
    (sources,) = work.catch_up(
        without(lake(), (d(9), frozenset({"raw/kraken"}))), replace(BESIDE, set_tables=SETS)
    ).requests
    assert sources.tables == ("raw/kraken", *DAY_TABLES[1:], *SETS)


def test_the_first_runs_of_a_day_have_its_sets_only_once_every_symbol_is_there() -> None:
    state = without(lake(), (d(9), frozenset({*DAY_TABLES, *SETS})))
    assert [r.kind for r in work.daily(state, WIDE).requests] == ["day"]
