"""An environment with Prefect, thrown away afterwards, and Prefect's local server."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from run_peers.processes import free_port, stopped

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = Path(__file__).with_name("prefect.in")
START_SECONDS = 180


def install(folder: Path) -> Path:
    """Make the environment, and return its Python; what is in the folder already is used again.

    Raises:
        RuntimeError: a package cannot be installed.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        locked = re.findall(r"^(([\w.-]+)\S*==[\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
        wanted = set(re.findall(r"^[\w-]+", PACKAGES.read_text(), re.MULTILINE))
        folder.mkdir(parents=True, exist_ok=True)
        constraints = folder.with_suffix(".constraints.txt")
        # only what the tasks import: of the others, Prefect needs other versions than the lock has
        constraints.write_text("".join(f"{pinned}\n" for pinned, name in locked if name in wanted))
        packages = ("-c", str(constraints), "-r", str(PACKAGES))
        uv = shutil.which("uv") or str(ROOT / ".heartline" / "uv" / "bin" / "uv")
        for command in (
            [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages],
        ):
            environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                python.unlink(missing_ok=True)
                raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return python


@contextmanager
def serving(python: Path, home: Path) -> Iterator[dict[str, str]]:
    """Run Prefect's server, and yield what the environment of a flow has for it.

    Raises:
        RuntimeError: the server does not answer.
    """
    port = free_port()
    variables = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(python), "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(f"{variables['PREFECT_API_URL']}/health", server, home / "server.log")
        yield variables
    finally:
        stopped(server)


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    raise RuntimeError(f"Prefect's server does not answer\n{log.read_text(errors='replace')[-3000:]}")
