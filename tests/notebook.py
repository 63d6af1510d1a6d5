"""Executes the notebook, and as a program writes it anew with its outputs."""

import matplotlib.font_manager  # noqa: F401 - builds matplotlib's cache now, or the notebook would report that it does
import nbformat
from nbclient import NotebookClient

from tests.running import ROOT

NOTEBOOK = ROOT / "include" / "notebooks" / "preprocessing.ipynb"
REFRESH = "PYTHONPATH=include .venv/bin/python -m tests.notebook"
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read() -> nbformat.NotebookNode:
    """Return the notebook as it is in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook with fresh outputs, and without what differs from machine to machine.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    fresh = nbformat.from_dict(notebook)
    client = NotebookClient(
        fresh,
        timeout=1200,
        record_timing=False,
        coalesce_streams=True,  # otherwise the machine's pace divides what a cell prints
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    client.execute()
    fresh.metadata = nbformat.from_dict({"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    return fresh


if __name__ == "__main__":
    nbformat.write(execute(read()), NOTEBOOK)
