"""Hash rate: the units of two sources, their agreement, and a day that only one of them has."""

import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from raw.web_world import DAY, OLDER, WebWorld, canned, failure, sandbox, simulated, world_of

from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.assets.raw.hash_rate import TH_PER_EH, as_rows, hash_rate, parse_chart, parse_mempool

__all__ = ["simulated"]
HASHES = 2**32 / 600  # of difficulty 1, a second: one block every ten minutes


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def chart(*points: dict[str, object], unit: str = "Hash Rate TH/s") -> bytes:
    return json.dumps({"status": "ok", "unit": unit, "period": "day", "values": points}).encode()


@pytest.mark.parametrize("day", [DAY, OLDER])
def test_both_sources_agree_in_eh_per_second(simulated: WebWorld, day: date) -> None:
    state, rows = simulated.made(hash_rate, day)
    assert state == "complete" and set(rows["source"]) == {"blockchain", "mempool"}
    assert rows["hash_rate_ehs"].min() > 100 and rows["hash_rate_ehs"].max() / rows["hash_rate_ehs"].min() < 1.15
    known = rows.filter(source="blockchain").row(0, named=True)
    assert 0.6 < known["hash_rate_ehs"] * 1e18 / (known["difficulty"] * HASHES) < 1.4
    assert rows["available_ts"].unique().to_list() == [
        datetime(day.year, day.month, day.day, 6, tzinfo=UTC) + timedelta(days=1)
    ]


def test_a_day_that_one_source_lacks_is_partial_and_one_that_neither_has_is_missing(
    tmp_path: Path, environment
) -> None:
    point = {"x": seconds(DAY), "y": 5e8}
    one = {"/blockchain/charts/{name}": chart(point, unit="Hash Rate TH/s Difficulty"), "/mempool/{rest:path}": 404}
    with world_of(canned(one), tmp_path, environment) as world:
        state, rows = world.made(hash_rate)
        assert state == "partial" and rows["hash_rate_ehs"].to_list() == [500.0]
        assert world.made(hash_rate, OLDER)[0] == "missing"
    with world_of(sandbox(), tmp_path, environment, "2023-11-20T12:00:00+00:00") as world:
        assert "WouldErase" in failure(world.run(hash_rate)), "a day that is not over is not asked for"


def test_the_recorded_series_has_the_units_the_parser_takes_it_for(shared_data: Path) -> None:
    """blockchain.com counts TH/s: read so, the hash rate is what the difficulty implies."""

    def points(name: str, unit: str) -> pl.DataFrame:
        file = shared_data / f"series/{name}_blockchain_com.csv.gz"
        rows = pl.read_csv(
            io.BytesIO(gzip.decompress(file.read_bytes())), try_parse_dates=True, new_columns=["at", "y"]
        )
        body = chart(*({"x": int(t.replace(tzinfo=UTC).timestamp()), "y": y} for t, y in rows.rows()), unit=unit)
        found = parse_chart(body, unit)
        assert found[0].refused.is_empty() and found[0].rows == rows.height == found[0].frame.collect().height
        rate = as_rows(found, "blockchain", TH_PER_EH)[0] if unit == "TH/s" else found[0]
        return rate.frame.collect()

    both = points("hash_rate", "TH/s").drop("difficulty").join(points("difficulty", "Difficulty"), on="day")
    late = both.filter(pl.col("day") >= date(2015, 1, 1))
    implied = late.select((pl.col("hash_rate_ehs") * 1e18 / (pl.col("value") * HASHES)).alias("x"))["x"]
    assert late.height > 2_000 and 0.97 < implied.median() < 1.07
    assert both.filter(day=date(2021, 5, 7))["hash_rate_ehs"][0] == pytest.approx(176.209, abs=0.001)


def test_another_unit_is_damage_and_not_a_factor_of_a_million() -> None:
    with pytest.raises(DamagedFile, match="the unit is 'Hash Rate GH/s'"):
        parse_chart(chart({"x": seconds(DAY), "y": 1}, unit="Hash Rate GH/s"), "TH/s")


@pytest.mark.parametrize("point", [{"x": 1, "y": 1}, {"x": seconds(DAY) + 1, "y": 1}, {"x": seconds(DAY), "y": -1},
                                   {"x": seconds(DAY), "y": "x"}, {"x": seconds(DAY)}, {"x": seconds(DAY), "y": None}])  # fmt: skip
def test_a_bad_point_is_refused(point: dict[str, object]) -> None:
    parsed, _ = parse_chart(chart(point, {"x": seconds(OLDER), "y": 2}), "TH/s")
    assert parsed.refused["line_n"].to_list() == [1] and parsed.frame.collect().height == 1


def test_mempool_s_days_and_what_is_no_answer_of_theirs() -> None:
    points = [{"timestamp": seconds(d), "avgHashrate": 4.5e20} for d in (OLDER, DAY, DAY)]
    parsed, repeated = parse_mempool(json.dumps({"hashrates": points, "difficulty": []}).encode())
    assert parsed.frame.collect()["day"].to_list() == [OLDER, DAY] and repeated == 1
    for body in (b"{}", b'{"hashrates": [1]}', b"Invalid interval"):
        with pytest.raises(DamagedFile):
            parse_mempool(body)
