"""Attention: page views and news, each with its own time, its own absence, and pages that overlap."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from raw.web_world import DAY, OLDER, RECORDED, SPEC, WebWorld, canned, simulated, world_of
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crpbot_dagster.assets.raw.attention import (
    PAGE,
    articles_in,
    attention,
    fetch_articles,
    parse_articles,
    parse_views,
)
from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.sandbox import cryptocompare
from crpbot_dagster.sandbox.world import World

__all__ = ["simulated"]
VIEWS = "/wikimedia/{rest:path}"
NEWS = "/coindesk/news/v1/article/list"
START = datetime(2023, 11, 20, tzinfo=UTC)
SOUND_VIEWS = (RECORDED / "wikimedia/per_article.json").read_bytes()
SOUND_NEWS = (RECORDED / "coindesk/article_list.json").read_bytes()


def article(number: int, at: int, sentiment: str | None = "NEUTRAL") -> dict[str, object]:
    return {"ID": number, "PUBLISHED_ON": at, "SENTIMENT": sentiment, "TITLE": "x"}


def news(*articles: dict[str, object]) -> bytes:
    return json.dumps({"Data": articles, "Err": {}}).encode()


@pytest.mark.parametrize("day", [DAY, OLDER])
def test_views_and_news_have_their_own_time(simulated: WebWorld, day: date) -> None:
    state, rows = simulated.made(attention, day)
    row, start = rows.row(0, named=True), datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert state == "complete" and row["wiki_views_n"] > 1_000 and row["reddit_subscribers_n"] is None
    assert row["wiki_available_ts"] == start + timedelta(days=2)
    assert row["news_available_ts"] == start + timedelta(days=1, hours=1)
    told = cryptocompare.news(World(SPEC, lambda: day), "BTC-USD", day)
    assert row["news_n"] == len(told)
    assert row["news_pos_n"] == sum(a["SENTIMENT"] == "POSITIVE" for a in told)


def test_the_recorded_answers_give_one_day_and_not_the_one_before(tmp_path: Path, environment) -> None:
    with world_of(canned({VIEWS: SOUND_VIEWS, NEWS: SOUND_NEWS}), tmp_path, environment) as world:
        state, rows = world.made(attention)
    row = rows.row(0, named=True)
    assert state == "complete" and row["wiki_views_n"] == 9811
    assert (row["news_n"], row["news_pos_n"], row["news_neg_n"]) == (2, 1, 1)


def test_what_one_source_lacks_is_null_and_the_day_partial(tmp_path: Path, environment) -> None:
    with world_of(canned({VIEWS: 404, NEWS: SOUND_NEWS}), tmp_path, environment) as world:
        state, rows = world.made(attention)
        assert state == "partial" and rows["wiki_views_n"].to_list() == [None] and rows["news_n"].to_list() == [2]
    with world_of(canned({VIEWS: SOUND_VIEWS, NEWS: 401}), tmp_path, environment) as world:
        state, rows = world.made(attention, symbol="ETH-USD")
        assert state == "partial" and rows["news_n"].to_list() == [None] and rows["wiki_views_n"].to_list() == [9811]
    with world_of(canned({}), tmp_path, environment) as world:
        assert world.made(attention, OLDER)[0] == "missing"


@pytest.mark.parametrize(
    ("tones", "expected"),
    [([], (0, 0, 0)), ([None, None], (2, None, None)), ([None, "POSITIVE"], (2, 1, 0))],
)
def test_a_day_without_news_counts_0_and_news_without_judgement_has_no_tone(
    tones: list[str | None], expected: tuple[int | None, ...], tmp_path: Path, environment
) -> None:
    told = news(*(article(i, int(START.timestamp()) + i, t) for i, t in enumerate(tones, 1)))
    with world_of(canned({VIEWS: SOUND_VIEWS, NEWS: told}), tmp_path, environment) as world:
        row = world.made(attention)[1].row(0, named=True)
    assert (row["news_n"], row["news_pos_n"], row["news_neg_n"]) == expected


def test_pages_overlap_by_a_second_and_lose_nothing(tmp_path: Path, environment) -> None:
    first = int(START.timestamp())
    told = sorted(
        (article(i, first + i // 7) for i in range(950)), key=lambda a: (-int(str(a["PUBLISHED_ON"])), a["ID"])
    )

    def pages(request: Request) -> Response:
        last = int(request.query_params["to_ts"])
        return JSONResponse({"Data": [a for a in told if int(str(a["PUBLISHED_ON"])) <= last][:PAGE], "Err": {}})

    with world_of(canned({NEWS: pages}), tmp_path, environment) as world:
        state, _, found = fetch_articles(world.web(), "BTC", START, START + timedelta(days=1))
    parsed, repeated = parse_articles(
        [{k: str(v) for k, v in a.items()} | {"SENTIMENT": a["SENTIMENT"]} for a in found]
    )
    assert state == "complete" and repeated == 0 and parsed.frame.collect()["ID"].n_unique() == 950 == len(found)


def test_pages_without_end_are_an_error(tmp_path: Path, environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crpbot_dagster.assets.raw.attention.MAX_PAGES", 3)

    def forever(request: Request) -> Response:
        last = int(request.query_params["to_ts"])
        return JSONResponse({"Data": [article(last * PAGE + i, last - 1) for i in range(PAGE)], "Err": {}})

    endless = pytest.raises(SourceError, match=f"more than {3 * PAGE} articles")
    with world_of(canned({NEWS: forever}), tmp_path, environment) as world, endless:
        fetch_articles(world.web(), "BTC", START, START + timedelta(days=1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ID": None}, "the article has no id"),
        ({"PUBLISHED_ON": 1_700_438_400_000}, "PUBLISHED_ON is no moment between 2009 and 2100"),
        ({"SENTIMENT": "MIXED"}, "the sentiment is none of the vendor's"),
        ({"ID": "٣"}, "a number is not written as a number"),
    ],
)
def test_a_bad_article_is_refused_with_its_reason(change: dict[str, object], reason: str) -> None:
    parsed, _ = parse_articles(articles_in(news(article(1, 1_700_438_400) | change)))
    assert parsed.refused["reason"].to_list() == [reason]


@pytest.mark.parametrize(
    "change", [{"views": -1}, {"views": "many"}, {"timestamp": "20231120"}, {"timestamp": "2023113100"}]
)
def test_bad_views_are_refused(change: dict[str, object]) -> None:
    items = json.loads(SOUND_VIEWS)["items"]
    parsed, _ = parse_views(json.dumps({"items": [items[0] | change]}).encode())
    assert parsed.refused.height == 1 and parsed.frame.select(pl.len()).collect().item() == 0


@pytest.mark.parametrize("body", [b"", b"{}", b'{"items": 1, "Data": {}}', b"<html>", b'{"items": [], "items": []}'])
def test_an_answer_of_another_layout_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_views(body)
    with pytest.raises(DamagedFile):
        articles_in(body)
