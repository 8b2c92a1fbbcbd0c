"""One trained model per family, symbol and day."""
