"""Kraken: every trade, through ccxt."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
