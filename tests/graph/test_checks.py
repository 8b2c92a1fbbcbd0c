"""Every quality check is seen failing on data made to break it, and holding on sound data; audits guard the write."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import DAYS, with_clocks
from graph import broken_analyses, broken_certified, broken_features, broken_vendors, broken_venues, broken_web

from crpbot_dagster.assets import checks
from crpbot_dagster.assets.bars.tape import candles_1m, daily_bar
from crpbot_dagster.assets.checks import ExpectationCrash, NotMeasured, audit, judge, publish, table_asset
from crpbot_dagster.assets.features.assets import largest_correlation
from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.assets.raw.tardis import LEVEL_NAMES
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.market import book, snapshots, tape
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import Check

SYMBOL, DAY = "BTC-USD", DAYS[1]
FACTS = {
    "quarantined_frac": 0.0,
    "duplicates_n": 0.0,
    "snapshot_agreement": 1.0,
    "market_1m_mid_near_trades": 0.0,
    "label_correlation": 0.3,
    "look_ahead_n": 0.0,
    "leaderboard_one_chosen_first": 0.0,
}
AREAS = (broken_analyses, broken_certified, broken_features, broken_vendors, broken_venues, broken_web)
for area in AREAS:
    FACTS |= area.FACTS


def keyed(frame: pl.DataFrame, table: str, **more: str) -> pl.DataFrame:
    columns = {"symbol": SYMBOL, "venue": "coinbase", "source": "tardis"} | more
    added = [pl.lit(v).alias(k) for k, v in columns.items() if k in TABLES[table].schema and k not in frame.columns]
    return frame.with_columns(*added, pl.lit(DAY).alias("day")).select(list(TABLES[table].schema))


@pytest.fixture(scope="module")
def sound(market, bars) -> dict[str, pl.DataFrame]:
    """One sound partition of every table that has checks."""
    two = tuple(f.filter(pl.col("ts").dt.date().is_between(DAYS[0], DAY)) for f in bars)
    here = pl.col("ts").dt.date() == DAY
    trades, quotes = (f.filter(here) for f in two)
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    minute = candles(market, SYMBOL, start, start + timedelta(days=1), 60).with_columns(interval_s=pl.lit(60, pl.Int32))
    ours = candles_1m(minute, DAY)
    known = start + timedelta(days=1)
    p = pl.DataFrame({"ts": trades["ts"], "p_up_15m": 0.5, "y_up_15m": 1, "y_ret_15m": 0.1}).with_columns(
        family=pl.lit("x"), model_day=pl.lit(DAY - timedelta(days=1)), test_day=pl.lit(DAY),
        label_end_ts=pl.col("ts") + pl.duration(minutes=16),
    )  # fmt: skip
    verdict = {"family": "x", "is_chosen": True, "gate": "verdict", "value": 0.5, "threshold": None, "comparison": "text",
               "n": 1.0, "passed": False, "verdict": "TUNE", "reason": "r"}  # fmt: skip
    board = dict.fromkeys(TABLES["promotion/leaderboard"].schema) | {
        "rank_n": 1,
        "family": "x",
        "verdict": "TUNE",
        "is_chosen": True,
    }
    page = {"path": "p", "sha256": "s", "bytes_n": 1, "verdict": "TUNE", "family": "x", "promoted_model_version": 1}
    day_row = daily_bar(trades) | {"obs_day": DAY, "available_ts": known, "funding_bps_8h_mean": None}
    made = {
        "raw/tardis_trades": with_clocks(tape(market, SYMBOL, DAY)).rename({"id": "trade_id"}),
        "raw/tardis_book": with_clocks(book(market, SYMBOL, DAY)),
        "raw/tardis_book_snapshots": with_clocks(snapshots(market, SYMBOL, DAY)).rename(LEVEL_NAMES),
        "raw/coinbase_candles": minute,
        "raw/candle_files": minute.with_columns(trade_count_n=pl.lit(3), buy_volume=pl.lit(None, pl.Float64)),
        "bars/trades_1m": trades.with_columns(source_kind=pl.lit("ticks"), clock=pl.lit("received")),
        "bars/book_1m": quotes.with_columns(book_kind=pl.lit("delta"), clock=pl.lit("received")),
        "bars/volume_1d": pl.DataFrame({"obs_day": [DAY], "available_ts": [known], "volume": [1.0], "volume_from": ["ticks"]}),
        "bars/daily": pl.DataFrame([day_row]),
        "bars/market_1m": trades.select(
            "ts", tick_close="close", candle_close=ours["close"], close_diff_bps=pl.lit(0.1), tick_volume="volume",
            candle_volume=ours["volume"], volume_ratio=pl.lit(1.0), mid=quotes["mid"], is_tick_gap="is_gap",
            is_candle_gap=ours["is_gap"],
        ),  # fmt: skip
        "features/v4": v4(two[0]).filter(here),
        "features/v5": v5(*two).filter(here),
        "features/labels": labels(*bars, "mid").filter(here),
        "models/logistic_v4": pl.DataFrame([dict.fromkeys(TABLES["models/logistic_v4"].schema) | {"state": "trained", "reason": "", "rows_n": 5_000}]),
        "evaluations/predictions": p,
        "evaluations/daily_predictions": p.drop("test_day", "y_ret_15m").with_columns(
            verdict_day=pl.lit(DAY - timedelta(days=1)), is_chosen=pl.lit(True)
        ),
        "promotion/promoted_model": pl.DataFrame([verdict]),
        "promotion/leaderboard": pl.DataFrame([board]),
        "promotion/report": pl.DataFrame([page]),
    }  # fmt: skip
    for area in AREAS:
        made |= area.sound(market)
    return {
        name: TABLES[name].conform(keyed(f.drop("symbol", "day", strict=False), name).lazy()).collect()
        for name, f in made.items()
    }


def results(table: str, frame: pl.DataFrame, **facts: float) -> dict[str, bool]:
    found, _ = audit(TABLES[table], Built(frame, "complete", "test", FACTS | facts), SYMBOL, DAY)
    return {c.name: passed for c, passed, _ in found}


def null(*columns: str, share: float = 0.5) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(
        pl.when(pl.int_range(pl.len()) >= share * pl.len()).then(pl.col(c)).alias(c) for c in columns
    )


def put(**values: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(**values)


later = pl.col("ts_exchange") + pl.duration(seconds=90)
BROKEN: dict[tuple[str, str], Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]] = {
    ("raw/tardis_trades", "clock_skew"): put(ts_received=later),
    ("raw/tardis_trades", "coverage"): lambda f: f.head(f.height // 3),
    ("raw/tardis_trades", "duplicates"): {"duplicates_n": 3.0},
    ("raw/tardis_trades", "trade_ids"): put(
        trade_id=pl.when(pl.int_range(pl.len()) == 9).then(pl.lit("5")).otherwise("trade_id")
    ),
    ("raw/tardis_trades", "price_steps"): put(
        price=pl.when(pl.int_range(pl.len()) > 99).then(pl.col("price") * 1.1).otherwise("price")
    ),
    ("raw/tardis_trades", "frozen"): put(price=pl.lit(37_000.0)),
    ("raw/tardis_book", "clock_skew"): put(ts_received=pl.col("ts_exchange") - pl.duration(seconds=6)),
    ("raw/tardis_book", "coverage"): lambda f: f.head(f.height // 3),
    ("raw/tardis_book_snapshots", "clock_skew"): put(ts_received=later),
    ("raw/tardis_book_snapshots", "crossed_book"): put(bid_price_0=pl.col("ask_price_0")),
    ("raw/coinbase_candles", "coverage"): lambda f: f.head(1000),
    ("raw/candle_files", "coverage"): lambda f: f.head(1290),
    ("raw/candle_files", "duplicates"): {"duplicates_n": 1.0},
    ("bars/trades_1m", "gaps"): put(is_gap=pl.lit(1, pl.Int8)),
    ("bars/trades_1m", "coverage"): null("close"),
    ("bars/book_1m", "crossed_book"): put(crossed_n=pl.col("add_n") + 10),
    ("bars/book_1m", "replay_equals_snapshots"): {"snapshot_agreement": 0.9},
    ("bars/book_1m", "coverage"): put(valid_frac=pl.lit(0.5)),
    ("bars/volume_1d", "known"): null("volume", share=1.0),
    ("bars/daily", "coverage"): put(valid_n=pl.lit(700.0)),
    ("bars/market_1m", "sources_agree"): put(close_diff_bps=pl.lit(30.0)),
    ("features/v4", "no_look_ahead"): {"look_ahead_n": 1.0},
    ("features/v5", "no_look_ahead"): {"look_ahead_n": 1.0},
    ("features/v4", "null_share"): null("rsi"),
    ("features/v5", "null_share"): null("ob_imbalance_1"),
    ("features/labels", "label_balance"): put(y_up_15m=pl.lit(1, pl.Int8)),
    ("features/labels", "null_share"): null("y_ret_15m"),
    ("features/labels", "label_correlation"): {"label_correlation": 0.9},
    ("models/logistic_v4", "enough_rows"): put(rows_n=pl.lit(10)),
    ("evaluations/predictions", "coverage"): null("p_up_15m"),
    ("evaluations/daily_predictions", "coverage"): null("p_up_15m"),
}
BROKEN_RULES: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]]] = [
    ("raw/tardis_trades", {"quarantined_frac": 0.002}),
    ("raw/tardis_book", {"quarantined_frac": 0.002}),
    ("raw/tardis_book_snapshots", {"quarantined_frac": 0.002}),
    ("raw/coinbase_candles", put(low=pl.col("high") + 1)),
    ("raw/candle_files", put(low=pl.col("high") + 1)),
    ("raw/candle_files", {"quarantined_frac": 0.002}),
    ("bars/trades_1m", lambda f: f.head(1439)),
    ("bars/trades_1m", lambda f: pl.concat([f, f.head(1)])),
    ("bars/trades_1m", put(high=pl.col("low") - 1)),
    ("bars/trades_1m", put(buy_volume=pl.col("buy_volume") * 1.01)),
    ("bars/book_1m", lambda f: f.tail(1000)),
    ("bars/book_1m", put(imbalance_1_tw=pl.lit(1.5))),
    ("bars/daily", put(low=pl.col("high") + 1)),
    ("bars/market_1m", {"market_1m_mid_near_trades": 3.0}),
    ("features/v4", lambda f: f.head(1000)),
    ("features/v4", put(rsi=pl.lit(200.0))),
    ("features/v5", lambda f: f.head(1000)),
    ("features/labels", lambda f: f.head(1000)),
    ("evaluations/predictions", put(model_day=pl.col("test_day"))),
    ("evaluations/predictions", put(p_up_15m=pl.lit(1.1))),
    ("evaluations/daily_predictions", put(verdict_day=pl.col("day"))),
    ("promotion/promoted_model", put(is_chosen=pl.lit(False))),
    ("promotion/leaderboard", {"leaderboard_one_chosen_first": 1.0}),
    ("promotion/leaderboard", put(accuracy_frac=pl.lit(1.1))),
    ("promotion/report", lambda f: f.clear()),
    ("promotion/report", put(bytes_n=pl.lit(0))),
]
for area in AREAS:
    BROKEN |= area.BROKEN
    BROKEN_RULES += area.BROKEN_RULES
TIES = ("features/labels", "label_balance", put(y_ret_15m=pl.lit(0.0)))
NO_SNAPSHOT = ("raw/tardis_book", "coverage", lambda f: f.filter(~pl.col("is_snapshot")))
DECLARED = [
    (name, check)
    for name, t in TABLES.items()
    for check in t.checks
    if t.stage != "models" or name == "models/logistic_v4"  # the families share their checks
]


def test_there_is_a_broken_case_for_every_declared_check() -> None:
    assert set(BROKEN) == {(name, check.name) for name, check in DECLARED}


@pytest.mark.parametrize(("name", "check"), DECLARED, ids=[f"{n}:{c.name}" for n, c in DECLARED])
def test_each_check_holds_on_sound_data_and_fails_on_broken(name: str, check: Check, sound) -> None:
    assert results(name, sound[name])[check.name], "the check fails on sound data"
    break_it = BROKEN[name, check.name]
    found = (
        results(name, sound[name], **break_it) if isinstance(break_it, dict) else results(name, break_it(sound[name]))
    )
    assert not found[check.name], "the check passes on data made to break it"


@pytest.mark.parametrize(("name", "break_it"), BROKEN_RULES)
def test_each_table_s_own_rules_are_seen_refusing(name: str, break_it, sound) -> None:
    found = (
        results(name, sound[name], **break_it) if isinstance(break_it, dict) else results(name, break_it(sound[name]))
    )
    assert not found["hard_rules"]
    assert {n for n, t in TABLES.items() if t.rules} <= {n for n, _ in BROKEN_RULES}


@pytest.mark.parametrize(("name", "check", "break_it"), [TIES, NO_SNAPSHOT])
def test_the_second_measure_of_a_check_fails_too(name: str, check: str, break_it, sound) -> None:
    assert not results(name, break_it(sound[name]))[check]


@pytest.mark.parametrize("name", [n for n in TABLES if n in {d[0] for d in DECLARED}])
def test_hard_rules_hold_on_sound_data_and_fail_outside_the_partition(name: str, sound) -> None:
    assert results(name, sound[name])["hard_rules"]
    moved = sound[name].with_columns(pl.lit(DAY + timedelta(days=1)).alias("day"))
    assert not results(name, moved)["hard_rules"]


def test_a_day_without_rows_is_held_to_the_hard_rules_only() -> None:
    table = TABLES["bars/trades_1m"]
    found, profile = audit(table, Built(table.empty(), "not_licensed", "tardis"), SYMBOL, DAY)
    assert [c.name for c, _, _ in found] == ["hard_rules"] and found[0][1] and profile["rows"] == 0


def test_a_blocking_rule_without_a_number_is_an_error_and_a_missing_day_is_no_good_news(sound) -> None:
    built = Built(sound["raw/tardis_trades"], "complete", "test", {})
    with pytest.raises(NotMeasured, match="share of rows quarantined"):
        audit(TABLES["raw/tardis_trades"], built, SYMBOL, DAY)
    table = TABLES["raw/tardis_trades"]
    events = list(publish(table, Built(table.empty(), "missing", "test"), SYMBOL, DAY, 0.0))
    seen = {e.check_name: e.passed for e in events if isinstance(e, dg.AssetCheckResult)}
    assert seen["hard_rules"] and not seen["coverage"]


def test_a_crashed_expectation_is_an_error_not_a_data_failure() -> None:
    nothing = pl.DataFrame(
        {"measure": ["a"], "value": [None], "low": [0.0], "high": [1.0]},
        schema_overrides={"value": pl.Float64},
    )
    with pytest.raises(ExpectationCrash):
        judge(nothing)


def test_a_planted_leak_in_the_features_shows_in_the_label_correlation(sound) -> None:
    leaky = sound["features/v5"].with_columns(rsi=sound["features/labels"]["y_ret_15m"] * 100)
    assert largest_correlation(leaky, sound["features/labels"])["label_correlation"] > 0.99
    assert largest_correlation(sound["features/v5"], sound["features/labels"])["label_correlation"] < 0.6


def test_a_failed_audit_keeps_the_old_partition_and_shows_why(tmp_path: Path, sound, monkeypatch) -> None:
    """Write, audit, publish: the bad day is seen, not written, and nothing downstream runs."""
    key = f"{DAY}|{SYMBOL}"
    parts = dg.MultiPartitionsDefinition(
        {"day": dg.StaticPartitionsDefinition([str(DAY)]), "symbol": dg.StaticPartitionsDefinition([SYMBOL])}
    )
    monkeypatch.setattr(checks, "_partitions", lambda _: parts)
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")
    frames = {"now": sound["bars/daily"]}

    @table_asset("bars/daily", kinds={"polars"}, code_version="1")
    def daily(context: dg.AssetExecutionContext) -> Built:
        return Built(frames["now"], "complete", "test")

    @dg.asset(deps=[daily], partitions_def=parts)
    def downstream() -> None:
        return None

    def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [daily, downstream], instance=instance, partition_key=dg.MultiPartitionKey({"day": str(DAY), "symbol": SYMBOL}),
            resources={"door": Door(lake=lake, base_dir=lake.url)}, raise_on_error=False,
        )  # fmt: skip

    with dg.DagsterInstance.ephemeral() as instance:
        first = run(instance)
        assert first.success
        frames["now"] = sound["bars/daily"].with_columns(low=pl.col("high") + 1, close=pl.lit(1.0))
        second = run(instance)
        assert not second.success
        assert lake.scan("bars/daily", SYMBOL, DAY, DAY).collect().equals(sound["bars/daily"])
        seen = {e.check_name: e for e in second.get_asset_check_evaluations()}
        assert not seen["hard_rules"].passed and seen["hard_rules"].partition == key
        assert "1 rows where low or high is not the extreme, allowed at most 0" in (
            seen["hard_rules"].description or ""
        )
        assert "downstream" not in {e.step_key for e in second.all_events if e.is_step_success}
        warned = frames["now"] = sound["bars/daily"].with_columns(valid_n=pl.lit(700.0))
        third = run(instance)
        assert third.success, "a warning does not block"
        assert not {e.check_name: e.passed for e in third.get_asset_check_evaluations()}["coverage"]
        assert lake.scan("bars/daily", SYMBOL, DAY, DAY).collect().equals(warned)


def test_days_of_the_fixture_are_the_tests_days() -> None:
    assert date(2023, 11, 17) == DAY
