"""The parameters of a run: what is refused, with which words, and that the form's schema agrees with the check."""

import json
import math
import re
import subprocess
import sys

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartline import contract
from heartline.errors import ParameterError
from heartline.ingestion import source_catalog
from heartline.parameters import training as parameters
from heartline.parameters.training import PARAMETERS
from heartline.pipeline.ingest import ingest
from heartline.training.family_names import FAMILY_NAMES
from tests.conftest import ROOT

QUERY = "SELECT * FROM patients"


def refusal(conf: dict) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        parameters.check(conf)
    return caught.value


@pytest.mark.parametrize(
    ("name", "near"),
    [("sorce", "source"), ("Seed", "seed"), ("max_quarantaine", "max_quarantine"), ("promote", "promotion")],
)
def test_an_unknown_key_is_refused_with_the_nearest_and_all_known_ones(name, near):
    error = refusal({"profile": "quick", name: "uci"})
    assert error.what == f"there is no parameter '{name}'"
    assert error.hint.endswith(f"did you mean {near}?")
    assert all(one.name in error.expected for one in PARAMETERS)


def test_an_unknown_key_is_shown_cut_and_with_its_invisible_characters():
    assert r"'sou\u200brce'" in refusal({"sou\u200brce": "uci"}).what
    assert len(refusal({"x" * 100_000: 1}).what) < 100


@pytest.mark.parametrize(
    ("conf", "what"),
    [
        ({"seed": 1000.0}, "1000.0 is not a whole number"),
        ({"seed": True}, "true is not a whole number"),
        ({"seed": "5"}, "'5' is not a whole number"),
        ({"seed": -1}, "-1 is out of bounds"),
        ({"seed": 2**31}, "2147483648 is out of bounds"),
        ({"seed": [1]}, "[1] is not a whole number"),
        ({"max_drift": math.nan}, "NaN is not a finite number"),
        ({"max_drift": math.inf}, "Infinity is not a finite number"),
        ({"max_drift": 0}, "0 is out of bounds"),
        ({"max_drift": "1"}, "'1' is not a number"),
        ({"max_quarantine": 2}, "2 is out of bounds"),
        ({"max_quarantine": False}, "false is not a number"),
        ({"profile": "fulll"}, "'fulll' is not a choice"),
        ({"profile": ""}, "'' is not a choice"),
        ({"promotion": ["manual"]}, "is not a choice"),
        ({"families": "random_forest"}, "'random_forest' is not a list"),
        ({"families": []}, "the list is empty"),
        ({"families": ["random_forest", "svm"]}, "'svm' is not a choice"),
        ({"families": ["random_forest", "random_forest"]}, "names one of them twice"),
        ({"families": [1]}, "1 is not a choice"),
        ({"force": "true"}, "'true' is neither true nor false"),
        ({"force": 1}, "1 is neither true nor false"),
        ({"until": "train"}, "'train' is not a choice"),
        ({"source": ""}, "it is empty"),
        ({"source": " \t"}, "it holds only spaces"),
        ({"source": "uci "}, "'uci ' starts or ends with a space"),
        ({"source": 7}, "7 is not text"),
        ({"source": "/" + "x" * 2000}, "it has 2,001 characters"),
        ({"source": "smaple"}, "unknown source 'smaple'"),
        ({"source": "sample:5"}, "sample:5 has too few records"),
        ({"source": "sample:99"}, "sample:99 has too few records"),
        ({"source": "sample:10000001"}, "has too many records"),
        ({"source": "postgres"}, "the source postgres needs a query"),
        ({"source": "postgres", "query": "\n"}, "it holds only spaces"),
        ({"source": "uci", "query": QUERY}, "this source takes no query"),
        ({"query": QUERY}, "this source takes no query"),
    ],
)
def test_a_wrong_value_is_refused(conf, what):
    error = refusal(conf)
    assert what in error.what
    assert error.where.startswith("parameter ")
    assert error.expected
    assert error.hint


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"seed": 1000, "max_drift": 3, "max_quarantine": 1.0, "profile": "quick"},
        {"seed": None, "source": None, "query": None, "encoding": None},
        {"families": ["random_forest"], "until": "compare", "force": True, "promotion": "manual"},
        {"families": None, "until": None, "force": None},
        {"source": "sample:100"},
        {"source": "sample:10000000"},
        {"source": "/data/a b.csv"},
        {"source": "https://host/a.csv"},
        {"source": "postgres", "query": "SELECT *\nFROM patients\n"},
    ],
)
def test_good_values_pass(conf):
    parameters.check(conf)


@pytest.mark.parametrize("promotion", ["approval", "if_better"])
@pytest.mark.parametrize("until", [one for one in parameters.STAGES if one != "register"])
def test_a_promotion_needs_the_whole_run(until, promotion):
    error = refusal({"until": until, "promotion": promotion})
    assert f"until={until}" in error.what
    assert "promotion=manual" in error.expected
    parameters.check({"until": "register", "promotion": promotion})


def test_a_refusal_does_not_repeat_an_address():
    assert "geheim" not in str(refusal({"source": "ftp://anna:geheim@host/a.csv"}))


