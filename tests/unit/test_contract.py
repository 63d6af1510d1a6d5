import ast
import itertools
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from heartline import contract
from heartline.ingestion import encodings
from heartline.ingestion.mapping import choice as mapping_choice
from heartline.ingestion.sample import synthetic
from serving.settings import Settings
from tests.conftest import ROOT

DIGESTS = {  # of each version, in order: lines are added and never changed
    "1.1.0": "636a7281937e09ad7d85ed10758d42b0d4fc9d5382ffde8b7748128c00c66f53",
    "1.2.0": "43a21eff5e37a44d738155971d22058156a68f367a42276e39669cbf47a54411",
}

TEXTS = (".json", ".yaml", ".yml", ".toml", ".html", ".js", ".css", ".sql", ".csv", ".ipynb", ".txt")


@pytest.fixture
def validator():
    schema = contract.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def record():
    return {column.name: column.example for column in contract.FEATURES}


def test_the_examples_are_a_valid_record(validator, record):
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


def test_changed_content_needs_a_new_version():
    assert DIGESTS.get(contract.VERSION) == contract.digest(), (
        "the contract's content has changed: raise VERSION in include/heartline/contract.py, and add a line with it "
        f"and the new digest to DIGESTS in {Path(__file__).name}"
    )
    assert list(DIGESTS)[-1] == contract.VERSION
    assert len(set(DIGESTS.values())) == len(DIGESTS)


@pytest.mark.parametrize("limit", ["MAX_QUARANTINE_SHARE", "MAX_DRIFT"])
def test_a_limit_that_a_run_may_change_is_not_in_the_digest(monkeypatch, limit):
    before = contract.digest()
    monkeypatch.setattr(contract, limit, 0.5)
    assert contract.digest() == before


def test_every_feature_is_either_numeric_or_categorical():
    assert sorted(contract.NUMERIC + contract.CATEGORICAL) == sorted(contract.FEATURE_NAMES)


@pytest.mark.parametrize("column", contract.COLUMNS, ids=lambda column: column.name)
def test_every_column_is_described_in_full(column):
    assert column.title
    assert column.description
    assert column.minimum <= column.example <= column.maximum
    assert bool(column.codes) != bool(column.usual), "a code has labels, a measurement a usual range"
    assert bool(column.unit) == (column.kind == "measurement")
    if column.usual:
        assert column.minimum <= column.usual[0] < column.usual[1] <= column.maximum


@pytest.mark.parametrize("column", contract.COLUMNS, ids=lambda column: column.name)
def test_the_type_of_a_column_holds_every_legal_value(column):
    legal = np.array([*column.codes] or [column.minimum, column.example, column.maximum], dtype="float64")
    assert (legal.astype(column.dtype).astype("float64") == legal).all()
    assert np.issubdtype(column.dtype, np.floating) == (column.optional or not column.whole)


