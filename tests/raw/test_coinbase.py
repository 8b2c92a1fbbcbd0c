"""Coinbase's candles and trades: what the exchange does not have is no error, whose side a trade has, pages that meet."""

import gzip
import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import ccxt
import polars as pl
import pytest
from raw.exchange import OPTIONS, checks_of, exchange, materialise
from starlette.responses import Response

from crpbot_dagster.assets.raw.coinbase import coinbase_trades, trades_from
from crpbot_dagster.assets.raw.records import json_of
from crpbot_dagster.assets.raw.tape_records import one_tape
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.exchanges import CoinbaseCandles, FinalAnswer
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables.raw_venues import LEAST_TICK_RULE_FRAC, tick_rule_agreement

DAY = date(2024, 1, 2)
MIDNIGHT = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp())
SPEC = MarketSpec(7, 0.3)
FLIP = {"buy": "sell", "sell": "buy"}


def coinbase(url: str | None) -> CoinbaseCandles:
    return CoinbaseCandles(endpoint=url, **OPTIONS)


def trade(n: int, second: float, side: str = "BUY", price: str = "100", **more: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(MIDNIGHT + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    record = {"trade_id": str(n), "product_id": "BTC-USD", "price": price, "size": "0.5", "time": at, "side": side}
    return record | more


def test_a_product_without_recorded_candles_has_none(tmp_path: Path) -> None:
    with serve(create_app(None, tmp_path, None)) as url:
        assert coinbase(url).fetch("BTC-USD", DAY, 60) == []


def test_another_refusal_is_an_error(tmp_path: Path) -> None:
    with serve(create_app(None, tmp_path, None)) as url, pytest.raises(SourceError, match=r"refused|did not answer"):
        coinbase(f"{url}/v1").fetch("BTC-USD", DAY, 60)


# --- whose side ---------------------------------------------------------------------------------------------


def test_the_side_is_the_makers_and_only_one_class_of_ccxt_knows(shared_data: Path) -> None:
    recorded = json_of((shared_data / "responses/coinbase/http_ticker.json").read_bytes(), "ticker")
    newest = recorded["trades"][0]
    assert newest["price"] == recorded["best_ask"] and newest["side"] == "SELL", "a buyer lifted the resting ask"
    assert ccxt.coinbase().parse_trade(newest)["side"] == "sell"
    assert ccxt.coinbaseexchange().parse_trade(newest | {"side": "sell"}, {"symbol": "BTC/USD", "quote": "USD"})[
        "side"
    ] == "buy"  # fmt: skip
    rows = trades_from(recorded["trades"], "BTC-USD", date(2026, 4, 7)).frame.collect()
    assert rows["side"].to_list() == ["buy", "buy", "sell"]
    assert rows["ts_exchange"][0] == datetime(2026, 4, 7, 0, 28, 58, 544778, tzinfo=UTC)


def test_the_tick_rule_agrees_with_the_recorded_feed_of_the_exchange(shared_data: Path) -> None:
    found: dict[str, list[Any]] = {}
    with gzip.open(shared_data / "responses/streams/COINBASE.ws.28.0.gz", "rt") as lines:
        for line in lines:
            if match := re.match(r'[\d.]+: (\{"type":"match".*)', line):
                record = json.loads(match[1])
                found.setdefault(record["product_id"], []).append(record | {"side": record["side"].upper()})
    records = found["SKL-USD"]
    parsed, repeated = one_tape(trades_from(records, "SKL-USD", date(2021, 4, 17)))
    tape = parsed.frame.collect()
    assert tape.height == len(records) - repeated > 50
    assert tape.select(tick_rule_agreement()).item() > LEAST_TICK_RULE_FRAC + 0.1
    flipped = tape.with_columns(pl.col("side").replace_strict(FLIP))
    assert flipped.select(tick_rule_agreement()).item() < 0.3


def test_a_side_that_is_not_known_is_null_and_another_word_is_refused() -> None:
    records = [trade(1, 1, "UNKNOWN_ORDER_SIDE"), trade(2, 2, ""), trade(3, 3, "HOLD"), trade(4, 4, "SELL")]
    parsed = trades_from(records, "BTC-USD", DAY)
    assert parsed.frame.collect()["side"].to_list() == [None, None, "buy"]
    assert parsed.refused["line_n"].to_list() == [3]


# --- rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"price": "0"}, {"price": "-1"}, {"price": "1e400"}, {"price": "1,5"}, {"price": "+1"}, {"price": None},
        {"size": "0"}, {"size": "nan"}, {"time": "2024-01-02T00:00:01"}, {"time": 1704153601}, {"time": None},
        {"time": "2024-01-01T23:59:59.999999Z"}, {"time": "2024-01-03T00:00:00Z"}, {"time": "2024-02-30T00:00:00Z"},
        {"trade_id": "x"}, {"trade_id": ""}, {"trade_id": "1.5"}, {"product_id": "ETH-USD"}, {"side": 1},
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_and_the_others_stay(change: dict[str, Any]) -> None:
    parsed = trades_from([trade(1, 1), trade(2, 2) | change, trade(3, 3)], "BTC-USD", DAY)
    assert parsed.frame.collect()["trade_id"].to_list() == ["1", "3"] and parsed.refused["line_n"].to_list() == [2]


@pytest.mark.parametrize("record", [None, 1, "x", [], {}, [trade(1, 1)]])
def test_what_is_no_record_is_refused(record: Any) -> None:
    parsed = trades_from([record, trade(1, 1)], "BTC-USD", DAY)
    assert parsed.refused["line_n"].to_list() == [1] and parsed.frame.collect().height == 1


def test_a_time_with_an_offset_is_utc_and_the_last_microsecond_belongs_to_the_day() -> None:
    records = [trade(1, 1, time="2024-01-02T02:00:00+02:00"), trade(2, 1, time="2024-01-02T23:59:59.999999Z")]
    assert trades_from(records, "BTC-USD", DAY).frame.collect()["ts_exchange"].to_list() == [
        datetime(2024, 1, 2, tzinfo=UTC),
        datetime(2024, 1, 2, 23, 59, 59, 999999, tzinfo=UTC),
    ]


def test_one_id_with_two_prices_is_refused_both_times_and_an_equal_repeat_is_one_trade() -> None:
    records = [trade(2, 2), trade(1, 1), trade(2, 2), trade(3, 3), trade(3, 3, price="101")]
    tape, repeated = one_tape(trades_from(records, "BTC-USD", DAY))
    assert tape.frame.collect().select("seq", "trade_id").rows() == [(0, "1"), (1, "2")]
    assert repeated == 1 and tape.refused["line_n"].to_list() == [4, 5]
    assert tape.frame.collect().height + tape.refused.height + repeated == tape.rows


# --- the asset, from the sandbox ----------------------------------------------------------------------------


def test_the_day_is_the_simulated_tape_and_the_checks_hold(tmp_path: Path) -> None:
    lake, day = Lake(url=str(tmp_path), market="sandbox", start_day="2023-11-10"), date(2023, 11, 17)
    with serve(create_app(SPEC, None, None, today=date(2023, 11, 20))) as url:
        made = materialise(coinbase_trades, key("BTC-USD", day), lake, coinbase=coinbase(url))
    assert made.success and all(checks_of(made).values()), checks_of(made)
    held = lake.window("raw/coinbase_trades", "BTC-USD", day, day).collect().sort("seq")
    tape = market.tape(SPEC, "BTC-USD", day)
    assert held.height == tape.height > 5000, "several pages, each trade once"
    expected = tape.select(pl.col("id").alias("trade_id"), "side", "price", "amount")
    assert held.select(expected.columns).equals(expected)
    assert (held["ts_exchange"].dt.epoch("us") == tape["ts_exchange"]).all()


def test_a_product_it_does_not_know_is_missing_and_recordings_hold_no_trades(tmp_path: Path, environment) -> None:
    lake, day = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10"), date(2023, 11, 17)
    refusal = Response(json.dumps({"error": "NOT_FOUND", "message": "no"}), 404, media_type="application/json")
    with exchange(lambda _: refusal) as url:
        assert materialise(coinbase_trades, key("BTC-USD", day), lake, coinbase=coinbase(url)).success
        assert lake.state("raw/coinbase_trades", "BTC-USD", day) == "missing"
        environment(market="recordings", recordings=str(tmp_path))
        assert materialise(coinbase_trades, key("BTC-USD", day), lake, coinbase=coinbase(url)).success
        assert lake.state("raw/coinbase_trades", "BTC-USD", day) == "not_configured"


def test_rows_that_are_refused_fail_the_day_and_the_head_stays(tmp_path: Path) -> None:
    lake, partition = Lake(url=str(tmp_path), market="sandbox", start_day="2023-11-10"), key("BTC-USD", DAY)
    records = [trade(n, n) for n in range(1, 101)]
    with exchange(lambda _: {"trades": records[::-1]}) as url:
        assert materialise(coinbase_trades, partition, lake, coinbase=coinbase(url)).success
        records[50] = trade(51, 51, price="garbage")
        assert not materialise(coinbase_trades, partition, lake, coinbase=coinbase(url)).success
        assert pl.read_delta(lake.path("raw/quarantine"))["line_n"].to_list() == [50]
        records[50] = trade(51, 51)
        records[0] = trade(1000, 1)  # the ids begin anew: what is numbered last was traded first
        assert not materialise(coinbase_trades, partition, lake, coinbase=coinbase(url)).success
    assert lake.window("raw/coinbase_trades", "BTC-USD", DAY, DAY).collect().height == 100


# --- pages --------------------------------------------------------------------------------------------------


class Pages:
    """Coinbase's page rules over a list of trades, oldest first; ``lost`` drops the first records of some answers."""

    def __init__(self, records: list[dict[str, Any]], lost: dict[int, int] | None = None) -> None:
        self.records, self.lost, self.asked = records, lost or {}, 0

    def __call__(self, query: dict[str, str]) -> dict[str, Any]:
        stop, self.asked = int(query["end"]), self.asked + 1
        within = [r for r in self.records if datetime.fromisoformat(r["time"]).timestamp() < stop + 1]
        return {"trades": within[::-1][self.lost.get(self.asked, 0) :][: int(query["limit"])]}


def ids(url: str) -> list[int]:
    return [int(r["trade_id"]) for page in coinbase(url).trades("BTC-USD", DAY) for r in page]


RECORDS = [trade(n, n / 2) for n in range(1, 2501)]


def test_pages_overlap_and_each_trade_comes_once() -> None:
    pages = Pages(RECORDS)
    with exchange(pages) as url:
        assert ids(url) == list(range(2500, 0, -1)) and pages.asked == 4


def test_a_skip_at_a_page_edge_is_asked_for_again() -> None:
    pages = Pages(RECORDS, lost={2: 7})
    with exchange(pages) as url:
        assert ids(url) == list(range(2500, 0, -1)) and pages.asked == 5


def test_a_lower_limit_than_asked_for_does_not_end_the_day_early() -> None:
    pages = Pages(RECORDS)
    with exchange(lambda query: pages(query | {"limit": "300"})) as url:
        assert ids(url) == list(range(2500, 0, -1))


def test_pages_that_never_meet_are_an_error() -> None:
    with (
        exchange(Pages(RECORDS, lost=dict.fromkeys((2, 3, 4), 7))) as url,
        pytest.raises(SourceError, match="not meet"),
    ):
        ids(url)


def test_a_second_with_more_trades_than_a_page_is_an_error() -> None:
    with exchange(Pages([trade(n, 5) for n in range(1500)])) as url, pytest.raises(SourceError, match="in the second"):
        ids(url)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Response("{", media_type="application/json"), SourceError, "no list trades"),
        (Response("<html>sorry</html>", media_type="text/html"), SourceError, "no list trades"),
        ({"trades": {}}, SourceError, "no list trades"),
        (Response("no", 451), FinalAnswer, "does not serve"),
        (Response("no", 403), FinalAnswer, "does not serve"),
        (Response("no", 404), SourceError, "refused"),
    ],
)
def test_other_answers_end_in_words(answer: Any, error: type[Exception], says: str) -> None:
    with exchange(lambda _: answer) as url, pytest.raises(error, match=says):
        ids(url)


def test_without_a_market_and_past_the_time_there_is_a_remedy() -> None:
    with pytest.raises(SourceError, match="crpbot sandbox serve"):
        next(coinbase(None).trades("BTC-USD", DAY))
    with exchange(Pages(RECORDS)) as url, pytest.raises(SourceError, match="CRPBOT_FETCH_TIMEOUT_S"):
        hurried = CoinbaseCandles(endpoint=url, timeout_s=0, polite=False)
        next(hurried.trades("BTC-USD", DAY))
