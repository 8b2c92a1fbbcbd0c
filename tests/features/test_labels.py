"""Labels: the slow twin's values, and where each one stops reading."""

import naive
import pytest
from laws import changes, laws

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.labels import labels

ENDS = {"y_ret_15m": 16, "y_up_15m": 16, "y_ret_5m": 6, "y_class_5m": 6, "y_triple_barrier": 61}


@pytest.mark.parametrize("source", ["mid", "trade", "ohlcv"])
def test_labels_equal_their_twin_and_read_nothing_past_their_end(source: str, inputs: Inputs, rng) -> None:
    lossy = changes.masked(inputs.rows(0, 1700), 0.05, rng)
    made, slow = (of(lossy.trades, lossy.book, source) for of in (labels, naive.labels))
    for c in slow.columns:
        same_values = made[c].equals(slow[c]) if made.schema[c].is_temporal() else laws.close(made[c], slow[c])
        assert same_values, c
    cut = 1600
    other = changes.later(lossy, lossy.trades["ts"][cut], "replace", rng)
    changed = labels(other.trades, other.book, source)
    for name, end in ENDS.items():
        # A label of row t reads rows up to t + end − 1.
        known = cut - (end - 1) + 1
        assert made[name].head(known).equals(changed[name].head(known), null_equal=True), name
    assert not made["y_ret_15m"].equals(changed["y_ret_15m"], null_equal=True)
