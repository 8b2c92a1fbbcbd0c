"""The alerts sensor: reads how runs ended, keeps the open problems, and delivers messages until they have arrived.

All state lies in one row of Dagster's own Postgres and is written at two moments: after the runs were read, before any
message leaves (a kill there loses nothing, the messages wait in the row), and after each delivery (a kill between a
service's answer and that write repeats one message: at least once, and a window of milliseconds). The sensor's cursor
would be stored by the daemon after the whole evaluation, which a killed daemon never does.

A run is read when it has ended, whole, because only then is it known that a failed check and a failed run are one
problem. What is worth a message is decided in ``problems.py``; how it is sent is ``resources/alerts.py``.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from crpbot_dagster.resources.alerts import Alerts, NotDelivered
from crpbot_dagster.sensors import problems
from crpbot_dagster.sensors.facts import PARTITION_TAG, TAG
from crpbot_dagster.sensors.problems import Checked, Ended, Message, Problem
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES

STATE_KEY = "crpbot/alerts"
# Event ids are given before events are committed: an id may show up after a higher one was read. So the last ones
# are read again, and what was handled is remembered.
READ_AGAIN = 2_000
RUNS_AT_ONCE = 200
DELIVERY_S = 20.0  # of one evaluation; what is left goes at the next
ENDS = {
    dg.DagsterEventType.RUN_SUCCESS: "succeeded",
    dg.DagsterEventType.RUN_FAILURE: "failed",
    dg.DagsterEventType.RUN_CANCELED: "canceled",
}
READ = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}

# A killed daemon's evaluation may still deliver when the next daemon starts one; both run in the code server.
_DELIVERING = threading.Lock()


@dataclass
class Outgoing:
    """A message and the channels it has reached; a URL that was mended gets what the broken one did not take."""

    message: Message
    reached: list[str] = field(default_factory=list)
    failures: int = 0


@dataclass
class Memory:
    """What the sensor remembers: how far it has read, what is open, what is still to be delivered."""

    began: int  # the id of the newest end when the sensor first ran: what was before is no news
    cursor: int
    seen: list[int] = field(default_factory=list)  # ids of handled ends, of those that are read again
    open: dict[str, Problem] = field(default_factory=dict)
    outbox: list[Outgoing] = field(default_factory=list)

    def dump(self) -> str:
        """Return the memory as text."""
        outbox = [{"message": o.message.__dict__, "reached": o.reached, "failures": o.failures} for o in self.outbox]
        found = {k: problems.to_json(p) for k, p in self.open.items()}
        return json.dumps(
            {"began": self.began, "cursor": self.cursor, "seen": self.seen, "open": found, "outbox": outbox}
        )

    @staticmethod
    def load(text: str) -> "Memory":
        """Return the memory from its text."""
        found: dict[str, Any] = json.loads(text)
        outbox = [Outgoing(Message(**o["message"]), o["reached"], o["failures"]) for o in found["outbox"]]
        known = {k: problems.from_json(p) for k, p in found["open"].items()}
        return Memory(found["began"], found["cursor"], found["seen"], known, outbox)


class Notebook:
    """Where the memory lies: one row of Dagster's storage."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._storage = instance.daemon_cursor_storage

    def read(self) -> Memory | None:
        """Return the memory, None before the first evaluation."""
        text = self._storage.get_cursor_values({STATE_KEY}).get(STATE_KEY)
        return Memory.load(text) if text else None

    def write(self, memory: Memory) -> None:
        """Replace the memory, in one statement."""
        self._storage.set_cursor_values({STATE_KEY: memory.dump()})


def evaluate(instance: dg.DagsterInstance, alerts: Alerts, now: str, ui_url: str) -> str:
    """Read, remember, deliver; return in words what there was.

    Raises
    ------
    NotDelivered
        A message did not arrive; it stays in the memory and goes again at the next evaluation.
    """
    notebook = Notebook(instance)
    memory = notebook.read()
    if memory is None:
        newest = _newest(instance)
        memory = Memory(newest, newest)
        notebook.write(memory)
        return "Runs that end from now on are looked at."
    channels = alerts.channels()
    ended = list(_ends(instance, memory))
    for end_id, run in ended:
        memory.open, said = problems.follow(memory.open, run, now, ui_url)
        memory.outbox += [Outgoing(message) for message in said]
        memory.seen.append(end_id)
    memory.cursor = max([memory.cursor, *memory.seen])
    memory.seen = [i for i in memory.seen if i > memory.cursor - READ_AGAIN]
    if ended:
        notebook.write(memory)
    delivered, errors = _deliver(memory, notebook, channels)
    words = f"{len(ended)} runs ended, {delivered} messages sent, {len(memory.open)} problems open"
    if errors:
        raise NotDelivered(f"{words}; {len(memory.outbox)} messages wait: {'; '.join(sorted(errors))}")
    return f"{words}." if ended or delivered else f"No run has ended since; {len(memory.open)} problems open."


