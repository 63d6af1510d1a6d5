"""A bundle passes the smoke test if the service reproduces its reference predictions; no process outlives the test."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
import yaml
from onnx import numpy_helper
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.packaging import export, smoke_test
from heartline.packaging.bundle import BundleError, pack, unpack
from heartline.storage import record_identity, splits
from heartline.training import families
from stack.bootstrap import launcher
from stack.processes import definitions, env_markers
from stack.secrets.credentials import Credentials
from stack.settings import Settings
from tests.conftest import ROOT
from tests.waiting import until

Files = dict[str, bytes]
PYTHON = ROOT / ".venv-serving" / "bin" / "python"
EXPECTED = "a service that loads the bundle and reproduces its reference predictions within 1e-05"
REFUSED = "check which step of the family's pipeline or of its export the service does not support"
FAILED = "start the service by hand, with HEARTLINE_BUNDLE set to a folder"


@pytest.fixture(scope="module")
def built(cohort: Any) -> dict[str, bytes]:
    records = splits.to_labelled(record_identity.canonical(cohort))
    profile = families.Profile("test", splits=2, repeats=1, trees=30)
    models = {name: families.fit(name, records, profile=profile, seed=0) for name in families.FAMILIES}
    return {name: _bundle(name, model) for name, model in models.items()}


def _bundle(family: str, model: Pipeline) -> bytes:
    about = {"name": "heart-disease", "family": family, "origin": "sample", "snapshot": "0" * 64}
    return export.build_bundle(model, about=about, evaluation={}, seed=0)


@pytest.fixture
def files(built: dict[str, bytes]) -> Files:
    return unpack(built["logistic_regression"])


@pytest.fixture(autouse=True)
def no_process_or_folder_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each smoke test creates its folder in the test's own folder; by that path its processes are found."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("HEARTLINE_SERVING_PYTHON", raising=False)
    yield
    until(lambda: not services(tmp_path))  # a killed process is listed for a moment longer
    assert list(tmp_path.glob("heartline-smoke-test-*")) == []


def services(folder: Path) -> list[str]:
    """The command lines of the processes that got a bundle below ``folder``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HEARTLINE_BUNDLE", "").startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it ended meanwhile
    return found


