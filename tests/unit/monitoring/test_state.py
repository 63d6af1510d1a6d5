"""The state of a version is stored as JSON and read again, or refused."""

import datetime

import pytest

from heartline.errors import HandoverError
from heartline.monitoring import state as states
from heartline.monitoring.inputs import Settings
from heartline.monitoring.state import State

START = states.start("d" * 64, datetime.date(2026, 3, 2), Settings(margin=0.03))


def test_a_state_survives_its_json():
    data = START.to_json()
    assert State.from_json(data) == START
    assert State.from_json(data.decode()).to_json() == data


def test_a_first_day_follows_the_state_before_it():
    assert (START.first, START.date) == (datetime.date(2026, 3, 2), datetime.date(2026, 3, 1))


@pytest.mark.parametrize("data", [b"{}", b"[", START.to_json().replace(b'"format":1', b'"format":9')])
def test_another_document_is_refused(data):
    with pytest.raises(HandoverError) as caught:
        State.from_json(data)
    assert caught.value.expected == "a document of format 1"
