"""The notebook runs, and shows what is stored in it: texts and pictures, no messages."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def outputs(notebook):
    """Return the printed text of all cells, and the types of their other outputs."""
    found = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    text = "".join(one.text for one in found if one.output_type == "stream")
    assert not [one for one in found if one.get("name") == "stderr" or one.output_type == "error"]
    return text, [sorted(one.data) for one in found if one.output_type != "stream"]


@pytest.mark.slow
def test_the_notebook_runs_as_stored(tmp_path):
    stored = nbformat.read(NOTEBOOK, as_version=4)
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    # It finds the project in the folder above the one that it runs in.
    (tmp_path / "examples").mkdir()
    for one in NOTEBOOK.parents[1].glob("*.py"):
        (tmp_path / one.name).symlink_to(one)
    (tmp_path / "wrn3d").symlink_to(NOTEBOOK.parents[1] / "wrn3d")
    NotebookClient(fresh, resources={"metadata": {"path": tmp_path / "examples"}}).execute()
    text, others = outputs(fresh)
    before, others_before = outputs(stored)
    assert others == others_before and others.count(["image/png", "text/plain"]) == 2
    assert "replayed to the last bit: True\n" in text and "replayed to the last bit: True" in before
    for printed in (text, before):
        [accuracy] = [line.split()[2] for line in printed.splitlines() if "test accuracy" in line]
        assert float(accuracy.rstrip(",")) > 0.85
    assert (tmp_path / "examples" / "digits.safetensors").is_file()
