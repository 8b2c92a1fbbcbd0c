"""CryptoCompare's index: pages, padding, refusals with status 200, the minute that is not finished, the bars."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from raw.web_world import DAY, OLDER, SPEC, SYMBOL, WebWorld, canned, failure, simulated, world_of
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crpbot_dagster.assets.bars.tape import candles_1m
from crpbot_dagster.assets.raw import cryptocompare
from crpbot_dagster.assets.raw.cryptocompare import (
    candles_in,
    cryptocompare_candles,
    fetch_minutes,
    finished_before,
    parse_candles,
    served,
)
from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.resources.refusals import meant_status
from crpbot_dagster.sandbox.candles import candles

__all__ = ["simulated"]
PATH = "/cryptocompare/data/v2/histominute"
START = datetime(2023, 11, 20, tzinfo=UTC)


def candle(minute: int, **values: object) -> dict[str, object]:
    made = {"time": int(START.timestamp()) + 60 * minute, "open": 10, "high": 12, "low": 9.5, "close": 11}
    return made | {"volumefrom": 2, "volumeto": 21, "conversionType": "direct", "conversionSymbol": ""} | values


def page(*rows: dict[str, object]) -> bytes:
    return json.dumps({"Response": "Success", "Type": 100, "Data": {"Aggregated": False, "Data": rows}}).encode()


def refused(kind: int, message: str) -> bytes:
    return json.dumps({"Response": "Error", "Message": message, "Type": kind, "RateLimit": {}, "Data": {}}).encode()


def test_a_day_is_1440_minutes_close_to_the_market_and_the_same_again(simulated: WebWorld) -> None:
    state, rows = simulated.made(cryptocompare_candles)
    assert state == "complete" and rows.height == 1440
    real = candles(SPEC, SYMBOL, START, START + timedelta(days=1), 60)
    near = rows.join(real, on="ts", suffix="_venue").select(
        ((pl.col("close") / pl.col("close_venue")).log() * 1e4).abs().median().alias("bps"),
        pl.corr(pl.col("close"), pl.col("close_venue")).alias("correlation"),
    )
    assert near["bps"][0] < 5 and near["correlation"][0] > 0.99 and rows["volume"].sum() > real["volume"].sum()
    assert rows.select((pl.col("available_ts") - pl.col("ts")).unique()).item() == timedelta(minutes=2)
    assert simulated.made(cryptocompare_candles)[1].sort("ts").equals(rows.sort("ts"))


def test_an_unknown_coin_and_a_day_before_the_market_are_missing(simulated: WebWorld) -> None:
    assert (
        simulated.web().get("cryptocompare", "/data/v2/histominute", {"fsym": "NO", "tsym": "USD"}).state == "missing"
    )
    early = datetime(2023, 8, 20, tzinfo=UTC)
    state, _, records = fetch_minutes(simulated.web(), "BTC", early, early + timedelta(days=1))
    assert state == "complete" and len(records) == 1440 and served(records) == []


def test_pages_go_backwards_until_the_day_is_covered(simulated: WebWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fetch_minutes(simulated.web(), "BTC", START, START + timedelta(hours=5))
    monkeypatch.setattr(cryptocompare, "PAGE", 70)
    paged = fetch_minutes(simulated.web(), "BTC", START, START + timedelta(hours=5))
    assert len(paged[2]) == 300 and sorted(paged[2], key=lambda r: r["time"]) == whole[2]


def test_a_refusal_with_status_200_counts_as_what_it_means(tmp_path: Path, environment) -> None:
    said = "You are over your rate limit please upgrade your account!"
    assert meant_status("cryptocompare", refused(99, said)) == 429
    assert meant_status("cryptocompare", refused(2, "CCCAGG market does not exist for this coin pair (X-USD)")) == 404
    assert meant_status("cryptocompare", refused(1, "You need a valid auth key or api key to access this")) == 401
    assert meant_status("cryptocompare", refused(1, "something is wrong on our end")) == 502
    assert meant_status("cryptocompare", page(candle(0))) == 200 == meant_status("fred", refused(99, said))
    with world_of(canned({PATH: refused(99, said)}), tmp_path, environment) as world:
        assert "429" in failure(world.run(cryptocompare_candles))
        assert world.lake.state("raw/cryptocompare_candles", SYMBOL, DAY) is None
    with world_of(canned({PATH: refused(1, "api key")}), tmp_path, environment) as world:
        assert world.made(cryptocompare_candles)[0] == "not_licensed"


def test_minutes_the_vendor_does_not_have_are_no_candles(tmp_path: Path, environment) -> None:
    none = dict.fromkeys(("open", "high", "low", "close", "volumefrom", "volumeto"), 0)
    rows = [candle(m, **(none if m < 700 else {})) for m in range(1440)]
    with world_of(canned({PATH: page(*rows)}), tmp_path, environment) as world:
        state, made = world.made(cryptocompare_candles)
        assert state == "partial" and made.height == 740 and made["ts"].min() == START + timedelta(minutes=700)
    empty = page(*(candle(m, **none) for m in range(1440)))
    with world_of(canned({PATH: empty}), tmp_path, environment) as world:
        assert world.made(cryptocompare_candles, symbol="ETH-USD")[0] == "missing"


def test_the_running_minute_is_dropped_and_the_day_is_partial(tmp_path: Path, environment) -> None:
    now = "2023-11-20T00:10:03+00:00"
    assert finished_before(datetime.fromisoformat(now)) == START + timedelta(minutes=9), "5 s after its end at least"

    def all_so_far(_: Request) -> Response:
        return JSONResponse(json.loads(page(*(candle(m) for m in range(11)))))

    with world_of(canned({PATH: all_so_far}), tmp_path, environment, now) as world:
        state, rows = world.made(cryptocompare_candles)
    assert state == "partial" and rows["ts"].max() == START + timedelta(minutes=8)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"open": -1}, "a price is not a positive number"),
        ({"close": "1e400"}, "a number is not written as a number"),
        ({"close": "1,5"}, "a number is not written as a number"),
        ({"low": 11.5}, "low or high is not the extreme"),
        ({"volumeto": -1}, "a volume is negative or no number"),
        ({"volumefrom": None}, "a volume is negative or no number"),
        ({"time": 1_700_438_400_000}, "time is no minute between 2009 and 2100"),
        ({"time": 1_700_438_401}, "time is no minute between 2009 and 2100"),
        ({"conversionType": ""}, "the conversion is not named"),
    ],
)
def test_a_bad_candle_is_refused_with_its_reason(values: dict[str, object], reason: str) -> None:
    parsed, repeated = parse_candles(candles_in(page(candle(0), candle(1, **values))))
    assert parsed.refused["reason"].to_list() == [reason] and parsed.frame.collect().height == 1 and repeated == 0


def test_repeats_are_dropped_and_contradictions_refused() -> None:
    rows = [candle(0), candle(0), candle(1), candle(1, close=10.5), {"time": 1}]
    parsed, repeated = parse_candles(candles_in(page(*rows)))
    assert repeated == 1 and parsed.frame.collect().height == 1
    assert parsed.refused["line_n"].to_list() == [3, 4, 5] and parsed.rows == 5


@pytest.mark.parametrize(
    "body", [b"", b"<html>busy</html>", b'{"Data": {"Data": [1]}}', b"[]", b'{"Data": "x"}', page(candle(0))[:-9]]
)
def test_an_answer_of_another_layout_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedFile):
        candles_in(body)


def test_half_a_surrogate_pair_is_refused_as_it_came() -> None:
    parsed, _ = parse_candles(candles_in(page(candle(0), candle(1, conversionType="\ud800"))))
    assert parsed.refused["line_n"].to_list() == [2] and "\\ud800" in parsed.refused["text"][0]


def test_a_damaged_answer_fails_the_run_and_leaves_the_lake(tmp_path: Path, environment) -> None:
    with world_of(canned({PATH: b"<html>busy</html>"}), tmp_path, environment) as world:
        assert "no sound JSON" in failure(world.run(cryptocompare_candles, OLDER))
        assert world.lake.state("raw/cryptocompare_candles", SYMBOL, OLDER) is None


def test_the_recorded_answer_is_read_whole(shared_data: Path) -> None:
    """2,001 minutes of a real answer, of the older layout; one was converted, the last had only just begun."""
    body = gzip.decompress((shared_data / "responses/cryptocompare/histominute.json.gz").read_bytes())
    parsed, repeated = parse_candles(candles_in(body))
    rows = parsed.frame.collect()
    assert (rows.height, parsed.refused.height, repeated) == (2001, 0, 0)
    assert rows["ts"].diff().drop_nulls().unique().to_list() == [timedelta(minutes=1)]
    assert rows["conversion"].to_list().count("multiply") == 1 and rows["volume"][-1] == 0
    bars = candles_1m(rows, rows["ts"][0].date() + timedelta(days=1))
    known = bars.filter(pl.col("vwap").is_not_null())
    assert known.height > 500 and known.select(pl.col("vwap").is_between("low", "high").all()).item()
    outside = bars.filter(pl.col("vwap").is_null() & (pl.col("volume") > 0))
    assert outside.height > 0 and outside["volume_usd"].null_count() == 0
