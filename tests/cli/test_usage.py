"""What every verb says of itself, and what it says of a mistake: in process, so that all of them can be asked."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from crpbot_dagster import settings
from crpbot_dagster.cli import app
from crpbot_dagster.instance import lake_of
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.papers import PAPERS

Ask = Callable[..., Result]
DAY = date(2024, 1, 1)


@pytest.fixture
def ask(environment) -> Ask:
    """``crpbot`` on an empty state."""
    environment()
    runner = CliRunner()
    return lambda *words: runner.invoke(app, words, env={"COLUMNS": "200"})


@pytest.fixture
def ask_days(ask: Ask, environment) -> Ask:
    """``crpbot`` on a lake with sixty days of bars/daily."""
    lake, table = lake_of(environment()), TABLES["bars/daily"]
    rows = [dict.fromkeys(table.schema) | {"symbol": "BTC-USD", "day": DAY + timedelta(i), "close": 100.0 + i}
            for i in range(60)]  # fmt: skip
    frame = pl.DataFrame(rows, schema=table.schema)
    lake.check_stamp()
    lake.create(table.name)
    frame.write_delta(lake.path(table.name), mode="append")
    return ask


def verbs() -> list[tuple[str, ...]]:
    def below(command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = getattr(command, "commands", None)
        return [path] if found is None else [w for n, c in found.items() for w in below(c, (*path, n))]

    return below(typer.main.get_command(app), ())


def said(done: Result) -> str:
    return " ".join((done.output).split())


def test_the_verbs_are_these() -> None:
    assert sorted(" ".join(v) for v in verbs()) == [
        *(
            "alerts test",
            "analyse",
            "backfill",
            "compare",
            "demo",
            "dev",
            "doctor",
            "evaluate",
            "explain",
            "promote",
            "report",
        ),
        *("rollback", "run", "sandbox serve", "sql", "train"),
    ]


@pytest.mark.parametrize("verb", [(), *verbs()], ids=" ".join)
def test_help_fits_a_screen_and_has_an_example(ask: Ask, verb: tuple[str, ...]) -> None:
    done = ask(*verb, "--help")
    assert done.exit_code == 0 and done.stdout.count("\n") <= 40
    if verb:
        assert f"Example: crpbot {' '.join(verb)}" in said(done)


USAGE = [
    (("run", "--symbols", "DOGE-USD"), "unknown symbol DOGE-USD: the settings have BTC-USD, ETH-USD, SOL-USD"),
    (("run", "--from", "yesterday"), "is not a day"),
    (("run", "--from", "2023-11-20", "--to", "2023-11-18"), "lies before"),
    (("run", "--from", "2020-01-01", "--to", "2020-01-02"), "start day"),
    (("run", "--until", "riches"), "is no stage"),
    (("run", "--from", "2023-11-20", "--to", "2023-11-22"), "a verdict on 2023-11-22 needs features from"),
    (("backfill", "--from", "2023-11-20"), "Missing option '--to'"),
    (("backfill", "--from", "2023-11-20", "--to", "2023-11-31"), "--to '2023-11-31' is not a day"),
    (("backfill", "--from", "2023-11-20", "--to", "2999-01-01"), "not over yet"),
    (("backfill", "--from", "0001-01-01", "--to", "2023-11-20"), "start day"),
    (("train", "DOGE"), "unknown coin DOGE: the settings have BTC-USD, ETH-USD, SOL-USD"),
    (("train", "BTC", "--family", "oracle"), "--family 'oracle' is none: logistic_v4"),
    (("train", "BTC", "--epochs", "0"), "x>=1"),
    (("train", "BTC", "--to", "2023-11-20"), "lies before the start day"),
    (("evaluate", "btc", "--to", "soon"), "is not a day"),
    (("explain", "features/v5.rsx"), "no column 'rsx' in features/v5: did you mean rsi?"),
    (("explain", "spread_bp"), "did you mean spread_bps"),
    (("explain", "features/v7.rsi"), "no table 'features/v7': did you mean features/v"),
    (("sql", "select 1", "--csv", "--json"), "choose one"),
    (("sandbox", "serve", "--recordings", "nowhere"), "no such folder"),
    (("analyse", "v9", "--symbol", "BTC"), "no feature set 'v9': v4, v5"),
    (("analyse", "v5"), "Missing option '--symbol'"),
    (("fly",), "No such command"),
]


@pytest.mark.parametrize(("words", "says"), USAGE, ids=[" ".join(w) for w, _ in USAGE])
def test_a_mistake_is_named_and_exits_with_usage(ask: Ask, words: tuple[str, ...], says: str) -> None:
    done = ask(*words)
    assert done.exit_code == 2, done.output
    assert says in said(done)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "BTC"), "BTC-USD: models/logistic_v4, "),
        (("evaluate", "BTC"), "First: crpbot train BTC-USD"),
        (("promote", "BTC-USD"), "evaluations/metrics: none yet. First: crpbot evaluate BTC-USD"),
        (("report", "BTC"), "promotion/promoted_model: none yet. First: crpbot promote BTC-USD"),
        (
            ("analyse", "v5", "--symbol", "BTC"),
            "BTC-USD: no day holds features/v5 and features/labels. First: crpbot backfill",
        ),
        (("sql", "select 1"), "is empty. First: crpbot demo, or crpbot backfill"),
    ],
)
def test_missing_data_is_named_with_the_verb_that_makes_it(ask: Ask, words: tuple[str, ...], says: str) -> None:
    done = ask(*words)
    assert done.exit_code == 3, done.output
    assert says in said(done)


def test_a_wrong_setting_is_named(ask: Ask, monkeypatch) -> None:
    monkeypatch.setenv("CRPBOT_GATE_ACURACY", "0.9")
    settings.load.cache_clear()
    done = ask("doctor")
    assert done.exit_code == 2 and "unknown settings CRPBOT_GATE_ACURACY" in said(done)


def test_sql_shows_fifty_rows_and_says_how_many_there_are(ask_days: Ask) -> None:
    done = ask_days("sql", "select day, close from bars.daily order by day")
    assert done.exit_code == 0 and "60 rows, the first 50 shown: --csv prints all" in done.stdout
    assert "2024-02-19" in done.stdout and "2024-02-20" not in done.stdout
    assert "1 rows" in ask_days("sql", "select count(*) from bars.daily").stdout


def test_sql_prints_all_rows_for_machines(ask_days: Ask) -> None:
    query = "select day, close, 'nan'::double as x, 'a'::blob as b from bars.daily order by day"
    lines = ask_days("sql", query, "--csv").stdout.splitlines()
    assert len(lines) == 61 and lines[:2] == ["day,close,x,b", "2024-01-01,100.0,,61"]
    rows = json.loads(ask_days("sql", query, "--json").stdout)
    assert len(rows) == 60 and rows[0] == {"day": "2024-01-01", "close": 100.0, "x": None, "b": "61"}
    assert json.loads(ask_days("sql", "select day from bars.daily where day > '2030-01-01'", "--json").stdout) == []


def test_sql_names_the_tables_when_a_name_is_wrong(ask_days: Ask) -> None:
    done = ask_days("sql", "select * from bars.dayly")
    assert done.exit_code == 2 and "no table dayly. Did you mean bars.daily? The lake has bars.daily" in said(done)
    refused = ask_days("sql", "select * from read_csv('/etc/passwd')")
    assert refused.exit_code == 2 and "root:" not in refused.output


def test_explain_says_what_a_feature_is(ask: Ask) -> None:
    text = said(ask("explain", "rsi"))
    for words in ("100·U/(U+D)", "[0, 100]", "bars/trades_1m.close", "271 minutes", "below 80 % of weights", "as_is",
                  "Wilder (1978)", "features/v4, features/v5"):  # fmt: skip
        assert words in text, words
    (fact,) = json.loads(ask("explain", "features.v5.rsi", "--json").stdout)
    assert (fact["column"], fact["unit"], fact["tables"]) == ("rsi", "1", "features/v5")
    assert json.loads(ask("explain", "v5.rsi", "--json").stdout) == [fact]


def test_explain_says_how_far_a_slow_feature_reads_and_what_its_formula_points_at(ask: Ask) -> None:
    (slow,) = json.loads(ask("explain", "v6.funding_z_30d", "--json").stdout)
    assert slow["reach"].startswith("1 minute, ") and "of slow rows" in slow["reach"]
    (same,) = json.loads(ask("explain", "v6.vwap_dev_bps_1h", "--json").stdout)
    assert same["formula"].startswith("as V5 #47; V5 #47 is vwap_dev_bps_1h = 10⁴·ln(")
    (own,) = json.loads(ask("explain", "v6.gap_kraken_z_1h", "--json").stdout)
    assert "#13 is gap_kraken_bps = 10⁴·ln(" in own["formula"]


def test_explain_tells_the_coverage_of_a_feature(ask: Ask, environment) -> None:
    assert json.loads(ask("explain", "v4.rsi", "--json").stdout)[0]["coverage"] == "never materialised"
    lake, table = lake_of(environment()), TABLES["features/v4"]
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [dict.fromkeys(table.schema) | {"symbol": "BTC-USD", "day": DAY, "venue": "coinbase", "rsi": i,
                                           "ts": start + timedelta(minutes=i or 0)} for i in (None, 1.0, 2.0, 3.0)]  # fmt: skip
    lake.check_stamp()
    lake.create(table.name)
    pl.DataFrame(rows, schema=table.schema).write_delta(lake.path(table.name), mode="append")
    text = said(ask("explain", "v4.rsi"))
    assert "BTC-USD, 2024-01-01 to 2024-01-01: null in 25.00 % of the minutes" in text


def test_a_column_with_two_meanings_has_two_explanations(ask: Ask) -> None:
    facts = json.loads(ask("explain", "close", "--json").stdout)
    assert len(facts) > 1
    listed = [t for fact in facts for t in fact["tables"].split(", ")]
    assert sorted(listed) == sorted(t.name for t in TABLES.values() if "close" in t.schema)


def test_every_paper_that_a_column_names_is_known() -> None:
    named = {c.source for t in TABLES.values() for c in t.columns} - {"", "–", "ours"}
    assert named == set(PAPERS)
