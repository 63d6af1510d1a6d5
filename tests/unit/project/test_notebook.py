"""The notebook runs, and what is stored in it is what it says today."""

from typing import Any

import pytest

from tests import notebook

LARGEST = 400_000  # bytes, pictures included: it is to open quickly wherever it is read


@pytest.fixture(scope="module")
def stored():
    return notebook.read()


@pytest.fixture(scope="module")
def fresh(stored):
    return notebook.execute(stored)


def _outputs(found) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return sources and outputs; of a picture, whose bytes differ with the fonts, only that it is there."""
    return [
        (
            cell.source,
            [
                {**one, "data": {**one.data, "image/png": "a picture"}} if "image/png" in one.get("data", {}) else one
                for one in cell.outputs
            ],
        )
        for cell in found.cells
        if cell.cell_type == "code"
    ]


def test_every_cell_says_what_it_said_when_it_was_stored(stored, fresh):
    for before, now in zip(_outputs(stored), _outputs(fresh), strict=True):
        assert now == before, f"the notebook is out of date; read it, then run: {notebook.REFRESH}"


def test_it_was_executed_from_top_to_bottom(stored):
    counts = [cell.execution_count for cell in stored.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_nothing_in_it_is_a_warning_or_belongs_to_a_machine(stored):
    kinds = {(one["output_type"], one.get("name")) for _, outputs in _outputs(stored) for one in outputs}
    assert kinds == {("stream", "stdout"), ("execute_result", None), ("display_data", None)}
    text = notebook.NOTEBOOK.read_text()
    assert [word for word in ("/home/", "/root/", "/tmp/", "Warning", "site-packages") if word in text] == []
    assert stored.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def test_it_stays_small(stored):
    assert notebook.NOTEBOOK.stat().st_size < LARGEST
