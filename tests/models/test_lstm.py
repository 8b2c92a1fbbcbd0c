"""The network: what a sequence is, that it remembers, that it repeats, and that it is served as it was trained."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import DAYS

from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.assets.models import artefact, lstm
from crpbot_dagster.assets.models.artefact import ContractBroken, Manifest, contract, digest, weights_of
from crpbot_dagster.assets.models.dataset import Samples, complete, samples
from crpbot_dagster.assets.models.families import NotTrainable, Trained, fit_scaler, slices, train
from crpbot_dagster.assets.models.train import Loop, Network, batch_of, fit_network, sequences
from crpbot_dagster.assets.models.validation import split_days
from crpbot_dagster.resources.experiments import Experiments, Training
from crpbot_dagster.settings import PROJECT, Settings
from crpbot_dagster.tables.features import V4

SMALL = Settings(
    lstm_layers=1, lstm_hidden=8, lstm_dropout=0, lstm_sequence=5, lstm_batch=256, lstm_learning_rate=0.01,
    lstm_epochs=2, lstm_patience=1, torch_threads=1, torch_device="cpu",
).model_dump()  # fmt: skip
SPLIT = split_days(DAYS[-1], 1, 1, 1)


def loop(**changes: object) -> Loop:
    numbers = {
        "sequence": 6, "batch": 128, "learning_rate": 0.01, "weight_decay": 0.0, "epochs": 12, "patience": 3,
        "clip_norm": 1.0, "lr_factor": 0.5, "lr_patience": 2, "seed": 7, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return Loop(**(numbers | changes))  # type: ignore[arg-type]


SHAPE = {"lstm_layers": 1, "lstm_hidden": 12, "lstm_dropout": 0.0}


def memory(rng: np.random.Generator, n: int) -> Samples:
    """Noise, and a label that is the sign of the first input four minutes ago: one minute knows nothing of it."""
    x = rng.normal(size=(n, 2))
    rows = np.arange(6, n)
    ts = np.datetime64("2024-01-01", "us") + rows * np.timedelta64(1, "m")
    return Samples(np.arange(n), x, rows, (x[rows - 4, 0] > 0).astype(np.int8), ts, ts + np.timedelta64(15, "m"))


def test_a_network_that_remembers_learns_what_one_minute_cannot_know(rng) -> None:
    """lessons 3 as well: with a sigmoid before the loss it could not get there."""
    both = memory(rng, 4_000)
    fit, stop = both.take(both.rows < 3_000), both.take(both.rows >= 3_000)
    network, history = fit_network(lstm.build, fit, stop, SHAPE, loop())
    p = network.logits(both.inputs, both.minutes)[stop.rows]
    assert ((p > 0) == stop.y).mean() > 0.97
    assert history[0]["stop_loss"] > history[-1]["stop_loss"] and history[0]["epoch"] == 1
    best = max(h["stop_accuracy_frac"] for h in history)
    assert best > 0.97 and len(history) <= 12


def test_trained_twice_with_one_seed_gives_identical_weights_and_another_seed_others(rng) -> None:
    both = memory(rng, 1_500)
    fit, stop = both.take(both.rows < 1_000), both.take(both.rows >= 1_000)
    one, two, other = (fit_network(lstm.build, fit, stop, SHAPE, loop(epochs=2, seed=s))[0] for s in (7, 7, 8))
    assert all(np.array_equal(one.weights[n], two.weights[n]) for n in one.weights)
    assert not all(np.array_equal(one.weights[n], other.weights[n]) for n in one.weights)


def test_training_stops_early_and_keeps_the_best_epoch(rng) -> None:
    both = memory(rng, 1_500)
    noise = Samples(both.minutes, both.inputs, both.rows, rng.integers(0, 2, len(both.y)).astype(np.int8), both.start, both.end)  # fmt: skip
    fit, stop = noise.take(noise.rows < 1_000), noise.take(noise.rows >= 1_000)
    network, history = fit_network(
        lstm.build, fit, stop, SHAPE, loop(epochs=40, patience=2, learning_rate=0.05, lr_patience=0)
    )
    assert len(history) < 40, "noise does not get better for long"
    assert min(h["learning_rate"] for h in history) < 0.05, "the rate falls when the loss does not"
    losses = [h["stop_loss"] for h in history]
    z = network.logits(noise.inputs, noise.minutes)[stop.rows]
    signs = 2.0 * stop.y - 1
    assert np.mean(np.logaddexp(0, -signs * z)) == pytest.approx(min(losses), abs=1e-6)


def test_sequences_are_views_that_end_at_their_row(rng) -> None:
    x = rng.normal(size=(20, 3))
    windows = sequences(x, 4, "cpu")
    assert windows.untyped_storage().nbytes() == 20 * 3 * 4, "no copy per window"
    import torch

    batch = batch_of(windows, torch.tensor([3, 19]))
    assert batch.shape == (2, 4, 3)
    assert np.allclose(batch[0].numpy(), x[:4].astype(np.float32)) and np.allclose(batch[1].numpy(), x[16:])


def test_a_sequence_has_no_gap_and_no_missing_input() -> None:
    """lessons 12: rows from before a gap, or another symbol's, in one sequence."""
    minutes = np.array([0, 1, 2, 3, 5, 6, 7, 8, 9, 10])
    x = np.zeros((10, 2))
    x[8, 1] = np.nan
    assert complete(minutes, x, 3).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    assert complete(minutes, x, 1).tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    assert not complete(minutes, x, 11).any()


