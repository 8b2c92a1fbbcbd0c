"""History = live: minutes fed in chunks of any size, with a kill and a resume, give the stored columns bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from laws import laws
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.live import BrokenFeed, Feed


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


@pytest.mark.parametrize("name", SUBJECTS)
def test_l16_chunks_with_a_kill_and_a_resume_give_the_bits_of_history(
    name: str, everything: Inputs, rng, tmp_path: Path
) -> None:
    """Three days of every source; slow rows come when they are available, buckets when they are complete."""
    table, build = SUBJECTS[name].table, SUBJECTS[name].build
    whole, parts, made = build(everything), chunks(everything, rng), []
    assert sum(part.slow["O"].height > parts[0].slow["O"].height for part in parts) > len(parts) // 2
    killed_at, feed, path = len(parts) // 2, Feed(), tmp_path / "feed"
    for i, part in enumerate(parts):
        feed, rows = feed.push(part, build)
        if i == killed_at:
            # The chunk was made and not saved: the process is gone, and the chunk comes again.
            feed = Feed.open(path)
            feed, rows = feed.push(part, build)
        feed.save(path)
        made.append(rows)
    live = pl.concat(made)
    assert laws.same(whole, live, ["ts", *laws.names(table)]) == set()


def test_a_chunk_that_leaves_a_hole_or_comes_twice_is_refused(inputs: Inputs) -> None:
    feed, _ = Feed().push(inputs.rows(0, 10), SUBJECTS["v4"].build)
    for first in (9, 11):
        with pytest.raises(BrokenFeed, match="the feed ends with"):
            feed.push(inputs.rows(first, first + 5), SUBJECTS["v4"].build)


def test_an_empty_feed_has_nothing_to_save_and_a_torn_save_keeps_the_last(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(BrokenFeed, match="nothing to save"):
        Feed().save(tmp_path / "feed")
    feed, _ = Feed().push(inputs.rows(0, 10), SUBJECTS["v4"].build)
    feed.save(tmp_path / "feed")
    (tmp_path / "feed.tmp").write_bytes(b"half a")
    assert Feed.open(tmp_path / "feed").last == feed.last
