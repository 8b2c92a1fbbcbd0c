"""Tick to verdict through Dagster on the sandbox, as a user runs it: small windows, real servers, real clients."""

import hashlib
import html
import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from route.crpbot import FIRST, VERDICT, Crpbot

from crpbot_dagster.assets import ANALYSES
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.results import FAMILIES


def verdict(crpbot: Crpbot, symbol: str) -> dict:
    rows = crpbot.read("promotion/promoted_model", symbol, VERDICT, VERDICT)
    return rows.filter(rows["is_chosen"] & (rows["gate"] == "verdict")).row(0, named=True)


def test_the_planted_signal_is_promoted_and_the_martingale_is_not(route: Crpbot) -> None:
    btc, sol = verdict(route, "BTC-USD"), verdict(route, "SOL-USD")
    assert btc["verdict"] == "PROMOTE" and btc["family"] in ("logistic_v5", "lstm_v5")
    assert sol["verdict"] in ("INVESTIGATE", "TUNE")
    assert "every gate passed" in btc["reason"] and "accuracy" in sol["reason"]
    said = route.home.joinpath("said").read_text()
    assert "BTC-USD  PROMOTE" in said and "SOL-USD" in said


def test_every_table_of_the_route_holds_what_it_declares(route: Crpbot) -> None:
    expected = {
        "bars/trades_1m": 2880,
        "bars/book_1m": 1440,
        "features/v4": 1440,
        "features/v5": 1440,
        "bars/daily": 1,
    }
    day = FIRST + timedelta(days=1)
    for table, rows in expected.items():
        assert route.read(table, "BTC-USD", day, day).height == rows, table
    v5 = route.read("features/v5", "BTC-USD", day, day)
    nulls = {c: n for c, n in v5.null_count().row(0, named=True).items() if n > 0}
    assert nulls == {}, "a full sandbox day, with the day before it, has no null"
    # Daily predictions are of the days after a verdict, so a run that ends with its verdict makes none; a snapshot of
    # the whole market is of the present alone, and these days are long past; an analysis is made when asked for.
    snapshots = ("raw/coingecko_global", "bars/global_1d")
    without_rows = ("raw/quarantine", "raw/candle_files", "evaluations/daily_predictions", *snapshots, *ANALYSES)
    for table in TABLES:
        if table not in without_rows:
            assert route.lake.days(table, "BTC-USD"), f"{table} is empty"
    assert route.lake.state("raw/coingecko_global", "BTC-USD", VERDICT) == "missing"


def test_ticks_and_candles_of_one_market_agree(route: Crpbot) -> None:
    day = FIRST + timedelta(days=1)
    market = route.read("bars/market_1m", "BTC-USD", day, day)
    assert market.height == 1440
    assert market["close_diff_bps"].abs().median() < 1.0
    assert market["volume_ratio"].median() == pytest.approx(1.0, abs=1e-9)
    assert market["mid"].null_count() <= 1


def test_predictions_lie_after_the_model_and_carry_probabilities(route: Crpbot) -> None:
    rows = route.read("evaluations/predictions", "BTC-USD", VERDICT, VERDICT)
    assert set(rows["family"]) == set(FAMILIES)
    assert (rows["test_day"] > rows["model_day"]).all()
    assert rows["test_day"].n_unique() == 6 and rows["p_up_15m"].is_between(0, 1).all()
    assert rows["p_up_15m"].null_count() == 0, "a sequence of the first test minute lies in the day before"
    assert (rows["label_end_ts"] - rows["ts"]).unique().to_list() == [timedelta(minutes=16)]


