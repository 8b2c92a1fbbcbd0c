"""The daily series: alternative.me, blockchain.com, mempool.space, FRED, Wikimedia. Each is a random walk of its own.

GET /alternative_me/fng/?limit=&date_format=              newest first, today included, numbers as text
GET /blockchain/charts/{hash-rate|difficulty}?start=      TH/s, oldest first
GET /mempool/api/v1/mining/hashrate/{span}                H/s, oldest first
GET /fred/graph/fredgraph.csv?id=&cosd=&coed=             weekdays only, "." on holidays, published late
GET /wikimedia/api/rest_v1/metrics/pageviews/per-article/…   404 for a day that is not counted; 403 without a user agent
The vendors' pages are named in ``assets/raw``. Not here: prices (``market.py``).
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox.market import EPOCH
from crpbot_dagster.sandbox.world import World, dice, midnight

SERIES_DAYS = 3_650  # from the market's first day on
CLASSES = ((25, "Extreme Fear"), (46, "Fear"), (55, "Neutral"), (75, "Greed"), (101, "Extreme Greed"))
SPAN_DAYS = {"1m": 30, "3m": 90, "6m": 180, "1y": 365, "2y": 730, "3y": 1_095, "all": SERIES_DAYS}
ADJUSTED_EVERY = 14  # days
HASHES = 2**32 / 600  # of a difficulty of 1, per second: a block every ten minutes
FRED = {
    "SP500": (4_500.0, 0.01, 1),
    "DTWEXBGS": (121.0, 0.003, 7),
    "NASDAQQGLDI": (1_900.0, 0.01, 1),
    "DGS10": (4.2, 0.015, 1),
}
"""Series → first value, daily step, days until it is published."""
HOLIDAYS = ((1, 1), (6, 19), (7, 4), (12, 25))
ARTICLES = {"Bitcoin": 9_000, "Ethereum": 3_000, "Solana_(blockchain_platform)": 1_500}


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    def fng(request: Request) -> Response:
        today, query = world.unfinished(), request.query_params
        n = (today - EPOCH).days + 1
        asked = int(query.get("limit", "1"))
        days = [today - timedelta(days=i) for i in range(min(asked, n) if asked else n)]
        data = [_mood(world, day, query.get("date_format", "")) for day in days]
        data[0]["time_until_update"] = "86400"
        return JSONResponse({"name": "Fear and Greed Index", "data": data, "metadata": {"error": None}})

    def chart(request: Request) -> Response:
        name, query = request.path_params["name"], request.query_params
        if name not in ("hash-rate", "difficulty"):
            return JSONResponse({"status": "not-found", "name": name}, 404)
        first, n = date.fromisoformat(query["start"]), int(query.get("timespan", "2days").removesuffix("days"))
        days = [d for i in range(n) if EPOCH <= (d := first + timedelta(days=i)) < world.unfinished()]
        return JSONResponse({"status": "ok", "name": name, "period": "day"} | _chart(world, name, days))

    def mempool(request: Request) -> Response:
        span = SPAN_DAYS.get(request.path_params["span"])
        if span is None:
            return PlainTextResponse("Invalid interval", 400)
        first = max(world.unfinished() - timedelta(days=span), EPOCH)
        days = [first + timedelta(days=i) for i in range((world.unfinished() - first).days)]
        return JSONResponse(_hashrates(world, days))

    def fredgraph(request: Request) -> Response:
        query = request.query_params
        name = query.get("id", "")
        if name not in FRED:
            return Response("<html>The series does not exist.</html>", 404, media_type="text/html")
        first, last = (date.fromisoformat(query[end]) for end in ("cosd", "coed"))
        published = world.unfinished() - timedelta(days=FRED[name][2])
        days = [first + timedelta(days=i) for i in range((min(last, published) - first).days + 1)]
        lines = [f"{d},{macro(world, name, d)}" for d in days if d.weekday() < 5 and d >= EPOCH]
        return PlainTextResponse("\n".join([f"observation_date,{name}", *lines, ""]), media_type="text/csv")

    def views(request: Request) -> Response:
        path = request.path_params
        if not request.headers.get("user-agent"):
            return JSONResponse({"title": "Forbidden", "detail": "set a user agent"}, 403)
        first, last = (
            datetime.strptime(path[end][:8], "%Y%m%d").replace(tzinfo=UTC).date() for end in ("first", "last")
        )
        days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
        counted = [d for d in days if EPOCH <= d < world.unfinished()]
        if path["article"] not in ARTICLES or not counted:
            return JSONResponse({"title": "Not found.", "detail": "no data for those dates", "status": 404}, 404)
        return JSONResponse({"items": [_views(world, path["article"], d) for d in counted]})

    wikimedia = "/wikimedia/api/rest_v1/metrics/pageviews/per-article/en.wikipedia/all-access/user"
    return [
        Route("/alternative_me/fng/", fng),
        Route("/blockchain/charts/{name}", chart),
        Route("/mempool/api/v1/mining/hashrate/{span}", mempool),
        Route("/fred/graph/fredgraph.csv", fredgraph),
        Route(f"{wikimedia}/{{article}}/daily/{{first}}/{{last}}", views),
    ]


@lru_cache(maxsize=64)
def _steps(seed: int, name: str) -> np.ndarray:
    made = np.cumsum(np.random.default_rng([seed, *name.encode()]).standard_normal(SERIES_DAYS))
    made.setflags(write=False)
    return made


def walk(world: World, name: str, day: date) -> float:
    """Return a random walk of unit steps on a day: the same whatever was asked before."""
    return float(_steps(world.market.seed, name)[(day - EPOCH).days])


def difficulty(world: World, day: date) -> float:
    """Return the difficulty in force on a day; it changes every two weeks."""
    n = (day - EPOCH).days // ADJUSTED_EVERY * ADJUSTED_EVERY
    return round(5.5e13 * float(np.exp(0.02 * walk(world, "difficulty", EPOCH + timedelta(days=n)) + 0.001 * n)), 2)


def hash_rate(world: World, source: str, day: date) -> float:
    """Return a day's hash rate in H/s as one source estimates it: both count the same blocks, not quite alike."""
    blocks = dice(world, "blocks", day.isoformat()).poisson(144) / 144
    own = 1 + 0.01 * float(dice(world, source, day.isoformat()).standard_normal())
    return float(difficulty(world, day) * HASHES * blocks * own)


