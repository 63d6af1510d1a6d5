"""The fast and the strict parser of records give the same results."""

import json
import math
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.model import records
from serving.model.predict import new_ids, shortest
from serving.model.records import MalformedError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NUMBERS = st.none() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False)
BODIES = st.one_of(
    st.dictionaries(st.text(), NUMBERS),
    st.lists(st.dictionaries(st.text(), NUMBERS)),
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)


def typed(value: Any) -> Any:
    """Return ``value`` with the type of each number: 1 and 1.0 are equal, and so are 0.0 and -0.0."""
    if isinstance(value, dict):
        return [(key, typed(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return (type(value), value, math.copysign(1, value) if isinstance(value, float) else None)


@given(BODIES, st.sampled_from([None, 1]), st.booleans())
def test_any_json_gives_the_result_of_the_strict_parser(body: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode(errors="replace")

    assert typed(records.parse(text)) == typed(records._strict(text))


@pytest.mark.parametrize(
    "body",
    [
        '{"a": 1, "a": 1}',
        '[{"a": 1, "b": 2}, {"a": 1, "a": 2}]',
        r'{"a": 1, "\u0061": 2}',
        r'[{"a\"": 1, "a\"": 2}, {"b": 1}]',
        r'{"a\"\"": 1, "a\"\"": 2}',
        '[{"a": 1}, {"a": 1, "b": null, "b": null, "b": null}]',
    ],
)
def test_repeated_keys_are_found_in_simple_records_too(body: str) -> None:
    with pytest.raises(MalformedError, match="occurs twice in one object"):
        records.parse(body.encode())


@pytest.mark.parametrize("body", ["{}", "[]", '{"age": 61, "ca": null}', '[{"age": 61.5}, {}]'])
def test_simple_records_use_the_fast_parser(body: str) -> None:
    assert records.parse_fast(body.encode()) == json.loads(body)


@pytest.mark.parametrize("body", ['{"a": true}', '{"a": "1"}', '{"a": [1]}', '[{"a": 1}, 2]', "1", "", '{"a": 1e400}'])
def test_other_bodies_are_left_to_the_strict_parser(body: str) -> None:
    assert records.parse_fast(body.encode()) is None


def test_ids_are_random_uuids() -> None:
    found = new_ids(1000)

    assert len(set(found)) == 1000
    assert all(str(uuid.UUID(one)) == one and uuid.UUID(one).version == 4 for one in found)
    assert {uuid.UUID(one).variant for one in found} == {uuid.RFC_4122}
    assert {one[19] for one in found} == set("89ab")
    assert uuid.UUID(new_ids(1)[0]).version == 4
    assert new_ids(0) == []


def test_probabilities_are_the_shortest_decimals() -> None:
    even = np.random.default_rng(0).random(5000, dtype=np.float32)
    values = np.concatenate([even, even**30, 1 - even**20, np.float32([0, 1, 0.5, 0.9, 1e-30, 1e-45])])

    assert shortest(values) == [float(str(value)) for value in values]
    assert [shortest(np.float32([value])) for value in (0.9, 0, 1)] == [[0.9], [0.0], [1.0]]
