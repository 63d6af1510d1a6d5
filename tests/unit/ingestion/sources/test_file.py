import gzip
import hashlib
import os
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import pandas as pd
import pytest

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import sources
from heartline.ingestion.access import files, uci
from heartline.ingestion.formats.file_kinds import FORMATS
from tests.unit.ingestion.sources.support import BRIEF, CSV, FRAME, archive, refused
from tests.unit.messages import message


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


@pytest.mark.parametrize("name", ["Other Sheet", "Größe", "100%25"])
@pytest.mark.parametrize("as_address", [False, True])
def test_a_sheet_behind_a_file_url_is_decoded_and_behind_a_path_is_not(tmp_path, as_address, name):
    path = tmp_path / "two sheets.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"note": ["x"]}).to_excel(book, sheet_name="Notes", index=False)
        FRAME.to_excel(book, sheet_name=name, index=False)
    found = sources.read(f"{path.as_uri()}#{quote(name)}" if as_address else f"{path}#{name}", settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert found.description == f"{path}#{name}"


def test_the_real_file(real_data, cleveland):
    found = sources.read(str(real_data / uci.MEMBER), settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, cleveland, check_names=False)
    assert found.sha256 == uci.SHA256


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "large.csv").write_bytes(CSV * 100)
    (tmp_path / "closed.csv").write_bytes(CSV)

    def expect(spec: str, what: str, hint: str, expected: str = f"a readable {FORMATS} file") -> None:
        assert str(refused(spec)) == message(what, where=spec, expected=expected, hint=hint)

    look = "check the path on the machine that runs the task"
    expect("/no/such/file.csv", "there is no such file", look)
    expect(str(tmp_path / "closed.csv" / "inner.csv"), "there is no such file", look)
    expect(str(tmp_path), "this is a folder, not a file", "give the path of a file in it")
    look = "check the path and its disk"
    os.mkfifo(tmp_path / "pipe")
    expect(str(tmp_path / "pipe"), "the file cannot be read: it is a device or a pipe", look)
    long = refused("/" + "x" * 5000)
    assert (long.what, long.where) == ("the file cannot be read: File name too long", f"/{'x' * 299}…")
    expect(
        str(tmp_path / "large.csv"),
        "the source is too large",
        "split it, or raise HEARTLINE_SOURCE_MAX_BYTES",
        "at most 100,000 bytes",
    )

    def forbidden(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", forbidden)  # root may read everything
    expect(
        str(tmp_path / "closed.csv"),
        "the file may not be read",
        "give the user that runs the task permission to read it",
    )


def test_a_file_url_of_another_host_is_refused():
    assert str(refused("file://elsewhere/x.csv")) == message(
        "'file://elsewhere/x.csv' is not a file on this machine",
        where="parameter source",
        expected="file:///absolute/path",
        hint="write three slashes after file:",
    )


EMPTY = (
    "the file is empty",
    "",
    "a CSV, JSON, Parquet or Excel (.xlsx) file with records",
    "check how the file was made, and whether it was copied completely",
)


@pytest.mark.parametrize(
    ("data", "what", "after_the_path", "expected", "hint"),
    [
        pytest.param(b"", *EMPTY, id="empty"),
        pytest.param(gzip.compress(b""), *EMPTY, id="empty when unpacked"),
        pytest.param(
            CSV.splitlines()[0],
            "there are no records",
            "",
            "at least one row below the header",
            "check how the source was made",
            id="header only",
        ),
        pytest.param(
            b"age,sex\n63,1\n",
            "this is not a table of records: it has 2 of the 14 columns",
            ", whose columns are: age, sex",
            f"the columns {', '.join(contract.COLUMN_NAMES)}",
            "check that this is the right source; if its columns only have other names, "
            "./heartline mapping FILE writes a mapping for it",
            id="two columns",
        ),
    ],
)
def test_a_file_without_records_is_refused(tmp_path, data, what, after_the_path, expected, hint):
    path = tmp_path / "records.csv"
    path.write_bytes(data)
    error = refused(str(path), kind=DataError)
    assert str(error) == message(what, where=f"{path}{after_the_path}", expected=expected, hint=hint)


@pytest.mark.parametrize("packed", [gzip.compress(CSV), archive(CSV, "heart.csv")], ids=["gzip", "zip"])
def test_the_digest_of_a_packed_file_is_that_of_the_packed_bytes(tmp_path, packed):
    path = tmp_path / "records.csv"
    path.write_bytes(packed)
    found = sources.read(str(path), settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert found.sha256 == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize("pack", [gzip.compress, archive], ids=["gzip", "zip"])
def test_a_packed_file_is_not_unpacked_beyond_the_limit(tmp_path, pack):
    path = tmp_path / "bomb"
    path.write_bytes(pack(CSV * 100))
    assert str(refused(str(path))) == message(
        "the source is too large",
        where=str(path),
        expected="at most 100,000 bytes when unpacked",
        hint="split it, or raise HEARTLINE_SOURCE_MAX_BYTES",
    )


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
    reads = files._content

    def meanwhile(file: BinaryIO, size: int) -> bytes:
        data = reads(file, size)
        change(path)
        return data

    monkeypatch.setattr(files, "_content", meanwhile)
    error = refused(str(path))
    assert str(error) == (
        "the file changed while it was read\n"
        f"  where:    {path}\n"
        "  expected: a file that does not change during the run\n"
        "  hint:     try again when the file is complete"
    )


def test_a_file_that_changes_between_two_reads_gives_matching_records_and_digest_each_time(tmp_path, monkeypatch):
    path = tmp_path / "records.csv"
    path.write_bytes(CSV)
    sizes = []
    reads = files._content
    monkeypatch.setattr(files, "_content", lambda file, size: sizes.append(size) or reads(file, size))

    before = sources.read(str(path), settings=BRIEF)
    grown = CSV + CSV.splitlines(keepends=True)[1]
    path.write_bytes(grown)
    after = sources.read(str(path), settings=BRIEF)

    assert len(sizes) == 2
    assert (len(before.table.frame), before.sha256) == (30, hashlib.sha256(CSV).hexdigest())
    assert (len(after.table.frame), after.sha256) == (31, hashlib.sha256(grown).hexdigest())
