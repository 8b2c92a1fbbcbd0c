"""The trained models as assets: a partition is the last day a model was allowed to see.

Labels of the day itself need the day after, so a model of day D is trained on labels up to D − 1.
Wiring only; training is in ``train.py``, the contract in ``artefact.py``.
"""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.features.labels import HORIZON_MIN, PRICE_SOURCE
from crpbot_dagster.assets.models.artefact import Manifest, code_version, contract, digest, span, weights_of
from crpbot_dagster.assets.models.dataset import require_source, samples
from crpbot_dagster.assets.models.train import NotTrainable, Trained, train_logistic
from crpbot_dagster.assets.models.validation import split_days
from crpbot_dagster.partitions import split as split_key
from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.results import FAMILIES


def train(family: str, symbol: str, day: date, lake: Lake, experiments: Experiments, config: Settings) -> Built:
    """Train one family on the window that ends the day before ``day``, and store the artefact as one row."""
    table = FAMILIES[family]
    days = split_days(day - timedelta(days=1), config.fit_days, config.stop_days, config.calibrate_days)
    first, last = days.fit[0], days.calibrate[1]
    features = lake.window(table, symbol, first, last).collect()
    labels = lake.window("features/labels", symbol, first, last).collect()
    primary = instruments.primary(symbol, config.primary)
    require_source(labels, PRICE_SOURCE[primary.source])
    try:
        trained = train_logistic(samples(features, labels, TABLES[table]), days, config.logistic_c)
    except NotTrainable as reason:
        return _stored(family, symbol, day, {"state": "not_trained", "reason": str(reason)})
    versions = {t: lake.version(t) or 0 for t in (table, "features/labels")}
    manifest = Manifest(
        family=family,
        symbol=symbol,
        model_day=day.isoformat(),
        label="y_up_15m",
        horizon_min=HORIZON_MIN,
        venue=primary.venue,
        source=primary.source,
        scaler="mean and standard deviation of the fit rows",
        calibrator="temperature",
        temperature=trained.model.temperature,
        seed=config.seed,
        settings={"logistic_c": config.logistic_c},
        code_version=code_version(),
        delta_versions=versions,
        fit=span(days.fit),
        stop=span(days.stop),
        calibrate=span(days.calibrate),
        fit_rows_n=trained.fit_rows_n,
        calibrate_rows_n=trained.calibrate_rows_n,
        train_base_rate=trained.train_base_rate,
        **contract(table),  # type: ignore[arg-type]
    )
    return _store(manifest, trained, experiments)


def _store(manifest: Manifest, trained: Trained, experiments: Experiments) -> Built:
    weights = weights_of(trained.model)
    run_id = experiments.log_training(
        manifest.symbol,
        manifest.family,
        manifest.model_day,
        {
            "code_version": manifest.code_version,
            "features_sha256": manifest.features_sha256,
            "fit": manifest.fit,
        }
        | manifest.settings
        | {f"delta {t}": v for t, v in manifest.delta_versions.items()},
        {
            "temperature": manifest.temperature,
            "fit_rows_n": trained.fit_rows_n,
            "base_rate": trained.train_base_rate,
        },
        {"manifest.json": manifest.to_json().encode(), "weights.safetensors": weights},
    )
    row = {
        "state": "trained",
        "reason": "",
        "manifest": manifest.to_json(),
        "weights": weights,
        "weights_sha256": digest(weights),
        "mlflow_run_id": run_id,
        "rows_n": trained.fit_rows_n,
    }
    return _stored(manifest.family, manifest.symbol, date.fromisoformat(manifest.model_day), row)


def _stored(family: str, symbol: str, day: date, row: dict[str, object]) -> Built:
    schema = TABLES[f"models/{family}"].schema
    full = dict.fromkeys(schema) | {"symbol": symbol, "day": day} | row
    notes = {k: v for k, v in row.items() if k in ("reason", "weights_sha256", "mlflow_run_id") and v}
    return Built(pl.DataFrame([full], schema=schema), "complete", f"{FAMILIES[family]}, features/labels", notes=notes)


@table_asset(
    "models/logistic_v4",
    kinds={"scikitlearn", "mlflow"},
    after=("features/v4", "features/labels"),
    tags={"feature_set": "v4"},
    code_version="1",
)
def logistic_v4(context: dg.AssetExecutionContext, lake: Lake, experiments: Experiments) -> Built:
    """One row per trained model: logistic regression on V4, candles alone.

    Reads features and labels of the days before this one only.
    """
    symbol, day = split_key(context.partition_key)
    return train("logistic_v4", symbol, day, lake, experiments, settings.load())


@table_asset(
    "models/logistic_v5",
    kinds={"scikitlearn", "mlflow"},
    after=("features/v5", "features/labels"),
    tags={"feature_set": "v5"},
    code_version="1",
)
def logistic_v5(context: dg.AssetExecutionContext, lake: Lake, experiments: Experiments) -> Built:
    """One row per trained model: logistic regression on V5, order book and tape included.

    Reads features and labels of the days before this one only.
    """
    symbol, day = split_key(context.partition_key)
    return train("logistic_v5", symbol, day, lake, experiments, settings.load())


ASSETS = (logistic_v4, logistic_v5)
