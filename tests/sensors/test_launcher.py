"""A run whose process died is told from one that lives, and in doubt it lives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.server import GrpcServerProcess

from crpbot_dagster.resources.launcher import PROCESS_TAG, WatchedRunLauncher, this_process


@dg.op
def nothing() -> None:
    pass


@dg.job
def idle() -> None:
    nothing()


defs = dg.Definitions(jobs=[idle])


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def status(instance: dg.DagsterInstance, tags: dict[str, str]) -> WorkerStatus:
    launcher = WatchedRunLauncher()
    launcher.register_instance(instance)
    run = instance.create_run_for_job(idle, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return launcher.check_run_worker_health(run).status


def test_a_run_of_a_command_lives_as_long_as_its_process(instance) -> None:
    assert status(instance, {PROCESS_TAG: this_process()}) == WorkerStatus.RUNNING
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert status(instance, {PROCESS_TAG: f"{socket.gethostname()}:{ended.pid}"}) == WorkerStatus.NOT_FOUND
    # Another machine's processes cannot be seen from here.
    assert status(instance, {PROCESS_TAG: f"elsewhere:{ended.pid}"}) == WorkerStatus.RUNNING
    assert this_process().endswith(f":{os.getpid()}")


def test_a_run_that_names_no_process_is_left_to_the_maximum_runtime(instance) -> None:
    assert status(instance, {}) == WorkerStatus.RUNNING


def test_a_run_of_a_code_server_that_is_gone_is_dead(instance, tmp_path: Path) -> None:
    info = {"host": "localhost", "socket": str(tmp_path / "nobody.sock")}
    assert status(instance, {GRPC_INFO_TAG: json.dumps(info)}) == WorkerStatus.NOT_FOUND


def test_a_code_server_that_does_not_answer_in_time_kills_nothing(instance, monkeypatch) -> None:
    monkeypatch.setattr("crpbot_dagster.resources.launcher.ANSWER_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        info = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
        assert status(instance, {GRPC_INFO_TAG: json.dumps(info)}) == WorkerStatus.RUNNING


def test_a_code_server_that_does_not_know_the_run_says_so() -> None:
    origin = LoadableTargetOrigin(executable_path=sys.executable, python_file=__file__)
    with (
        dg.DagsterInstance.local_temp() as instance,
        GrpcServerProcess(
            instance_ref=instance.get_ref(),
            location_name="here",
            loadable_target_origin=origin,
            wait_on_exit=True,
            inject_env_vars_from_instance=False,
        ) as server,
    ):
        client: DagsterGrpcClient = server.create_client()
        info = {"host": client.host, **({"port": client.port} if client.port else {"socket": client.socket})}
        assert status(instance, {GRPC_INFO_TAG: json.dumps(info)}) == WorkerStatus.NOT_FOUND
