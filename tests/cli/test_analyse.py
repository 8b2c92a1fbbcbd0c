"""``crpbot analyse`` on a small lake: the page is written, the table short, a refusal says what to run."""

import json
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import DAYS
from typer.testing import CliRunner

from crpbot_dagster.assets import ROUTE
from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.cli import analyse, app
from crpbot_dagster.instance import lake_of
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.tables import TABLES


@pytest.fixture
def ask(environment, bars, monkeypatch):
    """``crpbot analyse`` on three days of BTC; Dagster runs here instead of in a process of its own."""
    lake = lake_of(environment())
    for table, frame in {"features/v4": v4(bars[0]), "features/labels": labels(*bars, "mid")}.items():
        for day in DAYS:
            keys = {"symbol": pl.lit("BTC-USD"), "day": pl.lit(day), "venue": pl.lit("coinbase")}
            own = frame.filter(pl.col("ts").dt.date() == day).with_columns(**keys)
            lake.publish(table, own.select(list(TABLES[table].schema)), "BTC-USD", day, "complete")
    assets = {"/".join(a.key.path): a for a in ROUTE["evaluations"]}

    def execute(plans, as_json: bool) -> int:
        ((symbol, (step,)),) = plans.items()
        resources = {"lake": lake, "door": Door(lake=lake, base_dir=lake.url)}
        chosen = [assets[t] for t in step.tables]
        return int(not dg.materialize(chosen, partition_key=key(symbol, step.day), resources=resources).success)

    monkeypatch.setattr(analyse, "execute", execute)
    monkeypatch.setenv("CRPBOT_ANALYSIS_DAYS", "90")  # so that what the verb exports is undone
    return lambda *words: CliRunner().invoke(app, ("analyse", *words), env={"COLUMNS": "200"})


def test_it_writes_the_page_and_says_where(ask) -> None:
    done = ask("v4", "--symbol", "BTC")
    assert done.exit_code == 0, done.output
    *_, path = done.stdout.split()
    text = Path(path).read_text()
    assert path.endswith(f"reports/features/v4/BTC-USD/{DAYS[-1]}.html") and "BTC-USD features v4" in text
    assert (
        f"BTC-USD, features v4, {DAYS[0]} to {DAYS[-1]}" in done.stdout
        and "worst coverage: volatility_low" in done.stdout
    )
    assert "stand" in done.stdout and done.stdout.count("\n") < 30


def test_it_says_all_for_machines_over_the_days_asked_for(ask) -> None:
    done = ask("v4", "--symbol", "BTC-USD", "--from", str(DAYS[1]), "--to", str(DAYS[2]), "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["first_day"], said["last_day"]) == (str(DAYS[1]), str(DAYS[2]))
    assert len(said["features"]) == len(TABLES["features/v4"].features) and Path(said["page"]).is_file()
    assert said["features"][0]["rank_n"] == 1 and said["found"] and said["strongest_drift"] == "too few days to compare"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("v4", "--symbol", "BTC", "--from", str(DAYS[0] - timedelta(days=2))), 3, "2 of the 5 days lack features/v4 or features/labels"),
        (("v4", "--symbol", "BTC", "--from", str(DAYS[0] - timedelta(days=2))), 3, "First: crpbot backfill --symbols BTC-USD --from 2023-11-14"),
        (("v4", "--symbol", "BTC", "--from", "2023-11-18", "--to", "2023-11-17"), 2, "lies before"),
        (("v4", "--symbol", "SOL"), 3, "SOL-USD: no day holds features/v4 and features/labels"),
        (("v5", "--symbol", "BTC"), 3, "no day holds features/v5"),
        (("v4", "--symbol", "BTC", "--to", "soon"), 2, "is not a day"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_run(ask, words: tuple[str, ...], code: int, says: str) -> None:
    done = ask(*words)
    assert done.exit_code == code and says in " ".join(done.output.split()), done.output
