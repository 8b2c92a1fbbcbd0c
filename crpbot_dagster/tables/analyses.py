"""Tables of the feature analyses, one per feature set: what the set holds of a symbol, one row per feature."""

import polars as pl

from crpbot_dagster.tables import features, features_mr, features_v6
from crpbot_dagster.tables.schema import DAY, SYMBOL, Column, Measure, Table, columns

F64, I64, TEXT, FLAG = pl.Float64(), pl.Int64(), pl.String(), pl.Boolean()
QUANTILES = (1, 5, 25, 50, 75, 95, 99)


def _estimate(name: str, unit: str, range_: str, text: str, null: str = "zero") -> tuple[Column, ...]:
    return (
        Column(name, F64, unit, text, range_),
        Column(f"{name}_low", F64, unit, f"lower end of the 95 % interval of {name}, over whole days"),
        Column(f"{name}_high", F64, unit, "its upper end"),
        Column(f"{name}_p", F64, "1", f"p-value of {null}; null for a level and with too few days", "[0, 1]"),
    )


COLUMNS = columns(
    Column("first_day", pl.Date(), "", "first day that was looked at; the partition is the last", required=True),
    Column("feature", TEXT, "", "the feature", required=True),
    Column("feature_group", TEXT, "", "its group in the dictionary", required=True),
    Column("is_input", FLAG, "flag", "a model reads it", required=True),
    Column("rank_n", I64, "n", "1 is best; null for what no model reads", "≥ 1"),
    Column("is_level", FLAG, "flag", "a model reads it and memories_n is below 30: not tested", required=True),
    Column("memories_n", F64, "n", "how many times the span holds its memory (association.memories)", "≥ 0"),
    Column("stands_out", FLAG, "flag", "q is at most 5 %", required=True),
    Column("p", F64, "1", "of its two correlations and its cluster's importance together (Simes)", "[0, 1]"),
    Column("q", F64, "1", "least false discovery rate of that p among all inputs that are tested", "[0, 1]"),
    Column("null_frac", F64, "frac", "share of minutes in which it is null", "[0, 1]", required=True),
    Column("worst_day", pl.Date(), "", "the day with the largest share of nulls, the first of them", required=True),
    Column("worst_day_null_frac", F64, "frac", "that share", "[0, 1]", required=True),
    Column("mean", F64, "", "mean of the stored values, in the feature's unit; the next ones too"),
    Column("sd", F64, "", "standard deviation", "≥ 0"),
    tuple(Column(f"quantile_{pct:02d}", F64, "", f"{pct} % quantile") for pct in QUANTILES),
    Column("drift_psi", F64, "1", "population stability index between the two spans that differ most", "≥ 0"),
    Column("drift_limit", F64, "1", "it must exceed 0.1, and what 95 of 100 columns without drift stay below", "> 0"),
    Column("drift_level", TEXT, "", "none, watch, or act (0.25)"),
    Column("drift_since", TEXT, "", "the first of the two spans: a month, or a half"),
    Column("drift_until", TEXT, "", "the second"),
    _estimate(
        "corr_ret", "1", "[-1, 1]", "Pearson correlation of the input with y_ret_15m; not of levels and categories"
    ),
    _estimate(
        "corr_up", "1", "[-1, 1]", "Pearson correlation of the input with y_up_15m; not of levels and categories"
    ),
    Column("mutual_information_nats", F64, "nats", "with y_up_15m, on minutes whose labels do not overlap", "≥ 0"),
    Column(
        "mutual_information_floor_nats",
        F64,
        "nats",
        "its own in 95 of 100 orders of the label's days; null for the clock",
        "≥ 0",
    ),
    Column("cluster_n", I64, "n", "inputs of a cluster have |correlation| of 0.8 or more, pair by pair", "≥ 1"),
    _estimate(
        "accuracy_lost",
        "frac",
        "[-1, 1]",
        "share of right calls that a quick LightGBM loses when the input's cluster is shuffled",
        "zero or less",
    ),
)


def _analysis(table: Table) -> Table:
    of = table.name.partition("/")[2]
    return Table(
        f"evaluations/feature_analysis_{of}",
        f"one feature of {table.name} over the days up to this one: coverage, spread, drift, what it says of the label",
        ("symbol", "feature"),
        columns(SYMBOL, DAY, COLUMNS),
        (Measure("features that are not there", len(table.features) - pl.len().cast(F64), 0, 0),),
    )


SETS = (*features.TABLES, *features_v6.TABLES, *features_mr.TABLES)
ANALYSES = {t.name.partition("/")[2]: _analysis(t) for t in SETS if t.features}
"""Feature set → the table of its analysis."""

TABLES = tuple(ANALYSES.values())
