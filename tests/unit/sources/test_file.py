import gzip
import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest

from heartline import sources, uci
from heartline.errors import DataError
from tests.unit.sources.support import BRIEF, CSV, FRAME, archive, refused


@pytest.mark.parametrize("as_address", [False, True])
def test_a_file(tmp_path, as_address):
    path = tmp_path / "the records.csv"
    path.write_bytes(CSV)
    found = sources.read(path.as_uri() if as_address else str(path), settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert (found.origin, found.description, found.table.dropped) == ("file", str(path), ())
    assert found.sha256 == hashlib.sha256(CSV).hexdigest()


def test_a_parquet_file_whatever_its_name(tmp_path):
    path = tmp_path / "records.dat"
    FRAME.assign(ward="b").to_parquet(path)
    found = sources.read(str(path), settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert found.table.dropped == ("ward",)


def test_the_real_file(real_data, cleveland):
    found = sources.read(str(real_data / uci.MEMBER), settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, cleveland, check_names=False)
    assert found.sha256 == uci.SHA256


def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path, monkeypatch):
    (tmp_path / "large.csv").write_bytes(CSV * 100)
    (tmp_path / "closed.csv").write_bytes(CSV)

    assert refused("/no/such/file.csv").what == "there is no such file"
    assert refused(str(tmp_path / "closed.csv" / "inner.csv")).what == "there is no such file"
    assert refused(str(tmp_path)).what == "this is a folder, not a file"
    assert refused("/dev/zero").what == "the file cannot be read: it is a device or a pipe"
    assert refused("/" + "x" * 5000).what == "the file cannot be read: File name too long"
    assert refused("file://elsewhere/x.csv").expected == "file:///absolute/path"
    assert refused(str(tmp_path / "large.csv")).expected == "at most 100,000 bytes"

    def forbidden(self: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # root may read everything
    assert refused(str(tmp_path / "closed.csv")).what == "the file may not be read"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty"),
        (CSV.splitlines()[0], "there are no records"),
        (b"age,sex\n63,1\n", "this is not a table of records: it has 2 of the 14 columns"),
        (gzip.compress(b""), "the file is empty"),
    ],
)
def test_a_file_without_records_is_refused(tmp_path, data, problem):
    path = tmp_path / "records.csv"
    path.write_bytes(data)
    error = refused(str(path), kind=DataError)
    assert error.what == problem
    assert str(path) in error.where


@pytest.mark.parametrize("packed", [gzip.compress(CSV), archive(CSV, "heart.csv")], ids=["gzip", "zip"])
def test_a_packed_file_is_known_by_its_own_digest(tmp_path, packed):
    path = tmp_path / "records.csv"
    path.write_bytes(packed)
    found = sources.read(str(path), settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert found.sha256 == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize("pack", [gzip.compress, archive], ids=["gzip", "zip"])
def test_a_packed_file_is_not_unpacked_beyond_the_limit(tmp_path, pack):
    path = tmp_path / "bomb"
    path.write_bytes(pack(CSV * 100))
    error = refused(str(path))
    assert error.what == "the source is too large"
    assert (error.where, error.expected) == (str(path), "at most 100,000 bytes")


def replaced(path: Path) -> None:
    other = path.with_name("new.csv")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(0, 0))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(CSV + CSV.splitlines(True)[1]), id="grown"),
        pytest.param(lambda path: path.write_bytes(CSV.replace(b"1", b"0")), id="written anew at the same size"),
        pytest.param(replaced, id="replaced by another of the same content"),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, change):
    path = tmp_path / "records.csv"
    path.write_bytes(CSV)
    os.utime(path, ns=(0, 0))
    reads = Path.read_bytes

    def meanwhile(self: Path) -> bytes:
        data = reads(self)
        monkeypatch.undo()
        change(self)
        return data

    monkeypatch.setattr(Path, "read_bytes", meanwhile)
    error = refused(str(path))
    assert str(error) == (
        "the file changed while it was read\n"
        f"  where:    {path}\n"
        "  expected: a file that stays as it is\n"
        "  do:       try again when it is complete"
    )


def test_a_file_that_changes_between_two_reads_gives_each_time_records_and_digest_of_one_moment(tmp_path, monkeypatch):
    path = tmp_path / "records.csv"
    path.write_bytes(CSV)
    opened = []
    reads = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or reads(self))

    before = sources.read(str(path), settings=BRIEF)
    grown = CSV + CSV.splitlines(keepends=True)[1]
    path.write_bytes(grown)
    after = sources.read(str(path), settings=BRIEF)

    assert opened == [path, path]
    assert (len(before.table.frame), before.sha256) == (30, hashlib.sha256(CSV).hexdigest())
    assert (len(after.table.frame), after.sha256) == (31, hashlib.sha256(grown).hexdigest())
