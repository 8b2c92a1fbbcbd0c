"""Deribit's public interface: hourly volatility index (DVOL), option volumes, and a snapshot of the options' book.

What: per hour and currency (BTC, ETH; Solana's options are few) the close of DVOL, the coin traded in puts and calls;
per day open interest, volatility at the money and 25-delta skew. Since: DVOL 2021-03-24, trades 2016. Licence
and price: free, no key, served to Canada. Clock: exchange, milliseconds. Limits: about 10 calls a second, 1,000 trades
a call. Known faults are of past days; what the public interface gives of them, and what not:

* DVOL: all of it.
* Option trades: of recent days. Of older ones the production server answers *an empty list, not an error*
  (https://github.com/deribit/deribit-api-clients/issues/64), so a day without one trade is null, never 0.
* Open interest, volatility by strike, skew: now only (``get_book_summary_by_currency``). So only the run that builds
  the newest finished day takes them; they stand in its last hour with the moment they were taken, ``snapshot_ts``,
  before which nobody knew them. A later run keeps them; a day built late has null there.

Source: https://docs.deribit.com/api-reference/market-data/public-get_volatility_index_data,
https://docs.deribit.com/api-reference/market-data/public-get_last_trades_by_currency_and_time,
https://docs.deribit.com/api-reference/market-data/public-get_book_summary_by_currency
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed, positive
from crpbot_dagster.assets.raw.option_surface import CURRENCIES, hours_of, summarised
from crpbot_dagster.assets.raw.records import each_once, land, nothing, read_records
from crpbot_dagster.assets.raw.tape_records import joined, of_day, of_milliseconds
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.deribit import Deribit
from crpbot_dagster.resources.exchanges import FinalAnswer
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.schema import MARKET_WIDE

TABLE = "raw/deribit_options"
CANDLE = ("ts", "open", "high", "low", "close")
NAME = r"^(BTC|ETH)-([0-9]{1,2}[A-Z]{3}[0-9]{2})-([0-9]+)-([CP])$"
FROM_SNAPSHOT = ("put_oi", "call_oi", "atm_iv_frac", "skew_25d_frac", "snapshot_ts")
PER_CENT = 100.0


def dvol_from(records: list[Any], currency: str, day: date) -> Parsed:
    """Return hourly candles ``[start ms, open, high, low, close]`` of the index, in per cent, as rows."""
    at = of_milliseconds("ts")
    layout = Layout(
        "DVOL",
        {"ts": pl.Int64(), "close": pl.Float64()},
        {
            "the start is no full hour, or of another day": of_day(at, day) & (at.dt.truncate("1h") == at),
            "the close is no volatility above 0 and up to 1,000 %": positive("close") & (pl.col("close") <= 1000),
        },
    )
    rows = [
        dict(zip(CANDLE, r, strict=True)) if isinstance(r, list) and len(r) == len(CANDLE) else {"record": r}
        for r in records
    ]
    parsed = read_records(rows, layout)
    frame = parsed.frame.select(
        "line_n",
        pl.lit(currency).alias("currency"),
        at.alias("hour"),
        (pl.col("close") / PER_CENT).alias("dvol_frac"),
    )
    return Parsed(frame, parsed.refused, parsed.rows)


def trades_from(records: list[Any], currency: str, day: date) -> Parsed:
    """Return option trades as rows: trade_id, hour, is_put, amount (coin)."""
    at, name = of_milliseconds("timestamp"), pl.col("instrument_name")
    layout = Layout(
        "Deribit option trades",
        {"timestamp": pl.Int64(), "trade_id": pl.String(), "instrument_name": pl.String(), "amount": pl.Float64()},
        {
            "timestamp is no moment, or of another day": of_day(at, day),
            "trade_id is absent": pl.col("trade_id").is_not_null(),
            f"instrument_name is no option of {currency}": name.str.extract(NAME, 1) == currency,
            "amount is not a positive number": positive("amount"),
        },
    )
    parsed = read_records([r if isinstance(r, dict) else {"record": r} for r in records], layout)
    frame = parsed.frame.select(
        "line_n",
        pl.lit(currency).alias("currency"),
        "trade_id",
        at.dt.truncate("1h").alias("hour"),
        (name.str.extract(NAME, 4) == "P").alias("is_put"),
        "amount",
    )
    return Parsed(frame, parsed.refused, parsed.rows)


def summary_from(records: list[Any], currency: str) -> Parsed:
    """Return the book summary as rows: expiry, strike, is_put, open_interest (coin), iv (frac), forward (USD)."""
    name = pl.col("instrument_name")
    # Options expire at 08:00 UTC.
    expiry = name.str.extract(NAME, 2).str.zfill(7).str.to_date("%d%b%y", strict=False)
    layout = Layout(
        "Deribit book summary",
        {"instrument_name": pl.String()}
        | dict.fromkeys(("open_interest", "mark_iv", "underlying_price"), pl.Float64()),
        {
            f"instrument_name is no option of {currency}": (name.str.extract(NAME, 1) == currency)
            & expiry.is_not_null(),
            "open_interest is not a number of at least 0": pl.col("open_interest").is_finite()
            & (pl.col("open_interest") >= 0),
            "mark_iv is no volatility above 0 and up to 1,000 %": positive("mark_iv") & (pl.col("mark_iv") <= 1000),
            "underlying_price is not a positive number": positive("underlying_price"),
        },
    )
    parsed = read_records([r if isinstance(r, dict) else {"record": r} for r in records], layout)
    frame = parsed.frame.select(
        "line_n",
        (expiry.cast(pl.Datetime("us")) + pl.duration(hours=8)).dt.replace_time_zone("UTC").alias("expiry"),
        name.str.extract(NAME, 3).cast(pl.Float64).alias("strike"),
        (name.str.extract(NAME, 4) == "P").alias("is_put"),
        "open_interest",
        (pl.col("mark_iv") / PER_CENT).alias("iv"),
        pl.col("underlying_price").alias("forward"),
    )
    return Parsed(frame, parsed.refused, parsed.rows)


def volumes(trades: pl.DataFrame, hours: pl.DataFrame) -> pl.DataFrame:
    """Return put_volume and call_volume of each hour; null all day for a currency without one trade: not served."""
    size = pl.col("amount")
    sums = trades.group_by("currency", "hour").agg(
        size.filter(pl.col("is_put")).sum().alias("put_volume"),
        size.filter(~pl.col("is_put")).sum().alias("call_volume"),
    )
    served = pl.col("currency").is_in(trades["currency"].unique().implode())
    columns = [pl.when(served).then(pl.col(c).fill_null(0.0)).alias(c) for c in ("put_volume", "call_volume")]
    return hours.join(sums, on=["currency", "hour"], how="left", maintain_order="left").with_columns(columns)


def snapshots(deribit: Deribit, day: date, held: pl.DataFrame, clock: Callable[[], datetime]) -> pl.DataFrame:
    """Return FROM_SNAPSHOT by currency and hour: what is held, else taken now if ``day`` is the newest finished."""
    taken = held.filter(pl.col("snapshot_ts").is_not_null()).select("currency", "hour", *FROM_SNAPSHOT)
    if taken.height or day != clock().date() - timedelta(days=1):
        return taken
    last = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
    rows = []
    for currency in CURRENCIES:
        options = summary_from(deribit.book_summary(currency), currency).frame.collect()
        at = clock()
        rows.append({"currency": currency, "hour": last, "snapshot_ts": at} | summarised(options, at))
    return pl.DataFrame(rows, schema_overrides=taken.schema).select(taken.columns)


def day_of(deribit: Deribit, day: date, held: pl.DataFrame, clock: Callable[[], datetime]) -> tuple[Parsed, int]:
    """Return the day's hours as rows, with what was refused on the way, and how many repeats were dropped."""
    candles = joined(dvol_from(deribit.dvol(c, day), c, day) for c in CURRENCIES)
    dvol, once = each_once(candles, "currency", "hour")
    pages = (trades_from(page, c, day) for c in CURRENCIES for page in deribit.option_trades(c, day))
    trades, twice = each_once(joined(pages), "currency", "trade_id")
    hours = volumes(trades.frame.collect(), hours_of(day, CURRENCIES))
    for more in (dvol.frame.drop("line_n").collect(), snapshots(deribit, day, held, clock)):
        hours = hours.join(more, on=["currency", "hour"], how="left", maintain_order="left")
    behind = trades.refused.with_columns(pl.col("line_n") + dvol.rows)
    rows = dvol.rows + trades.rows
    return Parsed(hours.head(hours.height if rows else 0).lazy(), pl.concat([dvol.refused, behind]), rows), once + twice


