"""With HEARTLINE_REQUIRE_APPROVAL=yes, production moves only to a version with a valid approval."""

import pytest

from heartline.registry.production import approvals
from heartline.registry.production.alias_moves import VersionFacts
from heartline.registry.stored_files import StoredVersion
from tests.unit.registry.fake_model import Model, move

KEY = "k" * 64
DIGEST = "ab" * 32
APPROVAL = approvals.sign(DIGEST, by="ann", at="2026-11-30T02:00:00+00:00", reason="looks right to me", key=KEY)


class Approved(Model):
    """A registered model where versions need an approval; ``approval`` is the tag of each."""

    approval_secret = KEY
    approval = ""
    digest = DIGEST

    def facts(self, version):
        found = super().facts(version)
        return VersionFacts(found.origin, found.source, self.approval)

    def examine(self, version):
        found = super().examine(version)
        return StoredVersion(found.damage, found.origin, self.digest)


@pytest.mark.parametrize("how", ["promote", "rollback", "run", "first up", "approval"])
@pytest.mark.parametrize("force", [False, True])
def test_no_mover_moves_to_a_version_that_nobody_approved(how, force):
    model = Approved()
    outcome = move(model, "1", how, force=force)

    assert outcome.refused == "version 1 needs an approval: nobody has approved it"
    assert not outcome.forcible
    assert "trigger heart_approval" in outcome.hint
    assert "HEARTLINE_REQUIRE_APPROVAL" in outcome.expected
    assert model.production == ""


def test_an_approved_version_is_moved_to():
    model = Approved()
    model.approval = APPROVAL.as_text()

    assert not move(model, "1").refused
    assert model.production == "1"


def test_the_approval_of_another_version_does_not_count():
    model = Approved()
    model.approval, model.digest = APPROVAL.as_text(), "cd" * 32

    assert "belongs to other files" in move(model, "1").refused


def test_without_the_secret_nothing_is_approved():
    model = Approved()
    model.approval, model.approval_secret = APPROVAL.as_text(), ""

    assert "not valid" in move(model, "1").refused


def test_the_secret_is_asked_for_only_where_approvals_are_required():
    assert approvals.secret_if_required({"HEARTLINE_APPROVAL_SECRET": KEY}) is None
    assert approvals.secret_if_required({"HEARTLINE_REQUIRE_APPROVAL": "yes"}) == ""
    found = approvals.secret_if_required({"HEARTLINE_REQUIRE_APPROVAL": "yes", "HEARTLINE_APPROVAL_SECRET": KEY})
    assert found == KEY
