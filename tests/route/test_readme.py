"""Every command of the README is run, or says where it is: in a copy of the small route, so that it may change it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from route import test_serving
from route.crpbot import Crpbot

from crpbot_dagster.resources.experiments import Experiments
from crpbot_dagster.settings import PROJECT
from crpbot_dagster.tables import TABLES

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)

How = Callable[[Crpbot, str], None]


def commands() -> list[str]:
    lines = [line for language, text in BLOCKS if language in ("", "sh", "bash") for line in text.splitlines()]
    bare = [line.partition(" #")[0].strip() for line in lines]
    return [line for line in bare if line.startswith(("crpbot ", "make "))]


@pytest.fixture(scope="module")
def state(route: Crpbot, tmp_path_factory: pytest.TempPathFactory) -> Crpbot:
    """The small route, copied: its servers are stopped, so a copy of their files is a copy of them."""
    home = tmp_path_factory.mktemp("readme") / "state"
    subprocess.run(["cp", "-a", route.home, home], check=True)  # Postgres refuses files of another owner
    return Crpbot(home, route.values)


def literally(code: int, *says: str) -> How:
    """Run it as it stands, and hear it say all of these."""

    def run(state: Crpbot, command: str) -> None:
        done = state(*shlex.split(command)[1:])
        assert done.returncode == code, done.stderr + done.stdout
        for words in says:
            assert words in " ".join((done.stdout + done.stderr).split())

    return run


def elsewhere(test: Callable[..., None]) -> How:
    """A server, started, asked and stopped by another test, on a port of its own."""

    def run(state: Crpbot, command: str) -> None:
        verb = shlex.split(command)[1:]
        assert test.__name__.startswith("test_")
        source = Path(sys.modules[test.__module__].__file__ or "").read_text()
        assert ", ".join(f'"{word}"' for word in verb) in source

    return run


def make(*calls: str) -> How:
    """Ask make what it would run. CI is `make test`; `make demo` takes minutes and is run by hand at each release."""

    def run(state: Crpbot, command: str) -> None:
        done = subprocess.run(["make", "-n", *command.split()[1:]], cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for call in calls:
            assert call in done.stdout

    return run


def when(is_there: bool, what: str, how: How) -> How:
    return how if is_there else lambda state, command: pytest.skip(f"{what} is not there yet")


ALERTS = find_spec("crpbot_dagster.resources.alerts") is not None
EXERCISED: dict[str, How] = {
    "make demo": make("crpbot demo"),
    "make test": make("ruff check", "mypy", "pytest"),
    "crpbot run --symbols BTC-USD --to 2024-01-07 --dry-run": literally(0, "would run on sandbox data", "2024-01-07"),
    "crpbot backfill --symbols BTC-USD --from 2023-11-20 --to 2023-11-22": literally(0, "1 days to build, 2 of 3 held"),
    "crpbot train BTC --epochs 20": literally(0, "verdict of 2023-11-29", "logistic_v5 │ trained"),
    "crpbot evaluate BTC": literally(0, "judged on 2023-11-29", "95 % interval", "logistic_v5 │ 6"),
    "crpbot promote BTC": literally(0, "BTC-USD PROMOTE", "accuracy_frac >= the threshold 0.58"),
    "crpbot report BTC": when("promotion/report" in TABLES, "the report", literally(0, "/reports/", ".html")),
    "crpbot compare v4 v5 --symbol BTC-USD": literally(0, "v5", "points"),
    "crpbot analyse v5 --symbol BTC-USD": literally(0, "model inputs", ".html"),
    "crpbot rollback BTC": when(
        hasattr(Experiments, "rollback"), "rollback", literally(0, "version 2 was in force, version 1 is in force now")
    ),
    "crpbot explain features/v5.rsi": literally(0, "Wilder (1978)", "[0, 100]"),
    'crpbot sql "select day, avg(spread_bps) as spread from features.v5 group by day order by day"': literally(
        0, "2023-11-18", "12 rows"
    ),
    "crpbot doctor": literally(0, "sandbox, seed 7", "next: "),
    "crpbot doctor --calendar": literally(0, "kraken_trades", "fear_greed", "not configured"),
    "crpbot alerts test": when(ALERTS, "alerts", literally(0, "alerts.jsonl")),
    "crpbot dev": elsewhere(test_serving.test_dev_serves_ui_reports_and_mlflow_and_leaves_nothing_behind),
    "crpbot sandbox serve": elsewhere(test_serving.test_the_sandbox_serves_alone_until_ctrl_c),
}


def test_every_command_of_the_readme_is_exercised_in_its_order() -> None:
    assert commands() == list(EXERCISED)


@pytest.mark.parametrize("command", EXERCISED)
def test_the_command_does_what_the_readme_says(state: Crpbot, command: str) -> None:
    EXERCISED[command](state, command)


def test_make_targets_named_in_the_text_are_there() -> None:
    mentioned = set(re.findall(r"make [a-z]+(?: [A-Z]+=\w+)*", README))
    assert {"make dev", "make train COIN=BTC EPOCHS=20", "make soak"} <= mentioned
    for command in sorted(mentioned):
        done = subprocess.run(["make", "-n", *command.split()[1:]], cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "train", "COIN=BTC", "EPOCHS=20"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.rstrip().endswith("crpbot train BTC --epochs 20")
    unnamed = subprocess.run(
        ["make", "--no-print-directory", "-n", "train"], cwd=PROJECT, capture_output=True, text=True
    )
    assert unnamed.returncode != 0 and "name a coin" in unnamed.stderr


def test_the_python_of_the_readme_runs(route: Crpbot) -> None:
    ((_, script),) = [block for block in BLOCKS if block[0] == "python"]
    done = subprocess.run(
        [sys.executable, "-c", script + "\nprint(features.height, spread['symbol'].sort().to_list())"],
        env=route.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4320 ['BTC-USD', 'SOL-USD']"


def test_files_named_in_the_readme_are_there() -> None:
    named = re.findall(r"`((?:docs|tests|examples|crpbot_dagster)/[\w./-]*)`", README)
    assert len(named) > 10
    for path in named:
        assert (PROJECT / path).exists(), path
