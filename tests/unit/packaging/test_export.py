import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from skl2onnx.common import utils_sklearn
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.errors import HeartlineError
from heartline.packaging import export
from heartline.packaging.bundle import BundleError, open_bundle, pack, unpack
from heartline.storage import record_identity, splits
from heartline.training import families
from heartline.training.preprocessing import preprocessor


@pytest.fixture(scope="module")
def models(cohort) -> dict[str, Pipeline]:
    records = splits.to_labelled(record_identity.canonical(cohort))
    profile = families.Profile("test", splits=2, repeats=1, trees=30)
    return {name: families.fit(name, records, profile=profile, seed=0) for name in families.FAMILIES}


@pytest.fixture(params=families.FAMILIES)
def model(request, models) -> Pipeline:
    return models[request.param]


ABOUT = {"name": "heart-disease", "family": "x", "origin": "sample", "snapshot": "0" * 64}


def test_a_bundle_is_complete_and_agrees_with_its_manifest(model):
    files = unpack(export.build_bundle(model, about=ABOUT, evaluation={"auc": 0.9}, seed=0))
    manifest = json.loads(files["manifest.json"])

    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
    assert manifest["model"] == {**ABOUT, "contract_version": contract.VERSION, "threshold": 0.5}
    assert json.loads(files["contract.json"]) == json.loads(json.dumps(contract.json_schema()))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_same_recipe_on_the_same_records_gives_the_same_bytes(cohort, models, family):
    records = splits.to_labelled(record_identity.canonical(cohort))
    again = families.fit(family, records, profile=families.Profile("test", splits=2, repeats=1, trees=30), seed=0)
    first = export.build_bundle(models[family], about=ABOUT, evaluation={}, seed=0)
    assert export.build_bundle(again, about=ABOUT, evaluation={}, seed=0) == first


@pytest.fixture(scope="module")
def all_kinds(cohort, models) -> dict[str, Pipeline]:
    """Our families, and one whose ONNX export holds a graph inside the graph."""
    records = splits.to_labelled(record_identity.canonical(cohort))
    steps = [("preprocess", preprocessor(scale=True)), ("model", KNeighborsClassifier(25))]
    return {**models, "neighbours": Pipeline(steps).fit(records.features, records.labels)}


def _exports(kinds: dict[str, Pipeline], order: list[str]) -> dict[str, str]:
    return {name: hashlib.sha256(export.to_onnx(kinds[name])).hexdigest() for name in order}


ELSEWHERE = """
import hashlib, pathlib, sys
from heartline.packaging import export
for path in sys.argv[1:]:
    onnx = export.to_onnx(export.from_skops(pathlib.Path(path).read_bytes()))
    print(path, hashlib.sha256(onnx).hexdigest())
"""


