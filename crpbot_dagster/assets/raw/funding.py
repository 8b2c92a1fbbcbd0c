"""Funding rates of perpetual futures, as they were settled: Kraken Futures and Deribit, through ccxt.

What: what longs paid shorts per interval, as a fraction of the position. Since: Kraken Futures 2022 (the PF contracts),
Deribit 2019. Licence and price: free, no key, served to Canada. Clock: the stamp of the interval, UTC. Limits: Kraken
sends the whole series in one call; Deribit 744 hours a call.
Conventions, one per venue, all normalised to ``rate_1h_frac``:

* **Kraken Futures**: hourly. ``relativeFundingRate`` is the fraction for the hour that *begins* at the stamp;
  ``fundingRate`` beside it is dollars a coin and is not read. Known once the hour is over.
* **Deribit**: paid continuously, reported hourly. ``interest_1h`` is the fraction of the hour that *ended* at the stamp
  and is what is read; ``interest_8h`` covers the eight hours before and comes every hour again: ccxt calls that one
  ``fundingRate``, and whoever adds it up hour by hour counts it eight times.

Known faults: histories of other vendors are stamped in their own zone (of seven files met, five in UTC+3, two in UTC);
``on_grid`` places stamps by a declared zone and refuses those off the venue's settlement grid. On an hourly grid every
whole-hour zone fits: there only the correlation with another venue tells. And venues differ in *which* premium they
settle: in those files binance, mexc and dydx that of the interval that ends, bybit, htx and gate that of the one
before.
Source: https://docs.kraken.com/api/docs/futures-api/trading/historical-funding-rates,
https://docs.deribit.com/api-reference/market-data/public-get_funding_rate_history
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed
from crpbot_dagster.assets.raw.minute_file import ISO, moment
from crpbot_dagster.assets.raw.records import each_once, land, nothing, read_records
from crpbot_dagster.assets.raw.tape_records import joined, of_day, of_milliseconds
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.deribit import Deribit
from crpbot_dagster.resources.exchanges import FinalAnswer
from crpbot_dagster.resources.kraken import KrakenFutures
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.schema import UTC_US

HOUR_US = 3_600_000_000
JITTER_US = 1_000_000  # stamps are a few milliseconds late at some venues
MAX_OFF_SHARE = 0.01
LARGEST_RATE = 0.1  # of an interval: beyond it is another unit
TABLE = "raw/funding_rates"


@dataclass(frozen=True)
class Grid:
    """When a venue settles: every ``interval_h`` hours from ``first_h`` o'clock UTC on."""

    interval_h: int
    first_h: int = 0


class OffGrid(ValueError):
    """Stamps lie between two settlements: the declared zone, or the declared grid, is wrong."""


