"""The parameters of a scoring run."""

import pytest

from heartline.errors import ParameterError
from heartline.parameters import scoring as parameters
from heartline.scoring.reading.layout import ENCODINGS
from heartline.scoring.writing.outputs import FORMATS
from heartline.scoring.writing.table_output import PATTERN
from tests.running import ROOT


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "has no source"),
        ({"source": "nonsense"}, "nonsense"),
        ({"source": "sample", "sauce": 1}, "no parameter 'sauce'"),
        ({"source": "sample", "query": "SELECT 1"}, "query"),
        ({"source": "/a.csv", "version": "latest"}, "not a number"),
        ({"source": "/a.csv", "output": "scores"}, "not a path"),
        ({"source": "/a.csv", "output": "postgres:a;b"}, "not a path"),
        ({"source": "/a.csv", "format": "xlsx"}, "not a choice"),
        ({"source": "/a.csv", "encoding": "auto"}, "not a choice"),
        ({"source": "/a.csv", "mapping": "heart-918", "encoding": "kaggle"}, "both set"),
        ({"source": "/a.csv", "mapping": "nonsense"}, "unknown mapping"),
        ({"source": 1}, "not text"),
        ({"source": "sample:99999999"}, "too many records"),
    ],
)
def test_what_is_refused(given: dict[str, object], what: str) -> None:
    with pytest.raises(ParameterError, match=what):
        parameters.check(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"version": "0"}, "number of a registered version"), ({"output": "postgres:A"}, "postgres:TABLE in lower case")],
)
def test_a_refused_value_says_what_is_expected(given: dict[str, object], expected: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parameters.check({"source": "/a.csv", **given})
    assert expected in caught.value.expected


@pytest.mark.parametrize(
    "given",
    [
        {"source": "/a.csv", "mapping": None, "output": "s3://bucket/scores", "keys": "a, b", "version": "12"},
        {"source": "postgres", "query": "SELECT * FROM t", "output": "postgres:public.scores"},
        {"source": "postgres"},
        {"source": "sample"},
        {"source": "https://example.org/a.parquet", "encoding": "kaggle"},
    ],
)
def test_what_is_accepted(given: dict[str, object]) -> None:
    parameters.check(given)


def test_choices_are_those_of_the_code() -> None:
    known = parameters.by_name()
    assert set(known["encoding"].choices) == set(ENCODINGS)
    assert set(known["format"].choices) == set(FORMATS)
    assert parameters.TABLE == PATTERN


def test_defaults() -> None:
    found = parameters.chosen({"source": "sample", "format": None})
    assert found["format"] == "parquet"
    assert found["encoding"] == "contract"
    assert found["output"] is None


def test_every_parameter_is_in_the_table() -> None:
    text = parameters.markdown()
    assert all(f"| `{name}` |" in text for name in parameters.by_name())
    assert text in (ROOT / "dags" / "README.md").read_text()
