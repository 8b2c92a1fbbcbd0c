"""Kraken's trades: the recorded thousand rebuild the recorded candles, pages repeat and skip, fractions are exact."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from raw.exchange import OPTIONS, checks_of, exchange, materialise

from crpbot_dagster.assets.bars.tape import aggregate
from crpbot_dagster.assets.raw.kraken import kraken_trades, trades_from
from crpbot_dagster.assets.raw.tape_records import one_tape
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.exchanges import FinalAnswer
from crpbot_dagster.resources.kraken import Kraken
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.sandbox import venues
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.raw_venues import SEQUENCE, tick_rule_agreement

DAY = date(2024, 1, 2)
MIDNIGHT = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp())
PAIR = "XXBTZUSD"
SPEC = MarketSpec(7, 0.3)


def trade(n: int, second: float, price: str = "100.0", side: str = "b") -> list[Any]:
    return [price, "0.5", MIDNIGHT + second, side, "m", "", n]


def kraken(url: str) -> Kraken:
    return Kraken(endpoint=url, **OPTIONS)


# --- recorded -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The recorded trades as tape, and the recorded candles: start, open, high, low, close, volume, count."""
    folder = shared_data / "responses/kraken"
    records = json.loads((folder / "http_trades.json").read_text())["result"]["XBTUSDT"]
    days: dict[date, list[Any]] = {}
    for r in records:
        days.setdefault(datetime.fromtimestamp(r[2], UTC).date(), []).append(r)
    parsed = [one_tape(trades_from(rows, "XBTUSDT", day))[0] for day, rows in days.items()]
    assert sum(p.refused.height for p in parsed) == 0 and len(days) == 2
    candles = json.loads((folder / "http_ohlc.json").read_text())["result"]["XBTUSDT"]
    names = ("ts", "open", "high", "low", "close", "vwap", "volume", "count")
    frame = pl.DataFrame([[float(c) for c in row] for row in candles], schema=names, orient="row")
    at = (pl.col("ts").cast(pl.Int64) * 1_000_000).cast(pl.Datetime("us", "UTC"))
    return pl.concat([p.frame.collect() for p in parsed]), frame.with_columns(at.alias("ts"))


def test_recorded_trades_rebuild_the_recorded_candles_of_the_seven_hours(recorded) -> None:
    tape, candles = recorded
    days = tape["ts_exchange"].dt.date().unique().sort()
    ours = pl.concat([aggregate(tape.lazy(), day, None, "exchange") for day in days])
    # The minute in which each recording begins or ends is not whole.
    first, last = tape["ts_exchange"].min(), tape["ts_exchange"].max()
    both = candles.join(ours, on="ts", suffix="_ours").filter(
        pl.col("ts") > first, pl.col("ts") + pl.duration(minutes=1) <= last
    )
    traded = both.filter(pl.col("count") > 0)
    assert both.height > 400 and traded.height > 250, "nearly seven hours"
    for name in ("open", "high", "low", "close"):
        assert (traded[name] == traded[f"{name}_ours"]).all(), name
    assert (traded["volume"] - traded["volume_ours"]).abs().max() < 5e-9, "eight decimals"
    assert (both["count"] == both["trade_count_n"]).all()


def test_the_recorded_sides_are_the_aggressors(recorded) -> None:
    tape, _ = recorded
    assert tape.select(tick_rule_agreement()).item() > 0.7
    flipped = tape.with_columns(pl.col("side").replace_strict({"buy": "sell", "sell": "buy"}))
    assert flipped.select(tick_rule_agreement()).item() < 0.3
    assert tape.select(SEQUENCE.measures[0].value).item() == 0, "a thousand ids without a gap"


# --- rows ---------------------------------------------------------------------------------------------------


def test_seconds_with_a_fraction_are_exact() -> None:
    times = [MIDNIGHT, MIDNIGHT + 0.1, 1704153600.123456, "1704153600.1234567", "1704153600.9999999"]
    found = trades_from([[*trade(n, 0)[:2], t, "b", "l", "", n] for n, t in enumerate(times)], PAIR, DAY)
    micros = found.frame.collect()["ts_exchange"].dt.microsecond().to_list()
    assert micros == [0, 100_000, 123_456, 123_456, 999_999]


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, "0"), (0, "-5"), (0, "NaN"), (0, None), (0, " 1 "), (1, "0"), (1, "1e999"), (2, 0), (2, -1.5), (2, 9e18),
     (2, "2024-01-02"), (2, MIDNIGHT * 1000), (2, MIDNIGHT - 0.001), (2, MIDNIGHT + 86_400), (3, "x"), (3, None),
     (6, "7a"), (6, -7), (6, None)],
)  # fmt: skip
def test_a_bad_row_is_refused_and_the_others_stay(place: int, value: Any) -> None:
    bad = trade(2, 2)
    bad[place] = value
    parsed = trades_from([trade(1, 1), bad, trade(3, 3)], PAIR, DAY)
    assert parsed.frame.collect()["trade_id"].to_list() == ["1", "3"] and parsed.refused["line_n"].to_list() == [2]


@pytest.mark.parametrize("record", [None, 1, "abcdefg", {}, [], trade(1, 1)[:6], [*trade(1, 1), "more"]])
def test_what_is_no_trade_is_refused(record: Any) -> None:
    parsed = trades_from([record, trade(2, 2)], PAIR, DAY)
    assert parsed.refused["line_n"].to_list() == [1] and parsed.frame.collect().height == 1


# --- pages (faults 37 to 39, 67) ----------------------------------------------------------------------------


