"""No key is ever written: a whole run that fails, at vendors that repeat in their answers what they were sent."""

import json
import logging
import re
import traceback
from datetime import date
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from faults.server import Answer, Host, answer, host
from pydantic import SecretStr

from crpbot_dagster import assets, settings
from crpbot_dagster.definitions import resources
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.alerts import Alerts, NotDelivered
from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.settings import Settings
from crpbot_dagster.sources import SOURCES

DAY = date(2023, 11, 20)
SECRETS = [n for n, f in Settings.model_fields.items() if SecretStr in (f.annotation, *get_args(f.annotation))]


def canary(name: str) -> str:
    return f"canary{name.replace('_', '')}7e1f"


@dg.asset
def tracker(experiments: Experiments) -> None:
    """Stands for a training: asks the experiment tracker for something."""
    experiments.prepare()


class Echo:
    """Refuses everything with what it was sent: address, headers, body of the request."""

    def __init__(self, status: int) -> None:
        self.status, self.host = status, None

    def __call__(self, n: int, moment: float) -> Answer:
        assert isinstance(self.host, Host)
        return answer(self.status, json.dumps({"refused": self.host.requests[n]}).encode(), x_echo="1")


def live(environment, url: str) -> Settings:
    """Every secret a canary, every source at the host."""
    where = {s: f"{url}/{s}" for s in SOURCES}
    own = {
        "postgres_url": f"postgresql://me:{canary('postgres_url')}@127.0.0.1:1/dagster",
        "mlflow_url": url.replace("//", f"//me:{canary('mlflow_url')}@"),
        "alert_urls": json.dumps([url.replace("http://", f"json://me:{canary('alert_urls')}@") + "/hook"]),
    }
    keys = {name: canary(name) for name in SECRETS}
    return environment(market="live", fetch_timeout_s="0.3", source_urls=json.dumps(where), **(keys | own))


def run_all(config: Settings, instance: dg.DagsterInstance) -> list[dg.ExecuteInProcessResult]:
    """Each raw asset and the tracker: every one of them fails, or says that the day is not there."""
    runs = []
    for asset in (*assets.ROUTE["raw"], tracker):
        made_of = asset.partitions_def
        partition = None if made_of is None else str(DAY)
        if isinstance(made_of, dg.MultiPartitionsDefinition):
            partition = key("BTC-USD", DAY)
        runs.append(
            dg.materialize(
                [asset],
                partition_key=partition,
                resources=resources(config),
                instance=instance,
                raise_on_error=False,
            )
        )
    return runs


def every_word(folder: Path) -> str:
    """All files below the folder as text, databases and logs included."""
    return "\n".join(p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("status", [400, 503])
def test_no_key_is_written_anywhere_by_a_failing_run(
    status: int, environment, tmp_path: Path, caplog, capfd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 80 of the fault corpus."""
    assert len(SECRETS) >= 8
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    echo = Echo(status)
    (tmp_path / "dagster").mkdir()
    with host(echo) as echoing, dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        echo.host = echoing
        config = live(environment, echoing.url)
        runs = run_all(config, instance)
        with pytest.raises(NotDelivered) as undelivered:
            Alerts(config.alert_urls, str(tmp_path / "alerts.log")).send("a", "b", "error")
        events = "\n".join(dg.serialize_value(e) for r in runs for e in instance.all_logs(r.run_id))
        said = "\n".join("".join(traceback.format_exception(r_error)) for r_error in [undelivered.value])
    assert not runs[-1].success and sum(not r.success for r in runs) > 1
    told = "\n".join(echoing.requests)
    shown = [n for n in SECRETS if canary(n) in told]
    assert "tardis_api_key" in shown, "the vendors were shown the keys"
    out = capfd.readouterr()
    places = {
        "the logs": caplog.text,
        "the event log": events,
        "an exception": said,
        "files": every_word(tmp_path),
        "the screen": out.out + out.err,
        "the settings' own text": repr(config) + str(config),
    }
    for place, text in places.items():
        found = sorted(set(re.findall(r"canary\w+", text)))
        assert found == [], f"{place} of a run at status {status}: {found}"
    assert settings.load().tardis_api_key is not None
