"""The worked examples: each patch fits the code as it is, touches at most three files, and does what it says."""

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from route.crpbot import Crpbot

from crpbot_dagster.docs import BRING_YOUR_OWN, EXAMPLES, bring_your_own
from crpbot_dagster.settings import PROJECT

PATCHES = sorted(EXAMPLES.glob("*.patch"))
FIRST, LAST = date(2024, 1, 2), date(2024, 1, 3)


def patched(folder: Path, name: str) -> Path:
    """A copy of the package with one patch applied, as a reader would apply it."""
    copy = folder / "copy"
    # With what numba compiled before: it knows a file by its time and size.
    shutil.copytree(PROJECT / "crpbot_dagster", copy / "crpbot_dagster")
    for file in ("pyproject.toml", "dagster.yaml"):
        shutil.copy(PROJECT / file, copy / file)
    # In a folder inside a checkout git would look for the files from that checkout's root.
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder)}
    done = subprocess.run(
        ["git", "apply", "-v", str(EXAMPLES / name)], cwd=copy, env=alone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return copy


def use(script: str, copy: Path, *words: str) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CRPBOT_", "DAGSTER_"))}
    path = os.pathsep.join((str(copy), str(PROJECT / "tests")))
    command = [sys.executable, str(Path(__file__).parent / script), *words]
    done = subprocess.run(
        command, cwd=copy, env=clean | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_there_are_three_examples() -> None:
    assert [p.name for p in PATCHES] == ["1_source.patch", "2_feature.patch", "3_model.patch"]


@pytest.mark.parametrize("path", PATCHES, ids=lambda p: p.stem)
def test_a_patch_touches_at_most_three_files_of_the_package_and_removes_next_to_nothing(path: Path) -> None:
    lines = path.read_text().splitlines()
    files = [line.split(" b/")[1] for line in lines if line.startswith("diff --git")]
    assert 1 <= len(files) <= 3 and all(f.startswith("crpbot_dagster/") for f in files)
    removed = [line for line in lines if re.match(r"-(?!--)", line) and not line.startswith("- `")]
    assert len(removed) <= 2, "an example adds; what it changes is a list"


def test_the_document_shows_the_patches_as_they_are() -> None:
    assert BRING_YOUR_OWN.read_text() == bring_your_own(), "run: make docs"


def test_a_patch_that_does_not_fit_is_seen(tmp_path: Path, monkeypatch) -> None:
    stale = tmp_path / "stale"
    stale.mkdir()
    text = (EXAMPLES / "2_feature.patch").read_text()
    (stale / "2_feature.patch").write_text(text.replace("regime = volatility_regime", "regime = regime_of"))
    monkeypatch.setattr(sys.modules[__name__], "EXAMPLES", stale)
    with pytest.raises(AssertionError, match="patch does not apply"):
        patched(tmp_path, "2_feature.patch")


def test_the_source_reaches_the_bars_through_dagster(tmp_path: Path) -> None:
    copy = patched(tmp_path, "1_source.patch")
    sold: dict[date, list[float]] = {}
    for day in (FIRST, LAST):
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        sold[day] = [100.0 + m % 7 + day.day for m in range(1440)]
        lines = [f"{start + timedelta(minutes=m):%d.%m.%Y %H:%M},{c},{c},{c},{c},0.5" for m, c in enumerate(sold[day])]
        file = tmp_path / "bought" / "acme" / str(day) / "BTC-USD.csv"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(["Time,O,H,L,C,Vol", *lines]))
    crpbot = Crpbot(
        tmp_path / "state",
        {
            "market": "recordings",
            "recordings": str(tmp_path / "bought"),
            "symbols": '["BTC-USD"]',
            "primary": '{"BTC-USD": "gemini/acme"}',
            "start_day": str(FIRST),
        },
        copy,
    )
    done = crpbot("run", "--from", str(FIRST), "--to", str(LAST), "--until", "bars")
    assert done.returncode == 0, done.stderr
    bars = crpbot.read("bars/trades_1m", "BTC-USD", FIRST, LAST)
    assert bars.select("venue", "source", "source_kind").unique().rows() == [("gemini", "acme", "ohlcv")]
    assert bars["close"].to_list() == [*sold[FIRST], *sold[LAST]]
    daily = crpbot.read("bars/daily", "BTC-USD", FIRST, LAST).sort("day")
    assert daily["source"].to_list() == ["acme", "acme"] and daily["volume"].to_list() == [720.0, 720.0]
    assert pl.read_delta(str(crpbot.home / "lake" / "raw" / "acme_candles")).height == 2 * 1440


def test_the_feature_has_values_and_is_blind_to_the_future(tmp_path: Path) -> None:
    use("feature.py", patched(tmp_path, "2_feature.patch"))


def test_the_model_is_trained_stored_loaded_and_predicts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    use("model.py", patched(tmp_path, "3_model.patch"), str(home))
