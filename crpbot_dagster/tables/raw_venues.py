"""Raw tables of the exchanges' own interfaces: trades, funding, options."""

import polars as pl

from crpbot_dagster.tables.raw import PRICE, QUARANTINE_SHARE, TS_EXCHANGE
from crpbot_dagster.tables.schema import DAY, SYMBOL, UTC_US, VENUE, Check, Column, Measure, Table, columns

F64 = pl.Float64()
LEAST_TICK_RULE_FRAC = 0.6  # real tapes here: 0.73 (Kraken) to 0.98 (Binance); the same with flipped sides: below 0.3
ID_TIME_SLACK_S = 60.0
LARGEST_RATE_1H = 0.01  # venues cap their rates far below one per cent an hour


def tick_rule_agreement() -> pl.Expr:
    """Return the share of trades that moved the price whose side is the move's: buy up, sell down.

    Rows in the order of the tape; null where no trade moved the price. Source: Lee & Ready (1991), Inferring Trade
    Direction from Intraday Data, Journal of Finance 46(2), the tick test.
    """
    move = pl.col("price").diff().sign()
    side = pl.col("side").replace_strict({"buy": 1.0, "sell": -1.0}, default=None, return_dtype=F64)
    return (move == side).filter((move != 0) & side.is_not_null()).mean()


AGGRESSOR = Check(
    "aggressor",
    False,
    "the side is the aggressor's: most trades that lift the price are buys, most that lower it are sells",
    (Measure("share of price moves that the side agrees with", tick_rule_agreement(), LEAST_TICK_RULE_FRAC, 1),),
)
SEQUENCE = Check(
    "sequence",
    False,
    "the venue numbers its trades without a gap: one that is not there was not delivered",
    (
        Measure(
            "ids skipped",
            (pl.col("trade_id").cast(pl.Int64).diff() - 1).clip(lower_bound=0).sum().cast(F64),
            0,
            0,
        ),
    ),
)
TRADED_MINUTES = Check(
    "coverage",
    False,
    "most minutes of the day hold at least one trade",
    (
        Measure(
            "share of the day's minutes with a trade",
            pl.col("ts_exchange").dt.truncate("1m").n_unique() / 1440,
            0.5,
            1,
        ),
    ),
)
DELIVERED_ONCE = Check(
    "duplicates",
    False,
    "no trade was delivered twice; equal repeats are dropped and counted",
    (Measure("rows dropped", "duplicates_n", 0, 0),),
)
IDS_RISE = Measure(
    "trades a minute or more before one with a lower id",
    ((pl.col("ts_exchange").cum_max() - pl.col("ts_exchange")).dt.total_microseconds() / 1e6 >= ID_TIME_SLACK_S).sum(),
    0,
    0,
)
"""Ids that begin anew within a day would join two tapes into one: such a day is refused."""


def _trades(name: str, source: str) -> Table:
    return Table(
        name,
        "one trade, by the venue's own interface",
        ("symbol", "day", "seq"),
        columns(
            SYMBOL,
            DAY,
            VENUE,
            Column("seq", pl.Int64(), "n", "place in the day's tape by trade id, from 0", required=True),
            TS_EXCHANGE,
            Column("trade_id", pl.String(), "", "the venue's id of the trade, a whole number", required=True),
            Column("side", pl.String(), "", "aggressor (taker): buy or sell; null when the venue does not say"),
            PRICE,
            Column("amount", F64, "coin", "size", "> 0", required=True),
        ),
        (QUARANTINE_SHARE, IDS_RISE),
        (AGGRESSOR, SEQUENCE, TRADED_MINUTES, DELIVERED_ONCE),
        ordered_by="seq",
        tick_source=source,
    )


COINBASE_TRADES = _trades("raw/coinbase_trades", "coinbase_trades")
KRAKEN_TRADES = _trades("raw/kraken_trades", "kraken")

FUNDING_RATES = Table(
    "raw/funding_rates",
    "one settled funding rate of a perpetual at a venue",
    ("symbol", "day", "venue", "ts"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        Column("ts", UTC_US, "UTC", "the venue's stamp, on its settlement grid", required=True),
        Column("interval_h", pl.Int8(), "h", "hours the rate is for: 1, 4 or 8", "{1,4,8}", required=True),
        Column("rate_frac", F64, "frac", "rate of the interval; longs pay when positive", "[-0.1, 0.1]", required=True),
        Column("rate_1h_frac", F64, "frac", "rate_frac / interval_h", "[-0.1, 0.1]", required=True),
        Column("available_ts", UTC_US, "UTC", "when it is known: end of its interval + 1 min", required=True),
    ),
    (QUARANTINE_SHARE,),
    (
        Check(
            "coverage",
            False,
            "every venue has settled every interval of the day",
            (
                Measure(
                    "share of the day's hours that are settled, worst venue",
                    (pl.col("interval_h").cast(F64).sum().over("venue") / 24).min(),
                    1,
                    1,
                ),
            ),
        ),
        Check(
            "plausible",
            False,
            "no rate is above one per cent an hour: a larger one is a percentage, or another unit",
            (Measure("largest |rate| per hour", pl.col("rate_1h_frac").abs().max(), 0, LARGEST_RATE_1H),),
        ),
        DELIVERED_ONCE,
    ),
)

FROM_SNAPSHOT = "; from the book summary, known from snapshot_ts, null where none was taken"

DERIBIT_OPTIONS = Table(
    "raw/deribit_options",
    "one hour of a currency's options at Deribit",
    ("day", "currency", "hour"),
    columns(
        DAY,
        Column("currency", pl.String(), "", "BTC or ETH", required=True),
        Column("hour", UTC_US, "UTC", "start of the hour", required=True),
        Column("available_ts", UTC_US, "UTC", "when it is known: hour end + 1 min", required=True),
        Column("dvol_frac", F64, "ann", "implied volatility index at the hour's end, a year (DVOL close / 100)", "> 0"),
        Column("put_volume", F64, "coin", "puts traded in the hour; null when the day's trades are not served", "≥ 0"),
        Column("call_volume", F64, "coin", "calls traded in the hour; null when they are not served", "≥ 0"),
        Column("put_oi", F64, "coin", "open interest of puts" + FROM_SNAPSHOT, "≥ 0"),
        Column("call_oi", F64, "coin", "open interest of calls" + FROM_SNAPSHOT, "≥ 0"),
        Column("atm_iv_frac", F64, "ann", "implied volatility at the money, 30 days" + FROM_SNAPSHOT, "> 0"),
        Column(
            "skew_25d_frac",
            F64,
            "ann",
            "IV of the 25-delta put − IV of the 25-delta call, 30 days" + FROM_SNAPSHOT,
        ),
        Column("snapshot_ts", UTC_US, "UTC", "when the book summary was taken; null where none was"),
    ),
    (QUARANTINE_SHARE,),
    (
        Check(
            "coverage",
            False,
            "every hour of every currency has its volatility index and its traded sizes",
            (
                Measure("share of hours with DVOL", pl.col("dvol_frac").is_not_null().mean(), 1, 1),
                Measure("share of hours with volumes", pl.col("put_volume").is_not_null().mean(), 1, 1),
            ),
        ),
        DELIVERED_ONCE,
    ),
    partition=("day",),
)

TABLES: tuple[Table, ...] = (COINBASE_TRADES, KRAKEN_TRADES, FUNDING_RATES, DERIBIT_OPTIONS)
