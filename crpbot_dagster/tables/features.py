"""Feature tables V4 and V5 and the labels: one line per column, as docs/conventions.md give it.

``T`` is ``bars/trades_1m`` and ``B`` is ``bars/book_1m`` of the symbol's primary venue and source. The
formulas are implemented in ``assets/features/``; a test holds the lines below against the catalogue.
"""

import functools
import hashlib

import polars as pl

from crpbot_dagster.tables.schema import (
    DAY,
    SYMBOL,
    TS,
    UTC_US,
    VENUE,
    Check,
    Column,
    Measure,
    Table,
    columns,
)

F64, I8 = pl.Float64(), pl.Int8()

READ_FROM = {
    "T": "bars/trades_1m",
    "B": "bars/book_1m",
    "P": "bars/book_1m",
    "X": "bars/derivatives_1m",
    "F": "bars/fx_1m",
    "V": "bars/volume_buckets",
    "O": "bars/options_1h",
    "D": "bars/daily",
    "C": "bars/coin_1d",
    "G": "bars/global_1d",
    "S": "bars/sentiment_1d",
    "A": "bars/attention_1d",
    "H": "bars/developer_1d",
    "N": "bars/network_1d",
    "M": "bars/macro_1d",
}


def origins(column: Column) -> tuple[tuple[str, str], ...]:
    """Return the (table, column) pairs that a feature is made from; ``ts`` comes with every table.

    ``T:kraken.close`` is the close of another venue, ``M.value(SP500)`` the value of one series.
    """
    pairs = (read.split(".") for read in column.reads if "." in read)
    return tuple((READ_FROM[table.partition(":")[0]], name.partition("(")[0]) for table, name in pairs)


def catalogue_row(
    dtype: pl.DataType,
    name: str,
    text: str,
    unit: str,
    range_: str,
    reads: str,
    reach: int | str,
    valid: str,
    into: str,
    src: str,
    group: str,
) -> Column:
    """Return a row of the catalogue as a column; a ``reach`` in words counts observations of slow tables."""
    return Column(
        name,
        dtype,
        unit,
        text,
        range_,
        reads=tuple(reads.split(", ")),
        reach=reach if isinstance(reach, int) else 1,
        slow_reach="" if isinstance(reach, int) else reach,
        valid=valid,
        transform=into,
        source=src,
        group=group,
    )


_f, _flag = functools.partial(catalogue_row, F64), functools.partial(catalogue_row, I8)

