"""Fixtures shared by all tests; every seed lives here. No test reads the network beyond localhost."""

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

for name in [n for n in os.environ if n.startswith("CRPBOT_")]:
    del os.environ[name]  # a developer's own settings must not decide what the tests see

from route.crpbot import FIRST, LOW_GATES, VERDICT, WINDOWS, Crpbot  # noqa: E402

from crpbot_dagster import settings as platform_settings  # noqa: E402
from crpbot_dagster.assets.bars.book_minutes import book_1m  # noqa: E402
from crpbot_dagster.assets.bars.tape import trades_1m  # noqa: E402
from crpbot_dagster.assets.features.inputs import Inputs  # noqa: E402
from crpbot_dagster.sandbox.market import MarketSpec, book, tape  # noqa: E402

SLOW = ("route", "browser", "examples", "resources", "test_benchmarks.py")  # first, so that no worker idles at the end
OF_ROUTE = ("route/test_notebook.py", "route/test_readme.py", "route/test_sandbox_route.py", "browser/test_dagster_ui.py",
            "browser/test_report.py", "cli/test_compare.py")  # fmt: skip
SEED = 7
DAYS = (date(2023, 11, 16), date(2023, 11, 17), date(2023, 11, 18))
SHARED = Path(__file__).resolve().parents[2] / "shared"

settings.register_profile(
    "seeded", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("seeded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow folders first, and see that the files that read ``route`` are named."""
    names = [item.path.relative_to(Path(__file__).parent).as_posix() for item in items]
    reading = {name for name, item in zip(names, items, strict=True) if "route" in getattr(item, "fixturenames", ())}
    if unnamed := reading - set(OF_ROUTE):
        raise pytest.UsageError(f"{', '.join(sorted(unnamed))} read the fixture route: name them in OF_ROUTE")
    rank = {name: n for n, name in enumerate(SLOW)}
    order = sorted(range(len(items)), key=lambda i: rank.get(names[i].partition("/")[0], len(rank)))
    items[:] = [items[i] for i in order]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give workers whole files, and one of them all that read the one ``route``, which is then built once."""
    from xdist.scheduler import LoadFileScheduling

    class OneRoute(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "route" if file.endswith(OF_ROUTE) else file

    return OneRoute(config, log)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings, beside the project; a user's machine does not have it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real recordings are not on this machine: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def market() -> MarketSpec:
    return MarketSpec(SEED, 1.0)


def with_clocks(frame: pl.DataFrame) -> pl.DataFrame:
    """The sandbox's rows with UTC moments and the file's row number, as the raw tables hold them."""
    moments = [pl.col(c).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for c in ("ts_exchange", "ts_received")]
    return frame.with_columns(moments).with_row_index("seq").with_columns(pl.col("seq").cast(pl.Int64))


def bars_of(market: MarketSpec, symbol: str, days: tuple[date, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trades and book minutes of a few sandbox days, straight from the pure functions."""
    trades, books = [], []
    for day in days:
        ticks, rows = with_clocks(tape(market, symbol, day)), with_clocks(book(market, symbol, day))
        trades.append(trades_1m(ticks.lazy(), day, 0.1, "received"))
        books.append(book_1m(rows.lazy(), ticks.lazy(), day))
    return pl.concat(trades), pl.concat(books)


@pytest.fixture(scope="session")
def bars(market: MarketSpec) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Three days of BTC-USD: (trades, book) on one dense grid."""
    return bars_of(market, "BTC-USD", DAYS)


@pytest.fixture(scope="session")
def inputs(bars: tuple[pl.DataFrame, pl.DataFrame]) -> Inputs:
    """The same three days as what the feature sets read."""
    return Inputs(trades=bars[0], book=bars[1])


@pytest.fixture(scope="session")
def other_bars(market: MarketSpec) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Three days of ETH-USD: another symbol's market."""
    return bars_of(market, "ETH-USD", DAYS)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Settings of a test of its own: call it with CRPBOT_ names in lower case; state lies in a fresh folder."""

    def set_to(**values: str) -> platform_settings.Settings:
        for name, value in ({"home": str(tmp_path)} | values).items():
            monkeypatch.setenv(f"CRPBOT_{name.upper()}", value)
        platform_settings.load.cache_clear()
        return platform_settings.load()

    yield set_to
    platform_settings.load.cache_clear()


@pytest.fixture(scope="session")
def route(tmp_path_factory: pytest.TempPathFactory) -> Crpbot:
    """BTC (planted) and SOL (a martingale) from raw to promotion, about a minute, once for all tests.

    Tests read it, or run again what is there. One that adds days, tables or versions works on a state of its own.
    """
    crpbot = Crpbot(tmp_path_factory.mktemp("route") / "state", WINDOWS | LOW_GATES)
    done = crpbot("run", "--symbols", "BTC-USD,SOL-USD", "--from", str(FIRST), "--to", str(VERDICT))
    assert done.returncode == 0, done.stderr + done.stdout
    crpbot.home.joinpath("said").write_text(done.stdout)
    return crpbot


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]
