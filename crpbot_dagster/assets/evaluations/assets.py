"""Sources compared, features analysed, predictions and metrics as assets.

A partition of the comparison is a day, one of an analysis the last of its days. One of predictions or metrics is the
day of the verdict, using labels known by its end: the verdict of day E judges the model of day E − test days − 1 on the
test days between them, none of which it ever saw. Wiring only; the arithmetic is in ``metrics.py``, ``tick_rule.py``,
``feature_analysis.py`` and ``dbt_like_sql/evaluations``.
"""

import itertools
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.evaluations.feature_analysis import analyse, summary
from crpbot_dagster.assets.evaluations.feature_page import page_name, render, top_markdown
from crpbot_dagster.assets.evaluations.metrics import evaluate
from crpbot_dagster.assets.evaluations.page import write_page
from crpbot_dagster.assets.evaluations.tick_rule import tick_rule_agreement
from crpbot_dagster.assets.features.labels import PRICE_SOURCE
from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.assets.models import pictures
from crpbot_dagster.assets.models.artefact import Artefact, ContractBroken, load
from crpbot_dagster.assets.models.dataset import require_source
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.sql_models import MODELS, lineage_of, read_model
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.settings import Settings
from crpbot_dagster.tables import TABLES, TICKS
from crpbot_dagster.tables.results import FAMILIES

SOURCE_COMPARISON = read_model(MODELS / "evaluations" / "source_comparison.sql")
SOURCE_COMPARISON_LINEAGE = lineage_of(SOURCE_COMPARISON)


@table_asset(
    "evaluations/source_comparison",
    kinds={"duckdb"},
    after=(*SOURCE_COMPARISON.inputs, *(t.name for t in TICKS.values())),
    code_version="1",
)
def source_comparison(context: dg.AssetExecutionContext, warehouse: Warehouse, lake: Lake) -> Built:
    """One row per (venue, source) of the day beside each other one: agreement, grade, and the day's primary.

    Reads the day of ``bars/trades_1m`` and, for the sides, the trades of every tick source that was ever asked.
    """
    symbol, day = split(context.partition_key)
    primary = instruments.primary(symbol, settings.load().primary)
    sides: dict[str, float] = {}
    for source, table in TICKS.items():
        if lake.state(table.name, symbol, day) is not None:
            found = tick_rule_agreement(lake.window(table.name, symbol, day, day))
            sides |= {f"{venue}/{source}": share for venue, share in found.items()}
    frame, facts = warehouse.made(
        SOURCE_COMPARISON, symbol, day, primary=f"{primary.venue}/{primary.source}",
        tick_rule_names=list(sides), tick_rule_fracs=list(sides.values()),
    )  # fmt: skip
    notes: dict[str, Any] = {"dagster/column_lineage": SOURCE_COMPARISON_LINEAGE}
    notes |= {f"grade of {v}/{s}": g for v, s, g in frame.group_by("venue", "source").agg(pl.min("grade")).iter_rows()}
    chosen = frame.filter("is_primary")["reason"]
    notes |= {"primary of the day": chosen[0]} if len(chosen) else {}
    return Built(frame, "complete" if frame.height else "missing", "bars/trades_1m", facts, notes)


def model_day(verdict_day: date, test_days: int) -> date:
    """Return the partition of the model that a verdict judges: the test days lie between the two."""
    return verdict_day - timedelta(days=test_days + 1)


def load_model(lake: Lake, family: str, symbol: str, day: date) -> Artefact | None:
    """Return the model of a partition, None when it was not trained.

    Raises
    ------
    IncompleteError
        The partition was never materialised.
    ContractBroken
        The artefact does not fit the code.
    """
    row = lake.window(f"models/{family}", symbol, day, day).collect().row(0, named=True)
    if row["state"] != "trained":
        return None
    model = load(row["manifest"], row["weights"], row["weights_sha256"])
    said = (model.manifest.family, model.manifest.symbol, model.manifest.model_day)
    if said != (family, symbol, day.isoformat()):
        raise ContractBroken(f"the model stored as {family} {symbol} {day} says it is {' '.join(said)}")
    return model


