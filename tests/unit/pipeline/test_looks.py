"""Looks of the task ``compare``: what is recorded, what a retry finds, and what a run may do."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from heartline import contract
from heartline.comparison import looks
from heartline.comparison.looks import Look
from heartline.pipeline import looks as pipeline_looks
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.registry import mlflow_registry
from heartline.registry.production import alias_history, look_history
from heartline.reports import comparison_page, model_card
from heartline.storage import object_store, snapshots, splits
from tests.unit.pipeline.support import FOREST, LINEAR, artifact, move_by_hand


@pytest.fixture(autouse=True)
def rendered(monkeypatch):
    """The pair's 194 training records are enough. Pages, which take seconds, are not drawn: what they are given."""
    monkeypatch.setattr(looks, "MIN_RECORDS", 100)
    given = []
    monkeypatch.setattr(comparison_page, "render", lambda *_, **named: given.append(named) or b"<p>")
    monkeypatch.setattr(model_card, "render", lambda *_, **__: b"<p>")
    return given


def other_night(pair, *, kept, run="another night", label=None):
    """The hand-over of a night whose training set shares ``kept`` records with the pair's.

    The predictions stay those of the pair: which look it is depends on the training set only.
    """
    records = snapshots.read_snapshot(pair.prepared["training"])
    changed = records.copy()
    changed.loc[kept:, "chol"] = changed.loc[kept:, "chol"].fillna(200) + 1
    if label is not None:
        changed["num"] = label
    return {**pair.prepared, "training": snapshots.write_snapshot(changed)}


def look_of(compared):
    return compared["look"]["number"], compared["look"]["level"], compared["look"]["new_records"]


def test_the_first_comparison_is_a_look_and_is_recorded(pair, rendered):
    started = datetime.now(UTC)
    compared = compare(pair.trained, pair.prepared, run="tonight")
    assert look_of(compared) == (1, looks.level(1), None)
    (recorded,) = mlflow_registry.looks()
    assert (recorded.run, recorded.number, recorded.level) == ("tonight", 1, looks.level(1))
    assert started <= recorded.when <= datetime.now(UTC)
    assert recorded.training == pair.prepared["training"]
    assert recorded.digest == object_store.digest_of(pair.prepared["training"])
    assert recorded.records == len(snapshots.read_snapshot(pair.prepared["training"]))
    assert recorded.verdict == compared["verdict"]
    assert recorded.p_value == compared["look"]["p_values"][FOREST]
    assert compared["look"]["note"] in compared["reasons"]
    evidence = json.loads(artifact(pair.client, compared["comparison_run"], "comparison.json").read_text())
    assert evidence["look"] == compared["look"]
    assert pair.client.get_run(compared["comparison_run"]).data.tags["look"] == compared["look"]["note"]
    assert rendered[-1]["look"] == Look(1, looks.level(1))


def test_a_retry_finds_its_look_and_spends_nothing(pair):
    first = compare(pair.trained, pair.prepared, run="tonight")
    assert compare(pair.trained, pair.prepared, run="tonight") == first
    assert len(mlflow_registry.looks()) == 1


def test_the_same_comparison_in_another_run_is_the_same_look(pair):
    first = compare(pair.trained, pair.prepared, run="tonight")
    assert compare(pair.trained, pair.prepared, run="again")["look"] == first["look"]
    assert len(mlflow_registry.looks()) == 1


