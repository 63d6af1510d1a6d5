"""The parameters of a monitoring run."""

import pytest

from heartline.errors import ParameterError
from heartline.parameters import monitoring as parameters
from tests.running import ROOT


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"day": "2026-02-30"}, "is no day"),
        ({"day": "yesterday"}, "is no day"),
        ({"day": 20260301}, "not text"),
        ({"days": "2026-03-01"}, "no parameter 'days'"),
    ],
)
def test_what_is_refused(given: dict[str, object], what: str) -> None:
    with pytest.raises(ParameterError, match=what):
        parameters.check(given)


def test_what_is_given_and_the_defaults() -> None:
    parameters.check({"day": "2026-03-01", "outcomes": "postgres:ward.outcomes"})
    assert parameters.chosen({"day": "2026-03-01"}) == {"day": "2026-03-01", "outcomes": None, "query": None}


def test_the_documentation_has_the_table() -> None:
    assert parameters.markdown() in (ROOT / "dags" / "README.md").read_text(), (
        "copy the output of heartline.parameters.monitoring.markdown() into dags/README.md"
    )
