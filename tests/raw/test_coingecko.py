"""CoinGecko: the value at a day's end, snapshots that stand for one day alone, and a key that shows nowhere."""

import json
import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from faults.server import FakeTime
from raw.web_world import DAY, NOW, OLDER, RECORDED, SYMBOL, WebWorld, canned, failure, sandbox, simulated, world_of
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from crpbot_dagster.assets.raw.coingecko import (
    at_end_of,
    coin_row,
    coingecko_coin,
    coingecko_global,
    coingecko_market,
    is_newest_finished,
    parse_coin,
    parse_global,
    parse_market,
)
from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.resources import politeness
from crpbot_dagster.resources.coingecko import CoinGecko
from crpbot_dagster.resources.politeness import SourceError

__all__ = ["simulated"]
API = "/coingecko/api/v3"
END = datetime(2023, 11, 21, tzinfo=UTC)
KEY = "CG-canary-0123456789"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / "coingecko" / f"{name}.json").read_text())


# --- the market at a day's end ---------------------------------------------------------------------


@pytest.mark.parametrize("day", [DAY, OLDER])
def test_the_value_is_that_of_the_day_s_end_whatever_the_granularity(simulated: WebWorld, day: date) -> None:
    state, rows = simulated.made(coingecko_market, day)
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    assert state == "complete" and rows.height == 1
    assert abs(rows["ts_exchange"][0] - end) < timedelta(minutes=1)
    assert rows["available_ts"][0] == end + timedelta(hours=1)
    supply = rows["market_cap_usd"][0] / rows["price_usd"][0]
    assert 19_000_000 < supply < 21_000_000


@pytest.mark.parametrize("key", ["", KEY])
def test_a_day_beyond_the_plan_is_not_licensed_with_and_without_a_key(tmp_path: Path, environment, key: str) -> None:
    said = {"error_code": 10012, "error_message": "Your request exceeds the allowed time range."}
    too_old = canned({f"{API}/coins/bitcoin/history": lambda _: JSONResponse({"error": {"status": said}}, 401)})
    with world_of(too_old, tmp_path, environment) as world:
        assert world.coingecko(key).history("bitcoin", "01-01-2020").state == "not_licensed"
        assert world.made(coingecko_coin, OLDER)[0] == "not_licensed"


def test_an_unknown_coin_is_missing(simulated: WebWorld) -> None:
    assert simulated.coingecko().market_chart("no-such-coin", 1_700_000_000, 1_700_003_600).state == "missing"
    assert simulated.coingecko().coin("no-such-coin").state == "missing"


def test_the_recorded_chart_gives_the_point_nearest_to_midnight() -> None:
    parsed, repeated = parse_market(recorded("market_chart_range"))
    row = at_end_of(parsed, DAY).frame.collect()
    assert (parsed.rows, parsed.refused.height, repeated) == (3, 0, 0)
    assert row["price_usd"].to_list() == [37477.4] and row["ts_exchange"][0] == END + timedelta(
        seconds=13, milliseconds=457
    )


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ([[1_700_521_226_873, -1], [1_700_521_226_873, 2], [1_700_521_226_873, 3]], "price is not a positive number"),
        ([[1_700_521_226_873, None], [1_700_521_226_873, 2], [1_700_521_226_873, 3]], "price is not a positive number"),
        ([[1_700_521_226_873, float("nan")], [1_700_521_226_873, 2], [1_700_521_226_873, 3]],
         "a number is not written as a number"),
        ([[1_700_521_226_873, 1], [1_700_521_226_873, 0], [1_700_521_226_873, 3]], "capitalisation is not a positive number"),
        ([[1_700_521_226_873, 1], [1_700_521_226_874, 2], [1_700_521_226_873, 3]], "a field is absent"),
        ([[1_700_521_226, 1], [1_700_521_226, 2], [1_700_521_226, 3]],
         "the stamp is no moment between 2009 and 2100"),
        ([[1_700_521_226_873], None, {}], "a field is absent"),
    ],
)  # fmt: skip
def test_a_bad_point_is_refused_with_its_reason(point: list[Any], reason: str) -> None:
    found = recorded("market_chart_range")
    names = ("prices", "market_caps", "total_volumes")
    parsed, _ = parse_market({n: [*found[n][:2], p] for n, p in zip(names, point, strict=True)})
    assert parsed.refused["reason"].to_list() == [reason] and parsed.frame.collect().height == 2