@table_asset(TABLE, kinds={"ccxt"}, tags={"cost": "free"}, pool="deribit_api", code_version="1")
def deribit_options(context: dg.AssetExecutionContext, deribit: Deribit, lake: Lake) -> Built:
    """One row per hour of the day and currency: volatility index, traded puts and calls, and a snapshot's numbers.

    Asks Deribit for the day; the snapshot is taken for the newest finished day only. A day whose trades Deribit no
    longer serves has null volumes and is partial.
    """
    _, day = split(context.partition_key)
    config = settings.load()
    if why := config.unconfigured("deribit"):
        return nothing(lake, TABLE, MARKET_WIDE, day, "not_configured", "deribit", why)
    held = lake.scan(TABLE, MARKET_WIDE, day, day).collect()
    try:
        parsed, repeated = day_of(deribit, day, held, config.now)
    except FinalAnswer as answer:
        return nothing(lake, TABLE, MARKET_WIDE, day, answer.state, "deribit", str(answer))
    frame = parsed.frame.collect()
    whole = frame["dvol_frac"].null_count() + frame["put_volume"].null_count() == 0
    state = ("complete" if whole else "partial") if parsed.rows else "missing"
    origin = f"deribit: options of {', '.join(CURRENCIES)} on {day}"
    return land(lake, TABLE, MARKET_WIDE, day, parsed, repeated=repeated, source="deribit", origin=origin, state=state)


ASSETS = (deribit_options,)
