"""What `heartline score` refuses before it asks the stack."""

import hashlib

import pytest

from heartline.registry.production import approvals
from heartline.registry.production.alias_moves import VersionFacts
from stack.clients.mlflow import Registry
from stack.commands import score
from stack.errors import UsageError, WorkError
from tests.serving import trained
from tests.unit.stack.fake_registry import FakeRegistry


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.csv"
    path.write_text("age\n50\n")
    (tmp_path / "link.csv").symlink_to(path)
    (tmp_path / "folder").mkdir()
    return path


@pytest.mark.parametrize("output", ["records.csv", "link.csv", "folder/../records.csv"])
@pytest.mark.parametrize("as_address", [False, True])
def test_the_records_are_not_replaced(records, output, as_address):
    source = records.as_uri() if as_address else str(records)
    with pytest.raises(UsageError, match="the output would replace the records") as caught:
        score.run_parameters(source, {"output": str(records.parent / output)})
    assert "nothing was scored" in caught.value.hint
    assert records.read_text() == "age\n50\n"


@pytest.mark.parametrize("output", ["", " "])
def test_an_output_without_a_name_is_refused(records, output):
    with pytest.raises(UsageError, match="the output has no name"):
        score.run_parameters(str(records), {"output": output})


def test_an_unknown_version_says_which_one_scores_by_default(settings, answers):
    registry = Registry(settings.mlflow_url)
    FakeRegistry(answers(settings.mlflow_port), {"1": "uci"}, "", "1")
    with pytest.raises(UsageError, match="has no version '9'") as caught:
        score._model(registry, "9", {})
    assert "omit it to use the version at `production`" in caught.value.hint


class ApprovedRegistry:
    """A registry with one version, whose tag with the approval is given."""

    def __init__(self, approval):
        self.approval = approval

    def named(self, text, *, default):
        return text

    def files(self, number, names):
        files = trained.bundle("logistic_regression")
        return {name: files[name] for name in names}

    def facts(self, number):
        return VersionFacts("uci", "", self.approval)


def test_where_approvals_are_required_only_an_approved_version_scores():
    key = "k" * 64
    digest = hashlib.sha256(trained.bundle("logistic_regression")["manifest.json"]).hexdigest()
    signed = approvals.sign(digest, by="ann", at="2026-11-30T02:00:00+00:00", reason="looks right to me", key=key)
    required = {approvals.REQUIRED: "yes", approvals.SECRET: key}
    assert score._model(ApprovedRegistry(signed.as_text()), "3", required).about.version == "3"
    assert score._model(ApprovedRegistry(""), "3", {}).about.version == "3"
    with pytest.raises(WorkError, match="version 3 may not score: nobody has approved it") as caught:
        score._model(ApprovedRegistry(""), "3", required)
    assert "heart_approval" in caught.value.hint


def test_another_file_may_be_replaced(records):
    output = records.with_name("scored.csv")
    output.write_text("of an earlier run")
    assert score.run_parameters(str(records), {"output": str(output)})["output"] == str(output)
