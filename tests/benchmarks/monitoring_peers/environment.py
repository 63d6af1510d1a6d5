"""An environment with Evidently and NannyML, and their alarms in simulated weeks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = Path(__file__).with_name("peers.in")


def install(folder: Path) -> Path:
    """Make the environment, and return its Python; what is in the folder already is used again.

    Raises:
        RuntimeError: a package cannot be installed.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(ROOT / ".heartline" / "uv" / "bin" / "uv")
        for command in (
            [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), "-r", str(PACKAGES)],
        ):
            environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                python.unlink(missing_ok=True)
                raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return python


def alarms(python: Path, data: Path) -> dict[str, Any]:
    """Return the weeks with an alarm of each tool, as ``weeks.py`` prints them.

    Args:
        python: of the environment.
        data: an .npz file with a simulated year.

    Raises:
        RuntimeError: the program fails.
    """
    variables = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(python), "-W", "ignore", str(Path(__file__).with_name("weeks.py")), str(data)],
        env={**os.environ, **variables, "NML_DISABLE_USAGE_LOGGING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
