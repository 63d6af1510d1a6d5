"""Virtual environments from lock files, with a fake uv that records its calls."""

import json
import shutil
import sys

import pytest

from stack.bootstrap import environments
from stack.bootstrap.environments import Environment, ensure, find_uv
from stack.errors import Exit, MachineError

UV = """#!/bin/sh
echo "$@" >> {folder}/calls
[ -e {folder}/broken ] && cat {folder}/broken && exit 2
if [ "$1" = venv ]; then
    for last; do :; done
    mkdir -p "$last/bin" && echo "prompt = heartline" > "$last/pyvenv.cfg" && ln -s {python} "$last/bin/python"
elif [ "$1" = --version ]; then
    echo "uv {version}"
fi
"""


@pytest.fixture
def uv(tmp_path):
    """A fake uv; it records its calls in a file beside it."""

    def make(version="99.0.0"):
        folder = tmp_path / "tools"
        folder.mkdir(exist_ok=True)
        path = folder / "uv"
        path.write_text(UV.format(folder=folder, python=sys.executable, version=version))
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def root(tmp_path, monkeypatch, uv):
    """A clone with two lock files, and the fake uv on PATH."""
    root = tmp_path / "clone"
    root.mkdir()
    (root / "main.txt").write_text("a==1\n")
    (root / "more.txt").write_text("b==1\n")
    monkeypatch.setenv("PATH", f"{uv().parent}:/usr/bin:/bin")
    return root


def calls(root):
    path = root.parent / "tools" / "calls"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return [line.split()[0] if line.startswith("venv") else " ".join(line.split()[:2]) for line in text.splitlines()]


def main(root):
    return Environment(root / "venv", (root / "main.txt",))


def both(root):
    return Environment(root / "venv", (root / "main.txt", root / "more.txt"))


def make(root, environment):
    ensure(root, [environment], lambda _: None)


def test_an_environment_is_made_once(root):
    make(root, main(root))
    assert calls(root) == ["--version", "venv", "pip sync"]
    assert main(root).ready()

    make(root, main(root))
    assert calls(root) == []


def test_packages_are_checked_and_compiled(root):
    make(root, main(root))
    asked = (root.parent / "tools" / "calls").read_text()
    assert "--require-hashes --compile-bytecode" in asked


def test_offline_every_package_comes_from_the_bundle(root):
    (root / "wheels").mkdir()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (root / "wheels" / "bundle.json").write_text(json.dumps({"pythons": [version]}))
    ensure(root, [both(root)], lambda _: None, from_wheels=True)
    asked = (root.parent / "tools" / "calls").read_text().splitlines()
    installs = [line for line in asked if line.startswith("pip")]
    assert len(installs) == 2
    assert all(f"--no-index --find-links {root / 'wheels'} --only-binary :all:" in line for line in installs)
    assert all("--require-hashes" in line for line in installs)


def test_offline_the_installer_comes_from_the_bundle_too(root, uv, monkeypatch):
    uv("0.1.2")
    asked = []
    monkeypatch.setattr(environments, "_run", lambda command, label: asked.append(command))
    (root / ".heartline" / "uv").mkdir(parents=True)
    (root / ".heartline" / "HEARTLINE").touch()
    find_uv(root, root / "wheels")
    assert asked[1][-5:-2] == ["--no-index", "--find-links", str(root / "wheels")]


def test_another_lock_is_added_to_what_is_there(root):
    make(root, main(root))
    calls(root)
    make(root, both(root))
    assert calls(root) == ["--version", "pip install"]
    assert main(root).ready()
    assert both(root).ready()


def test_a_changed_lock_is_installed(root):
    make(root, both(root))
    calls(root)
    (root / "main.txt").write_text("a==2\n")
    assert not main(root).ready()
    make(root, main(root))
    assert calls(root) == ["--version", "pip sync"]
    assert not both(root).ready(), "the sync took out what the second lock had added"