def test_a_wrong_choice_and_a_wrong_source_name_the_nearest():
    assert "did you mean quick?" in refusal({"profile": "quik"}).hint
    assert "did you mean sample?" in refusal({"source": "smaple"}).hint


def test_the_query_in_the_hint_is_one_that_is_accepted():
    hint = refusal({"source": "postgres"}).hint
    parameters.check({"source": "postgres", "query": re.search('"query=(.+)"', hint)[1]})


def test_a_database_as_the_usual_source_needs_no_query():
    parameters.check({"source": "postgres"}, usual_source="postgres")


def test_the_task_refuses_before_it_reads(tmp_path):
    missing = str(tmp_path / "none.csv")
    with pytest.raises(ParameterError, match="no parameter 'sorce'"):
        ingest(missing, given={"source": missing, "sorce": "uci"})


FILE = {"source": "/data/a.csv"}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 2**32),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-1, 101),
    st.sampled_from(["", " ", "quick", "full", "auto", "uci", "kaggle", "manual", "if_better", "sample", "postgres"]),
    st.integers(0, 10**12).map(lambda rows: f"sample:{rows}"),
    st.text(max_size=5).map(lambda text: f"/{text}"),
    st.text(max_size=20),
    st.text(st.characters(), min_size=1999, max_size=2002),
    st.lists(st.integers(), max_size=2),
    st.lists(st.sampled_from([*FAMILY_NAMES, "svm"]), max_size=3),
    st.sampled_from(parameters.STAGES),
)


@pytest.mark.parametrize("one", PARAMETERS, ids=lambda one: one.name)
@given(value=VALUES)
def test_the_forms_schema_and_the_check_agree(one, value):
    # What JSON Schema cannot say is left to the check: 1000.0 is an integer there.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    schema = {name: part for name, part in one.form().items() if name != "default"}
    try:
        needed = {"query": {"source": "postgres"}, "mapping": FILE, "patient": FILE}.get(one.name, {})
        parameters.check({one.name: value, **(needed if value else {})})
        refused = False
    except ParameterError as error:
        refused = "needs a query" not in error.what
    try:
        jsonschema.validate(value, schema)
        refused_by_schema = False
    except jsonschema.ValidationError:
        refused_by_schema = True
    assert refused == refused_by_schema


def test_the_schema_of_the_sample_has_the_bounds_of_a_training():
    pattern = re.compile(source_catalog.pattern())
    assert [n for n in (contract.MIN_ROWS - 1, contract.MIN_ROWS) if pattern.fullmatch(f"sample:{n}")] == [100]
    most = source_catalog.SAMPLE_MAX_ROWS
    assert [n for n in (most, most + 1) if pattern.fullmatch(f"sample:{n}")] == [most]


@pytest.mark.parametrize("one", PARAMETERS, ids=lambda one: one.name)
def test_the_form_explains_each_parameter(one):
    form = one.form()
    text = form["description_md"]
    assert form["title"]
    assert "`" not in text
    # the form's number field would replace a value beyond these by the bound
    assert {"minimum", "maximum"}.isdisjoint(form)
    assert form["section"] in ("Data", "Checks", "Training", "Promotion")
    assert text.endswith(f"Example: **{one.example}**.")
    if one.choices:
        assert all(f"- **{value}**: " in text for value in one.choices)
    if one.kind == "choices":  # Airflow's field for several values
        assert (form["type"], form["examples"]) == (["array", "null"], [*one.choices])
    if one.kind == "text":
        assert str(one.max_length) in text
    if one.kind == "choice":
        # an emptied field is None, which means the default
        assert form["enum"] == [*one.choices, None]
        assert one.default in form["values_display"]["null"]
    if one.kind in ("number", "whole number"):
        assert all(f"{bound:g}" in text or str(bound) in text for bound in (one.low or 0, one.high))
    if one.default is not None:
        words = ", ".join(one.default) if isinstance(one.default, tuple) else str(one.default)
        assert f"Default: **{words}**".lower() in text.lower()


@pytest.mark.parametrize("one", PARAMETERS, ids=lambda one: one.name)
def test_the_example_is_accepted(one):
    value = one.example if one.kind in ("text", "choice") else json.loads(one.example)
    assert one.problem(value) == ""


def test_none_means_the_default():
    assert parameters.chosen({"seed": None, "profile": "quick"}, "seed", "profile", "max_drift") == {
        "seed": 0,
        "profile": "quick",
        "max_drift": contract.MAX_DRIFT,
    }


def test_the_table_in_the_documentation_is_current():
    text = (ROOT / "dags" / "README.md").read_text()
    assert parameters.markdown() in text, (
        "copy the output of heartline.parameters.training.markdown() into dags/README.md"
    )


def test_it_imports_nothing_heavy():
    script = (
        "import json, sys, heartline.parameters.training as _; "
        "print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT / "include")}, capture_output=True, check=True
    )
    assert {"airflow", "numpy", "pandas", "requests", "sklearn"}.isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["max_drift", "max_quarantine", "seed"])
def test_a_huge_number_is_out_of_bounds(name):
    with pytest.raises(ParameterError, match="out of bounds"):
        parameters.check({name: 10**400})
