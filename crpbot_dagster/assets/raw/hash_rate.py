"""Hash rate and difficulty of Bitcoin: blockchain.com, mempool.space as the second."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
