"""Attention: how often a coin's Wikipedia article was read, and how much was written about the coin, in which tone.

What: daily views of the English article by people (no bots) from Wikimedia; articles of the day in the coin's category
from CoinDesk's news (formerly CryptoCompare), counted, with the vendor's own judgement of each: positive, negative or
neutral. The older interface, min-api's ``/data/v2/news/``, has the same articles without a judgement, and tone is not
guessed from votes or words; so the newer one is asked. Since: views 2015-07, news about 2017. Licence and price:
Wikimedia CC0, free; news free for own use without a key, in small numbers. Clock: both UTC. Views are published about a
day after the day (known two days after it begins, 00:00 UTC), news is known the next day, 01:00. Limits: Wikimedia asks
for a user agent that names who asks; 100 articles a page of news, paged backwards by ``to_ts``. Known faults: Wikimedia
answers 404 for a day it has not counted yet, which is not 0 views; an article that is renamed starts anew; a vendor may
judge an article later than it publishes it. Reddit: subscribers are not served by day to anybody without a
contract; the column is null, and nothing stands in for it.
Source: https://doc.wikimedia.org/generated-data-platform/aqs/analytics-api/reference/page-views.html and
https://developers.coindesk.com/documentation/data-api/news_v1_article_list
"""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import instruments
from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import each_once, json_of, read_records
from crpbot_dagster.assets.raw.web_days import (
    Part,
    absent,
    after,
    midnight,
    part_of,
    records_at,
    seconds,
    utc,
    web_day,
)
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.resources.web_apis import WebApis

TABLE = "raw/attention"
WIKIMEDIA, COINDESK, CRYPTOCOMPARE = "wikimedia", "coindesk", "cryptocompare"
VIEWS_PATH = "/api/rest_v1/metrics/pageviews/per-article/en.wikipedia/all-access/user"
PAGE = 100  # articles; the largest ``limit``
MAX_PAGES = 50  # 5,000 articles a day of one coin: ten times the busiest

VIEWS = Layout(
    "pageviews",
    {"timestamp": pl.String(), "views": pl.Int64()},
    {
        "the timestamp is no day": pl.col("timestamp").str.contains(r"^[0-9]{8}00$")
        & pl.col("timestamp").str.slice(0, 8).str.to_date("%Y%m%d", strict=False).is_not_null(),
        "views is no count": pl.col("views") >= 0,
    },
)
NEWS = Layout(
    "news",
    {"ID": pl.Int64(), "PUBLISHED_ON": pl.Int64(), "SENTIMENT": pl.String()},
    {
        "the article has no id": pl.col("ID").is_not_null(),
        "PUBLISHED_ON is no moment between 2009 and 2100": seconds("PUBLISHED_ON"),
        "the sentiment is none of the vendor's": pl.col("SENTIMENT").is_in(["POSITIVE", "NEGATIVE", "NEUTRAL"])
        | pl.col("SENTIMENT").is_null(),
    },
)


def parse_views(body: bytes) -> tuple[Parsed, int]:
    """Return an article's views as day and count, the refused records, and the repeats.

    Raises
    ------
    DamagedFile
        It is no JSON, or has another layout.
    """
    items = records_at(json_of(body, VIEWS.data_type), VIEWS.data_type, "items")
    parsed, repeated = each_once(read_records(items, VIEWS), "timestamp")
    day = pl.col("timestamp").str.slice(0, 8).str.to_date("%Y%m%d").alias("day")
    return replace(parsed, frame=parsed.frame.select("line_n", day, pl.col("views").alias("wiki_views_n"))), repeated


def articles_in(body: bytes) -> list[dict[str, Any]]:
    """Return the articles of one page, newest first as sent.

    Raises
    ------
    DamagedFile
        It is no JSON, or has another layout.
    """
    return records_at(json_of(body, NEWS.data_type), NEWS.data_type, "Data")


