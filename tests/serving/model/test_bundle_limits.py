"""The numbers and sizes in a bundle are limited before they are read."""

import json

import pytest

from serving.model import bundle
from serving.model.bundle import BundleError, Model, parse_manifest
from tests.serving.fakes import CONTRACT, RECORD, expected_probability, make_bundle, seal


def test_too_many_reference_records_are_refused() -> None:
    count = bundle.REFERENCE_RECORDS
    reference = {"records": [RECORD] * count, "probabilities": [expected_probability(RECORD, -2.0)] * count}
    assert Model(make_bundle(reference=reference)).suits_fast_path in (True, False)

    for name in ("records", "probabilities"):
        more = {**reference, name: [*reference[name], reference[name][0]]}
        with pytest.raises(BundleError, match="length <= 1000"):
            Model(make_bundle(reference=more))


def test_too_many_fields_of_a_contract_are_refused() -> None:
    fields = {f"f{number}": {"type": ["number", "null"]} for number in range(bundle.CONTRACT_FIELDS)}
    contract = {**CONTRACT, "properties": {**CONTRACT["properties"], **fields}}

    with pytest.raises(BundleError, match=r"at most 1000 are supported|contract\.json is not a contract"):
        Model(make_bundle(contract=contract))


@pytest.mark.parametrize("name", bundle.REQUIRED)
def test_a_file_that_is_too_large_is_refused_by_its_size_in_the_manifest(name: str) -> None:
    manifest = json.loads(make_bundle()["manifest.json"])
    manifest["files"][name]["bytes"] = bundle.FILE_BYTES[name] + 1

    with pytest.raises(BundleError, match=f"{name} has {bundle.FILE_BYTES[name] + 1} bytes"):
        parse_manifest(json.dumps(manifest).encode())


def test_a_manifest_with_too_many_files_is_refused() -> None:
    files = {f"f{number}": b"" for number in range(bundle.MANIFEST_FILES)}

    with pytest.raises(BundleError, match="length <= 1000"):
        parse_manifest(seal({**make_bundle(), **files})["manifest.json"])