def _deliver(memory: Memory, notebook: Notebook, channels: Mapping[str, Alerts]) -> tuple[int, set[str]]:
    # What failed before goes last: it must not hold up the rest.
    delivered, until = 0, time.monotonic() + DELIVERY_S
    errors: set[str] = set()
    for outgoing in sorted(memory.outbox, key=lambda o: o.failures):
        for name in [n for n in channels if n not in outgoing.reached]:
            if time.monotonic() > until:
                return delivered, errors | {"time is up"}
            message = outgoing.message
            try:
                channels[name].send(message.title, message.body, message.severity)
            except NotDelivered as error:
                outgoing.failures += 1
                errors.add(str(error))
                continue
            delivered += 1
            outgoing.reached.append(name)
            memory.outbox = [o for o in memory.outbox if not set(channels) <= set(o.reached)]
            notebook.write(memory)
    return delivered, errors


def _newest(instance: dg.DagsterInstance) -> int:
    ids = [0]
    for kind in ENDS:
        ids += [r.storage_id for r in instance.fetch_run_status_changes(kind, limit=1).records]
    return max(ids)


def _ends(instance: dg.DagsterInstance, memory: Memory) -> Iterator[tuple[int, Ended]]:
    """Yield the runs that ended and were not handled yet, in the order they ended."""
    after, known = max(memory.cursor - READ_AGAIN, memory.began), set(memory.seen)
    found = []
    for kind in ENDS:
        only = dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=after)  # type: ignore[arg-type]
        records = instance.fetch_run_status_changes(only, limit=READ_AGAIN, ascending=True).records
        found += [(r.storage_id, kind, r.run_id) for r in records if r.storage_id not in known]
    for storage_id, kind, run_id in sorted(found)[:RUNS_AT_ONCE]:
        run = instance.get_run_by_id(run_id)
        if run is not None:
            yield storage_id, read(instance, run, ENDS[kind])


def read(instance: dg.DagsterInstance, run: dg.DagsterRun, status: Any) -> Ended:
    """Return what a run that ended has said: its checks, its failed steps, what it made."""
    from crpbot_dagster.runs import worded

    checks, steps, made, error = [], {}, set(), ""
    for record in instance.get_records_for_run(run.run_id, of_type=READ).records:
        event = record.event_log_entry.get_dagster_event()
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            severity = "error" if found.severity == dg.AssetCheckSeverity.ERROR else "warning"
            table = "/".join(found.asset_key.path)
            checks.append(Checked(table, found.check_name, found.passed, severity, found.description or ""))  # type: ignore[arg-type]
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
            made.add("/".join(event.asset_key.path))
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key is not None:
            data = event.step_failure_data
            said = data.user_failure_data
            text = (said.description or "") if said is not None else worded(data.error)
            steps[_table(event.step_key)] = text
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE:
            error = event.message or ""
    label = f"{run.tags[f'{TAG}kind']} run" if f"{TAG}kind" in run.tags else "run"
    partition = run.tags.get(PARTITION_TAG, "")
    return Ended(run.run_id, label, partition, status, tuple(checks), steps, frozenset(made), error)


def _table(step: str) -> str:
    table = step.replace("__", "/", 1)
    return table if table in TABLES else step


def alerts_sensor(config: Settings) -> dg.SensorDefinition:
    """Return the sensor that tells people."""
    alerts = Alerts(config.alert_urls, str(config.home_dir / "alerts.jsonl"))

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=config.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="One message when a table's partition fails a check or a run, one when it is well again.",
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not _DELIVERING.acquire(blocking=False):
            return dg.SkipReason("Another evaluation is still delivering.")
        try:
            now = f"{config.now():%Y-%m-%d %H:%M} UTC"
            return dg.SkipReason(evaluate(context.instance, alerts, now, config.ui_url))
        finally:
            _DELIVERING.release()

    return alert
