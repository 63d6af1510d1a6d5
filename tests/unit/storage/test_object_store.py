import errno
import hashlib
import multiprocessing
import os
import pickle
import pkgutil
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartline.errors import DataError, PermanentError
from heartline.storage import object_store as stores


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def test_object_is_named_by_its_bytes_and_written_once(store):
    uri = stores.put(b"abc", "things", ".txt")
    written = _path(uri).stat().st_mtime_ns

    assert uri == f"{store.as_uri()}/things/{hashlib.sha256(b'abc').hexdigest()}.txt"
    assert stores.put(b"abc", "things", ".txt") == uri
    assert _path(uri).stat().st_mtime_ns == written
    assert stores.get(uri) == b"abc"
    assert [path.name for path in _path(uri).parent.iterdir()] == [_path(uri).name]


def test_damaged_object_is_not_returned(store):
    uri = stores.put(b"abc", "things", ".txt")
    _path(uri).write_bytes(b"abd")
    with pytest.raises(stores.StoreError, match="does not match the digest in its name") as caught:
        stores.get(uri)
    assert caught.value.where.startswith(uri)


def test_missing_object_has_a_hint(store):
    with pytest.raises(stores.StoreError, match="cannot be read") as caught:
        stores.get(f"{store.as_uri()}/things/{'0' * 64}.txt")
    assert "HEARTLINE_STORE" in caught.value.hint


def test_unwritable_store_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "file").as_uri())
    with pytest.raises(stores.StoreError, match="cannot be written"):
        stores.put(b"abc", "things", ".txt")


def test_foreign_uri_is_refused():
    with pytest.raises(stores.StoreError, match="not the URI of an object"):
        stores.get("file:///etc/passwd")


def test_missing_setting_is_named(monkeypatch):
    monkeypatch.delenv("HEARTLINE_STORE", raising=False)
    with pytest.raises(stores.StoreError, match="no store is configured"):
        stores.put(b"abc", "things", ".txt")


def test_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(DataError("a", where="b", expected="c", hint="d")))
    assert type(error) is DataError
    assert str(error) == "a\n  where:    b\n  expected: c\n  hint:     d"


OTHER_FILE_SYSTEM = Path("/dev/shm")


@pytest.fixture(params=["beside the temporary files", "on another file system"])
def folder(request, tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder of a store."""
    if request.param == "beside the temporary files":
        monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "store").as_uri())
        yield tmp_path / "store"
        return
    with tempfile.TemporaryDirectory(dir=OTHER_FILE_SYSTEM) as name:
        monkeypatch.setenv("HEARTLINE_STORE", (Path(name) / "store").as_uri())
        yield Path(name) / "store"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


STEPS = ("tempfile.mkstemp", "os.write", "os.fchmod", "os.fsync", "pathlib.Path.replace")
DATA = b"a record\n" * 1000


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_write_leaves_no_half_object(folder, step, when):
    uri = stores.address(hashlib.sha256(DATA).hexdigest(), "things", ".txt")

    def killed() -> None:
        owner, _, name = step.rpartition(".")
        found: Any = pkgutil.resolve_name(owner)
        original = getattr(found, name)

        def lethal(*arguments: Any, **named: Any) -> Any:
            if when == "after":
                if name == "write":
                    original(arguments[0], arguments[1][:100])
                else:
                    original(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(found, name, lethal)
        stores.put(DATA, "things", ".txt")

    for _ in range(3):
        process = multiprocessing.get_context("fork").Process(target=killed)
        process.start()
        process.join()
        # once the object stands, a later write ends before its first step
        assert process.exitcode in (-signal.SIGKILL, 0)
        assert not _path(uri).exists() or _path(uri).read_bytes() == DATA
        assert len(_files(folder)) <= 1, "partial files accumulate"

    assert stores.put(DATA, "things", ".txt") == uri
    assert stores.get(uri) == DATA
    stores.put(b"other", "things", ".txt")
    assert len(_files(folder)) == 2


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(folder, monkeypatch):
    done = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append("rename") or replace(path, to))
    stores.put(DATA, "things", ".txt")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA[:-1] + b"?", DATA + b"x"])
def test_a_damaged_object_is_named_set_apart_and_written_again(folder, caplog, damage):
    uri, other = stores.put(DATA, "things", ".txt"), stores.put(b"other", "rest", ".txt")
    for one in (uri, other):
        _path(one).write_bytes(damage)

    for attempt in range(2):
        assert stores.put(DATA, "things", ".txt") == uri
        assert stores.get(uri) == DATA
        kept = folder / "damaged" / "things"
        assert [path.read_bytes() for path in kept.iterdir()] == [damage] * (attempt + 1), "nothing is deleted"
        assert str(_path(other)) in caplog.text, "the other damaged object is named at once"
        _path(uri).write_bytes(damage)
    assert not _path(other).exists()


def test_a_reader_of_a_damaged_object_is_told_which_where_and_what_to_do(folder):
    uri, other = stores.put(DATA, "snapshots", ".parquet"), stores.put(b"other", "folds", ".parquet")
    for one in (uri, other):
        _path(one).write_bytes(b"")
    with pytest.raises(stores.DamagedObjectError) as caught:
        stores.get(uri)
    assert isinstance(caught.value, PermanentError)
    assert caught.value.what == "the object does not match the digest in its name; 1 more in this store do not"
    for one in (uri, str(folder / "damaged" / "snapshots"), str(folder / "damaged" / "folds")):
        assert one in caught.value.where
    assert caught.value.expected.endswith("(0 bytes)")
    assert caught.value.hint.startswith("clear the task validate of the run")

    with pytest.raises(stores.DamagedObjectError, match="was damaged and set apart") as again:
        stores.get(uri)
    assert str(folder / "damaged" / "snapshots") in again.value.where
    assert stores.put(DATA, "snapshots", ".parquet") == uri
    assert stores.get(uri) == DATA


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(folder, monkeypatch, code, call):
    def full(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(stores.StoreError, match="the store is full") as caught:
            stores.put(DATA, "things", ".txt")
    assert not isinstance(caught.value, PermanentError), "space may come"
    assert caught.value.expected == "free space for 9,000 bytes"
    assert "make space" in caught.value.hint
    assert _files(folder) == []
    assert stores.get(stores.put(DATA, "things", ".txt")) == DATA


def test_a_file_system_that_is_really_full(need, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    mounted = (
        mounted
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False, capture_output=True
        ).returncode
    )
    need(mounted, "the right to mount a small file system (root)")
    try:
        monkeypatch.setenv("HEARTLINE_STORE", (small / "store").as_uri())
        with pytest.raises(stores.StoreError, match="the store is full"):
            stores.put(os.urandom(200_000), "things", ".bin")
        assert _files(small) == []
        assert stores.get(stores.put(DATA, "things", ".txt")) == DATA
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_writers_at_once_do_not_disturb_each_other(folder):
    data = [os.urandom(50_000) for _ in range(4)]
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=lambda mine: [stores.put(one, "things", ".bin") for one in mine * 20], args=(data,))
        for _ in range(4)
    ]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert [one.exitcode for one in writers] == [0] * 4
    assert sorted(path.read_bytes() for path in _files(folder)) == sorted(data)
