"""CryptoCompare: one-minute candles of its aggregate index."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