def seal(files: Files) -> bytes:
    """Return a bundle of ``files`` with a manifest that agrees with them."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
        if name != "manifest.json"
    }
    return pack({**files, "manifest.json": json.dumps(manifest).encode()})


def named(bundle: bytes) -> str:
    digest = hashlib.sha256(unpack(bundle)["manifest.json"]).hexdigest()
    return f"bundle {digest[:12]} of logistic_regression"


def refusal(bundle: bytes, **arguments: Any) -> smoke_test.SmokeTestError:
    with pytest.raises(smoke_test.SmokeTestError) as caught:
        smoke_test.run(bundle, **arguments)
    assert caught.value.expected == EXPECTED
    return caught.value


def expect_refused(bundle: bytes, what: str, python: Path) -> None:
    error = refusal(bundle, python=python)
    assert (error.what, error.where) == (what, named(bundle))
    assert error.hint.startswith(REFUSED)


@pytest.fixture
def real(need: Callable[[object, str], None]) -> None:
    need(PYTHON.is_file(), "the service's environment (./heartline test makes it)")


@pytest.mark.usefixtures("real")
def test_both_families_pass_at_the_same_time(built: dict[str, bytes]) -> None:
    # when
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(smoke_test.run, built.values()))
    # then
    for bundle, result in zip(built.values(), results, strict=True):
        manifest = unpack(bundle)["manifest.json"]
        assert result.bundle == hashlib.sha256(manifest).hexdigest()
        assert result.records == export.REFERENCE_ROWS
        assert result.max_abs_diff < 1e-6
    assert smoke_test.run(built["random_forest"]) == results[list(built).index("random_forest")]


def flip_onnx(files: Files) -> bytes:
    data = files["model.onnx"]
    return pack({**files, "model.onnx": data[:-1] + bytes([data[-1] ^ 1])})


def change_a_digest_in_the_manifest(files: Files) -> bytes:
    manifest = json.loads(files["manifest.json"])
    manifest["files"]["contract.json"]["sha256"] = "0" * 64
    return pack({**files, "manifest.json": json.dumps(manifest).encode()})


def shift_a_reference(files: Files) -> bytes:
    reference = json.loads(files["reference.json"])
    reference["probabilities"][7] += 1e-3 if reference["probabilities"][7] < 0.5 else -1e-3
    return seal({**files, "reference.json": json.dumps(reference).encode()})


def predict_nan(files: Files) -> bytes:
    model = onnx.load_from_string(files["model.onnx"])
    final = next(node for node in model.graph.node if "probabilities" in node.output)
    final.output[list(final.output).index("probabilities")] = "sound"
    model.graph.initializer.append(numpy_helper.from_array(np.array([np.nan], "float32"), "nan"))
    model.graph.node.append(onnx.helper.make_node("Add", ["sound", "nan"], ["probabilities"]))
    return seal({**files, "model.onnx": model.SerializeToString()})


def require_another_feature(files: Files) -> bytes:
    schema = json.loads(files["contract.json"])
    schema["properties"]["weight"] = {"type": "number", "minimum": 20, "maximum": 300}
    return seal({**files, "contract.json": json.dumps(schema).encode()})


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(
    ("tamper", "file"),
    [
        (flip_onnx, "model.onnx"),
        (change_a_digest_in_the_manifest, "contract.json"),
        (shift_a_reference, "reference.json"),
        (predict_nan, "model.onnx"),
        (require_another_feature, "contract.json"),
    ],
)
def test_the_services_reason_for_refusing_a_bundle_is_repeated(
    files: Files, tamper: Callable[[Files], bytes], file: str
) -> None:
    bundle = tamper(files)
    error = refusal(bundle)
    assert re.fullmatch(rf"the service refuses this bundle: .*\b{re.escape(file)}\b.*", error.what)
    assert error.where == named(bundle)
    assert error.hint.startswith(REFUSED)


@pytest.mark.usefixtures("real")
def test_a_file_that_the_service_does_not_read_is_verified_too(files: Files) -> None:
    data = files["model.skops"]
    bundle = pack({**files, "model.skops": data[:-1] + bytes([data[-1] ^ 1])})
    with pytest.raises(BundleError, match=r"^model\.skops differs from its digest in manifest\.json\n"):
        smoke_test.run(bundle)


@pytest.fixture
def acting(tmp_path: Path) -> Callable[[str], Path]:
    """Make an interpreter that runs a shell script in place of the service."""

    def make(script: str) -> Path:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nif [ "$1" = -IS ]; then exec {sys.executable} "$@"; fi\n{script}\n')
        python.chmod(0o755)
        return python

    return make


ANSWERING = """
import json, re, socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def respond(self, status, body, missing=0):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + missing))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        self.respond(200, {{}})
    def do_POST(self):
        self.respond({status}, {body}, {missing})

