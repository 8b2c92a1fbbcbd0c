"""What the feature sets read, put side by side: minute tables on one dense grid, slow tables by availability.

A source that is absent is absent here too: its features are null, never a substitute. Not here: reading the lake
(``assets.py``), the formulas (one module per set).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import polars as pl

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Inputs:
    """One symbol's inputs. Minute frames share the grid of ``trades``: same ``ts``, sorted, dense, nulls where absent.

    The letters are those of docs/conventions.md. ``trades`` (T), ``book`` (B), ``partner_book`` (P, the partner's book
    at the same venue), ``venue_trades`` (T by venue, in USD venues' own quote), ``venue_books`` (B by venue),
    ``derivatives`` (X by venue), ``fx`` (F); ``buckets`` (V, sorted by end_ts, its own grain); ``slow``: O, D, C, G, S,
    A, H, N, M by letter, each with its key, ``available_ts`` and values, any order.
    """

    trades: pl.DataFrame
    book: pl.DataFrame | None = None
    partner_book: pl.DataFrame | None = None
    venue_trades: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    venue_books: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    derivatives: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    fx: pl.DataFrame | None = None
    buckets: pl.DataFrame | None = None
    slow: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def minutes(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> "Inputs":
        """Return the inputs with ``change`` made to every frame on the grid of minutes."""

        def each(frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
            return {name: change(f) for name, f in frames.items()}

        def maybe(frame: pl.DataFrame | None) -> pl.DataFrame | None:
            return None if frame is None else change(frame)

        return replace(
            self,
            trades=change(self.trades),
            book=maybe(self.book),
            partner_book=maybe(self.partner_book),
            venue_trades=each(self.venue_trades),
            venue_books=each(self.venue_books),
            derivatives=each(self.derivatives),
            fx=maybe(self.fx),
        )

    def rows(self, first: int, stop: int) -> "Inputs":
        """Return the minutes ``first`` … ``stop`` − 1; tables of another grain stay whole."""
        return self.minutes(lambda f: f.slice(first, stop - first))

    def known_at(self, row: int) -> "Inputs":
        """Return what is known when the minute ``row`` is over: no later minute, bucket, slow row or page view."""
        ts = self.trades["ts"][row]

        def known(frame: pl.DataFrame) -> pl.DataFrame:
            there = frame.filter(pl.col("available_ts") <= ts)
            if "wiki_available_ts" not in frame.columns:
                return there
            return there.with_columns(pl.when(pl.col("wiki_available_ts") <= ts).then("wiki_views_n"))

        return replace(
            self.rows(0, row + 1),
            buckets=None if self.buckets is None else self.buckets.filter(pl.col("end_ts") < ts + MINUTE),
            slow={name: known(f) for name, f in self.slow.items()},
        )


Build = Callable[[Inputs], pl.DataFrame]
"""What makes a feature set: one row per minute of the trades."""
