from dataclasses import replace

import jsonschema
import pytest

from heartline import contract
from tests.conftest import ROOT


@pytest.fixture
def validator():
    schema = contract.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def record():
    return {column.name: column.example for column in contract.FEATURES}


def test_examples_make_a_legal_record(validator, record):
    assert list(validator.iter_errors(record)) == []


def test_schema_keeps_the_order_of_the_models_input():
    assert contract.json_schema()["x-features"] == [
        "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ca", "thal"])
def test_optional_values_may_be_null_or_absent(validator, record, name):
    assert validator.is_valid({**record, name: None})
    del record[name]
    assert validator.is_valid(record)


@pytest.mark.parametrize("column", contract.FEATURES, ids=lambda column: column.name)
def test_values_outside_the_contract_are_refused(validator, record, column):
    assert not validator.is_valid({**record, column.name: column.minimum - 1})
    assert not validator.is_valid({**record, column.name: column.maximum + 1})
    assert not validator.is_valid({**record, column.name: "abc"})
    if column.whole:
        assert not validator.is_valid({**record, column.name: column.minimum + 0.5})
    if not column.optional:
        assert not validator.is_valid({**record, column.name: None})


def test_digest_follows_the_content(monkeypatch):
    before = contract.digest()
    wider = replace(contract.COLUMNS[0], maximum=130)
    monkeypatch.setattr(contract, "COLUMNS", (wider, *contract.COLUMNS[1:]))
    assert contract.digest() != before


def test_every_feature_is_either_ordered_or_a_category():
    assert sorted(contract.NUMERIC + contract.CATEGORICAL) == sorted(contract.FEATURE_NAMES)


def test_the_page_in_the_docs_is_current():
    page = (ROOT / "docs" / "contract.md").read_text()
    assert page == contract.markdown(), (
        "run: PYTHONPATH=include .venv/bin/python -m heartline.contract > docs/contract.md"
    )