server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(re.search("fd://([0-9]+)", " ".join(sys.argv))[1]))
server.serve_forever()
"""


@pytest.fixture
def answering(tmp_path: Path, acting: Callable[[str], Path]) -> Callable[..., Path]:
    """Make an interpreter that runs a service which is ready, and responds to any records with ``body``."""

    def make(body: object, *, status: int = 200, missing: int = 0) -> Path:
        script = tmp_path / "service.py"
        script.write_text(ANSWERING.format(status=status, body=repr(body), missing=missing))
        return acting(f'exec {sys.executable} {script} "$@"')

    return make


def predictions(files: Files) -> list[dict[str, Any]]:
    probabilities = json.loads(files["reference.json"])["probabilities"]
    return [{"probability": one, "has_heart_disease": one >= contract.THRESHOLD} for one in probabilities]


def test_equal_predictions_pass(files: Files, answering: Callable[..., Path]) -> None:
    python = answering({"predictions": predictions(files)})
    assert smoke_test.run(pack(files), python=python).max_abs_diff == 0


def test_another_probability_is_refused(files: Files, answering: Callable[..., Path]) -> None:
    changed = predictions(files)
    changed[4]["probability"] += 2e-5
    what = "the service's probability of reference record 4 differs by 2e-05"
    expect_refused(pack(files), what, answering({"predictions": changed}))


def test_another_label_is_refused(files: Files, answering: Callable[..., Path]) -> None:
    changed = predictions(files)
    changed[9]["has_heart_disease"] ^= True
    what = "the service's label of reference record 9 is the opposite one"
    expect_refused(pack(files), what, answering({"predictions": changed}))


def test_a_missing_prediction_is_refused(files: Files, answering: Callable[..., Path]) -> None:
    what = "the service returned 31 predictions for 32 records"
    expect_refused(pack(files), what, answering({"predictions": predictions(files)[:-1]}))


@pytest.mark.parametrize(
    ("response", "what"),
    [
        ({"body": {"detail": "a fault"}, "status": 500}, "the service fails on the reference records: a fault"),
        ({"body": "<html>"}, "the service's response to /predict is not JSON"),
        ({"body": {}}, "the service's response to /predict has an unexpected form"),
        (
            {"body": {"predictions": [{"probability": None, "has_heart_disease": True}]}},
            "the service returned 1 predictions for 32 records",
        ),
        ({"body": [1], "missing": 1}, "the service closed the connection before its response to /predict was complete"),
    ],
)
def test_an_unusable_response_is_refused(
    files: Files, answering: Callable[..., Path], response: dict[str, Any], what: str
) -> None:
    assert refusal(pack(files), python=answering(**response)).what == what


def test_a_service_that_hangs_is_ended(
    files: Files, acting: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = pack(files)
    python = acting("echo loading; trap '' INT; sleep 600 & sleep 600")
    check = smoke_test._check_ready

    def after_its_first_log_line(service: Any) -> None:
        until(service.log.read_text)
        check(service)

    monkeypatch.setattr(smoke_test, "_check_ready", after_its_first_log_line)
    start = time.monotonic()
    error = refusal(bundle, python=python, seconds=0.5)
    assert error.what == "the service did not respond to /readyz within 0.5 seconds"
    assert error.where == f"{named(bundle)}; the end of the service's log:\n            loading"
    assert error.hint.startswith(FAILED)
    assert time.monotonic() - start < 300, "it waited for the end of the sleep"


def test_the_error_of_a_service_that_ends_at_once_has_its_log(files: Files, acting: Callable[[str], Path]) -> None:
    bundle = pack(files)
    python = acting("for line in 1 2 3 4 5 6 7 8 9; do echo line $line >&2; done; exit 3")
    quoted = "".join(f"\n            line {number}" for number in range(2, 10))
    error = refusal(bundle, python=python)
    assert error.what == "the service ended with exit code 3"
    assert error.where == f"{named(bundle)}; the end of the service's log:{quoted}"
    assert error.hint.startswith(FAILED)


def test_the_error_of_a_killed_service_has_an_empty_log(files: Files, acting: Callable[[str], Path]) -> None:
    bundle = pack(files)
    error = refusal(bundle, python=acting("kill -9 $$"))
    assert error.what == "the service ended with exit code 137"
    assert error.where == f"{named(bundle)}; the end of the service's log: (empty)"


def test_the_service_ends_if_the_process_of_the_smoke_test_is_killed(
    files: Files, acting: Callable[[str], Path], tmp_path: Path
) -> None:
    # given a process that waits for a response
    (tmp_path / "bundle.tar").write_bytes(pack(files))
    script = (
        "import sys, pathlib; from heartline.packaging import smoke_test; "
        "smoke_test.run(pathlib.Path(sys.argv[1]).read_bytes(), python=pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bundle.tar"), str(acting("trap '' INT; sleep 600"))]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "include"), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment)
    until(lambda: any("sleep" in one for one in services(tmp_path)))
    # when
    process.send_signal(signal.SIGKILL)
    process.wait()
    # then
    until(lambda: not services(tmp_path))
    for folder in tmp_path.glob("heartline-smoke-test-*"):  # a killed process cannot remove its folder
        subprocess.run(["rm", "-r", str(folder)], check=True)


def test_the_service_gets_the_markers_of_the_stack_and_no_secret_of_the_environment(
    files: Files, acting: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTLINE_DATABASE_URL", "postgresql://me:secret@host/db")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers=64")
    markers = {env_markers.STACK_VARIABLE, *env_markers.FORMER_NAMES, *env_markers.FORMER_NAMES.values()}
    for name in markers:
        monkeypatch.setenv(name, "/home")
    refusal(pack(files), python=acting(f"env > {tmp_path}/environment; exit 1"))
    received = set(re.findall(r"^(\w+)=", (tmp_path / "environment").read_text(), re.MULTILINE))
    given = {"HEARTLINE_BUNDLE", "HEARTLINE_CACHE", "ORT_DISABLE_TELEMETRY", "PYTHONNOUSERSITE", "PYTHONSAFEPATH"}
    assert received - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} <= {*smoke_test._INHERITED, *given}
    assert {*markers, *given} <= received


def test_a_missing_python_of_the_service_is_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTLINE_SERVING_PYTHON", "/nowhere/python")
    with pytest.raises(smoke_test.ServiceUnavailableError) as caught:
        smoke_test.run(pack(files))
    assert str(caught.value) == (
        "there is no Python with the service's requirements at /nowhere/python\n"
        "  where:    setting HEARTLINE_SERVING_PYTHON\n"
        "  expected: a Python interpreter with the packages of serving/requirements.txt\n"
        "  hint:     ./heartline up creates one in .venv-serving; elsewhere install that file, and set the variable"
    )


def test_a_python_that_cannot_be_run_is_named(files: Files, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(smoke_test.ServiceUnavailableError, match=r"/python cannot be run: Exec format error\n"):
        smoke_test.run(pack(files), python=tmp_path / "python")


def test_missing_code_of_the_service_is_named(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke_test, "ROOT", tmp_path)
    with pytest.raises(smoke_test.ServiceUnavailableError, match=r"^the service's code is missing\n"):
        smoke_test.run(pack(files), python=Path(sys.executable))


def test_airflow_gets_the_path_of_the_services_python(tmp_path: Path) -> None:
    # given
    settings = Settings.load({"HEARTLINE_HOME": str(tmp_path)}, ROOT)
    local = {one.name: one.settings for one in definitions.define_processes(settings, Credentials(tmp_path))}
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    # when
    here = local[definitions.SCHEDULER]["HEARTLINE_SERVING_PYTHON"]
    there = compose["services"]["airflow-scheduler"]["environment"]["HEARTLINE_SERVING_PYTHON"]
    # then
    assert here == str(launcher.SERVING.python)
    environment = there.removesuffix("/bin/python")
    assert f"python -m venv --without-pip {environment}" in (ROOT / "Dockerfile").read_text()


def test_the_stacks_service_ignores_a_bundle_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTLINE_BUNDLE", "/candidate")
    assert "HEARTLINE_BUNDLE" not in definitions.base_environment()


def test_the_folder_of_a_killed_smoke_test_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "tmp"
    folders.mkdir()
    monkeypatch.setattr(smoke_test.tempfile, "tempdir", str(folders))
    other = folders / "other"
    killed, running, young = (folders / f"{smoke_test.FOLDER}{name}" for name in "kry")
    for folder in (killed, running, young, other):
        folder.mkdir()
        (folder / "owner").touch()
        os.utime(folder, (0, 0) if folder is not young else None)

    with (running / "owner").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        smoke_test._remove_left_over()

    assert [folder.exists() for folder in (killed, running, young, other)] == [False, True, True, True]