def _lists_of_columns(path: Path) -> list[str]:
    """Return the literals of a module that list columns: collections and texts with at least three names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            names = [one.value for one in node.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        elif isinstance(node, ast.Dict):
            names = [one.value for one in node.keys if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = re.split(r"\W+", node.value)
        if len(set(names) & set(contract.COLUMN_NAMES)) >= 3:
            found.append(ast.unparse(node))
    return found


def _files(pattern: str) -> list[Path]:
    """Return the files in the code folders and their sub-packages."""
    return [path for folder in ("include", "dags", "plugins", "serving") for path in (ROOT / folder).rglob(pattern)]


def test_there_is_no_second_list_of_columns():
    modules = _files("*.py")
    assert len(modules) >= 150
    assert {"heartline/ingestion", "heartline/pipeline", "stack/commands"} <= {
        str(path.parent.relative_to(ROOT / "include")) for path in modules if ROOT / "include" in path.parents
    }
    lists = {str(path.relative_to(ROOT)): found for path in modules if (found := _lists_of_columns(path))}
    codes = lists.pop("include/heartline/ingestion/encodings.py")
    # outside of the columns, and so of the digest: the meaning of a record does not depend on them
    lists.pop("include/heartline/contract.py", None)
    assert set(contract.TOLERANCES) == {one.name for one in contract.FEATURES if one.kind == "measurement"}
    # what a mapping needs to know of single columns: which codes go with disease, and which words are certain
    for module in ("choice", "draft", "vocabulary"):
        lists.pop(f"include/heartline/ingestion/mapping/{module}.py", None)
    assert set(mapping_choice._MORE_DISEASE) <= set(contract.COLUMN_NAMES)
    assert lists == {}
    # the names and codes of the other encoding belong there; each of its columns is a column of the contract
    assert len(codes) == 1
    assert set(encodings.KAGGLE_CODES) | set(encodings.ALIASES.values()) <= set(contract.COLUMN_NAMES)


def test_the_data_files_that_list_columns_are_known():
    texts = {path: path.read_text() for path in _files("*.*") if path.suffix in TEXTS}
    assert len(texts) >= 20
    lists = [
        path for path, text in texts.items() if len(set(re.findall(r"\w+", text)) & set(contract.COLUMN_NAMES)) >= 3
    ]
    assert sorted(str(path.relative_to(ROOT)) for path in lists) == [
        # checked against the contract when they are read, and by tests/unit/ingestion/mapping/test_shipped.py
        "include/heartline/ingestion/mapping/shipped/heart-297.yaml",
        "include/heartline/ingestion/mapping/shipped/heart-918.yaml",
        "include/heartline/ingestion/mapping/shipped/heart-920.yaml",
        "include/heartline/ingestion/mapping/shipped/hospital.yaml",
        "include/heartline/ingestion/sample/cohort_facts.json",  # compared with the contract by the next test
        "include/notebooks/preprocessing.ipynb",  # executed by a test
        "serving/postman_collection.json",  # generated, and kept current by a test
    ]


def test_the_figures_of_the_sample_are_of_the_contracts_columns():
    facts = synthetic.facts()
    kinds = {False: "numeric", True: "categorical"}
    for coded, kind in kinds.items():
        wanted = [column.name for column in contract.FEATURES if bool(column.codes) is coded]
        assert list(facts[kind]) == wanted, (
            f"give {kind} of include/heartline/ingestion/sample/cohort_facts.json these columns"
        )
    assert list(facts["missing_by_disease"]) == [column.name for column in contract.FEATURES if column.optional]
    pairs = [f"{one}~{other}" for one, other in itertools.combinations(contract.NUMERIC, 2)]
    assert {disease: list(by) for disease, by in facts["spearman_by_disease"].items()} == {"0": pairs, "1": pairs}
    assert {name for pair in facts["cramers_v_overall"] for name in pair.split("~")} <= set(contract.FEATURE_NAMES)
    links = {name for link in facts["links_by_disease"] for name in re.findall(r"[a-z]+", link)}
    assert links - {"p", "mean", "by", "male", "female"} <= set(contract.FEATURE_NAMES)


def test_the_name_of_the_model_stands_in_one_place():
    constants = {
        str(path.relative_to(ROOT))
        for path in _files("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == contract.MODEL_NAME
    }
    assert constants == {
        "include/heartline/contract.py",
        "include/heartline/registry/runs.py",  # an experiment of the same name
        "serving/settings.py",  # the service shares no code with the rest: compared below
    }


def test_the_service_serves_the_model_that_is_registered(tmp_path):
    assert Settings.from_environment({"HEARTLINE_HOME": str(tmp_path)}).model_name == contract.MODEL_NAME
    readme = (ROOT / "serving" / "README.md").read_text()
    assert f"| `HEARTLINE_MODEL_NAME` | `{contract.MODEL_NAME}` |" in readme


def test_the_page_in_the_docs_is_current():
    page = (ROOT / "docs" / "contract.md").read_text()
    assert page == contract.markdown(), (
        "run: PYTHONPATH=include .venv/bin/python -m heartline.contract > docs/contract.md"
    )
