"""CoinGecko's REST interface, as pycoingecko asks for it: charts, coins, their history, the whole market.

GET /coingecko/api/v3/coins/{id}/market_chart/range?vs_currency=usd&from=&to=   five minutes or an hour apart, by age
GET /coingecko/api/v3/coins/{id}/                 the coin as it is now
GET /coingecko/api/v3/coins/{id}/history?date=dd-mm-yyyy   community and developers at 00:00 UTC of a date
GET /coingecko/api/v3/global                      the whole market as it is now
Now is the start of the first day that is not over. Every day back to the market's first is served, as to a paid plan.
https://docs.coingecko.com/reference/coins-id-market-chart-range
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.world import World, dice, midnight

COINS = {"bitcoin": ("BTC-USD", 1), "ethereum": ("ETH-USD", 2), "solana": ("SOL-USD", 5)}  # id → symbol, rank
SUPPLY_COIN = {
    "BTC-USD": (19_500_000, 900, 21_000_000),
    "ETH-USD": (120_200_000, 0, None),
    "SOL-USD": (420_000_000, 60_000, None),
}
STABLE_USD = {"usdt": 84e9, "usdc": 25e9}
OTHERS_USD = 3.5e11  # the coins that are not simulated
FIVE_MINUTES_S, HOUR_S = 300, 3_600


def routes(world: World) -> list[Route]:
    """Return the endpoints of the simulated market."""

    def chart(request: Request) -> Response:
        coin, query = COINS.get(request.path_params["coin"]), request.query_params
        if coin is None:
            return _not_found()
        first, last = int(query["from"]), int(query["to"])
        now = int(midnight(world.unfinished()).timestamp())
        step = FIVE_MINUTES_S if first >= now - 86_400 else HOUR_S
        stamps = range(-(-first // step) * step, min(last, now) + 1, step)
        points = [p for t in stamps if (p := point(world, coin[0], t)) is not None]
        lists = zip(("prices", "market_caps", "total_volumes"), range(1, 4), strict=True)
        return JSONResponse({name: [[p[0], p[i]] for p in points] for name, i in lists})

    def coin_now(request: Request) -> Response:
        coin = COINS.get(request.path_params["coin"])
        if coin is None:
            return _not_found()
        day = world.unfinished()
        limit = SUPPLY_COIN[coin[0]][2]
        about = {"id": request.path_params["coin"], "market_cap_rank": coin[1], "last_updated": f"{day}T00:00:00.000Z"}
        held = _supply(coin[0], day)
        market_data = {"circulating_supply": held, "total_supply": limit or held, "max_supply": limit}
        return JSONResponse(about | {"market_data": market_data} | people(world, coin[0], day))

    def history(request: Request) -> Response:
        coin = COINS.get(request.path_params["coin"])
        if coin is None:
            return _not_found()
        day = datetime.strptime(request.query_params["date"], "%d-%m-%Y").replace(tzinfo=UTC).date()
        about = {"id": request.path_params["coin"]}
        is_there = market.EPOCH < day <= world.unfinished()
        return JSONResponse(about | people(world, coin[0], day) if is_there else about)

    def whole(_: Request) -> Response:
        now = int(midnight(world.unfinished()).timestamp())
        caps = {symbol.partition("-")[0].lower(): _last(world, symbol, now) for symbol, _ in COINS.values()}
        caps |= STABLE_USD
        total = sum(caps.values()) + OTHERS_USD
        shares = {name: 100 * cap / total for name, cap in caps.items()}
        data = {
            "active_cryptocurrencies": 10_000,
            "markets": 900,
            "total_market_cap": {"usd": total},
            "total_volume": {"usd": 0.04 * total},
            "market_cap_percentage": shares,
            "updated_at": now,
        }
        return JSONResponse({"data": data})

    base = "/coingecko/api/v3"
    return [
        Route(f"{base}/coins/{{coin}}/market_chart/range", chart),
        Route(f"{base}/coins/{{coin}}/history", history),
        Route(f"{base}/coins/{{coin}}/", coin_now),
        Route(f"{base}/global", whole),
    ]


def point(world: World, symbol: str, second: int) -> tuple[int, float, float, float] | None:
    """Return stamp in ms, price, capitalisation and volume as of a moment; None before the market's first minute."""
    moment = datetime.fromtimestamp(second, UTC)
    before = moment - timedelta(minutes=15)
    if before.date() < market.EPOCH:
        return None
    with world.lock:
        price = candles(world.market, symbol, before, moment, 60)["close"].to_list()[-1]
    late_ms = int(dice(world, symbol, "stamps", str(second)).integers(0, 30_000))
    price *= 1 + 2e-4 * float(dice(world, symbol, "coingecko", str(second)).standard_normal())
    cap = price * _supply(symbol, moment.date())
    return second * 1000 + late_ms, price, cap, cap * 0.03


def people(world: World, symbol: str, day: date) -> dict[str, Any]:
    """Return a coin's community and developers at the start of a day."""
    age = (day - market.EPOCH).days
    rng = dice(world, symbol, "people", day.isoformat())
    community = {"facebook_likes": None, "reddit_subscribers": 0, "telegram_channel_user_count": None}
    developers = {
        "forks": 30_000 + 3 * age,
        "stars": 70_000 + 12 * age,
        "pull_requests_merged": 11_000 + 5 * age,
        "commit_count_4_weeks": int(rng.poisson(120)),
    }
    return {"community_data": community, "developer_data": developers}


def _supply(symbol: str, day: date) -> int:
    start, a_day, _ = SUPPLY_COIN[symbol]
    return start + a_day * (day - market.EPOCH).days


def _last(world: World, symbol: str, second: int) -> float:
    found = point(world, symbol, second)
    return found[2] if found is not None else 0.0


def _not_found() -> Response:
    return JSONResponse({"error": "coin not found"}, 404)
