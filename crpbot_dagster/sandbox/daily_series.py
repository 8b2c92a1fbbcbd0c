"""The daily series: alternative.me, blockchain.com, mempool.space, FRED, Wikimedia."""

from starlette.routing import Route

from crpbot_dagster.sandbox.world import World


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""
    return []
