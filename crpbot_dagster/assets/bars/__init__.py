"""Ticks and candles become one row per minute."""
