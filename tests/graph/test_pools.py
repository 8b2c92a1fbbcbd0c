"""Who asks a source is counted: parallel runs stand in line per source, and its budget is the vendor's."""

import yaml

from crpbot_dagster import assets, settings
from crpbot_dagster.definitions import polite
from crpbot_dagster.settings import PROJECT
from crpbot_dagster.sources import SOURCES

ALREADY_THERE = {"lake", "warehouse", "door"}  # resources that ask nobody


def test_every_raw_asset_that_asks_a_source_has_the_source_s_pool() -> None:
    for asset in assets.ROUTE["raw"]:
        asks = asset.op.required_resource_keys - ALREADY_THERE
        assert bool(asks) == (asset.op.pool is not None), f"{asset.key}: {asks} and {asset.op.pool}"
        if asks:
            source = str(asset.op.pool).removesuffix("_api")
            assert asset.op.pool == f"{source}_api" and source in SOURCES, asset.key
    for stage in set(assets.ROUTE) - {"raw"}:
        assert all(asset.op.pool is None for asset in assets.ROUTE[stage])


def test_a_pool_s_limit_leaves_no_run_waiting_longer_than_its_patience() -> None:
    from crpbot_dagster.resources.hosts import SPACING
    from crpbot_dagster.resources.politeness import PATIENCE_S

    limit = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]["pools"]["default_limit"]
    slowest = min(s.per_second for s in SOURCES.values())
    assert limit * SPACING / slowest < PATIENCE_S / 2


def test_the_vendors_budgets_hold_live_and_the_local_market_has_none(environment) -> None:
    live = polite(environment(market="live"))
    assert set(live.per_second) == set(SOURCES) and live.per_day["coingecko"] == SOURCES["coingecko"].per_day
    assert live.state.startswith(str(settings.load().home_dir))
    assert "kraken" in live.keyless and "tardis" not in live.keyless
    sandbox = polite(environment(market="sandbox"))
    assert sandbox.per_second == {} and sandbox.per_day == {}
