"""One Tardis day through Dagster, as a backfill does it: what the tests of downloads share."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
from starlette.types import ASGIApp, Receive, Scope, Send

from crpbot_dagster.assets.raw.tardis import tardis_trades
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve

FIRST = date(2023, 11, 10)
TABLE = "raw/tardis_trades"
SPEC = MarketSpec(7, 0.01)


def days(n: int) -> list[date]:
    return [FIRST + timedelta(days=i) for i in range(n)]


def lake_in(folder: Path) -> Lake:
    return Lake(url=str(folder / "lake"), market="sandbox", start_day=FIRST.isoformat())


def tardis_at(url: str, folder: Path, timeout_s: float = 60) -> TardisDatasets:
    return TardisDatasets(endpoint=f"{url}/v1", timeout_s=timeout_s, landing=str(folder / "landing"))


def materialise(
    day: date, lake: Lake, tardis: TardisDatasets, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [tardis_trades],
        partition_key=key("BTC-USD", day),
        resources={"lake": lake, "door": Door(lake=lake, base_dir=lake.url), "tardis": tardis},
        raise_on_error=False,
        instance=instance,
    )


def backfill(url: str, folder: Path, n: int) -> None:
    """Day by day what the lake does not hold, as a process of its own does it that may be killed."""
    lake, tardis = lake_in(folder), tardis_at(url, folder)
    with dg.DagsterInstance.ephemeral() as instance:
        for day in lake.missing(TABLE, "BTC-USD", days(n)):
            assert materialise(day, lake, tardis, instance).success


def failure(run: dg.ExecuteInProcessResult) -> str:
    """What the run says about its failure: all messages of the error and its causes."""
    return " / ".join(e.event_specific_data.error.to_string() for e in run.get_step_failure_events())


@contextmanager
def market(seen: list[str] | None = None, spec: MarketSpec = SPEC) -> Iterator[str]:
    """The simulated market, which notes the paths it was asked for."""
    app: ASGIApp = create_app(spec, None, None, today=date(2024, 1, 1))

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if seen is not None:
            seen.append(scope["path"])
        await app(scope, receive, send)

    with serve(noting) as url:
        yield url
