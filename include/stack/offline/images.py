"""Writes the images of docker compose into a bundle, and what makes compose use them without building."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stack.errors import MachineError

ARCHIVE = "images.tar"
OVERRIDE = "docker-compose.override.yaml"  # docker compose reads a file of this name by itself
_OVERRIDE = "# The images of this bundle are loaded, not built: docker load --input images/images.tar\nservices:\n"


def save(root: Path, target: Path) -> list[str]:
    """Save the images of every service of ``docker-compose.yaml``, and write the override file beside it.

    Args:
        root: the clone.
        target: the folder of the bundle.

    Returns:
        The names of the images.

    Raises:
        MachineError: there is no Docker engine, or it lacks an image.
    """
    services = compose_services(root)
    images = sorted({one["image"] for one in services.values()})
    missing = [one for one in images if _docker(root, ["image", "inspect", one], required=False) is None]
    if missing:
        raise MachineError(
            f"this Docker engine has no image {missing[0]}",
            where="heartline bundle --images",
            expected="all images of docker-compose.yaml: " + ", ".join(images),
            hint="docker compose --profile '*' build, docker compose --profile '*' pull --ignore-buildable, then again",
        )
    folder = target / "images"
    folder.mkdir()
    _docker(root, ["save", "--output", str(folder / ARCHIVE), *images])
    (target / OVERRIDE).write_text(override(services))
    return images


def override(services: dict[str, dict[str, Any]]) -> str:
    """Return the file that makes docker compose build nothing."""
    built = [name for name, one in services.items() if "build" in one or one.get("pull_policy") == "build"]
    return _OVERRIDE + "".join(f"  {name}:\n    build: !reset null\n    pull_policy: never\n" for name in sorted(built))


def compose_services(root: Path) -> dict[str, dict[str, Any]]:
    """Return the services of the clone's ``docker-compose.yaml``, of every profile, as docker compose reads it.

    Raises:
        MachineError: docker compose is missing, or refuses the file.
    """
    text = _docker(root, ["compose", "--profile", "*", "config", "--format", "json"])
    found: dict[str, dict[str, Any]] = json.loads(text or "{}")["services"]
    return found


def _docker(root: Path, arguments: Sequence[str], *, required: bool = True) -> str | None:
    try:
        ended = subprocess.run(["docker", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise _failed(arguments, "docker: command not found") from None
    if ended.returncode and required:
        raise _failed(arguments, ended.stderr.strip())
    return None if ended.returncode else ended.stdout


def _failed(arguments: Sequence[str], said: str) -> MachineError:
    return MachineError(
        "the images of docker compose cannot be saved",
        where=f"docker {' '.join(arguments[:2])}: {said[-500:]}",
        expected="Docker with compose 2.26 or newer, and its engine running",
        hint="start the engine; or leave --images out",
    )
