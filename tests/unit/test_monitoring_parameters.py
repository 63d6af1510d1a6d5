"""The parameters of a monitoring run."""

from dataclasses import replace

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
        ({"outcomes": "relative.csv"}, "is no source of outcomes"),
        ({"outcomes": "postgres:Outcomes"}, "is no source of outcomes"),
        ({"outcomes": "/data/x.csv", "query": "SELECT 1"}, "takes no query"),
        ({"outcomes": "postgres:visits", "query": "SELECT 1"}, "takes no query"),
    ],
)
def test_what_is_refused(given: dict[str, object], what: str) -> None:
    with pytest.raises(ParameterError, match=what):
        parameters.check(given)


def test_what_is_given_and_the_defaults() -> None:
    parameters.check({"day": "2026-03-01", "outcomes": "postgres:ward.outcomes"})
    assert parameters.chosen({"day": "2026-03-01"}) == {"day": "2026-03-01", "outcomes": None, "query": None}


def test_the_usual_query_belongs_to_the_usual_source(monkeypatch) -> None:
    usual = {"outcomes": "postgres", "query": "SELECT * FROM visits"}
    with_defaults = tuple(replace(one, default=usual.get(one.name)) for one in parameters.PARAMETERS)
    monkeypatch.setattr(parameters, "PARAMETERS", with_defaults)
    assert parameters.chosen({})["query"] == usual["query"]
    assert parameters.chosen({"outcomes": "/data/x.csv"})["query"] is None
    assert parameters.chosen({"outcomes": "postgres:visits", "query": None})["query"] is None
    assert parameters.chosen({"outcomes": "postgres", "query": "SELECT 2"})["query"] == "SELECT 2"


def test_the_documentation_has_the_table() -> None:
    assert parameters.markdown() in (ROOT / "dags" / "README.md").read_text(), (
        "copy the output of heartline.parameters.monitoring.markdown() into dags/README.md"
    )
