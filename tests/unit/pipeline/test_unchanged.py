"""Nothing new: when a run ends early, and what makes it train again."""

import json
import shutil
from pathlib import Path

import pytest

from heartline import contract
from heartline.comparison import verdict_names
from heartline.pipeline import unchanged
from heartline.pipeline.compare import compare
from heartline.pipeline.preprocess import for_each_family
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.registry import completed_runs, mlflow_registry, runs
from tests.unit.pipeline.support import FOREST, LINEAR, SMALL, move_by_hand, refused

BOTH = (LINEAR, FOREST)


def begin(pair, *, families=BOTH, seed=0, promotion="manual", **more):
    """What ``preprocess`` returns for each family, on the records of the pair."""
    return for_each_family(pair.prepared, families=families, profile=SMALL.name, seed=seed, promotion=promotion, **more)


def finish(pair, *, promotion="manual", trained=None, **changes):
    """The rest of a run: compare and register what was trained."""
    trained = trained or pair.trained
    compared = compare(trained, pair.prepared, run="night")
    return register({**compared, "winner": LINEAR, **changes}, promotion=promotion, run="night")


def nothing_new(pair, **given) -> bool:
    found = {"ends" in one["prepared"] for one in begin(pair, **given)}
    assert len(found) == 1
    return found.pop()


@pytest.fixture
def own_artifacts(pair, tmp_path):
    """Artifacts that only this test damages: MLflow's database is a copy, its artifacts are shared."""
    location = pair.client.get_experiment_by_name(runs.EXPERIMENT).artifact_location
    shared = Path(location.removeprefix("file://"))
    kept = tmp_path / "kept"
    shutil.copytree(shared, kept)
    yield shared
    shutil.rmtree(shared)
    shutil.copytree(kept, shared)


@pytest.fixture
def registered(pair, own_artifacts):
    return finish(pair)


def test_before_the_first_run_everything_is_new(pair):
    first, second = begin(pair)
    assert (first["family"], second["family"]) == BOTH
    assert "ends" not in first["prepared"]
    assert first["prepared"]["note"].endswith("held out, of 250")


def test_a_second_run_on_the_same_records_ends_and_says_which_versions_there_are(pair, registered):
    for one in begin(pair):
        prepared = one["prepared"]
        assert prepared["ends"] == prepared["note"]
        assert prepared["note"].startswith("nothing new: versions 1 (")
        assert prepared["note"].endswith(registered["reason"])
        assert prepared["registered"]["versions"] == registered["versions"]
        assert prepared["registered"]["version"] == registered["version"]
        assert {"training", "holdout", "folds"} <= prepared.keys(), "what the run stored is complete"


def test_force_trains_again(pair, registered):
    assert not nothing_new(pair, force=True)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"families": (LINEAR,)}], ids=["another seed", "fewer families"])
def test_another_recipe_is_new(pair, registered, changed):
    assert not nothing_new(pair, **changed)


def test_other_records_are_new(pair, registered):
    other = {**pair.prepared, "origin": "file"}
    assert unchanged.fingerprint(other) != unchanged.fingerprint(pair.prepared)


def test_other_code_is_new(pair, registered, monkeypatch):
    monkeypatch.setattr(unchanged, "code_digest", lambda: "0" * 64)
    assert not nothing_new(pair)


