"""``crpbot compare`` on the sandbox: the difference planted in BTC is found, and none in SOL."""

import json

import polars as pl
import pytest
from route.crpbot import VERDICT, Crpbot

from crpbot_dagster.instance import lake_of
from crpbot_dagster.tables import TABLES


def test_it_finds_what_was_planted_in_btc_and_nothing_in_sol(route: Crpbot) -> None:
    said = {}
    for symbol in ("BTC-USD", "SOL-USD"):
        done = route("compare", "v4", "v5", "--symbol", symbol, "--usd-a-month", "300", "--json")
        assert done.returncode == 0, done.stderr
        said[symbol] = json.loads(done.stdout)
    btc, sol = said["BTC-USD"], said["SOL-USD"]
    assert btc["verdict"].startswith("v5 is better by ") and btc["accuracy"]["low"] > 0 and btc["brier"]["point"] < 0
    assert "USD a point" in btc["cost"] and btc["verdict_day"] == str(VERDICT) and btc["days_n"] == 6
    assert sol["verdict"].startswith("no difference is shown") and "buy no point" in sol["cost"]
    told = route("compare", "v4", "v5", "--symbol", "BTC", "--model", "lstm").stdout
    assert "BTC-USD, lstm: v4 against v5" in told and "--usd-a-month" in told


@pytest.fixture
def ask(environment):
    """``crpbot`` on a lake whose one verdict predicted with logistic_v4 alone."""
    from typer.testing import CliRunner

    from crpbot_dagster.cli import app

    lake, table = lake_of(environment()), TABLES["evaluations/predictions"]
    row = dict.fromkeys(table.schema) | {"symbol": "BTC-USD", "day": VERDICT, "family": "logistic_v4", "model_day": VERDICT,
                                         "test_day": VERDICT, "ts": None, "label_end_ts": None}  # fmt: skip
    lake.publish(table.name, pl.DataFrame([row], schema=table.schema), "BTC-USD", VERDICT, "complete")
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ("compare", *words), env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("v4", "v5", "--symbol", "BTC"), 3, f"First: crpbot train BTC-USD --family logistic_v4 --to {VERDICT};"),
        (("v4", "v5", "--symbol", "SOL"), 3, "SOL-USD: no predictions yet. First: crpbot train SOL-USD"),
        (("v4", "v5", "--symbol", "BTC", "--day", "2023-11-20"), 3, "2023-11-20"),
        (("v4", "v9", "--symbol", "BTC"), 2, "no two families logistic_v4 and logistic_v9: logistic_v4, logistic_v5"),
        (("v5", "v5", "--symbol", "BTC"), 2, "no two families logistic_v5 and logistic_v5"),
        (("v4", "v5", "--symbol", "BTC", "--model", "oracle"), 2, "oracle_v4"),
        (("v4", "v5"), 2, "Missing option '--symbol'"),
    ],
)
def test_a_refusal_says_what_to_run(ask, words: tuple[str, ...], code: int, says: str) -> None:
    done = ask(*words)
    assert done.exit_code == code and says in " ".join(done.output.split()), done.output
