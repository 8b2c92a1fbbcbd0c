"""What every verb shares: exit codes, options, and the settings, symbols and days that a user typed.

Exit codes: 0 ok, 1 a gate or check failed, 2 usage, 3 data missing. Not here: what runs (``progress.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from crpbot_dagster import settings
from crpbot_dagster.settings import Settings, SettingsError

OK, FAILED, USAGE, MISSING = 0, 1, 2, 3

console = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Symbols = Annotated[str, typer.Option(help="Comma-separated symbols; default: all of the settings.")]
Coin = Annotated[str, typer.Argument(help="A coin or a symbol: BTC or BTC-USD.", show_default=False)]


def stop(message: str, code: int) -> NoReturn:
    """Say on stderr what is wrong and end with ``code``."""
    console.print(message, style="red", highlight=False, markup=False)
    raise typer.Exit(code)


def configured() -> Settings:
    """Return the settings; a wrong one ends the verb."""
    try:
        return settings.load()
    except (SettingsError, ValueError) as error:
        stop(f"settings: {error}", USAGE)


@contextmanager
def opened(market: bool) -> Iterator[Settings]:
    """Have the platform's servers, as ``instance.platform`` does; a lake of another market ends the verb."""
    from crpbot_dagster.instance import platform
    from crpbot_dagster.resources.lake import StampError

    try:
        with platform(market=market) as config:
            yield config
    except (SettingsError, StampError) as error:
        stop(str(error), USAGE)


def chosen_symbols(text: str, config: Settings) -> list[str]:
    """Return the symbols of a comma-separated list, or all of the settings."""
    chosen = [s.strip() for s in text.split(",") if s.strip()] or list(config.symbols)
    unknown = [s for s in chosen if s not in config.symbols]
    if unknown:
        known = ", ".join(config.symbols)
        stop(f"unknown symbol {', '.join(unknown)}: the settings have {known} (CRPBOT_SYMBOLS)", USAGE)
    return chosen


def symbol_of(coin: str, config: Settings) -> str:
    """Return the one symbol that ``BTC`` or ``BTC-USD`` names."""
    found = [s for s in config.symbols if coin.upper() in (s, s.partition("-")[0])]
    if len(found) != 1:
        said = f"{coin} is {' and '.join(found)}: name one" if found else f"unknown coin {coin}"
        stop(f"{said}: the settings have {', '.join(config.symbols)} (CRPBOT_SYMBOLS)", USAGE)
    return found[0]


def day_of(text: str | None, name: str) -> date | None:
    """Return the day that a user wrote, None when none was."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        stop(f"{name} {text!r} is not a day: write it as 2024-01-31", USAGE)
