"""Deribit: options and its volatility index, through the public interface."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
