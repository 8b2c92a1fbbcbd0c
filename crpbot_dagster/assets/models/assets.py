"""The trained models as assets: a partition is the last day a model was allowed to see.

Labels of the day itself need the day after, so a model of day D is trained on labels up to D − 1.
Wiring only; training is in ``families.py``, the contract in ``artefact.py``.
"""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.features.labels import HORIZON_MIN, PRICE_SOURCE
from crpbot_dagster.assets.models import pictures
from crpbot_dagster.assets.models.artefact import Manifest, code_version, contract, digest, span, weights_of
from crpbot_dagster.assets.models.dataset import require_source, samples
from crpbot_dagster.assets.models.families import NotTrainable, Trained, kind_of, sequence_of, train
from crpbot_dagster.assets.models.temperature import sigmoid
from crpbot_dagster.assets.models.validation import Split, split_days
from crpbot_dagster.partitions import split as split_key
from crpbot_dagster.resources.experiments import Experiments, Training
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.results import FAMILIES

WORDS = {"v4": "candles alone", "v5": "order book and tape included"}


def train_family(family: str, symbol: str, day: date, lake: Lake, experiments: Experiments, config: Settings) -> Built:
    """Train one family on the window that ends the day before ``day``, and store the artefact as one row."""
    table = FAMILIES[family]
    days = split_days(day - timedelta(days=1), config.fit_days, config.stop_days, config.calibrate_days)
    first, last = days.fit[0], days.calibrate[1]
    features = lake.window(table, symbol, first, last).collect()
    labels = lake.window("features/labels", symbol, first, last).collect()
    require_source(labels, PRICE_SOURCE[instruments.primary(symbol, config.primary).source])
    numbers = config.model_dump()
    try:
        found = samples(features, labels, TABLES[table], sequence_of(family, numbers))
        trained = train(family, found, days, numbers)
    except NotTrainable as reason:
        return _stored(family, symbol, day, {"state": "not_trained", "reason": str(reason)}, {})
    manifest = _manifest(family, symbol, day, days, trained, lake, config)
    return _store(manifest, trained, lake, experiments, config)


def _manifest(
    family: str, symbol: str, day: date, days: Split, trained: Trained, lake: Lake, config: Settings
) -> Manifest:
    primary = instruments.primary(symbol, config.primary)
    table = FAMILIES[family]
    return Manifest(
        family=family,
        symbol=symbol,
        model_day=day.isoformat(),
        label="y_up_15m",
        horizon_min=HORIZON_MIN,
        venue=primary.venue,
        source=primary.source,
        scaler="mean and standard deviation of the fit rows",
        calibrator="temperature",
        temperature=trained.temperature,
        sequence_min=trained.sequence,
        seed=config.seed,
        settings=dict(trained.settings),
        code_version=code_version(),
        delta_versions={t: lake.version(t) or 0 for t in (table, "features/labels")},
        fit=span(days.fit),
        stop=span(days.stop),
        calibrate=span(days.calibrate),
        fit_rows_n=trained.fit_rows_n,
        calibrate_rows_n=trained.calibrate_rows_n,
        train_base_rate=trained.train_base_rate,
        **contract(table),  # type: ignore[arg-type]
    )


def _store(manifest: Manifest, trained: Trained, lake: Lake, experiments: Experiments, config: Settings) -> Built:
    weights, history = weights_of(trained), [dict(epoch) for epoch in trained.history]
    drawn = _pictures(manifest, trained)
    table = TABLES[manifest.feature_table]
    told = {"code_version": manifest.code_version, "features_sha256": manifest.features_sha256}
    run_id = experiments.log_training(
        Training(
            manifest.symbol,
            manifest.family,
            manifest.model_day,
            told | {n: getattr(manifest, n) for n in ("fit", "stop", "calibrate")} | manifest.settings,
            {
                "temperature": manifest.temperature,
                "fit_rows_n": trained.fit_rows_n,
                "base_rate": trained.train_base_rate,
            },
            manifest.to_json(),
            weights,
            Path(__file__).with_name("served.py"),
            {"close": str(table.schema["close"])} | {c.name: str(c.dtype) for c in table.features if c.is_input},
            {t: (version, lake.path(t)) for t, version in manifest.delta_versions.items()},
            history,
            drawn,
        )
    )
    row: dict[str, Any] = {
        "state": "trained",
        "reason": "",
        "manifest": manifest.to_json(),
        "weights": weights,
        "weights_sha256": digest(weights),
        "history": json.dumps(history) if history else None,
        "mlflow_run_id": run_id,
        "rows_n": trained.fit_rows_n,
    }
    seen: dict[str, Any] = {n: dg.MetadataValue.md(pictures.as_markdown(png, n)) for n, png in drawn.items()}
    seen["mlflow_run"] = dg.MetadataValue.url(f"{config.mlflow_ui_url}/{experiments.page(run_id)}")
    if history:
        seen |= {"epochs": len(history), "stop_loss": min(epoch["stop_loss"] for epoch in history)}
    return _stored(manifest.family, manifest.symbol, date.fromisoformat(manifest.model_day), row, seen)


def _pictures(manifest: Manifest, trained: Trained) -> dict[str, bytes]:
    logits, y = trained.calibration
    title = f"{manifest.family} {manifest.symbol}: the calibration days, after calibration"
    drawn = {"reliability": pictures.reliability(sigmoid(logits / trained.temperature), y.astype(np.float64), title)}
    if trained.history:
        drawn["learning_curves"] = pictures.learning_curves([dict(epoch) for epoch in trained.history])
    return drawn


def _stored(family: str, symbol: str, day: date, row: dict[str, Any], seen: dict[str, Any]) -> Built:
    schema = TABLES[f"models/{family}"].schema
    full = dict.fromkeys(schema) | {"symbol": symbol, "day": day} | row
    notes = {k: v for k, v in row.items() if k in ("reason", "weights_sha256", "mlflow_run_id") and v} | seen
    return Built(pl.DataFrame([full], schema=schema), "complete", f"{FAMILIES[family]}, features/labels", notes=notes)


def model_asset(family: str) -> dg.AssetsDefinition:
    """Return the asset of one family: one trained model a day and symbol."""
    kind, feature_set = kind_of(family), family.partition("_")[2]

    def model(context: dg.AssetExecutionContext, lake: Lake, experiments: Experiments) -> Built:
        symbol, day = split_key(context.partition_key)
        return train_family(family, symbol, day, lake, experiments, settings.load())

    model.__doc__ = (
        f"One row per trained model: {kind.words}, {WORDS[feature_set]}.\n\n"
        "Reads features and labels of the days before this one only."
    )
    return table_asset(
        f"models/{family}",
        kinds={kind.engine, "mlflow"},
        after=(FAMILIES[family], "features/labels"),
        tags={"feature_set": feature_set},
        code_version="2",
    )(model)


ASSETS = tuple(model_asset(family) for family in FAMILIES)
