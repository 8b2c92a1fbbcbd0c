"""History = live: minutes fed in chunks of any size, with a kill and a resume, give the stored columns bit for bit."""

from pathlib import Path

import pytest
from laws.replay import chunks, unlike_history
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.live import BrokenFeed, Feed


@pytest.mark.parametrize("name", SUBJECTS)
def test_l16_chunks_with_a_kill_and_a_resume_give_the_bits_of_history(
    name: str, everything: Inputs, rng, tmp_path: Path
) -> None:
    """Three days of every source; slow rows come when they are available, buckets when they are complete."""
    parts = chunks(everything, rng)
    assert sum(part.slow["O"].height > parts[0].slow["O"].height for part in parts) > len(parts) // 2
    assert unlike_history(SUBJECTS[name].table, SUBJECTS[name].build, everything, parts, tmp_path / "feed") == set()


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
