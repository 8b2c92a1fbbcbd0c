"""CryptoCompare (CoinDesk Data): minutes of its index CCCAGG, the volume-weighted price over its exchanges.

What: open, high, low, close, base and quote volume of a coin in dollars. Since: 2010 for Bitcoin. Licence and price:
free for own use, with or without a key; how far back minutes reach depends on the plan (a week without one), and what
lies beyond comes as rows of zeros: they are no candles, and are counted as not served. Clock: the vendor's, ``time`` is
the minute's start, both ends of a request are included; the newest minute is not finished and is dropped. Limits: 2,000
minutes a call, ``toTs`` pages backwards; a rate limit comes as HTTP 200 with ``"Response": "Error"`` and counts as 429,
an unknown coin likewise and counts as 404. Known faults: a minute without a trade is served with volume 0 and the last
price, and is kept so; nothing is invented for a minute that is not served. The volumes add up exchanges whose prices
the index weighs and filters, so quote over base volume may lie outside the minute's range: the bars keep ``volume_usd``
and leave ``vwap`` null then. A ``conversionType`` other than direct is a price computed by way of another currency:
kept, and a check counts it.
Source: https://min-api.cryptocompare.com/documentation?key=Historical&cat=dataHistominute
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, Parsed, positive
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import each_once, json_of, read_records
from crpbot_dagster.assets.raw.web_days import midnight, records_at, seconds, utc, web_day
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.web_apis import WebApis

SOURCE, TABLE = "cryptocompare", "raw/cryptocompare_candles"
MINUTE_S = 60
PAGE = 2_000  # the largest ``limit``; the answer has one row more
SETTLED = timedelta(seconds=5)  # a candle is finished so long after its end
F64 = pl.Float64()
PRICES = ("open", "high", "low", "close")
LAYOUT = Layout(
    "histominute",
    {
        "time": pl.Int64(),
        **dict.fromkeys(PRICES, F64),
        "volumefrom": F64,
        "volumeto": F64,
        "conversionType": pl.String(),
    },
    {
        "time is no minute between 2009 and 2100": seconds("time") & (pl.col("time") % MINUTE_S == 0),
        "a price is not a positive number": pl.all_horizontal([positive(p) for p in PRICES]),
        "low or high is not the extreme": (pl.col("low") <= pl.min_horizontal("open", "close"))
        & (pl.col("high") >= pl.max_horizontal("open", "close")),
        "a volume is negative or no number": pl.all_horizontal(
            [pl.col(v).is_finite() & (pl.col(v) >= 0) for v in ("volumefrom", "volumeto")]
        ),
        "the conversion is not named": pl.col("conversionType").is_not_null(),
    },
)


def candles_in(body: bytes) -> list[dict[str, Any]]:
    """Return the candles of one answer; the older interface has them one level higher.

    Raises
    ------
    DamagedFile
        The answer is no JSON, or has another layout.
    """
    document = json_of(body, LAYOUT.data_type)
    data = document.get("Data") if isinstance(document, dict) else None
    return records_at(document, LAYOUT.data_type, *(("Data", "Data") if isinstance(data, dict) else ("Data",)))


def parse_candles(records: list[dict[str, Any]]) -> tuple[Parsed, int]:
    """Return the candles as rows of the table without its key columns, the refused ones, and how many repeats."""
    parsed, repeated = each_once(read_records(records, LAYOUT), "time")
    ts = utc(pl.col("time"))
    frame = parsed.frame.select(
        "line_n",
        pl.lit("cryptocompare").alias("venue"),
        ts.alias("ts"),
        (ts + pl.duration(minutes=2)).alias("available_ts"),
        *PRICES,
        pl.col("volumefrom").alias("volume"),
        pl.col("volumeto").alias("quote_volume"),
        pl.col("conversionType").alias("conversion"),
    )
    return Parsed(frame, parsed.refused, parsed.rows), repeated


def of_minutes(records: list[dict[str, Any]], first: datetime, stop: datetime) -> list[dict[str, Any]]:
    """Return the candles that open in ``[first, stop)``, and those without a readable time: they are refused later."""
    low, high = int(first.timestamp()), int(stop.timestamp())
    times = [str(r.get("time")) for r in records]
    return [r for r, t in zip(records, times, strict=True) if not t.isdecimal() or low <= int(t[:20]) < high]


def served(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records that are candles: minutes the vendor does not have come with every number 0."""
    return [r for r in records if any(str(r.get(c)) not in ("0", "0.0") for c in (*PRICES, "volumefrom"))]


def fetch_minutes(web: WebApis, name: str, first: datetime, stop: datetime) -> tuple[str, str, list[dict[str, Any]]]:
    """Return the state, the address and the candles that open in ``[first, stop)``, as the vendor sent them.

    Raises
    ------
    DamagedFile
        A page is unreadable, or does not go back from the one before.
    """
    found: list[dict[str, Any]] = []
    url, last = "", stop - timedelta(seconds=MINUTE_S)
    while last >= first:
        limit = max(min(PAGE, (last - first) // timedelta(seconds=MINUTE_S)), 1)
        asked: dict[str, str | int] = {"fsym": name, "tsym": "USD", "limit": limit, "toTs": int(last.timestamp())}
        answer = web.get(SOURCE, "/data/v2/histominute", asked)
        url = url or answer.url
        if answer.state != "complete":
            return answer.state, answer.url, []
        page = of_minutes(candles_in(answer.body), first, last + timedelta(seconds=MINUTE_S))
        if not page:
            break
        found += page
        times = [int(t) for r in page if (t := str(r.get("time"))).isdecimal()]
        if not times:
            raise DamagedFile("no candle of the page has a time")
        last = datetime.fromtimestamp(min(times), UTC) - timedelta(seconds=MINUTE_S)
    return "complete", url, found


def finished_before(now: datetime) -> datetime:
    """Return the start of the first minute that is not finished."""
    return (now - SETTLED).replace(second=0, microsecond=0)


def day_state(candles: int, filled: int, end: datetime, now: datetime) -> str:
    """Return the state of a day: not complete before it is over, nor where the vendor filled it up."""
    over = finished_before(now) >= end
    return "missing" if candles == 0 else "complete" if over and filled == 0 else "partial"


@table_asset(TABLE, kinds={"httpx"}, tags={"cost": "free"}, pool="cryptocompare_api", code_version="1")
def cryptocompare_candles(context: dg.AssetExecutionContext, web: WebApis, lake: Lake) -> Built:
    """One row per minute of the index, as served; a minute without a trade has volume 0 and the last price.

    Asks for the day alone, in one call. Known fault: without a plan the vendor has the last week only.
    """
    asked = web_day(context, lake, TABLE, SOURCE, while_it_lasts=True)
    if asked.why:
        return asked.unasked()
    stop = min(asked.end, finished_before(asked.now))
    with trusted(f"{SOURCE} {asked.name} {asked.day}"):
        state, url, records = fetch_minutes(web, asked.name, midnight(asked.day), stop)
        candles = served(records)
        parsed, repeated = parse_candles(candles)
    filled = len(records) - len(candles)
    if state == "complete":
        state = day_state(parsed.rows, filled, asked.end, asked.now)
    return asked.land(parsed, url, repeated=repeated, state=state, notes={"minutes_not_served_n": filled})


ASSETS = (cryptocompare_candles,)