def macro(world: World, name: str, day: date) -> str:
    """Return FRED's text of a series on a weekday."""
    first, step, _ = FRED[name]
    if (day.month, day.day) in HOLIDAYS:
        return "."
    return f"{first * float(np.exp(step * walk(world, name, day))):.4f}"


def _mood(world: World, day: date, date_format: str) -> dict[str, str]:
    value = int(np.clip(round(50 + 20 * np.tanh(walk(world, "mood", day) / 8) + 5 * np.sin(day.toordinal())), 0, 100))
    written = day.strftime("%m-%d-%Y") if date_format == "us" else str(_seconds(day))
    return {
        "value": str(value),
        "value_classification": next(word for limit, word in CLASSES if value < limit),
        "timestamp": written,
    }


def _chart(world: World, name: str, days: list[date]) -> dict[str, object]:
    if name == "difficulty":
        return {"unit": "Difficulty", "values": [{"x": _seconds(d), "y": difficulty(world, d)} for d in days]}
    values = [{"x": _seconds(d), "y": hash_rate(world, "blockchain", d) / 1e12} for d in days]
    return {"unit": "Hash Rate TH/s", "values": values}


def _hashrates(world: World, days: list[date]) -> dict[str, object]:
    steps = [d for d in days if (d - EPOCH).days % ADJUSTED_EVERY == 0]
    return {
        "hashrates": [{"timestamp": _seconds(d), "avgHashrate": hash_rate(world, "mempool", d)} for d in days],
        "difficulty": [{"time": _seconds(d), "difficulty": difficulty(world, d)} for d in steps],
    }


def _views(world: World, article: str, day: date) -> dict[str, object]:
    count = int(ARTICLES[article] * np.exp(0.1 * walk(world, article, day) % 1.0))
    about = {
        "project": "en.wikipedia",
        "article": article,
        "granularity": "daily",
        "access": "all-access",
        "agent": "user",
    }
    return about | {"timestamp": f"{day:%Y%m%d}00", "views": count}


def _seconds(day: date) -> int:
    return int(midnight(day).timestamp())
