"""What a bundle holds and when it is refused, with fake downloads."""

import json
import subprocess
import tarfile

import pytest
import yaml

from stack.errors import MachineError, UsageError, WorkError
from stack.offline import bundle, images, wheels

FILES = {
    "pyproject.toml": '[project]\nname = "heartline"\nversion = "9.8.7"\n',
    "requirements.txt": "",
    "serving/requirements.txt": "",
    "requirements-dev.txt": "",
    "include/stack/bootstrap/uv.txt": "",
}


def git(folder, *arguments):
    named = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with locks, and downloads that write a wheel for each Python."""
    root = tmp_path / "clone"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "state")
    (root / "untracked.txt").write_text("records that must not leave\n")

    def download(wanted, folder, pip, python, platform):
        (folder / f"x-1-cp{python.replace('.', '')}-{platform.name}.whl").write_bytes(b"wheel")

    monkeypatch.setattr(wheels, "download", download)
    monkeypatch.setattr(wheels, "verified", lambda folder, _: {one.name: "0" * 64 for one in sorted(folder.iterdir())})
    monkeypatch.setattr(bundle, "_tools", lambda folder: folder)
    monkeypatch.setattr(bundle.sbom, "write", lambda target, *_: target.write_text("{}"))
    return root


def test_it_holds_the_committed_source_the_wheels_and_what_describes_them(clone, tmp_path):
    out = bundle.write(clone, tmp_path / "out", pythons=["3.13", "3.11"], platforms=["linux-x86_64", "macos-arm64"])

    manifest = json.loads((out / "wheels" / "bundle.json").read_text())
    assert manifest["version"] == "9.8.7"
    assert manifest["pythons"] == ["3.11", "3.13"]
    assert manifest["platforms"] == ["linux-x86_64", "macos-arm64"]
    assert len(manifest["wheels"]) == 4
    assert (out / "pyproject.toml").read_text() == FILES["pyproject.toml"]
    assert not (out / "untracked.txt").exists()
    assert sorted(path.name for path in (out / "sbom").iterdir()) == ["heartline.cdx.json", "serving.cdx.json"]
    sums = (out / "SHA256SUMS").read_text()
    assert sums.count("wheels/x-1-") == 4
    assert "sbom/serving.cdx.json" in sums
    assert "python3.11 ./heartline up --offline" in (out / "OFFLINE.md").read_text()


def test_an_archive_has_one_folder_with_the_version(clone, tmp_path):
    out = bundle.write(clone, tmp_path / "out.tar", pythons=["3.11"], platforms=["linux-x86_64"], tests=True)
    with tarfile.open(out) as archive:
        names = archive.getnames()
    assert {name.split("/")[0] for name in names} == {"heartline-9.8.7"}
    assert "heartline-9.8.7/sbom/tests.cdx.json" in names


def test_uncommitted_changes_are_refused(clone, tmp_path):
    (clone / "pyproject.toml").write_text("changed")
    with pytest.raises(WorkError, match="1 files have uncommitted changes") as caught:
        bundle.write(clone, tmp_path / "out", platforms=["linux-x86_64"])
    assert "pyproject.toml" in caught.value.where


def test_what_is_there_is_not_overwritten(clone, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="something with this name"):
        bundle.write(clone, tmp_path / "out", platforms=["linux-x86_64"])


def test_a_folder_that_is_no_clone_is_refused(tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(WorkError, match="committed source cannot be read"):
        bundle.write(tmp_path / "plain", tmp_path / "out", platforms=["linux-x86_64"])


def test_a_failure_leaves_nothing(clone, tmp_path, monkeypatch):
    def fail(*_):
        raise WorkError("no wheel", where="here", expected="one", hint="none")

    monkeypatch.setattr(wheels, "download", fail)
    with pytest.raises(WorkError, match="no wheel"):
        bundle.write(clone, tmp_path / "out", platforms=["linux-x86_64"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clone"]


SERVICES = {
    "init": {"image": "heartline:1", "build": {}, "pull_policy": "build"},
    "postgres": {"image": "postgres:17"},
    "scheduler": {"image": "heartline:1", "pull_policy": "never"},
}


@pytest.fixture
def docker(monkeypatch):
    """A fake docker with these services; ``docker.images`` are those that its engine has."""
    calls = []
    calls_images = ["heartline:1", "postgres:17"]

    def run(command, **_):
        calls.append(command[1:])
        if "config" in command:
            return subprocess.CompletedProcess(command, 0, json.dumps({"services": SERVICES}), "")
        if "inspect" in command:
            return subprocess.CompletedProcess(command, int(command[-1] not in calls_images), "", "No such image")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(images.subprocess, "run", run)
    run.calls, run.images = calls, calls_images
    return run


def test_images_are_saved_once_each_and_compose_builds_nothing_there(docker, tmp_path):
    assert images.save(tmp_path, tmp_path) == ["heartline:1", "postgres:17"]
    saved = docker.calls[-1]
    assert saved == ["save", "--output", str(tmp_path / "images" / "images.tar"), "heartline:1", "postgres:17"]
    text = (tmp_path / "docker-compose.override.yaml").read_text()
    assert yaml.safe_load(text.replace("!reset", "")) == {"services": {"init": {"build": None, "pull_policy": "never"}}}


def test_an_image_that_is_not_built_is_named(docker, tmp_path):
    docker.images.remove("heartline:1")
    with pytest.raises(MachineError, match="no image heartline:1") as caught:
        images.save(tmp_path, tmp_path)
    assert "build" in caught.value.hint


def test_without_docker_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="cannot be saved") as caught:
        images.save(tmp_path, tmp_path)
    assert "not found" in caught.value.where
