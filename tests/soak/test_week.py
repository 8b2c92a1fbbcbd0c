"""A week of the platform by itself: seven days flow to features and labels, models are trained again once, judged, promoted.

Real daemon, code server, Postgres, sandbox market, HTTP receiver; a simulated clock. In that week a day's file is corrupt
for two hours, a partition is deleted, the daemon is killed twice with -9, and once everything with it: no day is lost,
nothing runs twice, one alert and one recovery per problem arrive. Prints the timeline.
"""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
from sensors.receiver import Receiver, receiver
from soak.world import World, crpbot, days_after, noon, world

from crpbot_dagster.sensors import facts

pytestmark = pytest.mark.soak

SYMBOLS = ("BTC-USD", "SOL-USD")
VERDICT = date(2023, 11, 26)  # of the seed: fit 2 + stop 1 + calibrate 1 days, the model's, test 3 days
WEEK = [days_after(VERDICT, n) for n in range(1, 8)]
FAULTY, CUT = WEEK[2], WEEK[5]
SETTINGS = {
    "symbols": '["BTC-USD", "SOL-USD"]',
    "fit_days": "2",
    "stop_days": "1",
    "calibrate_days": "1",
    "test_days": "3",
    "retrain_after_days": "5",
    "sensor_interval_s": "3",
    # A network of seconds: what is tested is when it is trained. Every minute, or two days hold too few rows.
    **{"lstm_layers": "1", "lstm_hidden": "8", "lstm_dropout": "0", "lstm_sequence": "10", "lstm_stride": "1"},
    **{"lstm_batch": "256", "lstm_epochs": "1", "torch_threads": "1"},
}
SENSORS = {"catch_up", "retraining", "promotion", "alerts"}


def seed() -> None:
    done = crpbot("run", "--to", str(VERDICT))
    assert done.returncode in (0, 1), done.stderr  # 1: a gate did not pass, as is usual


def held(world: World, tables: tuple[str, ...], symbol: str, day: date) -> bool:
    return all(day in world.lake.held(t, symbol, [day]) for t in tables)


def flowed(world: World, day: date, symbols: tuple[str, ...] = SYMBOLS) -> bool:
    """The day is there up to its features, the day before up to its labels, and nothing is under way."""
    before = days_after(day, -1)
    there = all(held(world, facts.DAY_TABLES, s, day) and held(world, facts.LABEL_TABLES, s, before) for s in symbols)
    return there and world.idle()


def works(world: World, kind: str) -> bool:
    """Runs of a kind are at work, and none is on its way to its process: who is killed then loses no launch."""
    flying = world.instance.get_runs(filters=dg.RunsFilter(statuses=facts.IN_FLIGHT))
    at_work = all(r.status == dg.DagsterRunStatus.STARTED for r in flying)
    return at_work and any(r.tags.get("crpbot/kind") == kind for r in flying)


@pytest.fixture(scope="module")
def week():
    """Live through the week; what came of it is (world, receiver)."""
    patch = pytest.MonkeyPatch()
    # Not pytest's folder: its next run elsewhere closes that to others, and Postgres runs as a user of its own.
    folder = TemporaryDirectory(prefix="crpbot-week-", ignore_cleanup_errors=True)
    home = Path(folder.name)
    home.chmod(0o755)
    clock = home / "clock"
    clock.write_text(noon(days_after(VERDICT, 1)).isoformat())
    with receiver() as inbox:
        urls = f'["{inbox.url}"]'
        for name, value in (SETTINGS | {"home": str(home / "state"), "clock": str(clock), "alert_urls": urls}).items():
            patch.setenv(f"CRPBOT_{name.upper()}", value)
        with world(seed) as made:
            try:
                live(made, inbox)
                yield made, inbox
            finally:
                print(f"\nsimulated         wall        event\n{made.timeline()}")
                for name, took in made.tick_seconds().items():
                    print(f"{name}: {len(took)} idle looks, median {median(took):.2f} s, longest {max(took):.2f} s")
                for message in inbox.got:
                    print(f"\nmessage: {message['title']}\n{message['message']}")
                patch.undo()
    folder.cleanup()


def live(world: World, inbox: Receiver) -> None:
    world.until("the sensors look", lambda: all(world.ticks().get(n, 0) for n in SENSORS))
    world.settle(SENSORS)
    assert world.runs() == [], "a lake that is up to date is left alone"
    for day in WEEK:
        if day == FAULTY:
            world.fault(True, "BTC-USD", day)
        world.set_clock(noon(days_after(day, 1)))
        if day == WEEK[1]:
            world.until("a day run works", lambda: works(world, "day"))
            world.kill_daemon()
            world.start_daemon()
        if day == WEEK[4]:
            world.until("a training works", lambda: works(world, "training"))
            world.kill_daemon()
            world.start_daemon()
        if day == CUT:
            world.until("a day run works", lambda: works(world, "day"))
            world.cut_power()
            world.start_server()
            world.start_daemon()
        if day == FAULTY:
            survive_the_fault(world, inbox, day)
        if day == WEEK[3]:
            world.until(f"{day} is there", lambda d=day: flowed(world, d))
            lost = "features/v4", "SOL-USD", WEEK[0]
            world.lake.delta(lost[0]).delete(f"symbol = '{lost[1]}' AND day = '{lost[2]}'")
            world.tell(f"{' '.join(map(str, lost))} is deleted from the lake")
            assert not held(world, (lost[0],), *lost[1:])
            world.until("it is there again", lambda: held(world, ("features/v4",), "SOL-USD", WEEK[0]))
        world.until(f"{day} is there", lambda d=day: flowed(world, d))
        world.settle(SENSORS)


