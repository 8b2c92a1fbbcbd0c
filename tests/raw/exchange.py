"""What the tests of the exchanges' own interfaces share: a stand-in for an exchange, and one materialised partition."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sandbox.server import serve

OPTIONS: dict[str, Any] = {"timeout_s": 60, "polite": False}


@contextmanager
def exchange(answer: Callable[[dict[str, str]], Any]) -> Iterator[str]:
    """Serve ``answer(query)`` at every path: a document, or a response."""

    def handle(request: Request) -> Response:
        said = answer(dict(request.query_params))
        return said if isinstance(said, Response) else JSONResponse(said)

    with serve(Starlette(routes=[Route("/{path:path}", handle)])) as url:
        yield url


def materialise(asset: dg.AssetsDefinition, partition: str, lake: Lake, **resources: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset],
        partition_key=partition,
        resources={"lake": lake, "door": Door(lake=lake, base_dir=lake.url)} | resources,
        raise_on_error=False,
    )


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
