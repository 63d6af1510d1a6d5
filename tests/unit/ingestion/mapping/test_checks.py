"""A mapping is checked against the contract when it is read, and against the file when it is used."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartline.errors import DataError, PermanentError
from heartline.ingestion import tables
from heartline.ingestion.access import files
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ingestion.mapping import parser as mapping_parser
from heartline.ingestion.mapping.file_mapping import FileMapping
from tests.unit.ingestion.mapping import layouts

LABEL = "label: {column: num, disease: [1, 2, 3, 4], no_disease: [0]}\n"


def mapping(text: str) -> FileMapping:
    return mapping_parser.parse(text, title="test")


def refused(text: str) -> DataError:
    with pytest.raises(DataError) as caught:
        mapping(text)
    return caught.value


def read(frame: pd.DataFrame, text: str) -> tables.Table:
    return tables.parse(frame.to_csv(index=False).encode(), where="a.csv", mapping=mapping(text))


@pytest.mark.parametrize(
    ("text", "what", "field", "hint"),
    [
        ("columns: {chl: x}", "unknown column chl", "columns.chl", "did you mean chol?"),
        ("columns: {num: x}", "unknown column num", "columns.num", "state the label under label"),
        ("colums: {age: x}", "unknown field colums", "colums", "did you mean columns?"),
        ("columns: {sex: {colum: x}}", "unknown field colum", "columns.sex.colum", "did you mean column?"),
        ("columns: {sex: {codes: {M: 2}}}", "2 is not a code of sex", "columns.sex.codes.M", "write one of"),
        ("columns: {sex: {codes: {M: femal}}}", "femal is not a code of sex", "columns.sex.codes.M", "mean female?"),
        ("columns: {thal: {codes: {a: 4}}}", "4 is not a code of thal", "columns.thal.codes.a", "write one of"),
        ("columns: {age: {codes: {old: 1}}}", "age is a measurement", "columns.age.codes", "remove them"),
        ("columns: {sex: {factor: 2}}", "sex is not a measurement", "columns.sex.factor", "remove it"),
        ("columns: {chol: {factor: no}}", "no is not a factor", "columns.chol.factor", "decimal point"),
        ("columns: {chol: {factor: -1}}", "-1 is not a factor", "columns.chol.factor", "decimal point"),
        ("columns: {chol: {factor: 1e999}}", "1e999 is not a factor", "columns.chol.factor", "decimal point"),
        ("columns: {sex: {codes: {M: 1, m: 0}}}", "m and M are the same value", "columns.sex", "remove one"),
        ("columns: {fbs: {codes: {1: 1, 1.0: 0}}}", "1.0 and 1 are the same value", "columns.fbs", "remove one"),
        ("columns: {sex: {codes: {M: 1}, missing: [M]}}", "M and M are the same", "columns.sex", "remove one"),
        ("columns: {chol: A, age: a}", "the column a of the file is used twice", "columns.age", "correct one"),
        ("columns: {chol: A}\nignore: [a]", "both used and ignored", "ignore", "remove it"),
        ("columns: {sex: {codes: {M: 1, F: '?'}}}", "1 field is left open", "columns.sex.codes.F", "fill in each ?"),
        ("columns: {sex: {codes: {M: , F: 0}}}", "1 field is left open", "columns.sex.codes.M", "fill in each ?"),
        ("columns: {sex: '?', age: '?'}", "2 fields are left open", "columns.age", "fill in each ?"),
        ("label: {column: y, disease: ['?'], no_disease: [0]}", "1 field is left open", "label.disease", "fill in"),
        ("label: {column: y, disease: [1]}", "the label is not stated completely", "label.no_disease", "state it"),
        ("label: {column: y, disease: [1], no_disease: [1.0]}", "1.0 means both", "label.disease", "remove it"),
        ("columns: [age]", "not a mapping of names", "columns", "docs/mapping.md"),
        ("just words", "not a mapping of names", "the whole text", "docs/mapping.md"),
        ("", "the mapping states no column", "columns", "docs/mapping.md"),
        ("columns: {age: [[x]]}", "neither a value nor a list", "columns.age", "correct it"),
    ],
)
def test_what_does_not_fit_the_contract_is_refused_with_its_field(text, what, field, hint):
    error = refused(text)
    assert what in error.what
    assert error.where.startswith("mapping test, field ")
    assert field in error.where
    assert error.expected
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("columns: {age: a}\ncolumns: {age: b}", "the key 'columns' is stated twice"),
        ('{"columns": {"age": "a", "age": "b"}}', "the key 'age' is stated twice"),
        ("a: &x [1]\nb: *x", "anchors are not accepted"),
        ("columns: {age: a", "the mapping is not YAML"),
        ('{"columns": ', "neither YAML nor JSON"),
        ("!!python/object/apply:os.system ['true']", "not a mapping of names"),
        ("[" * 5000, "nested too deeply"),
        ("#" * 20_001, "the mapping has 20,001 characters"),
    ],
)
def test_what_is_no_mapping_at_all_is_refused(text, what):
    assert what in refused(text).what


@given(st.text(max_size=200))
def test_any_text_is_a_mapping_or_an_error_of_ours(text):
    try:
        mapping(text)
    except DataError as error:
        assert error.where.startswith("mapping test")


def test_words_that_yaml_takes_for_other_types_stay_words():
    one = mapping("columns: {exang: {codes: {no: 0, yes: 1, off: 0, 010: 1}}, fbs: {codes: {FALSE: 0, TRUE: 1}}}")
    assert one.columns["exang"].codes == {"no": 0, "yes": 1, "off": 0, "010": 1}
    assert one.columns["fbs"].codes == {"FALSE": 0, "TRUE": 1}


def test_json_is_read_as_yaml_is():
    tree = {"columns": {"sex": {"column": "g", "codes": {"M": 1, "F": 0}}, "chol": {"factor": 38.67}}}
    assert mapping(json.dumps(tree)) == mapping(
        "columns: {sex: {column: g, codes: {M: 1, F: 0}}, chol: {factor: 38.67}}"
    )


@pytest.mark.parametrize(
    ("change", "text", "what", "field", "hint"),
    [
        ({}, "columns: {chol: Cholestrol}", "no column Cholestrol", "columns.chol.column", "mean Cholesterol?"),
        ({"chol": 1}, "columns: {chol: Cholesterol}", "1 column is present more than once: chol", "", "under ignore"),
        ({"cholesterol": 1}, "columns: {chol: Cholesterol}", "more than once: chol", "", "under ignore"),
        ({}, "columns: {sex: {codes: {Mann: 1, F: 0}}}", "no code for M (", "columns.sex.codes", "add it to"),
        ({}, "columns: {sex: {codes: {MM: 1, F: 0}}}", "no code for M (", "columns.sex.codes", "did you mean MM?"),
    ],
)
def test_what_does_not_fit_the_file_is_refused_with_its_field(cohort, change, text, what, field, hint):
    file = layouts.hospital(cohort).assign(**change)
    with pytest.raises(DataError) as caught:
        read(file, f"{text}\n" if "label" in text else f"{text}\n{LABEL}")
    assert what in caught.value.what
    assert field in caught.value.where
    assert hint in caught.value.hint


def test_a_label_with_an_ambiguous_name_has_to_be_stated(cohort):
    file = layouts.binary(cohort).rename(columns={"num": "target"})
    with pytest.raises(DataError, match="does not state the label"):
        read(file, "columns: {age: age}")
    table = read(file, "columns: {age: age}\nlabel: {column: target, disease: [1], no_disease: [0]}")
    assert table.frame["num"].tolist() == file["target"].tolist()


def test_units_words_and_missing_values_become_the_contracts(cohort):
    file = cohort.astype("object").assign(
        chol=(cohort["chol"] / 38.67).round(2), num=cohort["num"].map(lambda code: "sick" if code else "well")
    )
    file.loc[1, "trestbps"], file.loc[2, "chol"], file.loc[3, "ca"], file.loc[4, "sex"] = "not done", 0, "none", "u"
    one = mapping(
        "columns:\n  chol: {factor: 38.67, missing: [0]}\n  trestbps: {missing: [Not  Done]}\n"
        "  ca: {codes: {none: 0, 0: 0, 1: 1, 2: 2, 3: 3}}\n  sex: {codes: {0: 0, 1: 1, u: missing}}\n"
        "label: {column: num, disease: [sick], no_disease: [well]}"
    )
    table = tables.parse(file.to_csv(index=False).encode(), where="a.csv", mapping=one)
    decoded, unparseable = one.decode(table.frame, table.unparseable)
    assert unparseable.empty
    assert np.isnan([decoded.loc[1, "trestbps"], decoded.loc[2, "chol"], decoded.loc[4, "sex"]]).all()
    assert decoded.loc[3, "ca"] == 0
    assert decoded["chol"].drop(2).tolist() == cohort["chol"].drop(2).tolist()  # whole mg/dl, as the contract wants
    assert decoded["num"].tolist() == (cohort["num"] > 0).astype(float).tolist()


def test_a_word_without_a_code_in_a_single_row_is_unparseable_there(cohort):
    file = layouts.hospital(cohort)
    file.loc[9, "sex"] = "X"
    table = read(file, "columns: {sex: {codes: {M: 1, F: 0}}, chol: Cholesterol, thalach: max_heart_rate}")
    _, unparseable = table.mapping.decode(table.frame, table.unparseable)
    assert unparseable.to_numpy().tolist() == [[9, "sex", "X", "the mapping has no code for this value"]]


def test_a_long_word_in_a_dictionary_is_named_once_for_all_its_rows():
    rows = 200_000
    texts = pd.Series(pd.Categorical.from_codes(np.zeros(rows, "int8"), ["x" * 10_000]), name="thal")
    one = mapping("columns: {thal: {codes: {a: 3, b: 6, c: 7}}}")
    tracemalloc.start()
    counts = one.unknown_words(texts.to_frame())["thal"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts.tolist() == [rows]
    assert peak < 100 * rows  # bytes; each row would have 10,000


def test_ignored_columns_are_not_reported(cohort):
    table = read(cohort.assign(id=1, ward=2), f"{LABEL}ignore: [ID]")
    assert table.dropped == ("ward",)


@pytest.mark.parametrize("name", ["heart918", "heart-91", "/nowhere.yaml", "/etc/passwd", "x"])
def test_a_mapping_that_is_not_there_is_refused(name):
    with pytest.raises(PermanentError) as caught:
        mapping_catalog.resolve(name, files.ANYWHERE)
    assert "parameter mapping" in caught.value.where
    assert "root:" not in str(caught.value)


def test_a_mapping_is_named_read_from_a_file_or_given_as_text(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(mapping_catalog.text_of("heart-918"), encoding="utf-8-sig")
    ways = ["heart-918", str(path), path.as_uri(), path.read_text(encoding="utf-8-sig")]
    assert len({mapping_catalog.resolve(way, files.ANYWHERE).digest for way in ways}) == 1
