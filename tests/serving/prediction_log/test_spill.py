"""The spill files: limited in size, checked for damage, and each with one owner."""

import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from serving.prediction_log.spill import Spill, SpillFullError

MANY = 1_000_000


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Limit the size of files, to simulate a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_batches_are_returned_in_order(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "log", MANY)
    for number in range(3):
        spill.append(b"%d" % number, number + 1)
    assert spill.records == 6
    assert list(spill.lines()) == [(b"0", 1), (b"1", 2), (b"2", 3)]
    assert spill.records == 0
    assert list((tmp_path / "log").iterdir()) == []


def test_a_batch_that_was_not_delivered_is_returned_again(tmp_path: Path) -> None:
    spill = Spill(tmp_path, MANY)
    for number in range(3):
        spill.append(b"%d" % number, 1)
    lines = spill.lines()
    assert [next(lines), next(lines)] == [(b"0", 1), (b"1", 1)]
    spill.append(b"3", 1)
    assert list(spill.lines()) == [(b"1", 1), (b"2", 1), (b"3", 1)]


def test_the_size_of_all_files_together_is_limited(tmp_path: Path) -> None:
    spill, other = Spill(tmp_path, 100), Spill(tmp_path, 100)
    spill.append(b"x" * 50, 1)
    with pytest.raises(SpillFullError, match="holds 62 of 100 bytes"):
        other.append(b"x" * 50, 1)
    other.append(b"x" * 20, 1)


def test_a_full_disk_leaves_no_incomplete_line(tmp_path: Path) -> None:
    spill = Spill(tmp_path, MANY)
    spill.append(b"first", 1)
    with files_of_at_most(1000), pytest.raises(SpillFullError, match="File too large"):
        spill.append(b"x" * 5000, 1)
    spill.append(b"last", 1)
    assert list(spill.lines()) == [(b"first", 1), (b"last", 1)]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(SpillFullError, match="cannot be written to"):
        Spill(tmp_path / "log", MANY).append(b"x", 1)


def test_a_file_has_one_owner_until_it_is_released(tmp_path: Path) -> None:
    owner, first, second = (Spill(tmp_path, MANY) for _ in range(3))
    owner.append(b"x", 7)
    first.adopt()
    assert first.records == 0
    owner.close()
    first.adopt()
    second.adopt()
    first.adopt()
    assert (first.records, second.records) == (7, 0)
    first.append(b"y", 1)
    assert list(first.lines()) == [(b"x", 7), (b"y", 1)]


def test_a_file_that_its_owner_deletes_meanwhile_is_not_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = Spill(tmp_path, MANY), Spill(tmp_path, MANY)
    owner.append(b"x", 1)
    opened = Path.open

    def open_and_delete(path: Path, *how: str) -> object:
        file = opened(path, *how)
        assert list(owner.lines()) == [(b"x", 1)]
        return file

    monkeypatch.setattr(Path, "open", open_and_delete)
    other.adopt()
    assert other.records == 0
    assert list(other.lines()) == []


def test_a_file_that_cannot_be_locked_is_closed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.spill").write_bytes(b"1 x\n")
    files: list[BinaryIO] = []

    def fail(file: BinaryIO, operation: int) -> None:
        files.append(file)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    spill = Spill(tmp_path, MANY)
    spill.adopt()
    assert [file.closed for file in files] == [True]
    assert spill.records == 0
    assert "a.spill cannot be adopted: " in caplog.text
    assert (tmp_path / "a.spill").exists()


@pytest.mark.parametrize("at", range(1, 15))
def test_a_truncated_line_is_damaged_wherever_it_ends(tmp_path: Path, at: int) -> None:
    owner, other = Spill(tmp_path, MANY), Spill(tmp_path, MANY)
    owner.append(b"complete", 2)
    owner.append(b"cut", 3)
    owner.close()
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - at)
    other.adopt()
    (complete, truncated) = list(other.lines())
    assert complete == (b"complete", 2)
    assert truncated[0] is None
    assert truncated[1] >= 1


def test_a_batch_is_found_by_its_content(tmp_path: Path) -> None:
    spill = Spill(tmp_path, MANY)
    assert spill.line_with(b"b") is None
    spill.append(b"aaa", 1)
    spill.append(b"abc", 1)
    assert Spill(tmp_path, MANY).line_with(b"b") == b"abc"
