"""Fear & Greed: whose dates are written how, days that are absent, and when a value is known."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from raw.web_world import DAY, OLDER, WebWorld, canned, failure, simulated, world_of

from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.assets.raw.fear_greed import fear_greed, parse_fear_greed, parse_records

__all__ = ["simulated"]
PATH = "/alternative_me/fng/"


def entry(day: date, value: object = "40", **more: str) -> dict[str, object]:
    stamp = str(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()))
    return {"value": value, "value_classification": "Fear", "timestamp": stamp} | more


def answer(*entries: dict[str, object]) -> bytes:
    return json.dumps({"name": "Fear and Greed Index", "data": entries, "metadata": {"error": None}}).encode()


def test_a_day_is_known_at_its_end(simulated: WebWorld) -> None:
    for day in (DAY, OLDER):
        state, rows = simulated.made(fear_greed, day)
        assert state == "complete" and rows["day"].to_list() == [day]
        assert rows["available_ts"][0] == datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def test_what_was_asked_for_during_the_day_is_known_from_then(tmp_path: Path, environment) -> None:
    now = "2023-11-20T14:00:00+00:00"
    with world_of(canned({PATH: answer(entry(DAY))}), tmp_path, environment, now) as world:
        assert world.made(fear_greed)[1]["available_ts"][0] == datetime(2023, 11, 20, 14, tzinfo=UTC)


def test_a_day_that_was_left_out_is_empty_and_one_that_is_late_is_missing(tmp_path: Path, environment) -> None:
    around = answer(entry(DAY + timedelta(days=1)), entry(DAY - timedelta(days=1)))
    with world_of(canned({PATH: around}), tmp_path, environment) as world:
        assert world.made(fear_greed)[0] == "empty"
    late = answer(entry(DAY - timedelta(days=1)))
    with world_of(canned({PATH: late}), tmp_path, environment) as world:
        # A day that is held is not replaced by the news that it is late.
        assert "WouldErase" in failure(world.run(fear_greed))
        assert world.made(fear_greed, OLDER)[0] == "empty"


def test_the_recorded_series_is_month_first_and_newest_first(shared_data: Path) -> None:
    """4/12/2024 is the twelfth of April; the format is declared, so the other order refuses what cannot be."""
    text = gzip.decompress((shared_data / "series/fear_and_greed_2018-2024.csv.gz").read_bytes()).decode()
    records = list(csv.DictReader(io.StringIO(text)))
    parsed, repeated = parse_records(records, "us")
    rows = parsed.frame.collect()
    assert rows.height + parsed.refused.height + repeated == len(records) and parsed.refused.is_empty()
    assert rows["day"][0] == date(2024, 4, 12) and rows["day"][-1] == date(2018, 2, 1)
    assert rows["day"].is_sorted(descending=True) and rows["fear_greed"][0] == 79
    absent = set(pl.date_range(rows["day"].min(), rows["day"].max(), eager=True)) - set(rows["day"])
    assert absent == {date(2018, 4, 14), date(2018, 4, 15), date(2018, 4, 16)}
    unix, _ = parse_records(records, "unix")
    assert unix.refused.height == len(records), "a date of another format is refused, never guessed"


@pytest.mark.parametrize("text", ["13/2/2024", "2024-02-13", "2/30/2024", "4/12/24", "", "1700438400"])
def test_a_date_that_is_not_month_first_is_refused_under_the_us_format(text: str) -> None:
    parsed, _ = parse_records([entry(DAY, timestamp=text)], "us")
    assert parsed.refused.height == 1 and parsed.frame.collect().is_empty()


def test_the_us_format_of_the_sandbox_is_the_same_series(simulated: WebWorld) -> None:
    asked = {"limit": 30, "format": "json"}
    unix, _ = parse_fear_greed(simulated.web().get("alternative_me", "/fng/", asked).body)
    us = simulated.web().get("alternative_me", "/fng/", asked | {"date_format": "us"}).body
    written, _ = parse_records(json.loads(us)["data"], "us")
    assert written.frame.collect().equals(unix.frame.collect()) and unix.rows == 30


@pytest.mark.parametrize(
    "change",
    [{"value": "101"}, {"value": "-1"}, {"value": "nan"}, {"value": None}, {"timestamp": "1700438401"},
     {"timestamp": "1700438400000"}, {"value_classification": None}],
)  # fmt: skip
def test_a_bad_value_is_refused(change: dict[str, object]) -> None:
    parsed, _ = parse_fear_greed(answer(entry(DAY) | change, entry(OLDER)))
    assert parsed.refused["line_n"].to_list() == [1] and parsed.frame.collect().height == 1


def test_repeats_and_contradictions() -> None:
    parsed, repeated = parse_fear_greed(answer(entry(DAY), entry(DAY), entry(OLDER), entry(OLDER, "41")))
    assert repeated == 1 and parsed.refused.height == 2 and parsed.frame.collect()["day"].to_list() == [DAY]


@pytest.mark.parametrize("body", [b"{}", b'{"data": {}}', b"", b"null", answer(entry(DAY))[:-4]])
def test_an_answer_of_another_layout_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_fear_greed(body)
