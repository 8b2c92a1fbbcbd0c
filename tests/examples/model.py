"""Run with the patched package and a folder: the new family is trained through Dagster, stored, loaded, and predicts."""

import sys
from datetime import timedelta

import dagster as dg
import numpy as np
import polars as pl
from conftest import DAYS, bars_of

from crpbot_dagster import settings
from crpbot_dagster.assets.evaluations.assets import FAMILIES
from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.assets.models import artefact
from crpbot_dagster.assets.models.assets import ASSETS
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sandbox.market import MarketSpec

FAMILY, SYMBOL, DAY = "bayes_v4", "BTC-USD", DAYS[-1] + timedelta(days=1)
home = sys.argv[1]

settings.export(home=home, fit_days="1", stop_days="1", calibrate_days="1")
lake = Lake(url=f"{home}/lake", market="sandbox", start_day="2023-11-10")
trades, book = bars_of(MarketSpec(7, 1.0), SYMBOL, DAYS)
made = {"features/v4": v4(trades), "features/labels": labels(trades, book, "mid")}
for day in DAYS:
    for table, frame in made.items():
        own = frame.filter(pl.col("ts").dt.date() == day).with_columns(
            symbol=pl.lit(SYMBOL), day=pl.lit(day), venue=pl.lit("coinbase")
        )
        lake.publish(table, own, SYMBOL, day, "complete")

experiments = Experiments(tracking_url=f"sqlite:///{home}/mlflow.db", artifact_root=f"{home}/mlflow")
(model,) = [a for a in ASSETS if a.key.path[-1] == FAMILY]
resources = {"lake": lake, "door": Door(lake=lake, base_dir=lake.url), "experiments": experiments}
assert dg.materialize([model], partition_key=key(SYMBOL, DAY), resources=resources).success
assert FAMILY in FAMILIES, "evaluations and promotion read every family"

row = lake.window(f"models/{FAMILY}", SYMBOL, DAY, DAY).collect().row(0, named=True)
assert row["state"] == "trained", row["reason"]
loaded = artefact.load(row["manifest"], row["weights"], row["weights_sha256"])
features = lake.window("features/v4", SYMBOL, DAYS[2], DAYS[2]).collect().sort("ts")
p = loaded.predict(features)
known = np.isfinite(p)
assert known.mean() > 0.95 and p[known].std() > 1e-4 and ((p[known] > 0) & (p[known] < 1)).all()
assert loaded.manifest.fit_rows_n > 1_000
for broken in (
    row["manifest"].replace('"rsi:Float64:as_is"', '"rsi:Float64:log1p"'),
    row["manifest"].replace(FAMILY, "byes_v4"),
):
    try:
        artefact.load(broken, row["weights"], row["weights_sha256"])
    except artefact.ContractBroken:
        continue
    raise AssertionError("a broken contract was not refused")
