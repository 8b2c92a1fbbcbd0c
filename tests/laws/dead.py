"""L12: markets in which nothing happens, and what every column says of the stillest: a constant, or else nothing.

Not here: the clock's columns, which go on. What is not in ``STILL`` has no meaning there and is null.
"""

import math
from dataclasses import replace

import numpy as np
import polars as pl
from laws.changes import PRICES, VALUES, over_all, values

from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.schema import Column, Table

Still = dict[float, set[str]]

EVENTS = VALUES | {"volume", "buy_volume", "sell_volume", "unknown_volume", "ofi_coin", "remove_coin"}
FIXED = {"usdt_usd": 1.0, "funding_interval_h": 8.0, "funding_rate": 0.0, "is_stale": 0.0, "is_gap": 0.0,
         "is_masked": 0.0, "imbalance_1_tw": 0.0, "imbalance_5_tw": 0.0}  # fmt: skip
NO_TRADE = {"eff_spread_bps", "impact_5s_bps"}  # null where nothing is traded
WARM = 1441  # rows


def _is_event(name: str) -> bool:
    return name in EVENTS or name.endswith("_n")


def gaps(inputs: Inputs) -> Inputs:
    """A feed that is down: no value in any frame, and no bucket."""
    made = over_all(inputs, lambda f: f.with_columns(pl.lit(None, f.schema[c]).alias(c) for c in values(f)))
    return replace(made, buckets=None if made.buckets is None else made.buckets.head(0))


def frozen(inputs: Inputs) -> Inputs:
    """One price, no trade, no liquidation, the same book, funding and slow values forever: every number stands still."""

    def still(name: str, of_minutes: bool) -> float | None:
        if not of_minutes:
            return 1.0
        if name in NO_TRADE:
            return None
        return 100.0 if name in PRICES else FIXED.get(name, 0.0 if _is_event(name) else 1.0)

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        numbers = [c for c in values(frame) if frame.schema[c].is_numeric()]
        return frame.with_columns(
            pl.lit(still(c, "ts" in frame.columns)).cast(frame.schema[c]).alias(c) for c in numbers
        )

    return over_all(inputs, change)


def hourly(inputs: Inputs) -> Inputs:
    """The frozen market with the trades of one minute an hour, and no price in the others."""
    silent = pl.col("ts").dt.minute() != 0

    def trade(frame: pl.DataFrame, real: pl.DataFrame) -> pl.DataFrame:
        prices = [pl.when(~silent).then(pl.col(c)).alias(c) for c in frame.columns if c in PRICES]
        events = [pl.when(silent).then(pl.col(c)).otherwise(real[c]).alias(c) for c in frame.columns if _is_event(c)]
        return frame.with_columns(prices + events)

    made = frozen(inputs)
    return replace(made, trades=trade(made.trades, inputs.trades))


KINDS = {"frozen": frozen, "gaps": gaps, "one trade an hour": hourly}