def test_a_task_that_is_killed_after_its_look_finds_it_again(pair, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_registry, "log_run", lambda run: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compare(pair.trained, pair.prepared, run="tonight")
    assert len(mlflow_registry.looks()) == 1, "recorded before anything is shown"
    assert look_of(compare(pair.trained, pair.prepared, run="tonight"))[0] == 1
    assert len(mlflow_registry.looks()) == 1


def test_too_few_new_records_are_no_look_and_the_reason_says_how_many_are_needed(pair, rendered):
    compare(pair.trained, pair.prepared, run="before")
    size = len(snapshots.read_snapshot(pair.prepared["training"]))
    compared = compare(pair.trained, other_night(pair, kept=size - 10), run="tonight")
    assert look_of(compared) == (None, None, 10)
    assert len(mlflow_registry.looks()) == 1
    assert compared["look"]["note"].startswith("this comparison is no look: 10 new training records since the look of ")
    assert compared["look"]["note"].endswith(f", before, the next look needs {looks.needed(size)}")
    assert (rendered[-1]["look"].number, rendered[-1]["look"].new.count) == (None, 10)


def test_a_quarter_of_new_records_is_the_next_look(pair):
    compare(pair.trained, pair.prepared, run="before")
    size = len(snapshots.read_snapshot(pair.prepared["training"]))
    compared = compare(pair.trained, other_night(pair, kept=size - looks.needed(size)), run="tonight")
    assert look_of(compared) == (2, looks.level(2), looks.needed(size))
    assert [one.number for one in mlflow_registry.looks()] == [1, 2]


def test_a_corrected_label_makes_no_record_new(pair):
    compare(pair.trained, pair.prepared, run="before")
    size = len(snapshots.read_snapshot(pair.prepared["training"]))
    assert look_of(compare(pair.trained, other_night(pair, kept=size, label=1), run="tonight")) == (None, None, 0)


def test_the_training_set_of_an_earlier_look_is_no_look(pair):
    """Neither of two files that alternate is looked at again, with other predictions."""
    compare(pair.trained, pair.prepared, run="first")
    compare(pair.trained, other_night(pair, kept=0), run="second")
    incumbent = register(compare(pair.trained, pair.prepared, run="first"), promotion="manual")["versions"][FOREST]
    move_by_hand(incumbent)
    third = compare(pair.trained, pair.prepared, run="third")
    assert third["incumbent"] == FOREST
    assert look_of(third) == (None, None, 0)
    assert "no look: its training set is that of the look of" in third["look"]["note"]


def test_a_training_set_that_cannot_be_read_makes_all_records_new_and_is_named(pair):
    compare(pair.trained, pair.prepared, run="before")
    (last,) = mlflow_registry.looks()
    entry = replace(last, digest="0" * 64, key="another")
    pair_history = mlflow_registry.looks()
    assert mlflow_registry.record_look(replace(entry, number=2), after=pair_history)
    compared = compare(pair.trained, other_night(pair, kept=0), run="tonight")
    assert look_of(compared)[:2] == (3, looks.level(3))
    assert "cannot be read, so its records count as new" in compared["look"]["note"]


def test_looks_before_the_last_365_days_are_not_counted(pair):
    compare(pair.trained, pair.prepared, run="before")
    (last,) = mlflow_registry.looks()
    old = replace(last, when=last.when - timedelta(days=366))
    client, experiment = pair.client, pair.client.get_experiment_by_name(alias_history.EXPERIMENT).experiment_id
    client.set_experiment_tag(experiment, f"{look_history.PREFIX}n000001", old.as_text())
    assert look_of(compare(pair.trained, other_night(pair, kept=0), run="tonight"))[:2] == (1, looks.level(1))


def test_a_look_that_another_run_takes_meanwhile_is_decided_again(pair, monkeypatch):
    record, other = mlflow_registry.record_look, {}

    def overtaken(look, *, after):
        if not other:
            other["look"] = replace(look, key="of another run", digest="1" * 64)
            assert record(other["look"], after=after)
        return record(look, after=after)

    monkeypatch.setattr(mlflow_registry, "record_look", overtaken)
    compared = compare(pair.trained, pair.prepared, run="tonight")
    assert look_of(compared)[:2] == (2, looks.level(2))
    assert [one.number for one in mlflow_registry.looks()] == [1, 2]


def test_looks_survive_the_deletion_of_versions_and_of_the_model(pair):
    register(compare(pair.trained, pair.prepared, run="tonight"), promotion="manual")
    pair.client.delete_registered_model(contract.MODEL_NAME)
    assert len(mlflow_registry.looks()) == 1


def test_what_is_not_about_production_or_has_no_challenger_is_no_look(pair):
    versions = register(compare(pair.trained, pair.prepared, run="before"), promotion="manual")["versions"]
    move_by_hand(versions[FOREST])
    pair.client.set_model_version_tag(contract.MODEL_NAME, versions[FOREST], "parameters", "[]")
    other = compare(pair.trained, other_night(pair, kept=0), run="another recipe")
    assert other["look"]["note"] == "this comparison is no look: it is not about the model in production"
    alone = compare([pair.linear], other_night(pair, kept=1), run="alone")
    assert alone["look"]["note"] == "this comparison is no look: no other family took part"
    assert len(mlflow_registry.looks()) == 1


def test_a_small_set_is_no_look(pair, monkeypatch):
    monkeypatch.setattr(looks, "MIN_RECORDS", 200)
    compared = compare(pair.trained, pair.prepared, run="tonight")
    expected = "this comparison is no look: 194 distinct training records, at least 200 are needed"
    assert (compared["look"]["note"], mlflow_registry.looks()) == (expected, [])
    assert compared["cautions"] == {FOREST: expected}


def strong(pair, **changed):
    """A comparison of which the forest is pretended to be better, by a p-value within the level."""
    compared = compare(pair.trained, pair.prepared, run="tonight")
    return {**compared, "verdict": "better", "winner": FOREST, "cautions": {}, **changed}


def test_a_run_moves_production_only_if_the_evidence_suffices(pair):
    held = register(strong(pair, cautions={FOREST: "this comparison is no look: why"}), promotion="if_better")
    assert (held["promoted"], held["held_back"]) == (False, "this comparison is no look: why")
    assert held["look"].startswith("look 1 of the last 365 days")
    assert mlflow_registry.aliased("staging").number == held["version"]
    moved = register(strong(pair), promotion="if_better")
    assert (moved["promoted"], moved["held_back"]) == (True, "")


def test_a_version_says_whether_its_last_comparison_suffices_for_a_run(pair):
    versions = register(strong(pair, cautions={FOREST: "no look"}), promotion="manual")["versions"]
    tags = {name: pair.client.get_model_version(contract.MODEL_NAME, one).tags for name, one in versions.items()}
    assert (tags[FOREST]["caution"], tags[LINEAR]["caution"]) == ("no look", "none")
    assert tags[FOREST]["look"].startswith("look 1 of the last 365 days")
    register(strong(pair), promotion="manual")
    assert pair.client.get_model_version(contract.MODEL_NAME, versions[FOREST]).tags["caution"] == "none"


def test_the_verdict_does_not_depend_on_the_looks(pair):
    first = compare(pair.trained, pair.prepared, run="first")
    second = compare(pair.trained, other_night(pair, kept=190), run="second")
    assert first["look"]["number"] != second["look"]["number"]
    assert [first[name] for name in ("verdict", "winner", "reason")] == [
        second[name] for name in ("verdict", "winner", "reason")
    ]


def test_the_helper_counts_records_as_the_split_does(pair):
    records = snapshots.read_snapshot(pair.prepared["training"])
    hashes = pipeline_looks._hashes(pair.prepared["training"])
    assert len(hashes) == len(set(splits.labels_and_groups(records).groups.tolist()))


def test_two_training_sets_in_turn_are_no_new_records(pair):
    """Each differs from the last look by all of its records, but not from the looks of the year."""
    other = other_night(pair, kept=0)
    assert look_of(compare(pair.trained, pair.prepared, run="one"))[0] == 1
    assert look_of(compare(pair.trained, other, run="other"))[0] == 2
    records = snapshots.read_snapshot(pair.prepared["training"])
    again = {**pair.prepared, "training": snapshots.write_snapshot(records.iloc[3:].reset_index(drop=True))}
    found = compare(pair.trained, again, run="one again")
    assert look_of(found) == (None, None, 0)
    assert "0 new training records" in found["look"]["note"]


def test_looks_on_the_sample_are_counted_apart(pair):
    """The first run of a stack is on the sample: it must not spend what the first comparison of patients has."""
    origin = pair.prepared["origin"]
    assert look_of(compare(pair.trained, pair.prepared, run="one"))[:2] == (1, looks.level(1))
    apart = {**other_night(pair, kept=0), "origin": "csv" if origin == "sample" else "sample"}
    assert look_of(compare(pair.trained, apart, run="other"))[:2] == (1, looks.level(1))
    assert [one.origin for one in mlflow_registry.looks()] == [origin, apart["origin"]]
