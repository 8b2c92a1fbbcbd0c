"""The registry: the champion never goes back in time, never crosses markets, and the former one is kept."""

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import event

from crpbot_dagster.resources.experiments import Experiments, OtherMarket, Training
from crpbot_dagster.settings import PROJECT

SERVED = PROJECT / "crpbot_dagster" / "assets" / "models" / "served.py"


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Experiments:
    folder: Path = tmp_path_factory.mktemp("mlflow")
    return Experiments(tracking_url=f"sqlite:///{folder}/mlflow.db", artifact_root=str(folder / "files"))


def train(tracker: Experiments, day: str, version: int = 3) -> str:
    return tracker.log_training(
        Training(
            "BTC-USD", "logistic_v5", day, {"c": 1}, {"rows": 2.0}, "{}", b"w", SERVED, {"rsi": "Float64"},
            {"features/v5": (version, "lake/features/v5")},
            [{"epoch": 1, "stop_loss": 0.7}, {"epoch": 2, "stop_loss": 0.6}], {"reliability": b"png"},
        )
    )  # fmt: skip


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


def test_a_run_tells_numbers_per_epoch_what_it_read_and_how_it_is_called(tracker: Experiments) -> None:
    run_id = train(tracker, "2024-06-01")
    client = tracker.client()
    assert [m.value for m in client.get_metric_history(run_id, "stop_loss")] == [0.7, 0.6]
    read = client.get_run(run_id).inputs.dataset_inputs
    assert [(d.dataset.name, d.dataset.digest) for d in read] == [("features/v5", "delta-3")]
    files = {f.path for f in client.list_artifacts(run_id, "model")}
    assert {"model/MLmodel", "model/served.py"} <= files and not any(f.endswith(".pkl") for f in files)
    assert [f.path for f in client.list_artifacts(run_id, "pictures")] == ["pictures/reliability.png"]
    assert tracker.page(run_id).endswith(run_id)


def test_what_two_trainings_read_is_recorded_though_they_meet(tracker: Experiments) -> None:
    """The rival records the same version after MLflow looked for it, and before it adds it."""
    from mlflow.store.tracking.dbmodels.models import SqlDataset

    rivals: list[str] = []

    def meet(*_: object) -> None:
        if not rivals:
            rivals.append("on its way")
            rivals[0] = train(tracker, "2024-06-02", version=4)

    event.listen(SqlDataset, "init", meet)
    try:
        own = train(tracker, "2024-06-03", version=4)
    finally:
        event.remove(SqlDataset, "init", meet)
    for run_id in (own, *rivals):
        (read,) = tracker.client().get_run(run_id).inputs.dataset_inputs
        assert read.dataset.digest == "delta-4"


def test_the_former_champion_comes_back_with_one_call(tracker: Experiments) -> None:
    for day in ("2024-07-01", "2024-08-01"):
        tracker.promote("BTC-USD", train(tracker, day), date.fromisoformat(day), "sandbox", "logistic_v5")
    before = tracker.in_force("BTC-USD")["version"]
    assert tracker.rollback("BTC-USD") == (before, before - 1)
    assert tracker.in_force("BTC-USD")["version"] == before - 1
    assert tracker.rollback("BTC-USD") == (before - 1, before)
    with pytest.raises(LookupError, match="SOL-USD has no champion"):
        tracker.rollback("SOL-USD")
