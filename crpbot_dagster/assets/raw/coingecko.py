"""CoinGecko: price and capitalisation of coins at the end of a day, snapshots of a coin, and of the whole market.

What: ``market_chart/range`` gives price, capitalisation and 24-hour volume as of the day's end; ``coins/{id}`` and
``/global`` give what is now, and nothing else: a snapshot stands for the newest finished day alone, is valid from the
moment it was taken, and is never spread over past days. For past days ``coins/{id}/history`` gives the vendor's own
record of community and developers (rank and supply are not in it), and ``/global`` gives nothing: such a day is
missing. Since: 2013; without a paid plan 365 days back, older days are ``not_licensed``. Licence and price: free with
attribution, with or without a demo key. Clock: the vendor's, milliseconds; a day is closed at 00:35 of the next, so it
is known from 01:00. Granularity follows the range and its age: five minutes within the last day, an hour up to 90 days,
the day above; one day is asked for, and the point nearest to its end is taken. Limits: 30 requests a minute and 10,000
a month with a demo key, 5 to 15 a minute without; 429 names the wait. Known faults: hourly points come some seconds
after the hour; Reddit's figures are 0 or null since 2023.
Source: https://docs.coingecko.com/reference/coins-id-market-chart-range
"""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster.assets.checks import table_asset
from crpbot_dagster.assets.raw.dataset_file import EARLIEST_US, LATEST_US, DamagedFile, Layout, Parsed, positive
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import each_once, read_records
from crpbot_dagster.assets.raw.web_days import WebDay, after, midnight, seconds, utc, web_day
from crpbot_dagster.resources.coingecko import CoinGecko
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.tables.schema import UTC_US

SOURCE = "coingecko"
MARKET, COIN, GLOBAL = "raw/coingecko_market", "raw/coingecko_coin", "raw/coingecko_global"
BEFORE_END, AFTER_END = timedelta(hours=2), timedelta(minutes=10)  # what is asked for: one hourly point lies in it
DAY = timedelta(days=1)
NO_HISTORY = "a snapshot stands for the newest finished day alone, and the vendor serves no past ones"
F64, I64 = pl.Float64(), pl.Int64()


def _known(column: str, sound: pl.Expr) -> pl.Expr:
    return sound | pl.col(column).is_null()


def _count(column: str) -> pl.Expr:
    return _known(column, pl.col(column).is_finite() & (pl.col(column) >= 0))


CHART = Layout(
    "market_chart",
    {"stamp": I64, "price": F64, "market_cap": F64, "total_volume": F64},
    {
        "the stamp is no moment between 2009 and 2100": pl.col("stamp").is_between(
            EARLIEST_US // 1000, LATEST_US // 1000
        ),
        "price is not a positive number": positive("price"),
        "capitalisation is not a positive number": _known("market_cap", positive("market_cap")),
        "volume is negative or no number": _count("total_volume"),
    },
)
LISTS = ("prices", "market_caps", "total_volumes")

COUNTS = {
    "reddit_subscribers_n": ("community_data", "reddit_subscribers"),
    "telegram_users_n": ("community_data", "telegram_channel_user_count"),
    "commits_4w_n": ("developer_data", "commit_count_4_weeks"),
    "stars_n": ("developer_data", "stars"),
    "forks_n": ("developer_data", "forks"),
    "prs_merged_n": ("developer_data", "pull_requests_merged"),
}
SUPPLIES = {
    "circulating_supply_coin": ("market_data", "circulating_supply"),
    "total_supply_coin": ("market_data", "total_supply"),
    "max_supply_coin": ("market_data", "max_supply"),
}
RANK = {"market_cap_rank_n": ("market_cap_rank",)}
COIN_LAYOUT = Layout(
    "coin",
    dict.fromkeys((*RANK, *SUPPLIES, *COUNTS), F64),
    {
        "the rank is no whole number from 1": _known(
            "market_cap_rank_n", pl.col("market_cap_rank_n").is_between(1, 1e6) & (pl.col("market_cap_rank_n") % 1 == 0)
        ),
        "a supply is negative or no number": pl.all_horizontal([_count(c) for c in SUPPLIES]),
        "a count is negative or no whole number": pl.all_horizontal(
            [_count(c) & _known(c, (pl.col(c) % 1 == 0) & (pl.col(c) < 1e12)) for c in COUNTS]
        ),
    },
)

