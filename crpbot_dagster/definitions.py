"""The only ``dg.Definitions``: the route's assets, their resources, what runs by itself, the executor."""

from typing import Any

import dagster as dg
from pydantic import SecretStr

from crpbot_dagster import settings
from crpbot_dagster.assets import ROUTE
from crpbot_dagster.instance import lake_of
from crpbot_dagster.resources.coingecko import CoinGecko
from crpbot_dagster.resources.crypto_lake import CryptoLake
from crpbot_dagster.resources.deribit import Deribit
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.exchanges import CoinbaseCandles
from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.resources.kraken import Kraken, KrakenFutures
from crpbot_dagster.resources.politeness import Politeness
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.resources.web_apis import WebApis
from crpbot_dagster.sensors.alerts import alerts_sensor
from crpbot_dagster.sensors.backfill import catch_up_sensor
from crpbot_dagster.sensors.facts import SCOPES
from crpbot_dagster.sensors.promotion import promotion_sensor
from crpbot_dagster.sensors.retraining import retraining_sensor
from crpbot_dagster.sensors.schedules import daily_schedule
from crpbot_dagster.settings import PREFIX, Settings
from crpbot_dagster.sources import SOURCES


def resources(config: Settings) -> dict[str, Any]:
    """Return the resources by key, from the settings."""
    lake, politeness = lake_of(config), polite(config)
    exchange: dict[str, Any] = {
        "timeout_s": config.fetch_timeout_s,
        "polite": config.market == "live",
        "politeness": politeness,
    }
    return {
        "lake": lake,
        "door": Door(lake=lake, base_dir=config.lake_url),
        "warehouse": Warehouse(lake=lake),
        "tardis": TardisDatasets(
            endpoint=config.endpoint("tardis"),
            api_key=_from_environment("tardis_api_key", config.tardis_api_key),
            timeout_s=config.fetch_timeout_s,
            landing=str(config.home_dir / "landing"),
            politeness=politeness,
        ),
        "coinbase": CoinbaseCandles(endpoint=config.endpoint("coinbase"), **exchange),
        "kraken": Kraken(endpoint=config.endpoint("kraken"), **exchange),
        "kraken_futures": KrakenFutures(endpoint=config.endpoint("kraken_futures"), **exchange),
        "deribit": Deribit(endpoint=config.endpoint("deribit"), **exchange),
        "web": WebApis(
            endpoints={s: url for s in SOURCES if (url := config.endpoint(s)) is not None},
            cryptocompare_api_key=_from_environment("cryptocompare_api_key", config.cryptocompare_api_key),
            timeout_s=config.fetch_timeout_s,
            politeness=politeness,
        ),
        "crypto_lake": CryptoLake(
            endpoint=config.endpoint("crypto_lake"),
            key_id=_from_environment("crypto_lake_key_id", config.crypto_lake_key_id),
            secret=_from_environment("crypto_lake_secret", config.crypto_lake_secret),
            sample=config.crypto_lake_sample,
            cache=str(config.home_dir / "crypto_lake"),
            timeout_s=config.fetch_timeout_s,
            politeness=politeness,
        ),
        "coingecko": CoinGecko(
            endpoint=config.endpoint("coingecko"),
            api_key=_from_environment("coingecko_api_key", config.coingecko_api_key),
            timeout_s=config.fetch_timeout_s,
            politeness=politeness,
        ),
        "experiments": Experiments(
            tracking_url=_from_environment("mlflow_url", config.mlflow_url),
            artifact_root=str(config.home_dir / "mlflow"),
        ),
    }


def polite(config: Settings) -> Politeness:
    """Return the rules of asking: the vendors' budgets live, none for the local market."""
    budgets = SOURCES.values() if config.market == "live" else ()
    return Politeness(
        state=str(config.home_dir / "politeness.sqlite"),
        per_second={s.name: s.per_second for s in budgets},
        per_day={s.name: s.per_day for s in budgets if s.per_day is not None},
        keyless=[s.name for s in SOURCES.values() if not s.keys],
    )


def _from_environment(name: str, value: SecretStr | None) -> str:
    # By name: Dagster shows a resource's configuration in the UI and keeps it in its snapshots.
    return dg.EnvVar(f"{PREFIX}{name.upper()}") if value is not None else ""


def definitions(config: Settings) -> dg.Definitions:
    """Return the platform's definitions for one set of settings."""
    return dg.Definitions(
        assets=[asset for stage in ROUTE.values() for asset in stage],
        resources=resources(config),
        # On from the start: they leave a lake alone that is new or far behind, and say so.
        sensors=[
            *(catch_up_sensor(config, lake_of(config), scope) for scope in SCOPES),
            retraining_sensor(config, lake_of(config)),
            promotion_sensor(config, lake_of(config)),
            alerts_sensor(config),
        ],
        schedules=[daily_schedule(config, lake_of(config), scope) for scope in SCOPES],
        # Three trivial steps take 1.9 s in process and 6.8 s with a process each; runs are parallel instead.
        executor=dg.in_process_executor,
    )


defs = definitions(settings.load())