def test_the_ui_shows_what_the_command_line_did(route: Crpbot) -> None:
    out = route.events(
        "runs = instance.get_runs()",
        "print(len(runs), {r.status.value for r in runs})",
        "key = dg.AssetKey(['bars', 'trades_1m'])",
        "parts = instance.get_materialized_partitions(key)",
        "print(len(parts))",
        "market = instance.get_latest_materialization_event(dg.AssetKey(['bars', 'market_1m']))",
        "assert 'dagster/column_lineage' in market.asset_materialization.metadata",
        "event = instance.get_latest_materialization_event(dg.AssetKey(['features', 'v5']))",
        "print(sorted(event.asset_materialization.metadata))",
        "from dagster._core.definitions.asset_checks.asset_check_spec import AssetCheckKey",
        "from dagster._core.storage.event_log.base import PartitionKeyFilter",
        "check = AssetCheckKey(key, 'gaps')",
        "found = instance.event_log_storage.get_latest_asset_check_execution_by_key("
        "[check], partition_filter=PartitionKeyFilter(key='2023-11-20|BTC-USD'))",
        "print(found[check].status.value)",
    ).splitlines()
    assert "{'SUCCESS'}" in out[0]
    assert int(out[1]) == 2 * (1 + (VERDICT - FIRST).days + 1)  # two symbols, one day of look-back
    for name in ("dagster/partition_row_count", "delta_version", "first_ts", "last_ts", "null_shares", "source", "wall_time_s",
                 "rows_per_second", "state", "path"):  # fmt: skip
        assert f"'{name}'" in out[2], name
    assert out[3] == "SUCCEEDED"


def test_the_champion_is_in_the_registry_and_the_loser_is_not(route: Crpbot) -> None:
    out = route.events(
        "from crpbot_dagster import definitions, settings",
        "tracker = definitions.resources(settings.load())['experiments'].process_config_and_initialize()",
        "found = tracker.in_force('BTC-USD')",
        "print(found['version'], {k: int(v) for k, v in found['aliases'].items()}, found['tags']['family'])",
        "print(tracker.in_force('SOL-USD'))",
    ).splitlines()
    assert out[0] == f"1 {{'champion': 1}} {verdict(route, 'BTC-USD')['family']}" and out[1] == "None"


def test_a_network_s_training_can_be_looked_at(route: Crpbot) -> None:
    out = route.events(
        "event = instance.get_latest_materialization_event(dg.AssetKey(['models', 'lstm_v5']))",
        "seen = event.asset_materialization.metadata",
        "print(sorted(seen))",
        "print(seen['mlflow_run'].value, seen['learning_curves'].value[:60], seen['epochs'].value)",
    ).splitlines()
    assert "'learning_curves'" in out[0] and "'reliability'" in out[0]
    assert out[1].startswith("http://127.0.0.1:3002/#/experiments/") and "data:image/png;base64" in out[1]
    model = route.read("models/lstm_v5", "BTC-USD", *[VERDICT - timedelta(days=7)] * 2).row(0, named=True)
    epochs = json.loads(model["history"])
    assert [e["epoch"] for e in epochs] == list(range(1, len(epochs) + 1)) and epochs[0]["stop_loss"] > 0


def test_a_report_and_a_leaderboard_stand_beside_every_verdict(route: Crpbot) -> None:
    for symbol in ("BTC-USD", "SOL-USD"):
        chosen = verdict(route, symbol)
        row = route.read("promotion/report", symbol, VERDICT, VERDICT).row(0, named=True)
        page = (route.home / "reports" / row["path"]).read_bytes()
        assert (hashlib.sha256(page).hexdigest(), len(page)) == (row["sha256"], row["bytes_n"])
        assert (row["verdict"], row["family"]) == (chosen["verdict"], chosen["family"])
        assert chosen["reason"] in html.unescape(page.decode()) and b"Simulated data" in page
        board = route.read("promotion/leaderboard", symbol, VERDICT, VERDICT).sort("rank_n")
        assert board["family"][0] == chosen["family"] and board["is_chosen"].sum() == 1
    files = [p for p in (route.home / "reports").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".html"}, "a half-written page is left"