def parse_articles(records: list[dict[str, Any]]) -> tuple[Parsed, int]:
    """Return articles as day and sentiment, the refused ones, and the repeats."""
    parsed, repeated = each_once(read_records(records, NEWS), "ID")
    day = utc(pl.col("PUBLISHED_ON")).dt.date().alias("day")
    return replace(parsed, frame=parsed.frame.select("line_n", day, "ID", sentiment="SENTIMENT")), repeated


def fetch_articles(
    web: WebApis, category: str, first: datetime, stop: datetime
) -> tuple[str, str, list[dict[str, Any]]]:
    """Return state, address and the articles published in ``[first, stop)``, and around it, page by page backwards.

    Raises
    ------
    SourceError
        The pages do not come to an end.
    DamagedFile
        A page is unreadable.
    """
    found: list[dict[str, Any]] = []
    url, last = "", int(stop.timestamp()) - 1
    for _ in range(MAX_PAGES):
        asked: dict[str, str | int] = {"lang": "EN", "categories": category, "limit": PAGE, "to_ts": last}
        answer = web.get(COINDESK, "/news/v1/article/list", asked)
        url = url or answer.url
        if answer.state != "complete":
            return answer.state, answer.url, []
        page = articles_in(answer.body)
        found += [a for a in page if a not in found[-PAGE:]]  # pages overlap by the second they meet in
        times = [int(t) for a in page if (t := str(a.get("PUBLISHED_ON"))).isdecimal()]
        if len(page) < PAGE or not times or min(times) < first.timestamp():
            return "complete", url, found
        last = min(times) if min(times) < last else last - 1
    raise SourceError(f"{COINDESK}: more than {MAX_PAGES * PAGE} articles of {category} on one day")


def news_of(web: WebApis, category: str, day: date) -> Part:
    """Return the day's articles; a day without one is complete, and counts 0."""
    first = midnight(day)
    with trusted(f"{COINDESK} {category} {day}"):
        state, url, records = fetch_articles(web, category, first, first + timedelta(days=1))
        parsed, repeated = parse_articles(records)
    today = parsed.frame.filter(pl.col("day") == day)
    return Part(state, replace(parsed, frame=today), repeated, url) if state == "complete" else absent(state, url)


def day_row(day: date, views: Part, news: Part) -> pl.DataFrame:
    """Return the day's row: what was not served is null, a day without articles counts 0."""
    tones = news.parsed.frame.collect()["sentiment"].to_list() if news.state == "complete" else None
    judged = tones is not None and (not tones or any(t is not None for t in tones))
    row = {
        "line_n": 1,
        "day": day,
        "wiki_views_n": views.parsed.frame.collect()["wiki_views_n"][0] if views.state == "complete" else None,
        "news_n": None if tones is None else len(tones),
        "news_pos_n": tones.count("POSITIVE") if tones is not None and judged else None,
        "news_neg_n": tones.count("NEGATIVE") if tones is not None and judged else None,
        "reddit_subscribers_n": None,
    }
    return pl.DataFrame([row]).with_columns(
        after(2).alias("wiki_available_ts"), after(1, hours=1).alias("news_available_ts")
    )


@table_asset(TABLE, kinds={"httpx"}, tags={"cost": "free"}, pool="wikimedia_api", code_version="1")
def attention(context: dg.AssetExecutionContext, web: WebApis, lake: Lake) -> Built:
    """One row per day: views of the coin's article, and news about it with their tone.

    Asks both sources; a day that only one of them has is partial. Known fault: views come about a day late.
    """
    asked = web_day(context, lake, TABLE, WIKIMEDIA)
    if asked.why:
        return asked.unasked()
    one_day = f"{asked.day:%Y%m%d}"
    answer = web.get(WIKIMEDIA, f"{VIEWS_PATH}/{asked.name}/daily/{one_day}/{one_day}")
    views = part_of(answer, asked.day, parse_views)
    coin = instruments.listing(asked.symbol, CRYPTOCOMPARE, CRYPTOCOMPARE, asked.day)
    news = news_of(web, coin.name, asked.day) if coin else absent("missing", f"{COINDESK}: no category")
    return asked.land_parts({WIKIMEDIA: views, COINDESK: news}, day_row(asked.day, views, news))


ASSETS = (attention,)