def test_an_export_does_not_depend_on_what_was_exported_before(all_kinds, tmp_path):
    # given
    first = _exports(all_kinds, sorted(all_kinds))
    # when exported again in this process, where names are counted on, and in one that counts from the start
    again = _exports(all_kinds, sorted(all_kinds, reverse=True))
    paths = {name: tmp_path / name for name in all_kinds}
    for name, path in paths.items():
        path.write_bytes(export.to_skops(all_kinds[name]))
    process = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, reversed(paths.values()))],
        env={**os.environ, "PYTHONPATH": str(Path(export.__file__).parents[2]), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    elsewhere = dict(line.split() for line in process.stdout.splitlines())
    # then
    assert again == first
    assert {name: elsewhere[str(path)] for name, path in paths.items()} == first


def test_the_stored_model_has_equal_predictions(model):
    rows = export.legal_rows(500, seed=3)
    stored = export.from_skops(export.to_skops(model))
    assert (families.probability(stored, rows) == families.probability(model, rows)).all()


def test_the_stored_state_is_that_of_skops_without_indents(model):
    archives = [zipfile.ZipFile(io.BytesIO(data)) for data in (export.to_skops(model), skops.io.dumps(model))]
    ours, theirs = (archive.read("schema.json").decode() for archive in archives)
    assert "\n" not in ours
    assert _without_addresses(json.loads(ours)) == _without_addresses(json.loads(theirs))
    assert sorted(map(len, map(archives[0].read, archives[0].namelist()[:-1]))) == sorted(
        map(len, map(archives[1].read, archives[1].namelist()[:-1]))
    )


def _without_addresses(state):
    if isinstance(state, list):
        return [_without_addresses(one) for one in state]
    if isinstance(state, dict):
        return {key: _without_addresses(one) for key, one in state.items() if key not in ("__id__", "file")}
    return state


def test_the_search_of_an_export_for_names_leaves_out_the_trees(models, monkeypatch):
    found, search = [], utils_sklearn.enumerate_model_names

    def counting(*given, **more):
        found.append(list(search(*given, **more)))
        return found[-1]

    monkeypatch.setattr(utils_sklearn, "enumerate_model_names", counting)
    assert len(export.to_onnx(models["random_forest"])) > 10_000
    assert 0 < max(map(len, found)) < 30  # the forest has 30 trees


def test_unexpected_types_are_refused():
    stored = skops.io.dumps(HeartlineError("a", where="b", expected="c", hint="d"))
    with pytest.raises(export.ExportError) as caught:
        export.from_skops(stored)
    assert caught.value.what == (
        "the stored pipeline was not loaded: Untrusted types found in the file: ['heartline.errors.HeartlineError']"
    )
    assert caught.value.where == "model.skops"
    assert caught.value.expected == f"only the types that skops trusts and {', '.join(export.trusted_types())}"
    assert "training.families.FAMILIES" in caught.value.hint


def test_trusted_types_do_not_depend_on_the_file(models, monkeypatch):
    # given
    asked = []
    monkeypatch.setattr(skops.io, "get_untrusted_types", lambda **_: pytest.fail("types were taken from the file"))
    monkeypatch.setattr(skops.io, "loads", lambda data, trusted: asked.append(trusted))
    # when
    export.from_skops(export.to_skops(models["random_forest"]))
    export.from_skops(skops.io.dumps(HeartlineError("a", where="b", expected="c", hint="d")))
    # then
    assert asked == [["numpy.dtype", "sklearn.tree._tree.Tree"]] * 2


def test_only_needed_types_are_trusted(models):
    needed = {name for model in models.values() for name in skops.io.get_untrusted_types(data=export.to_skops(model))}
    assert sorted(needed) == export.trusted_types()


def test_a_family_names_further_types_in_its_entry(cohort, monkeypatch):
    # given a family that skops knows less of
    records = splits.to_labelled(record_identity.canonical(cohort))
    steps = [("preprocess", preprocessor(scale=True)), ("model", KNeighborsClassifier(15, algorithm="kd_tree"))]
    neighbours = Pipeline(steps).fit(records.features, records.labels)
    with pytest.raises(export.ExportError, match=r"Untrusted types found in the file: \['[a-zA-Z0-9_.', ]+'\]\n"):
        export.build_bundle(neighbours, about=ABOUT, evaluation={}, seed=0)
    # when its entry names them
    named = tuple(skops.io.get_untrusted_types(data=skops.io.dumps(neighbours)))
    entry = dataclasses.replace(families.family("logistic_regression"), trusted=named)
    monkeypatch.setattr(families, "FAMILIES", {**families.FAMILIES, "neighbours": entry})
    # then it is stored, and read again
    rows = export.legal_rows(50, seed=3)
    stored = export.to_skops(neighbours)
    export.check_stored(families.probability(neighbours, rows), stored, rows)


def test_a_stored_model_with_other_predictions_is_refused(models):
    rows, stored = export.legal_rows(10, seed=0), export.to_skops(models["random_forest"])
    with pytest.raises(export.ExportError, match=r"^the predictions of the stored pipeline differ from the model's\n"):
        export.check_stored(families.probability(models["logistic_regression"], rows), stored, rows)


def test_a_bundle_opens_only_if_it_agrees_with_its_manifest(models):
    # given
    bundle = export.build_bundle(models["logistic_regression"], about=ABOUT, evaluation={}, seed=0)
    files = unpack(bundle)
    assert open_bundle(bundle) == files
    without = {name: data for name, data in files.items() if name != "model.onnx"}
    changed = {
        "model.onnx is missing": without,
        "more is not listed in manifest.json": {**files, "more": b""},
        "manifest.json is missing or cannot be read": {**files, "manifest.json": b"[]"},
        "'../more' is not a plain file": {**files, "../more": b""},
    }
    # when and then
    for what, content in changed.items():
        packed = pack(content)
        with pytest.raises(BundleError) as caught:
            open_bundle(packed)
        assert (caught.value.what, caught.value.where) == (what, f"bundle {hashlib.sha256(packed).hexdigest()[:12]}")
        assert caught.value.expected == "the files that manifest.json lists, each with its sha256 and size"
        assert caught.value.hint.startswith("train again")
    packed = pack({**files, "evaluation.json": b"{} \n"})
    digests = [hashlib.sha256(data).hexdigest() for data in (files["evaluation.json"], b"{} \n")]
    with pytest.raises(BundleError, match=r"^evaluation\.json differs from its digest in manifest\.json\n") as caught:
        open_bundle(packed)
    assert caught.value.expected == f"sha256 {digests[0]} and 3 bytes, found {digests[1]} and 4 bytes"
    with pytest.raises(BundleError, match=r"^this is not a tar archive: "):
        open_bundle(b"no archive at all")


def test_reference_predictions_are_the_models(model):
    files = unpack(export.build_bundle(model, about=ABOUT, evaluation={}, seed=0))
    reference = json.loads(files["reference.json"])
    rows = np.array(
        [[np.nan if one[n] is None else one[n] for n in contract.FEATURE_NAMES] for one in reference["records"]]
    )
    assert families.probability(model, rows).tolist() == reference["probabilities"]
    assert any(value is None for one in reference["records"] for value in one.values())


def test_an_export_of_another_model_is_refused(models):
    onnx = export.to_onnx(models["random_forest"])
    with pytest.raises(export.ExportError, match="probabilities of the ONNX export differ from the model's by up to"):
        export.check_parity(models["logistic_regression"], onnx, export.legal_rows(200, seed=0))


def test_legal_rows_are_legal():
    rows = export.legal_rows(2000, seed=1)
    for position, column in enumerate(contract.FEATURES):
        values = rows[:, position]
        assert np.isnan(values).any() == column.optional
        values = values[~np.isnan(values)]
        assert values.min() >= column.minimum
        assert values.max() <= column.maximum
        if column.codes:
            assert set(values) == set(map(float, column.codes))
