"""Bars: one row per minute (docs/conventions.md) and the daily tables made from them."""

import polars as pl

from crpbot_dagster.tables.raw import OHLC_CONSISTENT
from crpbot_dagster.tables.schema import (
    DAY,
    SOURCE,
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

F64, I64, I8 = pl.Float64(), pl.Int64(), pl.Int8()
IS_GAP = Column("is_gap", I8, "flag", "1 when the feed was down, or from the tenth minute of an empty run", "{0,1}")
SOURCE_KIND = Column("source_kind", pl.String(), "", "ticks or ohlcv", required=True)
CLOCK = Column("clock", pl.String(), "", "clock the minutes were cut on: received or exchange", required=True)


def _usd(name: str, text: str, range_: str = "> 0") -> Column:
    return Column(name, F64, "USD", text, range_)


def _coin(name: str, text: str) -> Column:
    return Column(name, F64, "coin", text, "≥ 0")


def _value(name: str, text: str) -> Column:
    return Column(name, F64, "USDv", text, "≥ 0")


def _count(name: str, text: str) -> Column:
    return Column(name, I64, "n", text, "≥ 0")


ROWS_1440 = (
    Measure("rows per source", pl.len() / pl.col("source").n_unique().clip(1), 1440, 1440),
    Measure("distinct minutes", pl.col("ts").n_unique().cast(pl.Float64), 1440, 1440),
)
"""A missing minute is a row of nulls, never an absent row."""

SIDES_ADD_UP = Measure(
    "largest relative difference of buy + sell + unknown from volume",
    ((pl.col("buy_volume") + pl.col("sell_volume") + pl.col("unknown_volume") - pl.col("volume")) / pl.col("volume"))
    .filter(pl.col("volume") > 0)
    .abs()
    .max()
    .fill_null(0.0),
    0,
    1e-9,
)

TRADES_1M = Table(
    "bars/trades_1m",
    "one minute of a symbol at a venue, by source (docs/conventions.md)",
    ("symbol", "venue", "source", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SOURCE,
        TS,
        _usd("open", "first trade price in the minute, by (ts_received, seq)"),
        _usd("high", "largest trade price"),
        _usd("low", "smallest trade price"),
        _usd("close", "last trade price"),
        _usd("open_1s", "first trade price at or after ts + 1 s; labels only"),
        _coin("volume", "Σ size"),
        _value("volume_usd", "Σ price·size"),
        _usd("vwap", "volume_usd / volume"),
        _count("trade_count_n", "number of trades"),
        _coin("buy_volume", "Σ size of aggressive buys"),
        _coin("sell_volume", "Σ size of aggressive sells"),
        _value("buy_volume_usd", "Σ price·size of aggressive buys"),
        _value("sell_volume_usd", "Σ price·size of aggressive sells"),
        _count("buy_count_n", "aggressive buys"),
        _count("sell_count_n", "aggressive sells"),
        _coin("unknown_volume", "Σ size of trades without a side; in volume, in neither side"),
        _coin("large_threshold", "mean daily volume of the last 7 known days / 10,000; null below 6 of 7"),
        _value("large_buy_volume_usd", "Σ price·size of aggressive buys of at least large_threshold"),
        _value("large_sell_volume_usd", "Σ price·size of aggressive sells of at least large_threshold"),
        IS_GAP,
        SOURCE_KIND,
        CLOCK,
    ),
    (*ROWS_1440, OHLC_CONSISTENT, SIDES_ADD_UP),
    (
        Check(
            "gaps",
            False,
            "no minute of the day is a gap: feed down, or from the tenth minute of an empty run",
            (
                Measure(
                    "minutes in gaps, worst source", pl.col("is_gap").cast(pl.Int64).sum().over("source").max(), 0, 0
                ),
            ),
        ),
        Check(
            "coverage",
            False,
            "at least 90 % of the minutes have a trade, in every source",
            (
                Measure(
                    "share of minutes with a close, worst source",
                    pl.col("close").is_not_null().mean().over("source").min(),
                    0.9,
                    1,
                ),
            ),
        ),
    ),
)

_DEPTHS = [
    _coin(f"{side}_depth_{k}", f"Σ size of the best {k} {side} levels at minute end; null below {k} levels")
    for k in (1, 5, 10, 25)
    for side in ("bid", "ask")
]

BOOK_1M = Table(
    "bars/book_1m",
    "one minute of a symbol's order book at a venue, by source (docs/conventions.md)",
    ("symbol", "venue", "source", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SOURCE,
        TS,
        _usd("best_bid", "best bid in force at the end of the minute"),
        _usd("best_ask", "best ask in force at the end of the minute"),
        _usd("mid", "(best_bid + best_ask) / 2"),
        _usd("microprice", "weighted mid: leans to the ask when the bid queue is longer"),
        _usd("mid_1s", "mid in force at ts + 1 s"),
        _usd("mid_high", "largest mid in force during the minute"),
        _usd("mid_low", "smallest mid in force during the minute"),
        _DEPTHS,
        Column("spread_bps_tw", F64, "bps", "time-weighted quoted spread over mid", "> 0"),
        Column("imbalance_1_tw", F64, "1", "time-weighted share(bid, ask) of the best level", "[-1, 1]"),
        Column("imbalance_5_tw", F64, "1", "time-weighted share(bid, ask) of the best 5 levels", "[-1, 1]"),
        _coin("depth_1_tw", "time-weighted mean of the best bid and ask size"),
        Column("ofi_coin", F64, "coin", "order-flow imbalance: Σ e_n over the minute's updates"),
        _count("add_n", "levels that appeared"),
        _count("modify_n", "levels that changed size"),
        _count("delete_n", "levels that went to 0"),
        _coin("remove_coin", "Σ of size decreases at prices among the best 10 of their side"),
        _count("best_ask_up_n", "updates after which the best ask is higher"),
        _count("best_bid_down_n", "updates after which the best bid is lower"),
        Column("eff_spread_bps", F64, "bps", "size-weighted effective spread against the mid before the trade"),
        Column("impact_5s_bps", F64, "bps", "size-weighted move of the mid 5 s after the trade, signed"),
        Column(
            "valid_frac",
            F64,
            "frac",
            "share of the minute with a valid state; 0 when it is masked",
            "[0, 1]",
            required=True,
        ),
        _count("crossed_n", "updates that leave bid ≥ ask; kept when the minute is masked"),
        _count("reset_n", "snapshots applied; kept when the minute is masked"),
        Column(
            "is_masked",
            I8,
            "flag",
            "1 when the book is not believed: crossed for more than 5 s by the minute's end, or refuted by a snapshot "
            "of the vendor and by none since confirmed; its values are then null",
            "{0,1}",
        ),
        Column("book_kind", pl.String(), "", "delta or snapshot", required=True),
        CLOCK,
    ),
    ROWS_1440,
    (
        Check(
            "crossed_book",
            True,
            "at most 1 % of the updates leave bid ≥ ask",
            (Measure("share of crossed updates", "crossed_frac", 0, 0.01),),
        ),
        Check(
            "seldom_crossed",
            False,
            "at most 0.01 % of the updates leave bid ≥ ask, none of them for more than 5 s",
            (
                Measure("share of crossed updates", "crossed_frac", 0, 0.0001),
                Measure("longest crossed stretch, s", "longest_cross_s", 0, 5),
            ),
        ),
        Check(
            "unbroken",
            False,
            "no row is missing between two row numbers, and the feed is never silent for more than 60 s",
            (
                Measure("gaps in the row numbers", "sequence_gaps_n", 0, 0),
                Measure("silences", "silences_n", 0, 0),
            ),
        ),
        Check(
            "unmasked",
            False,
            "no minute is masked",
            (Measure("masked minutes", pl.col("is_masked").cast(I64).sum(), 0, 0),),
        ),
        Check(
            "replay_equals_snapshots",
            False,
            "the replayed book equals at least 99.9 % of the vendor's snapshots exactly, 20 levels a side",
            (Measure("share of equal snapshots", "snapshot_agreement", 0.999, 1),),
        ),
        Check(
            "coverage",
            False,
            "the book is valid for at least 95 % of the day",
            (Measure("mean valid_frac", pl.col("valid_frac").mean(), 0.95, 1),),
        ),
    ),
)

VOLUME_1D = Table(
    "bars/volume_1d",
    "one day's traded size of a symbol at a venue",
    ("symbol", "venue", "obs_day"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        Column("obs_day", pl.Date(), "", "day described", required=True),
        Column("available_ts", UTC_US, "UTC", "when it is known: obs_day + 1, 00:00", required=True),
        _coin(
            "volume",
            "from the day's ticks, else the venue's daily candle, else its minute candles; null when none is there",
        ),
        Column("volume_from", pl.String(), "", "ticks, candle, minutes, or none"),
    ),
    (),
    (
        Check(
            "known",
            False,
            "the day's volume is known",
            (Measure("days without a volume", pl.col("volume").null_count(), 0, 0),),
        ),
    ),
)

DAILY = Table(
    "bars/daily",
    "one day of a symbol at its primary venue",
    ("symbol", "obs_day"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SOURCE,
        Column("obs_day", pl.Date(), "", "day described", required=True),
        Column("available_ts", UTC_US, "UTC", "when it is known: obs_day + 1, 00:00", required=True),
        _usd("open", "first price of the day"),
        _usd("high", "highest price"),
        _usd("low", "lowest price"),
        _usd("close", "last price"),
        _coin("volume", "Σ size"),
        _value("volume_usd", "Σ price·size"),
        Column("rv_1d", F64, "1", "realised variance: Σ of squared one-minute log returns inside the day", "≥ 0"),
        Column(
            "funding_bps_8h_mean",
            F64,
            "bps",
            "mean over the day of the median funding over venues, per 8 h; null where fewer than two state one",
        ),
        Column("valid_n", F64, "n", "minutes with a close", "[0, 1440]", required=True),
    ),
    (OHLC_CONSISTENT,),
    (
        Check(
            "coverage",
            False,
            "at least 90 % of the minutes have a close",
            (Measure("share of minutes with a close", pl.col("valid_n").mean() / 1440, 0.9, 1),),
        ),
    ),
)

MARKET_1M = Table(
    "bars/market_1m",
    "one minute of a symbol, its sources side by side (SQL: dbt_like_sql/bars/market_1m.sql)",
    ("symbol", "venue", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        TS,
        _usd("tick_close", "last trade price from Tardis ticks"),
        _usd("candle_close", "close of Coinbase's own candle"),
        Column("close_diff_bps", F64, "bps", "10⁴·ln(tick_close / candle_close)"),
        _coin("tick_volume", "traded size from ticks"),
        _coin("candle_volume", "traded size of the candle"),
        Column("volume_ratio", F64, "1", "tick_volume / candle_volume", "≥ 0"),
        _usd("mid", "book mid at minute end"),
        Column("is_tick_gap", I8, "flag", "1 when the tick feed has a gap", "{0,1}"),
        Column("is_candle_gap", I8, "flag", "1 when the candles have a gap", "{0,1}"),
    ),
    (Measure("market_1m_mid_near_trades", "market_1m_mid_near_trades", 0, 0),),  # dbt_like_sql/assert
    (
        Check(
            "sources_agree",
            False,
            "the median close difference between ticks and candles stays within 25 bps",
            (Measure("median |difference|, bps", pl.col("close_diff_bps").abs().median(), 0, 25),),
        ),
    ),
)

TABLES = (TRADES_1M, BOOK_1M, VOLUME_1D, DAILY, MARKET_1M)
