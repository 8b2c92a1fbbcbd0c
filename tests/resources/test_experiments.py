"""The registry: the champion never goes back in time, never crosses markets, and the former one is kept."""

from datetime import date
from pathlib import Path

import pytest

from crpbot_dagster.resources.experiments import Experiments, OtherMarket


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Experiments:
    folder: Path = tmp_path_factory.mktemp("mlflow")
    return Experiments(tracking_url=f"sqlite:///{folder}/mlflow.db", artifact_root=str(folder / "files"))


def train(tracker: Experiments, day: str) -> str:
    return tracker.log_training("BTC-USD", "logistic_v5", day, {"c": 1}, {"rows": 2.0}, {"weights.safetensors": b"w"})


def test_promotion_keeps_the_former_and_never_goes_back(tracker: Experiments) -> None:
    assert tracker.in_force("BTC-USD") is None
    old, new = train(tracker, "2024-01-01"), train(tracker, "2024-02-01")
    assert tracker.stored(old, "weights.safetensors") == b"w"
    assert tracker.promote("BTC-USD", old, date(2024, 1, 30), "sandbox", "logistic_v5") == 1
    assert tracker.promote("BTC-USD", old, date(2024, 1, 30), "sandbox", "logistic_v5") == 1
    assert tracker.promote("BTC-USD", new, date(2024, 3, 1), "sandbox", "logistic_v5") == 2
    found = tracker.in_force("BTC-USD")
    assert {k: int(v) for k, v in found["aliases"].items()} == {"champion": 2, "previous": 1}
    past = train(tracker, "2023-12-01")
    assert tracker.promote("BTC-USD", past, date(2023, 12, 30), "sandbox", "logistic_v5") == 2
    assert tracker.in_force("BTC-USD")["run_id"] == new


def test_a_live_model_does_not_replace_a_simulated_champion(tracker: Experiments) -> None:
    run = train(tracker, "2024-05-01")
    with pytest.raises(OtherMarket, match="use another experiment tracker"):
        tracker.promote("BTC-USD", run, date(2024, 6, 1), "live", "logistic_v5")
