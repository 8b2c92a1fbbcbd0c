"""Trades of any source to bars: each source on its own clock, and a primary one that is not Tardis."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from crpbot_dagster import definitions
from crpbot_dagster.assets.bars import assets, ticks
from crpbot_dagster.assets.features import assets as features
from crpbot_dagster.assets.features.labels import PRICE_SOURCE
from crpbot_dagster.assets.raw import candle_files, coinbase, kraken, tardis
from crpbot_dagster.instruments import Primary
from crpbot_dagster.partitions import key
from crpbot_dagster.sandbox import market, venues
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.tables import TABLES, TICKS

DAY = date(2023, 11, 10)  # the platform's first: nothing before it is asked for
SPEC = MarketSpec(7, 1.0)
KRAKEN = TICKS["kraken"]
PRIMARY = Primary("kraken", "kraken")
NO_VOLUMES = TABLES["bars/volume_1d"].empty


@pytest.mark.parametrize("source", TICKS)
def test_every_source_of_trades_has_what_the_bars_read(source: str) -> None:
    table = TICKS[source]
    assert {"venue", "seq", "ts_exchange", "trade_id", "side", "price", "amount"} <= set(table.schema)
    assert table.stage == "raw" and {"venue", "seq", "ts_exchange"} <= {c.name for c in table.columns if c.required}
    assert (source in PRICE_SOURCE and ticks.clock_of(table) == ("received" if source == "tardis" else "exchange")) or (
        "ts_received" in table.schema
    )


def raw(venue: str, tape: pl.DataFrame, table: str = "raw/kraken_trades", day: date = DAY) -> pl.DataFrame:
    return tape.with_row_index("seq").select(
        pl.lit("BTC-USD").alias("symbol"),
        pl.lit(day).alias("day"),
        pl.lit(venue).alias("venue"),
        pl.col("seq").cast(pl.Int64),
        pl.col("ts_exchange").cast(pl.Datetime("us", "UTC")),
        pl.col("id").cast(pl.String).alias("trade_id"),
        "side",
        "price",
        "amount",
    ).select(list(TABLES[table].schema))  # fmt: skip


def test_each_venue_has_its_minutes_and_one_without_known_volumes_no_large_trades() -> None:
    both = pl.concat(
        [raw("kraken", venues.kraken_tape(SPEC, "BTC-USD", DAY)), raw("other", market.tape(SPEC, "BTC-USD", DAY))]
    )
    known = pl.DataFrame({"venue": ["kraken"] * 7, "volume": [1000.0] * 7})
    made = ticks.minutes_by_venue(both.lazy(), "complete", KRAKEN, Primary("coinbase", "tardis"), DAY, lambda: known)
    assert set(made) == {"kraken", "other"} and {m.height for m in made.values()} == {1440}
    assert made["kraken"]["large_threshold"][0] == 0.1 and made["other"]["large_threshold"].null_count() == 1440
    assert made["kraken"]["volume"].sum() == pytest.approx(both.filter(pl.col("venue") == "kraken")["amount"].sum())


@pytest.mark.parametrize("state", ["missing", "not_licensed", "not_configured", None])
def test_only_a_missing_day_of_the_primary_source_is_gaps(state: str | None) -> None:
    def never() -> pl.DataFrame:
        raise AssertionError("volumes are not asked for where there are no ticks")

    none = KRAKEN.empty().lazy()
    own = ticks.minutes_by_venue(none, state, KRAKEN, PRIMARY, DAY, never)
    assert list(own) == (["kraken"] if state == "missing" else [])
    assert all(m["is_gap"].sum() == 1440 for m in own.values())
    assert ticks.minutes_by_venue(none, state, KRAKEN, Primary("coinbase", "tardis"), DAY, never) == {}


def test_an_empty_day_of_the_primary_source_is_judged_by_the_gap_rule() -> None:
    made = ticks.minutes_by_venue(KRAKEN.empty().lazy(), "empty", KRAKEN, PRIMARY, DAY, NO_VOLUMES)
    assert made["kraken"]["is_gap"].sum() == 1431


def test_the_primary_source_is_asked_first_and_a_venue_without_trades_has_no_volume() -> None:
    assert ticks.primary_first(PRIMARY)[0] is KRAKEN
    frame = raw("kraken", venues.kraken_tape(SPEC, "BTC-USD", DAY)).lazy()
    assert ticks.day_volume(frame, "coinbase") is None
    assert ticks.day_volume(frame, "kraken") == pytest.approx(frame.collect()["amount"].sum())


def test_v4_is_built_from_kraken_s_own_trades(environment) -> None:
    """The primary source is a tick source other than Tardis: bars, features and labels' prices read it."""
    resources = definitions.resources(environment(primary='{"BTC-USD": "kraken/kraken"}'))
    lake = resources["lake"]
    days = [DAY, DAY + timedelta(days=1)]
    upstream = [*tardis.ASSETS, *coinbase.ASSETS, *kraken.ASSETS, *candle_files.ASSETS]
    made = [assets.volume_1d, assets.trades_1m, assets.book_1m, features.v4, features.v5]

    def run(chosen: list[dg.AssetsDefinition], day: date) -> None:
        everything = [*upstream, *made, features.labels]
        assert dg.materialize(
            everything, partition_key=key("BTC-USD", day), resources=resources, selection=chosen
        ).success

    for day in days:
        tape = venues.kraken_tape(SPEC, "BTC-USD", day)
        lake.publish(KRAKEN.name, raw("kraken", tape, day=day), "BTC-USD", day, "complete")
        # Beside it, and not read by the features: Coinbase's trades. Tardis has no licence.
        beside = raw("coinbase", market.tape(SPEC, "BTC-USD", day), "raw/coinbase_trades", day)
        lake.publish("raw/coinbase_trades", beside, "BTC-USD", day, "complete")
        for name in ("raw/tardis_trades", "raw/tardis_book", "raw/tardis_book_snapshots"):
            lake.publish(name, TABLES[name].empty(), "BTC-USD", day, "not_licensed")
        for name in ("raw/coinbase_candles", "raw/candle_files"):
            lake.publish(name, TABLES[name].empty(), "BTC-USD", day, "not_configured")
        run(made, day)
    run([features.labels], DAY)
    bars = lake.window("bars/trades_1m", "BTC-USD", DAY, DAY).collect()
    found = bars.group_by("venue", "source", "clock").len().sort("source").rows()
    assert found == [("coinbase", "coinbase_trades", "exchange", 1440), ("kraken", "kraken", "exchange", 1440)]
    volume = lake.window("bars/volume_1d", "BTC-USD", DAY, DAY).collect().row(0, named=True)
    own = venues.kraken_tape(SPEC, "BTC-USD", DAY)
    assert (volume["venue"], volume["volume_from"]) == ("kraken", "ticks")
    assert volume["volume"] == pytest.approx(own["amount"].sum())
    v4 = lake.window("features/v4", "BTC-USD", days[1], days[1]).collect()
    assert v4["venue"].unique().to_list() == ["kraken"] and v4["rsi"].null_count() < 200
    y = lake.window("features/labels", "BTC-USD", DAY, DAY).collect()
    assert y["price_source"].unique().to_list() == ["trade"] and y["y_up_15m"].null_count() < 400
    at = datetime(2023, 11, 10, 12, tzinfo=UTC)
    first = own.filter(pl.col("ts_exchange") >= (at + timedelta(minutes=1, seconds=1)).timestamp() * 1e6)["price"][0]
    assert y.filter(pl.col("ts") == at)["entry_price"].item() == first, "the first trade after the signal's second"
