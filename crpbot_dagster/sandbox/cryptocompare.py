"""CryptoCompare's REST interface: minutes of its index; and CoinDesk's news, the same vendor's newer interface.

Index  GET /cryptocompare/data/v2/histominute?fsym=&tsym=&limit=&toTs=
       ``limit`` + 1 minutes, both ends included, oldest first, numbers as numbers; a refusal is a 200. The index lags
       the market by a part of a minute, adds its own noise, and its volume is that of several exchanges.
       https://min-api.cryptocompare.com/documentation?key=Historical&cat=dataHistominute
News   GET /coindesk/news/v1/article/list?categories=&limit=&to_ts=
       Newest first. More is written, and in a better tone, after a day that rose.
       https://developers.coindesk.com/documentation/data-api/news_v1_article_list
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.world import World, dice, midnight

NAMES = {"BTC": "BTC-USD", "ETH": "ETH-USD", "SOL": "SOL-USD"}
LAG = 0.15  # weight of the minute before in the index's close
NOISE = 1e-4
EXCHANGES_VOLUME = 3.0
MAX_LIMIT, MAX_ARTICLES = 2_000, 100
MINUTE_S = 60
TONES = np.array(["POSITIVE", "NEUTRAL", "NEGATIVE"])


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    def histominute(request: Request) -> Response:
        query = request.query_params
        symbol = NAMES.get(query.get("fsym", ""))
        if symbol is None or query.get("tsym") != "USD":
            pair = f"{query.get('fsym')}-{query.get('tsym')}"
            return _refusal(2, f"cccagg_or_exchange market does not exist for this coin pair ({pair})")
        if not query.get("limit", "1440").isdecimal() or int(query.get("limit", "1440")) > MAX_LIMIT:
            return _refusal(2, f"limit param is invalid, it should be between 1 and {MAX_LIMIT}")
        over = int(midnight(world.unfinished()).timestamp())
        last = min(int(query.get("toTs", over)), over - MINUTE_S) // MINUTE_S * MINUTE_S
        first = last - int(query.get("limit", "1440")) * MINUTE_S
        return JSONResponse(_answer(minutes(world, symbol, first, last)))

    def articles(request: Request) -> Response:
        query = request.query_params
        symbol = NAMES.get(query.get("categories", ""))
        if symbol is None:
            return JSONResponse({"Data": {}, "Err": {"type": 2, "message": "categories: no such category"}}, 400)
        over = int(midnight(world.unfinished()).timestamp())
        last, limit = min(int(query.get("to_ts", over)), over - 1), int(query.get("limit", "10"))
        day = datetime.fromtimestamp(last, UTC).date()
        found: list[dict[str, Any]] = []
        while len(found) < min(limit, MAX_ARTICLES) and day >= market.EPOCH:
            found += [a for a in news(world, symbol, day) if a["PUBLISHED_ON"] <= last]
            day -= timedelta(days=1)
        return JSONResponse({"Data": found[: min(limit, MAX_ARTICLES)], "Err": {}})

    return [
        Route("/cryptocompare/data/v2/histominute", histominute),
        Route("/coindesk/news/v1/article/list", articles),
    ]


def index_of(world: World, symbol: str, day: date) -> pl.DataFrame:
    """Return the day's 1,440 minutes of the index; before the market's first day, none."""
    if day < market.EPOCH:
        return pl.DataFrame()
    start = midnight(day)
    with world.lock:
        traded = candles(world.market, symbol, start, start + timedelta(days=1), MINUTE_S)
    grid = pl.select(pl.datetime_range(start, start + timedelta(days=1), "1m", closed="left").alias("ts"))
    filled = grid.with_columns(pl.col("ts").dt.cast_time_unit("us")).join(traded, on="ts", how="left")
    close = filled["close"].forward_fill().backward_fill().to_numpy()
    volume = filled["volume"].fill_null(0.0).to_numpy() * EXCHANGES_VOLUME
    before = np.concatenate([close[:1], close[:-1]])
    noise = NOISE * dice(world, symbol, "index", day.isoformat()).standard_normal(len(close))
    index = np.round(((1 - LAG) * close + LAG * before) * (1 + noise), 2)
    # Where nothing traded, the index stands still.
    stands = pl.Series(index).set(pl.Series(volume == 0), None).forward_fill().fill_null(float(index[0])).to_numpy()
    opened = np.concatenate([stands[:1], stands[:-1]])
    return pl.DataFrame(
        {
            "time": filled["ts"].dt.epoch("s"),
            "high": np.maximum(opened, stands),
            "low": np.minimum(opened, stands),
            "open": opened,
            "volumefrom": np.round(volume, 4),
            "volumeto": np.round(volume * (opened + stands) / 2, 2),
            "close": stands,
        }
    )


def minutes(world: World, symbol: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return the index's minutes from ``first`` to ``last``, both included; those it does not have are zeros."""
    day, end = (datetime.fromtimestamp(t, UTC).date() for t in (first, last))
    found: dict[int, dict[str, Any]] = {}
    while day <= end:
        found |= {row["time"]: row for row in index_of(world, symbol, day).iter_rows(named=True)}
        day += timedelta(days=1)
    none = dict.fromkeys(("high", "low", "open", "volumefrom", "volumeto", "close"), 0)
    how = {"conversionType": "direct", "conversionSymbol": ""}
    times = range(first, last + MINUTE_S, MINUTE_S)
    return [(found.get(t) or {"time": t} | none) | how for t in times]


def news(world: World, symbol: str, day: date) -> list[dict[str, Any]]:
    """Return the articles of a day, newest first."""
    start = midnight(day)
    with world.lock:
        bar = candles(world.market, symbol, start, start + timedelta(days=1), 86_400).row(0, named=True)
    rng = dice(world, symbol, "news", day.isoformat())
    tilt = float(np.tanh(20 * np.log(bar["close"] / bar["open"])))
    n = int(rng.poisson(40 * (1 + abs(tilt))))
    tones = rng.choice(TONES, n, p=[0.3 + 0.2 * tilt, 0.4, 0.3 - 0.2 * tilt])
    when = np.sort(rng.integers(0, 86_400, n))[::-1] + int(start.timestamp())
    first_id = (day - market.EPOCH).days * 1_000_000 + sorted(NAMES.values()).index(symbol) * 100_000
    return [
        {
            "TYPE": "121",
            "ID": first_id + n - i,
            "PUBLISHED_ON": int(when[i]),
            "TITLE": f"Article {n - i} about {symbol}",
            "LANG": "EN",
            "SENTIMENT": str(tones[i]),
            "STATUS": "ACTIVE",
        }
        for i in range(n)
    ]


def _answer(rows: list[dict[str, Any]]) -> dict[str, Any]:
    data = {"Aggregated": False, "TimeFrom": rows[0]["time"], "TimeTo": rows[-1]["time"], "Data": rows}
    return {"Response": "Success", "Message": "", "HasWarning": False, "Type": 100, "RateLimit": {}, "Data": data}


def _refusal(kind: int, message: str) -> Response:
    body = {"Response": "Error", "Message": message, "HasWarning": False, "Type": kind, "RateLimit": {}, "Data": {}}
    return JSONResponse(body)
