"""The smoke test of a bundle: the service loads it and predicts its reference records before it is registered.

The service runs as in production, with its own code and its own Python, but in a process that is started for this test
and on a free port of this machine. None of the service's code is imported here.
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heartline.errors import HeartlineError
from heartline.packaging import export
from heartline.packaging.bundle import open_bundle, unpack

PYTHON = "HEARTLINE_SERVING_PYTHON"
ROOT = Path(__file__).resolve().parents[3]
RESPONSE_TIMEOUT = 60.0  # seconds for one response; the first one includes the service's start, one or two seconds
SHUTDOWN_TIMEOUT = 5.0  # seconds from the end of the test until the service is killed
EXIT_TIMEOUT = 2.0  # seconds between the end of a connection and that of the process: the port closes first
LOG_LINES = 8
FOLDER = "heartline-smoke-test-"  # in the folder for temporary files; the rest of the name is random
SETTLED_SECONDS = 60.0  # a younger folder may not be locked yet by the process that made it
_WATCHDOG = Path(__file__).with_name("watchdog.py")
# The local stack recognises its own processes by these. An earlier release set the last two instead of the two before.
_STACK_MARKERS = (
    "HEARTLINE_STACK",
    "HEARTLINE_PROCESS",
    "HEARTLINE_PROCESS_DIGEST",
    "HEARTLINE_PART",
    "HEARTLINE_PART_DIGEST",
)
# The service gets only these variables of this process, so it gets no password of a task.
_INHERITED = (*_STACK_MARKERS, "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_EXPECTED = f"a service that loads the bundle and reproduces its reference predictions within {export.TOLERANCE:g}"

log = logging.getLogger(__name__)


class SmokeTestError(HeartlineError):
    """A bundle did not pass the smoke test."""


class ServiceUnavailableError(SmokeTestError):
    """The service is not installed here, so no bundle can be tested."""


@dataclass(frozen=True)
class SmokeTestResult:
    """The result of a passed smoke test.

    Attributes:
        bundle: sha256 of the manifest, by which the service names the bundle.
        records: number of reference records that the service predicted.
        max_abs_diff: largest absolute difference of a probability from the reference.
    """

    bundle: str
    records: int
    max_abs_diff: float


@dataclass(frozen=True)
class _Service:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    seconds: float
    where: str

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and JSON of a response."""
        # http.client ignores the proxies of the environment.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except TimeoutError as error:
            raise self.error(f"the service did not respond to {path} within {self.seconds:g} seconds") from error
        except ValueError as error:
            raise self.error(f"the service's response to {path} is not JSON") from error
        except (OSError, http.client.HTTPException) as error:
            raise self.error(self._end(path)) from error
        finally:
            connection.close()

    def _end(self, path: str) -> str:
        try:
            code = self.process.wait(timeout=EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            return f"the service closed the connection before its response to {path} was complete"
        return f"the service ended with exit code {code}"

    def error(self, what: str) -> SmokeTestError:
        """Return an error with the end of the service's log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        end = "".join(f"\n            {line}" for line in lines) or " (empty)"
        return SmokeTestError(
            what,
            where=f"{self.where}; the end of the service's log:{end}",
            expected=_EXPECTED,
            hint="start the service by hand, with HEARTLINE_BUNDLE set to a folder with the bundle's files "
            "(serving/README.md)",
        )


def _remove_left_over() -> None:
    """Delete the folders of smoke tests whose process was killed: nobody holds the lock in them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):  # it belongs to another user, or its process runs
            if time.time() - folder.stat().st_mtime < SETTLED_SECONDS:
                continue  # its process may not have locked it yet
            with (folder / "owner").open("a") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


def run(bundle: bytes, *, python: Path | None = None, seconds: float = RESPONSE_TIMEOUT) -> SmokeTestResult:
    """Start the service with a bundle, and compare its predictions for the reference records with the stored ones.

    Args:
        bundle: a tar archive by ``export.build_bundle``.
        python: the interpreter with the service's requirements; by default that of ``HEARTLINE_SERVING_PYTHON``, else
            that of ``.venv-serving``.
        seconds: time limit of one response.

    Raises:
        ServiceUnavailableError: that interpreter, or the service's code, is missing.
        SmokeTestError: the service refuses the bundle, gives other predictions, does not respond, or ends.
        BundleError: it is not an archive, or a file that the service does not read differs from its digest.
    """
    interpreter = _interpreter(python)
    _remove_left_over()
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name, (Path(name) / "owner").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)  # released with the process, however it ends
        folder = Path(name)
        (folder / "bundle").mkdir()
        for file, data in unpack(bundle).items():
            (folder / "bundle" / file).write_bytes(data)
        where = _where(folder / "bundle")
        with _serving(interpreter, folder, where, seconds) as service:
            _check_ready(service)
            result = _check_predictions(service, folder / "bundle")
    open_bundle(bundle)  # the service checks only the files that it reads
    log.info(
        "smoke test passed for %s: %d reference records, probabilities differ by at most %.1g",
        where,
        result.records,
        result.max_abs_diff,
    )
    return result


