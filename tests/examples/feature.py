"""Run with the patched package: the new feature has values, and neither sees the future nor breaks old features."""

import numpy as np
import polars as pl
from conftest import DAYS, bars_of

from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.assets.models.artefact import contract
from crpbot_dagster.assets.models.dataset import input_names
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.tables.features import V4, V5

NEW = "ret_log_30m"

trades, book = bars_of(MarketSpec(7, 1.0), "BTC-USD", DAYS[:2])
whole = v4(trades)
close = trades["close"].to_numpy()
assert np.allclose(whole[NEW].to_numpy()[30:], np.log(close[30:] / close[:-30]), equal_nan=True)
assert whole[NEW].null_count() == 30 + np.isnan(close[30:] / close[:-30]).sum()
assert V4.column(NEW).reach == 31 and NEW in input_names(V4) and NEW in input_names(V5)
assert v5(trades, book)[NEW].equals(whole[NEW])
assert f"{NEW}:Float64:as_is" in contract("features/v4")["features"]  # type: ignore[operator]

# No look-ahead: cut the input, and what came before stays as it was, to the last bit.
for cut in (31, 500, 1_440, 2_000):
    assert v4(trades.head(cut)).equals(whole.head(cut)), cut
changed = trades.with_row_index().with_columns(
    pl.when(pl.col("index") == 1_500).then(pl.col("close") * 2).otherwise(pl.col("close")).alias("close")
)
moved = (v4(changed)[NEW] != whole[NEW]).arg_true().to_list()
assert moved == [1_500, 1_530], moved
