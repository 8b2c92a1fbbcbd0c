"""Days of every feature set one by one (``ours``), or of V4 in one pandas frame (``pandas``), from a file of inputs.

Prints the MiB that the features took at most, beyond what the process held when the inputs were loaded.
"""

import resource
import sys
from pathlib import Path

import polars as pl

from benchmarks.features import backfill
from benchmarks.pandas_features import pandas_v4
from crpbot_dagster.assets.features.live import Feed


def peak() -> float:
    """Return the most memory the process ever held, MiB; Linux counts the parent's in ``ru_maxrss``."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    kind, days, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "ours":
        held = Feed.open(path).held
        loaded = peak()
        backfill(days, held)
    else:
        bars = pl.read_parquet(path).to_pandas()
        loaded = peak()
        pandas_v4(bars)
    print(peak() - loaded)