def test_an_unknown_capitalisation_is_null_and_a_repeat_counts_once() -> None:
    stamp = 1_700_524_813_457
    two = {n: [[stamp, v], [stamp, v]] for n, v in (("prices", 1.5), ("market_caps", None), ("total_volumes", None))}
    parsed, repeated = parse_market(two)
    assert repeated == 1 and parsed.frame.collect().row(0, named=True)["market_cap_usd"] is None


@pytest.mark.parametrize(
    "document", [None, [], {}, {"prices": []}, {"prices": [], "market_caps": [], "total_volumes": [[1, 2]]}, "busy"]
)
def test_a_chart_of_another_layout_is_damaged(document: Any) -> None:
    with pytest.raises(DamagedFile):
        parse_market(document)


def test_a_chart_without_a_point_is_a_missing_day(tmp_path: Path, environment) -> None:
    nothing = json.dumps({"prices": [], "market_caps": [], "total_volumes": []}).encode()
    with world_of(canned({f"{API}/coins/bitcoin/market_chart/range": nothing}), tmp_path, environment) as world:
        assert world.made(coingecko_market)[0] == "missing"


# --- snapshots -------------------------------------------------------------------------------------


def test_a_snapshot_stands_for_the_newest_finished_day_from_the_moment_it_was_taken(simulated: WebWorld) -> None:
    taken = datetime.fromisoformat(NOW)
    state, coin = simulated.made(coingecko_coin)
    assert state == "complete" and coin["kind"].to_list() == ["snapshot"]
    assert coin["ts_received"][0] == taken == coin["available_ts"][0]
    assert coin["market_cap_rank_n"][0] == 1 and coin["max_supply_coin"][0] == 21_000_000
    state, whole = simulated.made(coingecko_global)
    assert state == "complete" and whole["available_ts"][0] == taken
    assert 0.2 < whole["btc_frac"][0] < 0.8 and whole["usdt_frac"][0] + whole["usdc_frac"][0] > 0


def test_an_older_day_is_history_or_missing_never_a_snapshot_of_now(simulated: WebWorld) -> None:
    state, coin = simulated.made(coingecko_coin, OLDER)
    row = coin.row(0, named=True)
    assert state == "complete" and row["kind"] == "history" and row["ts_received"] is None
    assert row["available_ts"] == datetime(2023, 11, 16, 1, tzinfo=UTC)
    assert row["market_cap_rank_n"] is None and row["circulating_supply_coin"] is None and row["stars_n"] > 70_000
    assert simulated.made(coingecko_global, OLDER)[0] == "missing"


def test_a_snapshot_is_kept_when_its_day_is_asked_for_again_later(tmp_path: Path, environment) -> None:
    with world_of(sandbox(), tmp_path, environment) as world:
        first = [world.made(a)[1] for a in (coingecko_coin, coingecko_global)]
    with world_of(sandbox(), tmp_path, environment, "2023-12-24T06:30:00+00:00") as world:
        again = [world.made(a) for a in (coingecko_coin, coingecko_global)]
    assert [s for s, _ in again] == ["complete"] * 2 and all(
        a.equals(b) for (_, a), b in zip(again, first, strict=True)
    )


def test_only_the_24_hours_after_a_day_s_end_are_its_own() -> None:
    assert is_newest_finished(END, END) and is_newest_finished(END, END + timedelta(hours=23, minutes=59))
    assert not is_newest_finished(END, END + timedelta(days=1)) and not is_newest_finished(
        END, END - timedelta(seconds=1)
    )


def test_a_day_the_history_lacks_is_missing(tmp_path: Path, environment) -> None:
    name_only = json.dumps({"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"}).encode()
    with world_of(canned({f"{API}/coins/bitcoin/history": name_only}), tmp_path, environment) as world:
        assert world.made(coingecko_coin, OLDER)[0] == "missing"


