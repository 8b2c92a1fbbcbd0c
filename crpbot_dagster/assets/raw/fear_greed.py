"""Fear & Greed index of alternative.me: one number a day for the mood of the market.

What: 0 (extreme fear) to 100 (extreme greed), from volatility, volume, social media, dominance and trends. Since:
2018-02-01. Licence and price: free with attribution, no key. Clock: a value is stamped at the day's start and describes
that day; it is known at the day's end, or when it was asked for during the day. Limits: 60 requests a minute; there is
no way to ask for a past day but for all days since. Known faults: a few days are absent (14 to 16 April 2018) and
stay empty. Dates: seconds since 1970 unless ``date_format`` is asked for; ``us`` writes month/day/year. The format is
said by whoever asked, never seen from the text: 4/5/2024 could be either.
Source: https://alternative.me/crypto/fear-and-greed-index/#api
"""

from dataclasses import replace
from typing import Any, Literal

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import each_once, json_of, read_records
from crpbot_dagster.assets.raw.web_days import after, age_days, day_start, of_day, records_at, utc, web_day
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.web_apis import WebApis
from crpbot_dagster.tables.schema import UTC_US

SOURCE, TABLE = "alternative_me", "raw/fear_greed"
Dates = Literal["unix", "us"]
US_DATE = r"^[0-9]{1,2}[/-][0-9]{1,2}[/-][0-9]{4}$"


def _us_day() -> pl.Expr:
    text = pl.when(pl.col("timestamp").str.contains(US_DATE)).then(pl.col("timestamp"))
    return text.str.replace_all("-", "/", literal=True).str.to_date("%m/%d/%Y", strict=False)


def layout(dates: Dates) -> Layout:
    """Return what a record must be when its dates are written in one of the two ways."""
    is_day = (
        day_start("timestamp") if dates == "unix" else _us_day().is_between(pl.date(2009, 1, 1), pl.date(2100, 1, 1))
    )
    return Layout(
        "fng",
        {
            "value": pl.Float64(),
            "timestamp": pl.Int64() if dates == "unix" else pl.String(),
            "value_classification": pl.String(),
        },
        {
            "value is no number from 0 to 100": pl.col("value").is_between(0, 100),
            f"the timestamp is no day as {dates} writes it": is_day,
            "the classification is absent": pl.col("value_classification").is_not_null(),
        },
    )


def parse_records(records: list[dict[str, Any]], dates: Dates = "unix") -> tuple[Parsed, int]:
    """Return the index day by day, the refused records, and how many repeats were dropped."""
    parsed, repeated = each_once(read_records(records, layout(dates)), "timestamp")
    day = utc(pl.col("timestamp")).dt.date() if dates == "unix" else _us_day()
    frame = parsed.frame.select(
        "line_n",
        day.alias("day"),
        pl.col("value").alias("fear_greed"),
        pl.col("value_classification").alias("classification"),
    )
    return replace(parsed, frame=frame.with_columns(after(1).alias("available_ts"))), repeated


def parse_fear_greed(body: bytes) -> tuple[Parsed, int]:
    """Return an answer's days, newest first as sent, the refused records, and the repeats.

    Raises
    ------
    DamagedFile
        It is no JSON, or has another layout.
    """
    return parse_records(records_at(json_of(body, "fng"), "fng", "data"))


@table_asset(TABLE, kinds={"httpx"}, tags={"cost": "free"}, pool="alternative_me_api", code_version="1")
def fear_greed(context: dg.AssetExecutionContext, web: WebApis, lake: Lake) -> Built:
    """One row per day: the Fear & Greed index.

    Asks for every day since, because the source knows no other way. Known fault: a few days are absent.
    """
    asked = web_day(context, lake, TABLE, SOURCE, while_it_lasts=True)
    if asked.why:
        return asked.unasked()
    # One more than needed: the day after proves that an absent day was left out and is not just late.
    limit = max(age_days(asked.now, asked.day), 0) + 2
    answer = web.get(SOURCE, "/fng/", {"limit": limit, "format": "json"})
    if answer.state != "complete":
        return asked.nothing(answer.state, answer.url)
    with trusted(answer.url):
        parsed, repeated = parse_fear_greed(answer.body)
    rows, state = of_day(parsed, asked.day)
    known = pl.min_horizontal("available_ts", pl.lit(asked.now, UTC_US)).alias("available_ts")
    return asked.land(replace(rows, frame=rows.frame.with_columns(known)), answer.url, repeated=repeated, state=state)


ASSETS = (fear_greed,)