def settled_at(stamp: pl.Expr, grid: Grid) -> pl.Expr:
    """Return the settlement that a UTC stamp names, null where it is more than a second from any."""
    start, step = grid.first_h * HOUR_US, grid.interval_h * HOUR_US
    since = stamp.dt.epoch("us") - start
    nearest = (since + step // 2) // step * step
    return pl.when((since - nearest).abs() <= JITTER_US).then((nearest + start).cast(UTC_US))


def on_grid(stamps: pl.Series, zone: str, grid: Grid) -> pl.Series:
    """Return naive stamps of a declared ``zone`` as the UTC settlements they name, null where one is off the grid.

    Raises
    ------
    OffGrid
        More than one in a hundred is off the grid: a venue settles late now and then, a wrong zone moves them all.
    """
    utc = stamps.cast(pl.Datetime("us")).dt.replace_time_zone(zone).dt.convert_time_zone("UTC")
    placed = pl.select(settled_at(pl.lit(utc), grid)).to_series()
    off = utc.filter(placed.is_null())
    if len(off) > MAX_OFF_SHARE * len(utc):
        raise OffGrid(
            f"{len(off)} of {len(utc)} stamps are off the grid of {grid.interval_h} h from {grid.first_h}:00 UTC when "
            f"read as {zone}, the first at {off[0]}: declare the zone the file is written in"
        )
    return placed


RULE = "the rate is not a fraction within ±0.1"


def rates_from(
    records: list[Any], venue: str, names: tuple[str, str], types: tuple[pl.DataType, pl.Expr], known_h: int, day: date
) -> Parsed:
    """Return hourly rates of ``day`` as rows.

    ``names`` are the record's of stamp and rate; ``types`` how the stamp is sent, and the expression that reads it as
    UTC µs from the column ``ts``; a rate is known ``known_h`` hours and a minute after its stamp.
    """
    stamp_name, rate_name = names
    sent, read = types
    stamp = settled_at(read, Grid(1))
    layout = Layout(
        f"funding of {venue}",
        {"ts": sent, "rate": pl.Float64()},
        {
            "the stamp is not on the hour, or of another day": of_day(stamp, day),
            RULE: pl.col("rate").abs() <= LARGEST_RATE,
        },
    )
    rows = [
        {"ts": r[stamp_name], "rate": r[rate_name]} if isinstance(r, dict) and {*names} <= set(r) else {"record": r}
        for r in records
    ]
    parsed = read_records(rows, layout)
    frame = parsed.frame.select(
        "line_n",
        pl.lit(venue).alias("venue"),
        stamp.alias("ts"),
        pl.lit(1, pl.Int8).alias("interval_h"),
        pl.col("rate").alias("rate_frac"),
        pl.col("rate").alias("rate_1h_frac"),
        (stamp + pl.duration(hours=known_h, minutes=1)).alias("available_ts"),
    )
    return Parsed(frame, parsed.refused, parsed.rows)


def kraken_rates(records: list[Any], day: date) -> Parsed:
    """Return Kraken Futures' records as rows: the relative rate of the hour that begins at the stamp."""
    names = ("timestamp", "relativeFundingRate")
    return rates_from(records, "kraken_futures", names, (pl.String(), moment(ISO)), known_h=1, day=day)


def deribit_rates(records: list[Any], day: date) -> Parsed:
    """Return Deribit's records as rows: the interest of the hour that ended at the stamp."""
    names = ("timestamp", "interest_1h")
    return rates_from(records, "deribit", names, (pl.Int64(), of_milliseconds("ts")), known_h=0, day=day)


@table_asset(TABLE, kinds={"ccxt"}, tags={"cost": "free"}, pool="kraken_futures_api", code_version="1")
def funding_rates(
    context: dg.AssetExecutionContext, kraken_futures: KrakenFutures, deribit: Deribit, lake: Lake
) -> Built:
    """One row per settled funding rate and venue: what longs paid shorts in an hour.

    Asks Kraken Futures and Deribit. A venue without the contract has no rows, and the day is then partial.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    unset = config.unconfigured("kraken_futures") or config.unconfigured("deribit")
    if unset is not None:
        return nothing(lake, TABLE, symbol, day, "not_configured", "funding", unset)
    asked: dict[str, Callable[[str], Parsed]] = {
        "kraken_futures": lambda name: kraken_rates(kraken_futures.funding(name, day), day),
        "deribit": lambda name: deribit_rates(deribit.funding(name, day), day),
    }
    found, absent = [], {}
    for venue, ask in asked.items():
        listing = instruments.listing(symbol, "funding", venue, day)
        try:
            found += [ask(listing.name)] if listing is not None else []
        except FinalAnswer as answer:
            absent[venue] = answer
    if not found:
        why_not = next((a.state for a in absent.values()), "missing")
        return nothing(lake, TABLE, symbol, day, why_not, "funding", f"no venue has a perpetual of {symbol}")
    parsed, repeated = each_once(joined(found), "venue", "ts")
    # A perpetual settles every hour: a venue that says nothing of a day does not have it.
    settled = parsed.frame.select(pl.col("venue").n_unique()).collect().item()
    state = "missing" if not settled else "partial" if absent or settled < len(found) else "complete"
    origin = f"{', '.join(asked)}: settled funding of {symbol} on {day}"
    notes = {venue: str(answer) for venue, answer in absent.items()}
    return land(
        lake, TABLE, symbol, day, parsed, repeated=repeated, source="funding", origin=origin, state=state, notes=notes
    )


ASSETS = (funding_rates,)
