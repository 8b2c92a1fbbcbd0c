"""Deribit's options: hours from what the public interface still gives, and a snapshot that is never back-dated.

The payloads in recorded/deribit are written by hand after the vendor's documentation.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import ccxt
import polars as pl
import pytest
from raw.exchange import OPTIONS, checks_of, exchange, materialise

from crpbot_dagster.assets.raw.deribit import (
    CURRENCIES,
    deribit_options,
    dvol_from,
    hours_of,
    summary_from,
    trades_from,
    volumes,
)
from crpbot_dagster.assets.raw.option_surface import summarised
from crpbot_dagster.assets.raw.records import each_once
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.deribit import Deribit
from crpbot_dagster.resources.exchanges import FinalAnswer
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables.schema import MARKET_WIDE

RECORDED = Path(__file__).parents[1] / "recorded/deribit"
DAY = date(2024, 1, 2)
MIDNIGHT_MS = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp() * 1000)
SPEC = MarketSpec(7, 0.3)
TABLE = "raw/deribit_options"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())["result"]


def deribit(url: str) -> Deribit:
    return Deribit(endpoint=url, **OPTIONS)


def test_the_index_is_a_fraction_by_hour() -> None:
    parsed = dvol_from(recorded("get_volatility_index_data")["data"], "BTC", DAY)
    assert parsed.frame.collect()["dvol_frac"].to_list() == [0.645, 0.65, 0.639] and parsed.refused.is_empty()
    assert parsed.frame.collect()["hour"][1] == datetime(2024, 1, 2, 1, tzinfo=UTC)


def test_puts_and_calls_are_summed_by_hour_and_quiet_hours_are_0() -> None:
    parsed = trades_from(recorded("get_last_trades_by_currency_and_time")["trades"], "BTC", DAY)
    assert parsed.refused.is_empty()
    made = volumes(parsed.frame.collect(), hours_of(DAY, CURRENCIES))
    btc, eth = (made.filter(pl.col("currency") == c) for c in CURRENCIES)
    assert btc["put_volume"][:3].to_list() == [1.2, 0.3, 0.0] and btc["call_volume"][:2].to_list() == [0.5, 0.0]
    assert eth["put_volume"].null_count() == 24, "no trade in a day: not served, which is not 0"
    assert made["available_ts"][0] == datetime(2024, 1, 2, 1, 1, tzinfo=UTC)


def test_the_vendor_s_recorded_trades_of_a_perpetual_are_no_options(shared_data: Path) -> None:
    document = json.loads((shared_data / "responses/deribit/http_get_last_trades.json").read_text())
    records = document["result"]["trades"]
    parsed = trades_from(records, "ETH", date(2025, 12, 21))
    assert parsed.frame.collect().is_empty() and parsed.refused["reason"].unique().to_list() == [
        "instrument_name is no option of ETH"
    ]
    option = json.loads((shared_data / "responses/deribit/http_get_instrument_option.json").read_text())["result"]
    named = [r | {"instrument_name": "ETH" + option["instrument_name"][3:]} for r in records]
    assert trades_from(named, "ETH", date(2025, 12, 21)).frame.collect().height == len(records)


@pytest.mark.parametrize(
    "record",
    [
        None, 7, {}, [], [MIDNIGHT_MS, 1, 1, 1], [MIDNIGHT_MS, 1, 1, 1, 0], [MIDNIGHT_MS, 1, 1, 1, "x"],
        [MIDNIGHT_MS, 1, 1, 1, 1e9], [MIDNIGHT_MS + 1, 1, 1, 1, 60], [MIDNIGHT_MS - 3_600_000, 1, 1, 1, 60],
        [MIDNIGHT_MS // 1000, 1, 1, 1, 60], [None, 1, 1, 1, 60],
    ],
)  # fmt: skip
def test_a_bad_candle_of_the_index_is_refused(record: Any) -> None:
    parsed = dvol_from([record, [MIDNIGHT_MS, 60, 61, 59, 60.5]], "BTC", DAY)
    assert parsed.refused["line_n"].to_list() == [1] and parsed.frame.collect().height == 1


@pytest.mark.parametrize(
    "change",
    [
        {"instrument_name": "BTC-PERPETUAL"}, {"instrument_name": "ETH-5JAN24-2000-P"}, {"instrument_name": None},
        {"amount": 0}, {"amount": -1}, {"amount": "1,5"}, {"timestamp": MIDNIGHT_MS - 1}, {"timestamp": 1e400},
        {"trade_id": None}, {"timestamp": "2024-01-02"},
    ],
)  # fmt: skip
def test_a_bad_trade_is_refused_and_a_repeat_is_one(change: dict[str, Any]) -> None:
    sound = recorded("get_last_trades_by_currency_and_time")["trades"]
    parsed, repeated = each_once(trades_from([*sound, sound[1], sound[0] | change], "BTC", DAY), "currency", "trade_id")
    assert parsed.refused["line_n"].to_list()[-1] == 5 and repeated == 1
    assert parsed.frame.collect().height + parsed.refused.height + repeated == 5


# --- the surface --------------------------------------------------------------------------------------------

TAKEN = datetime(2024, 1, 3, 6, 30, tzinfo=UTC)


def surface(days: tuple[float, ...], iv: float = 0.6, slope: float = 0.0) -> pl.DataFrame:
    strikes = [40_000.0 * (0.5 + 0.02 * i) for i in range(51)]
    return pl.DataFrame(
        [
            {"expiry": TAKEN + timedelta(days=d), "strike": k, "is_put": p, "open_interest": 2.0 if p else 1.0,
             "iv": iv + 0.001 * d + slope * (k / 40_000 - 1), "forward": 40_000.0}
            for d in days for k in strikes for p in (True, False)
        ]
    )  # fmt: skip


def test_open_interest_adds_up_and_variance_is_linear_between_the_expiries() -> None:
    found = summarised(surface((10.0, 20.0, 40.0)), TAKEN)
    assert (found["put_oi"], found["call_oi"]) == (306.0, 153.0)
    assert found["atm_iv_frac"] == pytest.approx(((0.62**2 * 20 + 0.64**2 * 40) / 2 / 30) ** 0.5)
    assert found["skew_25d_frac"] == pytest.approx(0.0, abs=1e-9), "a flat smile"


def test_dearer_low_strikes_are_a_positive_skew() -> None:
    skew = summarised(surface((20.0, 40.0), slope=-0.5), TAKEN)["skew_25d_frac"]
    assert skew is not None and 0.05 < skew < 0.2


@pytest.mark.parametrize("days", [(10.0, 20.0), (40.0, 60.0), (-5.0, 40.0), ()])
def test_without_expiries_on_both_sides_of_30_days_there_is_no_volatility(days: tuple[float, ...]) -> None:
    found = summarised(surface(days) if days else surface((1.0,)).clear(), TAKEN)
    assert found["atm_iv_frac"] is None and found["skew_25d_frac"] is None


def test_a_bad_line_of_the_summary_is_refused() -> None:
    sound = {"instrument_name": "BTC-5JAN24-44000-P", "open_interest": 1.5, "mark_iv": 61.0, "underlying_price": 45e3}
    bad = [
        sound | {"mark_iv": 0}, sound | {"open_interest": -1}, sound | {"underlying_price": None},
        sound | {"instrument_name": "BTC-99JAN24-44000-P"}, sound | {"mark_iv": None}, None,
    ]  # fmt: skip
    parsed = summary_from([sound, *bad], "BTC")
    assert parsed.refused["line_n"].to_list() == [2, 3, 4, 5, 6, 7]
    row = parsed.frame.collect().row(0, named=True)
    assert row["expiry"] == datetime(2024, 1, 5, 8, tzinfo=UTC) and row["iv"] == 0.61 and row["strike"] == 44_000


# --- the asset ----------------------------------------------------------------------------------------------


def test_the_newest_day_takes_a_snapshot_keeps_it_and_an_old_day_has_none(tmp_path: Path, environment) -> None:
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")
    newest, clock = date(2023, 11, 19), tmp_path / "clock"
    clock.write_text("2023-11-20T06:30:00+00:00")
    environment(clock=str(clock))
    with serve(create_app(SPEC, None, None, today=date(2023, 11, 20))) as url:
        at = {"deribit": deribit(f"{url}/deribit")}
        for day in (newest, newest - timedelta(days=1)):
            made = materialise(deribit_options, key(MARKET_WIDE, day), lake, **at)
            assert made.success and all(checks_of(made).values()), checks_of(made)
        old = lake.window(TABLE, MARKET_WIDE, newest - timedelta(days=1), newest - timedelta(days=1)).collect()
        assert old.height == 48 and old["snapshot_ts"].null_count() == 48 and old["put_oi"].null_count() == 48
        held = lake.window(TABLE, MARKET_WIDE, newest, newest).collect()
        taken = held.filter(pl.col("snapshot_ts").is_not_null())
        assert taken["hour"].dt.hour().to_list() == [23, 23] and taken["currency"].sort().to_list() == ["BTC", "ETH"]
        assert set(taken["snapshot_ts"]) == {datetime(2023, 11, 20, 6, 30, tzinfo=UTC)}
        assert taken["skew_25d_frac"].min() > 0.005 and taken["atm_iv_frac"].is_between(0.3, 1.2).all()
        clock.write_text("2023-11-25T06:30:00+00:00")
        assert materialise(deribit_options, key(MARKET_WIDE, newest), lake, **at).success
    again = lake.window(TABLE, MARKET_WIDE, newest, newest).collect()
    assert again.sort("currency", "hour").equals(held.sort("currency", "hour")), "a later run keeps what was taken"


def test_days_whose_trades_are_not_served_are_partial_and_recordings_hold_none(tmp_path: Path, environment) -> None:
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")
    candles = [[MIDNIGHT_MS + 3_600_000 * h, 60, 61, 59, 60] for h in range(24)]
    with exchange(lambda q: {"result": {"trades": [], "has_more": False, "data": candles}}) as url:
        made = materialise(deribit_options, key(MARKET_WIDE, DAY), lake, deribit=deribit(url))
        assert made.success and not checks_of(made)["coverage"]
        assert lake.state(TABLE, MARKET_WIDE, DAY) == "partial"
        held = lake.window(TABLE, MARKET_WIDE, DAY, DAY).collect()
        assert held["put_volume"].null_count() == 48 and held["dvol_frac"].null_count() == 0
        environment(market="recordings", recordings=str(tmp_path))
        assert materialise(deribit_options, key(MARKET_WIDE, date(2024, 1, 3)), lake, deribit=deribit(url)).success
    assert lake.state(TABLE, MARKET_WIDE, date(2024, 1, 3)) == "not_configured"


def test_pages_of_trades_overlap_by_a_millisecond_and_each_comes_once() -> None:
    trades = [{"trade_id": str(n), "timestamp": MIDNIGHT_MS + n // 3} for n in range(2500)]

    def answer(query: dict[str, str]) -> Any:
        later = [t for t in trades if t["timestamp"] >= int(query["start_timestamp"])]  # type: ignore[operator]
        page = later[: int(query["count"])]
        return {"result": {"trades": page, "has_more": len(page) < len(later)}}

    with exchange(answer) as url:
        found = [t["trade_id"] for page in deribit(url).option_trades("BTC", DAY) for t in page]
        assert found == [str(n) for n in range(2500)]
        trades[:] = [t | {"timestamp": MIDNIGHT_MS} for t in trades]
        with pytest.raises(SourceError, match="times at"):
            list(deribit(url).option_trades("BTC", DAY))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": {"code": -32602, "message": "Invalid params", "data": {"reason": "invalid currency"}}}, FinalAnswer),
        ({"error": {"code": 10028, "message": "too_many_requests"}}, SourceError),
        ({"error": {"code": 11050, "message": "bad_request"}}, SourceError),
        ({"result": {}}, SourceError),
    ],
)
def test_other_answers_end_in_words(answer: Any, error: type[Exception], monkeypatch) -> None:
    monkeypatch.setattr(ccxt.Exchange, "sleep", lambda *_: None)  # between its own three attempts
    with exchange(lambda _: answer) as url, pytest.raises(error):
        deribit(url).dvol("BTC", DAY)
