"""Two days of one symbol with every source of the sandbox, in this process: what V6 and mean reversion know, and why not."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from crpbot_dagster.assets import EVERY_SOURCE_TABLES
from crpbot_dagster.instance import lake_of
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.runs import Route, Step, failure_of, plan
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.settings import Settings, load
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

SYMBOL, PARTNER = "BTC-USD", "ETH-USD"
DAY = date(2023, 11, 20)  # a Monday, the newest finished day
BEFORE = DAY - timedelta(days=1)
DENSITY = 0.1


class World:
    """A lake with two days of every source, and what each materialisation said."""

    def __init__(self, config: Settings) -> None:
        self.lake: Lake = lake_of(config)
        self.said: dict[tuple[str, date], dict[str, dg.MetadataValue]] = {}

    def make(self, steps: list[Step], config: Settings) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            route = Route(config)
            for step in steps:
                done = route.materialise(step, instance)
                assert done.success, f"{step.day} {step.tables}: {failure_of(done)}"
                for event in done.get_asset_materialization_events():
                    name = "/".join(event.asset_key.path)
                    self.said[name, step.day] = dict(event.materialization.metadata)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("every_source")
    (home / "clock").write_text(f"{DAY + timedelta(days=1)}T06:30:00+00:00")
    today = DAY + timedelta(days=1)
    patch = pytest.MonkeyPatch()
    with serve(create_app(MarketSpec(7, DENSITY), None, None, today=today)) as url:
        own = {"home": home, "sandbox_url": url, "clock": home / "clock", "start_day": BEFORE - timedelta(days=8),
               "every_source_days": 2, "sandbox_density": DENSITY}  # fmt: skip
        for name, value in own.items():
            patch.setenv(f"CRPBOT_{name.upper()}", str(value))
        load.cache_clear()
        config = load()
        made = World(config)
        book = ("raw/tardis_trades", "raw/tardis_book", "raw/tardis_book_snapshots", "bars/book_1m")
        made.make([Step(PARTNER, day, book) for day in (BEFORE, DAY)], config)
        for symbol in (MARKET_WIDE, SYMBOL):
            made.make(plan(symbol, BEFORE, DAY, "features", config, today, {}), config)
        yield made
    patch.undo()
    load.cache_clear()


def test_x(world: World) -> None:
    for name in ("features/v6", "features/mean_reversion"):
        rows = world.lake.window(name, SYMBOL, DAY, DAY).collect()
        print(name, rows.height)
        said = world.said[name, DAY]
        print(json.dumps(said["empty_columns"].data, indent=1))
        print(said["settings"].data, said["wall_time_s"], said["look_ahead_n"])
    for t in EVERY_SOURCE_TABLES:
        print(t, world.lake.states(t, SYMBOL, [BEFORE, DAY]))
    for t in ("bars/options_1h","bars/global_1d","bars/macro_1d","bars/fx_1m","bars/network_1d","bars/sentiment_1d", "raw/traditional_markets", "raw/deribit_options","raw/tardis_options"):
        print(t, world.lake.states(t, MARKET_WIDE, [BEFORE, DAY]))
        print(world.lake.window(t, MARKET_WIDE, DAY, DAY).collect().head(3))
