"""The parsers of the web sources, for the fuzz: each with a sound answer, and what it makes of any other."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from fuzz.parser import Outcome, Parser

from crpbot_dagster.assets.raw.attention import articles_in, parse_articles, parse_views
from crpbot_dagster.assets.raw.coingecko import coin_row, parse_coin, parse_global, parse_market
from crpbot_dagster.assets.raw.cryptocompare import candles_in, parse_candles
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Parsed
from crpbot_dagster.assets.raw.fear_greed import parse_fear_greed, parse_records
from crpbot_dagster.assets.raw.hash_rate import H_PER_EH, TH_PER_EH, as_rows, parse_chart, parse_mempool
from crpbot_dagster.assets.raw.traditional_markets import parse_fred
from crpbot_dagster.assets.raw.web_days import after
from crpbot_dagster.tables import TABLES

RECORDED = Path(__file__).parents[1] / "recorded"
FIRST = date(2024, 1, 1)
DAYS = [FIRST + timedelta(days=i) for i in range(60)]
START_S = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())


def outcome(table: str, found: tuple[Parsed, int], **columns: Any) -> Outcome:
    """What was kept as rows of the table; what the asset adds from outside the answer is given or null."""
    parsed, repeated = found
    frame = parsed.frame.with_columns(**{k: v if isinstance(v, pl.Expr) else pl.lit(v) for k, v in columns.items()})
    schema, have = TABLES[table].schema, set(frame.collect_schema())
    given = {"symbol": "BTC-USD", "day": FIRST}
    absent = [pl.lit(given.get(n)).alias(n) for n in schema if n not in have]
    kept = frame.with_columns(absent).select(pl.col(n).cast(t) for n, t in schema.items()).collect()
    return Outcome(kept, parsed.rows, parsed.refused.height, repeated)


def decoded(payload: bytes) -> Any:
    """What pycoingecko hands over: its JSON is Python's, which takes NaN for a number."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DamagedFile("the client itself refuses it") from error


def candles(payload: bytes) -> Outcome:
    return outcome("raw/cryptocompare_candles", parse_candles(candles_in(payload)), day=pl.col("ts").dt.date())


def market(payload: bytes) -> Outcome:
    parsed, repeated = parse_market(decoded(payload))
    frame = parsed.frame.with_columns(day=pl.col("ts_exchange").dt.date()).with_columns(available_ts=after(1, hours=1))
    return outcome("raw/coingecko_market", (Parsed(frame, parsed.refused, parsed.rows), repeated))


def coin(payload: bytes) -> Outcome:
    return outcome("raw/coingecko_coin", (coin_row(parse_coin(decoded(payload)), FIRST, None), 0))


def whole_market(payload: bytes) -> Outcome:
    taken = datetime(2024, 1, 2, 6, tzinfo=UTC)
    return outcome("raw/coingecko_global", (parse_global(decoded(payload)), 0), ts_received=taken, available_ts=taken)


def mood(payload: bytes) -> Outcome:
    return outcome("raw/fear_greed", parse_fear_greed(payload))


def mood_us(payload: bytes) -> Outcome:
    try:
        records = list(csv.DictReader(io.StringIO(payload.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedFile("no CSV") from error
    named = [{str(k): v for k, v in r.items()} for r in records]  # DictReader names surplus cells None
    return outcome("raw/fear_greed", parse_records(named, "us"))


def charts(payload: bytes) -> Outcome:
    return outcome("raw/hash_rate", as_rows(parse_chart(payload, "TH/s"), "blockchain", TH_PER_EH))


def mempool(payload: bytes) -> Outcome:
    return outcome("raw/hash_rate", as_rows(parse_mempool(payload), "mempool", H_PER_EH))


def macro(payload: bytes) -> Outcome:
    return outcome("raw/traditional_markets", parse_fred(payload, "SP500"))


def attention(found: tuple[Parsed, int], **columns: Any) -> Outcome:
    parsed, repeated = found
    times = parsed.frame.with_columns(after(2).alias("wiki_available_ts"), after(1, hours=1).alias("news_available_ts"))
    return outcome("raw/attention", (Parsed(times, parsed.refused, parsed.rows), repeated), **columns)


def views(payload: bytes) -> Outcome:
    return attention(parse_views(payload))


def articles(payload: bytes) -> Outcome:
    # The table counts articles; here each is a row of its own, told apart by its id.
    found = parse_articles(articles_in(payload))
    tone = [(pl.col("sentiment") == s).fill_null(False) for s in ("POSITIVE", "NEGATIVE")]
    counts = {"news_pos_n": tone[0].cast(pl.Int64), "news_neg_n": tone[1].cast(pl.Int64)}
    return attention(found, symbol=pl.col("ID").cast(pl.String), news_n=1, **counts)


def sound_candles() -> bytes:
    rows = [
        {"time": START_S + 60 * i, "high": 12.5, "low": 9, "open": 10, "volumefrom": i % 3, "volumeto": 10.5 * (i % 3),
         "close": 11, "conversionType": "direct", "conversionSymbol": ""}
        for i in range(200)
    ]  # fmt: skip
    return json.dumps({"Response": "Success", "Type": 100, "Data": {"Aggregated": False, "Data": rows}}).encode()


def sound_mood(written: str) -> str:
    stamps = [
        f"{d.month}/{d.day}/{d.year}" if written == "us" else str(START_S + 86_400 * i) for i, d in enumerate(DAYS)
    ]
    entries = [{"value": str(i % 101), "value_classification": "Fear", "timestamp": s} for i, s in enumerate(stamps)]
    if written == "unix":
        return json.dumps({"name": "Fear and Greed Index", "data": entries, "metadata": {"error": None}})
    return "\n".join([",".join(entries[0]), *(",".join(e.values()) for e in entries), ""])


def recorded(path: str) -> bytes:
    return (RECORDED / path).read_bytes()


RATES = [{"x": START_S + 86_400 * i, "y": 5e8 + i} for i in range(60)]
HASHRATES = [{"timestamp": r["x"], "avgHashrate": 1e12 * r["y"]} for r in RATES]
PRICES = "\n".join(
    ["observation_date,SP500", *(f"{d},{'.' if i % 9 == 0 else 4700 + i}" for i, d in enumerate(DAYS)), ""]
)
READ_JSON = partial(Parser, kind="json")

PARSERS: list[Parser] = [
    READ_JSON(table="raw/cryptocompare_candles", payload=sound_candles(), parse=candles),
    READ_JSON(table="raw/coingecko_market", payload=recorded("coingecko/market_chart_range.json"), parse=market),
    READ_JSON(table="raw/coingecko_coin", payload=recorded("coingecko/coin.json"), parse=coin),
    READ_JSON(table="raw/coingecko_global", payload=recorded("coingecko/global.json"), parse=whole_market),
    READ_JSON(table="raw/fear_greed", payload=sound_mood("unix").encode(), parse=mood),
    Parser("raw/fear_greed", "csv", sound_mood("us").encode(), mood_us),
    READ_JSON(
        table="raw/hash_rate", payload=json.dumps({"unit": "Hash Rate TH/s", "values": RATES}).encode(), parse=charts
    ),
    READ_JSON(
        table="raw/hash_rate", payload=json.dumps({"hashrates": HASHRATES, "difficulty": []}).encode(), parse=mempool
    ),
    Parser("raw/traditional_markets", "csv", PRICES.encode(), macro),
    READ_JSON(table="raw/attention", payload=recorded("wikimedia/per_article.json"), parse=views),
    READ_JSON(table="raw/attention", payload=recorded("coindesk/article_list.json"), parse=articles),
]
