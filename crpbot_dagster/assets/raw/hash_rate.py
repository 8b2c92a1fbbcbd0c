"""Bitcoin's hash rate and difficulty, from blockchain.com's charts and, as the second opinion, mempool.space.

What: the hash rate of a day as each source estimates it from the blocks found, EH/s, and, from the first, the day's
difficulty. Since: 2009.
Licence and price: free, no key. Clock: a day begins at 00:00 UTC and is known from 06:00 of the next. Units:
blockchain.com counts in TH/s and says so, which is checked; mempool.space counts in H/s. Limits: a request every ten
seconds at blockchain.com; mempool.space names no number and answers 429. Known faults: a day has 144 blocks, so an
estimate of it scatters by 8 %, and the two need not agree (a check says by how much).
Source: https://www.blockchain.com/explorer/api/charts_api and https://mempool.space/docs/api/rest
"""

from dataclasses import replace
from datetime import date

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, Parsed
from crpbot_dagster.assets.raw.records import each_once, json_of, read_records
from crpbot_dagster.assets.raw.web_days import Part, after, age_days, day_start, part_of, records_at, utc, web_day
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.web_apis import WebApis

TABLE = "raw/hash_rate"
BLOCKCHAIN, MEMPOOL = "blockchain", "mempool"
TH_PER_EH, H_PER_EH = 1e6, 1e18
SPANS = ((28, "1m"), (88, "3m"), (178, "6m"), (360, "1y"), (725, "2y"), (1_090, "3y"))  # days back → mempool's word


def _point(stamp: str, value: str, is_stamp: pl.Expr) -> Layout:
    return Layout(
        value,
        {stamp: pl.Int64(), value: pl.Float64()},
        {
            "the stamp is no sound moment": is_stamp,
            "the value is negative or no number": pl.col(value).is_finite() & (pl.col(value) >= 0),
        },
    )


CHART = _point("x", "y", day_start("x"))
HASHRATES = _point("timestamp", "avgHashrate", day_start("timestamp"))


def parse_chart(body: bytes, unit: str) -> tuple[Parsed, int]:
    """Return a chart of blockchain.com as day and value, the refused points, and the repeats.

    Raises
    ------
    DamagedFile
        The answer is no chart, or counts in another unit than ``unit``.
    """
    document = json_of(body, "chart")
    points = records_at(document, "chart", "values")
    if unit not in str(document.get("unit")):
        raise DamagedFile(f"chart: the unit is {document.get('unit')!r} and should be {unit}")
    parsed, repeated = each_once(read_records(points, CHART), "x")
    frame = parsed.frame.select("line_n", utc(pl.col("x")).dt.date().alias("day"), pl.col("y").alias("value"))
    return replace(parsed, frame=frame), repeated


def parse_mempool(body: bytes) -> tuple[Parsed, int]:
    """Return mempool.space's days in H/s as day and value, the refused points, and the repeats.

    Raises
    ------
    DamagedFile
        It is no JSON, or has another layout.
    """
    points = records_at(json_of(body, "hashrate"), "hashrate", "hashrates")
    parsed, repeated = each_once(read_records(points, HASHRATES), "timestamp")
    day = utc(pl.col("timestamp")).dt.date().alias("day")
    return replace(parsed, frame=parsed.frame.select("line_n", day, pl.col("avgHashrate").alias("value"))), repeated


def as_rows(found: tuple[Parsed, int], source: str, hashes_per_eh: float) -> tuple[Parsed, int]:
    """Return a source's days as rows of the table, without difficulty, and the repeats."""
    parsed, repeated = found
    frame = parsed.frame.select(
        "line_n",
        "day",
        pl.lit(source).alias("source"),
        after(1, hours=6).alias("available_ts"),
        (pl.col("value") / hashes_per_eh).alias("hash_rate_ehs"),
        pl.lit(None, pl.Float64).alias("difficulty"),
    )
    return replace(parsed, frame=frame), repeated


def with_difficulty(rate: Part, difficulty: Part) -> Part:
    """Return a day's hash rate with the difficulty of another chart, where that has the day."""
    frame = rate.parsed.frame
    if rate.state == difficulty.state == "complete":
        value = difficulty.parsed.frame.select("day", pl.col("value").alias("difficulty"))
        frame = frame.drop("difficulty").join(value, on="day", how="left")
    refused = pl.concat([rate.parsed.refused, difficulty.parsed.refused])
    parsed = Parsed(frame, refused, rate.parsed.rows + difficulty.parsed.rows)
    return replace(rate, parsed=parsed, repeated=rate.repeated + difficulty.repeated)


def blockchain_day(web: WebApis, day: date) -> Part:
    """Return what blockchain.com has of a day, from two charts."""
    asked = {"start": day.isoformat(), "timespan": "2days", "format": "json", "sampled": "false"}
    rate, difficulty = (web.get(BLOCKCHAIN, f"/charts/{name}", asked) for name in ("hash-rate", "difficulty"))
    return with_difficulty(
        part_of(rate, day, lambda body: as_rows(parse_chart(body, "TH/s"), BLOCKCHAIN, TH_PER_EH)),
        part_of(difficulty, day, lambda body: parse_chart(body, "Difficulty")),
    )


def mempool_day(web: WebApis, day: date, age: int) -> Part:
    """Return what mempool.space has of a day that began ``age`` days ago."""
    span = next((word for days, word in SPANS if age <= days), "all")
    answer = web.get(MEMPOOL, f"/api/v1/mining/hashrate/{span}")
    return part_of(answer, day, lambda body: as_rows(parse_mempool(body), MEMPOOL, H_PER_EH))


@table_asset(TABLE, kinds={"httpx"}, tags={"cost": "free"}, pool="blockchain_api", code_version="1")
def hash_rate(context: dg.AssetExecutionContext, web: WebApis, lake: Lake) -> Built:
    """One row per source and day: Bitcoin's hash rate, and the difficulty.

    Asks both sources; a day that only one of them has is partial. Known fault: an estimate of one day scatters by 8 %.
    """
    asked = web_day(context, lake, TABLE, BLOCKCHAIN)
    if asked.why:
        return asked.unasked()
    second = mempool_day(web, asked.day, age_days(asked.now, asked.day))
    return asked.land_parts({BLOCKCHAIN: blockchain_day(web, asked.day), MEMPOOL: second})


ASSETS = (hash_rate,)
