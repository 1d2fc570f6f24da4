"""The notebooks run from top to bottom, and tell what they claim."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Of Jupyter, not of ours: its sockets and event loops are closed by the garbage collector.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=900, kernel_name="python3")
    client.execute(cwd=path.parent)
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    scores = dict(
        (line.split()[0], float(line.split()[-1]))
        for line in text.splitlines()
        if "mean IoU" in line
    )
    assert scores["complete"] > 0.8 and scores["marginal"] > scores["naive"] + 0.2


def test_there_is_one():
    assert "01_missing_annotations" in [path.stem for path in NOTEBOOKS]
