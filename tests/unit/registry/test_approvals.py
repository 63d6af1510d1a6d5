"""Signed approvals: what is signed, and what is no approval."""

import json
from dataclasses import asdict, replace

import pytest

from heartline.registry.production import approvals

KEY = "k" * 64
DIGEST = "ab" * 32
APPROVAL = approvals.sign(
    DIGEST, by="approver", at="2026-11-30T02:00:00+00:00", reason="looks right to me", key=KEY, model="heart-disease"
)


def test_the_signature_is_that_of_the_shared_vector():
    assert APPROVAL.signature == "e912d4e03592f697a9e2369ec2abc188385513ca87b2dc0ddd04d0053cc16ec9"


def test_a_signed_approval_is_valid_for_its_files_only():
    assert approvals.problem(APPROVAL.as_text(), DIGEST, KEY) == ""
    assert approvals.problem(APPROVAL.as_text(), "cd" * 32, KEY) == "its approval belongs to other files"
    assert approvals.problem(APPROVAL.as_text(), DIGEST, KEY, model="other") == "its approval belongs to other files"


def test_without_a_tag_nobody_has_approved():
    assert approvals.problem("", DIGEST, KEY) == "nobody has approved it"


@pytest.mark.parametrize("field", ["by", "at", "reason", "signature"])
def test_an_altered_approval_is_not_valid(field):
    altered = replace(APPROVAL, **{field: getattr(APPROVAL, field) + "x"})

    assert "not valid" in approvals.problem(altered.as_text(), DIGEST, KEY)


def test_another_key_and_no_key_are_not_valid():
    unsigned = replace(APPROVAL, signature=approvals._signature("heart-disease", DIGEST, "x", "y", "z", ""))

    assert "not valid" in approvals.problem(APPROVAL.as_text(), DIGEST, "l" * 64)
    assert "not valid" in approvals.problem(unsigned.as_text(), DIGEST, "")


def test_a_line_break_that_moves_a_field_is_not_valid():
    moved = replace(APPROVAL, by="approver\n2026-11-30T02:00:00+00:00", at="x")
    forged = replace(
        moved, signature=approvals._signature(moved.model, moved.digest, moved.by, moved.at, moved.reason, KEY)
    )

    assert "not valid" in approvals.problem(forged.as_text(), DIGEST, KEY)
    with pytest.raises(ValueError, match="single lines"):
        approvals.sign(DIGEST, by="a\nb", at="now", reason="because it is better", key=KEY)


def test_there_is_no_signature_without_a_key():
    with pytest.raises(ValueError, match="without a key"):
        approvals.sign(DIGEST, by="a", at="now", reason="because it is better", key="")


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", "7", '{"by": "a"}', json.dumps(asdict(APPROVAL) | {"by": 1}), '"text"']
)
def test_what_is_no_approval_cannot_be_read(text):
    assert "cannot be read" in approvals.problem(text, DIGEST, KEY)


def test_any_reason_can_be_signed_and_is_read_back():
    reason = 'tab\t"quotes" ünïcode \ud800\nsecond line'
    signed = approvals.sign(DIGEST, by="a", at="now", reason=reason, key=KEY)

    assert approvals.problem(signed.as_text(), DIGEST, KEY) == ""
    found = approvals.parse(signed.as_text())
    assert found == signed


def test_approval_is_required_only_by_the_setting():
    assert approvals.required({approvals.REQUIRED: "yes"})
    assert not approvals.required({approvals.REQUIRED: "no"})
    assert not approvals.required({})
