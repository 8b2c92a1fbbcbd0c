"""Traditional markets: daily series of FRED."""

import dagster as dg

ASSETS: tuple[dg.AssetsDefinition, ...] = ()