SHARES = {f"{coin}_frac": ("market_cap_percentage", coin) for coin in ("btc", "eth", "usdt", "usdc")}
TOTALS = {"total_cap_usd": ("total_market_cap", "usd"), "total_volume_usd": ("total_volume", "usd")}
GLOBAL_LAYOUT = Layout(
    "global",
    {"updated_at": I64} | dict.fromkeys((*TOTALS, *SHARES), F64),
    {
        "updated_at is no moment between 2009 and 2100": seconds("updated_at"),
        "the total is not a positive number": positive("total_cap_usd"),
        "the volume is negative or no number": pl.col("total_volume_usd").is_finite()
        & (pl.col("total_volume_usd") >= 0),
        "a share is no percentage": pl.all_horizontal([_known(c, pl.col(c).is_between(0, 100)) for c in SHARES])
        & (pl.sum_horizontal(list(SHARES)) <= 100),
        "Bitcoin's or Ether's share is absent": pl.col("btc_frac").is_not_null() & pl.col("eth_frac").is_not_null(),
    },
)


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _document(document: Any, layout: Layout) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise DamagedFile(f"{layout.data_type}: the answer is no object")
    return document


def parse_market(document: Any) -> tuple[Parsed, int]:
    """Return the points of a chart as rows of the table without its key columns, the refused ones, and the repeats.

    Raises
    ------
    DamagedFile
        The three lists are not there, or differ in length.
    """
    found = _document(document, CHART)
    lists = [found.get(name) for name in LISTS]
    if not all(isinstance(x, list) for x in lists) or len({len(x) for x in lists if isinstance(x, list)}) != 1:
        raise DamagedFile(f"{CHART.data_type}: {', '.join(LISTS)} are not three lists of one length")
    parsed, repeated = each_once(read_records([_point(*p) for p in zip(*lists, strict=True)], CHART), "stamp")
    ts = (pl.col("stamp") * 1000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = parsed.frame.select(
        "line_n",
        ts.alias("ts_exchange"),
        pl.col("price").alias("price_usd"),
        pl.col("market_cap").alias("market_cap_usd"),
        pl.col("total_volume").alias("total_volume_usd"),
    )
    return Parsed(frame, parsed.refused, parsed.rows), repeated


def _point(price: Any, cap: Any, volume: Any) -> dict[str, Any]:
    # A point whose three stamps differ is no point: it lacks what the layout asks for and is refused.
    pairs = [p for p in (price, cap, volume) if isinstance(p, list) and len(p) == 2]
    if len(pairs) != 3 or not price[0] == cap[0] == volume[0]:
        return {"prices": price, "market_caps": cap, "total_volumes": volume}
    return {"stamp": price[0], "price": price[1], "market_cap": cap[1], "total_volume": volume[1]}


def at_end_of(parsed: Parsed, day: date) -> Parsed:
    """Return the point nearest to the end of ``day``, the earlier of two, with the moment from which it is known."""
    distance = (pl.col("ts_exchange") - pl.lit(midnight(day) + DAY)).abs()
    nearest = parsed.frame.sort(distance, "ts_exchange").head(1).with_columns(pl.lit(day).alias("day"))
    return replace(parsed, frame=nearest.with_columns(after(1, hours=1).alias("available_ts")))


def parse_coin(document: Any) -> Parsed:
    """Return the one row of a coin's snapshot or history, without kind and times, or why it was refused."""
    found = _document(document, COIN_LAYOUT)
    parsed = read_records([{c: _at(found, path) for c, path in (RANK | SUPPLIES | COUNTS).items()}], COIN_LAYOUT)
    frame = parsed.frame.with_columns(pl.col(c).cast(I64) for c in (*RANK, *COUNTS))
    return Parsed(frame, parsed.refused, parsed.rows)


def is_recorded(document: Any) -> bool:
    """Return whether the vendor's history has the day: for one it lacks it sends the coin's name alone."""
    return isinstance(document, dict) and ("developer_data" in document or "community_data" in document)


def coin_row(parsed: Parsed, day: date, taken: datetime | None) -> Parsed:
    """Return a coin's row with its kind and times: a snapshot was ``taken`` at a moment, history was not."""
    frame = parsed.frame.with_columns(
        pl.lit("history" if taken is None else "snapshot").alias("kind"),
        pl.lit(taken, UTC_US).alias("ts_received"),
        pl.lit(midnight(day) + DAY + timedelta(hours=1) if taken is None else taken, UTC_US).alias("available_ts"),
    )
    return replace(parsed, frame=frame)


def parse_global(document: Any) -> Parsed:
    """Return the one row of a snapshot of the whole market, without its own times, or why it was refused."""
    found = _document(document, GLOBAL_LAYOUT)
    record = {c: _at(found, path) for c, path in (TOTALS | SHARES).items()} | {"updated_at": found.get("updated_at")}
    parsed = read_records([record], GLOBAL_LAYOUT)
    frame = parsed.frame.select(
        "line_n", utc(pl.col("updated_at")).alias("ts_exchange"), *TOTALS, *(pl.col(c) / 100 for c in SHARES)
    )
    return Parsed(frame, parsed.refused, parsed.rows)


def is_newest_finished(end: datetime, now: datetime) -> bool:
    """Return whether the day that ended at ``end`` is the newest finished one: a snapshot stands for it alone."""
    return timedelta(0) <= now - end < DAY


def held_snapshot(asked: WebDay) -> Built | None:
    """Return the day as the lake holds it when that is a snapshot: it cannot be taken again, nor be bettered."""
    held = asked.lake.scan(asked.table, asked.symbol, asked.day, asked.day)
    rows = held.filter(pl.col("ts_received").is_not_null()).collect()
    why = {"why": "the snapshot that was taken then is kept"}
    return Built(rows, "complete", SOURCE, {"quarantined_frac": 0.0}, why) if rows.height else None


@table_asset(MARKET, kinds={"pycoingecko"}, tags={"cost": "free"}, pool="coingecko_api", code_version="1")
def coingecko_market(context: dg.AssetExecutionContext, coingecko: CoinGecko, lake: Lake) -> Built:
    """One row per day: the coin's price, capitalisation and volume at the day's end.

    Asks for the two hours before the day's end. Known fault: an hourly point comes some seconds after its hour.
    """
    asked = web_day(context, lake, MARKET, SOURCE)
    if asked.why:
        return asked.unasked()
    first, last = asked.end - BEFORE_END, asked.end + AFTER_END
    reply = coingecko.market_chart(asked.name, int(first.timestamp()), int(last.timestamp()))
    if reply.state != "complete":
        return asked.nothing(reply.state, reply.url)
    with trusted(reply.url):
        parsed, repeated = parse_market(reply.document)
    state = "complete" if parsed.rows else "missing"
    return asked.land(at_end_of(parsed, asked.day), reply.url, repeated=repeated, state=state)


@table_asset(COIN, kinds={"pycoingecko"}, tags={"cost": "free"}, pool="coingecko_api", code_version="1")
def coingecko_coin(context: dg.AssetExecutionContext, coingecko: CoinGecko, lake: Lake) -> Built:
    """One row per day: the coin's rank, supply, community and developers, as a snapshot or from the vendor's history.

    The newest finished day is taken as it is now; an older one from the record of its end, without rank and supply.
    """
    asked = web_day(context, lake, COIN, SOURCE)
    if asked.why:
        return asked.unasked()
    taken = asked.now if is_newest_finished(asked.end, asked.now) else None
    if taken is None and (held := held_snapshot(asked)) is not None:
        return held
    reply = coingecko.coin(asked.name) if taken else coingecko.history(asked.name, f"{asked.end:%d-%m-%Y}")
    if reply.state != "complete":
        return asked.nothing(reply.state, reply.url)
    if not is_recorded(reply.document):
        return asked.nothing("missing", f"{reply.url} has no record of it")
    with trusted(reply.url):
        parsed = parse_coin(reply.document)
    return asked.land(coin_row(parsed, asked.day, taken), reply.url)


@table_asset(GLOBAL, kinds={"pycoingecko"}, tags={"cost": "free"}, pool="coingecko_api", code_version="1")
def coingecko_global(context: dg.AssetExecutionContext, coingecko: CoinGecko, lake: Lake) -> Built:
    """One row per day of the whole market: its capitalisation, and the shares of Bitcoin, Ether and two stablecoins.

    A snapshot for the newest finished day. Any other day is missing: the vendor serves no history of it, and what is
    now says nothing about then.
    """
    asked = web_day(context, lake, GLOBAL, SOURCE)
    if asked.why:
        return asked.unasked()
    if not is_newest_finished(asked.end, asked.now):
        return held_snapshot(asked) or asked.nothing("missing", NO_HISTORY)
    reply = coingecko.whole_market()
    if reply.state != "complete":
        return asked.nothing(reply.state, reply.url)
    with trusted(reply.url):
        parsed = parse_global(reply.document)
    taken = pl.lit(asked.now, UTC_US)
    rows = parsed.frame.with_columns(taken.alias("ts_received"), taken.alias("available_ts"))
    return asked.land(replace(parsed, frame=rows), reply.url)


ASSETS = (coingecko_market, coingecko_coin, coingecko_global)
