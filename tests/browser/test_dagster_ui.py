"""What a person sees in Dagster's own web page of a real run: the stages, the partitions, what failed and why."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import httpx
import polars as pl
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from route.crpbot import VERDICT, Crpbot

from crpbot_dagster.assets import ROUTE
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import Source, create_app, serve
from crpbot_dagster.tables import TABLES

OUTAGE, DAMAGED = VERDICT, VERDICT - timedelta(days=1)
OUTAGE_HOUR = 17
START_SECONDS = 120

# The webserver without the daemon: half the processes, and no sensor changes what the tests look at.
WEBSERVER = """
import os, subprocess, sys
from crpbot_dagster.instance import platform
from crpbot_dagster.settings import PROJECT
with platform(market=False):
    words = ["-w", str(PROJECT / "workspace.yaml"), "-h", "127.0.0.1", "-p", sys.argv[1]]
    subprocess.run([sys.executable, "-m", "dagster_webserver", *words], cwd=os.environ["DAGSTER_HOME"])
"""


@dataclass(frozen=True)
class FaultyCandles:
    """The simulated market on two bad days: an hour without candles, and a day whose lows lie above its highs."""

    market: Source

    def dataset(self, exchange: str, data_type: str, symbol: str, day: date) -> bytes:
        return self.market.dataset(exchange, data_type, symbol, day)

    def candles(self, product: str, start: datetime, end: datetime, seconds: int) -> pl.DataFrame:
        day, hour = pl.col("ts").dt.date(), pl.col("ts").dt.hour()
        low = pl.when(day == DAMAGED).then(pl.col("high") + 1).otherwise(pl.col("low"))
        found = self.market.candles(product, start, end, seconds).with_columns(low=low)
        return found if seconds > 60 else found.filter((day != OUTAGE) | (hour != OUTAGE_HOUR))


@pytest.fixture(scope="module")
def state(browser: Browser, route: Crpbot, tmp_path_factory: pytest.TempPathFactory) -> Crpbot:
    """A copy of the route's state in which two of BTC's days were fetched again, while the source was faulty."""
    home = tmp_path_factory.mktemp("browser") / "state"
    assert not (route.home / "postgres" / "postmaster.pid").exists(), "a copy of a running database is broken"
    # As root the database belongs to a user of its own: shutil would give it away.
    subprocess.run(["cp", "-a", str(route.home), str(home)], check=True)
    app = create_app(MarketSpec(7, 1.0), None, None)
    app.state.source = FaultyCandles(app.state.source)
    with serve(app) as url:
        ran = Crpbot(home, route.values | {"sandbox_url": url}).events(
            "from datetime import date",
            "from crpbot_dagster import settings",
            "from crpbot_dagster.runs import Route, Step",
            "route = Route(settings.load())",
            f"outage = Step('BTC-USD', date.fromisoformat('{OUTAGE}'), ('raw/coinbase_candles', 'bars/trades_1m'))",
            f"damaged = Step('BTC-USD', date.fromisoformat('{DAMAGED}'), ('raw/coinbase_candles',))",
            "print([route.materialise(step, instance).success for step in (outage, damaged)])",
        )
    assert ran.strip() == "[True, False]", "the outage is a warning, the damaged day is refused"
    return Crpbot(home, route.values)


@contextmanager
def webserver(crpbot: Crpbot) -> Iterator[str]:
    """Serve the state's Dagster instance and yield the address; the server and its children end with the context."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    log = crpbot.home.parent / "webserver.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", WEBSERVER, str(port)],
            env=crpbot.environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for_definitions(f"http://127.0.0.1:{port}/graphql", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: the embedded Postgres ends with it
        process.wait(timeout=60)


def wait_for_definitions(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    query = {"query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"}
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            found = httpx.post(url, json=query, timeout=START_SECONDS).json()
        except httpx.TransportError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            assert found["data"]["repositoriesOrError"].get("nodes"), log.read_text()
            return


@pytest.fixture(scope="module")
def address(state: Crpbot) -> Iterator[str]:
    with webserver(state) as url:
        yield url


@pytest.fixture
def visit(page: Page, address: str) -> Callable[..., Page]:
    """Open a path of the UI, its query by keyword."""

    def open_path(path: str, **query: str) -> Page:
        page.goto(f"{address}{path}?{urlencode(query)}")
        return page

    return open_path


def row(page: Page, name: str) -> Locator:
    """The row of a table whose first cell reads ``name``."""
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))


