"""The platform as declared: the graph, the dictionary, the walls between layers, the settings."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from crpbot_dagster import assets, settings
from crpbot_dagster.assets.bars.assets import MARKET_1M_LINEAGE
from crpbot_dagster.assets.checks import column_lineage
from crpbot_dagster.assets.features.sets import SETS
from crpbot_dagster.definitions import defs
from crpbot_dagster.resources.sql_models import MODELS, ModelError, assertions, read_model
from crpbot_dagster.settings import PROJECT, SettingsError, unknown_variables
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import bounds

PACKAGE = PROJECT / "crpbot_dagster"
SNAPSHOT = Path(__file__).parent / "graph.json"


def graph() -> dict[str, dict[str, object]]:
    """Every asset with what it reads, its checks and its face in the UI."""
    found: dict[str, dict[str, object]] = {}
    for spec in sorted(defs.resolve_all_asset_specs(), key=lambda s: s.key):
        table = TABLES["/".join(spec.key.path)]
        found["/".join(spec.key.path)] = {
            "group": spec.group_name,
            "reads": sorted("/".join(d.asset_key.path) for d in spec.deps),
            "owners": list(spec.owners),
            "kinds": sorted(spec.kinds),
            "checks": {c.name: "blocks" if c.blocking else "warns" for c in table.checks},
            "columns": len(table.columns),
        }
    return found


def test_the_graph_is_the_snapshot() -> None:
    """To accept a change: python tests/graph/test_platform.py."""
    assert graph() == json.loads(SNAPSHOT.read_text())


def test_definitions_load_and_validate() -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_table_has_an_asset_and_every_asset_a_table() -> None:
    made = set(graph())
    assert made == {name for name in TABLES if name != "raw/quarantine"}


def test_the_route_lists_every_asset_on_disk() -> None:
    listed = {"/".join(a.key.path) for stage in assets.ROUTE.values() for a in stage}
    assert listed == set(graph())
    for path in (PACKAGE / "assets").glob("*/*.py"):
        text = path.read_text()
        if "@table_asset(" in text:
            stage = path.parent.name
            assert stage in assets.ROUTE, f"{path} is in no stage of the route"
    for stage, made in assets.ROUTE.items():
        for asset in made:
            assert asset.key.path[0] == stage and asset.group_names_by_key[asset.key] == stage


def test_every_asset_is_documented_partitioned_and_owned_once() -> None:
    for asset in (a for stage in assets.ROUTE.values() for a in stage):
        spec = asset.specs_by_key[asset.key]
        assert spec.description and spec.description.startswith("One row "), asset.key
        assert len(spec.owners) == 1 and 1 <= len(spec.kinds) <= 2
        assert spec.code_version is not None
        whole_market = TABLES["/".join(asset.key.path)].is_market_wide
        kind = dg.DailyPartitionsDefinition if whole_market else dg.MultiPartitionsDefinition
        assert isinstance(spec.partitions_def, kind)
        assert "dagster/column_schema" in spec.metadata
        for check in asset.check_specs:
            assert check.partitions_def == spec.partitions_def


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_is_described(table) -> None:
    assert table.grain and table.key and table.columns
    assert set(table.partition) <= set(table.schema) and "day" in table.partition
    assert set(table.key) <= set(table.schema)
    for c in table.columns:
        assert c.text, f"{table.name}.{c.name} has no description"
        bounds(c.range)
        if c.transform:
            assert c.reach is not None and c.reads and c.group, c.name


def test_the_same_column_has_the_same_unit_everywhere() -> None:
    units: dict[str, set[str]] = {}
    for table in TABLES.values():
        for c in table.columns:
            units.setdefault(c.name, set()).add(c.unit)
    different = {n: u for n, u in units.items() if len(u) > 1 and n not in ("value", "text")}
    assert different == {}


def test_market_1m_has_its_dependencies_and_lineage() -> None:
    asset = next(a for a in assets.ROUTE["bars"] if a.key.path[-1] == "market_1m")
    assert {"/".join(k.path) for k in asset.dependency_keys} == {"bars/trades_1m", "bars/book_1m"}
    lineage = MARKET_1M_LINEAGE.deps_by_column
    assert [(d.asset_key.path[-1], d.column_name) for d in lineage["close_diff_bps"]] == [("trades_1m", "close")]
    assert [(d.asset_key.path[-1], d.column_name) for d in lineage["mid"]] == [("book_1m", "mid")]


def test_the_coverage_of_features_lists_every_feature_of_every_set() -> None:
    of_sets = {
        (f"features/{name}", c.name) for name in ("v5", "v6", "mean_reversion") for c in SETS[name].table.features
    }
    assert set(read_model(MODELS / "features/coverage.sql").lineage["valid_n"]) == of_sets
    assert {t.table.name for t in SETS.values()} - {t for t, _ in of_sets} == {"features/v4"}, "part of V5"


def test_every_feature_names_columns_that_exist_as_its_origin() -> None:
    for name in ("features/v4", "features/v5", "features/v6", "features/mean_reversion"):
        lineage = column_lineage(TABLES[name])["dagster/column_lineage"].deps_by_column
        for column, deps in lineage.items():
            for dep in deps:
                assert dep.column_name in TABLES["/".join(dep.asset_key.path)].schema, f"{name}.{column}"
        bare = {c.name for c in TABLES[name].features} - set(lineage)
        assert all(TABLES[name].column(c).reads in (("ts",), ("CAL",)) for c in bare), bare
    assert column_lineage(TABLES["bars/daily"]) == {}


def test_every_sql_assertion_is_a_declared_check() -> None:
    for path in (MODELS / "assert").glob("*.sql"):
        owners = [t for t in TABLES if path in assertions(t)]
        assert len(owners) == 1
        assert path.stem in {m.name for m in TABLES[owners[0]].rules}


def test_a_wrong_column_in_a_sql_model_is_found_with_file_and_line(monkeypatch, tmp_path) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    good = (MODELS / "bars" / "market_1m.sql").read_text()
    broken = folder / "market_1m.sql"
    monkeypatch.setattr("crpbot_dagster.resources.sql_models.MODELS", tmp_path)
    for right, wrong, word in (
        ("book.mid as mid", "book.middle as mid", "middle"),
        ("book.mid as mid", "book.close as mid", "close"),  # a column of others: ticks and candles have it
        ("candles.close as candle_close", "candles.mid as candle_close", "mid"),
        ("candles.volume as candle_volume", "candles.v as candle_volume", "v"),
        ("= book.venue and", "= book.place and", "place"),
        ("select venue, ts, mid", "select venue, ts, middle as mid", "middle"),
        ("from bars.book_1m", "from bars.book_2m", "no table bars/book_2m"),
    ):
        assert good.count(right) == 1
        broken.write_text(good.replace(right, wrong))
        line = next(i for i, text in enumerate(broken.read_text().splitlines(), 1) if wrong in text)
        with pytest.raises(ModelError, match=rf"market_1m.sql: line {line}: .*{word}"):
            read_model(broken)
        read_model.cache_clear()
    broken.write_text(good.replace("    book.mid as mid,\n", ""))
    with pytest.raises(ModelError, match=r"market_1m.sql: line \d+: bars/market_1m needs the columns mid"):
        read_model(broken)
    read_model.cache_clear()


def test_a_wrong_column_in_an_assertion_is_found_when_its_model_is_read(monkeypatch, tmp_path) -> None:
    for name in ("bars/market_1m.sql", "assert/market_1m_mid_near_trades.sql"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text((MODELS / name).read_text().replace("tick_close - 1", "tick_price - 1"))
    monkeypatch.setattr("crpbot_dagster.resources.sql_models.MODELS", tmp_path)
    with pytest.raises(ModelError, match=r"market_1m_mid_near_trades.sql: line 4: .*tick_price"):
        read_model(tmp_path / "bars/market_1m.sql")
    read_model.cache_clear()


STAGE_ORDER = list(assets.ROUTE)


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return found


def test_imports_run_down_the_route() -> None:
    for path in (PACKAGE / "assets").glob("*/*.py"):
        own = STAGE_ORDER.index(path.parent.name)
        for module in imports_of(path):
            if module.startswith("crpbot_dagster.assets.") and module.count(".") >= 3:
                stage = module.split(".")[2]
                assert STAGE_ORDER.index(stage) <= own, f"{path.name} imports {module}, a later stage"


def test_layers_do_not_leak() -> None:
    for path in (PACKAGE / "tables").glob("*.py"):
        own = {m for m in imports_of(path) if m.startswith("crpbot_dagster")}
        assert all(m.startswith("crpbot_dagster.tables") for m in own), path
    for path in (PACKAGE / "resources").glob("*.py"):
        own = {m for m in imports_of(path) if m.startswith("crpbot_dagster")}
        assert all(m.startswith(("crpbot_dagster.tables", "crpbot_dagster.resources")) for m in own), path
    readers = {p.name for p in PACKAGE.rglob("*.py") if "os.environ" in p.read_text()}
    assert readers <= {"settings.py", "instance.py", "experiments.py", "serve.py"}


def test_files_stay_small_and_modules_say_what_they_are() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(PROJECT / "tests").rglob("*.py")]:
        text = path.read_text()
        assert text.count("\n") <= 450, f"{path} is longer than 450 lines"
        if PACKAGE in path.parents:
            assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_only_labels_and_fills_read_the_future() -> None:
    """lessons 22: a negative shift or a lead anywhere else is a leak."""
    for path in (PACKAGE / "assets").rglob("*.py"):
        text = path.read_text()
        if path.name != "labels.py":
            assert "shift(-" not in text and "def lead(" not in text, path


def test_definitions_load_without_the_heavy_libraries() -> None:
    script = (
        "import sys, crpbot_dagster.definitions as d; d.defs.resolve_all_asset_specs();"
        "print([m for m in ('torch', 'mlflow', 'great_expectations', 'ccxt', 'lightgbm', 'sklearn', 'scipy.special', 'tardis_dev',"
        " 'matplotlib', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_and_contradicting_settings_are_errors(environment) -> None:
    assert unknown_variables({"CRPBOT_GATE_ACURACY": "0.9", "CRPBOT_SEED": "1", "PATH": ""}) == ["CRPBOT_GATE_ACURACY"]
    with pytest.raises(SettingsError, match="unknown settings CRPBOT_GATE_ACURACY"):
        environment(gate_acuracy="0.9")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"market": "recordings"}, "CRPBOT_RECORDINGS"),
        ({"gate_tune_accuracy": "0.7"}, "must not exceed"),
        ({"gate_accuracy": "1.2"}, "less than 1"),
        ({"bootstrap_draws": "10"}, "greater than or equal to 1000"),
        ({"market": "moon"}, "sandbox"),
        ({"taker_fee_bps": '{"coinbase": 60, "krakn": 26}'}, "no book of krakn is read"),
        ({"taker_fee_bps": '{"coinbase": Infinity}'}, "finite"),
        ({"taker_fee_bps": '{"coinbase": -1}'}, "greater than or equal to 0"),
    ],
)
def test_contradicting_settings_are_errors(environment, values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        environment(**values)


def test_env_example_lists_every_setting_once() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    listed = [
        line.lstrip("#").partition("=")[0].removeprefix("CRPBOT_").lower()
        for line in lines
        if line.startswith("#CRPBOT_")
    ]
    assert sorted(listed) == sorted(settings.Settings.model_fields)


def test_every_version_is_pinned_and_nothing_names_an_address() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    assert lines and all("==" in line and "@" not in line and "/" not in line for line in lines)


def test_the_data_dictionary_is_current() -> None:
    from crpbot_dagster.docs import data_dictionary

    assert (PROJECT / "docs" / "data_dictionary.md").read_text() == data_dictionary(), "run: make docs"


def test_every_source_has_a_card_and_the_document_is_current() -> None:
    from crpbot_dagster.assets import SOURCE_MODULES
    from crpbot_dagster.docs import sources

    asked_for = ("What", "Since", "licence", "price", "Clock", "Limits", "Known faults")
    for module in SOURCE_MODULES:
        card = (module.__doc__ or "").lower()
        assert [w for w in asked_for if w.lower() not in card] == [], module.__name__
    assert (PROJECT / "docs" / "sources.md").read_text() == sources(), "run: make docs"


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(graph(), indent=1, sort_keys=True) + "\n")
