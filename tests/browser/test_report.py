"""What a person sees in the report of a verdict: on a telephone and on a desk, by day and by night, without a network."""

from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect
from route.crpbot import VERDICT, Crpbot

TELEPHONE, DESK = 390, 1280
READABLE, READABLE_LARGE = 4.5, 3.0  # WCAG 2.2, 1.4.3 Contrast (Minimum), level AA
# Every piece of text, whether it is large (24 px, or bold and 18.66 px), its colour, and the first opaque background
# behind it; text that nobody sees is left out.
COLOURS = """() => {
  const opaque = colour => !/^rgba\\(.*, 0(\\.\\d+)?\\)$/.test(colour);
  const found = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const of = words.currentNode.parentElement, text = words.currentNode.textContent.trim();
    if (!text || !of.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    let behind = of;
    while (behind.parentElement && !opaque(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const style = getComputedStyle(of), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const colour = of instanceof SVGElement ? style.fill : style.color;
    found.push([text.slice(0, 40), large, colour, getComputedStyle(behind).backgroundColor]);
  }
  return found;
}"""


class Report(NamedTuple):
    """The file of a symbol's report, and what it must say."""

    url: str
    symbol: str
    verdict: str


@pytest.fixture(scope="module", params=["BTC-USD", "SOL-USD"])
def report(route: Crpbot, request: pytest.FixtureRequest) -> Report:
    """A promoted model's and a refused one's."""
    row = route.read("promotion/report", request.param, VERDICT, VERDICT).row(0, named=True)
    return Report((route.home / "reports" / row["path"]).as_uri(), request.param, row["verdict"])


@pytest.fixture
def said(page: Page) -> list[str]:
    """Errors of the console: a script that fails, a resource that the page's own policy refuses."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``, 0 black to 1 white. https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [float(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def unreadable(page: Page) -> dict[str, tuple[str, str]]:
    """Texts with too little contrast, with both colours."""
    return {
        text: (colour, behind)
        for text, large, colour, behind in page.evaluate(COLOURS)
        if contrast(colour, behind) < (READABLE_LARGE if large else READABLE)
    }


def overflow(page: Page) -> int:
    """How many pixels of the page lie beyond the right edge of the window."""
    return page.evaluate("document.scrollingElement.scrollWidth - innerWidth")


@pytest.mark.parametrize("width", [TELEPHONE, DESK])
def test_the_report_fits_the_screen_and_draws_its_charts(
    page: Page, report: Report, said: list[str], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(report.url)
    headline = page.get_by_role("heading", level=1)
    expect(headline).to_contain_text(report.verdict)
    expect(headline).to_contain_text(report.symbol)
    expect(headline).to_be_in_viewport()
    charts = page.locator("[data-chart]")
    expect(charts.first).to_be_visible()
    for chart in charts.all():
        expect(chart.locator("svg").first).to_be_visible()
        box = chart.locator("svg").first.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    assert overflow(page) <= 0
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_of_the_report_is_readable(page: Page, report: Report, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(report.url)
    expect(page.locator("[data-chart] svg").first).to_be_visible()
    page_is_dark = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.2
    assert page_is_dark == (scheme == "dark")
    assert unreadable(page) == {}


def test_a_bad_page_is_seen(page: Page, said: list[str]) -> None:
    faint = "<p style='color: #999'>faint</p><h1 style='color: #888'>large</h1><div style='background: #222'>dark</div>"
    page.set_content(f"<body style='background: #fff; color: #000'>{faint}<script>absent()</script>")
    assert set(unreadable(page)) == {"faint", "dark"} and overflow(page) == 0
    page.set_content("<div style='width: 3000px'>wide</div>")
    assert overflow(page) > 0 and len(said) == 1