def network_of(rng: np.random.Generator, width: int = 3, sequence: int = 5) -> Network:
    built = lstm.build(width, SHAPE)
    weights = {n: rng.normal(size=tuple(w.shape)).astype(np.float32) for n, w in built.state_dict().items()}
    return Network(lstm.build, weights, SHAPE, width, sequence, 1)


def test_predictions_stop_at_gaps_and_a_day_alone_equals_the_day_in_a_month(rng) -> None:
    network = network_of(rng)
    minutes = np.arange(28_000_000, 28_000_000 + 4 * 1_440)
    x = rng.normal(size=(len(minutes), 3))
    x[2_000] = np.nan
    whole = network.logits(x, minutes)
    assert np.flatnonzero(np.isnan(whole)).tolist() == [0, 1, 2, 3, 2_000, 2_001, 2_002, 2_003, 2_004]
    day = minutes // 1_440 == minutes[3_000] // 1_440
    first = np.flatnonzero(day)[0] - 4
    alone = network.logits(x[first : np.flatnonzero(day)[-1] + 1], minutes[first : np.flatnonzero(day)[-1] + 1])
    assert np.array_equal(alone[4:], whole[day], equal_nan=True)


def test_a_network_is_blind_to_the_minutes_after_and_before_its_sequence(rng) -> None:
    network, minutes = network_of(rng), np.arange(60)
    x = rng.normal(size=(60, 3))
    changed = x.copy()
    changed[31:], changed[:25] = 9.0, -9.0  # minute 30 reads 26 … 30
    assert network.logits(x, minutes)[30] == network.logits(changed, minutes)[30]
    changed[26] += 1
    assert network.logits(x, minutes)[30] != network.logits(changed, minutes)[30]


@pytest.fixture(scope="module")
def labelled(bars) -> tuple[pl.DataFrame, pl.DataFrame]:
    keys = [pl.lit("BTC-USD").alias("symbol"), pl.lit("coinbase").alias("venue")]
    return v4(bars[0]).with_columns(keys), labels(bars[0], bars[1], "mid").with_columns(keys)


@pytest.fixture(scope="module")
def trained(labelled) -> Trained:
    return train("lstm_v4", samples(*labelled, V4, 5), SPLIT, SMALL)


def manifest_of(trained: Trained) -> Manifest:
    return Manifest(
        family="lstm_v4", symbol="BTC-USD", model_day="2023-11-19", label="y_up_15m", horizon_min=15,
        venue="coinbase", source="tardis", scaler="s", calibrator="temperature", temperature=trained.temperature,
        sequence_min=trained.sequence, seed=7, settings=dict(trained.settings), code_version="x",
        delta_versions={"features/v4": 3}, fit=("a", "b"), stop=("c", "d"), calibrate=("e", "f"), fit_rows_n=500,
        calibrate_rows_n=100, train_base_rate=0.5, **contract("features/v4"),
    )  # fmt: skip


def test_the_stored_network_predicts_as_the_trained_one_and_a_missing_weight_is_refused(labelled, trained) -> None:
    manifest, weights = manifest_of(trained).to_json(), weights_of(trained)
    loaded = artefact.load(manifest, weights, digest(weights))
    features = labelled[0].sort("ts")
    p = loaded.predict(features)
    first_day = features["ts"].dt.date() == DAYS[0]
    assert np.isfinite(p[~first_day.to_numpy()]).all() and loaded.look_back_days == 1
    with pytest.raises(ValueError, match="sorted by ts"):
        loaded.predict(features.reverse())
    from safetensors.numpy import load, save

    tensors = load(weights)
    without = save({n: t for n, t in tensors.items() if n != "head.weight"})
    with pytest.raises(ContractBroken, match=r"weights head\.weight are not those"):
        artefact.load(manifest, without, digest(without))


