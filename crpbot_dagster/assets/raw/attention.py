"""Attention: Wikipedia page views and news counts with their tone."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
