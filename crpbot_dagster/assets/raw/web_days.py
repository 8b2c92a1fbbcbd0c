"""A day of a web source: whether it is asked for at all, and its rows out of an answer that holds more.

Not here: strict JSON and the landing (``records.py``), the network (``resources/web_apis.py``), what a source sends
(its own module).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import instruments, settings
from crpbot_dagster.assets.raw.dataset_file import EARLIEST_US, LATEST_US, REFUSED_SCHEMA, DamagedFile, Parsed
from crpbot_dagster.assets.raw.quarantine import trusted
from crpbot_dagster.assets.raw.records import land, nothing
from crpbot_dagster.partitions import split
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.resources.web_apis import Answer
from crpbot_dagster.tables.schema import MARKET_WIDE

DAY_S = 86_400
EARLIEST_S, LATEST_S = EARLIEST_US // 10**6, LATEST_US // 10**6


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def after(days: int, hours: int = 0) -> pl.Expr:
    """Return the moment so many days and hours after the start of the column ``day``."""
    start = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return start + pl.duration(days=days, hours=hours)


def utc(seconds: pl.Expr) -> pl.Expr:
    """Return whole seconds since 1970 as a moment."""
    return (seconds * 1_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def seconds(name: str) -> pl.Expr:
    """Return the rule of a stamp in seconds: between 2009 and 2100, so neither milliseconds nor nothing."""
    return pl.col(name).is_between(EARLIEST_S, LATEST_S)


def day_start(name: str) -> pl.Expr:
    """Return the rule of a stamp that names a day: midnight UTC, in seconds."""
    return seconds(name) & (pl.col(name) % DAY_S == 0)


def records_at(document: Any, what: str, *path: str) -> list[dict[str, Any]]:
    """Return the list of objects that lies at ``path`` in a JSON document.

    Raises
    ------
    DamagedFile
        There is none: the answer has another layout.
    """
    found = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list) or not all(isinstance(r, dict) for r in found):
        raise DamagedFile(f"{what}: the answer has no list of records at {'.'.join(path) or 'its top'}")
    return found


@dataclass(frozen=True)
class Part:
    """What one of the answers that make up a day gave for it; without rows unless ``state`` is complete."""

    state: str
    parsed: Parsed
    repeated: int
    url: str


def absent(state: str, url: str) -> Part:
    """Return an answer that has no rows, with the state that explains it."""
    return Part(state, Parsed(pl.LazyFrame(), pl.DataFrame(schema=REFUSED_SCHEMA), 0), 0, url)


def part_of(answer: Answer, day: date, parse: Callable[[bytes], tuple[Parsed, int]]) -> Part:
    """Return the rows of one day out of an answer.

    Raises
    ------
    dg.Failure
        The answer cannot be trusted as a whole.
    """
    if answer.state != "complete":
        return absent(answer.state, answer.url)
    with trusted(answer.url):
        parsed, repeated = parse(answer.body)
    rows, state = of_day(parsed, day)
    return Part(state, rows, repeated, answer.url)


def state_of(parts: Iterable[Part]) -> str:
    """Return a day's state from those of its answers: partial when only some of them have it."""
    states = [p.state for p in parts]
    if "complete" in states:
        return "complete" if set(states) == {"complete"} else "partial"
    return states[0] if len(set(states)) == 1 else "missing"


@dataclass(frozen=True)
class WebDay:
    """One partition of a web source: what is asked for, when, and, in ``why``, the reason not to ask at all."""

    lake: Lake
    table: str
    source: str
    symbol: str
    day: date
    now: datetime
    name: str = ""  # what the source calls the symbol; of a market-wide table nothing
    state: str = "complete"
    why: str = ""

    @property
    def end(self) -> datetime:
        """The first moment after the day."""
        return midnight(self.day) + timedelta(days=1)

    def nothing(self, state: str, why: str) -> Built:
        """Return the day without rows, with the state that explains it."""
        return nothing(self.lake, self.table, self.symbol, self.day, state, self.source, why)

    def unasked(self) -> Built:
        """Return the day that is not asked for, with its reason."""
        return self.nothing(self.state, self.why)

    def land(
        self,
        parsed: Parsed,
        origin: str,
        *,
        repeated: int = 0,
        state: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Built:
        """Return the day with its rows; what was refused goes to quarantine."""
        return land(
            self.lake,
            self.table,
            self.symbol,
            self.day,
            parsed,
            repeated=repeated,
            source=self.source,
            origin=origin,
            state=state,
            notes=notes,
        )

    def land_parts(self, parts: Mapping[str, Part], made: pl.DataFrame | None = None) -> Built:
        """Return the day with the rows of several answers, or with what was ``made`` of them."""
        found = [p.parsed.frame for p in parts.values() if p.state == "complete"]
        origin = ", ".join(p.url for p in parts.values())
        state, answers = state_of(parts.values()), {name: p.state for name, p in parts.items()}
        if not found:
            return self.nothing(state, f"{answers}: {origin}")
        joined = Parsed(
            pl.concat(found) if made is None else made.lazy(),
            pl.concat([p.parsed.refused for p in parts.values()]),
            sum(p.parsed.rows for p in parts.values()),
        )
        repeated = sum(p.repeated for p in parts.values())
        return self.land(joined, origin, repeated=repeated, state=state, notes={"answers": answers})


def web_day(
    context: dg.AssetExecutionContext, lake: Lake, table: str, source: str, *, while_it_lasts: bool = False
) -> WebDay:
    """Return the partition of a run; nothing is asked yet, and not before the day is over unless ``while_it_lasts``."""
    symbol, day = split(context.partition_key)
    config = settings.load()
    asked = WebDay(lake, table, source, symbol, day, config.now())
    if why := config.unconfigured(source):
        return replace(asked, state="not_configured", why=why)
    if asked.now < asked.end and not while_it_lasts:
        return replace(asked, state="missing", why=f"{day} is not over")
    if symbol == MARKET_WIDE:
        return asked
    listing = instruments.listing(symbol, source, source, day)
    if listing is None:
        return replace(asked, state="missing", why=f"{symbol} was not listed at {source} on {day}")
    return replace(asked, name=listing.name)


def of_day(parsed: Parsed, day: date) -> tuple[Parsed, str]:
    """Return the rows of one day out of a series, and the day's state.

    A series that goes on after the day and lacks it says that there was nothing: ``empty``. One that has not come to
    the day says nothing yet: ``missing``.
    """
    series = parsed.frame.collect()
    rows = series.filter(pl.col("day") == day)
    reached = series.filter(pl.col("day") > day).height > 0
    state = "complete" if rows.height else "empty" if reached else "missing"
    return replace(parsed, frame=rows.lazy()), state


def age_days(now: datetime, day: date) -> int:
    """Return how many days ago a day began."""
    return (now - midnight(day)) // timedelta(days=1)
