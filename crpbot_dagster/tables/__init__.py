"""The data dictionary: every table of the lake once, by name. Imports polars and nothing of ours.

Casting, the door's hard rules, quality checks, Dagster's column schema and ``docs/data_dictionary.md``
derive from here. One module per stage; the words they use are in ``schema.py``.
"""

from crpbot_dagster.tables import bars, features, raw, results
from crpbot_dagster.tables.schema import Table

TABLES: dict[str, Table] = {t.name: t for t in (*raw.TABLES, *bars.TABLES, *features.TABLES, *results.TABLES)}