class Pages:
    """Kraken's page rules over a list of trades; ``lost`` hides ids from the answers of some calls, by their number."""

    def __init__(self, records: list[list[Any]], lost: dict[int, range] | None = None, inclusive: bool = False) -> None:
        self.records, self.lost, self.inclusive, self.asked = records, lost or {}, inclusive, 0

    def __call__(self, query: dict[str, str]) -> dict[str, Any]:
        self.asked += 1
        since, hidden = int(query["since"]), self.lost.get(self.asked, range(0))
        assert query["pair"] == PAIR
        later = [r for r in self.records if self.at(r) > since or (self.inclusive and self.at(r) == since)]
        page = [r for r in later if r[6] not in hidden][: int(query["count"])]
        return {"error": [], "result": {PAIR: page, "last": str(self.at(page[-1]) if page else since)}}

    @staticmethod
    def at(record: list[Any]) -> int:
        return int(record[2] * 1000) * 10**6


RECORDS = [trade(n, n / 4) for n in range(1, 2501)]


def ids(url: str) -> list[int]:
    return [r[6] for page in kraken(url).trades(PAIR, DAY) for r in page]


@pytest.mark.parametrize("inclusive", [False, True])
def test_each_trade_comes_once_whether_pages_repeat_their_edge_or_not(inclusive: bool) -> None:
    with exchange(Pages(RECORDS, inclusive=inclusive)) as url:
        assert ids(url) == list(range(1, 2501))


def test_a_skip_at_a_page_edge_is_asked_for_again() -> None:
    pages = Pages(RECORDS, lost={2: range(1001, 1004)})
    with exchange(pages) as url:
        assert ids(url) == list(range(1, 2501))


def test_a_gap_that_stays_is_taken_as_it_is_and_counted(tmp_path: Path) -> None:
    lake, partition = Lake(url=str(tmp_path), market="sandbox", start_day="2023-11-10"), key("BTC-USD", DAY)
    records = [*RECORDS[:1000], *(trade(n + 10_000, n / 4) for n in range(1001, 1200))]
    with exchange(Pages(records)) as url:
        made = materialise(kraken_trades, partition, lake, kraken=kraken(url))
    assert made.success and not checks_of(made)["sequence"]
    tape = lake.window("raw/kraken_trades", "BTC-USD", DAY, DAY).collect().sort("seq")
    assert tape.height == 1199 and tape.select(SEQUENCE.measures[0].value).item() == 10_000


def test_the_trades_of_the_next_day_are_left_to_it() -> None:
    with exchange(Pages([trade(1, 0), trade(2, 86_399.999), trade(3, 86_400)])) as url:
        assert ids(url) == [1, 2]


def test_one_id_with_two_prices_is_refused_and_ids_that_begin_anew_fail_the_day(tmp_path: Path) -> None:
    torn = [trade(1, 1), trade(2, 2), trade(2, 2, "101.0"), trade(3, 3)]
    tape, repeated = one_tape(trades_from(torn, PAIR, DAY))
    assert tape.frame.collect()["trade_id"].to_list() == ["1", "3"] and tape.refused.height == 2 and repeated == 0
    lake = Lake(url=str(tmp_path), market="sandbox", start_day="2023-11-10")
    anew = [trade(n + 5_000_000, n) for n in range(100)] + [trade(n, 100 + n) for n in range(1, 100)]
    with exchange(Pages(anew)) as url:
        made = materialise(kraken_trades, key("BTC-USD", DAY), lake, kraken=kraken(url))
    assert not made.success and not checks_of(made)["hard_rules"]
    assert lake.state("raw/kraken_trades", "BTC-USD", DAY) is None


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ({"error": ["EQuery:Unknown asset pair"]}, FinalAnswer, "no such product"),
        ({"error": ["EGeneral:Invalid arguments"]}, SourceError, "refused"),
        ({"error": [], "result": {"XETHZUSD": [], "last": "1"}}, SourceError, "no list result.XXBTZUSD"),
        ({"error": [], "result": {PAIR: [trade(1, 1)]}}, SourceError, "no cursor"),
        ({"error": [], "result": {PAIR: [trade(1, 1)], "last": "soon"}}, SourceError, "no cursor"),
        ([], SourceError, "no list"),
    ],
)
def test_other_answers_end_in_words(answer: Any, error: type[Exception], says: str) -> None:
    with exchange(lambda _: answer) as url, pytest.raises(error, match=says):
        ids(url)


# --- the asset, from the sandbox ----------------------------------------------------------------------------


def test_the_day_is_the_simulated_tape_of_kraken_and_the_checks_hold(tmp_path: Path, environment) -> None:
    lake, day = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10"), date(2023, 11, 17)
    with serve(create_app(SPEC, None, None, today=date(2023, 11, 20))) as url:
        made = materialise(kraken_trades, key("BTC-USD", day), lake, kraken=kraken(f"{url}/kraken"))
        assert made.success and all(checks_of(made).values()), checks_of(made)
        held = lake.window("raw/kraken_trades", "BTC-USD", day, day).collect().sort("seq")
        tape = venues.kraken_tape(SPEC, "BTC-USD", day)
        assert held.height == tape.height > 3000
        assert held.select("side", "price", "amount").equals(tape.select("side", "price", "amount"))
        assert (held["ts_exchange"].dt.epoch("us") == tape["ts_exchange"]).all()
        assert held.schema == TABLES["raw/kraken_trades"].schema
        environment(market="recordings", recordings=str(tmp_path))
        again = materialise(kraken_trades, key("ETH-USD", day), lake, kraken=kraken(f"{url}/kraken"))
    assert again.success and lake.state("raw/kraken_trades", "ETH-USD", day) == "not_configured"