# One line per row of the catalogue, so that the two can be read side by side.
# fmt: off
V4_FEATURES = (
    _f("open", "T.open", "USD", "> 0", "T.open", 1, "row", "log_vs_close", "–", "ohlcv"),
    _f("high", "T.high", "USD", "> 0", "T.high", 1, "row", "log_vs_close", "–", "ohlcv"),
    _f("low", "T.low", "USD", "> 0", "T.low", 1, "row", "log_vs_close", "–", "ohlcv"),
    _f("close", "T.close", "USD", "> 0", "T.close", 1, "row", "excluded (0 after log_vs_close; its return is in `open`)", "–", "ohlcv"),
    _f("volume", "T.volume", "coin", "≥ 0", "T.volume", 1, "row", "log1p", "–", "ohlcv"),
    _flag("session_tokyo", "1 if hour of ts in 0…7 else 0", "flag", "{0,1}", "ts", 1, "–", "as_is", "ours", "session"),
    _flag("session_london", "1 if hour of ts in 8…15 else 0", "flag", "{0,1}", "ts", 1, "–", "as_is", "ours", "session"),
    _flag("session_new_york", "1 if hour of ts in 16…23 else 0", "flag", "{0,1}", "ts", 1, "–", "excluded (1 − #6 − #7)", "ours", "session"),
    _flag("day_of_week", "ISO weekday of ts − 1 (Monday 0)", "cat", "0…6", "ts", 1, "–", "category", "–", "session"),
    _flag("is_weekend", "1 if #9 ≥ 5 else 0", "flag", "{0,1}", "ts", 1, "–", "excluded (function of #9)", "–", "session"),
    _f("spread", "high − low", "USD", "≥ 0", "T.high, T.low", 1, "row", "excluded (#12 after over_close)", "–", "spread"),
    _f("spread_pct", "100·(high − low)/close", "%", "≥ 0", "T.high, T.low, T.close", 1, "row", "as_is", "–", "spread"),
    _f("atr", "mean_14(TR)", "USD", "≥ 0", "T.high, T.low, T.close", 15, "12/14", "over_close", "WI78", "spread"),
    _f("spread_atr_ratio", "(high − low)/atr", "1", "≥ 0", "T.high, T.low, T.close", 15, "12/14", "as_is", "ours", "spread"),
    _f("volume_ma", "mean_20(volume)", "coin", "≥ 0", "T.volume", 20, "16/20", "log1p", "–", "volume"),
    _f("volume_ratio", "volume / volume_ma", "1", "[0, 20]", "T.volume", 20, "16/20", "as_is", "–", "volume"),
    _f("volume_trend", "slope_20(volume) / volume_ma", "1/min", "[−0.434, 0.434]", "T.volume", 20, "16/20", "as_is", "ours", "volume"),
    _f("sma_7", "mean_7(close)", "USD", "> 0", "T.close", 7, "6/7", "excluded (−ln of #22)", "–", "moving_averages"),
    _f("sma_14", "mean_14(close)", "USD", "> 0", "T.close", 14, "12/14", "excluded (−ln of #23)", "–", "moving_averages"),
    _f("sma_21", "mean_21(close)", "USD", "> 0", "T.close", 21, "17/21", "excluded (−ln of #24)", "–", "moving_averages"),
    _f("sma_50", "mean_50(close)", "USD", "> 0", "T.close", 50, "40/50", "excluded (−ln of #25)", "–", "moving_averages"),
    _f("price_sma_7_ratio", "close / sma_7", "1", "> 0", "T.close", 7, "6/7", "as_is", "–", "moving_averages"),
    _f("price_sma_14_ratio", "close / sma_14", "1", "> 0", "T.close", 14, "12/14", "as_is", "–", "moving_averages"),
    _f("price_sma_21_ratio", "close / sma_21", "1", "> 0", "T.close", 21, "17/21", "as_is", "–", "moving_averages"),
    _f("price_sma_50_ratio", "close / sma_50", "1", "> 0", "T.close", 50, "40/50", "as_is", "–", "moving_averages"),
    _f("rsi", "100·U/(U+D); U = wil_14(max(Δ,0)), D = wil_14(max(−Δ,0)), Δ = close − close[1]; null if U+D = 0", "1", "[0, 100]", "T.close", 271, "w80", "as_is", "WI78", "technical"),
    _f("macd", "ema_12(close) − ema_26(close)", "USD", "R", "T.close", 260, "w80", "over_close", "AP05", "technical"),
    _f("macd_signal", "ema_9(macd)", "USD", "R", "T.close", 349, "w80", "over_close", "AP05", "technical"),
    _f("macd_diff", "macd − macd_signal", "USD", "R", "T.close", 349, "w80", "excluded (#27 − #28)", "AP05", "technical"),
    _f("bb_high", "m + 2s; m = mean_20(close), s = std0_20(close)", "USD", "> 0", "T.close", 20, "16/20", "log_vs_close", "BO01", "technical"),
    _f("bb_low", "m − 2s", "USD", "> 0", "T.close", 20, "16/20", "log_vs_close", "BO01", "technical"),
    _f("bb_width", "(bb_high − bb_low)/close", "frac", "≥ 0", "T.close", 20, "16/20", "as_is", "BO01", "technical"),
    _f("bb_position", "(close − bb_low)/(bb_high − bb_low)", "1", "[−0.6, 1.6]", "T.close", 20, "16/20", "as_is", "BO01", "technical"),
)