@contextmanager
def _serving(python: Path, folder: Path, where: str, seconds: float) -> Iterator[_Service]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"HEARTLINE_BUNDLE": str(folder / "bundle"), "HEARTLINE_CACHE": str(folder / "cache")}
    log_file = folder / "log"
    # The service inherits an open socket: no other process can take the port, and the first request waits.
    with socket.create_server(("127.0.0.1", 0)) as server, log_file.open("wb") as output:
        port = server.getsockname()[1]
        try:
            process = subprocess.Popen(
                _command(python, server.fileno()),
                cwd=ROOT,
                env=environment | {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1", "ORT_DISABLE_TELEMETRY": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[server.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            raise _no_python(f"{python} cannot be run: {error.strerror}") from error
    try:
        yield _Service(process, port, log_file, seconds, where)
    finally:
        _end(process)


def _command(python: Path, descriptor: int) -> Sequence[str]:
    settings = ROOT / "serving" / "gunicorn.conf.py"
    gunicorn = ["-m", "gunicorn", "-c", str(settings), "--bind", f"fd://{descriptor}", "--workers=1", "--threads=1"]
    return [str(python), "-IS", str(_WATCHDOG), str(python), *gunicorn]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()  # the watchdog then ends the service and itself
    try:
        process.wait(SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _check_ready(service: _Service) -> None:
    status, response = service.ask("GET", "/readyz")
    if status != 200:
        raise _refusal(service, f"the service refuses this bundle: {_detail(response)}")


def _check_predictions(service: _Service, folder: Path) -> SmokeTestResult:
    manifest = (folder / "manifest.json").read_bytes()
    threshold = json.loads(manifest)["model"]["threshold"]
    reference = json.loads((folder / "reference.json").read_bytes())
    records, expected = reference["records"], np.array(reference["probabilities"])
    status, response = service.ask("POST", "/predict", records)
    if status != 200:
        raise service.error(f"the service fails on the reference records: {_detail(response)}")
    try:
        found = np.array([one["probability"] for one in response["predictions"]], dtype="float64")
        labels = np.array([one["has_heart_disease"] for one in response["predictions"]], dtype="bool")
    except (KeyError, TypeError, ValueError) as error:
        raise service.error("the service's response to /predict has an unexpected form") from error
    if len(found) != len(expected):
        raise _refusal(service, f"the service returned {len(found)} predictions for {len(expected)} records")
    differences = np.abs(found - expected)
    if not differences.max() <= export.TOLERANCE:
        worst = int(differences.argmax())
        raise _refusal(
            service, f"the service's probability of reference record {worst} differs by {differences[worst]:.2g}"
        )
    # At the threshold a difference in the last bit changes the label; that does not make it another model.
    flipped = (np.abs(expected - threshold) > export.TOLERANCE) & (labels != (expected >= threshold))
    if flipped.any():
        raise _refusal(service, f"the service's label of reference record {int(flipped.argmax())} is the opposite one")
    return SmokeTestResult(hashlib.sha256(manifest).hexdigest(), len(records), float(differences.max()))


def _refusal(service: _Service, what: str) -> SmokeTestError:
    return SmokeTestError(
        what,
        where=service.where,
        expected=_EXPECTED,
        hint="check which step of the family's pipeline or of its export the service does not support; the model is "
        "not registered",
    )


def _detail(response: Any) -> str:
    """Return the detail of a problem document."""
    return str(response.get("detail", response)) if isinstance(response, dict) else str(response)


def _interpreter(python: Path | None) -> Path:
    # Not resolved: Python finds its virtual environment by the path of the link to the interpreter.
    interpreter = (python or Path(os.environ.get(PYTHON) or ROOT / ".venv-serving" / "bin" / "python")).absolute()
    if not (interpreter.is_file() and os.access(interpreter, os.X_OK)):
        raise _no_python(f"there is no Python with the service's requirements at {interpreter}")
    if not (ROOT / "serving" / "gunicorn.conf.py").is_file():
        raise ServiceUnavailableError(
            "the service's code is missing",
            where=str(ROOT / "serving"),
            expected="the folder serving/ of the repository",
            hint="restore the folder, or copy it next to include/",
        )
    return interpreter


def _no_python(what: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        what,
        where=f"setting {PYTHON}",
        expected="a Python interpreter with the packages of serving/requirements.txt",
        hint="./heartline up creates one in .venv-serving; elsewhere install that file, and set the variable",
    )


def _where(folder: Path) -> str:
    """Return a name of the bundle in ``folder``, also if its manifest is damaged: the service checks the bundle."""
    try:
        manifest = (folder / "manifest.json").read_bytes()
        about: Mapping[str, Any] = json.loads(manifest)["model"]
        return f"bundle {hashlib.sha256(manifest).hexdigest()[:12]} of {about['family']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a bundle without a readable manifest"
