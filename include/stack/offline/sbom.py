"""Writes the list of a bundle's packages as CycloneDX JSON (an SBOM), with the tool ``cyclonedx-bom``."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from stack.offline.wheels import Pin, run

TOOLS = Path(__file__).with_name("tools.txt")
SPECIFICATION = "1.6"

_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1], encoding="utf-8").read())
sys.exit(f"not valid CycloneDX: {problem}" if problem else 0)
"""


def write(
    target: Path, wanted: Sequence[Pin], wheels: Path, digests: Mapping[str, str], python: Path, pyproject: Path
) -> None:
    """Write an SBOM of packages, with the digests and licences of their wheels, and validate it.

    Args:
        target: the file, which is to end in ``.cdx.json``.
        wanted: the packages.
        wheels: the folder of their wheels.
        digests: the SHA-256 of each wheel, by its file name.
        python: of an environment with ``cyclonedx-bom``.
        pyproject: describes the project itself.

    Raises:
        MachineError: the tool failed, or what it wrote is not valid.
    """
    bundled = frozenset(digests.values())
    requirements = target.with_suffix(".part")
    lines = {one.line(one.digests & bundled) for one in wanted}
    requirements.write_text("\n".join(sorted(lines)) + "\n")
    command = [str(python), "-m", "cyclonedx_py", "requirements", str(requirements), "--pyproject", str(pyproject)]
    command += ["--mc-type", "application", "--spec-version", SPECIFICATION, "--output-format", "JSON"]
    run([*command, "--output-reproducible", "--output-file", str(target)], f"the list of packages {target.name}")
    requirements.unlink()
    document = json.loads(target.read_text())
    licences = {_name(wheel): _licences(wheels / wheel) for wheel in digests}
    for component in document.get("components", []):
        if found := licences.get(component["name"].lower().replace("-", "_").replace(".", "_")):
            component["licenses"] = found
    target.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    run([str(python), "-c", _VALIDATE, str(target)], f"validating {target.name}")


def _name(wheel: str) -> str:
    return wheel.split("-", 1)[0].lower().replace(".", "_")


def _licences(wheel: Path) -> list[dict[str, Any]]:
    """Return the licences that a wheel's metadata names, in CycloneDX's form."""
    with zipfile.ZipFile(wheel) as archive:
        name = next((one for one in archive.namelist() if one.endswith(".dist-info/METADATA")), None)
        if name is None:
            return []
        metadata = HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))
    if expression := metadata.get("License-Expression"):
        return [{"license": {"name": expression}}]
    classified = [
        one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier", []) if one.startswith("License ::")
    ]
    text = (metadata.get("License") or "").strip()
    named = classified or ([text.splitlines()[0][:100]] if text else [])
    return [{"license": {"name": one}} for one in dict.fromkeys(named)]
