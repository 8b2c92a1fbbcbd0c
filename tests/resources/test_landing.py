"""Tardis' files from the wire to the lake: reused after a kill, never trusted when they changed, gone when they are in."""

import multiprocessing
import random
import shutil
import time
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from faults.server import answer, host, script
from resources.landing import FIRST, TABLE, backfill, days, failure, lake_in, market, materialise, tardis_at

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.resources.tardis import Fetched, TardisDatasets

DAYS, KILLS = 30, 3


class Killed(BaseException):
    """What no ``except`` of the platform catches, as no process catches a kill."""


def files(folder: Path) -> list[Path]:
    return [p for p in (folder / "landing").rglob("*") if p.is_file()]


def killed_after_download(tardis: TardisDatasets, day: date = FIRST) -> Fetched:
    with pytest.raises(Killed), tardis.fetch("coinbase", "trades", "BTC-USD", day) as fetched:
        raise Killed
    return fetched


def test_a_complete_file_is_not_asked_for_again_and_goes_when_it_is_published(tmp_path: Path) -> None:
    seen: list[str] = []
    with market(seen) as url:
        lake, tardis = lake_in(tmp_path), tardis_at(url, tmp_path)
        left = killed_after_download(tardis)
        assert left.path is not None and left.path.parent.name == left.notes["sha256"] and not left.notes["reused_file"]
        run = materialise(FIRST, lake, tardis)
        assert run.success and len(seen) == 1 and files(tmp_path) == []
        said = run.asset_materializations_for_node("raw__tardis_trades")[0].metadata
        assert said["sha256"].value == left.notes["sha256"] and said["reused_file"].value is True
        assert said["file_bytes"].value == left.notes["file_bytes"]


def test_a_landed_file_that_was_changed_by_hand_is_fetched_again(tmp_path: Path) -> None:
    """Case 77 of the fault corpus."""
    seen: list[str] = []
    with market(seen) as url:
        lake, tardis = lake_in(tmp_path), tardis_at(url, tmp_path)
        left = killed_after_download(tardis)
        assert left.path is not None
        sound = left.path.read_bytes()
        left.path.write_bytes(sound[:100] + b"?" + sound[101:])
        with tardis.fetch("coinbase", "trades", "BTC-USD", FIRST) as again:
            assert again.path is not None and again.path.read_bytes() == sound and not again.notes["reused_file"]
        assert len(seen) == 2 and materialise(FIRST, lake, tardis).success


def test_half_a_file_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    seen: list[str] = []
    with market(seen) as url:
        tardis = tardis_at(url, tmp_path)
        left = killed_after_download(tardis)
        assert left.path is not None
        berth = left.path.parent.parent
        left.path.parent.rename(berth / "part-of-a-killed-run")
        killed_after_download(tardis)
        assert len(seen) == 2
        shutil.rmtree(berth)
        berth.mkdir()
        (berth / "0123").mkdir()  # killed between two steps of its removal
        killed_after_download(tardis)
        assert len(seen) == 3


def test_a_file_that_turns_out_to_be_bad_is_asked_for_again(tmp_path: Path) -> None:
    damaged = answer(body=b"no gzip at all")
    with host(script(damaged)) as bad:
        lake, tardis = lake_in(tmp_path), tardis_at(bad.url, tmp_path)
        for n in (1, 2):
            assert "not a readable gzip" in failure(materialise(FIRST, lake, tardis))
            assert len(bad.requests) == n and files(tmp_path) == []
    with market() as url:
        import httpx

        plant = {"symbol": "BTC-USD", "day": FIRST.isoformat()}
        httpx.post(f"{url}/sandbox/faults", params=plant)
        tardis = tardis_at(url, tmp_path)
        assert "failed; the partition in the lake stays" in failure(materialise(FIRST, lake, tardis))
        assert files(tmp_path) == [], "the audit refused it"
        httpx.delete(f"{url}/sandbox/faults", params=plant)
        assert materialise(FIRST, lake, tardis).success


def test_a_cut_download_is_tried_again_and_leaves_nothing(tmp_path: Path) -> None:
    with host(script(answer(body=b"half", said_length=8))) as bad:
        tardis = tardis_at(bad.url, tmp_path, timeout_s=0.5)
        with pytest.raises(SourceError, match="no complete answer"), tardis.fetch("coinbase", "trades", "A", FIRST):
            pass
    assert files(tmp_path) == []


def test_the_same_file_delivered_again_is_the_same_data(tmp_path: Path) -> None:
    with market() as url:
        lake, tardis = lake_in(tmp_path), tardis_at(url, tmp_path)
        first, second = (materialise(FIRST, lake, tardis) for _ in range(2))
    versions = [
        r.asset_materializations_for_node("raw__tardis_trades")[0].tags["dagster/data_version"] for r in (first, second)
    ]
    assert versions[0] == versions[1]


def table(lake: Lake) -> pl.DataFrame:
    return lake.window(TABLE, "BTC-USD", days(DAYS)[0], days(DAYS)[-1]).collect().sort("day", "seq")


def test_a_backfill_killed_anywhere_downloads_nothing_twice_and_ends_the_same(tmp_path: Path) -> None:
    seen: list[str] = []
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["resources.warm"])
    chance = random.Random(7)
    with market(seen) as url:
        kills = 0
        while True:
            complete = {f.parent.parent.name.split("_")[2] for f in files(tmp_path) if "part-" not in str(f)}
            complete |= {str(d) for d in lake_in(tmp_path).held(TABLE, "BTC-USD", days(DAYS))}
            before = len(seen)
            process = spawn.Process(target=backfill, args=(url, tmp_path, DAYS))
            process.start()
            while len(seen) == before and process.is_alive():
                time.sleep(0.005)  # it still imports
            process.join(timeout=chance.uniform(0.0, 1.0) if kills < KILLS else None)
            kills += process.is_alive()
            process.kill()
            process.join()
            asked = {"-".join(p.split("/")[4:7]) for p in seen[before:]}
            assert not asked & complete, "a complete file was downloaded again"
            if process.exitcode == 0:
                break
        assert kills == KILLS and DAYS <= len(seen) <= DAYS + KILLS
        assert files(tmp_path) == []
        backfill(url, tmp_path / "undisturbed", DAYS)
    assert table(lake_in(tmp_path)).equals(table(lake_in(tmp_path / "undisturbed")))
