"""Pages for people: one HTML file that needs nothing else, no network either, and how numbers are written on it.

The looks are in ``page.html``, the pieces that repeat in ``parts.html``; each page has a template of its own beside its
module. Not here: what a page says, its charts (``charts.py``).
"""

import os
from pathlib import Path
from typing import Any

from crpbot_dagster.assets.evaluations import charts

MARKETS = {
    "live": "Live market data.",
    "recordings": "Recorded market data.",
    "sandbox": "Simulated data, not a real market: nothing on this page is a result about real prices.",
}


def page(template: Path, /, *, market: str, **values: Any) -> str:
    """Return a template filled in, every value escaped; the same values give the same bytes.

    ``market`` is the lake's stamp: the page says whose data it shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader((template.parent, Path(__file__).parent))
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"percent": percent, "number": number, "count": count, "embedded": charts.embedded}
    values |= {"market": market, "is_simulated": market.startswith("sandbox"), "plotly": charts.plotly_js()}
    words = MARKETS.get(market.partition(",")[0], "Data of an unknown market.")
    return pages.get_template(template.name).render(values, market_words=words)


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share in per cent, or that it is unknown."""
    return "unknown" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 6) -> str:
    """Return a number with so many significant digits, thousands set apart, or that it is unknown."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:,.{digits}g}"


def count(value: float | None) -> str:
    """Return a whole number, thousands set apart, or that it is unknown."""
    return "unknown" if value is None else f"{value:,.0f}"


def write_page(folder: Path, name: str, page: bytes) -> Path:
    """Write a file whole or not at all; a reader sees the page before or the new one."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(page)
    return unfinished.replace(path)
