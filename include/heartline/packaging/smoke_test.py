"""The gate before the registry: the service itself answers with a bundle, or the bundle is not registered.

The service runs as it does in production, by its own code and in its own Python, but in a process that lives for this
one question, on a port that nobody else knows. Nothing of it is imported here.
"""

import hashlib
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import tempfile
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
SECONDS = 60.0  # for one answer, the first of which waits for the start; it takes one or two
PATIENCE = 5.0  # seconds for its end
LOG_LINES = 8
_WATCHDOG = Path(__file__).with_name("watchdog.py")
# All that the service gets of this process' environment: no password of a task is any of its business. The last three
# tell the local stack what is its own.
_OURS = ("HEARTLINE_STACK", "HEARTLINE_PART", "HEARTLINE_PART_DIGEST")
_HANDED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", *_OURS)
_EXPECTED = f"a service that loads the bundle and answers its reference records within {export.TOLERANCE:g}"

log = logging.getLogger(__name__)


class GateError(HeartlineError):
    """A bundle did not pass."""


class NoServiceError(GateError):
    """There is no service here to ask, so that nothing is known of any bundle."""


@dataclass(frozen=True)
class Admission:
    """What a bundle passed with.

    Attributes:
        bundle: sha256 of its manifest, which is how the service names it.
        records: how many reference records the service answered.
        apart: the largest difference of a probability from the reference.
    """

    bundle: str
    records: int
    apart: float


@dataclass(frozen=True)
class _Service:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    seconds: float
    where: str

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and JSON of an answer."""
        # no proxy of the environment stands in between: http.client knows none
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except TimeoutError as error:
            raise self.error(f"the service did not answer {path} within {self.seconds:g} seconds") from error
        except ValueError as error:
            raise self.error(f"the service answered {path} with something that is not JSON") from error
        except (OSError, http.client.HTTPException) as error:
            raise self.error(self._end(path)) from error
        finally:
            connection.close()

    def _end(self, path: str) -> str:
        try:
            code = self.process.wait(timeout=2)  # its port closes a moment before it ends
        except subprocess.TimeoutExpired:
            return f"the service broke off its answer to {path}"
        return f"the service ended with exit code {code}"

    def error(self, what: str) -> GateError:
        """Return an error that repeats what the service last said."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        said = "".join(f"\n            {line}" for line in lines) or " nothing"
        return GateError(
            what,
            where=f"{self.where}; the service's last words:{said}",
            expected=_EXPECTED,
            hint="start it by hand with the bundle in a folder that HEARTLINE_BUNDLE names (serving/README.md)",
        )


def admit(bundle: bytes, *, python: Path | None = None, seconds: float = SECONDS) -> Admission:
    """Let the service load a bundle and answer its reference records over HTTP.

    Args:
        bundle: as ``export.build_bundle`` made it.
        python: the interpreter with the service's requirements; else that of ``HEARTLINE_SERVING_PYTHON``, else the
            clone's own.
        seconds: how long one answer may take.

    Raises:
        NoServiceError: that interpreter, or the service's code, is not here.
        GateError: the service refuses the bundle, answers otherwise, does not answer, or ends.
        BundleError: it is no archive, or a file that the service has no use for differs from its digest.
    """
    interpreter = _interpreter(python)
    with tempfile.TemporaryDirectory(prefix="heartline-gate-") as name:
        folder = Path(name)
        (folder / "bundle").mkdir()
        for file, data in unpack(bundle).items():
            (folder / "bundle" / file).write_bytes(data)
        where = _where(folder / "bundle")
        with _serving(interpreter, folder, where, seconds) as service:
            _check_ready(service)
            admission = _check_answers(service, folder / "bundle")
    open_bundle(bundle)  # the service looks at the files that it needs, and at no others
    log.info("the service admits %s: %d records, at most %.1g apart", where, admission.records, admission.apart)
    return admission


@contextmanager
def _serving(python: Path, folder: Path, where: str, seconds: float) -> Iterator[_Service]:
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    environment |= {"HEARTLINE_BUNDLE": str(folder / "bundle"), "HEARTLINE_CACHE": str(folder / "cache")}
    said = folder / "log"
    # the port is open before the service is there, and is handed over: none can be taken in between, and the first
    # question waits by itself
    with socket.create_server(("127.0.0.1", 0)) as server, said.open("wb") as output:
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
        yield _Service(process, port, said, seconds, where)
    finally:
        _end(process)


