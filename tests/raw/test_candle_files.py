"""Candle files: every row is kept, quarantined with a reason, or the file is refused; a day has one honest state."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpbot_dagster import instruments
from crpbot_dagster.assets.promotion.report import SIGNS
from crpbot_dagster.assets.raw.candle_files import candle_files, files_of
from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.assets.raw.minute_file import read_day
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import STATES, Lake

DAY = date(2023, 11, 20)
START = datetime(2023, 11, 20, tzinfo=UTC)
HEADER = "ts,open,high,low,close,volume"


def stamp(minute: int) -> str:
    return f"{START + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}"


def line(minute: int, cells: str = "100,102,99,101,5") -> str:
    return f"{stamp(minute)},{cells}"


def write(folder: Path, *lines: str, venue: str = "bitfinex", symbol: str = "BTC-USD") -> Path:
    path = folder / venue / f"{symbol}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def days_of_minutes(first: int = 0, last: int = 1440) -> list[str]:
    return [HEADER, *(line(m) for m in range(first, last))]


STAMPS = {
    "seconds": lambda t: f"{int(t.timestamp())}",
    "milliseconds": lambda t: f"{int(t.timestamp())}000",
    "microseconds": lambda t: f"{int(t.timestamp())}000000",
    "ISO with Z": lambda t: f"{t:%Y-%m-%dT%H:%M:%SZ}",
    "ISO of pandas": lambda t: f"{t:%Y-%m-%d %H:%M:%S}+00:00",
    "ISO elsewhere": lambda t: f"{t + timedelta(hours=9):%Y-%m-%dT%H:%M:%S.000}+09:00",
}


@pytest.mark.parametrize("way", STAMPS)
def test_every_way_to_write_a_moment_gives_the_same_rows(tmp_path: Path, way: str) -> None:
    times = [START + timedelta(minutes=m) for m in range(-2, 1442)]
    path = write(tmp_path, HEADER, *(f"{STAMPS[way](t)},100,102,99,101,{i}" for i, t in enumerate(times)))
    found = read_day(path, DAY)
    assert found.candles["ts"].to_list() == times[2:-2]
    assert found.candles["volume"].to_list() == [float(i) for i in range(2, 1442)]
    assert found.state == "complete" and found.refused.is_empty() and found.repeated == 0


PARQUET_CLOCKS = {
    "µs": pl.col("ts"),
    "ns": pl.col("ts").dt.cast_time_unit("ns"),
    "another zone": pl.col("ts").dt.convert_time_zone("Asia/Tokyo"),
    "epoch ms": pl.col("ts").dt.epoch("ms"),
}


@pytest.mark.parametrize("clock", PARQUET_CLOCKS)
def test_parquet_and_csv_give_the_same_rows_to_the_last_bit(tmp_path: Path, rng, clock: str) -> None:
    close = 100 * rng.lognormal(size=1500)
    frame = pl.DataFrame(
        {
            "ts": [START + timedelta(minutes=m) for m in range(-30, 1470)],
            "open": close * 1.0000001,
            "high": close * 1.01,
            "low": close / 3,
            "close": close,
            "volume": rng.exponential(size=1500),
            "trade_count": rng.integers(1, 99, 1500),
            "buy_volume": pl.Series([0.0] * 1500),
            "remark": ["not, read"] * 1500,
        }
    )
    path = tmp_path / "BTC-USD.parquet"
    frame.with_columns(PARQUET_CLOCKS[clock].alias("ts")).write_parquet(path, row_group_size=400)
    found = read_day(path, DAY)
    own = frame.filter(pl.col("ts").dt.date() == DAY).drop("remark")
    assert found.candles.select(own.columns).equals(own.with_columns(pl.col("ts"), pl.col("trade_count").cast(float)))
    written = frame.drop("remark").with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    csv = tmp_path / "BTC-USD.csv"
    written.write_csv(csv)
    assert read_day(csv, DAY).candles.equals(found.candles)


REFUSED = {
    "short row": ("100,102,99,101", "not 6 fields"),
    "long row": ("100,102,99,101,5,6", "not 6 fields"),
    "NaN": ("100,102,99,NaN,5", "a number is not written as a number"),
    "text": ("100,102,99,x,5", "a number is not written as a number"),
    "empty cell": ("100,102,99,,5", "a price is not a positive number"),
    "zero price": ("100,102,0,101,5", "a price is not a positive number"),
    "negative price": ("-100,102,99,101,5", "a price is not a positive number"),
    "1e400": ("100,1e400,99,101,5", "a number is not written as a number"),
    "high below low": ("100,99,102,100,5", "high is below low"),
    "close above high": ("100,102,99,103,5", "open or close lies outside low to high"),
    "open below low": ("98,102,99,101,5", "open or close lies outside low to high"),
    "negative volume": ("100,102,99,101,-1", "volume is not a number of at least 0"),
    "no volume": ("100,102,99,101,", "volume is not a number of at least 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_bad_row_is_refused_with_its_line_and_reason(tmp_path: Path, name: str) -> None:
    cells, reason = REFUSED[name]
    path = write(tmp_path, HEADER, line(0), line(1, cells), line(2))
    found = read_day(path, DAY)
    assert found.refused.rows() == [(3, reason, line(1, cells))]
    assert found.candles["ts"].dt.minute().to_list() == [0, 2]


def test_a_moment_inside_a_minute_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, line(0), f"{stamp(1).replace('00Z', '59Z')},100,102,99,101,5", line(2))
    assert read_day(path, DAY).refused["reason"].to_list() == ["ts is not the start of a minute"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("7,6", "buy_volume lies outside 0 to volume"),
        ("7,-1", "buy_volume lies outside 0 to volume"),
        ("1.5,2", "trade_count is not a whole number of at least 0"),
        ("-1,2", "trade_count is not a whole number of at least 0"),
    ],
)
def test_the_optional_columns_have_their_rules(tmp_path: Path, cells: str, reason: str) -> None:
    lines = [f"{line(0)},7,2", f"{line(1)},{cells}", f"{line(2)},,"]
    found = read_day(write(tmp_path, f"{HEADER},trade_count,buy_volume", *lines), DAY)
    assert found.refused["line_n"].to_list() == [3] and found.refused["reason"].to_list() == [reason]
    assert found.candles["trade_count"].to_list() == [7, None]


def test_parquet_rows_obey_the_same_rules(tmp_path: Path) -> None:
    good = {"open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0, "volume": 5.0}
    bad = [good, good | {"close": float("nan")}, good | {"high": 50.0}, good | {"volume": None}, good]
    rows = [{"ts": START + timedelta(minutes=m)} | cells for m, cells in enumerate(bad)]
    path = tmp_path / "BTC-USD.parquet"
    pl.DataFrame(rows).write_parquet(path)
    found = read_day(path, DAY)
    assert found.refused["line_n"].to_list() == [3, 4, 5]
    assert found.refused["reason"].to_list() == [
        "a number is not written as a number",
        "high is below low",
        "volume is not a number of at least 0",
    ]
    assert found.candles.height == 2


def test_equal_repeats_are_one_candle_and_contradicting_ones_none(tmp_path: Path) -> None:
    other = line(2, "100,102,99,100.5,5")
    path = write(tmp_path, HEADER, line(0), line(1), line(1), line(2), other, line(2), line(3))
    found = read_day(path, DAY)
    assert found.candles["ts"].dt.minute().to_list() == [0, 1, 3]
    assert found.repeated == 1 and found.refused["line_n"].to_list() == [5, 6, 7]
    assert set(found.refused["reason"]) == {"the minute is there again with other values"}


def test_order_does_not_matter_and_windows_lines_are_read(tmp_path: Path) -> None:
    minutes = [5, 1440, 3, -1, 4]
    path = write(tmp_path, HEADER, *(line(m) for m in minutes))
    assert sorted(read_day(path, DAY).candles["ts"].dt.minute()) == [3, 4, 5]
    path.write_bytes(("\ufeff" + "\r\n".join([HEADER, *(line(m) for m in minutes)])).encode())
    assert sorted(read_day(path, DAY).candles["ts"].dt.minute()) == [3, 4, 5]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, line(0))
    assert read_day(path, DAY).candles.height == 1
    write(tmp_path, HEADER, line(0), line(1))
    assert read_day(path, DAY).candles.height == 2


BROKEN = {
    "no offset": ([HEADER, line(0).replace("Z", "")], r"line 2: ts '2023-11-20T00:00:00' is no moment"),
    "mixed": ([HEADER, line(0), f"{int(START.timestamp())},1,1,1,1,1"], "line 3: .* in one way"),
    "a day only": ([HEADER, line(0), "2023-11-20,1,1,1,1,1"], "line 3"),
    "nanoseconds": ([HEADER, "1700438400000000000,1,1,1,1,1"], "line 2"),
    "before Bitcoin": ([HEADER, line(0).replace("2023", "1999")], "line 2"),
    "no such day": ([HEADER, line(0), line(1).replace("11-20", "11-31")], "line 3"),
    "blank line": ([HEADER, line(0), "", line(1)], "line 3: ts ''"),
    "no volume": (["ts,open,high,low,close", "x"], "the header lacks volume"),
    "ts twice": ([f"ts,{HEADER}", "x"], "has ts twice"),
    "header only": ([HEADER], "no candle in it"),
    "a page": (["<html>", "<p>"], "content_type: .* a page of HTML"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_with_a_moment_of_no_day_is_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    lines, message = BROKEN[name]
    with pytest.raises(DamagedFile, match=message):
        read_day(write(tmp_path, *lines), DAY)


def test_parquet_without_a_time_zone_or_with_text_is_refused(tmp_path: Path) -> None:
    sound = {"ts": [START], "open": [1.0], "high": [1.0], "low": [1.0], "close": [1.0], "volume": [1.0]}
    path = tmp_path / "BTC-USD.parquet"
    for broken, message in (
        ({"ts": [START.replace(tzinfo=None)]}, "moments in UTC or epoch integers"),
        ({"ts": [None]}, "line 2"),
        ({"close": ["1.0"]}, "close must be numbers"),
    ):
        frame = pl.DataFrame(sound | broken)
        if frame["ts"].null_count():
            frame = frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
        frame.write_parquet(path)
        with pytest.raises(DamagedFile, match=message):
            read_day(path, DAY)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DamagedFile, match="cannot be read"):
        read_day(path, DAY)


def test_one_file_a_venue_and_venues_in_lower_case(tmp_path: Path) -> None:
    write(tmp_path, *days_of_minutes())
    write(tmp_path, *days_of_minutes(), venue="kraken")
    write(tmp_path, *days_of_minutes(), venue="kraken", symbol="ETH-USD")
    assert list(files_of(tmp_path, "BTC-USD")) == ["bitfinex", "kraken"]
    (tmp_path / "kraken" / "BTC-USD.parquet").touch()
    with pytest.raises(DamagedFile, match="two files of BTC-USD"):
        files_of(tmp_path, "BTC-USD")
    write(tmp_path, *days_of_minutes(), venue="Kraken EU")
    with pytest.raises(DamagedFile, match="lower case"):
        files_of(tmp_path, "BTC-USD")


def test_a_day_is_complete_empty_partial_or_missing(tmp_path: Path) -> None:
    day = timedelta(days=1)
    path = write(tmp_path, HEADER, *(line(m) for m in range(720, 1440)), *(line(1440 * 3 + m) for m in range(1435)))
    states = {i: read_day(path, DAY + i * day).state for i in range(-1, 5)}
    assert states == {-1: "missing", 0: "partial", 1: "empty", 2: "empty", 3: "complete", 4: "missing"}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["1", "2", "-1", "x", "", "NaN"])), min_size=1))
def test_rows_in_are_rows_kept_refused_or_repeated(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]]
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz"), HEADER, *(line(m, f"1,2,1,{close},1") for m, close in rows))
    found = read_day(path, DAY)
    assert found.candles.height + found.refused.height + found.repeated == len(rows)
    assert found.candles["ts"].is_unique().all() and found.candles["close"].is_in([1.0, 2.0]).all()


# --- through Dagster -----------------------------------------------------------------------------------


def materialise(lake: Lake, day: date = DAY) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [candle_files],
        partition_key=key("BTC-USD", day),
        resources={"lake": lake, "door": Door(lake=lake, base_dir=lake.url)},
        raise_on_error=False,
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(url=str(tmp_path / "lake"), market="recordings", start_day="2023-11-10")


def said(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(str(e.step_failure_data.user_failure_data) for e in result.all_events if e.is_step_failure)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def test_without_the_setting_the_day_is_not_configured_and_no_check_complains(environment, lake: Lake) -> None:
    environment()
    result = materialise(lake)
    assert result.success and lake.state("raw/candle_files", "BTC-USD", DAY) == "not_configured"
    assert checks(result) == {"hard_rules": True, "coverage": True, "duplicates": True}
    assert lake.window("raw/candle_files", "BTC-USD", DAY, DAY).collect().is_empty()


def test_a_partition_holds_every_venue(environment, lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "candles"
    write(folder, *days_of_minutes())
    minutes = [f"{line(m)},3,1.5" for m in range(-9, 1300)]
    write(folder, f"{HEADER},trade_count,buy_volume", *minutes, f"{line(1441)},3,1.5", venue="kraken")
    environment(market="live", candle_files=str(folder))
    result = materialise(lake)
    assert result.success and lake.state("raw/candle_files", "BTC-USD", DAY) == "complete"
    rows = lake.window("raw/candle_files", "BTC-USD", DAY, DAY).collect()
    counts = dict(rows.group_by("venue").len().rows())
    assert counts == {"bitfinex": 1440, "kraken": 1300}
    known = rows.group_by("venue").agg(pl.col("trade_count_n", "buy_volume").count()).sort("venue").rows()
    assert known == [("bitfinex", 0, 0), ("kraken", 1300, 1300)]
    assert checks(result)["coverage"], "1,300 of 1,440 minutes are 90.3 %"
    gone = materialise(lake, DAY + timedelta(days=3))
    assert gone.success and not checks(gone)["coverage"], "a day outside the files is no good news"
    assert lake.state("raw/candle_files", "BTC-USD", DAY + timedelta(days=3)) == "missing"


def test_bad_rows_land_in_quarantine_by_file_and_too_many_fail_the_day(environment, lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "candles"
    folder.mkdir()
    environment(market="live", candle_files=str(folder))
    bad = line(700, "100,90,99,101,5")
    for venue in ("bitfinex", "kraken"):
        lines = days_of_minutes()
        write(folder, *lines[:701], bad, *lines[702:], venue=venue)
    assert materialise(lake).success
    refused = pl.read_delta(lake.path("raw/quarantine")).sort("source")
    assert refused["line_n"].to_list() == [702, 702] and refused["text"].to_list() == [bad, bad]
    assert [Path(s).parent.name for s in refused["source"]] == ["bitfinex", "kraken"]
    before = lake.window("raw/candle_files", "BTC-USD", DAY, DAY).collect()
    assert before.height == 2 * 1439
    for venue in ("bitfinex", "kraken"):
        write(folder, HEADER, *(line(m, "100,90,99,101,5") for m in range(3)), *days_of_minutes()[4:], venue=venue)
    assert not materialise(lake).success, "six of 2,880 rows are 0.2 %"
    assert lake.window("raw/candle_files", "BTC-USD", DAY, DAY).collect().equals(before)
    for venue in ("bitfinex", "kraken"):
        write(folder, *days_of_minutes(), venue=venue)
    assert materialise(lake).success
    assert pl.read_delta(lake.path("raw/quarantine")).is_empty()


def test_a_misspelt_primary_venue_is_refused_not_a_year_of_gaps(environment, lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "candles"
    write(folder, *days_of_minutes())
    environment(market="live", candle_files=str(folder), primary='{"BTC-USD": "bitfinx/files"}')
    result = materialise(lake)
    assert not result.success and "venues with BTC-USD: bitfinex" in said(result)
    assert lake.state("raw/candle_files", "BTC-USD", DAY) is None


def test_the_primary_venue_decides_the_state(environment, lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "candles"
    write(folder, *days_of_minutes())
    write(folder, HEADER, line(-3000), venue="kraken")
    environment(market="live", candle_files=str(folder), primary='{"BTC-USD": "kraken/files"}')
    assert materialise(lake).success
    assert lake.state("raw/candle_files", "BTC-USD", DAY) == "missing"


def test_a_held_day_outlives_its_file_and_its_setting(environment, lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "candles"
    write(folder, *days_of_minutes(), line(1440))
    environment(market="live", candle_files=str(folder))
    assert materialise(lake).success
    write(folder, HEADER, line(9000))
    assert not materialise(lake).success
    (folder / "bitfinex" / "BTC-USD.csv").unlink()
    assert not materialise(lake).success
    assert lake.state("raw/candle_files", "BTC-USD", DAY) == "complete"
    assert lake.window("raw/candle_files", "BTC-USD", DAY, DAY).collect().height == 1440


def test_a_held_day_outlives_the_setting(environment, lake: Lake, tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "candles", *days_of_minutes())
    environment(market="live", candle_files=str(tmp_path / "candles"))
    assert materialise(lake).success
    monkeypatch.delenv("CRPBOT_CANDLE_FILES")
    environment(market="live")
    assert not materialise(lake).success
    assert lake.state("raw/candle_files", "BTC-USD", DAY) == "complete"


def test_every_state_of_a_day_has_its_sign_in_the_report() -> None:
    assert set(STATES) <= set(SIGNS)


# --- settings and instruments ---------------------------------------------------------------------------


def test_files_may_be_any_venue_and_symbol_and_listed_sources_may_not() -> None:
    assert instruments.primary("XRP-USDT", {"XRP-USDT": "binance/files"}).venue == "binance"
    for chosen in ("bitfinex/coinbase", "bitfinex/nobody", "Bitfinex/files", "files", "../files", "/files"):
        with pytest.raises(instruments.UnknownInstrument, match="<venue>/files"):
            instruments.primary("BTC-USD", {"BTC-USD": chosen})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"market": "sandbox"}, "the market is simulated"),
        ({"market": "live", "symbols": '["XRP-USD"]'}, "XRP-USD is not in instruments.py"),
        ({"market": "live", "primary": '{"BTC-USD": "Bitfinex/files"}'}, "not listed"),
    ],
)
def test_settings_that_contradict_files_are_errors(environment, tmp_path: Path, values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        environment(candle_files=str(tmp_path), **values)


def test_files_as_primary_need_their_folder_and_can_be_the_only_recording(environment, tmp_path: Path) -> None:
    primary = {"primary": '{"XRP-USDT": "binance/files"}', "symbols": '["XRP-USDT"]'}
    with pytest.raises(ValueError, match="set CRPBOT_CANDLE_FILES"):
        environment(market="live", **primary)
    found = environment(market="recordings", candle_files=str(tmp_path), **primary)
    assert found.symbols == ("XRP-USDT",) and found.stamp == "recordings"
