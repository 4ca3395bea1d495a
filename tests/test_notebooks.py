"""Every notebook runs from top to bottom, and is stored with what it showed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # of the kernel's libraries
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    stored = [[output.output_type for output in cell.get("outputs", ())] for cell in notebook.cells]
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert [[output.output_type for output in cell.get("outputs", ())] for cell in notebook.cells] == stored
    assert any(stored)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
