"""The notebooks run from top to bottom, and are stored as a person begins them: without outputs."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the tools for notebooks are not installed")
nbclient = pytest.importorskip("nbclient", reason="the tools for notebooks are not installed")
pytest.importorskip("ipykernel", reason="the tools for notebooks are not installed")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
MODULES = {"pytorch": "torch", "jax": "jax", "tensorflow": "tensorflow"}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=getattr(pytest.mark, MODULES[path.stem]), id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(MODULES[path.stem], reason=f"{MODULES[path.stem]} is not installed")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")  # else TensorFlow says at length that it uses them
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    shown = [
        output for output in outputs if output.output_type == "display_data" or output.output_type == "execute_result"
    ]
    assert sum("image/png" in output.data or "<img" in output.data.get("text/html", "") for output in shown) >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_asks_for_nothing(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert "http" not in cell.source
        assert "pip install" not in cell.source


def test_there_is_one_for_each_framework() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(MODULES)
