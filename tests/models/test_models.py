"""Inputs, the logistic regression, and the artefact's contract: what earlier systems got wrong."""

import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.assets.models import artefact
from crpbot_dagster.assets.models.artefact import ContractBroken, Manifest, contract, digest, weights_of
from crpbot_dagster.assets.models.dataset import input_names, inputs, samples
from crpbot_dagster.assets.models.families import NotTrainable, Trained, fit_scaler, train, within
from crpbot_dagster.assets.models.logistic import fit
from crpbot_dagster.assets.models.temperature import fit_temperature, sigmoid
from crpbot_dagster.assets.models.validation import split_days
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables.features import V4, V5

SETTINGS = Settings().model_dump()


def test_input_counts_are_counted_not_typed() -> None:
    # 23 numeric inputs and one category of seven days, first level left out.
    assert len(input_names(V4)) == 24 - 1 + 6
    assert len(input_names(V5)) == 44 - 1 + 6
    assert input_names(V5)[: len(input_names(V4))] == input_names(V4)


def test_transforms(bars) -> None:
    frame = v4(bars[0]).tail(5)
    x = pl.DataFrame(inputs(frame, V4), schema=list(input_names(V4)))
    close = frame["close"]
    assert np.allclose(x["open"], np.log(frame["open"] / close))
    assert np.allclose(x["volume"], np.log1p(frame["volume"]))
    assert np.allclose(x["atr"], frame["atr"] / close)
    assert np.allclose(x["rsi"], frame["rsi"])
    weekday = frame["day_of_week"][0]
    assert weekday == 5 and x["day_of_week=5"][0] == 1 and x["day_of_week=4"][0] == 0
    assert "close" not in x.columns and "sma_7" not in x.columns


def toy(rng: np.random.Generator, n: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(n, 3)) * [1, 100, 0.01] + [5, -3, 0]
    return x, (x[:, 0] - 5 + 0.01 * x[:, 1] > 0).astype(np.int8)


def fitted(x: np.ndarray, y: np.ndarray, c: float = 1.0) -> Trained:
    mean, spread = fit_scaler(x)
    return Trained(fit((x - mean) / spread, y, c), mean, spread, 1.0, {"logistic_c": c}, 1, len(y), 0, float(y.mean()))


def probability(model: Trained, x: np.ndarray) -> np.ndarray:
    return sigmoid(model.model.logits((x - model.mean) / model.spread, np.arange(len(x))))


def test_a_separable_toy_set_is_learnt(rng) -> None:
    """lessons 3: a sigmoid inside a loss with a sigmoid locks probabilities in (0.5, 0.73)."""
    x, y = toy(rng)
    p = probability(fitted(x, y, 100.0), x)
    assert ((p > 0.5) == y).mean() > 0.99
    assert p.min() < 0.01 and p.max() > 0.99


def test_the_scaler_is_fitted_once_on_raw_train_rows(rng) -> None:
    """lessons 1 and 2: scaled twice, or with the test rows' own statistics."""
    x, _ = toy(rng)
    mean, spread = fit_scaler(x)
    scaled = (x - mean) / spread
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-9) and np.allclose(scaled.std(axis=0), 1)
    assert fit_scaler(np.column_stack([x, np.full(len(x), 7.0)]))[1][3] == 1.0


def test_a_missing_input_gives_no_prediction(rng) -> None:
    x, y = toy(rng)
    holed = x[:2].copy()
    holed[0, 1] = np.nan
    assert np.isnan(probability(fitted(x, y), holed)).tolist() == [True, False]


def test_temperature_mends_overconfidence_and_keeps_every_side(rng) -> None:
    z = rng.normal(size=20_000)
    y = (rng.random(20_000) < sigmoid(z)).astype(np.int8)
    assert fit_temperature(3 * z, y) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(z, y) == pytest.approx(1.0, rel=0.05)
    useless = fit_temperature(z, rng.integers(0, 2, 20_000).astype(np.int8))
    assert useless > 10  # nothing to say: close to one half, sides unchanged


def made(rng) -> tuple[str, bytes]:
    model = fitted(rng.normal(size=(500, len(input_names(V4)))), rng.integers(0, 2, 500).astype(np.int8))
    manifest = Manifest(
        family="logistic_v4", symbol="BTC-USD", model_day="2024-01-01", label="y_up_15m", horizon_min=15,
        venue="coinbase", source="tardis", scaler="s", calibrator="temperature", temperature=1.0, sequence_min=1, seed=7,
        settings={"logistic_c": 1.0}, code_version="x", delta_versions={"features/v4": 3},
        fit=("a", "b"), stop=("c", "d"), calibrate=("e", "f"), fit_rows_n=500, calibrate_rows_n=100,
        train_base_rate=0.5, **contract("features/v4"),
    )  # fmt: skip
    return manifest.to_json(), weights_of(model)


def test_an_artefact_that_fits_its_contract_is_loaded(rng) -> None:
    manifest, weights = made(rng)
    loaded = artefact.load(manifest, weights, digest(weights))
    assert loaded.manifest.features_sha256 == contract("features/v4")["features_sha256"]
    assert manifest == loaded.manifest.to_json(), "the same model gives the same bytes"