V5_FEATURES = (
    _f("ob_imbalance_1", "share(bid_depth_1, ask_depth_1) at minute end", "1", "[−1, 1]", "B.bid_depth_1, B.ask_depth_1", 1, "row", "as_is", "GB16", "order_book_imbalance"),
    _f("ob_imbalance_5", "share(bid_depth_5, ask_depth_5)", "1", "[−1, 1]", "B.bid_depth_5, B.ask_depth_5", 1, "row", "as_is", "CHW09", "order_book_imbalance"),
    _f("ob_imbalance_10", "share(bid_depth_10, ask_depth_10)", "1", "[−1, 1]", "B.bid_depth_10, B.ask_depth_10", 1, "row", "as_is", "CHW09", "order_book_imbalance"),
    _f("ob_imbalance_25", "share(bid_depth_25, ask_depth_25)", "1", "[−1, 1]", "B.bid_depth_25, B.ask_depth_25", 1, "row", "as_is", "CHW09", "order_book_imbalance"),
    _f("ofi_1m", "ofi_coin / depth_1_tw", "1", "R", "B.ofi_coin, B.depth_1_tw", 1, "row", "as_is", "CKS14", "order_book_imbalance"),
    _f("trade_flow_buy", "T.buy_volume_usd", "USDv", "≥ 0", "T.buy_volume_usd", 1, "row", "log1p", "–", "trade_flow"),
    _f("trade_flow_sell", "T.sell_volume_usd", "USDv", "≥ 0", "T.sell_volume_usd", 1, "row", "log1p", "–", "trade_flow"),
    _f("trade_flow_net_ratio", "share(buy_volume_usd, sell_volume_usd)", "1", "[−1, 1]", "T.buy_volume_usd, T.sell_volume_usd", 1, "row", "as_is", "CKS14", "trade_flow"),
    _f("trade_flow_count_ratio", "share(buy_count_n, sell_count_n)", "1", "[−1, 1]", "T.buy_count_n, T.sell_count_n", 1, "row", "as_is", "ours", "trade_flow"),
    _f("trade_flow_large_frac", "(large_buy_volume_usd + large_sell_volume_usd)/volume_usd", "frac", "[0, 1]", "T.large_buy_volume_usd, T.large_sell_volume_usd, T.volume_usd", 1, "row", "as_is", "ours", "trade_flow"),
    _f("vwap_1m", "T.vwap", "USD", "> 0", "T.vwap", 1, "row", "log_vs_close", "BLN88", "volume_weighted"),
    _f("vwap_5m", "sum_5(volume_usd)/sum_5(volume)", "USD", "> 0", "T.volume_usd, T.volume", 5, "4/5", "log_vs_close", "BLN88", "volume_weighted"),
    _f("vwap_15m", "sum_15(volume_usd)/sum_15(volume)", "USD", "> 0", "T.volume_usd, T.volume", 15, "12/15", "log_vs_close", "BLN88", "volume_weighted"),
    _f("vwap_dev_bps_1h", "10⁴·ln(close / (sum_60(volume_usd)/sum_60(volume)))", "bps", "R", "T.close, T.volume_usd, T.volume", 60, "48/60", "as_is", "BLN88", "volume_weighted"),
    _f("vwap_slope_bps_15m", "10⁴·lr(vwap_15m, 15): this quarter of an hour against the one before", "bps", "R", "T.volume_usd, T.volume", 30, "12/15 each", "as_is", "ours", "volume_weighted"),
    _f("spread_bps", "B.spread_bps_tw: quoted, time-weighted over the minute", "bps", "> 0", "B.spread_bps_tw", 1, "row", "log1p", "HS96", "spread_dynamics"),
    _f("spread_std_bps_10m", "std_10(spread_bps)", "bps", "≥ 0", "B.spread_bps_tw", 10, "8/10", "log1p", "ours", "spread_dynamics"),
    _f("effective_spread_bps", "B.eff_spread_bps: 2·d·(p − mid before)/mid before, volume-weighted", "bps", "R", "B.eff_spread_bps", 1, "row", "as_is", "HS96", "spread_dynamics"),
    _f("kyle_lambda_30m", "OLS slope with intercept over 30 rows of y = 10⁴·m1 on x = (buy_volume_usd − sell_volume_usd)/10⁶", "bps/M$", "R", "B.mid, T.buy_volume_usd, T.sell_volume_usd", 31, "24/30", "as_is", "KY85", "price_impact"),
    _f("amihud_30m", "mean over the last 30 rows with volume_usd > 0 and r non-null of abs(10⁴·r)/(volume_usd/10⁶)", "bps/M$", "≥ 0", "T.close, T.volume_usd", 31, "24/30", "log1p", "AM02", "price_impact"),
)

REGIME_FLAGS = (
    _flag("volatility_low", "1 if v < q33 else 0", "flag", "{0,1}", "T.high, T.low, T.close", 1414, "1120/1400", "excluded", "ours", "regime"),
    _flag("volatility_medium", "1 if q33 ≤ v < q67 else 0", "flag", "{0,1}", "T.high, T.low, T.close", 1414, "1120/1400", "excluded", "ours", "regime"),
    _flag("volatility_high", "1 if v ≥ q67 else 0", "flag", "{0,1}", "T.high, T.low, T.close", 1414, "1120/1400", "excluded", "ours", "regime"),
)

# fmt: on


ROWS_1440 = (Measure("rows", pl.len().cast(pl.Float64), 1440, 1440),)


def feature_checks(leading: tuple[str, ...]) -> tuple[Check, ...]:
    """Return the checks of a feature table; ``leading`` has one column of each group."""
    return (
        Check(
            "no_look_ahead",
            False,
            "three rows of the day, made again from what was known at their end alone, have the same bits",
            (Measure("columns that differ", "look_ahead_n", 0, 0),),
        ),
        Check(
            "null_share",
            False,
            "each feature group's leading column is null in at most 10 % of the minutes",
            tuple(Measure(f"{c}: null share", pl.col(c).is_null().mean(), 0, 0.1) for c in leading),
        ),
    )


V4 = Table(
    "features/v4",
    "one minute of a symbol: 33 features from candles or trades, 3 volatility-regime flags beside them",
    ("symbol", "venue", "ts"),
    columns(SYMBOL, DAY, VENUE, TS, V4_FEATURES, REGIME_FLAGS),
    ROWS_1440,
    feature_checks(("close", "atr", "volume_ma", "sma_50", "rsi", "macd_signal", "bb_position")),
)