def test_running_a_partition_again_gives_the_same_rows(route: Crpbot) -> None:
    day = VERDICT  # a day that asked every source, as the newest of a range does
    tables = ("raw/tardis_trades", "raw/kraken_trades", "bars/trades_1m", "bars/book_1m", "features/v5")
    before = {t: route.read(t, "BTC-USD", day, day) for t in tables}
    done = route("run", "--symbols", "BTC-USD", "--from", str(day), "--to", str(day), "--until", "features")
    assert done.returncode == 0, done.stderr
    for t in tables:
        key = list(TABLES[t].key)
        assert route.read(t, "BTC-USD", day, day).sort(key).equals(before[t].sort(key)), t


def test_a_dry_run_writes_nothing_and_says_how_much(route: Crpbot) -> None:
    plans = route.json("run", "--symbols", "BTC-USD", "--from", str(FIRST), "--to", str(VERDICT), "--dry-run")["plan"]
    assert [p["symbol"] for p in plans] == ["market", "BTC-USD"]
    plan = plans[1]
    assert plan["materialisations"] > 100
    assert plan["first_day"] == "2023-11-10" and plan["last_day"] == str(VERDICT)


def test_doctor_tells_keys_without_their_value_and_what_to_do_next(route: Crpbot) -> None:
    secret = Crpbot(route.home, route.values | {"tardis_api_key": "TD.canary-123"})
    done = secret("doctor", "--json")
    assert done.returncode == 0 and "canary" not in done.stdout + done.stderr
    found = secret.json("doctor")
    assert found["settings"]["tardis_api_key"] == "set" and found["lake"]["made from"] == "sandbox, seed 7, density 1"
    assert found["next"]
    other = Crpbot(route.home, route.values | {"market": "live"})("doctor", "--json")
    assert other.returncode == 3 and "was made from sandbox" in other.stdout


def test_the_free_data_user_runs_on_candles_alone(tmp_path: Path) -> None:
    """Tardis answers 401: raw ticks hold zero rows and say so, V4 runs, V5 is not trained, nothing is promoted."""
    windows = {"fit_days": "1", "stop_days": "1", "calibrate_days": "1", "test_days": "1"}
    first, last = date(2023, 11, 12), date(2023, 11, 17)
    with serve(create_app(MarketSpec(7, 1.0), None, "a-key-nobody-has")) as url:
        candles = Crpbot(
            tmp_path / "state",
            windows | {"sandbox_url": url, "primary": '{"BTC-USD": "coinbase/coinbase"}'},
        )
        words = ("run", "--symbols", "BTC-USD", "--to", str(last))
        done = candles(*words, "--from", str(first - timedelta(days=0)))
        ticks = Crpbot(tmp_path / "ticks", {"sandbox_url": url})
        refused = ticks(
            "run", "--symbols", "BTC-USD", "--from", "2023-11-12", "--to", "2023-11-12", "--until", "features"
        )
    assert done.returncode == 1, done.stderr  # 1: a gate failed, as it must
    assert candles.lake.state("raw/tardis_trades", "BTC-USD", last) == "not_licensed"
    v4 = candles.read("features/v4", "BTC-USD", last, last)
    assert v4["close"].null_count() == 0 and v4["rsi"].null_count() == 0
    v5 = candles.read("features/v5", "BTC-USD", last, last)
    assert v5["ob_imbalance_1"].null_count() == 1440 and v5["trade_flow_buy"].null_count() == 1440
    model = candles.read("models/logistic_v5", "BTC-USD", last - timedelta(days=2), last - timedelta(days=2))
    assert model["state"][0] == "not_trained" and "complete labelled rows" in model["reason"][0]
    rows = candles.read("promotion/promoted_model", "BTC-USD", last, last)
    assert set(rows["family"]) == {"logistic_v4"} and set(rows["verdict"]) == {"INSUFFICIENT"}
    # With ticks as the primary source and no licence nothing stands in for them: data missing, and how to get it.
    assert refused.returncode == 3
    assert "CRPBOT_TARDIS_API_KEY" in refused.stderr and "coinbase/coinbase" in refused.stderr
