"""Deribit's public interface: funding, options, the volatility index."""

from starlette.routing import Route

from crpbot_dagster.sandbox.world import World


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""
    return []
