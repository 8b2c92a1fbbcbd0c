"""``crp.read`` and ``crp.sql``: complete or refused, sorted, and without a server."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

import crpbot_dagster as crp
from crpbot_dagster.instance import lake_of
from crpbot_dagster.reading import UnknownTable
from crpbot_dagster.resources.lake import IncompleteError, StampError
from crpbot_dagster.settings import PROJECT
from crpbot_dagster.tables import TABLES

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)


@pytest.fixture
def home(environment, tmp_path: Path) -> Path:
    """Volumes of three days, the middle one and then a late day missing, written out of order."""
    lake = lake_of(environment())
    table = TABLES["bars/volume_1d"]
    for day in (LAST, FIRST):
        rows = [dict.fromkeys(table.schema) | {"symbol": "BTC-USD", "day": day, "venue": v, "source": "tardis"}
                for v in ("coinbase", "binance")]  # fmt: skip
        lake.publish(table.name, pl.DataFrame(rows, schema=table.schema), "BTC-USD", day, "complete")
    return tmp_path


def test_importing_the_package_loads_neither_polars_nor_dagster() -> None:
    script = "import sys, crpbot_dagster as c; print([m for m in ('polars', 'dagster', 'duckdb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"
    assert set(crp.__all__) == {"read", "sql"}
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        crp.reed  # noqa: B018


@pytest.mark.parametrize("name", ["bars.volume_1d", "bars/volume_1d"])
@pytest.mark.parametrize("day", ["2024-01-01", FIRST])
def test_rows_come_sorted(home: Path, name: str, day: str | date) -> None:
    found = crp.read(name, "BTC-USD", day, day)
    assert found["venue"].to_list() == ["binance", "coinbase"]
    assert found.columns == list(TABLES["bars/volume_1d"].schema)
    assert not (home / "postgres").exists() and not (home / "dagster").exists()


def test_a_window_is_complete_or_refused(home: Path) -> None:
    with pytest.raises(IncompleteError, match=r"lacks 1 of the 3 days asked for: 2024-01-02\. .*crpbot run"):
        crp.read("bars.volume_1d", "BTC-USD", FIRST, LAST)
    found = crp.read("bars.volume_1d", "BTC-USD", FIRST, LAST, allow_missing=True)
    assert found["day"].to_list() == [FIRST, FIRST, LAST, LAST]
    assert crp.read("bars.volume_1d", "ETH-USD", FIRST, LAST, allow_missing=True).height == 0
    with pytest.raises(IncompleteError, match="lacks 3 of the 3 days"):
        crp.read("features.v5", "BTC-USD", FIRST, LAST)


def test_a_wrong_table_is_named_with_what_is_near(home: Path) -> None:
    with pytest.raises(UnknownTable, match=r"no table 'bars\.volumes_1d': did you mean bars/volume_1d"):
        crp.read("bars.volumes_1d", "BTC-USD", FIRST, LAST)


def test_sql_reads_the_same_lake(home: Path) -> None:
    found = crp.sql("select venue, count(*) as days from bars.volume_1d group by venue order by venue")
    assert found.rows() == [("binance", 2), ("coinbase", 2)]


def test_a_lake_of_another_market_is_not_read_by_mistake(home: Path, environment) -> None:
    environment(market="live")
    for asked in (lambda: crp.read("bars.volume_1d", "BTC-USD", FIRST, FIRST), lambda: crp.sql("select 1")):
        with pytest.raises(StampError, match="was made from 'sandbox"):
            asked()


def test_reading_does_not_stamp_a_lake_that_is_not_there(environment, tmp_path: Path) -> None:
    environment()
    with pytest.raises(LookupError, match="is empty"):
        crp.sql("select 1")
    with pytest.raises(IncompleteError):
        crp.read("bars.volume_1d", "BTC-USD", FIRST, FIRST + timedelta(days=1))
    assert not (tmp_path / "lake" / "stamp").exists()
