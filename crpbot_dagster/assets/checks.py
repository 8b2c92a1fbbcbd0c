"""Write, audit, publish: how every table becomes an asset whose quality checks run before the write.

``table_asset`` wraps a function that returns a ``Built`` frame: it measures the table's hard rules and
checks (``tables/``), lets Great Expectations judge the measures, yields the check results with their
partition, and yields the output only when no blocking check failed. So a failed audit leaves the old
partition untouched and nothing downstream can load the bad day.
Not here: which rules hold (``tables/``), and how a partition is replaced (``resources/lake.py``).
"""

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crpbot_dagster import settings
from crpbot_dagster.partitions import only_day, split, symbol_day
from crpbot_dagster.resources import redelivery
from crpbot_dagster.resources.lake import Audited, Built, measure
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.features import origins
from crpbot_dagster.tables.schema import UTC_US, Check, Column, Table

OWNERS = {
    "raw": "team:data",
    "bars": "team:data",
    "features": "team:research",
    "models": "team:research",
    "evaluations": "team:research",
    "promotion": "team:trading",
}
# A day is asked for at 06:30 UTC of the next and takes minutes: a table without a new one since yesterday is late.
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=28))
DAILY_STAGES = ("raw", "bars", "features")
JUDGED_STATES = ("complete", "partial")  # a day without rows has nothing for the soft checks to look at


class ExpectationCrash(RuntimeError):
    """An expectation itself failed to run: an error of the platform, not of the data."""


class NotMeasured(RuntimeError):
    """A blocking rule has no number: the asset reports no such fact, or the frame cannot give it."""


def judge(rows: pl.DataFrame) -> set[str]:
    """Return the names of the measures outside their limits; Great Expectations says whether there are any.

    ``rows`` has one row per measure: name, value, low, high (null limits are open, a null value is not
    measurable). Great Expectations reads the largest excess over a limit, never the data: ``tables/`` turned a
    million ticks into these few numbers before.

    Raises
    ------
    ExpectationCrash
        The expectation raised instead of answering, or nothing was measurable.
    """
    import great_expectations as gx

    excess = pl.max_horizontal(pl.col("low") - pl.col("value"), pl.col("value") - pl.col("high"))
    profile = rows.with_columns(excess.alias("excess"))
    batch = _batch_definition().get_batch({"dataframe": profile.select("excess").to_pandas()})
    verdict = batch.validate(gx.expectations.ExpectColumnMaxToBeBetween(column="excess", max_value=0))
    if verdict.exception_info.get("raised_exception") or verdict.result.get("observed_value") is None:
        raise ExpectationCrash(str(verdict.exception_info.get("exception_message") or "nothing was measurable"))
    failed = set(profile.filter(pl.col("excess") > 0)["measure"])
    if bool(verdict.success) != (not failed):
        raise ExpectationCrash(f"the verdict {verdict.success} and the failed measures {sorted(failed)} disagree")
    return failed


@functools.lru_cache(maxsize=1)
def _batch_definition() -> Any:
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
    source = context.data_sources.add_pandas("profiles")
    return source.add_dataframe_asset("profile").add_batch_definition_whole_dataframe("all")