def predict(
    model: Artefact, features: pl.DataFrame, labels: pl.DataFrame, symbol: str, verdict_day: date
) -> pl.DataFrame:
    """Return one row per minute of ``labels``: the model's probability beside the label that came true.

    ``features`` begin the model's look-back days earlier, so that its first sequence is whole.
    """
    keys = ["symbol", "venue", "ts"]
    seen = features.sort("ts")
    p = model.predict(seen)
    probable = seen.with_columns(pl.Series("p_up_15m", np.where(np.isfinite(p), p, np.nan), nan_to_null=True))
    joined = probable.join(labels, on=keys, how="inner", validate="1:1", suffix="_label").sort("ts")
    return joined.select(
        "symbol",
        pl.lit(verdict_day).alias("day"),
        pl.lit(model.manifest.family).alias("family"),
        pl.lit(date.fromisoformat(model.manifest.model_day)).alias("model_day"),
        pl.col("ts").dt.date().alias("test_day"),
        "ts",
        "p_up_15m",
        "y_up_15m",
        "y_ret_15m",
        pl.col("label_end_ts_15m").alias("label_end_ts"),
    )


@table_asset(
    "evaluations/predictions",
    kinds={"polars"},
    after=(*(f"models/{f}" for f in FAMILIES), *sorted(set(FAMILIES.values())), "features/labels"),
    code_version="1",
)
def predictions(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per minute of the test days and trained family: probability of up beside the label.

    Reads the models of the day before the test days, and features and labels of the test days.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    trained_on = model_day(day, config.test_days)
    first, last = trained_on + timedelta(days=1), day - timedelta(days=1)
    labels = lake.window("features/labels", symbol, first, last).collect()
    require_source(labels, PRICE_SOURCE[instruments.primary(symbol, config.primary).source])
    parts, absent = [], []
    for family, table in FAMILIES.items():
        model = load_model(lake, family, symbol, trained_on)
        if model is None:
            absent.append(family)
            continue
        features = lake.window(table, symbol, first - timedelta(days=model.look_back_days), last).collect()
        parts.append(predict(model, features, labels, symbol, day))
    notes = {"model_day": trained_on.isoformat(), "not_trained": ", ".join(absent) or "none"}
    if not parts:
        return Built(TABLES["evaluations/predictions"].empty(), "empty", "models", notes=notes)
    return Built(pl.concat(parts), "complete", "models", notes=notes)


@table_asset(
    "evaluations/metrics",
    kinds={"polars"},
    reads={"predicted": "evaluations/predictions"},
    after=tuple(f"models/{f}" for f in FAMILIES),
    code_version="1",
)
def metrics(context: dg.AssetExecutionContext, predicted: pl.LazyFrame, lake: Lake) -> Built:
    """One row per family and metric: accuracy with its interval, calibration, Brier, log-loss, coverage tiers.

    Reads the day's predictions and, from each model's manifest, the share of ups it was fitted on.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    rows, minutes = [], predicted.collect()
    for (family, trained_on), frame in minutes.group_by("family", "model_day", maintain_order=True):
        model = load_model(lake, str(family), symbol, trained_on)  # type: ignore[arg-type]
        if model is None:
            continue
        asked = frame.select(
            "ts",
            "label_end_ts",
            "y_up_15m",
            pl.col("test_day").alias("day"),
            pl.col("p_up_15m").alias("p_up"),
        ).rename({"y_up_15m": "y_up"})
        found = evaluate(asked, model.manifest.train_base_rate, config.bootstrap_draws, config.seed)
        for name, value in found.items():
            text = value if isinstance(value, str) else ""
            number = None if value is None or isinstance(value, str) else float(value)
            rows.append((symbol, day, family, trained_on, name, number, text))
    frame = pl.DataFrame(rows, schema=TABLES["evaluations/metrics"].schema, orient="row")
    headline = frame.filter(pl.col("metric").is_in(["accuracy_frac", "n_eff"]))
    notes: dict[str, Any] = {
        f"{r['family']} {r['metric']}": round(r["value"], 4) for r in headline.drop_nulls("value").iter_rows(named=True)
    }
    notes |= _reliability(minutes)
    return Built(frame, "complete" if rows else "empty", "evaluations/predictions", notes=notes)


def _reliability(predicted: pl.DataFrame) -> dict[str, Any]:
    """Return one picture per family: how often up came true, for each predicted probability, on the test days."""
    drawn = {}
    for (family,), rows in predicted.drop_nulls(["p_up_15m", "y_up_15m"]).group_by("family", maintain_order=True):
        p, y = rows["p_up_15m"].to_numpy(), rows["y_up_15m"].to_numpy()
        png = pictures.reliability(p, y, f"{family}: the test days")
        drawn[f"{family} reliability"] = dg.MetadataValue.md(pictures.as_markdown(png, f"reliability of {family}"))
    return drawn


def judged_before(lake: Lake, symbol: str, day: date) -> pl.DataFrame:
    """Return the last verdict given before ``day``: one row per family, with the day of its model.

    Empty when there was none.
    """
    verdicts = [d for d in lake.days("promotion/promoted_model", symbol) if d < day]
    if not verdicts:
        return pl.DataFrame(schema={"family": pl.String, "is_chosen": pl.Boolean, "model_day": pl.Date, "day": pl.Date})
    last = verdicts[-1]
    gates = lake.window("promotion/promoted_model", symbol, last, last).filter(pl.col("gate") == "verdict").collect()
    models = lake.window("evaluations/metrics", symbol, last, last).select("family", "model_day").unique().collect()
    return gates.join(models, on="family").select("family", "is_chosen", "model_day", "day").sort("family")


@table_asset(
    "evaluations/daily_predictions",
    kinds={"polars"},
    after=(*(f"models/{f}" for f in FAMILIES), *sorted(set(FAMILIES.values())), "features/labels"),
    code_version="1",
)
def daily_predictions(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per minute of a new day and judged family: the track record of the last verdict's models.

    Reads the last verdict before the day, its models, and features and labels of the day; built with the labels.
    """
    symbol, day = split(context.partition_key)
    labels = lake.window("features/labels", symbol, day, day).collect()
    parts = []
    for family, is_chosen, trained_on, verdict_day in judged_before(lake, symbol, day).iter_rows():
        model = load_model(lake, family, symbol, trained_on)
        if model is None:
            continue
        features = lake.window(FAMILIES[family], symbol, day - timedelta(days=model.look_back_days), day).collect()
        kept = predict(model, features, labels, symbol, day).drop("test_day", "y_ret_15m")
        parts.append(kept.with_columns(pl.lit(verdict_day).alias("verdict_day"), pl.lit(is_chosen).alias("is_chosen")))
    if not parts:
        return Built(TABLES["evaluations/daily_predictions"].empty(), "empty", "none", notes={"verdict": "none yet"})
    return Built(pl.concat(parts), "complete", "models")


def first_analysed(lake: Lake, table: str, symbol: str, last: date, most_days: int) -> date:
    """Return where the unbroken days begin that hold the features of ``table`` and labels and end on ``last``."""
    days = [last - timedelta(days=i) for i in range(most_days)]
    absent = {d for t in (table, "features/labels") for d in lake.missing(t, symbol, days)}
    unbroken = itertools.takewhile(lambda d: d not in absent, days)
    return min(unbroken, default=last)


def analysed(name: str, symbol: str, day: date, lake: Lake, config: Settings) -> Built:
    """Analyse one feature set over the days up to ``day``, write its page and return its rows."""
    features_table = SETS[name].table
    first = first_analysed(lake, features_table.name, symbol, day, config.analysis_days)
    features = lake.window(features_table.name, symbol, first, day).collect().sort("ts")
    labels = lake.window("features/labels", symbol, first, day).collect()
    table, read = TABLES[f"evaluations/feature_analysis_{name}"], f"{features_table.name}, features/labels"
    if features.is_empty() or labels.is_empty():
        return Built(table.empty(), "empty", read)
    require_source(labels, PRICE_SOURCE[instruments.primary(symbol, config.primary).source])
    found = analyse(features, labels, name, features_table, config.seed)
    file = page_name(name, symbol, day)
    path = write_page(config.reports_dir, file, render(found, features, features_table, lake.market).encode())
    keys = {"symbol": symbol, "day": day, "first_day": found.first}
    frame = found.columns.with_columns(pl.lit(v).alias(k) for k, v in keys.items())
    notes: dict[str, Any] = summary(found.columns)
    notes |= {
        "days": f"{found.first} to {found.last}",
        "top_features": dg.MetadataValue.md(top_markdown(found.columns)),
    }
    notes |= {"analysis": dg.MetadataValue.url(f"{config.reports_url}/{file}"), "page": dg.MetadataValue.path(path)}
    return Built(frame, "complete", read, notes=notes)


def analysis_asset(name: str) -> dg.AssetsDefinition:
    """Return the asset that analyses one feature set."""

    def feature_analysis(context: dg.AssetExecutionContext, lake: Lake) -> Built:
        symbol, day = split(context.partition_key)
        return analysed(name, symbol, day, lake, settings.load())

    feature_analysis.__doc__ = (
        f"One row per feature of {name}: coverage, spread, drift, what it says of the label; and a page with charts."
        "\n\nReads features and labels of the unbroken days up to this one; made when somebody asks (`crpbot analyse`)."
    )
    return table_asset(
        f"evaluations/feature_analysis_{name}",
        kinds={"polars", "lightgbm"},
        after=(SETS[name].table.name, "features/labels"),
        tags={"feature_set": name},
        code_version="1",
    )(feature_analysis)


ANALYSES = tuple(analysis_asset(name) for name in SETS)
ASSETS = (source_comparison, *ANALYSES, predictions, metrics, daily_predictions)