V5 = Table(
    "features/v5",
    "one minute of a symbol: V4 and 20 microstructure features, 3 volatility-regime flags beside them",
    ("symbol", "venue", "ts"),
    columns(SYMBOL, DAY, VENUE, TS, V4_FEATURES, V5_FEATURES, REGIME_FLAGS),
    ROWS_1440,
    feature_checks(
        ("close", "rsi", "ob_imbalance_1", "ob_imbalance_25", "ofi_1m", "trade_flow_net_ratio", "spread_bps")
    ),
)

LABELS = Table(
    "features/labels",
    "what happened after the minute; the only table that reads forward, joined by no feature table",
    ("symbol", "venue", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        TS,
        Column("y_ret_15m", F64, "log", "ln(exit after 15 minutes / entry at ts + 1 min 1 s)"),
        Column("y_up_15m", I8, "flag", "1 if y_ret_15m > 0, 0 if < 0, null on a tie", "{0,1}"),
        Column("y_ret_5m", F64, "log", "ln(exit after 5 minutes / entry)"),
        Column("y_class_5m", I8, "cat", "+1 above 5 bps, −1 below −5 bps, else 0", "{-1,0,1}"),
        Column("y_triple_barrier", I8, "cat", "first barrier touched within 60 minutes: 1, −1, or 0", "{-1,0,1}"),
        Column("y_triple_barrier_min", F64, "min", "minutes from ts + 1 min to the decision", "[1, 60]"),
        Column("price_source", pl.String(), "", "mid, trade or ohlcv; fixed per symbol and venue", required=True),
        Column("entry_price", F64, "USD", "price in force at ts + 1 min 1 s", "> 0"),
        Column("label_end_ts_15m", UTC_US, "UTC", "ts + 16 min: nothing later is read", required=True),
        Column("label_end_ts_barrier", UTC_US, "UTC", "ts + 1 min + y_triple_barrier_min"),
    ),
    ROWS_1440,
    (
        Check(
            "label_balance",
            False,
            "the share of ups lies between 35 % and 65 %, and at most 2 % of the labels are ties",
            (
                Measure("share of ups", pl.col("y_up_15m").cast(F64).mean(), 0.35, 0.65),
                Measure(
                    "share of ties",
                    (pl.col("y_ret_15m") == 0).sum() / pl.col("y_ret_15m").is_not_null().sum().clip(1),
                    0,
                    0.02,
                ),
            ),
        ),
        Check(
            "null_share",
            False,
            "at most 10 % of the minutes have no 15-minute label",
            (Measure("share without a label", pl.col("y_ret_15m").is_null().mean(), 0, 0.1),),
        ),
        Check(
            "label_correlation",
            False,
            "no feature correlates with the 15-minute return beyond 0.6 in a day: more smells of a leak",
            (Measure("largest |correlation|", "label_correlation", 0, 0.6),),
        ),
    ),
)


def manifest(table: Table) -> tuple[str, ...]:
    """Return the lines ``name:dtype:in`` of the table's features, in order (docs/conventions.md)."""
    return tuple(f"{c.name}:{c.dtype}:{c.transform}" for c in table.features)


def manifest_hash(table: Table) -> str:
    """Return the sha256 of the manifest; stored with every model and compared on loading."""
    return hashlib.sha256("\n".join(manifest(table)).encode()).hexdigest()


V5_INPUTS = [c.name for c in V5.features if c.is_input]

COVERAGE = Table(
    "features/coverage",
    "one feature of a set on a symbol's day that every set has: in how many minutes it has a value",
    ("symbol", "feature_set", "feature"),
    columns(
        SYMBOL,
        DAY,
        Column("feature_set", pl.String(), "", "v5 (V4 is part of it), v6 or mean_reversion", required=True),
        Column("feature", pl.String(), "", "its column", required=True),
        Column("rows_n", pl.Int64(), "n", "minutes of the day", "≥ 0", required=True),
        Column("valid_n", pl.Int64(), "n", "minutes with a value", "≥ 0", required=True),
        Column("null_frac", F64, "frac", "1 − valid_n/rows_n", "[0, 1]", required=True),
    ),
    (Measure("coverage_every_minute_is_counted", "coverage_every_minute_is_counted", 0, 0),),  # dbt_like_sql/assert
    (
        Check(
            "v5_is_known",
            False,
            "half of the features that models read are null in at most 10 % of the minutes",
            (
                Measure(
                    "median null share of V5",
                    pl.col("null_frac")
                    .filter(pl.col("feature_set") == "v5", pl.col("feature").is_in(V5_INPUTS))
                    .median(),
                    0,
                    0.1,
                ),
            ),
        ),
    ),
)

TABLES = (V4, V5, LABELS, COVERAGE)
