"""JSON as a source: records and JSON Lines are read, everything else is refused without quoting it."""

import json

import pandas as pd
import pytest

from heartline.errors import TooLargeError
from heartline.ingestion import limits
from tests.unit.ingestion.tables.support import NAMES, WANTED, parse, refused, table

RECORDS = json.loads(WANTED.to_json(orient="records"))
LINES = "\n".join(json.dumps(one) for one in RECORDS)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(WANTED.to_json(orient="records"), id="a list"),
        pytest.param(json.dumps(RECORDS, indent=2), id="a list, indented"),
        pytest.param(WANTED.to_json(orient="records", lines=True), id="JSON Lines"),
        pytest.param(LINES.replace("\n", "\r\n\r\n"), id="blank lines"),
        pytest.param("\ufeff  " + LINES, id="byte order mark"),
        pytest.param(json.dumps([{name: str(value) for name, value in one.items()} for one in RECORDS]), id="as text"),
        pytest.param(LINES.replace(', "ca": null', ""), id="a missing value left out"),
        pytest.param(LINES.replace('"age"', '" AGE "'), id="another case"),
    ],
)
def test_records_are_read(text):
    pd.testing.assert_frame_equal(parse(text.encode()), WANTED)


def test_names_further_columns_and_words_are_reported():
    found = table(json.dumps([{**RECORDS[0], "note": "a } b"}, {**RECORDS[1], "age": "old"}]).encode())
    assert (found.names, found.dropped) == ((*NAMES, "note"), ("note",))
    assert found.unparseable.to_numpy().tolist() == [[2, "age", "old", "not a number"]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (json.dumps({"records": RECORDS}), "the field records of record 1 holds a list"),
        (json.dumps([{**RECORDS[0], "age": {"v": 1}}]), "the field age of record 1 holds an object"),
        (json.dumps([list(one.values()) for one in RECORDS]), "element 1 of the JSON is not a record"),
        ("[1, 2, 3]", "element 1 of the JSON is not a record"),
        (json.dumps(RECORDS)[:-1], "the JSON cannot be read at record 2"),
        (json.dumps(RECORDS)[:-30], "the JSON cannot be read at record 2"),
        ("{'age': 63}", "the JSON cannot be read at record 1"),
        (json.dumps(RECORDS).replace("}, {", "} {"), "the JSON cannot be read at record 1"),
        ('{"age": 1, "age": 2}', "record 1 has the field age more than once"),
        ("[" * 100_000, "element 1 of the JSON is not a record"),
        ('[{"a":' * 100_000 + "}" * 100, "record 1 is no JSON object of at most 65,536 bytes"),
        ('{"a":' * 100_000 + "}" * 100, "the JSON is an object of objects, not a list of records"),
    ],
)
def test_other_json_is_refused_by_name(text, what):
    assert refused(text.encode()).what == what


@pytest.mark.parametrize("orient", ["columns", "split", "table"])
def test_a_long_document_of_another_shape_is_refused_without_quoting_it(orient):
    frame = pd.concat([WANTED.assign(chol=86753)] * 2000, ignore_index=True)
    text = frame.to_json(orient=orient)
    assert len(text) > 100_000
    error = refused(text.encode())
    assert len(str(error)) < 500
    assert "86753" not in str(error)


@pytest.mark.parametrize(
    ("orient", "rows", "values"),
    [
        *(("index", rows, "objects") for rows in (2, 50, 150, 5000)),
        *(("columns", rows, "objects") for rows in (2, 50, 150, 5000)),
        ("split", 5000, "lists"),
        ("table", 5000, "objects"),
    ],
)
def test_a_document_of_another_orient_of_pandas_is_named(orient, rows, values):
    frame = pd.concat([WANTED] * (rows // 2), ignore_index=True)
    what = refused(frame.to_json(orient=orient, indent=1).encode()).what
    assert what == f"the JSON is an object of {values}, not a list of records"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [LINES, json.dumps(RECORDS, indent=1), " " + json.dumps(RECORDS * 100)])
def test_json_in_utf_16_is_named(encoding, text):
    assert refused(text.encode(encoding)).what == "the JSON is in UTF-16, not in UTF-8"


def test_the_field_of_a_record_that_holds_an_object_is_named():
    error = refused(json.dumps({"visit": {"n": 1}, **RECORDS[0]}).encode())
    assert error.what == "the field visit of record 1 holds an object"


@pytest.mark.parametrize("text", ["{}", "[]", "[{}, {}]", " [ ] \n"])
def test_json_without_records_is_refused(text):
    assert refused(text.encode()).what == "the JSON holds no records"


def test_too_many_columns_are_refused():
    with pytest.raises(TooLargeError, match="the source has 1,001 columns"):
        table(json.dumps([{f"gene{n}": 1 for n in range(limits.COLUMNS + 1)}]).encode())