def test_the_graph_shows_every_stage_and_in_it_every_table(visit, page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 1400})  # the list draws only what fits
    visit("/asset-groups")
    for stage in ROUTE:
        expect(page.get_by_title(stage, exact=True)).to_be_visible()  # in the list
        expect(page.locator(f"[data-tooltip='{stage}']")).to_be_visible()  # in the graph
    for stage in sorted(ROUTE, reverse=True):  # from the last, so that nothing moves before it is opened
        page.get_by_title(stage, exact=True).click()
        page.keyboard.press("ArrowRight")
        for asset in ROUTE[stage]:
            expect(page.get_by_title(asset.key.path[-1], exact=True)).to_be_visible()
    page.locator("[data-tooltip='bars']").click()
    expect(page.get_by_text("trades_1m", exact=True)).to_have_count(3)  # the list's two, and now the graph's


def test_the_partitions_of_a_table_are_symbols_by_days(visit, page: Page, state: Crpbot) -> None:
    held = sum(len(state.lake.days("bars/trades_1m", symbol)) for symbol in ("BTC-USD", "SOL-USD"))
    visit("/assets/bars/trades_1m", view="partitions")
    expect(page.get_by_text(f"Materialized ({held})")).to_be_visible()
    page.get_by_placeholder("Filter by day").fill("2023-11-2")
    page.get_by_title("2023-11-20", exact=True).click()
    page.get_by_title("SOL-USD", exact=True).click()
    expect(row(page, "dagster/partition_row_count")).to_contain_text("2880")
    page.get_by_title("ETH-USD", exact=True).click()
    expect(page.get_by_text("No metadata entries")).to_be_visible()  # ETH was not part of the run


def test_a_warning_says_what_is_wrong_with_which_partition(visit, page: Page) -> None:
    visit("/assets/bars/trades_1m", view="checks", checkDetail="gaps")
    expect(page.get_by_text("This is a non-blocking asset check.")).to_be_visible()
    # From the tenth minute of an empty run on a minute is a gap.
    expect(page.get_by_text("51 minutes in gaps, worst source, allowed at most 0")).to_be_visible()
    expect(page.get_by_text(f"{OUTAGE}|BTC-USD")).to_be_visible()


def test_a_refused_day_says_why_and_keeps_what_was_there(visit, page: Page, state: Crpbot) -> None:
    partition = f"{DAMAGED}|BTC-USD"
    rows = state.read("raw/coinbase_candles", "BTC-USD", DAMAGED, DAMAGED).height
    visit("/assets/raw/coinbase_candles", view="partitions", partition=partition)
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    expect(row(page, "dagster/partition_row_count")).to_contain_text(
        str(rows)
    )  # of the day as it was fetched before the fault
    page.get_by_role("tab", name="Checks").click()
    page.get_by_text("hard_rules", exact=True).first.click()
    expect(page.get_by_text("This is a blocking asset check.")).to_be_visible()
    expect(page.get_by_text(f"{rows} rows where low or high is not the extreme, allowed at most 0")).to_be_visible()
    expect(page.get_by_text(partition)).to_be_visible()


def test_every_column_is_explained_with_its_unit(visit, page: Page) -> None:
    visit("/assets/bars/trades_1m")
    table = page.get_by_role("table").filter(has_text="Column name")
    for column in TABLES["bars/trades_1m"].columns:
        described = table.get_by_role("row").filter(has=page.get_by_text(column.name, exact=True))
        expect(described).to_contain_text(column.text)
        if column.unit:
            expect(described).to_contain_text(f"unit: {column.unit}")


def test_a_materialisation_tells_its_rows_and_its_time(visit, page: Page, state: Crpbot) -> None:
    day = VERDICT - timedelta(days=1)
    rows = state.read("features/labels", "SOL-USD", day, day).height
    visit("/assets/features/labels", view="events", partition=f"{day}|SOL-USD")
    expect(row(page, "dagster/partition_row_count")).to_contain_text(str(rows))
    expect(row(page, "state")).to_contain_text("complete")
    expect(row(page, "last_ts")).to_contain_text("Nov 28, 2023, 11:59:00 PM UTC")
