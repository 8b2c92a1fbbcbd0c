"""The report says every number of the verdict, says what is missing, escapes what it shows and needs no network."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crpbot_dagster.assets.evaluations.charts import plotly_js
from crpbot_dagster.assets.evaluations.metrics import evaluate
from crpbot_dagster.assets.evaluations.page import count, number
from crpbot_dagster.assets.promotion.assets import candidates, no_candidate, verdict_rows
from crpbot_dagster.assets.promotion.gates import Thresholds, choose
from crpbot_dagster.assets.promotion.report import Evidence, days_between, ordered_families, render
from crpbot_dagster.tables import TABLES

SYMBOL, MODEL_DAY, DAY = "BTC-USD", date(2023, 11, 22), date(2023, 11, 27)
TEST_DAYS = (date(2023, 11, 23), date(2023, 11, 26))
LIMITS = Thresholds(accuracy=0.58, tune_accuracy=0.55, ece=0.2, min_n_eff=200, p_value=0.05, strict=False)
NOISE = {"lstm_v5": 0.1, "logistic_v5": 1.5, "logistic_v4": 9.0}
HISTORY = [
    {"epoch": i + 1, "fit_loss": 0.69 - 0.01 * i, "stop_loss": stop, "stop_accuracy_frac": 0.53 + 0.01 * i, "learning_rate": 5e-4}
    for i, stop in enumerate((0.691, 0.683, 0.664, 0.671, 0.702))
]  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and the text of all but scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.figures: dict[str, dict] = {}
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img", "input"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "script":
            name = self.elements[-1][1].get("data-figure")
            if name is not None:
                self.figures[name] = json.loads(data)
        elif self._inside and self._inside[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def predictions(rng: np.random.Generator) -> pl.DataFrame:
    days = days_between(*TEST_DAYS)
    ts = [datetime(d.year, d.month, d.day, tzinfo=UTC) + timedelta(minutes=m) for d in days for m in range(1440)]
    signal = np.repeat(rng.normal(size=len(ts) // 15), 15)  # as labels do, it lasts
    y = (rng.random(len(ts) // 15) < 1 / (1 + np.exp(-1.5 * signal[::15]))).repeat(15)
    frames = []
    for family, noise in NOISE.items():
        seen = signal + noise * np.repeat(rng.normal(size=len(ts) // 15), 15) + 0.1 * rng.normal(size=len(ts))
        p = 1 / (1 + np.exp(-1.5 * seen / (1 + noise**2)))
        rows = {"ts": ts, "p_up_15m": np.where(np.arange(len(ts)) < 15, np.nan, p), "y_up_15m": y.astype(np.int8)}
        frames.append(
            pl.DataFrame(rows, nan_to_null=True).select(
                symbol=pl.lit(SYMBOL), day=DAY, family=pl.lit(family), model_day=MODEL_DAY, test_day=pl.col("ts").dt.date(),
                ts=pl.col("ts").dt.cast_time_unit("us"), p_up_15m="p_up_15m", y_up_15m="y_up_15m", y_ret_15m=pl.lit(0.0),
                label_end_ts=pl.col("ts") + pl.duration(minutes=16),
            )
        )  # fmt: skip
    return pl.concat(frames)


def metrics(predicted: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for (family,), frame in predicted.group_by("family", maintain_order=True):
        asked = frame.select("ts", "label_end_ts", p_up="p_up_15m", y_up="y_up_15m", day="test_day")
        for name, value in evaluate(asked, 0.5, 1000, 7).items():
            text = value if isinstance(value, str) else ""
            rows.append((SYMBOL, DAY, family, MODEL_DAY, name, None if isinstance(value, str) else value, text))
    return pl.DataFrame(rows, schema=TABLES["evaluations/metrics"].schema, orient="row", strict=False)


def model(family: str, **changes: object) -> dict[str, object]:
    manifest = {
        "family": family, "symbol": SYMBOL, "model_day": str(MODEL_DAY), "feature_table": f"features/{family[-2:]}",
        "features": ["open:Float64:in"] * 33, "inputs": ["open", "rsi"], "venue": "coinbase", "source": "tardis",
        "seed": 4711, "settings": {"rate": 0.0005}, "code_version": "c0de", "calibrator": "temperature",
        "delta_versions": {"features/labels": 11}, "fit": ["2023-11-18", "2023-11-19"], "stop": ["2023-11-20", "2023-11-20"],
        "calibrate": ["2023-11-21", "2023-11-21"], "a_fact_of_tomorrow": "shown all the same",
    }  # fmt: skip
    row = {"state": "trained", "reason": "", "manifest": json.dumps(manifest), "weights_sha256": f"sha-of-{family}",
           "mlflow_run_id": f"run-of-{family}", "history": None, "rows_n": 2839}  # fmt: skip
    return row | changes


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    rng = np.random.default_rng(7)
    predicted = predictions(rng)
    numbers = metrics(predicted)
    found = candidates(numbers, LIMITS)
    inputs = tuple(c for c in TABLES["features/v5"].features if c.is_input)
    spread = {c.name: rng.normal(size=1440) for c in inputs}
    features = pl.DataFrame(spread).with_columns(pl.when(pl.int_range(pl.len()) >= 360).then("rsi").alias("rsi"))
    days = days_between(date(2023, 11, 18), TEST_DAYS[1])
    states: dict[str, dict[date, str | None]] = {
        t: dict.fromkeys(days, "complete") for t in ("raw/tardis_trades", "bars/daily")
    }
    states["raw/tardis_trades"] |= dict(zip(days, ("partial", "missing", "not_licensed", "empty", None), strict=False))
    return Evidence(
        symbol=SYMBOL,
        day=DAY,
        market="sandbox, seed 7, density 1",
        verdict=verdict_rows(found, choose(found), SYMBOL, DAY),
        metrics=numbers,
        predictions=predicted,
        models={
            "lstm_v5": model("lstm_v5", history=json.dumps(HISTORY)),
            "logistic_v5": model("logistic_v5"),
            "logistic_v4": model("logistic_v4"),
            "lstm_v4": model("lstm_v4", state="not_trained", reason="12 complete labelled rows", manifest=None),
            "lstm_v6": None,
        },
        model_day=MODEL_DAY,
        test_days=TEST_DAYS,
        states=states,
        inputs=inputs,
        features=features,
        versions={"features/labels": 30, "promotion/promoted_model": 4},
        mlflow_ui_url="http://127.0.0.1:3002",
    )


@pytest.fixture(scope="module")
def page(evidence: Evidence) -> Page:
    return Page(render(evidence))


def test_the_verdict_its_reason_and_its_days_come_first(page: Page, evidence: Evidence) -> None:
    head = page.text[:900]
    chosen = evidence.verdict.filter(pl.col("is_chosen") & (pl.col("gate") == "verdict")).row(0, named=True)
    assert (chosen["verdict"], chosen["family"]) == ("PROMOTE", "lstm_v5")
    for said in (
        SYMBOL,
        "✔ PROMOTE",
        chosen["reason"],
        "lstm_v5",
        "2023-11-27",
        "2023-11-22",
        "2023-11-23 to 2023-11-26",
    ):
        assert said in head, said


@pytest.mark.parametrize(
    ("market", "says", "never"),
    [
        ("sandbox, seed 7, density 1", "Simulated data, not a real market", "Live market data"),
        ("live", "Live market data", "Simulated"),
        ("recordings", "Recorded market data", "Simulated"),
    ],
)
def test_the_market_is_named_and_simulated_data_is_called_simulated(
    evidence: Evidence, market: str, says: str, never: str
) -> None:
    text = Page(render(replace(evidence, market=market))).text
    assert says in text and f"Market: {market}" in text and never not in text


def test_every_gate_of_every_family_has_its_number_beside_its_threshold(page: Page, evidence: Evidence) -> None:
    asked = evidence.verdict.filter(pl.col("gate") != "verdict")
    assert asked.height == 15 and {True, False} <= set(asked["passed"])
    words = {True: "✔ yes", False: "✖ no", None: "? unknown"}
    for row in asked.iter_rows(named=True):
        line = (
            f"{row['gate']} {words[row['passed']]} {number(row['value'])} {number(row['threshold'])} {count(row['n'])} "
            f"{row['comparison']} {row['reason']}"
        )
        assert line in page.text, line


def test_families_are_compared_with_their_intervals(page: Page, evidence: Evidence) -> None:
    assert ordered_families(evidence) == ["lstm_v5", "logistic_v5", "logistic_v4", "lstm_v4", "lstm_v6"]
    for family in NOISE:
        m = dict(evidence.metrics.filter(pl.col("family") == family).select("metric", "value").iter_rows())
        low, point, high = (f"{100 * m[n]:.2f} %" for n in ("accuracy_low_frac", "accuracy_frac", "accuracy_high_frac"))
        assert f"{point} {low} to {high}" in page.text
        for pct in (50, 20, 10, 5):
            assert f"{100 * m[f'accuracy_top_{pct}_frac']:.2f} % n_eff {count(m[f'n_eff_top_{pct}'])}" in page.text
    drawn = page.figures["accuracy"]["data"][0]
    assert drawn["y"] == list(NOISE) and all(w > 0 for w in drawn["error_x"]["array"])


def test_what_is_missing_is_said(page: Page) -> None:
    assert "lstm_v4 : not trained: 12 complete labelled rows" in page.text
    assert "lstm_v6 : its model of that day was never built" in page.text
    assert "without a learning curve: logistic_v5, logistic_v4." in page.text
    assert {n for n in page.figures if n.startswith(("loss", "learnt"))} == {"loss-lstm_v5", "learnt-lstm_v5"}


def test_learning_curves_mark_the_best_epoch(page: Page) -> None:
    loss = page.figures["loss-lstm_v5"]
    for trace, name in zip(loss["data"], ("fit_loss", "stop_loss"), strict=True):
        assert trace["y"] == pytest.approx([h[name] for h in HISTORY], abs=1e-6)
    assert loss["layout"]["shapes"][0]["x0"] == 3 and "best epoch 3 of 5, loss 0.664" in page.text


def test_the_reliability_diagram_is_that_of_the_predictions(page: Page, evidence: Evidence) -> None:
    _, observed, spread = page.figures["reliability-lstm_v5"]["data"]
    known = evidence.predictions.filter(pl.col("family") == "lstm_v5")["p_up_15m"].is_not_null().sum()
    assert sum(spread["y"]) == known == 4 * 1440 - 15
    assert len(observed["x"]) == 15 and observed["y"][0] < 0.4 < 0.6 < observed["y"][-1]
    # 96 labels a day do not overlap: a bin of 383 minutes counts as 26 labels, not as 383.
    error = observed["error_y"]
    assert min(a + b for a, b in zip(error["array"], error["arrayminus"], strict=True)) > 0.15


def test_each_test_day_has_its_accuracy(page: Page, evidence: Evidence) -> None:
    drawn = {t["name"]: t for t in page.figures["daily"]["data"]}
    rows = evidence.predictions.filter(pl.col("family") == "lstm_v5").drop_nulls("p_up_15m")
    right = (rows["p_up_15m"] > 0.5) == (rows["y_up_15m"] == 1)
    by_day = rows.select("test_day", right=right).group_by("test_day").agg(pl.col("right").mean()).sort("test_day")
    assert drawn["lstm_v5"]["x"] == [str(d) for d in by_day["test_day"]]
    assert drawn["lstm_v5"]["y"] == pytest.approx(by_day["right"].to_list(), abs=1e-6)


def test_the_calendar_shows_each_state_and_what_the_day_was_used_for(page: Page) -> None:
    cells = [a["title"] for tag, a in page.elements if tag == "td" and a.get("title")]
    assert len(cells) == 2 * 9
    for day, state in enumerate(("partial", "missing", "not licensed", "empty", "never built", "complete"), 18):
        assert f"raw/tardis_trades 2023-11-{day}: {state}" in cells
    assert "used for fit stop calibrate model day test" in page.text and "4 of 9" in page.text and "9 of 9" in page.text


def test_inputs_are_shown_with_their_nulls(page: Page, evidence: Evidence) -> None:
    minis = [a for tag, a in page.elements if tag == "figure" and a.get("class") == "mini"]
    assert len(minis) == len(evidence.inputs) and "rsi" in page.text and "25.0 % null" in page.text


def test_provenance_names_versions_seed_weights_and_run(page: Page) -> None:
    for said in ("4711", "c0de", "rate 0.0005", "2023-11-18 to 2023-11-19", "sha-of-lstm_v5", "run-of-logistic_v4", "shown all the same",
                 "features/labels 11 11 11 30", "promotion/promoted_model – – – 4"):  # fmt: skip
        assert said in page.text, said
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    assert "http://127.0.0.1:3002/#/runs/run-of-lstm_v5" in links


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form")
        for name in ("src", "srcset", "data", "action"):
            assert name not in attributes, f"<{tag} {name}>"
        assert tag == "a" or "href" not in attributes
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_every_chart_has_words_and_every_part_a_heading(page: Page) -> None:
    plots = [a for tag, a in page.elements if "data-chart" in a]
    assert len(plots) == len(page.figures) == 8 and all(a["role"] == "img" and a["aria-label"] for a in plots)
    parts = [a for tag, a in page.elements if tag == "section"]
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert len(parts) == 9 and all(a["aria-labelledby"] in ids for a in parts)
    assert {a["href"] for tag, a in page.elements if tag == "a" and a["href"].startswith("#")} == {
        f"#{a['id']}" for a in parts
    }


EVIL = "<script>alert(1)</script>\"'&</script><img src=x onerror=alert(2)>"


def test_evil_text_stays_text(evidence: Evidence, page: Page) -> None:
    def spoilt(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("family").replace("lstm_v5", EVIL))

    verdict = spoilt(evidence.verdict).with_columns(reason=pl.lit(EVIL), comparison=pl.lit(EVIL))
    models = {EVIL if f == "lstm_v5" else f: m for f, m in evidence.models.items()}
    models[EVIL] = model(EVIL, history=json.dumps(HISTORY), mlflow_run_id=EVIL, weights_sha256=EVIL)
    models["lstm_v4"] = model("lstm_v4", state="not_trained", reason=EVIL, manifest=None)
    text = render(
        replace(
            evidence, symbol=EVIL, market=EVIL, verdict=verdict, models=models, metrics=spoilt(evidence.metrics),
            predictions=spoilt(evidence.predictions),
        )
    )  # fmt: skip
    assert "<script>alert" not in text and "<img" not in text.replace(plotly_js(), "")
    evil = Page(text)
    assert sorted(t for t, _ in evil.elements) == sorted(t for t, _ in page.elements)
    assert EVIL in "".join(evil.words) and "<" not in evil.figures["daily"]["data"][0]["name"]


def test_a_symbol_without_any_candidate_has_a_page_that_says_so(evidence: Evidence) -> None:
    empty = replace(
        evidence,
        verdict=no_candidate(SYMBOL, DAY),
        metrics=evidence.metrics.clear(),
        predictions=evidence.predictions.clear(),
        models={
            "logistic_v4": model("logistic_v4", state="not_trained", reason="no rows", manifest=None),
            "lstm_v5": None,
        },
        inputs=(),
        features=pl.DataFrame(),
    )
    page = Page(render(empty))
    assert page.figures == {}
    for said in (
        "? INSUFFICIENT", "no family could be trained", "No gate was asked", "logistic_v4 : not trained: no rows",
        "No family was evaluated", "No model was trained.", "there is no calibration to show", "There is no prediction on the test days",
        "No family was chosen", "raw/tardis_trades",
    ):  # fmt: skip
        assert said in page.text, said


def test_a_family_without_scored_rows_and_numbers_that_are_unknown_are_said(evidence: Evidence) -> None:
    """One test day without labels: no interval, no calibration, and no gate can pass."""
    rows = evidence.predictions.with_columns(y_up_15m=pl.lit(None, pl.Int8))
    numbers = metrics(rows)
    found = candidates(numbers, LIMITS)
    page = Page(
        render(
            replace(
                evidence, predictions=rows, metrics=numbers, verdict=verdict_rows(found, choose(found), SYMBOL, DAY)
            )
        )
    )
    assert "INSUFFICIENT unknown unknown unknown" in page.text and "unknown to" not in page.text
    assert "? INSUFFICIENT" in page.text and "? unknown" in page.text and "there is no calibration to show" in page.text


def test_the_same_evidence_gives_the_same_bytes(evidence: Evidence) -> None:
    assert render(evidence) == render(evidence)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light")])
def test_a_browser_draws_it_on_a_phone_in_the_dark_and_on_paper(
    evidence: Evidence, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(evidence))
    shown = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    said, asked = [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(file.as_uri())
    assert shown.locator(".plot > .plot-container").count() == 8
    assert said == [] and asked == [file.as_uri()], "it complains, or loads something"
    assert shown.evaluate("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    text, tick = "getComputedStyle(document.body).color", "getComputedStyle(document.querySelector('.xtick text')).fill"
    assert (
        shown.evaluate(text)
        == shown.evaluate(tick)
        == {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 233, 237)"}[scheme]
    )
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": 690, "height": 900})
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.evaluate("document.documentElement.scrollWidth") == 690, "the paper is too narrow"
    assert shown.evaluate(text) == shown.evaluate(tick) == "rgb(27, 31, 36)"
    assert shown.locator("details:not([open])").count() == 0
    shown.close()
