"""Tables of the last stages: models, predictions, metrics and the promotion verdict."""

import polars as pl

from crpbot_dagster.tables.schema import DAY, SOURCE, SYMBOL, TS, UTC_US, VENUE, Check, Column, Measure, Table, columns

F64, I64 = pl.Float64(), pl.Int64()
TEXT = pl.String()

FAMILIES = {
    "logistic_v4": "features/v4",
    "logistic_v5": "features/v5",
    "lstm_v4": "features/v4",
    "lstm_v5": "features/v5",
}
"""Model family, ``<kind>_<feature set>`` → the feature table it reads."""


def _model(family: str) -> Table:
    return Table(
        f"models/{family}",
        "one trained model: the day is the last day it was allowed to see",
        ("symbol", "day"),
        columns(
            SYMBOL,
            DAY,
            Column("state", TEXT, "", "trained, or not_trained", required=True),
            Column("reason", TEXT, "", "why it was not trained; empty when it was", required=True),
            Column("manifest", TEXT, "", "JSON contract: features, hash, scaler, calibrator, spans, versions"),
            Column("weights", pl.Binary(), "", "safetensors: coefficients, scaler, temperature"),
            Column("weights_sha256", TEXT, "", "digest of weights"),
            Column(
                "history", TEXT, "", "JSON, one entry per epoch: loss on fit and stop days, rate; null without epochs"
            ),
            Column("mlflow_run_id", TEXT, "", "run of the experiment tracker that holds the same files"),
            Column("rows_n", I64, "n", "labelled rows the model was fitted on"),
        ),
        (),
        (
            Check(
                "enough_rows",
                False,
                "the fit window holds at least 1,000 usable rows",
                (Measure("rows fitted on", pl.col("rows_n").fill_null(0).min().cast(F64), 1000, None),),
            ),
        ),
    )


MODELS = {family: _model(family) for family in FAMILIES}

FAMILY = Column("family", TEXT, "", "model family, e.g. logistic_v5", required=True)
MODEL_DAY = Column("model_day", pl.Date(), "", "partition of the model: its last day of knowledge", required=True)
P_UP = Column("p_up_15m", F64, "1", "calibrated probability of up; null when an input is null", "[0, 1]")
Y_UP = Column("y_up_15m", pl.Int8(), "flag", "the label", "{0,1}")
LABEL_END = Column("label_end_ts", UTC_US, "UTC", "when the label was known", required=True)
COVERAGE = Check(
    "coverage",
    False,
    "at least 90 % of the minutes are predicted",
    (Measure("share predicted", pl.col("p_up_15m").is_not_null().mean(), 0.9, 1),),
)

PREDICTIONS = Table(
    "evaluations/predictions",
    "one minute of a test day as one model family saw it, beside the label that came true",
    ("symbol", "family", "ts"),
    columns(
        SYMBOL,
        DAY,
        FAMILY,
        MODEL_DAY,
        Column("test_day", pl.Date(), "", "UTC day of the minute", required=True),
        TS,
        P_UP,
        Y_UP,
        Column("y_ret_15m", F64, "log", "the return behind the label"),
        LABEL_END,
    ),
    (Measure("rows inside the model's knowledge", (pl.col("test_day") <= pl.col("model_day")).sum(), 0, 0),),
    (COVERAGE,),
)

METRICS = Table(
    "evaluations/metrics",
    "one number about one model family over the test days",
    ("symbol", "family", "metric"),
    columns(
        SYMBOL,
        DAY,
        Column("family", TEXT, "", "model family", required=True),
        Column("model_day", pl.Date(), "", "partition of the model", required=True),
        Column("metric", TEXT, "", "name, e.g. accuracy_frac", required=True),
        Column("value", F64, "", "the number; null when it cannot be computed"),
        Column("text", TEXT, "", "the value when it is not a number", required=True),
    ),
)

