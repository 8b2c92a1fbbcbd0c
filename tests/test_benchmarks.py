"""The benchmarks run, and compare like with like; how fast is nobody's business here."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import __main__ as bench
from benchmarks import workload
from benchmarks.measure import HEADER, SMALL, Line, in_process, race, table
from benchmarks.pandas_features import pandas_v4
from crpbot_dagster.assets.features.price import v4

TINY = replace(SMALL, runs=1, trades=3_000, updates=3_000, feature_days=(1, 2))
CELLS = HEADER[0].count("|")


@pytest.mark.parametrize("topic", bench.topics(None))
def test_every_topic_gives_whole_lines(topic: str, tmp_path: Path) -> None:
    found = list(bench.topics(None)[topic](TINY, tmp_path))
    assert found
    # Without an environment for it, nautilus_trader's figure says how to get one.
    assert sum("not installed: `make bench-peers`" in line.peer for line in found) == (2 if topic == "ingest" else 0)
    for line in found:
        assert str(line).count("|") == CELLS, line
        assert line.ratio is None or 0 < line.ratio < float("inf"), line
        assert (line.held is None) == (line.limit == ""), line


def test_a_missing_peer_is_left_out_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert bench.usable(tmp_path / "python") is None
    with pytest.raises(SystemExit, match="cannot import nautilus_trader"):
        bench.usable(Path(sys.executable))
    with pytest.raises(RuntimeError, match="No such file"):
        in_process(sys.executable, "pandas_ticks", "trades", tmp_path / "absent.csv.gz", 1)


def test_the_features_in_pandas_are_ours() -> None:
    trades, _ = workload.minutes(2)
    warm = 350  # rows: until then pandas' ewm answers from less than ours asks for
    theirs, ours = pandas_v4(trades.to_pandas())[warm:], v4(trades)[warm:]
    assert len(theirs.columns) == 25
    for name in theirs.columns:
        a = ours[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        b = theirs[name].to_numpy(dtype=float)
        both = np.isfinite(a) & np.isfinite(b)
        assert both.sum() > 1_000, name
        # pandas' ewm reads further back, with a weight of e^-20 of a price; a flag may tip on the last bit.
        close = np.isclose(a[both], b[both], rtol=1e-6, atol=1e-3 if name.startswith("macd") else 1e-6)
        assert close.mean() > (0.999 if name.startswith("volatility") else 0.99999), name


def test_the_lake_holds_what_a_real_one_would(tmp_path: Path) -> None:
    lake = workload.filled_lake(tmp_path, 6)
    days = lake.days("bars/market_1m", "SOL-USD")
    assert len(days) == 2 and lake.state("bars/market_1m", "SOL-USD", days[0]) == "complete"
    assert lake.window("bars/market_1m", "SOL-USD", *days).collect().height == 2 * 1_440


def test_files_have_the_rows_asked_for(tmp_path: Path) -> None:
    for path in (workload.trades_file(tmp_path, 25_000), workload.book_file(tmp_path, 5_000)):
        rows = pl.read_csv(path)
        assert rows.height == (25_000 if path.name.startswith("trades") else 5_000)
        assert rows["local_timestamp"].is_sorted()


def test_the_least_time_counts_and_a_broken_limit_is_shown() -> None:
    calls: list[str] = []
    seconds = race(lambda: calls.append("a"), lambda: calls.append("b"), times=2)
    assert calls == ["a", "b", "a", "b"] and min(seconds) > 0
    text = table([Line("x", "2 s", "1 s", 2.0, "≤ 1.5 ×", False), Line("y", "1 s", limit="< 3 s", held=True)])
    assert "| x | 2 s | 1 s | 2.00 × | ≤ 1.5 ×: **not held** |" in text
    assert "| y | 1 s |  |  | < 3 s: held |" in text


def test_the_document_says_the_machine_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = bench.document(bench.machine(None), [Line("x", "1 s")])
    assert "`make bench`" in text and "Python 3." in text and "polars" in text and "| x | 1 s |" in text
    with pytest.raises(SystemExit):
        bench.main(["nosuch"])
    assert "no topic nosuch: there is ingest" in capsys.readouterr().err
