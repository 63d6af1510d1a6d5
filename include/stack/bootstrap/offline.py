"""Whether this clone works without a network, and where its packages come from then. Needs only the standard library.

The folder that ``./heartline bundle`` writes is a clone with two things more: the folder of packages, and its manifest.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stack.errors import MachineError, UsageError

SETTING = "HEARTLINE_OFFLINE"
OPTION = "--offline"
WHEELS = "wheels"
MANIFEST = "bundle.json"


def wanted(options: Sequence[str], environ: Mapping[str, str], root: Path) -> bool:
    """Tell whether nothing may be downloaded: by the option, the setting, or because the clone came from a bundle.

    Raises:
        UsageError: the setting is neither ``yes`` nor ``no``.
    """
    value = environ.get(SETTING, "")
    if value not in ("", "yes", "no"):
        raise UsageError(
            f"{value!r} is neither yes nor no",
            where=f"setting {SETTING}",
            expected="yes: nothing is downloaded; no: packages and records may be",
            hint="correct it, or unset it: a folder from ./heartline bundle works offline by itself",
        )
    return OPTION in options or value == "yes" or (not value and (root / WHEELS / MANIFEST).exists())


def wheels(root: Path, version: tuple[int, int] = sys.version_info[:2]) -> Path:
    """Return the folder of the packages, after checking that it has those for this Python.

    Args:
        root: the clone.
        version: of the Python that the packages are for.

    Raises:
        MachineError: there is no such folder, or it holds no packages for this Python.
    """
    folder, python = root / WHEELS, f"{version[0]}.{version[1]}"
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except OSError:
        raise MachineError(
            "there are no packages to install from",
            where=f"{folder / MANIFEST} (offline)",
            expected="the folder that ./heartline bundle writes on a machine with a network",
            hint=f"call ./heartline in that folder; with a network, leave {OPTION} and {SETTING} out",
        ) from None
    if python not in manifest["pythons"]:
        raise MachineError(
            f"this bundle has no packages for Python {python}",
            where=str(folder / MANIFEST),
            expected=f"Python {' or '.join(manifest['pythons'])}",
            hint=f"python{manifest['pythons'][0]} ./heartline up; or, on a machine with a network, "
            f"./heartline bundle OUT --python {python}",
        )
    return folder