PROMOTED_MODEL = Table(
    "promotion/promoted_model",
    "one gate of one model family, and the verdict it led to; the row with gate = verdict decides",
    ("symbol", "family", "gate"),
    columns(
        SYMBOL,
        DAY,
        Column("family", TEXT, "", "model family; the chosen one is marked", required=True),
        Column("is_chosen", pl.Boolean(), "flag", "the family whose verdict is the symbol's", required=True),
        Column("gate", TEXT, "", "sample, accuracy, calibration, skill, guards, or verdict", required=True),
        Column("value", F64, "", "the number"),
        Column("threshold", F64, "", "what it must reach"),
        Column("comparison", TEXT, "", "which number is held against which limit, or text", required=True),
        Column("n", F64, "n", "effective number of labels behind the number"),
        Column("passed", pl.Boolean(), "flag", "null when the input is missing"),
        Column("verdict", TEXT, "", "PROMOTE, TUNE, INVESTIGATE or INSUFFICIENT", required=True),
        Column("reason", TEXT, "", "in words", required=True),
    ),
    (Measure("verdict rows chosen", (pl.col("is_chosen") & (pl.col("gate") == "verdict")).sum().cast(F64), 1, 1),),
)

DAILY_PREDICTIONS = Table(
    "evaluations/daily_predictions",
    "one minute of a new day as each judged model saw it, beside the label: the track record after the verdict",
    ("symbol", "family", "ts"),
    columns(
        SYMBOL,
        DAY,
        FAMILY,
        MODEL_DAY,
        Column(
            "verdict_day", pl.Date(), "", "day of the verdict that judged the model last before this day", required=True
        ),
        Column("is_chosen", pl.Boolean(), "flag", "the family that verdict chose for the symbol", required=True),
        TS,
        P_UP,
        Y_UP,
        LABEL_END,
    ),
    (Measure("rows not after their verdict", (pl.col("day") <= pl.col("verdict_day")).sum(), 0, 0),),
    (COVERAGE,),
)

_LAGS = [
    Column(
        f"corr_{'m' if k < 0 else 'p' if k > 0 else ''}{abs(k)}",
        F64,
        "1",
        f"correlation of the one-minute log return with the other's {f'{abs(k)} min ' if k else ''}"
        + ("earlier" if k < 0 else "later" if k > 0 else "in the same minute"),
    )
    for k in range(-3, 4)
]

SOURCE_COMPARISON = Table(
    "evaluations/source_comparison",
    "one (venue, source) of a symbol's day beside another one (SQL: dbt_like_sql/evaluations/source_comparison.sql)",
    ("symbol", "day", "venue", "source", "other_venue", "other_source"),
    columns(
        SYMBOL,
        DAY,
        VENUE,
        SOURCE,
        Column("other_venue", TEXT, "", "venue of the other; none when the day has one source", required=True),
        Column("other_source", TEXT, "", "source of the other; none when the day has one source", required=True),
        Column("coverage_frac", F64, "frac", "share of the minutes with a close", "[0, 1]", required=True),
        Column("other_coverage_frac", F64, "frac", "the same of the other", "[0, 1]"),
        Column("both_n", I64, "n", "minutes in which both have a close", "≥ 0"),
        Column("only_n", I64, "n", "minutes in which the other has none", "≥ 0"),
        Column("other_only_n", I64, "n", "minutes in which only the other has one", "≥ 0"),
        Column("neither_n", I64, "n", "minutes in which neither has one", "≥ 0"),
        Column(
            "missing_overlap_frac",
            F64,
            "frac",
            "neither_n over the minutes that one of them lacks: near 1 nobody traded, near 0 a feed was down",
            "[0, 1]",
        ),
        Column("diff_median_bps", F64, "bps", "median of |10⁴·ln(close / other's close)|", "≥ 0"),
        Column("diff_mean_bps", F64, "bps", "mean of 10⁴·ln(close / other's close)"),
        Column("diff_sd_bps", F64, "bps", "its standard deviation", "≥ 0"),
        Column("volume_ratio", F64, "1", "volume over the other's, minutes that both know", "≥ 0"),
        _LAGS,
        Column(
            "shift_min",
            I64,
            "min",
            "lag of the largest correlation; not 0: bars are labelled, or a clock runs, differently; null below 60 "
            "common minutes",
            "[-3, 3]",
        ),
        Column(
            "tick_rule_frac",
            F64,
            "frac",
            "share of the source's trades whose side agrees with the tick rule; far below a half: it is the maker's "
            "side; null without ticks",
            "[0, 1]",
        ),
        Column("grade", TEXT, "", "A, B or C: the rule stands in the SQL file", required=True),
        Column(
            "is_configured", pl.Boolean(), "flag", "the primary of the settings, which features read", required=True
        ),
        Column("is_primary", pl.Boolean(), "flag", "the one to read the day from, by the grades", required=True),
        Column("reason", TEXT, "", "why it is chosen, or which other one is", required=True),
    ),
    (Measure("source_comparison_one_primary", "source_comparison_one_primary", 0, 0),),  # dbt_like_sql/assert
    (
        Check(
            "coverage",
            False,
            "the configured primary has a close in at least 95 % of the minutes",
            (
                Measure(
                    "share of minutes with a close",
                    pl.col("coverage_frac").filter(pl.col("is_configured")).min().fill_null(0.0),
                    0.95,
                    1,
                ),
            ),
        ),
        Check(
            "sources_agree",
            False,
            "the configured primary's close differs from every other source's by at most 25 bps in the median",
            (
                Measure(
                    "median |difference| to the farthest, bps",
                    pl.col("diff_median_bps").filter(pl.col("is_configured")).max(),
                    0,
                    25,
                ),
            ),
        ),
        Check(
            "primary_stands",
            False,
            "no other source has a better grade than the configured primary",
            (
                Measure(
                    "configured source chosen",
                    (pl.col("is_configured") & pl.col("is_primary")).any().cast(F64),
                    1,
                    1,
                ),
            ),
        ),
    ),
)

