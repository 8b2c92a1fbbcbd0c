"""On the sandbox what was planted in BTC comes out on top and nothing of SOL does; the page says it, in a browser too."""

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from conftest import SEED, bars_of, days_between
from promotion.test_report import EVIL, Page

from crpbot_dagster.assets import ANALYSES, DAY_TABLES, EVALUATION_TABLES, ROUTE
from crpbot_dagster.assets.evaluations.association import LEAST_MEMORIES, correlation
from crpbot_dagster.assets.evaluations.charts import plotly_js
from crpbot_dagster.assets.evaluations.feature_analysis import Analysis, analyse, summary
from crpbot_dagster.assets.evaluations.feature_page import render, top_markdown
from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.analyses import COLUMNS
from crpbot_dagster.tables.features import V5
from crpbot_dagster.tables.schema import Column, Table

SIX_DAYS = tuple(days_between(date(2023, 11, 16), date(2023, 11, 21)))
PLANTED = {f"ob_imbalance_{k}" for k in (1, 5, 10, 25)} | {
    f"trade_flow_{k}" for k in ("buy", "sell", "net_ratio", "count_ratio")
}
NOTE = "sandbox, seed 7, density 1"


def named(frame: pl.DataFrame, symbol: str) -> pl.DataFrame:
    return frame.with_columns(symbol=pl.lit(symbol), venue=pl.lit("coinbase"), day=pl.col("ts").dt.date())


@pytest.fixture(scope="module")
def sandbox(market) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    made = {}
    for symbol in ("BTC-USD", "SOL-USD"):
        trades, book = bars_of(market, symbol, SIX_DAYS)
        features = v5(trades, book)
        made[symbol] = (named(features, symbol), named(labels(trades, book, "mid"), symbol))
    return made


@pytest.fixture(scope="module")
def btc(sandbox) -> Analysis:
    return analyse(*sandbox["BTC-USD"], "v5", V5, SEED)


def test_what_was_planted_in_btc_is_on_top(btc: Analysis) -> None:
    others = set(btc.standing_out) - PLANTED
    assert set(btc.standing_out) >= PLANTED
    assert len(others) <= 1, "of nine that stand out at 5 % half a wrong one is expected"
    top = btc.columns.head(8 + len(others))
    assert set(top["feature"]) == PLANTED | others and top["rank_n"].to_list() == list(range(1, top.height + 1))
    assert {f"ob_imbalance_{k}" for k in (1, 5, 10, 25)} == set(top["feature"].head(4))
    row = btc.columns.row(by_predicate=pl.col("feature") == "ob_imbalance_1", named=True)
    assert 0.3 < row["corr_up_low"] < row["corr_up"] < row["corr_up_high"] and row["corr_ret_low"] > 0.3
    assert row["mutual_information_nats"] > row["mutual_information_floor_nats"]
    assert row["accuracy_lost_low"] > 0.05 and btc.importance.accuracy.low > 0.55
    # One thing shown four times over: one cluster. The overlap of labels is counted: 96 of a day's 1,440.
    cluster = btc.columns.filter(pl.col("cluster_n") == row["cluster_n"])["feature"]
    assert set(cluster) == {f"ob_imbalance_{k}" for k in (1, 5, 10, 25)}
    assert btc.n_eff == pytest.approx(96 * 6, abs=2) and btc.labelled_n > 8_500


def test_nothing_of_sol_stands_out(sandbox) -> None:
    found = analyse(*sandbox["SOL-USD"], "v5", V5, SEED)
    assert found.standing_out == [] and found.columns["q"].min() > 0.05
    assert summary(found.columns)["found"].startswith("None of the 44 model inputs stands out")
    assert found.importance.accuracy.low < 0.5 < found.importance.accuracy.high
    page = Page(render(found, sandbox["SOL-USD"][0], V5, NOTE))
    assert "None of the 44 model inputs stands out" in page.text and "the order below means nothing" in page.text


def test_what_no_model_reads_is_counted_and_not_tested(btc: Analysis) -> None:
    unread = btc.columns.filter(~pl.col("is_input"))
    assert {"close", "sma_7", "volatility_low"} <= set(unread["feature"])
    tested = ("rank_n", "corr_up", "corr_ret", "mutual_information_nats", "drift_psi", "accuracy_lost", "cluster_n")
    assert all(unread[c].null_count() == unread.height for c in tested) and not unread["stands_out"].any()
    assert unread["mean"].null_count() == 0
    category = btc.columns.row(by_predicate=pl.col("feature") == "day_of_week", named=True)
    assert category["corr_up"] is None and category["accuracy_lost"] is not None
    k = btc.inputs.index("day_of_week")
    assert np.isnan(btc.redundancy.correlation[k]).all(), "the number of a category is only its name"
    assert not category["is_level"] and category["memories_n"] is None
    assert category["drift_psi"] is None, "it reads the clock alone"
    assert set(btc.columns.columns) | {"first_day"} == {c.name for c in COLUMNS}


