"""Candle files: one-minute candles that you have as files, one per venue and symbol.

What: ``{CRPBOT_CANDLE_FILES}/{venue}/{SYMBOL}.parquet`` or ``.csv``, for example ``bitfinex/BTC-USD.csv``, with the
columns ts, open, high, low, close, volume (base coin) and, where known, trade_count and buy_volume (taker); others are
not read. Since, licence and price: those of your files. Clock: the exchange's, ``ts`` is the minute's start. It is
written in one way throughout a file: epoch seconds, milliseconds or microseconds, or ISO 8601 with its UTC offset
(``2018-01-01T00:00:00Z``); a moment without an offset is refused, because nobody can tell whose clock it is. CSV is
plain: commas, a header, no quotes. Limits: a file is indexed once per process and version, then a day reads its own
lines. Known faults: a minute without a trade may be absent; stamps of the minute's *end* look like starts: check yours.
As the primary source: ``CRPBOT_PRIMARY='{"BTC-USD": "bitfinex/files"}'``.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import REFUSED_SCHEMA, DamagedFile
from crpbot_dagster.assets.raw.minute_file import OPTIONAL, DayOfFile, read_day
from crpbot_dagster.assets.raw.quarantine import quarantine
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables import TABLES

TABLE = TABLES["raw/candle_files"]
BEST_FIRST = ("complete", "partial", "empty", "missing")


def files_of(folder: Path, symbol: str) -> dict[str, Path]:
    """Return the symbol's file of each venue, sorted by venue.

    Raises
    ------
    DamagedFile
        A venue is not written in lower case, or has two files of the symbol.
    """
    found: dict[str, Path] = {}
    for path in sorted(p for kind in ("csv", "parquet") for p in folder.glob(f"*/{symbol}.{kind}")):
        venue = path.parent.name
        if not instruments.VENUE.fullmatch(venue):
            raise DamagedFile(f"venue: {path}: the folder names the venue: lower case letters, digits and _ only")
        if venue in found:
            names = f"{found[venue].name} and {path.name}"
            raise DamagedFile(f"two_files: {path.parent} has two files of {symbol}, {names}: keep one")
        found[venue] = path
    return found


def require_primary(files: Mapping[str, Path], primary: instruments.Primary, folder: Path, symbol: str) -> None:
    """Refuse a primary venue that has no file: a misspelt one would otherwise be a year of gaps.

    Raises
    ------
    DamagedFile
        The primary source is this one, and the folder has no file of its venue.
    """
    if primary.source == TABLE.candle_source and primary.venue not in files:
        raise DamagedFile(
            f"CRPBOT_PRIMARY says {symbol} is {primary.venue}/{primary.source}, and {folder} has no "
            f"{primary.venue}/{symbol}.parquet or .csv; venues with {symbol}: {', '.join(files) or 'none'}"
        )


def state_of(days: Mapping[str, DayOfFile], primary: instruments.Primary) -> str:
    """Return the primary venue's state where files are the primary source, else the best of the venues."""
    if primary.source == TABLE.candle_source:
        return days[primary.venue].state
    return min((d.state for d in days.values()), key=BEST_FIRST.index, default="missing")


def candles_of(days: Mapping[str, DayOfFile], symbol: str, day: date) -> pl.DataFrame:
    """Return the rows of every venue under the table's names; a column that no file of a venue has is null."""
    parts = [
        d.candles.rename({k: v for k, v in OPTIONAL.items() if k in d.candles.columns}).with_columns(
            pl.lit(symbol).alias("symbol"), pl.lit(day).alias("day"), pl.lit(venue).alias("venue")
        )
        for venue, d in days.items()
    ]
    made = pl.concat([TABLE.empty().clear(), *parts], how="diagonal_relaxed")
    return made.select(pl.col(n).cast(t) for n, t in TABLE.schema.items())


def refused_of(days: Mapping[str, DayOfFile], files: Mapping[str, Path]) -> pl.DataFrame:
    """Return the refused rows of every venue with the file they come from as ``source``."""
    empty = pl.DataFrame(schema=REFUSED_SCHEMA | {"source": pl.String()})
    return pl.concat([empty, *(d.refused.with_columns(pl.lit(str(files[v])).alias("source")) for v, d in days.items())])


def facts_of(days: Mapping[str, DayOfFile]) -> dict[str, float]:
    """Return the share of rows refused and the number of equal repeats dropped."""
    refused, repeated = sum(d.refused.height for d in days.values()), sum(d.repeated for d in days.values())
    rows = refused + repeated + sum(d.candles.height for d in days.values())
    return {"quarantined_frac": refused / rows if rows else 0.0, "duplicates_n": float(repeated)}


@table_asset("raw/candle_files", kinds={"polars", "parquet"}, tags={"cost": "free"}, code_version="1")
def candle_files(context: dg.AssetExecutionContext, lake: Lake) -> Built:
    """One row per minute and venue of your own files, as delivered.

    Reads ``{CRPBOT_CANDLE_FILES}/{venue}/{SYMBOL}.parquet`` or ``.csv``; without that setting the day is
    ``not_configured``. Known fault: absent minutes are not explained by a file.
    """
    symbol, day = split(context.partition_key)
    config = settings.load()
    primary = instruments.primary(symbol, config.primary)
    facts = {"quarantined_frac": 0.0, "duplicates_n": 0.0}
    if config.candle_files is None:
        lake.keep_held(TABLE.name, symbol, day, "not_configured", "CRPBOT_CANDLE_FILES")
        return Built(TABLE.empty(), "not_configured", "files", facts)
    try:
        files = files_of(config.candle_files, symbol)
        require_primary(files, primary, config.candle_files, symbol)
        days = {venue: read_day(path, day) for venue, path in files.items()}
    except DamagedFile as error:
        raise dg.Failure(f"{error}. Nothing was written; run the partition again.") from error
    state = state_of(days, primary)
    lake.keep_held(TABLE.name, symbol, day, state, f"{config.candle_files}/*/{symbol}")
    quarantine(lake, TABLE.name, symbol, day, refused_of(days, files))
    notes = {"files": {v: str(p) for v, p in files.items()}, "states": {v: d.state for v, d in days.items()}}
    return Built(candles_of(days, symbol, day), state, "files", facts | facts_of(days), notes)


ASSETS = (candle_files,)
