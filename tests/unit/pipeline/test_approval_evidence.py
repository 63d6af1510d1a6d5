"""What a request for approval states, from real versions: scores, changed predictions, links."""

from datetime import UTC, datetime

import pytest

from heartline.pipeline import approval_evidence
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.registry import versions
from heartline.storage import object_store
from tests.unit.pipeline.support import FOREST, LINEAR

UNTIL = datetime(2026, 12, 3, tzinfo=UTC)


@pytest.fixture
def registered(pair):
    """Both families as versions, by family."""
    compared = {**compare(pair.trained, pair.prepared, run="night"), "winner": LINEAR}
    numbers = register(compared, promotion="manual", run="night")["versions"]
    return {family: versions.find(number) for family, number in numbers.items()}


def _collect(candidate, production):
    return approval_evidence.collect(candidate, production, why="because", until=UNTIL, not_by=("ann",))


def test_a_request_states_scores_and_what_would_change(registered, monkeypatch):
    monkeypatch.setenv("HEARTLINE_DATA_DOCS_URL", "https://docs.example.org/")
    found = _collect(registered[LINEAR], registered[FOREST])
    assert (found.candidate.version, found.production.version) == (registered[LINEAR].number, registered[FOREST].number)
    assert 0.5 < found.candidate.scores["roc_auc"].value <= 1
    assert found.changes.rows > found.changes.to_disease + found.changes.to_healthy > 0
    assert (found.why, found.until, found.not_by) == ("because", UNTIL, ("ann",))
    assert found.links["Data quality"] == "https://docs.example.org/run?id=night"
    assert found.links[f"Version {found.candidate.version} in MLflow"].endswith(f"/versions/{found.candidate.version}")


def test_a_version_changes_nothing_for_itself_and_the_first_one_has_nothing_to_change(registered):
    same = _collect(registered[LINEAR], registered[LINEAR]).changes
    assert (same.to_disease, same.to_healthy) == (0, 0)
    first = _collect(registered[LINEAR], None)
    assert (first.changes, first.production, first.changes_note) == (None, None, "")


def test_a_lost_bundle_is_said_and_ends_nothing(registered):
    lost = versions.StoredModel("9", {**registered[FOREST].tags, "bundle": "0" * 64})
    found = _collect(registered[LINEAR], lost)
    assert found.changes is None
    assert found.changes_note.startswith("How many predictions would change is not known")
    assert found.production.scores == {}
    assert object_store.get(object_store.address(registered[FOREST].tags["bundle"], "bundles", ".tar"))