def test_the_recorded_documents_are_read() -> None:
    now = coin_row(parse_coin(recorded("coin")), DAY, END + timedelta(hours=6)).frame.collect().row(0, named=True)
    assert (now["market_cap_rank_n"], now["circulating_supply_coin"], now["commits_4w_n"]) == (1, 19_551_231.0, 108)
    assert now["telegram_users_n"] is None and now["reddit_subscribers_n"] == 0
    then = coin_row(parse_coin(recorded("history")), DAY, None).frame.collect().row(0, named=True)
    assert (then["stars_n"], then["prs_merged_n"], then["market_cap_rank_n"]) == (73_120, 11_211, None)
    whole = parse_global(recorded("global")).frame.collect().row(0, named=True)
    assert whole["btc_frac"] == pytest.approx(0.4944) and whole["total_cap_usd"] == 1_481_234_567_890.12


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"market_cap_rank": 0}, "the rank is no whole number from 1"),
        ({"market_cap_rank": 1.5}, "the rank is no whole number from 1"),
        ({"market_data": {"circulating_supply": -1}}, "a supply is negative or no number"),
        ({"developer_data": {"stars": -1}}, "a count is negative or no whole number"),
        ({"developer_data": {"stars": 1e300}}, "a count is negative or no whole number"),
        ({"developer_data": {"stars": "many"}}, "a number is not written as a number"),
        ({"community_data": {"reddit_subscribers": True}}, "a number is not written as a number"),
    ],
)
def test_a_bad_coin_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    parsed = parse_coin(recorded("coin") | change)
    assert parsed.refused["reason"].to_list() == [reason] and parsed.frame.collect().is_empty()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"total_market_cap": {}}, "the total is not a positive number"),
        ({"total_volume": {"usd": -1}}, "the volume is negative or no number"),
        ({"market_cap_percentage": {"btc": 80, "eth": 30}}, "a share is no percentage"),
        ({"market_cap_percentage": {"btc": 80}}, "Bitcoin's or Ether's share is absent"),
        ({"updated_at": 1_700_548_165_000}, "updated_at is no moment between 2009 and 2100"),
    ],
)
def test_a_bad_market_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    parsed = parse_global(recorded("global") | change)
    assert parsed.refused["reason"].to_list() == [reason] and parsed.frame.collect().is_empty()


# --- the client ------------------------------------------------------------------------------------


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(politeness, "CLOCK", made.clock)
    return made


def test_the_key_is_sent_and_shows_in_no_address_error_or_log(tmp_path: Path, environment, caplog, time) -> None:
    seen: list[tuple[str, str]] = []

    def busy(request: Request) -> Response:
        seen.append((str(request.url), request.headers.get("x-cg-demo-api-key", "")))
        return JSONResponse({"status": {"error_code": 500, "error_message": f"{KEY} is not welcome"}}, 500)

    app = canned({f"{API}/global": busy, f"{API}/coins/bitcoin/": 401})
    with caplog.at_level(logging.DEBUG), world_of(app, tmp_path, environment) as world:
        for ask, words in ((CoinGecko.whole_market, "answered 500"), (lambda c: c.coin("bitcoin"), "the key is wrong")):
            with pytest.raises(SourceError, match=words) as caught:
                ask(world.coingecko(KEY))
            assert KEY not in repr(caught.getrepr(chain=True))
    gone = CoinGecko(endpoint="http://127.0.0.1:9/api/v3/", api_key=KEY, timeout_s=1)
    with pytest.raises(SourceError, match="ConnectionError"):
        gone.whole_market()
    assert len(seen) > 2 and all(k == KEY and KEY not in url for url, k in seen)
    assert KEY not in caplog.text


def test_a_429_is_waited_for_as_long_as_it_says_and_then_succeeds(tmp_path: Path, environment, time: FakeTime) -> None:
    times: list[float] = []

    def storm(_: Request) -> Response:
        times.append(time.moment)
        if len(times) < 2:
            return JSONResponse({"status": {"error_code": 429}}, 429, headers={"retry-after": "7"})
        return JSONResponse({"data": recorded("global")})

    with world_of(canned({f"{API}/global": storm}), tmp_path, environment) as world:
        assert world.coingecko().whole_market().document == recorded("global")
    assert len(times) == 2 and times[1] - times[0] >= 7


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"[]", b'{"nothing": 1}', b"\xff", b""])
def test_an_answer_that_is_no_document_is_a_named_error(tmp_path: Path, environment, body: bytes) -> None:
    with world_of(canned({f"{API}/global": body}), tmp_path, environment) as world:
        with pytest.raises(SourceError, match="no sound JSON"):
            world.coingecko().whole_market()
        assert world.lake.state("raw/coingecko_coin", SYMBOL, DAY) is None


def test_a_redirect_is_refused_before_the_key_travels(tmp_path: Path, environment) -> None:
    with world_of(sandbox(), tmp_path, environment) as other:
        away = canned({f"{API}/global": lambda _: RedirectResponse(f"{other.config.sandbox_url}{API}/global")})
        with world_of(away, tmp_path, environment) as world, pytest.raises(SourceError, match="answered 307"):
            world.coingecko(KEY).whole_market()


def test_without_a_server_it_says_what_to_start(tmp_path: Path, environment) -> None:
    with pytest.raises(SourceError, match="crpbot sandbox serve"):
        CoinGecko(endpoint=None, timeout_s=1).whole_market()
    with world_of(canned({f"{API}/global": b"{"}), tmp_path, environment) as world:
        assert "no sound JSON" in failure(world.run(coingecko_global))
