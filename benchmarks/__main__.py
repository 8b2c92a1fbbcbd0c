"""Run the topics and write ``docs/benchmarks.md``: ``make bench``, or ``python -m benchmarks [topic ...]``.

With topics named, or ``--small``, the lines are only printed: the document holds one whole run of one machine.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import features, ingest, lake, networks, orchestration, parsers, politeness, replay
from benchmarks.measure import FULL, HEADER, SMALL, Line, Size, table
from crpbot_dagster.settings import PROJECT

DOCUMENT = PROJECT / "docs" / "benchmarks.md"
LIBRARIES = ("polars", "numpy", "numba", "deltalake", "duckdb", "dagster", "torch", "pandas")
Topic = Callable[[Size, Path], Iterator[Line]]

REMARKS = """\
How to read it

- A figure is the least time of several rounds, in which ours and the peer ran in turn: a busy machine only ever adds
  time. *ours ÷ peer* compares times: below 1 is faster than the peer.
- A limit is what the design asks for, "held" says whether this run kept it. No test asserts a time.
- The data is the simulated market's, repeated to the size of a busy day. The prices of a real day compress and branch
  differently.
- pandas and nautilus_trader do less than what stands beside them: pandas makes the six OHLCV columns of 20, and only
  reads the order book; nautilus_trader's loader makes the objects its engine is fed with, and no bars yet.
- The features that pandas has words for equal ours to rounding (a test compares them). Its running sums cost the same
  for any window and depend on where the frame starts; ours are summed afresh, so that history and live agree bit for
  bit, and cost more the longer the window.
- A window through DuckDB opens the Delta table's log each time, which a plain Parquet file does not have; so does a
  commit, which also replaces the rows that were there. The lake is filled in three commits and a checkpoint, not in
  one commit a day.
- The network's peer is the same model fed from one tensor of all sequences, built before the clock starts; ours cuts
  each batch out of the minutes, which take a sixtieth of the memory, and shuffles, scores the epoch and keeps its best.
- A parser of a page of an interface has a fixed cost of some milliseconds, which a few hundred rows do not hide; the
  bare reading judges nothing.
- The storm's host counts what arrives in each second, wherever the second begins; the budget is set high and the pauses
  between repeats short, so that the storm passes in a minute.
- Dagster's part of a run is events, checks and metadata in Postgres: the price of seeing in the UI what was done.
"""


def topics(nautilus: str | None) -> dict[str, Topic]:
    """Every topic by its name, in the order of the document."""
    return {
        "ingest": partial(ingest.lines, nautilus=nautilus),
        "replay": replay.lines,
        "features": features.lines,
        "lake": lake.lines,
        "networks": networks.lines,
        "orchestration": orchestration.lines,
        "parsers": parsers.lines,
        "politeness": politeness.lines,
    }


def machine(nautilus: str | None) -> str:
    """Return what the figures were taken on, as a list in Markdown."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    if nautilus is not None:
        asked = "from importlib.metadata import version; print(version('nautilus_trader'))"
        done = subprocess.run([nautilus, "-c", asked], capture_output=True, text=True, check=True)
        libraries.append(f"nautilus_trader {done.stdout.strip()} (in an environment of its own)")
    load, on = os.getloadavg()[0], f"{platform.system()} {platform.machine()}"
    return "\n".join(
        [
            f"- Machine: {processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {on}",
            f"- Python {platform.python_version()}, {', '.join(libraries)}",
            f"- Taken {datetime.now(UTC):%Y-%m-%d}; at the start {load:.1f} processes wanted to run",
        ]
    )


def processor() -> str:
    """Return the processor's name; Linux says it in a file, macOS by sysctl."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def usable(python: Path) -> str | None:
    """Return the interpreter's absolute path if it has nautilus_trader, None if there is no such interpreter.

    Raises
    ------
    SystemExit
        The interpreter is there and cannot import it: a half-made environment is to be repaired, not passed over.
    """
    if not python.is_file():
        return None
    there = str(python.absolute())  # not resolved: a virtual environment's python is a link
    done = subprocess.run([there, "-c", "import nautilus_trader"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{there} cannot import nautilus_trader (make bench-peers): {done.stderr.strip()[-500:]}")
    return there


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measured(chosen: dict[str, Topic], size: Size) -> list[Line]:
    """Run the topics in a folder that goes when they are done, and say every line as it is found."""
    found = []
    with TemporaryDirectory(prefix="benchmark-") as folder:
        for topic in chosen.values():
            for line in topic(size, Path(folder)):
                say(str(line))
                found.append(line)
    return found


def document(about: str, found: list[Line]) -> str:
    """Return the text of ``docs/benchmarks.md``."""
    opening = (
        "Each figure beside a peer of the same run. Made by `make bench`; `make bench-peers`, once before it, puts\n"
        "nautilus_trader into an environment of its own. `python -m benchmarks lake` runs one topic and writes nothing."
    )
    return "\n\n".join(["# Benchmarks", opening, about, table(found), REMARKS])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"of {', '.join(topics(None))}; none: all of them")
    parser.add_argument("--small", action="store_true", help="a little of everything, to see that it runs")
    parser.add_argument("--nautilus", type=Path, help="the Python of an environment that has nautilus_trader")
    asked = parser.parse_args(arguments)
    nautilus = usable(asked.nautilus) if asked.nautilus is not None else None
    known = topics(nautilus)
    if unknown := [name for name in asked.topics if name not in known]:
        parser.error(f"no topic {', '.join(unknown)}: there is {', '.join(known)}")
    about = machine(nautilus)
    say("\n".join([about, "", *HEADER]))
    chosen = {name: topic for name, topic in known.items() if name in asked.topics or not asked.topics}
    found = measured(chosen, SMALL if asked.small else FULL)
    if not asked.topics and not asked.small:
        DOCUMENT.write_text(document(about, found))


if __name__ == "__main__":
    main(sys.argv[1:])
