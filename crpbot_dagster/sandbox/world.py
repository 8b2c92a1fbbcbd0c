"""What every endpoint of the simulated market shares: which market, which day it is, which faults are planted.

Not here: prices (``market.py``), wire formats (one module per vendor), HTTP (``server.py``).
"""

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np

from crpbot_dagster.sandbox.faults import Faults
from crpbot_dagster.sandbox.market import MarketSpec


class NotServed(LookupError):
    """The source has no such file or product; the message goes to the client."""


@dataclass(frozen=True)
class World:
    """The simulated market up to, and without, ``today``."""

    market: MarketSpec
    today: Callable[[], date]
    faults: Faults = field(default_factory=Faults)
    # One day is made at a time: clients ask for twenty at once, and the files of a day share their work.
    lock: threading.Lock = field(default_factory=threading.Lock)

    def unfinished(self) -> date:
        """Return the first day that is not over."""
        return self.today()


def dice(world: World, *words: str) -> np.random.Generator:
    """Return the random numbers of a vendor's own behaviour: the same for the same words, whatever was asked before."""
    seed = [world.market.seed, *(zlib.crc32(word.encode()) for word in words)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