def test_early_stopping_and_calibration_days_are_purged_and_apart(labelled) -> None:
    parts = slices(samples(*labelled, V4, 5), SPLIT)
    assert parts.fit.end.max() < parts.stop.start.min() and parts.stop.end.max() < parts.calibrate.start.min()
    assert set(parts.stop.rows).isdisjoint(parts.calibrate.rows) and set(parts.fit.rows).isdisjoint(parts.stop.rows)


def test_the_scaler_sees_fit_rows_only_and_the_network_scaled_ones(labelled, trained) -> None:
    """lessons 1: what a network sees of held-out rows stays near mean 0 and spread 1."""
    found = samples(*labelled, V4, 5)
    mean, spread = fit_scaler(slices(found, SPLIT).fit.x)
    assert np.array_equal(trained.mean, mean) and np.array_equal(trained.spread, spread)
    held = (slices(found, SPLIT).calibrate.x - mean) / spread
    assert np.abs(np.median(held, axis=0)).max() < 5 and np.median(held.std(axis=0)) < 3


def test_a_stride_leaves_out_the_labels_between_on_fit_and_stop_days(labelled, monkeypatch) -> None:
    """Labels between the strides cannot matter there; what is calibrated on is not thinned."""
    monkeypatch.setattr("crpbot_dagster.assets.models.families.LEAST_FIT_ROWS", 500)
    features, y = labelled
    thin, day = SMALL | {"lstm_stride": 2}, pl.col("ts").dt.date()
    odd = (pl.col("ts").dt.epoch("s") // 60 % 2 == 1) & (day < DAYS[2])
    flipped = y.with_columns(pl.when(odd).then(1 - pl.col("y_up_15m")).otherwise(pl.col("y_up_15m")).alias("y_up_15m"))
    one, two = (train("lstm_v4", samples(features, labels_, V4, 5), SPLIT, thin) for labels_ in (y, flipped))
    assert one.history == two.history and one.fit_rows_n == two.fit_rows_n
    whole = train("lstm_v4", samples(features, y, V4, 5), SPLIT, SMALL)
    assert one.fit_rows_n == pytest.approx(whole.fit_rows_n / 2, rel=0.02)
    assert one.calibrate_rows_n == whole.calibrate_rows_n
    other = train("lstm_v4", samples(features, flipped, V4, 5), SPLIT, SMALL)
    assert other.history != whole.history, "without a stride they matter"


def test_too_few_strided_minutes_are_not_trained_on(labelled) -> None:
    with pytest.raises(NotTrainable, match="one in 15 minutes"):
        train("lstm_v4", samples(*labelled, V4, 5), SPLIT, SMALL | {"lstm_stride": 15})


def test_mlflow_serves_the_registered_network_by_its_alias(labelled, trained, tmp_path: Path) -> None:
    tracker = Experiments(tracking_url=f"sqlite:///{tmp_path}/mlflow.db", artifact_root=str(tmp_path / "files"))
    weights = weights_of(trained)
    columns = {"close": "Float64"} | {c.name: str(c.dtype) for c in V4.features if c.is_input}
    code = PROJECT / "crpbot_dagster" / "assets" / "models" / "served.py"
    run_id = tracker.log_training(
        Training("BTC-USD", "lstm_v4", "2023-11-19", {}, {}, manifest_of(trained).to_json(), weights, code, columns, {})
    )
    tracker.promote("BTC-USD", run_id, date(2023, 12, 1), "sandbox", "lstm_v4")
    import mlflow

    mlflow.set_tracking_uri(tracker.tracking_url)
    served = mlflow.pyfunc.load_model("models:/crpbot-BTC-USD@champion")
    assert {c.name for c in served.metadata.signature.inputs} == {"ts", *columns}
    since = datetime(2023, 11, 18, 12, tzinfo=UTC)
    features = labelled[0].sort("ts").filter(pl.col("ts").is_between(since, since + timedelta(hours=1)))
    given = features.select(pl.col("ts").dt.replace_time_zone(None), *columns).to_pandas()
    loaded = artefact.load(manifest_of(trained).to_json(), weights, digest(weights))
    assert np.allclose(served.predict(given)["p_up_15m"], loaded.predict(features), equal_nan=True)
