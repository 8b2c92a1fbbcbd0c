"""Raw market data as the sources sent it, one module per source."""