def test_coverage_names_the_worst_day(btc: Analysis, sandbox) -> None:
    row = btc.columns.row(by_predicate=pl.col("feature") == "sma_50", named=True)
    assert row["worst_day"] == SIX_DAYS[0] and row["worst_day_null_frac"] == pytest.approx(39 / 1440)
    assert row["null_frac"] == pytest.approx(39 / 1440 / 6)
    flags = "volatility_low: null in 13.09 % of the minutes, 78.54 % on 2023-11-16"
    assert summary(btc.columns)["worst_coverage"] == flags


# --- made-up markets ----------------------------------------------------------------------------------------


def made_up(rng: np.random.Generator, days: int, columns: dict[str, np.ndarray], up: np.ndarray):
    """A set of one's own columns, its table, and the labels."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    ts = pl.datetime_range(start, start + timedelta(days=days), "1m", closed="left", eager=True, time_unit="us")
    keys = {"symbol": pl.lit("X-USD"), "venue": pl.lit("x")}
    features = pl.DataFrame({"ts": ts} | columns, nan_to_null=True).with_columns(**keys)
    label = {"y_ret_15m": up - 0.5 + 0.01 * rng.normal(size=len(ts)), "y_up_15m": up.astype(np.int8)}
    known = pl.DataFrame({"ts": ts} | label).with_columns(
        **keys, label_end_ts_15m=pl.col("ts") + pl.duration(minutes=16)
    )
    column = partial(Column, dtype=pl.Float64(), unit="1", text="made up", transform="as_is", reads=("T.x",), reach=1)
    own = tuple(column(name=n, group="g") for n in columns)
    return features, known, Table("features/v4", "made up", ("ts",), own)


def lasting(rng: np.random.Generator, rows: int) -> np.ndarray:
    return np.convolve(rng.normal(size=rows + 14), np.ones(15), "valid") / np.sqrt(15)


def test_noise_stays_noise_and_a_plant_among_it_is_found(rng) -> None:
    rows = 6 * 1440
    for planted in (0.0, 0.0, 0.3):
        columns = {f"noise_{i}": lasting(rng, rows) for i in range(8)}
        columns["plant"] = lasting(rng, rows)
        up = (planted * columns["plant"] + lasting(rng, rows) > 0).astype(float)
        found = analyse(*(m := made_up(rng, 6, columns, up))[:2], "v4", m[2], SEED)
        assert ("plant" in found.standing_out) == (planted > 0)
        assert set(found.standing_out) <= {"plant"}
    assert summary(found.columns)["found"] == "1 of the 9 model inputs stands out: plant."


def test_a_level_is_said_to_be_one_and_not_tested(rng) -> None:
    """A log price less a near-constant, in a market without memory, that happens to rise when it is low."""
    rows = 6 * 1440
    swing = np.sin(np.arange(rows) / 1440)
    columns = {"high_dist": swing + 0.01 * rng.normal(size=rows).cumsum() / 38, "fast": rng.normal(size=rows)}
    up = (rng.random(rows) < 0.5 - 0.15 * swing).astype(float)
    found = analyse(*(m := made_up(rng, 6, columns, up))[:2], "v4", m[2], SEED)
    level, fast = (found.columns.row(by_predicate=pl.col("feature") == n, named=True) for n in columns)
    assert level["is_level"] and level["memories_n"] < LEAST_MEMORIES < fast["memories_n"] and not fast["is_level"]
    untested = ("p", "q", "corr_up", "corr_ret", "corr_up_p", "corr_ret_p", "accuracy_lost_p")
    assert not level["stands_out"] and all(level[n] is None for n in untested) and fast["q"] is not None
    assert correlation(columns["high_dist"], up, np.arange(rows) // 1440).p < 0.01, "tested it would stand out"
    assert summary(found.columns)["found"].endswith(" Not tested, as they linger too long for so few days: 1.")
    text = Page(render(found, m[0], m[2], "live")).text
    assert "Levels, not tested: high_dist (" in text and "level: not tested" in text
    assert "level: not tested" in top_markdown(found.columns)


def test_a_day_is_too_short_to_test_anything_and_says_so(rng) -> None:
    rows = 1440
    columns = {"a": rng.normal(size=rows), "b": rng.normal(size=rows)}
    found = analyse(*(m := made_up(rng, 1, columns, (rng.random(rows) > 0.5).astype(float)))[:2], "v4", m[2], SEED)
    assert summary(found.columns)["found"].startswith("Nothing could be tested of the 2 model inputs.")
    text = Page(render(found, m[0], m[2], "live")).text
    assert (
        "Nothing was tested:" in text
        and "No test found" not in text
        and "unknown to unknown" not in top_markdown(found.columns)
    )


def test_the_clock_is_no_level_has_no_floor_and_a_category_of_one_value_is_no_error(rng) -> None:
    rows = 6 * 1440
    columns = {
        "open": (np.arange(rows) % 1440 < 480).astype(float),
        "busy": rng.normal(size=rows),
        "kind": np.zeros(rows),
    }
    up = (rng.random(rows) < np.where(columns["open"] == 1, 0.65, 0.4)).astype(float)
    features, known, table = made_up(rng, 6, columns, up)
    clock = replace(table.column("open"), reads=("CAL",))
    kind = replace(table.column("kind"), transform="category", range="{0}")
    found = analyse(features, known, "v6", replace(table, columns=(clock, table.column("busy"), kind)), SEED)
    told = {r["feature"]: r for r in found.columns.iter_rows(named=True)}
    assert not told["open"]["is_level"] and told["open"]["memories_n"] is None and told["open"]["drift_psi"] is None
    assert told["open"]["mutual_information_nats"] > 0.02 and told["open"]["mutual_information_floor_nats"] is None
    assert told["busy"]["mutual_information_floor_nats"] is not None and told["kind"]["accuracy_lost"] is None
    assert "the clock alone has none" in Page(render(found, features, table, "live")).text


def test_a_model_reads_a_category_as_flags(rng, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[np.ndarray] = []

    def fit(x: np.ndarray, y: np.ndarray, seed: int):
        read.append(x)
        return lambda rows: np.full(len(rows), 0.5)

    monkeypatch.setattr("crpbot_dagster.assets.evaluations.feature_analysis.fit_quick", fit)
    rows = 6 * 1440
    columns = {"a": rng.normal(size=rows), "kind": np.arange(rows) // 60 % 3.0}
    features, known, table = made_up(rng, 6, columns, (rng.random(rows) > 0.5).astype(float))
    kind = replace(table.column("kind"), transform="category", range="{0,1,2}")
    found = analyse(features, known, "v4", replace(table, columns=(table.column("a"), kind)), SEED)
    assert read[0].shape[1] == 3 and set(np.unique(read[0][:, 1:])) == {0.0, 1.0}
    assert set(found.importance.lost) == set(found.redundancy.cluster.tolist()) == {1, 2}


def test_a_drift_and_a_pair_are_found_and_an_absent_column_is_no_error(rng) -> None:
    rows = 8 * 1440
    later = np.arange(rows) >= rows // 2
    columns = {"still": rng.normal(size=rows), "moved": rng.normal(size=rows) + later, "absent": np.full(rows, np.nan)}
    columns["same"] = -columns["still"] + 0.1 * rng.normal(size=rows)
    features, known, table = made_up(rng, 8, columns, (rng.random(rows) > 0.5).astype(float))
    found = analyse(features, known, "v4", table, SEED)
    told = {r["feature"]: r for r in found.columns.iter_rows(named=True)}
    assert told["moved"]["drift_level"] == "act" and told["still"]["drift_level"] == "none"
    assert told["still"]["cluster_n"] == told["same"]["cluster_n"] != told["moved"]["cluster_n"]
    assert told["absent"]["null_frac"] == 1.0 and told["absent"]["mean"] is None and told["absent"]["drift_psi"] is None
    assert summary(found.columns)["strongest_drift"].startswith("moved: PSI ")
    page = Page(render(found, features, table, "live"))
    assert "1 of 4 inputs moved beyond their limit" in page.text and "no value" in page.text
    assert "same, still" in page.text or "still, same" in page.text


def test_without_labels_the_rest_is_still_told(rng) -> None:
    rows = 2 * 1440
    features, known, table = made_up(rng, 2, {"a": rng.normal(size=rows), "b": rng.normal(size=rows)}, np.zeros(rows))
    none = known.with_columns(y_up_15m=pl.lit(None, pl.Int8), y_ret_15m=pl.lit(None, pl.Float64))
    found = analyse(features, none, "v4", table, SEED)
    assert found.labelled_n == 0 and found.standing_out == [] and found.columns["mean"].null_count() == 0
    text = Page(render(found, features, table, "live")).text
    assert "too few labelled days" in text and "too few days to compare" in text and "Never null: every feature" in text


# --- the page -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def html(btc: Analysis, sandbox) -> str:
    return render(btc, sandbox["BTC-USD"][0], V5, NOTE)


def test_the_page_says_what_the_table_says(html: str, btc: Analysis, sandbox) -> None:
    page = Page(html)
    assert page.text.startswith("BTC-USD features v5, 2023-11-16 to 2023-11-21")
    said = f"{len(btc.standing_out)} of the 44 model inputs stand out: ob_imbalance_1"
    assert said in page.text and "Simulated data" in page.text and "selection leakage" in page.text
    for r in btc.columns.filter("is_input").iter_rows(named=True):
        if r["corr_up"] is not None:
            assert f"{r['corr_up']:+.3f} {r['corr_up_low']:+.3f} to {r['corr_up_high']:+.3f}" in page.text, r["feature"]
    assert set(page.figures) == {"importance", "correlation", "information", "redundancy", "drift", "coverage"}
    drawn = page.figures["correlation"]["data"][0]
    assert drawn["y"] == btc.columns.drop_nulls("corr_up")["feature"].head(20).to_list()
    minis = [a for tag, a in page.elements if tag == "figure" and a.get("class") == "mini"]
    assert len(minis) == len(V5.features)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "img", "object") and "src" not in attributes
    assert html == render(btc, sandbox["BTC-USD"][0], V5, NOTE), "the same numbers, the same bytes"
    evil = render(btc, sandbox["BTC-USD"][0], V5, EVIL)
    assert "<script>alert" not in evil and "<img" not in evil.replace(plotly_js(), "")


def test_a_browser_draws_it(html: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    file = tmp_path / "features.html"
    file.write_text(html)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown, said = browser.new_page(viewport={"width": 1280, "height": 900}), []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda request: said.append(request.url))
        shown.goto(file.as_uri())
        assert shown.locator(".plot > .plot-container").count() == 6 and said == [file.as_uri()]
        assert shown.evaluate("document.documentElement.scrollWidth") == 1280, "the page scrolls sideways"
        for width in shown.evaluate(
            "[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
        ):
            assert width <= 0, "a table does not fit a desk"
        browser.close()


# --- the asset ----------------------------------------------------------------------------------------------


def test_each_feature_set_has_its_analysis_and_no_verdict_or_day_makes_it() -> None:
    names = {f"evaluations/feature_analysis_{name}" for name in SETS}
    assert names == ANALYSES == {n for n in TABLES if "feature_analysis" in n}
    assert names <= {"/".join(a.key.path) for a in ROUTE["evaluations"]}
    assert not names & {*EVALUATION_TABLES, *DAY_TABLES}


def test_the_asset_reads_the_unbroken_days_and_writes_rows_page_and_metadata(sandbox, environment) -> None:
    config = environment(analysis_days="4")
    lake = Lake(url=config.lake_url, market="sandbox", start_day="2023-11-10")
    for table, frame in zip(("features/v5", "features/labels"), sandbox["BTC-USD"], strict=True):
        for day in SIX_DAYS[:1] + SIX_DAYS[3:]:  # the first stands apart
            rows = frame.filter(pl.col("day") == day).select(list(TABLES[table].schema))
            lake.publish(table, rows, "BTC-USD", day, "complete")
    (asset,) = [a for a in ROUTE["evaluations"] if a.key.path[-1] == "feature_analysis_v5"]
    resources = {"lake": lake, "door": Door(lake=lake, base_dir=lake.url)}
    last = SIX_DAYS[-1]
    done = dg.materialize([asset], partition_key=key("BTC-USD", last), resources=resources)
    assert done.success
    rows = lake.window("evaluations/feature_analysis_v5", "BTC-USD", last, last).collect()
    assert rows.height == len(V5.features) and set(rows["first_day"]) == {SIX_DAYS[3]}
    (made,) = done.asset_materializations_for_node(asset.node_def.name)
    assert made.metadata["days"].text == "2023-11-19 to 2023-11-21"
    file = f"features/v5/BTC-USD/{last}.html"
    assert made.metadata["analysis"].url == f"{config.reports_url}/{file}"
    assert "features v5" in (config.reports_dir / file).read_text() and "ob_imbalance" in made.metadata["found"].text
    assert made.metadata["top_features"].value == top_markdown(rows.sort("rank_n"))
