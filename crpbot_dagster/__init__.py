"""crpbot-dagster: a data platform for crypto quants, from the tick to the verdict."""
