"""Dagster's default run launcher, able to say whether the process of a run still lives.

Without it a run whose code server was killed, or whose machine went down, stays "started" for ever: it keeps its place
in the run queue and its partition is never asked for again. Run monitoring (``dagster.yaml``) asks every half minute
and fails the dead; a run that outlives its code server counts as dead, for nobody can be asked about it.
Not here: a run that hangs; ``max_runtime_seconds`` ends it.
"""

import os
import socket

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

PROCESS_TAG = "crpbot/process"  # host:pid of a run that lives in the process of its command
NOBODY_LISTENS = "UNAVAILABLE"  # gRPC's name; a server that is only slow answers DEADLINE_EXCEEDED
ANSWER_S = 20


def this_process() -> str:
    """Return the value of the process tag."""
    return f"{socket.gethostname()}:{os.getpid()}"


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs on the code server, and asks it whether they live."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return whether the run's process lives; in doubt it does."""
        if PROCESS_TAG in run.tags:
            host, _, pid = run.tags[PROCESS_TAG].rpartition(":")
            is_gone = host == socket.gethostname() and not _lives(int(pid))
            return _dead(f"process {pid} is gone") if is_gone else CheckRunHealthResult(WorkerStatus.RUNNING)
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it says nothing about its process")
        try:
            answer = deserialize_value(
                client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=ANSWER_S),
                CanCancelExecutionResult,
            )
        except DagsterUserCodeUnreachableError as error:
            code = getattr(error.__cause__, "code", None)
            if code is not None and code().name == NOBODY_LISTENS:
                return _dead("the code server that started it is gone")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server did not answer in time")
        if answer.can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return _dead("the code server knows no such run")


def _dead(why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, why)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
