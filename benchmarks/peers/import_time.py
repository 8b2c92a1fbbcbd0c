"""Seconds to load the definitions (``ours``), or only the libraries they need (``bare``), in a fresh process."""

import sys
import time

if __name__ == "__main__":
    started = time.perf_counter()
    if sys.argv[1] == "ours":
        from crpbot_dagster.definitions import defs

        defs.resolve_all_asset_specs()
    else:
        import dagster  # noqa: F401
        import dagster_polars  # noqa: F401
    print(time.perf_counter() - started)
