"""Tardis assets: repeated trades, and what a refusal may do to a day the lake already holds."""

import gzip
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from raw.test_dataset_file import HEADER, row, write

from crpbot_dagster.assets.raw.dataset_file import parse
from crpbot_dagster.assets.raw.tardis import LEVEL_NAMES, SNAPSHOTS, TRADES, deduplicated, tardis_trades
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve

DAY = date(2023, 11, 20)


def with_id(trade: str, price: str = "100") -> str:
    return row(price).replace(",1,buy,", f",{trade},buy,")


def test_a_trade_delivered_twice_is_kept_once(tmp_path: Path) -> None:
    lines = [with_id("a"), with_id("b"), with_id("a"), with_id(""), with_id("")]
    parsed, dropped = deduplicated(parse(write(tmp_path, HEADER, *lines), TRADES, tmp_path / "s.parquet"))
    assert dropped == 1 and parsed.refused.is_empty()
    assert parsed.frame.collect()["line_n"].to_list() == [2, 3, 5, 6]


def test_one_id_with_two_prices_is_refused_both_times(tmp_path: Path) -> None:
    lines = [with_id("a"), with_id("b"), with_id("a", "101")]
    parsed, dropped = deduplicated(parse(write(tmp_path, HEADER, *lines), TRADES, tmp_path / "s.parquet"))
    assert dropped == 0 and parsed.refused["line_n"].to_list() == [2, 4]
    assert parsed.frame.collect()["line_n"].to_list() == [3]
    assert parsed.frame.collect().height + parsed.refused.height + dropped == parsed.rows


def snapshot_file(folder: Path, *rows: list[str]) -> Path:
    header = ["exchange", "symbol", "timestamp", "local_timestamp", *LEVEL_NAMES]
    path = folder / "snapshots.csv.gz"
    path.write_bytes(gzip.compress("\n".join([",".join(header), *(",".join(r) for r in rows)]).encode()))
    return path


def snapshot(levels: int, **cells: str) -> list[str]:
    made = {name: "1" if int(name.split("[")[1].split("]")[0]) < levels else "" for name in LEVEL_NAMES} | cells
    return ["coinbase", "BTC-USD", "1704153600000000", "1704153600010000", *made.values()]


def test_thin_books_are_sound_on_both_paths_and_bad_levels_are_refused(tmp_path: Path) -> None:
    thin = [snapshot(20), snapshot(25)]
    assert parse(snapshot_file(tmp_path, *thin), SNAPSHOTS, tmp_path / "a.parquet").refused.is_empty()
    bad = [
        snapshot(25, **{"bids[3].amount": "-5"}),
        snapshot(25, **{"asks[0].price": "x"}),
        snapshot(25, **{"asks[2].price": ""}),
    ]
    parsed = parse(snapshot_file(tmp_path, *thin, *bad), SNAPSHOTS, tmp_path / "b.parquet")
    assert parsed.refused["line_n"].to_list() == [4, 5, 6] and parsed.frame.collect().height == 2


def materialise(lake: Lake, url: str, api_key: str = "") -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [tardis_trades],
        partition_key=key("BTC-USD", DAY),
        resources={
            "lake": lake,
            "door": Door(lake=lake, base_dir=lake.url),
            "tardis": TardisDatasets(endpoint=f"{url}/v1", api_key=api_key, timeout_s=60),
        },
        raise_on_error=False,
    )


def test_a_lost_licence_does_not_erase_a_paid_day(tmp_path: Path) -> None:
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")
    with serve(create_app(MarketSpec(7, 1.0), None, "the-key")) as url:
        assert materialise(lake, url).success
        assert lake.state("raw/tardis_trades", "BTC-USD", DAY) == "not_licensed"
        assert materialise(lake, url, "the-key").success
        paid = lake.window("raw/tardis_trades", "BTC-USD", DAY, DAY).collect()
        assert paid.height > 10_000
        refused = materialise(lake, url)
        assert not refused.success
        wrong = TardisDatasets(endpoint=f"{url}/v1", api_key="another", timeout_s=60)
        with pytest.raises(SourceError, match="the key is wrong"), wrong.fetch("coinbase", "trades", "BTC-USD", DAY):
            pass
    assert lake.state("raw/tardis_trades", "BTC-USD", DAY) == "complete"
    assert lake.window("raw/tardis_trades", "BTC-USD", DAY, DAY).collect().equals(paid)
    assert paid["trade_id"].n_unique() == paid.height


def test_a_source_that_hangs_ends_in_a_named_error(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        hanging = TardisDatasets(endpoint=address, timeout_s=0.5)
        with (
            pytest.raises(SourceError, match="no complete answer"),
            hanging.fetch("coinbase", "trades", "BTC-USD", DAY),
        ):
            pass
    with (
        pytest.raises(SourceError, match="crpbot sandbox serve"),
        TardisDatasets(endpoint=None, timeout_s=1).fetch("coinbase", "trades", "BTC-USD", DAY),
    ):
        pass


def test_bad_rows_land_in_quarantine_and_leave_it_when_the_file_is_sound_again(tmp_path: Path) -> None:
    lake = Lake(url=str(tmp_path / "lake"), market="recordings", start_day="2023-11-10")
    folder = tmp_path / f"recordings/tardis/coinbase/trades/{DAY}"
    folder.mkdir(parents=True)
    start = 1_700_438_400_000_000
    lines = [f"coinbase,BTC-USD,{start + i},{start + i + 9},{i},buy,100,1" for i in range(2_000)]
    file = folder / "BTC-USD.csv.gz"
    file.write_bytes(gzip.compress("\n".join([HEADER, *lines, lines[0].replace(",100,", ",-1,")]).encode()))
    with serve(create_app(None, tmp_path / "recordings", None)) as url:
        assert materialise(lake, url).success
        bad = pl.read_delta(lake.path("raw/quarantine"))
        assert bad["line_n"].to_list() == [2002] and bad["reason"][0] == "price is not a positive number"
        file.write_bytes(gzip.compress("\n".join([HEADER, *lines]).encode()))
        assert materialise(lake, url).success
        assert pl.read_delta(lake.path("raw/quarantine")).is_empty()
        many = [line.replace(",100,", ",-1,") if i % 100 == 0 else line for i, line in enumerate(lines)]
        file.write_bytes(gzip.compress("\n".join([HEADER, *many]).encode()))
        assert not materialise(lake, url).success, "1 % of bad rows fails the partition"
    assert lake.window("raw/tardis_trades", "BTC-USD", DAY, DAY).collect().height == 2_000
