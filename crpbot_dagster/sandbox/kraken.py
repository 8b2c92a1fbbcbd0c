"""Kraken's REST interface: trades of a venue with its own lag, spread and outages."""

from starlette.routing import Route

from crpbot_dagster.sandbox.world import World


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""
    return []