LEADERBOARD = Table(
    "promotion/leaderboard",
    "one model family of a verdict and its rank: the chosen one first (SQL: dbt_like_sql/promotion/leaderboard.sql)",
    ("symbol", "family"),
    columns(
        SYMBOL,
        DAY,
        Column(
            "rank_n", I64, "n", "1 is the chosen family, the others follow by accuracy_low_frac", "≥ 1", required=True
        ),
        Column("family", TEXT, "", "model family; none when no family could be trained", required=True),
        Column("model_day", pl.Date(), "", "partition of the model: its last day of knowledge"),
        Column("accuracy_frac", F64, "frac", "share of right calls on the test days", "[0, 1]"),
        Column("accuracy_low_frac", F64, "frac", "lower end of its 95 % interval over days", "[0, 1]"),
        Column("accuracy_high_frac", F64, "frac", "upper end of its 95 % interval over days", "[0, 1]"),
        Column("n", F64, "n", "minutes with a prediction and a label", "≥ 0"),
        Column("n_eff", F64, "n", "independent labels among them", "≥ 0"),
        Column("brier_skill", F64, "1", "1 − Brier score over the base rate's"),
        Column("ece_upper", F64, "frac", "upper bound of the expected calibration error"),
        Column("verdict", TEXT, "", "PROMOTE, TUNE, INVESTIGATE or INSUFFICIENT", required=True),
        Column("is_chosen", pl.Boolean(), "flag", "the family whose verdict is the symbol's", required=True),
    ),
    (Measure("leaderboard_one_chosen_first", "leaderboard_one_chosen_first", 0, 0),),  # dbt_like_sql/assert
)

REPORT = Table(
    "promotion/report",
    "the report of one verdict: where its page lies and what it says",
    ("symbol",),
    columns(
        SYMBOL,
        DAY,
        Column("path", TEXT, "", "the HTML file, relative to the folder of reports", required=True),
        Column("sha256", TEXT, "", "digest of the file", required=True),
        Column("bytes_n", I64, "n", "size of the file", "> 0", required=True),
        Column("verdict", TEXT, "", "PROMOTE, TUNE, INVESTIGATE or INSUFFICIENT", required=True),
        Column("family", TEXT, "", "chosen family; none when no family could be trained", required=True),
        Column(
            "promoted_model_version", I64, "", "Delta version of promotion/promoted_model that was read", required=True
        ),
    ),
    (Measure("reports of the verdict", pl.len().cast(F64), 1, 1),),
)

TABLES = (
    *MODELS.values(),
    SOURCE_COMPARISON,
    PREDICTIONS,
    METRICS,
    DAILY_PREDICTIONS,
    PROMOTED_MODEL,
    LEADERBOARD,
    REPORT,
)
