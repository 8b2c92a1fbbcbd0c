"""A user's SQL over the lake: it reads the tables, and nothing else of the machine, and writes nothing."""

import os
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.warehouse import QueryError, select
from crpbot_dagster.settings import PROJECT
from crpbot_dagster.tables import TABLES

DAY = date(2024, 1, 1)
SYMBOL = "BTC-USD"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three days of bars/daily, and every other table made but empty: as a prepared lake is. A quote in its path."""
    lake = Lake(url=str(tmp_path_factory.mktemp("it's") / "lake"), market="sandbox", start_day="2024-01-01")
    lake.prepare()
    for i in range(3):
        day = DAY + timedelta(days=i)
        row = dict.fromkeys(TABLES["bars/daily"].schema) | {"symbol": SYMBOL, "day": day, "close": 100.0 + i}
        lake.publish("bars/daily", pl.DataFrame([row], schema=TABLES["bars/daily"].schema), SYMBOL, day, "complete")
    return lake


def rows(lake: Lake, sql: str) -> pl.DataFrame:
    return pl.concat(select(lake, sql))


def test_tables_are_named_stage_dot_table(lake: Lake) -> None:
    found = rows(lake, "select day, close from bars.daily where day >= '2024-01-02' order by day desc")
    assert found.to_dict(as_series=False) == {"day": [DAY + timedelta(2), DAY + timedelta(1)], "close": [102.0, 101.0]}
    assert rows(lake, "with c as (from bars.daily) select count(*) as n, max(close) as top from c;").row(0) == (
        3,
        102.0,
    )
    assert rows(lake, "describe bars.daily").height == len(TABLES["bars/daily"].columns)


def test_a_result_without_rows_has_its_columns(lake: Lake) -> None:
    found = rows(lake, "select ts, rsi from features.v5")
    assert found.height == 0 and found.columns == ["ts", "rsi"]


def test_what_a_frame_cannot_hold_is_refused_with_a_remedy(lake: Lake) -> None:
    with pytest.raises(QueryError, match=r"span is an interval: write epoch\(span\)"):
        rows(lake, "select max(day::timestamp) - min(day::timestamp) as span from bars.daily")
    assert rows(lake, "select epoch(max(day::timestamp) - min(day::timestamp)) from bars.daily").item() == 2 * 86_400


def test_a_large_result_comes_in_batches_that_add_up(lake: Lake) -> None:
    sizes = [b.height for b in select(lake, "select range as x from range(120000)")]
    assert sum(sizes) == 120_000 and len(sizes) > 2


def test_only_tables_that_exist_are_there_and_an_error_names_them(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"no table dayly. Did you mean bars.daily\? The lake has .*features.v5"):
        rows(lake, "select * from bars.dayly")
    with pytest.raises(QueryError, match=r"no table daily. Did you mean bars.daily\?"):
        rows(lake, "select * from daily")
    with pytest.raises(QueryError, match=r'(?s)"closs" not found.*"close"'):
        rows(lake, "select closs from bars.daily")
    young = Lake(url=str(tmp_path / "young"), market="sandbox", start_day="2024-01-01")
    with pytest.raises(LookupError, match="is empty"):
        rows(young, "select 1")
    young.create("bars/daily")
    with pytest.raises(QueryError, match=r"no table v5. The lake has bars.daily$"):
        rows(young, "select * from features.v5")


FORBIDDEN = {
    "read a file": "select * from read_csv('/etc/passwd')",
    "read a file by its name": "select * from '/etc/passwd'",
    "read text": "select * from read_text('/etc/passwd')",
    "list a folder": "select * from glob('/etc/*')",
    "climb out of the lake": "select * from read_text('{lake}/../hidden.txt')",
    "another delta table": "select * from delta_scan('{other}')",
    "write beside the lake": "copy (select 1) to '{outside}/out.csv'",
    "write into the lake": "copy (select 1) to '{lake}/bars/daily/out.csv'",
    "write through explain": "explain analyze copy (select 1) to '{lake}/out.csv'",
    "attach": "attach '{lake}/x.db'",
    "install": "install httpfs",
    "load": "load httpfs",
    "export": "export database '{lake}/export'",
    "delete": "delete from bars.daily",
    "create": "create table mine as select 1",
    "open the door": "set enable_external_access = true",
    "two statements": "select 1; copy (select 1) to '{lake}/out.csv'",
    "network": "select * from 'https://127.0.0.1:1/x.csv'",
    "nothing": " -- a comment",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_but_the_lake_is_read_and_nothing_is_written(lake: Lake, tmp_path: Path, what: str) -> None:
    (Path(lake.url).parent / "hidden.txt").write_text("secret")
    other = Lake(url=str(tmp_path / "other"), market="live", start_day="2024-01-01")
    row = dict.fromkeys(TABLES["bars/daily"].schema) | {"symbol": SYMBOL, "day": DAY}
    other.publish("bars/daily", pl.DataFrame([row], schema=TABLES["bars/daily"].schema), SYMBOL, DAY, "complete")
    before = sorted(Path(lake.url).rglob("*"))
    places = {"lake": lake.url, "outside": tmp_path, "other": other.path("bars/daily")}
    asked = FORBIDDEN[what].format(**{k: str(v).replace("'", "''") for k, v in places.items()})
    with pytest.raises(QueryError) as refused:
        rows(lake, asked)
    assert "secret" not in str(refused.value)
    assert sorted(Path(lake.url).rglob("*")) == before and not (tmp_path / "out.csv").exists()


def test_the_refusals_come_from_the_lock_and_not_from_the_select_rule_alone(lake: Lake) -> None:
    """The same reads succeed in an open DuckDB, so what refuses them above is the lock."""
    import duckdb

    secret = Path(lake.url).parent / "hidden.txt"
    secret.write_text("secret")
    with duckdb.connect() as opened:
        asked = f"select content from read_text('{str(secret).replace(chr(39), chr(39) * 2)}')"
        assert opened.execute(asked).fetchall() == [("secret",)]
        assert opened.execute("select count(*) from glob('/etc/*')").fetchone()[0] > 0


def test_a_query_on_one_day_is_quick(lake: Lake) -> None:
    rows(lake, "select 1")
    started = time.perf_counter()
    rows(lake, "select count(*) from bars.daily where day = '2024-01-02'")
    assert time.perf_counter() - started < 5


def test_a_minute_is_of_its_utc_day_wherever_the_machine_stands(lake: Lake) -> None:
    script = (
        "from crpbot_dagster.resources.lake import Lake\n"
        "from crpbot_dagster.resources.warehouse import Warehouse\n"
        f"lake = Lake(url={lake.url!r}, market='sandbox', start_day='2024-01-01')\n"
        "print(Warehouse(lake=lake).query(\"select '2024-02-01 00:30:00+00'::timestamptz::date as day\").item())"
    )
    environment = os.environ | {"TZ": "America/New_York", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2024-02-01"
