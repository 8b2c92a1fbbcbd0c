"""The data dictionary: every table of the lake once, by name. Imports polars and nothing of ours.

Casting, the door's hard rules, quality checks, Dagster's column schema and ``docs/data_dictionary.md``
derive from here. One module per stage; the words they use are in ``schema.py``.
"""

from crpbot_dagster.tables import bars, features, raw, results
from crpbot_dagster.tables.schema import Table

TABLES: dict[str, Table] = {t.name: t for t in (*raw.TABLES, *bars.TABLES, *features.TABLES, *results.TABLES)}

CANDLES: dict[str, Table] = {t.candle_source: t for t in raw.TABLES if t.candle_source}
"""Source → its table of one-minute candles: venue, ts, open, high, low, close, volume; interval_s where other
intervals stand beside the minutes. A new one here is a new source of bars, daily rows and features."""
