"""L16: a market played to a live feed in chunks, with a kill and a resume, beside its history."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from laws.laws import names, same

from crpbot_dagster.assets.features.inputs import Build, Inputs
from crpbot_dagster.assets.features.live import Feed
from crpbot_dagster.tables.schema import Table


def chunks(inputs: Inputs, rng: np.random.Generator) -> list[Inputs]:
    """The inputs cut into chunks: a few of one minute, some of hours; slow tables as they are known at each end."""
    n, at, found = inputs.trades.height, 0, []
    while at < n:
        size = min(n - at, int(rng.choice([1, 2, 7, 60, 419, 997])))
        known, ts = inputs.known_at(at + size - 1), inputs.trades["ts"][at]
        part = known.rows(at, at + size)
        if part.buckets is not None:
            part = replace(part, buckets=part.buckets.filter(pl.col("end_ts") >= ts))
        found.append(part)
        at += size
    return found


def unlike_history(table: Table, build: Build, inputs: Inputs, parts: list[Inputs], path: Path) -> set[str]:
    """L16: columns of which the chunks' rows differ from those of the whole; ``path`` keeps the feed over the kill."""
    killed_at, feed, made = len(parts) // 2, Feed(), []
    for i, part in enumerate(parts):
        feed, rows = feed.push(part, build)
        if i == killed_at:
            # The chunk was made and not saved: the process is gone, and the chunk comes again.
            feed = Feed.open(path)
            feed, rows = feed.push(part, build)
        feed.save(path)
        made.append(rows)
    return same(build(inputs), pl.concat(made), ["ts", *names(table)])
