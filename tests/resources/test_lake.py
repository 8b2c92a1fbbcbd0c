"""The lake: a partition is replaced whole or not at all, and a load is complete or refused."""

import multiprocessing
import os
import signal
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from deltalake import write_deltalake

from crpbot_dagster.resources.door import Door, broken_rules
from crpbot_dagster.resources.lake import Built, IncompleteError, Lake, OtherSchema, StampError, WouldErase
from crpbot_dagster.tables import TABLES

DAY = date(2024, 1, 2)
TABLE = "bars/volume_1d"


def rows(day: date = DAY, symbol: str = "BTC-USD", volume: float = 1.0) -> pl.DataFrame:
    known = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    values = {
        "symbol": symbol,
        "day": day,
        "venue": "coinbase",
        "obs_day": day,
        "available_ts": known,
        "volume": volume,
        "volume_from": "ticks",
    }
    return pl.DataFrame([values], schema=TABLES[TABLE].schema)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2024-01-01")


def test_publish_replaces_one_partition_and_leaves_the_others(lake: Lake) -> None:
    for day in (DAY, DAY + timedelta(days=1)):
        lake.publish(TABLE, rows(day), "BTC-USD", day, "complete")
    lake.publish(TABLE, rows(volume=5.0), "BTC-USD", DAY, "complete")
    found = lake.window(TABLE, "BTC-USD", DAY, DAY + timedelta(days=1)).sort("day").collect()
    assert found["volume"].to_list() == [5.0, 1.0]


def test_a_day_without_rows_is_there_and_says_why(lake: Lake) -> None:
    lake.publish(TABLE, TABLES[TABLE].empty(), "BTC-USD", DAY, "not_licensed")
    assert lake.state(TABLE, "BTC-USD", DAY) == "not_licensed"
    assert lake.window(TABLE, "BTC-USD", DAY, DAY).collect().height == 0
    assert lake.state(TABLE, "BTC-USD", DAY + timedelta(days=1)) is None
    lake.publish(TABLE, rows(), "BTC-USD", DAY, "complete")
    assert lake.state(TABLE, "BTC-USD", DAY) == "complete"


def test_a_lake_of_the_version_before_gets_new_columns_and_keeps_its_rows(lake: Lake) -> None:
    old = TABLES["models/logistic_v4"]
    held = old.empty().drop("history")
    write_deltalake(lake.path(old.name), held.to_arrow(), partition_by=["symbol", "day"])
    lake.prepare()
    row = dict.fromkeys(old.schema) | {
        "symbol": "BTC-USD",
        "day": DAY,
        "state": "trained",
        "reason": "",
        "history": "[]",
    }
    lake.publish(old.name, pl.DataFrame([row], schema=old.schema), "BTC-USD", DAY, "complete")
    assert lake.window(old.name, "BTC-USD", DAY, DAY).collect()["history"].to_list() == ["[]"]


def test_a_lake_that_no_migration_fits_is_refused_by_name(lake: Lake) -> None:
    write_deltalake(lake.path(TABLE), rows().rename({"volume": "size"}).to_arrow(), partition_by=["symbol", "day"])
    with pytest.raises(OtherSchema, match=r"bars/volume_1d .* columns size differ"):
        lake.prepare()


def test_the_states_of_many_days_are_those_of_each(lake: Lake) -> None:
    days = [DAY + timedelta(days=i) for i in range(-1, 2)]
    assert lake.states(TABLE, "BTC-USD", days) == dict.fromkeys(days)
    lake.publish(TABLE, rows(), "BTC-USD", DAY, "complete")
    lake.publish(TABLE, rows().clear(), "BTC-USD", days[2], "not_licensed")
    assert lake.states(TABLE, "BTC-USD", days) == {days[0]: None, DAY: "complete", days[2]: "not_licensed"}
    assert lake.states(TABLE, "ETH-USD", days) == dict.fromkeys(days)


def test_a_held_day_is_not_replaced_by_the_news_that_there_is_none(lake: Lake) -> None:
    lake.keep_held(TABLE, "BTC-USD", DAY, "missing", "it")  # nothing is held yet
    lake.publish(TABLE, rows(), "BTC-USD", DAY, "complete")
    for state in ("missing", "not_licensed"):
        with pytest.raises(WouldErase, match=f"it is {state} now, but the lake holds"):
            lake.keep_held(TABLE, "BTC-USD", DAY, state, "it")
    lake.keep_held(TABLE, "BTC-USD", DAY, "complete", "it")


def test_a_deleted_partition_is_missing_though_its_state_is_still_in_the_log(lake: Lake) -> None:
    after = DAY + timedelta(days=1)
    for day in (DAY, after):
        lake.publish(TABLE, rows(day), "BTC-USD", day, "complete")
    delta = lake.delta(TABLE)
    assert delta is not None and lake.held(TABLE, "BTC-USD", [DAY, after]) == {DAY: "complete", after: "complete"}
    delta.delete(f"symbol = 'BTC-USD' AND day = '{DAY}'")
    assert lake.state(TABLE, "BTC-USD", DAY) == "complete"
    assert lake.held(TABLE, "BTC-USD", [DAY, after]) == {after: "complete"}
    assert lake.missing(TABLE, "BTC-USD", [DAY, after]) == [DAY]
    with pytest.raises(IncompleteError, match="2024-01-02"):
        lake.window(TABLE, "BTC-USD", DAY, after)
    lake.keep_held(TABLE, "BTC-USD", DAY, "missing", "it")  # what is gone cannot be erased
    lake.publish(TABLE, TABLES[TABLE].empty(), "BTC-USD", DAY, "missing")
    assert lake.held(TABLE, "BTC-USD", [DAY]) == {DAY: "missing"}


