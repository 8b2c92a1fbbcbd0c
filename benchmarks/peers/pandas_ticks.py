"""Peer: a dataset file with pandas. ``trades`` makes minute OHLCV, ``book`` only reads. Prints the best seconds."""

import gc
import sys
import time

import pandas as pd


def trades(path: str) -> pd.DataFrame:
    frame = pd.read_csv(path)
    frame["minute"] = frame["local_timestamp"] // 60_000_000
    frame["value"] = frame["price"] * frame["amount"]
    return frame.groupby("minute").agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        volume=("amount", "sum"),
        volume_usd=("value", "sum"),
    )


def book(path: str) -> pd.DataFrame:
    return pd.read_csv(path)


if __name__ == "__main__":
    kind, path, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
    read = {"trades": trades, "book": book}[kind]
    least = float("inf")
    for _ in range(times):
        gc.collect()
        started = time.perf_counter()
        read(path)
        least = min(least, time.perf_counter() - started)
    print(least)
