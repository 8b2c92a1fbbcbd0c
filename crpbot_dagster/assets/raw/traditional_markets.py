"""Traditional markets from FRED, the database of the Federal Reserve Bank of St. Louis, as CSV without a key.

What: one value a day of four series: SP500 (S&P 500, close), DTWEXBGS (broad dollar index; the ICE dollar index is not
free), DGS10 (10-year Treasury yield, %), and NASDAQQGLDI as the proxy of gold: FRED had to remove the LBMA's prices on
31 January 2022 and has no other daily one. That index holds gold and sells calls 3 % above it, so it follows gold but
for sharp rises, and counts index points, not dollars an ounce. Since: SP500 ten years back (a licence), the others
longer. Licence and price: free; SP500 is for own use only. Clock: an observation's date is the New York session.
Availability: FRED publishes S&P 500 the same night (taken as known 2 days after at 12:00 UTC), DGS10 and NASDAQQGLDI
the next business day (5 days: a long week-end), DTWEXBGS on Monday for the week before (9 days). Limits: none named;
a request a second. Known faults: "." is a missing value (a holiday) and stays null; week-ends have no rows and are
empty days; a series that is not published yet has no row, and the day is partial until it is asked for again; values
of DTWEXBGS are revised once a year, and this is not the archive of first values.
Source: https://fred.stlouisfed.org/series/SP500
"""

from dataclasses import replace
from functools import partial

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, Parsed
from crpbot_dagster.assets.raw.records import each_once, read_records
from crpbot_dagster.assets.raw.web_days import after, part_of, web_day
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.web_apis import WebApis

SOURCE, TABLE = "fred", "raw/traditional_markets"
KNOWN_AFTER_DAYS = {"SP500": 2, "DTWEXBGS": 9, "NASDAQQGLDI": 5, "DGS10": 5}
"""Series → days from its date until it is published for certain, at 12:00 UTC."""

DATE_NAMES = ("observation_date", "DATE")  # since 2024, and before
SATURDAY = 5
LAYOUT = Layout(
    "fredgraph",
    {"date": pl.String(), "value": pl.Float64()},
    {
        "the date is no day": pl.col("date").str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        & pl.col("date").str.to_date("%Y-%m-%d", strict=False).is_not_null(),
        "the value is no number": pl.col("value").is_finite() | pl.col("value").is_null(),
    },
)


def parse_fred(body: bytes, series: str) -> tuple[Parsed, int]:
    """Return one series as rows of the table, "." as null, the refused lines, and the repeats.

    Raises
    ------
    DamagedFile
        It is no text, or its header does not name the series.
    """
    try:
        header, *lines = body.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{series}: the answer is no UTF-8 text: {error.reason}") from error
    if header.split(",") not in [[name, series] for name in DATE_NAMES]:
        raise DamagedFile(f"{series}: the header is {header[:100]!r}")
    records = [_record(line) for line in lines[: -1 if lines[-1:] == [""] else None]]
    parsed, repeated = each_once(read_records(records, LAYOUT), "date")
    frame = parsed.frame.select(
        "line_n",
        pl.col("date").str.to_date("%Y-%m-%d").alias("day"),
        pl.lit(series).alias("series_id"),
        "value",
    ).with_columns(after(KNOWN_AFTER_DAYS[series], hours=12).alias("available_ts"))
    return replace(parsed, frame=frame), repeated


def _record(line: str) -> dict[str, str | None]:
    cells = line.split(",")
    if len(cells) != 2:
        return {"text": line}  # lacks what the layout asks for, and is refused
    return {"date": cells[0], "value": None if cells[1] == "." else cells[1]}


@table_asset(TABLE, kinds={"httpx"}, tags={"cost": "free"}, pool="fred_api", code_version="1")
def traditional_markets(context: dg.AssetExecutionContext, web: WebApis, lake: Lake) -> Built:
    """One row per day and series: S&P 500, dollar index, a proxy of gold, 10-year yield.

    Asks for the day alone, series by series; a week-end is empty without asking. Known fault: a day is partial until
    its slowest series is published, nine days later.
    """
    asked = web_day(context, lake, TABLE, SOURCE)
    if asked.why:
        return asked.unasked()
    if asked.day.weekday() >= SATURDAY:
        return asked.nothing("empty", "none of these markets is open at the week-end")
    day = asked.day.isoformat()
    parts = {}
    for series in KNOWN_AFTER_DAYS:
        answer = web.get(SOURCE, "/graph/fredgraph.csv", {"id": series, "cosd": day, "coed": day})
        parts[series] = part_of(answer, asked.day, partial(parse_fred, series=series))
    return asked.land_parts(parts)


ASSETS = (traditional_markets,)