def test_the_digest_of_the_code_sees_each_file_of_both_folders(tmp_path):
    include, serving = tmp_path / "include", tmp_path / "serving"
    include.mkdir()
    digests = [unchanged.code_digest(include, serving)]
    for path, text in ((include / "a.py", "1"), (include / "a.py", "2"), (serving / "b.css", "2"), (serving / "c", "")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        digests.append(unchanged.code_digest(include, serving))
    assert len({*digests}) == 5
    (include / "__pycache__").mkdir()
    (include / "__pycache__" / "a.pyc").write_text("x")
    assert unchanged.code_digest(include, serving) == digests[-1]


def test_code_that_changed_during_the_run_is_not_recorded(pair, own_artifacts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(unchanged, "code_digest", lambda: "0" * 64)
        finish(pair)
    assert not nothing_new(pair)


def test_a_run_that_was_killed_before_its_last_step_is_repeated(pair, own_artifacts, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    for step in ("record", "stage"):
        with monkeypatch.context() as patch:
            patch.setattr(completed_runs if step == "record" else mlflow_registry, step, killed)
            with pytest.raises(KeyboardInterrupt):
                finish(pair)
        assert not nothing_new(pair)
    finish(pair)
    assert nothing_new(pair)


def test_a_run_that_was_killed_while_it_recorded_is_repeated(pair, own_artifacts, monkeypatch):
    real, seen = completed_runs.mlflow.MlflowClient.set_model_version_tag, []

    def killed_at_the_second(self, name, version, key, value):
        if key == completed_runs.FINGERPRINT:
            seen.append(version)
            if len(seen) == 2:
                raise KeyboardInterrupt
        return real(self, name, version, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(completed_runs.mlflow.MlflowClient, "set_model_version_tag", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            finish(pair)
    assert not nothing_new(pair)


def test_a_run_with_a_refused_family_is_repeated(pair, own_artifacts):
    finish(pair, trained=[pair.linear, refused(pair.forest)])
    assert not nothing_new(pair)


def _folder(pair, version):
    uri = pair.client.get_model_version_download_uri(contract.MODEL_NAME, version)
    return Path(uri.removeprefix("file://"))


def version_deleted(pair, version):
    pair.client.delete_model_version(contract.MODEL_NAME, version)


def model_deleted(pair, version):
    pair.client.delete_registered_model(contract.MODEL_NAME)


def logged_model_deleted(pair, version):
    source = pair.client.get_model_version(contract.MODEL_NAME, version).source
    pair.client.delete_logged_model(source.removeprefix("models:/"))


def run_deleted(pair, version):
    pair.client.delete_run(pair.client.get_model_version(contract.MODEL_NAME, version).run_id)


def file_deleted(pair, version):
    (_folder(pair, version) / "model.onnx").unlink()


def byte_changed(pair, version):
    path = _folder(pair, version) / "model.onnx"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def file_of_the_run_lost(pair, version):
    run_id = pair.client.get_model_version(contract.MODEL_NAME, version).run_id
    folder = Path(pair.client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (folder / "validation.json").write_bytes(b"")


def comparison_deleted(pair, version):
    pair.client.delete_run(pair.client.get_model_version(contract.MODEL_NAME, version).tags["comparison_run"])


@pytest.mark.parametrize(
    ("damage", "family"),
    [
        (version_deleted, FOREST),
        (model_deleted, LINEAR),
        (logged_model_deleted, FOREST),
        (run_deleted, LINEAR),
        (file_deleted, FOREST),
        (byte_changed, LINEAR),
        (file_of_the_run_lost, LINEAR),
        (comparison_deleted, LINEAR),
    ],
)
def test_what_was_deleted_or_damaged_is_trained_again_which_repairs_it(pair, registered, damage, family):
    damage(pair, registered["versions"][family])
    assert not nothing_new(pair)
    again = [train(one["family"], one["prepared"], run="night") for one in begin(pair) if one["family"] == family]
    kept = [one for one in pair.trained if one["family"] != family]
    assert set(finish(pair, trained=[*again, *kept])["versions"]) == {*BOTH}
    assert nothing_new(pair)


def test_staging_elsewhere_is_moved_back_by_a_run(pair, registered):
    pair.client.set_registered_model_alias(contract.MODEL_NAME, "staging", registered["versions"][FOREST])
    assert not nothing_new(pair)


def test_a_moved_production_is_compared_once(pair, registered):
    move_by_hand(registered["version"])
    assert not nothing_new(pair)
    finish(pair)
    assert nothing_new(pair)
    pair.client.delete_registered_model_alias(contract.MODEL_NAME, "production")
    assert not nothing_new(pair), "production is missing"


def test_a_move_in_mlflows_ui_is_recorded_also_where_there_is_nothing_new(pair, registered, monkeypatch):
    recorded = []
    real = mlflow_registry.record_external_moves
    monkeypatch.setattr(mlflow_registry, "record_external_moves", lambda: recorded.append(1) or real())
    assert nothing_new(pair)
    assert recorded


def test_a_run_that_may_move_production_is_repeated_where_the_verdict_is_better(pair, own_artifacts):
    finish(pair, verdict=verdict_names.BETTER)
    assert nothing_new(pair)
    assert not nothing_new(pair, promotion="if_better")


def test_a_run_that_may_move_production_ends_where_the_verdict_is_another(pair, own_artifacts):
    finish(pair, verdict=verdict_names.NO_DIFFERENCE)
    assert nothing_new(pair, promotion="if_better")


def test_an_approval_is_asked_for_once(pair, registered):
    assert not nothing_new(pair, promotion="approval")
    asked = finish(pair, promotion="approval")
    assert asked["assets"]["candidate"]["requested"] is True
    assert nothing_new(pair, promotion="approval")
    assert nothing_new(pair, promotion="manual")


def test_no_approval_is_asked_for_what_is_in_production(pair, registered):
    move_by_hand(registered["version"])
    again = finish(pair)
    assert again["assets"]["candidate"]["production"] == registered["version"]
    assert nothing_new(pair, promotion="approval")
    assert finish(pair, promotion="approval")["assets"]["candidate"]["requested"] is False


@pytest.mark.parametrize("text", ["", "[]", "{", '{"registered": {}}'])
def test_a_record_that_cannot_be_read_counts_as_none(pair, registered, text):
    for version in registered["versions"].values():
        pair.client.set_model_version_tag(contract.MODEL_NAME, version, completed_runs.COMPLETED, text)
    assert not nothing_new(pair)


def test_the_last_task_asked_for_ends_the_run_without_a_look_at_mlflow(pair, monkeypatch):
    monkeypatch.setattr(unchanged, "find", lambda *_, **__: pytest.fail("MLflow was asked"))
    (first, _) = begin(pair, until="preprocess")
    assert first["prepared"]["ends"] == "the run was to end after preprocess (parameter until)"


def test_the_result_is_plain_json(pair, registered):
    (first, _) = begin(pair)
    assert json.loads(json.dumps(first)) == first
