"""Schemathesis: responses to generated requests match the OpenAPI document, over HTTP and with a real model."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.api import explain
from tests.serving import trained
from tests.serving.gunicorns import ROOT, WORKERS, Gunicorn

HERE = Path(__file__).parent
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
EXAMPLES = 40  # for each operation, in addition to those that cover each keyword of its schemas
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,positive_data_acceptance,missing_required_header,"
    "unsupported_method,allow_header_conformance,ignored_auth"
)


@pytest.fixture(params=WORKERS)
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gunicorn]:
    """The service on each worker, with a model that was trained on the sample."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, data in trained.bundle("logistic_regression").items():
        (folder / name).write_bytes(data)
    service = Gunicorn(
        tmp_path,
        HEARTLINE_WORKER=request.param,
        HEARTLINE_BUNDLE=folder,
        HEARTLINE_MAX_RECORDS=explain.MAX_RECORDS,
        HEARTLINE_PREDICTION_LOG_URL=NO_DATABASE,
    )
    service.wait_until_it_answers()
    yield service
    service.stop()


def test_every_response_is_as_documented(service: Gunicorn, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(HERE / "schemathesis.toml"), "run", f"{service.url}/openapi.json"]
    command += ["--phases", "coverage,fuzzing", "--checks", CHECKS, "--max-examples", str(EXAMPLES)]
    command += ["--seed", "1", "--generation-deterministic", "--no-color", "--continue-on-failure"]
    found = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}:{HERE}"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )

    output = "\n".join(line[:300] for line in (found.stdout + found.stderr).splitlines())
    assert found.returncode == 0, output
