"""The example notebook runs from top to bottom on a small lake, and lies in the project without its outputs."""

import json

import nbformat
import pytest
from nbclient import NotebookClient
from route.crpbot import Crpbot

from crpbot_dagster.settings import PROJECT

PATH = PROJECT / "examples" / "explore.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(PATH.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_notebook_runs_on_a_small_lake(route: Crpbot) -> None:
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(env=route.environment)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    (said,) = [o.text for o in outputs if o.output_type == "stream" and o.name == "stdout"]
    assert said.startswith("BTC-USD: mean of 10 days +")  # the planted signal, with its sign
    assert float(said.split("days ")[1].split(",")[0]) == pytest.approx(0.44, abs=0.1)
    assert any("image/png" in o.get("data", {}) for o in outputs)
    tables = [o.data["text/plain"] for o in outputs if o.output_type == "execute_result"]
    assert "SOL-USD" in tables[0] and "y_ret_15m" in tables[1] and "correlation" in tables[2]
