"""Funding rates of perpetual futures, through ccxt: Kraken Futures, Deribit and others."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
