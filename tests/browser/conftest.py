"""A real browser for the tests of what people look at: the system's Chromium, driven by Playwright.

`SCREENSHOTS=.screenshots` keeps a picture of each test's last view there. `BROWSER_REQUIRED=1`, as CI sets it, makes
a missing browser a failure.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

SLOW_MS = 30_000  # two busy cores draw Dagster's graph in seconds, not in Playwright's five
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "there is no Chromium: apt-get install --no-install-recommends chromium"
ARGUMENTS = (
    "--no-sandbox",  # a container's root may not start Chromium's own
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing answers but this machine
)
expect.set_options(timeout=SLOW_MS)


# A module's, not the session's: while Playwright runs, the thread has a running event loop, and every client that
# starts one of its own (tardis-dev, uvicorn) would fail in the tests that follow.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        (pytest.fail if os.environ.get("BROWSER_REQUIRED") else pytest.skip)(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Browser, screenshots: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh profile; its last view is kept as a picture, and a request to another machine is an error."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="UTC", locale="en-US")
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    yield page
    page.screenshot(path=screenshots / f"{request.node.name}.png")
    context.close()
    elsewhere = [url for url in asked if urlsplit(url).hostname not in (None, "127.0.0.1")]
    assert not elsewhere, "the page asked another machine"
