"""Crypto Lake: trades, order-book deltas and derivatives, through lakeapi."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