# fmt: off
V4_STILL: Still = {
    0.0: {"volume", "spread", "spread_pct", "atr", "volume_ma", "macd", "macd_signal", "macd_diff", "bb_width",
          "volatility_low", "volatility_medium"},
    1.0: {"price_sma_7_ratio", "price_sma_14_ratio", "price_sma_21_ratio", "price_sma_50_ratio", "volatility_high"},
    100.0: {"open", "high", "low", "close", "sma_7", "sma_14", "sma_21", "sma_50", "bb_high", "bb_low"},
}
STILL: dict[str, Still] = {
    "v4": V4_STILL,
    "v5": {
        0.0: V4_STILL[0] | {"ob_imbalance_1", "ob_imbalance_5", "ob_imbalance_10", "ob_imbalance_25", "ofi_1m",
                            "trade_flow_buy", "trade_flow_sell", "spread_std_bps_10m"},
        1.0: V4_STILL[1] | {"spread_bps"},
        100.0: V4_STILL[100] | {"vwap_1m"},
    },
    "v6": {
        0.0: {"ret_log_1m", "ret_log_5m", "ret_log_15m", "ret_log_1h", "ret_log_4h", "ret_log_1d", "range_log_15m",
              "range_log_4h", "gap_kraken_bps", "gap_cryptocompare_bps", "venue_dispersion_bps", "spread_cs_bps_1h",
              "sma_dev_bps_30m", "sma_dev_bps_4h", "sma_cross_bps_15m_4h", "ema_dev_bps_12m", "ema_dev_bps_144m",
              "macd_bps", "macd_hist_bps", "aroon_osc_25m", "bb_width_1h", "atr_bps_1h", "parkinson_vol_4h",
              "realized_vol_1d", "market_cap_change_log_1d", "market_cap_change_log_7d", "market_cap_change_log_30d",
              "supply_change_log_30d", "btc_dominance_change_7d", "total_cap_change_log_30d",
              "stable_cap_change_log_7d", "fear_greed_change_7d", "reddit_subscribers_change_log_7d", "news_tone_1d",
              "github_stars_change_log_30d", "github_prs_merged_n_30d", "btc_hash_rate_change_log_7d",
              "btc_hash_ribbon_log", "put_call_volume_ratio_1d", "put_call_oi_ratio", "arb_open_frac_1h",
              "funding_rate_bps_8h", "funding_dispersion_bps_8h", "basis_bps", "oi_change_log_1d",
              "coinbase_premium_bps", "coinbase_premium_mean_bps_4h", "is_stale_derivatives", "is_stale_fx"},
        1.0: {"market_cap_usd", "market_cap_rank_n", "turnover_frac_1d", "btc_dominance_frac", "eth_dominance_frac",
              "fear_greed_index", "news_n_1d", "github_commits_n_4w", "dvol_frac", "iv_skew_25d_frac"},
        math.log(100): {"high_dist_log_365d"},  # a price of 100, a year's high of 1
        -8.0: {"arb_net_bps"},  # the two smallest fees
        1 - math.sqrt(365): {"iv_rv_spread_frac"},
    },
    "mean_reversion": {
        0.0: {"imbalance", "imbalance_ma5", "vpin", "vpin_ma10", "aggressor_flow", "realized_vol_60min",
              "ob_imbalance_1", "ob_imbalance_10", "ob_imbalance_25", "ofi_1m", "ofi_15m", "ema_dev_bps_60m",
              "microprice_dev_bps", "bipower_vol_4h", "lead_ret_log_5m", "funding_rate_bps_8h", "basis_bps",
              "liq_imbalance_1h", "ix_imbalance_vol", "ix_spread_imbalance", "funding_parity_dev_bps",
              "is_stale_derivatives"},
        0.5: {"realized_vol_rank_1d"},  # all are equal
        1.0: {"spread_bps"},
    },
}
# fmt: on
"""Set → constant → the columns that are it in the frozen market; every other column is null there."""


def goes_on(column: Column) -> bool:
    """Say whether a column tells the time or how old something is."""
    return all(read in ("ts", "CAL") or "available_ts" in read for read in column.reads)


def reads_an_event(column: Column) -> bool:
    """Say whether a column reads what a trade or an order leaves in a minute or a bucket."""
    parts = [(table.partition(":")[0], name) for table, _, name in (read.rpartition(".") for read in column.reads)]
    return any(table in ("T", "B", "X", "V") and _is_event(name) for table, name in parts)


def restless(table: Table, frame: pl.DataFrame, kind: str, still: Still) -> dict[str, list[float | None]]:
    """L12: columns that say, once warm, anything but their constant (to 1e-9), or anything at all if they have none.

    The clock goes on and is not asked. With gaps there is no constant; with a trade an hour, only where no trade is read.
    """
    constants = {} if kind == "gaps" else {name: value for value, names in still.items() for name in names}
    found = {}
    for column in table.features:
        if goes_on(column) or (kind == "one trade an hour" and reads_an_event(column)):
            continue
        warm = frame[column.name][WARM:].cast(pl.Float64)
        said = warm.drop_nulls().to_numpy()
        is_silent = len(said) == 0 if column.name not in constants else kind != "frozen" or len(said) == len(warm)
        if not is_silent or not np.allclose(said, constants.get(column.name, 0.0), rtol=1e-9, atol=1e-9):
            found[column.name] = warm.unique().to_list()[:5]
    return found
