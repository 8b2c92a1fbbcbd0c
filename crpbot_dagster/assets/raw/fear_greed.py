"""Fear & Greed: the daily index of alternative.me."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
