"""Peer: a dataset file with nautilus_trader's Tardis loader, one object per row. Prints the best seconds.

Runs in an environment of its own, because nautilus_trader and this project pin different versions of fsspec.
It is called in its fastest way: precisions given, so that it need not read the file twice to find them, and the
objects of its Rust core, which its default converts a second time.
"""

import gc
import sys
import time

from nautilus_trader.adapters.tardis.loaders import TardisCSVDataLoader
from nautilus_trader.model.identifiers import InstrumentId

if __name__ == "__main__":
    kind, path, times, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    loader = TardisCSVDataLoader(2, 8, InstrumentId.from_str("BTC-USD.COINBASE"))
    load = {"trades": loader.load_trades, "book": loader.load_deltas}[kind]
    least = float("inf")
    for _ in range(times):
        gc.collect()
        started = time.perf_counter()
        loaded = load(path, as_legacy_cython=False)
        least = min(least, time.perf_counter() - started)
        if len(loaded) < rows:
            sys.exit(f"{len(loaded)} rows loaded of {rows}")
        del loaded
    print(least)
