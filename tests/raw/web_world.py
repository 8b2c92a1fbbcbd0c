"""A world for the tests of the web sources: settings with a clock, a lake, the real clients, and a server to ask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crpbot_dagster.partitions import key
from crpbot_dagster.resources.coingecko import CoinGecko
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.web_apis import WebApis
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.settings import Settings
from crpbot_dagster.sources import SOURCES
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

TODAY = date(2023, 11, 21)
DAY = date(2023, 11, 20)  # the newest finished day, a Monday
OLDER = date(2023, 11, 15)
NOW = "2023-11-21T06:30:00+00:00"
SYMBOL = "BTC-USD"
SPEC = MarketSpec(7, 0.3)
RECORDED = Path(__file__).parents[1] / "recorded"

Asset = dg.AssetsDefinition


@dataclass(frozen=True)
class WebWorld:
    """One lake and the clients; ``config`` says which server they ask and what time it is."""

    lake: Lake
    config: Settings

    def web(self) -> WebApis:
        return WebApis(endpoints={s: str(self.config.endpoint(s)) for s in SOURCES}, timeout_s=30)

    def coingecko(self, api_key: str = "") -> CoinGecko:
        return CoinGecko(endpoint=self.config.endpoint("coingecko"), api_key=api_key, timeout_s=30)

    def run(self, asset: Asset, day: date = DAY, symbol: str = SYMBOL) -> dg.ExecuteInProcessResult:
        keys = {"lake": self.lake, "door": Door(lake=self.lake, base_dir=self.lake.url)}
        clients: dict[str, Any] = {"web": self.web(), "coingecko": self.coingecko()}
        needed = {k: v for k, v in clients.items() if k in asset.required_resource_keys}
        partition = key(MARKET_WIDE if TABLES["/".join(asset.key.path)].is_market_wide else symbol, day)
        return dg.materialize([asset], partition_key=partition, resources=keys | needed, raise_on_error=False)

    def made(self, asset: Asset, day: date = DAY, symbol: str = SYMBOL) -> tuple[str | None, pl.DataFrame]:
        """The state and the rows of a day that was just asked for."""
        done, table = self.run(asset, day, symbol), "/".join(asset.key.path)
        assert done.success, [e.event_specific_data for e in done.all_events if e.is_step_failure]
        return self.lake.state(table, symbol, day), self.lake.window(table, symbol, day, day).collect()


def canned(answers: dict[str, bytes | int | Callable[[Request], Response]]) -> Starlette:
    """An app that answers by path: a body, a status without one, or what a function says; all else is 404."""

    def endpoint(answer: bytes | int | Callable[[Request], Response]) -> Callable[[Request], Response]:
        if isinstance(answer, int):
            return lambda _: Response(status_code=answer)
        return answer if callable(answer) else lambda _: Response(answer)

    return Starlette(routes=[Route(path, endpoint(answer)) for path, answer in answers.items()])


@contextmanager
def world_of(
    app: Starlette, tmp_path: Path, environment: Callable[..., Settings], now: str = NOW
) -> Iterator[WebWorld]:
    """A world whose sources are served by ``app``."""
    clock = tmp_path / "clock"
    clock.write_text(now)
    with serve(app) as url:
        config = environment(sandbox_url=url, clock=str(clock))
        yield WebWorld(Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10"), config)


def sandbox() -> Starlette:
    return create_app(SPEC, None, None, today=TODAY)


def failure(done: dg.ExecuteInProcessResult) -> str:
    """What a failed run says, causes included."""
    assert not done.success
    return "\n".join(e.event_specific_data.error.to_string() for e in done.all_events if e.is_step_failure)


@pytest.fixture
def simulated(tmp_path: Path, environment: Callable[..., Settings]) -> Iterator[WebWorld]:
    with world_of(sandbox(), tmp_path, environment) as world:
        yield world
