"""Puts a bundle together: the source, the wheels, their SBOM, their digests, and what to do with them."""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stack import console
from stack.bootstrap import offline
from stack.bootstrap.environments import UV_PIN
from stack.bootstrap.launcher import version
from stack.errors import UsageError, WorkError
from stack.offline import images, platforms, sbom, wheels
from stack.settings import REQUIREMENTS, ROOT, SERVING_REQUIREMENTS, TEST_REQUIREMENTS

SUMS = "SHA256SUMS"
HOWTO = "OFFLINE.md"
SBOMS = "sbom"
ARCHIVE_SUFFIX = ".tar"


def write(
    root: Path,
    out: Path,
    *,
    pythons: Sequence[str] = (),
    platforms: Sequence[str] = (),
    tests: bool = False,
    with_images: bool = False,
) -> Path:
    """Write a bundle of a clone's committed state. Nothing half is left behind if a step fails.

    Args:
        root: the clone.
        out: the folder to write, or the archive if it ends in ``.tar``; there must be none.
        pythons: such as ``3.13``; by default the running one.
        platforms: names of ``platforms.PLATFORMS``; by default this machine's.
        tests: whether the packages of the tests are included.
        with_images: whether the images of docker compose are included.

    Returns:
        ``out``, absolute.

    Raises:
        UsageError: ``out`` exists, or there is no such platform.
        WorkError: the clone has uncommitted changes, or a package lacks a wheel.
        MachineError: the registry or the Docker engine cannot be reached.
    """
    out = out.expanduser().resolve()
    targets = _Targets(pythons, platforms)
    commit = _committed(root)
    if out.exists():
        raise UsageError(
            "there is something with this name already",
            where=str(out),
            expected="the name of a new folder, or of a new archive that ends in .tar",
            hint="choose another name",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        name = f"heartline-{version(root)}"
        folder = Path(scratch) / name
        folder.mkdir()
        _fill(root, folder, Path(scratch), targets, commit, tests=tests, with_images=with_images)
        if out.suffix == ARCHIVE_SUFFIX:
            with console.step("one archive"):
                packed = Path(scratch) / out.name
                with tarfile.open(packed, "w") as archive:
                    archive.add(folder, arcname=name)
                packed.replace(out)
        else:
            folder.replace(out)
    return out


class _Targets:
    """The Pythons and platforms of a bundle."""

    def __init__(self, pythons: Sequence[str], names: Sequence[str]) -> None:
        running = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.pythons = sorted(set(pythons), key=_number) or [running]
        self.platforms = platforms.find(names)

    def pins(self, locks: Sequence[Path]) -> list[wheels.Pin]:
        """Return the packages of the lock files on any of them, each once."""
        found = [
            pin
            for lock in locks
            for python in self.pythons
            for platform in self.platforms
            for pin in wheels.pins(lock.read_text(), python, platform)
        ]
        return list(dict.fromkeys(found))


def _number(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split("."))


def _fill(
    root: Path, folder: Path, scratch: Path, targets: _Targets, commit: str, *, tests: bool, with_images: bool
) -> None:
    with console.step(f"the source, commit {commit[:10]}"):
        _source(root, folder)
    store = folder / offline.WHEELS
    store.mkdir()
    with console.step("the tools that download and list"):
        tools = _tools(scratch / "tools")
    pin = folder / UV_PIN.relative_to(ROOT)
    locks = {"heartline": [folder / REQUIREMENTS, pin], "serving": [folder / SERVING_REQUIREMENTS]}
    if tests:
        locks["tests"] = [folder / TEST_REQUIREMENTS]
    everything = [lock for group in locks.values() for lock in group]
    for python in targets.pythons:
        for platform in targets.platforms:
            with console.step(f"wheels for Python {python} on {platform.name}"):
                for lock in everything:
                    wanted = wheels.pins(lock.read_text(), python, platform)
                    wheels.download(wanted, store, [str(tools), "-m", "pip"], python, platform)
    with console.step("digests"):
        digests = wheels.verified(store, targets.pins(everything))
    (folder / SBOMS).mkdir()
    with console.step("SBOM"):
        for name, group in locks.items():
            target = folder / SBOMS / f"{name}.cdx.json"
            sbom.write(target, targets.pins(group), store, digests, tools, folder / "pyproject.toml")
    saved: list[str] = []
    if with_images:
        with console.step("images"):
            saved = images.save(root, folder)
    _describe(folder, targets, commit, digests, saved)


def _describe(folder: Path, targets: _Targets, commit: str, digests: dict[str, str], saved: list[str]) -> None:
    manifest = {
        "version": version(folder),
        "commit": commit,
        "pythons": targets.pythons,
        "platforms": [one.name for one in targets.platforms],
        "images": saved,
        "wheels": digests,
    }
    (folder / offline.WHEELS / offline.MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    (folder / HOWTO).write_text(_howto(targets, commit, saved))
    listed = [path for part in (offline.WHEELS, SBOMS, "images") for path in sorted((folder / part).glob("*"))]
    known = {folder / offline.WHEELS / name: value for name, value in digests.items()}
    (folder / SUMS).write_text(
        "".join(f"{known.get(path) or wheels.digest(path)}  {path.relative_to(folder)}\n" for path in listed)
    )


def _howto(targets: _Targets, commit: str, saved: list[str]) -> str:
    lines = [
        "# Without a network",
        "",
        f"Heartline, commit {commit}, with its packages for Python {', '.join(targets.pythons)} on "
        f"{', '.join(one.name for one in targets.platforms)}. In this folder:",
        "",
        f"    sha256sum --check --quiet {SUMS}",
        f"    python{targets.pythons[0]} ./heartline up --offline",
        "",
    ]
    if saved:
        lines += ["With docker compose:", "", f"    docker load --input images/{images.ARCHIVE}"]
        lines += ["    docker compose up --wait", ""]
    return "\n".join([*lines, f"The packages are listed in {SBOMS}/ (CycloneDX). More: docs/offline.md", ""])


def _committed(root: Path) -> str:
    """Return the commit of a clone without uncommitted changes."""
    commit = _git(root, "rev-parse", "HEAD").decode().strip()
    changed = _git(root, "status", "--porcelain", "--untracked-files=no").decode().splitlines()
    if changed:
        raise WorkError(
            f"{len(changed)} files have uncommitted changes, which a bundle would not hold",
            where=changed[0].strip(),
            expected="a clone in which everything is committed",
            hint="git commit, or git stash",
        )
    return commit


def _source(root: Path, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")


def _git(root: Path, *arguments: str) -> bytes:
    try:
        ended = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        code, said, output = 127, "git: command not found", b""
    else:
        code, said, output = ended.returncode, ended.stderr.decode(errors="replace").strip(), ended.stdout
    if code:
        raise WorkError(
            "the committed source cannot be read",
            where=f"git {arguments[0]} in {root}: {said}",
            expected="a clone of the repository, and git",
            hint="call it in a clone; a bundle itself holds no repository",
        )
    return output


def _tools(folder: Path) -> Path:
    """Return the Python of a new environment with pip and cyclonedx-bom."""
    python = folder / "bin" / "python"
    wheels.run([sys.executable, "-m", "venv", str(folder)], "an environment for the tools")
    install = ["install", "-qq", "--require-hashes", "--only-binary", ":all:", "-r", str(sbom.TOOLS)]
    wheels.run([str(python), "-m", "pip", *install], "the tools")
    return python