def _command(python: Path, descriptor: int) -> Sequence[str]:
    settings = ROOT / "serving" / "gunicorn.conf.py"
    gunicorn = ["-m", "gunicorn", "-c", str(settings), "--bind", f"fd://{descriptor}", "--workers=1", "--threads=1"]
    return [str(python), "-IS", str(_WATCHDOG), str(python), *gunicorn]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()  # the watchdog ends the service, and itself
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _check_ready(service: _Service) -> None:
    status, answer = service.ask("GET", "/readyz")
    if status != 200:
        raise _refusal(service, f"the service will not serve this bundle: {_words(answer)}")


def _check_answers(service: _Service, folder: Path) -> Admission:
    manifest = (folder / "manifest.json").read_bytes()
    threshold = json.loads(manifest)["model"]["threshold"]
    reference = json.loads((folder / "reference.json").read_bytes())
    records, expected = reference["records"], np.array(reference["probabilities"])
    status, answer = service.ask("POST", "/predict", records)
    if status != 200:
        raise service.error(f"the service fails on the reference records: {_words(answer)}")
    try:
        found = np.array([one["probability"] for one in answer["predictions"]], dtype="float64")
        labels = np.array([one["has_heart_disease"] for one in answer["predictions"]], dtype="bool")
    except (KeyError, TypeError, ValueError) as error:
        raise service.error("the service answers /predict in another form than it should") from error
    if len(found) != len(expected):
        raise _refusal(service, f"the service gives {len(found)} answers to {len(expected)} records")
    apart = np.abs(found - expected)
    if not apart.max() <= export.TOLERANCE:
        worst = int(apart.argmax())
        raise _refusal(
            service, f"the service answers reference record {worst} with a probability {apart[worst]:.2g} off"
        )
    # on the threshold itself the last bit decides, which is another answer but not another model
    flipped = (np.abs(expected - threshold) > export.TOLERANCE) & (labels != (expected >= threshold))
    if flipped.any():
        raise _refusal(service, f"the service gives reference record {int(flipped.argmax())} the other label")
    return Admission(hashlib.sha256(manifest).hexdigest(), len(records), float(apart.max()))


def _refusal(service: _Service, what: str) -> GateError:
    return GateError(
        what,
        where=service.where,
        expected=_EXPECTED,
        hint="look for what the family's pipeline or its export does that the service cannot; it is not registered",
    )


def _words(answer: Any) -> str:
    """Return what a problem document says."""
    return str(answer.get("detail", answer)) if isinstance(answer, dict) else str(answer)


def _interpreter(python: Path | None) -> Path:
    # absolute, but not resolved: an environment is found by the link that its interpreter is
    interpreter = (python or Path(os.environ.get(PYTHON) or ROOT / ".venv-serving" / "bin" / "python")).absolute()
    if not (interpreter.is_file() and os.access(interpreter, os.X_OK)):
        raise _no_python(f"there is no Python with the service's requirements at {interpreter}")
    if not (ROOT / "serving" / "gunicorn.conf.py").is_file():
        raise NoServiceError(
            "the code of the service is not here",
            where=str(ROOT / "serving"),
            expected="the folder as it is in the repository",
            hint="restore it, or copy it beside include/",
        )
    return interpreter


def _no_python(what: str) -> NoServiceError:
    return NoServiceError(
        what,
        where=f"setting {PYTHON}",
        expected="an interpreter into whose environment serving/requirements.txt was installed",
        hint="./heartline up makes one in .venv-serving; elsewhere install that file, and set the variable",
    )


def _where(folder: Path) -> str:
    """Return how to call the bundle in ``folder``, whatever state it is in: the service is to judge that."""
    try:
        manifest = (folder / "manifest.json").read_bytes()
        about: Mapping[str, Any] = json.loads(manifest)["model"]
        return f"bundle {hashlib.sha256(manifest).hexdigest()[:12]} of {about['family']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a bundle without a manifest that can be read"