def broken(manifest: str, **changes: object) -> str:
    return json.dumps(json.loads(manifest) | changes)


def test_each_breach_of_the_contract_is_refused(rng) -> None:
    """lessons 5 and 6: damaged checkpoints, other feature counts, other orders."""
    manifest, weights = made(rng)
    features = json.loads(manifest)["features"]
    cases = {
        "sha256 differs": (manifest, weights[:-1] + b"x", digest(weights)),
        "another order": (broken(manifest, features=features[::-1]), weights, digest(weights)),
        "gone: rsi2": (
            broken(manifest, features=[f.replace("rsi:", "rsi2:") for f in features]), weights, digest(weights),
        ),
        "features_sha256": (broken(manifest, features_sha256="0"), weights, digest(weights)),
        "does not exist any more": (broken(manifest, feature_table="features/v9"), weights, digest(weights)),
        "not complete": (json.dumps({"family": "x"}), weights, digest(weights)),
        "manifest is not complete": ("{", weights, digest(weights)),
        "cannot be read": (manifest, b"908 bytes", digest(b"908 bytes")),
    }  # fmt: skip
    for message, (text, blob, sha) in cases.items():
        with pytest.raises(ContractBroken, match=message):
            artefact.load(text, blob, sha)


def test_missing_scaler_and_infinite_weight_are_refused(rng) -> None:
    from safetensors.numpy import load, save

    manifest, weights = made(rng)
    tensors = load(weights)
    without = save({k: v for k, v in tensors.items() if k != "spread"})
    with pytest.raises(ContractBroken, match="lack spread"):
        artefact.load(manifest, without, digest(without))
    wild = save(tensors | {"weight": np.full_like(tensors["weight"], np.inf)})
    with pytest.raises(ContractBroken, match="not a finite number"):
        artefact.load(manifest, wild, digest(wild))
    narrow = save(tensors | {"mean": tensors["mean"][:-1]})
    with pytest.raises(ContractBroken, match="inputs wide"):
        artefact.load(manifest, narrow, digest(narrow))
    thin = save(tensors | {"weight": tensors["weight"][:-1]})
    with pytest.raises(ContractBroken, match="expected weight of"):
        artefact.load(manifest, thin, digest(thin))
    with pytest.raises(ContractBroken, match="no such kind"):
        artefact.load(broken(manifest, family="oracle_v4"), weights, digest(weights))
    with pytest.raises(ContractBroken, match="temperature, is not a finite"):
        artefact.load(broken(manifest, temperature=0.0), weights, digest(weights))


def labelled(bars) -> tuple[pl.DataFrame, pl.DataFrame]:
    from crpbot_dagster.assets.features.labels import labels

    keys = [pl.lit("BTC-USD").alias("symbol"), pl.lit("coinbase").alias("venue")]
    return v4(bars[0]).with_columns(keys), labels(bars[0], bars[1], "mid").with_columns(keys)


def test_changing_test_rows_leaves_scaler_and_weights_unchanged(bars) -> None:
    features, y = labelled(bars)
    days = split_days(date(2023, 11, 18), 1, 1, 1)
    one = train("logistic_v4", samples(features, y, V4, 1), days, SETTINGS)
    later = pl.col("ts").dt.date() > days.fit[1]
    changed = features.with_columns(pl.when(later).then(pl.col("rsi") * 0.5).otherwise(pl.col("rsi")).alias("rsi"))
    two = train("logistic_v4", samples(changed, y, V4, 1), days, SETTINGS)
    assert np.array_equal(one.mean, two.mean) and np.array_equal(one.model.weight, two.model.weight)
    assert one.temperature != two.temperature


def test_fit_labels_that_reach_into_the_held_out_days_are_purged(bars) -> None:
    features, y = labelled(bars)
    days = split_days(date(2023, 11, 18), 1, 1, 1)
    found = samples(features, y, V4, 1)
    trained = train("logistic_v4", found, days, SETTINGS)
    on_fit_day = found.take(within(found, days.fit))
    midnight = np.datetime64("2023-11-17")
    # The held-out labels begin a minute after midnight; a label that ends there or later must go.
    assert trained.fit_rows_n < len(on_fit_day.y)
    assert trained.fit_rows_n >= (on_fit_day.end <= midnight).sum()


def test_training_twice_gives_the_same_bytes(bars) -> None:
    features, y = labelled(bars)
    days = split_days(date(2023, 11, 18), 1, 1, 1)
    weights = [weights_of(train("logistic_v4", samples(features, y, V4, 1), days, SETTINGS)) for _ in range(2)]
    assert weights[0] == weights[1]


def test_too_little_is_not_trained_and_says_how_much_there_was(bars) -> None:
    features, y = labelled(bars)
    with pytest.raises(NotTrainable, match=r"0 complete labelled rows to fit on"):
        train("logistic_v4", samples(features, y, V4, 1), split_days(date(2023, 12, 30), 1, 1, 1), SETTINGS)
    empty = features.with_columns(pl.lit(None, pl.Float64).alias("rsi"))
    with pytest.raises(NotTrainable):
        train("logistic_v4", samples(empty, y, V4, 1), split_days(date(2023, 11, 18), 1, 1, 1), SETTINGS)