def audit(
    table: Table, built: Built, symbol: str, day: date
) -> tuple[list[tuple[Check, bool, dict[str, float | None]]], dict[str, float | None]]:
    """Measure a frame's rules and checks; return (check, passed, its numbers) each, and a profile.

    The profile has row count, first and last time, and the null share of every column.
    """
    frame = table.conform(built.frame.lazy())
    judged = built.state in JUDGED_STATES
    checks = [table.hard_rules(symbol, day, own=judged), *(table.checks if judged else ())]
    exprs: dict[str, pl.Expr] = {"rows": pl.len()}
    exprs |= {f"null share {n}": pl.col(n).is_null().mean() for n in table.schema}
    clock = next((c for c in ("ts", "ts_received") if c in table.schema), None)
    if clock is not None:
        exprs |= {
            "first ts": pl.col(clock).min().dt.epoch("us"),
            "last ts": pl.col(clock).max().dt.epoch("us"),
        }
    asked = [(c, m) for c in checks for m in c.measures]
    exprs |= {f"{c.name}/{m.name}": m.value for c, m in asked if isinstance(m.value, pl.Expr)}
    # A frame in memory is measured at once; a large day lies in a file and is measured piece by piece.
    found = measure(frame, exprs, apart=built.is_large)
    numbers: dict[tuple[str, str], float | None] = {}
    for c, m in asked:
        value = found.pop(f"{c.name}/{m.name}") if isinstance(m.value, pl.Expr) else built.facts.get(m.value)
        if value is None and c.blocking:
            raise NotMeasured(
                f"{table.name}: {c.name}, {m.name} has no value: a rule that cannot be measured holds nothing"
            )
        numbers[c.name, m.name] = value
    rows = pl.DataFrame(
        {
            "measure": [f"{c.name}/{m.name}" for c, m in asked],
            "value": [numbers[c.name, m.name] for c, m in asked],
            "low": [m.low for _, m in asked],
            "high": [m.high for _, m in asked],
        },
        schema={"measure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64},
    )
    failed = judge(rows)
    results = [
        (
            c,
            not any(f"{c.name}/{m.name}" in failed for m in c.measures),
            {m.name: numbers[c.name, m.name] for m in c.measures},
        )
        for c in checks
    ]
    return results, found


def table_asset(
    name: str,
    *,
    kinds: set[str],
    code_version: str,
    reads: Mapping[str, str | tuple[str, dg.PartitionMapping]] | None = None,
    after: tuple[str, ...] = (),
    tags: Mapping[str, str] | None = None,
    pool: str | None = None,
) -> Callable[[Callable[..., Built]], dg.AssetsDefinition]:
    """Make the asset ``name`` (``stage/table``) from a function that returns ``Built``.

    ``reads`` maps the function's parameters to upstream tables (identity mapping, or the given one);
    ``after`` names tables the function asks the lake for by window.
    """
    table = TABLES[name]
    reads = reads or {}

    def wrap(function: Callable[..., Built]) -> dg.AssetsDefinition:
        @functools.wraps(function)
        def compute(context: dg.AssetExecutionContext, **inputs: Any) -> Iterator[Any]:
            started = time.perf_counter()
            symbol, day = split(context.partition_key)
            built = function(context, **inputs)
            yield from publish(table, built, symbol, day, started)

        signature = inspect.signature(function)
        compute.__signature__ = signature.replace(return_annotation=inspect.Signature.empty)  # type: ignore[attr-defined]
        compute.__annotations__ = {k: v for k, v in function.__annotations__.items() if k != "return"}
        return dg.asset(
            key=name.split("/"),
            ins={
                p: dg.AssetIn(key=(t if isinstance(t, str) else t[0]).split("/"), partition_mapping=_mapping(t))
                for p, t in reads.items()
            },
            deps=[dg.AssetKey(t.split("/")) for t in after],
            group_name=table.stage,
            owners=[OWNERS[table.stage]],
            kinds=kinds,
            tags=dict(tags or {}),
            code_version=code_version,
            partitions_def=_partitions(table.is_market_wide),
            io_manager_key="door",
            pool=pool,
            output_required=False,
            check_specs=_check_specs(table),
            freshness_policy=DAILY if table.stage in DAILY_STAGES else None,
            metadata={"dagster/column_schema": column_schema(table), "grain": table.grain},
            description=inspect.getdoc(function),
        )(compute)

    return wrap


def publish(table: Table, built: Built, symbol: str, day: date, started: float) -> Iterator[Any]:
    """Yield the audit's check results, and the output only when no blocking check failed."""
    results, profile = audit(table, built, symbol, day)
    by_name = {c.name: (c, ok, numbers) for c, ok, numbers in results}
    blocked: list[str] = []
    for declared in (table.hard_rules(symbol, day, own=True), *table.checks):
        # A day the source should have and has not is no good news, though there is nothing to measure.
        unasked: tuple[Check, bool, dict[str, float | None]] = (
            declared,
            built.state != "missing" or declared.blocking,
            {},
        )
        check, passed, numbers = by_name.get(declared.name, unasked)
        if check.blocking and not passed:
            blocked.append(f"{check.name} ({'; '.join(_offences(check, numbers))})")
        yield dg.AssetCheckResult(
            check_name=check.name,
            asset_key=table.name.split("/"),
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=_words(check, passed, numbers, built.state),
            metadata={k: v if v is not None else "not measurable" for k, v in numbers.items()},
        )
    if blocked:
        if built.refused is not None:
            built.refused()
        raise dg.Failure(
            f"{table.name} {symbol} {day}: {', '.join(blocked)} failed; the partition in the lake stays as it was",
            allow_retries=False,
        )
    content = redelivery.content(table, table.conform(built.frame.lazy()), built.state)
    yield dg.Output(
        Audited(built, int(profile["rows"] or 0), content),
        # The same content again leaves the children fresh; a day delivered with other content makes them stale.
        data_version=dg.DataVersion(content),
        # The UI draws the lineage of columns from what a materialisation says.
        metadata=column_lineage(table) | _metadata(built, profile, time.perf_counter() - started),
    )
    # Dagster stores an output before it asks for the next event.
    if built.after is not None:
        built.after()


def _words(check: Check, passed: bool, numbers: Mapping[str, float | None], state: str) -> str:
    if not numbers:
        return f"not asked: the day is {state}"
    if passed:
        return f"holds: {check.text}"
    off = "; ".join(_offences(check, numbers))
    return f"{off}. The rule: {check.text}"


def _offences(check: Check, numbers: Mapping[str, float | None]) -> list[str]:
    """Return what lies outside its limits, the number first."""
    limits = {m.name: (m.low, m.high) for m in check.measures}
    off = []
    for name, value in numbers.items():
        low, high = limits[name]
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            bound = f"at least {low:g}" if low is not None and value < low else f"at most {high:g}"
            off.append(f"{value:g} {name}, allowed {bound}")
    return off


def _metadata(built: Built, profile: dict[str, float | None], seconds: float) -> dict[str, Any]:
    rows = int(profile["rows"] or 0)
    nulls = {k.removeprefix("null share "): v for k, v in profile.items() if k.startswith("null share ")}
    worst = max(nulls, key=lambda n: nulls[n] or 0.0)
    found: dict[str, Any] = {
        "dagster/partition_row_count": rows,
        "state": built.state,
        "source": built.source,
        "wall_time_s": round(seconds, 4),
        "rows_per_second": round(rows / seconds) if seconds > 0 else 0,
        "null_share_worst_column": f"{worst} {nulls[worst]:.4f}" if nulls[worst] else "none",
        "null_shares": dg.MetadataValue.json({n: round(v or 0.0, 6) for n, v in nulls.items() if v}),
    }
    for end in ("first ts", "last ts"):
        if profile.get(end) is not None:
            found[end.replace(" ", "_")] = dg.MetadataValue.timestamp((profile[end] or 0.0) / 1e6)
    return found | dict(built.facts) | dict(built.notes)


def column_schema(table: Table) -> dg.TableSchema:
    """Return the table's columns as the UI shows them, with units as tags."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                "datetime[us, UTC]" if c.dtype == UTC_US else str(c.dtype),
                description=_described(c),
                constraints=dg.TableColumnConstraints(nullable=not c.required),
                tags={"unit": c.unit} if c.unit else None,
            )
            for c in table.columns
        ]
    )


def _described(column: Column) -> str:
    """Return the column's text and, of a feature, what it may be, how far back it reads and where it comes from."""
    if column.reach is None:
        return column.text
    paper = f" · {column.source}" if column.source not in ("", "–") else ""
    return f"{column.text} · in {column.range} · reads {column.reach_text}{paper} (T: bars/trades_1m, B: bars/book_1m)"


def column_lineage(table: Table) -> dict[str, dg.TableColumnLineage]:
    """Return where the features of a table come from, column by column, as Dagster wants it; {} for other tables."""
    # Two venues' closes are one column of one table.
    made_from = {c.name: dict.fromkeys(origins(c)) for c in table.features}
    deps = {name: [dg.TableColumnDep(dg.AssetKey(t.split("/")), n) for t, n in f] for name, f in made_from.items()}
    known = {name: found for name, found in deps.items() if found}
    return {"dagster/column_lineage": dg.TableColumnLineage(known)} if known else {}


def _check_specs(table: Table) -> list[dg.AssetCheckSpec]:
    declared = (table.hard_rules("", date.min, own=True), *table.checks)
    return [
        dg.AssetCheckSpec(
            c.name,
            asset=table.name.split("/"),
            description=c.text,
            blocking=c.blocking,
            partitions_def=_partitions(table.is_market_wide),
        )
        for c in declared
    ]


def _mapping(read: str | tuple[str, dg.PartitionMapping]) -> dg.PartitionMapping | None:
    return None if isinstance(read, str) else read[1]


@functools.lru_cache(maxsize=2)
def _partitions(is_market_wide: bool) -> dg.PartitionsDefinition:
    return only_day(settings.load()) if is_market_wide else symbol_day(settings.load())
