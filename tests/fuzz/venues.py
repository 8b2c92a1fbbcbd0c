"""The parsers of the exchanges' own interfaces, for the fuzz: the JSON of what ccxt hands over."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from fuzz.parser import Outcome, Parser

from crpbot_dagster.assets.raw import coinbase, deribit, funding, kraken
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Parsed
from crpbot_dagster.assets.raw.records import each_once, json_of
from crpbot_dagster.assets.raw.tape_records import one_tape
from crpbot_dagster.tables import TABLES

SYMBOL, DAY = "BTC-USD", date(2024, 1, 2)
START = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp())
ROWS = 120


def _records(payload: bytes) -> list[Any]:
    found = json_of(payload, "the answer")
    if not isinstance(found, list):
        raise DamagedFile("the answer is no list of records")
    return found


def _outcome(table: str, parsed: Parsed, repeated: int, **more: pl.Expr) -> Outcome:
    schema = TABLES[table].schema
    own = {"symbol": pl.lit(SYMBOL), "day": pl.lit(DAY)} | more
    kept = parsed.frame.with_columns(**{n: e for n, e in own.items() if n in schema})
    typed = kept.select(pl.col(n).cast(t) for n, t in schema.items()).collect()
    return Outcome(typed, parsed.rows, parsed.refused.height, repeated)


def _trades(table: str, parse: Callable[[list[Any], str, date], Parsed], name: str) -> Callable[[bytes], Outcome]:
    def read(payload: bytes) -> Outcome:
        return _outcome(table, *one_tape(parse(_records(payload), name, DAY)))

    return read


def _rates(parse: Callable[[list[Any], date], Parsed]) -> Callable[[bytes], Outcome]:
    def read(payload: bytes) -> Outcome:
        return _outcome("raw/funding_rates", *each_once(parse(_records(payload), DAY), "venue", "ts"))

    return read


def _dvol(payload: bytes) -> Outcome:
    parsed, repeated = each_once(deribit.dvol_from(_records(payload), "BTC", DAY), "currency", "hour")
    schema = TABLES["raw/deribit_options"].schema
    rest = {n: pl.lit(None, t) for n, t in schema.items() if n not in ("day", "currency", "hour", "dvol_frac")}
    known = {"available_ts": pl.col("hour") + pl.duration(minutes=61)}
    return _outcome("raw/deribit_options", parsed, repeated, **(rest | known))


def _at(second: float) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(records: list[Any]) -> bytes:
    return json.dumps(records).encode()


COINBASE = [
    {"trade_id": str(9_000 + n), "product_id": "BTC-USD", "price": f"{42_000 + n % 7}.5", "size": "0.01",
     "time": _at(n * 60), "side": ("BUY", "SELL")[n % 2], "bid": "", "ask": "", "exchange": "coinbase"}
    for n in range(ROWS)
]  # fmt: skip
KRAKEN = [
    [f"{42_000 + n % 7}.50000", "0.01000000", START + n * 60 + 0.25, "bs"[n % 2], "m", "", 9_000 + n]
    for n in range(ROWS)
]
KRAKEN_RATES = [{"timestamp": _at(h * 3600), "fundingRate": 0.4, "relativeFundingRate": 1e-5 * h} for h in range(24)]
DERIBIT_RATES = [
    {"timestamp": (START + h * 3600) * 1000, "index_price": 42_000.0, "prev_index_price": 42_001.0,
     "interest_8h": 8e-5, "interest_1h": 1e-5 * h}
    for h in range(24)
]  # fmt: skip
DVOL = [[(START + h * 3600) * 1000, 60.0, 61.5, 59.0, 60.5] for h in range(24)]

PARSERS: list[Parser] = [
    Parser(
        "raw/coinbase_trades", "json", _json(COINBASE), _trades("raw/coinbase_trades", coinbase.trades_from, "BTC-USD")
    ),
    Parser("raw/kraken_trades", "json", _json(KRAKEN), _trades("raw/kraken_trades", kraken.trades_from, "XXBTZUSD")),
    Parser("raw/funding_rates", "json", _json(KRAKEN_RATES), _rates(funding.kraken_rates)),
    Parser("raw/funding_rates", "json", _json(DERIBIT_RATES), _rates(funding.deribit_rates)),
    Parser("raw/deribit_options", "json", _json(DVOL), _dvol),
]
