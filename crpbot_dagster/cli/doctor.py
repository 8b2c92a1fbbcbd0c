"""``crpbot doctor``: what is set, what answers, what is there, and what to do next."""

import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from crpbot_dagster import instruments
from crpbot_dagster.cli.terminal import MISSING, OK, AsJson, configured, day_of, stop
from crpbot_dagster.settings import Settings
from crpbot_dagster.sources import SOURCES

COLOURS = {"complete": "green", "empty": "cyan", "partial": "yellow", "missing": "red", None: "dim"}


def doctor(
    calendar: Annotated[
        bool, typer.Option("--calendar", help="Show what every source says of the newest days held.")
    ] = False,
    days: Annotated[int, typer.Option(help="Days of the calendar.", min=1, max=60)] = 14,
    to: Annotated[str | None, typer.Option(help="Last UTC day of the calendar; default: the newest held.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at settings, keys (set or not, never their value), sources, disk and lake, and say what to do next.

    Example: crpbot doctor --calendar --days 7
    """
    config = configured()
    if calendar:
        _show_calendar(config, days, day_of(to, "--to"), as_json)
        raise typer.Exit(OK)
    found = {"settings": _facts(config), "sources": _sources(config), "lake": _lake(config)}
    next_steps = _next_steps(config, found)
    if as_json:
        typer.echo(json.dumps(found | {"next": next_steps}, default=str))
    else:
        for title, facts in found.items():
            table = Table(title=title, show_header=False, title_justify="left")
            for name, value in facts.items():
                table.add_row(name, str(value))
            Console().print(table)
        for step in next_steps:
            typer.echo(f"next: {step}")
    raise typer.Exit(OK if not any(s.startswith("error") for s in next_steps) else MISSING)


def _facts(config: Settings) -> dict[str, Any]:
    free = shutil.disk_usage(_existing(config.home_dir)).free
    secrets = {
        name: "set" if getattr(config, name) is not None else "not set"
        for name, f in Settings.model_fields.items()
        if "SecretStr" in str(f.annotation)
    }
    primaries = {s: instruments.primary(s, config.primary) for s in config.symbols}
    return {
        "market": config.market,
        "state folder": config.home_dir,
        "lake": config.lake_url,
        "disk free": f"{free / 2**30:.1f} GiB",
        "symbols": ", ".join(f"{s} ({p.venue}/{p.source})" for s, p in primaries.items()),
        "start day": config.start_day,
        **secrets,
    }


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _sources(config: Settings) -> dict[str, str]:
    import httpx

    if config.market != "live":
        served = config.sandbox_url or "started by each verb that needs it"
        return {"local market": f"{served}{f', recordings of {config.recordings}' if config.recordings else ''}"}
    answers = {}
    for source in SOURCES:
        if unset := config.unconfigured(source):
            answers[source] = unset
            continue
        try:
            answers[source] = f"answers ({httpx.get(str(config.endpoint(source)), timeout=10).status_code})"
        except httpx.HTTPError as error:
            answers[source] = f"does not answer: {type(error).__name__}"
    return answers


def _lake(config: Settings) -> dict[str, Any]:
    from crpbot_dagster.instance import lake_of
    from crpbot_dagster.tables import TABLES

    lake = lake_of(config)
    made: dict[str, Any] = {"made from": lake.stamp() or "nothing yet"}
    for table in TABLES:
        counts = {s: len(lake.days(table, s)) for s in config.symbols}
        if any(counts.values()):
            made[table] = ", ".join(f"{s} {n} days" for s, n in counts.items())
    return made


def _next_steps(config: Settings, found: dict[str, Any]) -> list[str]:
    made = found["lake"]["made from"]
    if made not in ("nothing yet", config.stamp):
        return [f"error: the lake was made from {made}, the settings say {config.stamp}: choose another CRPBOT_LAKE"]
    silent = [s for s, answer in found["sources"].items() if "does not answer" in answer]
    if silent:
        return [f"error: {', '.join(silent)} cannot be reached: check the network or the URL"]
    if made == "nothing yet":
        return ["crpbot demo" if config.market == "sandbox" else "crpbot run --dry-run"]
    return [
        "crpbot dev, to look at what is there",
        "crpbot run --dry-run, to see what the next verdict needs",
    ]


def _show_calendar(config: Settings, days: int, last: date | None, as_json: bool) -> None:
    from crpbot_dagster.assets.raw.calendar import LEGEND, SIGNS, SOURCE_TABLES, calendar_of
    from crpbot_dagster.instance import lake_of
    from crpbot_dagster.tables import TABLES
    from crpbot_dagster.tables.schema import MARKET_WIDE

    lake = lake_of(config)
    held = [lake.days("raw/calendar", s)[-1] for s in config.symbols if lake.days("raw/calendar", s)]
    if last is None and not held:
        stop("the lake holds no day yet: crpbot demo, or crpbot run, fetches some", MISSING)
    end = last or max(held)
    shown = [end - timedelta(days=i) for i in range(days - 1, -1, -1)]
    found = {s: calendar_of(lake, s, shown) for s in config.symbols}
    calendars = {s: {t: days for t, days in c.items() if not TABLES[t].is_market_wide} for s, c in found.items()}
    calendars[MARKET_WIDE] = {t: days for t, days in found[config.symbols[0]].items() if TABLES[t].is_market_wide}
    if as_json:
        said = {s: {t: {str(d): x for d, x in f.items()} for t, f in c.items()} for s, c in calendars.items()}
        typer.echo(json.dumps(said))
        return
    for name, tables in calendars.items():
        grid = Table(title=f"{name}, {shown[0]} to {end}", title_justify="left", box=None, padding=(0, 1, 0, 0))
        grid.add_column("", no_wrap=True, min_width=max(len(t) for t in SOURCE_TABLES) - len("raw/"))
        for day in shown:
            grid.add_column(f"{day:%d}", justify="center")
        for table, states in tables.items():
            marks = (f"[{COLOURS.get(states[d], 'magenta')}]{SIGNS[states[d]]}[/]" for d in shown)
            grid.add_row(table.removeprefix("raw/"), *marks)
        Console().print(grid)
    typer.echo(LEGEND)