def test_an_interrupted_set_up_starts_again(root):
    make(root, main(root))
    main(root).stamp.unlink()
    (root / "venv" / "half").touch()
    calls(root)

    make(root, main(root))

    assert calls(root) == ["--version", "venv", "pip sync"]
    assert not (root / "venv" / "half").exists()


def test_an_environment_of_the_users_own_is_not_deleted(root):
    (root / "venv").mkdir()
    (root / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (root / "venv" / "thesis.tex").touch()
    with pytest.raises(MachineError, match="that Heartline did not make"):
        make(root, main(root))
    assert (root / "venv" / "thesis.tex").exists()


def test_other_commands_work_while_the_packages_of_the_tests_are_added(root, monkeypatch):
    make(root, main(root))
    usable = []
    monkeypatch.setattr(environments, "_run", lambda command, label, **_: usable.append(main(root).exists()))
    make(root, both(root))
    assert usable == [True]
    (root / "main.txt").write_text("a==2\n")
    make(root, both(root))
    assert usable[1:] == [False, False], "while the packages that they use are changed, they wait"


def test_a_moved_clone_is_set_up_again(root):
    make(root, main(root))
    moved = root.rename(root.with_name("moved"))
    assert not main(moved).ready()
    make(moved, main(moved))
    assert main(moved).ready()


def test_a_link_to_another_clones_environment_is_replaced_and_the_other_one_stays(root):
    make(root, main(root))
    other = root.with_name("other clone")
    other.mkdir()
    shutil.copy(root / "main.txt", other)
    (other / "venv").symlink_to(root / "venv")

    make(other, main(other))

    assert not (other / "venv").is_symlink()
    assert main(other).ready()
    assert main(root).ready()


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            "error: Failed to fetch: https://mirror/simple/a/\n  cause: dns error",
            "the package registry cannot be reached",
        ),
        (
            "error: Because a was not found in the provided package locations, we can conclude",
            "the bundle lacks a package for this machine",
        ),
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("error: failed to create file: Read-only file system (os error 30)", "a folder cannot be written"),
        ("error: Hash mismatch for `a==1`", "a package differs from the locked one"),
        ("Error: Command '... -m ensurepip ...' returned non-zero", "this Python lacks its module venv"),
        ("something else", "set-up failed"),
    ],
)
def test_a_failed_set_up_names_the_cause_and_leaves_no_stamp(root, said, what):
    (root.parent / "tools" / "broken").write_text(said)
    with pytest.raises(MachineError) as caught:
        main(root).make(str(root.parent / "tools" / "uv"))
    assert caught.value.what == what
    assert said.splitlines()[0] in caught.value.where
    assert caught.value.code == Exit.MACHINE
    assert not main(root).exists()


def test_a_recent_uv_of_the_user_is_used(root, uv):
    assert find_uv(root) == str(uv())


def test_an_old_uv_is_not_used(root, uv, monkeypatch):
    uv("0.1.2")
    asked = []
    monkeypatch.setattr(environments, "_run", lambda command, label: asked.append(command))
    (root / ".heartline" / "uv").mkdir(parents=True)
    (root / ".heartline" / "HEARTLINE").touch()

    found = find_uv(root)

    assert found == str(root / ".heartline" / "uv" / "bin" / "uv")
    assert asked[0][1:3] == ["-m", "venv"]
    assert "--require-hashes" in asked[1]


def test_the_installer_is_pinned_with_hashes():
    lines = [line for line in environments.UV_PIN.read_text().splitlines() if not line.startswith("#")]
    assert lines[0].startswith("uv==")
    assert all("--hash=sha256:" in line for line in lines[1:])


def test_variables_that_change_python_are_not_passed_to_children(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    environment = environments.child_environment(EXTRA="1")
    assert not {"PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"} & set(environment)
    assert (environment["HTTPS_PROXY"], environment["EXTRA"]) == ("http://proxy", "1")
