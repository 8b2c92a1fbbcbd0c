"""Alerts over real runs of a real instance, delivered by Apprise to a real server; kills lose nothing."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr
from sensors.receiver import Receiver, receiver

from crpbot_dagster.resources.alerts import Alerts, NotDelivered, send_test
from crpbot_dagster.sensors import alerts as sensor
from crpbot_dagster.sensors.alerts import Memory, Notebook, evaluate

PARTITIONS = dg.StaticPartitionsDefinition(["2024-01-31|BTC-USD", "2024-01-31|ETH-USD"])
DAY = "2024-01-31|BTC-USD"
NAME = "raw/tardis_trades BTC-USD 2024-01-31"


class World(dg.ConfigurableResource):
    """What goes wrong in the run."""

    fault: str = ""


@dg.asset(
    key=["raw", "tardis_trades"],
    partitions_def=PARTITIONS,
    output_required=False,
    check_specs=[
        dg.AssetCheckSpec("hard_rules", asset=["raw", "tardis_trades"], blocking=True, partitions_def=PARTITIONS),
        dg.AssetCheckSpec("coverage", asset=["raw", "tardis_trades"], partitions_def=PARTITIONS),
    ],
)
def ticks(world: World) -> Iterator[object]:
    if world.fault == "crash":
        raise ValueError("the source did not answer")
    key = ["raw", "tardis_trades"]
    good = world.fault != "blocking"
    yield dg.AssetCheckResult(asset_key=key, check_name="hard_rules", passed=good, description="refused")
    warns = world.fault == "warning"
    yield dg.AssetCheckResult(
        asset_key=key, check_name="coverage", passed=not warns, severity=dg.AssetCheckSeverity.WARN, description="few"
    )
    if not good:
        raise dg.Failure("hard_rules failed")
    yield dg.Output(None)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    with receiver() as box:
        yield box


@pytest.fixture
def tell(instance: dg.DagsterInstance, inbox: Receiver, tmp_path: Path):
    channel = Alerts([SecretStr(inbox.url)], str(tmp_path / "alerts.jsonl"))

    def now(alerts: Alerts = channel) -> str:
        return evaluate(instance, alerts, "2024-02-01 07:00 UTC", "http://ui")

    now()  # begins
    return now


def run(instance: dg.DagsterInstance, fault: str = "", partition: str = DAY) -> None:
    dg.materialize(
        [ticks],
        instance=instance,
        partition_key=partition,
        resources={"world": World(fault=fault)},
        raise_on_error=False,
    )


def test_what_was_before_the_first_evaluation_is_no_news(instance, inbox, tmp_path) -> None:
    run(instance, "blocking")
    alerts = Alerts([inbox.url], str(tmp_path / "alerts.jsonl"))
    for _ in range(3):
        evaluate(instance, alerts, "now", "http://ui")
    assert inbox.got == []


def test_one_alert_per_problem_and_one_recovery(instance, inbox, tell) -> None:
    run(instance, "blocking")
    assert tell() == "1 runs ended, 1 messages sent, 1 problems open."
    assert inbox.titles == [f"ERROR {NAME}"] and inbox.got[0]["type"] == "failure"
    assert "hard_rules: refused" in inbox.got[0]["message"] and "http://ui/runs/" in inbox.got[0]["message"]
    assert tell() == "No run has ended since; 1 problems open."
    run(instance, "blocking")
    run(instance, partition="2024-01-31|ETH-USD")
    tell()
    assert len(inbox.got) == 1
    run(instance)
    tell()
    assert inbox.titles == [f"ERROR {NAME}", f"RECOVERED {NAME}"] and inbox.got[1]["type"] == "success"


def test_warnings_and_crashes_say_what_they_are(instance, inbox, tell) -> None:
    run(instance, "warning")
    run(instance, "crash", "2024-01-31|ETH-USD")
    tell()
    assert inbox.titles == [f"WARNING {NAME}", "ERROR raw/tardis_trades ETH-USD 2024-01-31"]
    assert "coverage: few" in inbox.got[0]["message"]
    assert "run: ValueError: the source did not answer" in inbox.got[1]["message"]


def test_a_service_that_is_down_gets_its_messages_later_and_holds_up_nobody(instance, inbox, tell, tmp_path) -> None:
    with receiver() as second:
        both = Alerts([inbox.url, second.url], str(tmp_path / "alerts.jsonl"))
        inbox.answer = 500
        run(instance, "blocking")
        with pytest.raises(NotDelivered, match=r"1 messages wait: json did not take the message") as told:
            tell(both)
        assert "secret-path" not in str(told.value)
        assert second.titles == [f"ERROR {NAME}"] and inbox.got == []
        with pytest.raises(NotDelivered):
            tell(both)
        run(instance, "crash", "2024-01-31|ETH-USD")
        inbox.answer, inbox.refuse = 200, "BTC-USD"  # it chokes on one message, the other gets through
        with pytest.raises(NotDelivered):
            tell(both)
        assert inbox.titles == ["ERROR raw/tardis_trades ETH-USD 2024-01-31"]
        inbox.refuse = "\0"
        tell(both)
        assert inbox.titles[1:] == [f"ERROR {NAME}"]
        assert len(second.got) == 2  # it was not told again


def test_a_url_that_was_mended_gets_what_the_broken_one_did_not_take(instance, inbox, tell, tmp_path) -> None:
    inbox.answer = 500
    run(instance, "blocking")
    with pytest.raises(NotDelivered):
        tell()
    with receiver() as other:
        tell(Alerts([other.url], str(tmp_path / "a")))
        assert Notebook(instance).read().outbox == [] and other.titles == [f"ERROR {NAME}"]


class Killed(BaseException):
    """kill -9, as seen from inside: nothing after it runs."""


def test_a_kill_loses_no_alert_wherever_it_strikes(instance, inbox, tell, monkeypatch) -> None:
    """The memory is written n times in an evaluation; the process is killed at each write, before and after it."""
    run(instance, "blocking")
    write = Notebook.write
    for strike in (1, 2):
        for lands in (False, True):
            count = 0

            def dying(self: Notebook, memory: Memory, strike: int = strike, lands: bool = lands) -> None:
                nonlocal count
                count += 1
                if count == strike and not lands:
                    raise Killed
                write(self, memory)
                if count == strike:
                    raise Killed

            start = Notebook(instance).read()
            already = len(inbox.got)
            monkeypatch.setattr(Notebook, "write", dying)
            with pytest.raises(Killed):
                tell()
            monkeypatch.setattr(Notebook, "write", write)
            tell()
            tell()
            # Once; twice only when it struck between the service's answer and the write.
            repeated = strike == 2 and not lands
            assert len(inbox.got) - already == 1 + repeated, (strike, lands)
            write(Notebook(instance), start)


def test_an_end_whose_id_shows_up_late_is_still_read(instance, inbox, tell) -> None:
    run(instance, "blocking")
    run(instance, "crash", "2024-01-31|ETH-USD")
    memory = Notebook(instance).read()
    first, second = [i for i, _ in sensor._ends(instance, memory)]
    # The second was committed first: the first becomes visible after the second was handled.
    memory.seen, memory.cursor = [second], second
    Notebook(instance).write(memory)
    tell()
    assert inbox.titles == [f"ERROR {NAME}"] and first < second
    tell()
    assert len(inbox.got) == 1


def test_without_a_url_messages_go_to_the_log_and_a_file(instance, tell, tmp_path, caplog) -> None:
    run(instance, "warning")
    tell(Alerts((), str(tmp_path / "home" / "alerts.jsonl")))
    (line,) = (tmp_path / "home" / "alerts.jsonl").read_text().splitlines()
    assert json.loads(line)["title"] == f"WARNING {NAME}" and json.loads(line)["severity"] == "warning"
    assert any(r.name == "crpbot.alerts" and NAME in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize(
    "url",
    [
        "tgram://123456789:canary_AAAAAAAAAA/12345",
        "mailto://me:canary@example.com?smtp=127.0.0.1&port=1",
        "json://canary@127.0.0.1:1/",
    ],
)
def test_a_secret_is_never_shown(url: str, tmp_path, caplog, monkeypatch) -> None:
    import requests

    def unreachable(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no network in tests: canary")

    monkeypatch.setattr("requests.Session.request", unreachable)
    caplog.set_level(logging.DEBUG)
    alerts = Alerts([SecretStr(url)], str(tmp_path / "a"))
    kind = url.partition(":")[0]
    with pytest.raises(NotDelivered, match=f"{kind} did not take") as told:
        send_test(alerts)
    assert "canary" not in str(told.value) + caplog.text + repr(alerts) + "".join(alerts.channels())


def test_a_url_that_is_none_is_named_without_its_text(tmp_path) -> None:
    for url in ("canary", "canary://x", "nonsense canary://"):
        with pytest.raises(NotDelivered, match="does not understand") as told:
            send_test(Alerts([url], str(tmp_path / "a")))
        assert "nonsense" not in str(told.value)
    with pytest.raises(ValueError, match="severity 'loud'"):
        Alerts((), str(tmp_path / "a")).send("t", "b", "loud")


def test_the_sensor_says_what_it_did(environment) -> None:
    config = environment(alert_urls="[]")
    made = sensor.alerts_sensor(config)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        assert made(context).skip_message == "Runs that end from now on are looked at."
        run(instance, "blocking")
        assert made(context).skip_message == "1 runs ended, 1 messages sent, 1 problems open."
    assert (config.home_dir / "alerts.jsonl").read_text().count("\n") == 1
