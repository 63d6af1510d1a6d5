"""Lists of records are accepted exactly if each record is valid, and give the same input of the model."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.model.record_lists import ListDecoder
from serving.model.records import Contract, MalformedError, parse
from tests.serving.fakes import CONTRACT, RECORD

# whole and not, with and without null, required and not, codes with and without gaps
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 1, "maximum": 120},
        "oldpeak": {"type": "number", "minimum": 0, "maximum": 10, "x-unit": "mm"},
        "rate": {"type": ["integer", "null"], "minimum": 40, "maximum": 250},
        "weight": {"type": "number", "minimum": 0, "maximum": 500},
        "cp": {"enum": [1, 2, 3, 4]},
        "thal": {"enum": [3, 6, 7, None]},
        "half": {"enum": [0.5, 1, 1.5]},
    },
    "required": ["age", "oldpeak", "rate", "cp", "half"],
    "additionalProperties": False,
    "x-features": ["age", "oldpeak", "rate", "weight", "cp", "thal", "half"],
    "x-version": "1",
}
RULES = Contract(SCHEMA)
VALID = {"age": 54, "oldpeak": 2.3, "rate": None, "weight": 80.5, "cp": 4, "thal": 6, "half": 1.5}
LIKELY = [None, 0, 1, 3, 3.0, 4, 5, 7, 0.5, 2.5, 120, 121, -1, 1e300, 10**400, "3", True, [], {}]
CHANGES = st.dictionaries(st.sampled_from([*VALID, "other"]), st.sampled_from(LIKELY), max_size=2)
RECORDS = st.builds(
    lambda changes, left_out: {k: v for k, v in {**VALID, **changes}.items() if k not in left_out},
    CHANGES,
    st.sets(st.sampled_from(list(VALID)), max_size=1),
)


@given(st.lists(RECORDS, max_size=4), st.sampled_from([None, 1]))
def test_a_list_is_accepted_if_and_only_if_the_contract_accepts_each_record(
    records: list[dict[str, Any]], indent: int | None
) -> None:
    body = json.dumps(records, indent=indent).encode()
    found = RULES.decode_list(body)
    valid = bool(records) and not RULES.list_errors(parse(body))
    optional = any("weight" not in record for record in records)  # may be absent but not null: one by one
    assert (found is not None) == (valid and not optional)
    if found:
        assert np.array_equal(found[1], RULES.matrix(records), equal_nan=True)
        assert msgspec.json.decode(msgspec.json.encode(found[0])) == records


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b"[[]]",
        b"[1]",
        b"not JSON",
        b"",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_records_is_left_to_the_strict_parser(body: bytes) -> None:
    assert RULES.decode_list(body) is None


@pytest.mark.parametrize("repeated", ["age", "thal", "weight"])
@pytest.mark.parametrize("absent", [None, "thal"])
def test_a_repeated_key_is_left_to_the_strict_parser(repeated: str, absent: str | None) -> None:
    text = json.dumps({k: v for k, v in VALID.items() if k != absent or k == repeated})
    body = f'[{text}, {text[:-1]}, "{repeated}": {json.dumps(VALID[repeated])}}}]'.encode()
    assert RULES.decode_list(body) is None
    with pytest.raises(MalformedError, match="occurs twice"):
        parse(body)


@pytest.mark.parametrize("keyword", ["multipleOf", "not", "exclusiveMinimum"])
def test_a_contract_with_another_keyword_is_validated_record_by_record(keyword: str) -> None:
    schema = json.loads(json.dumps(SCHEMA))
    schema["properties"]["age"][keyword] = {} if keyword == "not" else 2
    assert not ListDecoder.supports(schema)
    assert Contract(schema).decode_list(json.dumps([VALID]).encode()) is None


def test_the_contract_of_a_bundle_is_supported() -> None:
    assert ListDecoder.supports(CONTRACT)
    found = Contract(CONTRACT).decode_list(json.dumps([RECORD] * 3).encode())
    assert found is not None
    assert len(found[0]) == 3
