"""The law that each materialisation checks on three of its rows: sound sets pass, a leak in real data is seen."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from crpbot_dagster.assets.features import assets as feature_assets
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.laws import sample, unlike_alone
from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.instruments import Primary

PRIMARY = Primary("coinbase", "tardis")
LEAKS: dict[str, Callable[[pl.DataFrame, Inputs], pl.DataFrame]] = {
    "the next close": lambda f, i: f.with_columns(i.trades["close"].shift(-1).alias("sma_7")),
    "a whole-day mean": lambda f, i: f.with_columns(pl.col("volume").mean().alias("volume_ma")),
    "a window of a day and a half": lambda f, i: f.with_columns(i.trades["close"].rolling_mean(2000).alias("sma_50")),
}


def test_the_sample_is_of_the_day_and_always_the_same(inputs: Inputs) -> None:
    rows = inputs.trades.height
    first, between, last = sample("BTC-USD", inputs.trades["ts"][-1].date(), rows)
    assert rows - 1440 == first < between < last == rows - 1
    assert sample("BTC-USD", inputs.trades["ts"][-1].date(), rows) == (first, between, last)


@pytest.mark.parametrize("name", SETS)
def test_sound_sets_pass(name: str, everything: Inputs) -> None:
    build = SETS[name].of("BTC-USD", PRIMARY)
    made = build(everything)
    assert unlike_alone(everything, made, build, (0, 700, 2000, made.height - 1)) == []


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_seen_by_the_check_of_the_materialisation(leak: str, inputs: Inputs, monkeypatch) -> None:
    sound = SETS["v4"]
    build = sound.of("BTC-USD", PRIMARY)
    leaky = replace(sound, of=lambda *_: lambda i: LEAKS[leak](build(i), i))
    monkeypatch.setitem(feature_assets.SETS, "v4", leaky)
    day = inputs.trades["ts"][-1].date()
    made = feature_assets.built("v4", inputs, "BTC-USD", PRIMARY, day)
    assert made.facts["look_ahead_n"] >= 1 and made.notes["look_ahead"]
