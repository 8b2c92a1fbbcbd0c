"""CoinGecko: market capitalisation and volume of coins, the whole market, and snapshots of a coin."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