def test_an_incomplete_window_is_refused_by_name(lake: Lake) -> None:
    lake.publish(TABLE, rows(), "BTC-USD", DAY, "complete")
    with pytest.raises(IncompleteError, match=r"lacks 2 of the 3 days asked for: 2024-01-03, 2024-01-04"):
        lake.window(TABLE, "BTC-USD", DAY, DAY + timedelta(days=2))
    with pytest.raises(IncompleteError):
        lake.window(TABLE, "ETH-USD", DAY, DAY)


def test_only_a_look_back_may_reach_before_the_start_day(lake: Lake) -> None:
    lake.publish(TABLE, rows(date(2024, 1, 1)), "BTC-USD", date(2024, 1, 1), "complete")
    early = date(2023, 12, 25)
    assert lake.look_back(TABLE, "BTC-USD", early, date(2024, 1, 1)).collect().height == 1
    assert lake.look_back(TABLE, "BTC-USD", early, early).collect().height == 0
    with pytest.raises(IncompleteError, match="2023-12-25"):
        lake.window(TABLE, "BTC-USD", early, date(2024, 1, 1))


def test_a_lake_keeps_to_the_market_it_was_made_from(lake: Lake) -> None:
    lake.publish(TABLE, rows(), "BTC-USD", DAY, "complete")
    other = Lake(url=lake.url, market="live", start_day=lake.start_day)
    with pytest.raises(StampError, match=r"made from 'sandbox' data and the market is set to 'live'"):
        other.publish(TABLE, rows(), "BTC-USD", DAY, "complete")
    assert Lake(url=lake.url, market="sandbox", start_day=lake.start_day).stamp() == "sandbox"


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        (rows(DAY + timedelta(days=1)), "rows outside the partition"),
        (rows(symbol="ETH-USD"), "rows outside the partition"),
        (pl.concat([rows(), rows()]), "repeated keys"),
        (rows(volume=-1.0), "volume: outside ≥ 0"),
        (rows(volume=float("nan")), "volume: outside ≥ 0"),
        (rows(volume=float("inf")), "volume: outside ≥ 0"),
        (rows().with_columns(pl.lit(None, pl.String).alias("venue")), "venue: nulls"),
    ],
)
def test_each_hard_rule_is_seen_refusing(frame: pl.DataFrame, rule: str) -> None:
    assert any(b.startswith(rule) for b in broken_rules(TABLES[TABLE], frame.lazy(), "BTC-USD", DAY))
    assert broken_rules(TABLES[TABLE], rows().lazy(), "BTC-USD", DAY) == []


def test_unknown_and_missing_columns_are_refused(lake: Lake) -> None:
    with pytest.raises(ValueError, match="unknown columns extra; missing columns volume"):
        lake.publish(TABLE, rows().rename({"volume": "extra"}), "BTC-USD", DAY, "complete")


def test_the_door_refuses_an_unaudited_frame_that_breaks_a_rule(lake: Lake) -> None:
    door = Door(lake=lake, base_dir=lake.url)
    parts = dg.StaticPartitionsDefinition([f"{DAY}|BTC-USD"])

    def materialise(frame: pl.DataFrame) -> bool:
        @dg.asset(key=TABLE.split("/"), io_manager_key="door", partitions_def=parts)
        def asset() -> Built:
            return Built(frame, "complete", "test")

        return dg.materialize(
            [asset], resources={"door": door}, partition_key=f"{DAY}|BTC-USD", raise_on_error=False
        ).success

    assert materialise(rows(volume=3.0))
    assert not materialise(rows(volume=-3.0))
    assert lake.scan(TABLE, "BTC-USD", DAY, DAY).collect()["volume"].to_list() == [3.0]


def trades(price: float) -> pl.DataFrame:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    n = 5_000
    ts = pl.Series([start] * n, dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "symbol": ["BTC-USD"] * n,
            "day": [DAY] * n,
            "venue": ["coinbase"] * n,
            "seq": range(n),
            "ts_exchange": ts,
            "ts_received": ts,
            "trade_id": [str(i) for i in range(n)],
            "side": ["buy"] * n,
            "price": [price] * n,
            "amount": [1.0] * n,
        },
        schema=TABLES["raw/tardis_trades"].schema,
    )


def write_for_ever(url: str, first_done) -> None:
    lake = Lake(url=url, market="sandbox", start_day="2024-01-01")
    for n in range(1, 1_000_000):
        lake.publish("raw/tardis_trades", trades(float(n)), "BTC-USD", DAY, "complete")
        first_done.set()


def test_fifty_kills_leave_the_old_partition_or_the_new_one(lake: Lake, rng) -> None:
    # A fork server that has the modules loaded: a writer starts in milliseconds, in a process of its own.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crpbot_dagster.resources.lake"])
    lake.publish("raw/tardis_trades", trades(0.5), "BTC-USD", DAY, "complete")
    seen = set()
    for _ in range(50):
        first_done = context.Event()
        writer = context.Process(target=write_for_ever, args=(lake.url, first_done), daemon=True)
        writer.start()
        assert first_done.wait(30), "the writer never wrote"
        time.sleep(float(rng.uniform(0, 0.08)))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = lake.window("raw/tardis_trades", "BTC-USD", DAY, DAY).collect()
        assert found.height == 5_000 and found["price"].n_unique() == 1, "a mixture of two writes"
        seen.add(found["price"][0])
    assert len(seen) > 1, "no kill ever met a finished write: the test would prove nothing"
    lake.publish("raw/tardis_trades", trades(9.5), "BTC-USD", DAY, "complete")
    assert lake.window("raw/tardis_trades", "BTC-USD", DAY, DAY).collect()["price"].unique().to_list() == [9.5]
