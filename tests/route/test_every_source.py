"""Two days of one symbol with every source of the sandbox, in this process: what V6 and reversion know, and why not."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from crpbot_dagster.assets import EVERY_SOURCE_TABLES, MARKET_TABLES, beside
from crpbot_dagster.instance import lake_of
from crpbot_dagster.instruments import primary
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.runs import Route, Step, failure_of, plan
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.settings import Settings, load
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

SYMBOL, PARTNER = "BTC-USD", "ETH-USD"
DAY = date(2023, 11, 20)  # a Monday, the newest finished day
BEFORE, TODAY = DAY - timedelta(days=1), DAY + timedelta(days=1)
MARKET = MarketSpec(7, 0.5)
BOOK = ("raw/tardis_trades", "raw/tardis_book", "raw/tardis_book_snapshots", "bars/book_1m")
V6, REVERSION = "features/v6", "features/mean_reversion"

# Features without a value on the sandbox's only day of every source, and the word that says why.
NO_VENUE = {
    "arb_net_bps": "B:*",
    "arb_open_frac_1h": "B:*",
    "basis_bps": "X:*.mark",
    "coinbase_premium_bps": "no trades of binance",
    "coinbase_premium_mean_bps_4h": "no trades of binance",
    "corr_dxy_30d": "no rows",
    "corr_spx_30d": "",
}
NOT_KNOWN_YET = ("btc_dominance_frac", "eth_dominance_frac", "market_cap_rank_n")  # snapshots of the newest day alone
NO_HISTORY = (
    *(f"market_cap_change_log_{n}d" for n in (1, 7, 30)),
    *("supply_change_log_30d", "high_dist_log_365d", "btc_dominance_change_7d", "total_cap_change_log_30d"),
    *("stable_cap_change_log_7d", "fear_greed_change_7d", "fear_greed_z_30d", "wiki_views_z_30d"),
    *("reddit_subscribers_change_log_7d", "github_stars_change_log_30d", "github_prs_merged_n_30d"),
    *("btc_hash_rate_change_log_7d", "btc_hash_ribbon_log", "funding_z_30d", "iv_rv_spread_frac"),
)


class World:
    """A lake, and what each materialisation said."""

    def __init__(self, config: Settings) -> None:
        self.lake, self.config = lake_of(config), config
        self.said: dict[tuple[str, date], dict[str, Any]] = {}

    def make(self, steps: list[Step]) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            route = Route(self.config)
            for step in steps:
                done = route.materialise(step, instance)
                assert done.success, f"{step.day} {step.tables}: {failure_of(done)}"
                for event in done.get_asset_materialization_events():
                    metadata = event.materialization.metadata
                    self.said["/".join(event.asset_key.path), step.day] = {k: v.value for k, v in metadata.items()}

    def rows(self, table: str, symbol: str = SYMBOL, day: date = DAY) -> pl.DataFrame:
        return self.lake.window(table, symbol, day, day).collect()


def known_volumes(world: World) -> None:
    """Seven daily volumes, so that no older day must be fetched."""
    for day in (BEFORE - timedelta(days=i) for i in range(1, 8)):
        known = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        row = {"symbol": SYMBOL, "day": day, "venue": "coinbase", "obs_day": day, "available_ts": known,
               "volume": 300.0, "volume_from": "ticks"}  # fmt: skip
        frame = pl.DataFrame([row], schema=TABLES["bars/volume_1d"].schema)
        world.lake.publish("bars/volume_1d", frame, SYMBOL, day, "complete")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("every_source")
    (home / "clock").write_text(f"{TODAY}T06:30:00+00:00")
    with serve(create_app(MARKET, None, None, today=TODAY)) as url, pytest.MonkeyPatch.context() as patch:
        own = {"home": home, "sandbox_url": url, "clock": home / "clock", "start_day": BEFORE - timedelta(days=8),
               "every_source_days": 2, "sandbox_density": MARKET.density,
               "taker_fee_bps": '{"coinbase": 60, "kraken": 26}'}  # fmt: skip
        for name, value in own.items():
            patch.setenv(f"CRPBOT_{name.upper()}", str(value))
        load.cache_clear()
        made = World(load())
        made.lake.check_stamp()
        known_volumes(made)
        made.make([Step(PARTNER, day, BOOK) for day in (BEFORE, DAY)])
        made.make(plan(MARKET_WIDE, BEFORE, DAY, "features", made.config, TODAY, {}))
        bars = tuple(t for t in EVERY_SOURCE_TABLES if t.startswith("bars/"))
        steps = plan(SYMBOL, DAY, DAY, "features", made.config, TODAY, {})
        made.make([s for s in steps if s.day == BEFORE])
        made.make([Step(SYMBOL, BEFORE, beside(primary(SYMBOL, {}))), Step(SYMBOL, BEFORE, bars)])
        made.make([s for s in steps if s.day == DAY])
        yield made
    load.cache_clear()


def test_every_table_of_the_day_is_made_and_only_the_dollar_index_is_still_to_come(world: World) -> None:
    assert {t: world.lake.state(t, SYMBOL, DAY) for t in EVERY_SOURCE_TABLES} == dict.fromkeys(
        EVERY_SOURCE_TABLES, "complete"
    )
    states = {t: world.lake.state(t, MARKET_WIDE, DAY) for t in MARKET_TABLES}
    assert {t for t, s in states.items() if s != "complete"} == {"raw/traditional_markets", "bars/macro_1d"}


def test_v6_says_which_columns_are_empty_and_why(world: World) -> None:
    said, rows = world.said[V6, DAY], world.rows(V6)
    why = said["empty_columns"]
    assert set(why) == {c.name for c in TABLES[V6].features if rows[c.name].is_null().all()}
    assert sorted(why) == sorted((*NO_VENUE, *NOT_KNOWN_YET, *NO_HISTORY))
    assert [n for n, word in NO_VENUE.items() if word not in why[n]] == []
    assert said["look_ahead_n"] == 0 and rows.height == 1440


def test_the_coverage_is_what_each_set_holds(world: World) -> None:
    told = world.rows("features/coverage")
    for name in ("v5", "v6", "mean_reversion"):
        rows = world.rows(f"features/{name}")
        counted = {r["feature"]: r["valid_n"] for r in told.filter(pl.col("feature_set") == name).iter_rows(named=True)}
        assert counted == {c.name: rows[c.name].count() for c in TABLES[f"features/{name}"].features}
    offending = Warehouse(lake=world.lake).offending
    broken = {"rows_n": 1439, "valid_n": 1441, "null_frac": 0.5}
    frames = (told, *(told.head(1).with_columns(pl.lit(v, told.schema[c]).alias(c)) for c, v in broken.items()))
    found = [offending(frame, "features/coverage")["coverage_every_minute_is_counted"] for frame in frames]
    assert found == [0.0, 1.0, 1.0, 1.0]


def test_mean_reversion_is_whole_but_for_a_month_of_funding_and_a_second_mark(world: World) -> None:
    said = world.said[REVERSION, DAY]
    table = "bars/derivatives_1m"
    assert said["empty_columns"] == {
        "funding_parity_dev_bps": table,
        "basis_bps": table,
        "funding_z_30d": "too few valid rows or days",
    }
    assert said["look_ahead_n"] == 0


def test_the_metadata_states_what_decides_money(world: World) -> None:
    told = world.said[V6, DAY]["settings"]
    assert told["taker_fee_bps"] == {"coinbase": 60.0, "kraken": 26.0}
    assert told["book_venues"] == ["coinbase", "kraken"], "Binance's fee is not stated"
    assert told["funding_venues"] == world.said[REVERSION, DAY]["settings"]["funding_venues"]


def test_the_day_has_its_mean_funding(world: World) -> None:
    (found,) = world.rows("bars/daily")["funding_bps_8h_mean"]
    assert found == pytest.approx(world.rows(V6)["funding_rate_bps_8h"].mean(), rel=1e-9)


def test_every_slow_row_is_known_after_what_it_describes(world: World) -> None:
    for table, symbol in (("coin_1d", SYMBOL), ("developer_1d", SYMBOL), ("global_1d", MARKET_WIDE)):
        (known,) = world.rows(f"bars/{table}", symbol)["available_ts"]
        assert known == datetime(2023, 11, 21, 6, 30, tzinfo=UTC), f"{table} has what a snapshot said at 06:30"
