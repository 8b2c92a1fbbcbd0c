"""The law that each materialisation checks on three of its rows: sound sets pass, a leak in real data is seen."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from crpbot_dagster.assets.features import assets as feature_assets
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.laws import compared, sample, unlike_alone
from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.instruments import Primary

PRIMARY = Primary("coinbase", "tardis")


def newest_views(f: pl.DataFrame, i: Inputs) -> pl.DataFrame:
    """The page views of the newest row of attention, which are published a day after the rest of it."""
    rows = i.slow["A"].filter(pl.col("symbol") == "BTC-USD").sort("available_ts")
    views = rows.select("available_ts", pl.col("wiki_views_n").alias("wiki_views_z_30d"))
    return f.drop("wiki_views_z_30d").join_asof(views, left_on="ts", right_on="available_ts").select(f.columns)


LEAKS: dict[str, tuple[str, Callable[[pl.DataFrame, Inputs], pl.DataFrame]]] = {
    "the next close": ("v4", lambda f, i: f.with_columns(i.trades["close"].shift(-1).alias("sma_7"))),
    "a whole-day mean": ("v4", lambda f, _: f.with_columns(pl.col("volume").mean().alias("volume_ma"))),
    "a window of a day and a half": (
        "v4", lambda f, i: f.with_columns(i.trades["close"].rolling_mean(2000).alias("sma_50"))
    ),
    "page views before they are published": ("v6", newest_views),
}  # fmt: skip


def test_the_sample_is_of_the_day_always_the_same_and_full(everything: Inputs) -> None:
    made, day = SETS["v6"].of("BTC-USD", PRIMARY)(everything), everything.trades["ts"][-1].date()
    first, between, last = sample(made, "BTC-USD", day)
    assert made.height - 1440 == first < between < last == made.height - 1
    assert sample(made, "BTC-USD", day) == (first, between, last)
    nulls = made.tail(1440).select(pl.sum_horizontal(pl.all().is_null())).to_series()
    assert sum(column.null_count() for column in made[between]) == nulls.min() < nulls.max()
    assert compared(made, (first, between, last)) >= made.width - 1 - nulls.min()
    assert compared(made.with_columns(sma=pl.lit(None)), (first,)) == compared(made, (first,))


@pytest.mark.parametrize("name", SETS)
def test_sound_sets_pass(name: str, everything: Inputs) -> None:
    build = SETS[name].of("BTC-USD", PRIMARY)
    made = build(everything)
    assert unlike_alone(everything, made, build, (0, 700, 2000, made.height - 1)) == []


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_seen_by_the_check_of_the_materialisation(leak: str, everything: Inputs, monkeypatch) -> None:
    name, planted = LEAKS[leak]
    sound = SETS[name]
    build = sound.of("BTC-USD", PRIMARY)
    leaky = replace(sound, of=lambda *_: lambda i: planted(build(i), i))
    day = everything.trades["ts"][-1].date()
    clean = feature_assets.built(name, everything, "BTC-USD", PRIMARY, day)
    assert clean.facts["look_ahead_n"] == 0 and clean.facts["look_ahead_compared_n"] > 20
    monkeypatch.setitem(feature_assets.SETS, name, leaky)
    made = feature_assets.built(name, everything, "BTC-USD", PRIMARY, day)
    assert made.facts["look_ahead_n"] >= 1 and made.notes["look_ahead"]
