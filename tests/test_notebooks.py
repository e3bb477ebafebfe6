"""The notebooks run from top to bottom in a real kernel, and are kept without outputs."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after its last cell, run where its own folder is, on the demo's photographs."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("configs", "data"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "notebooks").mkdir()
    notebook = nbformat.read(ROOT / "notebooks" / "explore.ipynb", as_version=4)
    NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(folder / "notebooks")}}).execute()
    return notebook


def outputs(notebook: Any, mark: str) -> list[dict[str, Any]]:
    """What the one code cell that holds this text shows, by type of medium."""
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and mark in cell.source]
    return [output["data"] for output in cell.outputs if output["output_type"] != "stream"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    """So that no path and no picture of anybody's machine is in it."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}


def test_the_run_shows_its_progress_below_the_cell(executed: Any) -> None:
    """One display that was brought up to date in place, and that ends with everything settled."""
    progress, result = outputs(executed, "run_async(")
    assert re.fullmatch(r"24/24 items · .* img/s · .* · [\d.]+ s", progress["text/plain"])
    assert '<progress style="width:100%" value="24" max="24"' in progress["text/html"]
    assert re.search(r"'succeeded': 23,\s+'failed': 1,", result["text/plain"])


def test_every_reader_sees_the_same_dataset(executed: Any) -> None:
    """Pyarrow, pandas, polars and DuckDB."""
    [chosen] = outputs(executed, "filter=")
    assert chosen["text/plain"].count("'caption'") == 3
    [failures] = outputs(executed, "failures=True")
    assert "image_corrupt" in failures["text/plain"]
    [frame] = outputs(executed, "to_pandas()")
    assert "photo-" in frame["text/plain"]
    [polars] = outputs(executed, "scan_parquet")
    assert "image/" in polars["text/plain"]
    [licences] = outputs(executed, "by_licence =")
    assert "CC BY 4.0" in licences["text/plain"]
    [bill] = outputs(executed, "bill =")
    assert re.search(r"\b23\b", bill["text/plain"])


def test_the_gallery_shows_pictures_and_captions(executed: Any) -> None:
    """As data within the page."""
    [gallery] = outputs(executed, "def card")
    assert gallery["text/html"].count("data:image/webp;base64,") == 12


def test_nothing_is_written_on_standard_error(executed: Any) -> None:
    """But the warning about the damaged photograph, which is one line."""
    lines = [
        output["text"]
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream" and output["name"] == "stderr"
    ]
    assert "".join(lines).count("\n") <= 1
    assert "Traceback" not in json.dumps(lines)
