"""FRED: missing values, holidays, week-ends, series that are published late, and headers of both kinds."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from raw.web_world import OLDER, WebWorld, canned, simulated, world_of
from starlette.requests import Request
from starlette.responses import Response

from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.assets.raw.traditional_markets import KNOWN_AFTER_DAYS, parse_fred, traditional_markets

__all__ = ["simulated"]
PATH = "/fred/graph/fredgraph.csv"


def test_a_day_is_partial_until_its_slowest_series_is_published(simulated: WebWorld) -> None:
    state, rows = simulated.made(traditional_markets, OLDER)
    assert state == "partial" and set(rows["series_id"]) == set(KNOWN_AFTER_DAYS) - {"DTWEXBGS"}
    state, rows = simulated.made(traditional_markets, date(2023, 11, 10))
    assert state == "complete" and set(rows["series_id"]) == set(KNOWN_AFTER_DAYS)
    known = dict(rows.select("series_id", "available_ts").rows())
    assert known["SP500"] == datetime(2023, 11, 12, 12, tzinfo=UTC)
    assert known["DTWEXBGS"] == datetime(2023, 11, 19, 12, tzinfo=UTC)


def test_a_week_end_is_empty_without_asking(tmp_path: Path, environment) -> None:
    with world_of(canned({PATH: 500}), tmp_path, environment) as world:
        assert world.made(traditional_markets, date(2023, 11, 18))[0] == "empty"
        assert not world.run(traditional_markets).success


def test_a_holiday_is_a_value_that_is_missing(tmp_path: Path, environment) -> None:
    def holiday(request: Request) -> Response:
        name = request.query_params["id"]
        return Response(
            f"observation_date,{name}\n2023-11-20,.\n" if name != "DGS10" else "gone", 200 if name != "DGS10" else 404
        )

    with world_of(canned({PATH: holiday}), tmp_path, environment) as world:
        state, rows = world.made(traditional_markets)
    assert state == "partial" and rows.height == 3 and rows["value"].null_count() == 3


@pytest.mark.parametrize("name", ["observation_date", "DATE", "\ufeffDATE"])
def test_both_headers_are_read(name: str) -> None:
    body = f"{name},SP500\r\n2024-01-02,4742.83\r\n2024-01-01,.\r\n2024-01-03,\r\n".encode()
    parsed, repeated = parse_fred(body, "SP500")
    assert parsed.frame.collect()["value"].to_list() == [4742.83, None, None] and parsed.rows == 3 and repeated == 0


@pytest.mark.parametrize(
    "line",
    ["2024-02-30,1", "1/2/2024,1", "2024-01-02,1e400", "2024-01-02,nan", "2024-01-02,1,5", "2024-01-02", "", ",1"],
)
def test_a_bad_line_is_refused(line: str) -> None:
    parsed, _ = parse_fred(f"DATE,DGS10\n{line}\n2024-01-04,4.0\n".encode(), "DGS10")
    assert parsed.refused["line_n"].to_list() == [1] and parsed.rows == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>gone</html>", b"DATE,SP500\n", b"DATE\n", "DATE,DGS10\n".encode("utf-16")]
)
def test_an_answer_about_something_else_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_fred(body, "DGS10")


def test_repeats_and_contradictions() -> None:
    body = b"DATE,DGS10\n2024-01-02,4\n2024-01-02,4\n2024-01-03,4\n2024-01-03,5\n"
    parsed, repeated = parse_fred(body, "DGS10")
    assert repeated == 1 and parsed.refused.height == 2 and parsed.frame.collect().height == 1
