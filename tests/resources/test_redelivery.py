"""A day that is delivered again: what is new is said, children of a new content are stale, of the same are not."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import StaleStatus
from dagster._utils.test.data_versions import get_stale_status_resolver

from crpbot_dagster.assets import checks
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.redelivery import content, difference
from crpbot_dagster.tables import TABLES

SYMBOL, DAY = "BTC-USD", date(2024, 1, 2)
TABLE = TABLES["raw/coinbase_candles"]


def candles(n: int) -> pl.DataFrame:
    at = pl.datetime_range(
        datetime(2024, 1, 2, tzinfo=UTC), interval="1m", end=datetime(2024, 1, 2, 23, 59, tzinfo=UTC), eager=True
    )
    price = pl.lit(100.0) + pl.int_range(n)
    made = pl.DataFrame({"ts": at.head(n)}).with_columns(
        *(price.alias(c) for c in ("open", "high", "low", "close")),
        symbol=pl.lit(SYMBOL), day=pl.lit(DAY), venue=pl.lit("coinbase"), interval_s=pl.lit(60), volume=pl.lit(1.0),
    )  # fmt: skip
    return TABLE.conform(made.lazy()).collect()


def told(frame: pl.DataFrame, state: str = "complete") -> str:
    return content(TABLE, frame.lazy(), state)


def test_the_digest_is_of_the_content_and_not_of_its_encoding(tmp_path: Path) -> None:
    frame = candles(300)
    assert told(frame) == told(frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert told(frame) == told(pl.concat([frame.head(7), frame.tail(293)], rechunk=False))
    frame.write_parquet(tmp_path / "a.parquet", compression="gzip", row_group_size=10)
    assert told(frame) == content(TABLE, pl.scan_parquet(tmp_path / "a.parquet"), "complete")
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2024-01-01")
    lake.publish(TABLE.name, frame, SYMBOL, DAY, "complete")
    assert told(frame) == content(TABLE, lake.scan(TABLE.name, SYMBOL, DAY, DAY), "complete")


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.head(299),
        lambda f: pl.concat([f, f.head(1)]),
        lambda f: f.with_columns(volume=pl.when(pl.int_range(pl.len()) == 150).then(1.0000000000000002).otherwise("volume")),
        lambda f: f.with_columns(volume=pl.when(pl.int_range(pl.len()) == 150).then(None).otherwise("volume")),
        lambda f: f.with_columns(open=pl.col("volume"), volume=pl.col("open")),
        lambda f: f.with_columns(close=pl.col("close").reverse()),
    ],
)  # fmt: skip
def test_any_other_content_has_another_digest(change) -> None:
    assert told(change(candles(300))) != told(candles(300))


def test_a_day_without_rows_is_told_from_another_by_its_state() -> None:
    assert told(TABLE.empty(), "missing") != told(TABLE.empty(), "not_licensed")


def test_the_difference_counts_rows_and_names_the_first() -> None:
    held = candles(300)
    other = held.with_columns(
        close=pl.when(pl.int_range(pl.len()).is_in([40, 41])).then(pl.lit(1.5)).otherwise("close")
    )
    new = pl.concat([other.slice(0, 20), other.slice(21, 279), candles(305).tail(5)])
    found = difference(TABLE, held.lazy(), new.lazy())
    assert {k: found[k] for k in ("rows_added", "rows_removed", "rows_changed")} == {
        "rows_added": 5, "rows_removed": 1, "rows_changed": 2,
    }  # fmt: skip
    assert found["redelivery"] == (
        "rows 5 added, 1 removed, 2 changed against the partition held before; the first at interval_s 60, "
        "ts 2024-01-02 00:20:00+00:00"
    )


def test_children_are_stale_after_other_content_and_not_after_the_same(tmp_path: Path, monkeypatch) -> None:
    parts = dg.MultiPartitionsDefinition(
        {"day": dg.StaticPartitionsDefinition([str(DAY)]), "symbol": dg.StaticPartitionsDefinition([SYMBOL])}
    )
    monkeypatch.setattr(checks, "_partitions", lambda _: parts)
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2024-01-01")
    sent = [candles(300)]

    @table_asset(TABLE.name, kinds={"polars"}, code_version="1")
    def coinbase_candles(context: dg.AssetExecutionContext) -> Built:
        return Built(sent[0], "complete", "test")

    @dg.asset(deps=[coinbase_candles], partitions_def=parts)
    def child() -> None:
        return None

    key = dg.MultiPartitionKey({"day": str(DAY), "symbol": SYMBOL})
    with dg.DagsterInstance.ephemeral() as instance:

        def make(*assets: dg.AssetsDefinition) -> dict[str, object]:
            done = dg.materialize(
                [coinbase_candles, child], selection=list(assets), instance=instance, partition_key=key,
                resources={"door": Door(lake=lake, base_dir=lake.url)},
            )  # fmt: skip
            event = next(iter(done.get_asset_materialization_events()))
            return {k: v.value for k, v in event.materialization.metadata.items()}

        def is_stale() -> bool:
            resolver = get_stale_status_resolver(instance, [coinbase_candles, child])
            return resolver.get_status(child.key, str(key)) == StaleStatus.STALE

        def version() -> str:
            event = instance.get_latest_materialization_event(coinbase_candles.key)
            return event.asset_materialization.tags["dagster/data_version"]

        first = make(coinbase_candles, child)
        assert "redelivery" not in first and version() == told(sent[0]) and not is_stale()
        again = make(coinbase_candles)
        assert again["redelivery"] == "the same content as before" and not is_stale()
        sent[0] = sent[0].with_columns(volume=pl.lit(2.0))
        other = make(coinbase_candles)
        assert other["delta_version"] > first["delta_version"] and other["rows_changed"] == 300
        assert version() == told(sent[0]) and is_stale()
        make(child)
        assert not is_stale()
        sent[0] = TABLE.empty()
        assert make(coinbase_candles)["rows_removed"] == 300 and is_stale()
