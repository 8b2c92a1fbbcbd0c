"""The data dictionary: every table of the lake once, by name. Imports polars and nothing of ours.

Casting, the door's hard rules, quality checks, Dagster's column schema and ``docs/data_dictionary.md``
derive from here. One module per stage; the words they use are in ``schema.py``.
"""

from crpbot_dagster.tables import (
    analyses,
    bars,
    bars_derived,
    bars_slow,
    features,
    features_mr,
    features_v6,
    raw,
    raw_vendors,
    raw_venues,
    raw_web,
    results,
)
from crpbot_dagster.tables.schema import Table

RAW = (*raw.TABLES, *raw_vendors.TABLES, *raw_venues.TABLES, *raw_web.TABLES)
BARS = (*bars.TABLES, *bars_derived.TABLES, *bars_slow.TABLES)
FEATURES = (*features.TABLES, *features_v6.TABLES, *features_mr.TABLES)
TABLES: dict[str, Table] = {t.name: t for t in (*RAW, *BARS, *FEATURES, *results.TABLES, *analyses.TABLES)}

CANDLES: dict[str, Table] = {t.candle_source: t for t in RAW if t.candle_source}
"""Source → its table of one-minute candles: venue, ts, open, high, low, close, volume; interval_s where other
intervals stand beside the minutes. A new one here is a new source of bars, daily rows and features."""

TICKS: dict[str, Table] = {t.tick_source: t for t in RAW if t.tick_source}
"""Source → its table of trades: venue, seq, ts_exchange, trade_id, side (aggressor), price, amount; ts_received where
the source has a receive time. A new one here is a new source of bars, as with candles."""