def survive_the_fault(world: World, inbox: Receiver, day: date) -> None:
    """The corrupt file is refused, told of once, tried again in vain, and taken when it is sound."""
    world.until("the other symbol goes on", lambda: flowed(world, day, ("SOL-USD",)))
    world.until("an alert arrives", lambda: len(inbox.got) == 1)
    assert not held(world, ("raw/tardis_trades",), "BTC-USD", day)
    world.set_clock(noon(days_after(day, 1)) + timedelta(hours=1))
    world.until("the second attempt failed", lambda: attempts(world, "BTC-USD", day) == ["FAILURE", "FAILURE"])
    world.settle(SENSORS)
    assert len(inbox.got) == 1, inbox.titles
    world.fault(False, "BTC-USD", day)
    world.set_clock(noon(days_after(day, 1)) + timedelta(hours=3))
    world.until("a recovery arrives", lambda: len(inbox.got) == 2)


def attempts(world: World, symbol: str, day: date) -> list[str]:
    tags = {"crpbot/kind": "day", "crpbot/symbol": symbol, "crpbot/day": day.isoformat()}
    runs = world.instance.get_runs(filters=dg.RunsFilter(tags=tags))
    return [r.status.value for r in reversed(runs)]


def counted(world: World, again: bool = False) -> Counter[tuple[str, ...]]:
    """What was asked for, and how often; ``again``: what Dagster started once more because its process had died."""
    return Counter(
        tuple(r.dagster_run.tags[f"crpbot/{t}"] for t in ("kind", "symbol", "day", "digest", "attempt"))
        for r in world.runs()
        if (r.dagster_run.parent_run_id is not None) == again
    )


def test_every_day_is_there_up_to_its_labels(week) -> None:
    world, _ = week
    for symbol in SYMBOLS:
        for day in WEEK:
            assert held(world, facts.DAY_TABLES, symbol, day), (symbol, day)
        for day in WEEK[:-1]:
            assert held(world, facts.LABEL_TABLES, symbol, day), (symbol, day)


def test_nothing_ran_twice(week) -> None:
    world, _ = week
    assert set(counted(world).values()) == {1}
    once = Counter((kind, symbol, day) for kind, symbol, day, _, _ in counted(world))
    more = {k: n for k, n in once.items() if n > 1}
    assert more == {("day", "BTC-USD", str(FAULTY)): 3, ("day", "SOL-USD", str(WEEK[0])): 2}
    assert sum(k == "label" for k, _, _ in once) == len(SYMBOLS) * len(WEEK)
    # Who was at work when the power went is found dead and started again.
    died = counted(world, again=True)
    assert died and set(died.values()) == {1}
    assert {(kind, day) for kind, _, day, _, _ in died} == {("day", str(CUT))}


def test_models_were_trained_judged_and_promoted_once(week) -> None:
    world, _ = week
    # Five labelled days since the verdict: the 26th … 30th, there on the fifth day.
    verdict = str(days_after(VERDICT, 5))
    trained = str(days_after(VERDICT, 1))
    made = [(k, s, d) for k, s, d, _, _ in counted(world) if k not in ("day", "label")]
    assert sorted(made) == sorted(
        (kind, symbol, day)
        for symbol in SYMBOLS
        for kind, day in (("training", trained), ("evaluation", verdict), ("promotion", verdict))
    )
    for symbol in SYMBOLS:
        assert held(world, facts.PROMOTION_TABLES, symbol, days_after(VERDICT, 5))
    assert {r.dagster_run.status.value for r in world.runs()} == {"SUCCESS", "FAILURE"}


def test_one_alert_and_one_recovery_arrived_per_problem(week) -> None:
    world, inbox = week
    names = [f"raw/tardis_trades BTC-USD {FAULTY}"]
    names += [f"day run {symbol} {CUT}" for _, symbol, *_ in counted(world, again=True)]
    assert Counter(inbox.titles) == Counter(f"{word} {name}" for name in names for word in ("ERROR", "RECOVERED"))
    for name in names:
        assert inbox.titles.index(f"ERROR {name}") < inbox.titles.index(f"RECOVERED {name}")
    assert "quarantined" in inbox.got[0]["message"] and "/runs/" in inbox.got[0]["message"]


def test_no_evaluation_failed_while_the_code_server_was_there(week) -> None:
    world, _ = week
    assert [t for t in world.failed_ticks() if "user code server" not in t] == []
