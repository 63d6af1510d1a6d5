"""Executes the notebook; run as a program, it saves the notebook with fresh outputs."""

import matplotlib.font_manager  # noqa: F401 - builds matplotlib's font cache now; otherwise the notebook prints a message about it
import nbformat
from nbclient import NotebookClient

from tests.running import ROOT

NOTEBOOK = ROOT / "include" / "notebooks" / "preprocessing.ipynb"
REFRESH = "PYTHONPATH=include .venv/bin/python -m tests.notebook"
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read() -> nbformat.NotebookNode:
    """Return the notebook from the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook with fresh outputs, without metadata that depends on the machine.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    fresh = nbformat.from_dict(notebook)
    client = NotebookClient(
        fresh,
        timeout=1200,
        record_timing=False,
        coalesce_streams=True,  # otherwise the machine's speed decides how the output of a cell is split
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    client.execute()
    fresh.metadata = nbformat.from_dict({"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    return fresh


if __name__ == "__main__":
    nbformat.write(execute(read()), NOTEBOOK)
