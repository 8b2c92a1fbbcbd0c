"""What the feature sets read, put side by side: minute tables on one dense grid, slow tables by availability.

A source that is absent is absent here too: its features are null, never a substitute. Not here: reading the lake
(``assets.py``), the formulas (one module per set).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl


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
