"""The project's own files: pins with reasons, locks that agree, nothing that does not belong."""

import re
import subprocess
import tomllib

import pytest

from tests.conftest import ROOT

PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def _lock(name: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / name).read_text()))


def _direct() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]


@pytest.mark.parametrize("requirement", _direct())
def test_every_dependency_has_its_reason_beside_it(requirement):
    assert re.search(rf'"{re.escape(requirement)}",\s+# \w.{{10,}}', (ROOT / "pyproject.toml").read_text())


def test_every_dependency_is_in_a_lock_with_hashes():
    locked = _lock("requirements.txt") | _lock("requirements-dev.txt")
    for requirement in _direct():
        name, _, version = re.sub(r"\[.*]", "", requirement).partition("==")
        assert name in locked
        assert version in ("", locked[name])
    for lock in ("requirements.txt", "requirements-dev.txt", "serving/requirements.txt"):
        text = (ROOT / lock).read_text()
        hashed = re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE)
        assert len(hashed) == len(re.findall(r"^\S+==", text, re.MULTILINE)) > 0


def test_the_locks_agree_where_they_overlap():
    runtime = _lock("requirements.txt")
    for lock in ("requirements-dev.txt", "serving/requirements.txt"):
        for name, version in _lock(lock).items():
            assert runtime.get(name, version) == version, f"{name} in {lock}"


def test_the_service_needs_no_training_libraries():
    assert {"scikit-learn", "pandas", "mlflow", "mlflow-skinny", "skops"}.isdisjoint(_lock("serving/requirements.txt"))


def test_modules_stay_small():
    listed = subprocess.run(
        ["git", "ls-files", "dags/*.py", "include/*.py", "plugins/*.py", "serving/*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    long = {name: n for name in listed.stdout.split() if (n := (ROOT / name).read_text().count("\n")) > 500}
    assert long == {}
