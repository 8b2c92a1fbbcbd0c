"""Kraken: every trade, through ccxt.

What: trades with id, price, volume, aggressor's side and the time to a tenth of a microsecond. Since: 2013. Licence
and price: free, no key; Kraken's API terms allow own use. Clock: the exchange's; there is no receive time. Limits:
1,000 trades a call, one call a second for all programs of an address, so a busy day takes minutes. Candles are never
asked for: Kraken serves the last 720 and calls that history.
Known faults: pages are cut by ``since`` in nanoseconds and may repeat or skip trades at their edges (repeats are
dropped, a skip is asked for again); Kraken's names are its own (XBT is Bitcoin: XXBTZUSD); planned outages.
Source: https://docs.kraken.com/api/docs/rest-api/get-recent-trades
"""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import EARLIEST_US, LATEST_US, Layout, Parsed, positive
from crpbot_dagster.assets.raw.records import read_records
from crpbot_dagster.assets.raw.tape_records import ID, land_trades, of_day
from crpbot_dagster.resources.kraken import Kraken
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.schema import UTC_US

FIELDS = ("price", "volume", "time", "side", "order_type", "misc", "trade_id")
SECONDS = r"^([0-9]{10})(?:\.([0-9]{1,10}))?$"
AGGRESSOR = {"b": "buy", "s": "sell"}


def second_and_fraction(column: str) -> pl.Expr:
    """Return a text column of epoch seconds with a fraction as UTC µs, by its digits; null where it is not one."""
    text = pl.col(column)
    whole = text.str.extract(SECONDS, 1).cast(pl.Int64)
    micros = text.str.extract(SECONDS, 2).fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    at = whole * 1_000_000 + micros
    return pl.when(at.is_between(EARLIEST_US, LATEST_US)).then(at.cast(UTC_US))


def trades_from(records: list[Any], name: str, day: date) -> Parsed:
    """Return Kraken's trade records of ``day`` as rows; a record is a list in the order of ``FIELDS``."""
    at = second_and_fraction("time")
    layout = Layout(
        f"Kraken trades of {name}",
        dict.fromkeys(("time", "trade_id", "side"), pl.String()) | dict.fromkeys(("price", "volume"), pl.Float64()),
        {
            "trade_id is not a whole number": pl.col("trade_id").str.contains(ID),
            "time is no epoch second with a fraction, or of another day": of_day(at, day),
            "price is not a positive number": positive("price"),
            "volume is not a positive number": positive("volume"),
            f"side is none of {', '.join(AGGRESSOR)}": pl.col("side").is_in(list(AGGRESSOR)),
        },
    )
    rows = [
        dict(zip(FIELDS, r, strict=False)) if isinstance(r, list) and len(r) == len(FIELDS) else {"record": r}
        for r in records
    ]
    parsed = read_records(rows, layout)
    frame = parsed.frame.select(
        "line_n",
        pl.lit("kraken").alias("venue"),
        at.alias("ts_exchange"),
        "trade_id",
        pl.col("side").replace_strict(AGGRESSOR, default=None, return_dtype=pl.String).alias("side"),
        "price",
        pl.col("volume").alias("amount"),
    )
    return Parsed(frame, parsed.refused, parsed.rows)


@table_asset("raw/kraken_trades", kinds={"ccxt"}, tags={"cost": "free"}, pool="kraken_api", code_version="1")
def kraken_trades(context: dg.AssetExecutionContext, kraken: Kraken, lake: Lake) -> Built:
    """One row per trade of the day at Kraken, side = aggressor, on the exchange's clock.

    Asks Kraken for the day alone, by ``since``, 1,000 trades a call. Known fault: planned outages leave hours empty.
    """
    return land_trades(context, lake, "raw/kraken_trades", "kraken", "kraken", kraken.trades, trades_from)


ASSETS = (kraken_trades,)
