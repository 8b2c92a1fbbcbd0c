"""Crypto Lake's bucket: Parquet files in S3's protocol, served by moto."""

from starlette.routing import Route

from crpbot_dagster.sandbox.world import World


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""
    return []
