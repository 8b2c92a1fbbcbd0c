"""CoinGecko's REST interface: coins and the whole market."""

from starlette.routing import Route

from crpbot_dagster.sandbox.world import World


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""
    return []
