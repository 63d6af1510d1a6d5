import gzip
import io
import struct
import zipfile

import pytest

from heartline.errors import DataError, SourceError
from heartline.ingestion.formats import archives

CONTENT = b"age,sex\n63,1\n" * 50


def packed(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return buffer.getvalue()


def unpack(data: bytes, size: int = 10_000) -> bytes:
    return archives.unpack(data, where="some.file", size=size)


def refused(
    data: bytes, kind: type[DataError | SourceError] = DataError, size: int = 10_000
) -> DataError | SourceError:
    with pytest.raises(kind) as caught:
        unpack(data, size)
    assert caught.value.where.startswith("some.file")
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(CONTENT, id="as it is"),
        pytest.param(gzip.compress(CONTENT), id="gzip"),
        pytest.param(gzip.compress(CONTENT[:40]) + gzip.compress(CONTENT[40:]), id="gzip in two parts"),
        pytest.param(packed("heart.csv"), id="zip"),
        pytest.param(packed("data/", "data/heart.csv", "__MACOSX/data/._heart.csv"), id="zip of a folder, from a Mac"),
        *(
            pytest.param(packed("heart.csv", beside), id=f"zip with {beside}")
            for beside in (".DS_Store", "data/.DS_Store", "Thumbs.db", "Desktop.ini", ".hidden.csv", "~$heart.xlsx")
        ),
    ],
)
def test_packed_data_is_unpacked_unchanged(data):
    assert unpack(data) == CONTENT


def test_a_zip_of_several_files_names_them():
    assert str(refused(packed("a.csv", "b.csv"))) == (
        "the zip holds 2 files\n"
        "  where:    some.file: a.csv, b.csv\n"
        "  expected: a zip that holds one CSV, JSON, Parquet or Excel (.xlsx) file\n"
        "  hint:     unpack it and give the path of one file"
    )


def test_at_most_ten_files_of_a_zip_are_named():
    error = refused(packed(*[f"{number}.csv" for number in range(1, 21)]))
    assert error.what == "the zip holds 20 files"
    assert error.where.endswith("9.csv, 10.csv … and 10 more")


@pytest.mark.parametrize("names", [(), ("folder/",)])
def test_a_zip_without_a_file_is_refused(names):
    assert refused(packed(*names)).what == "the zip holds no file"


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: packed("bomb.csv")], ids=["gzip", "zip"])
def test_content_beyond_the_limit_is_refused(pack):
    data = pack(CONTENT)
    assert unpack(data, len(CONTENT)) == CONTENT
    error = refused(data, SourceError, len(CONTENT) - 1)
    assert error.what == "the source is too large"
    assert error.expected == "at most 649 bytes when unpacked"


def test_a_zip_with_a_wrong_size_is_not_unpacked_beyond_that_size():
    honest, said = packed("bomb.csv"), struct.pack("<L", len(CONTENT))
    assert honest.count(said) == 2  # in the file's own header, and in the directory at the end
    data = honest.replace(said, struct.pack("<L", 100))
    assert refused(data, size=200).what == "the archive cannot be opened: Bad CRC-32 for file 'bomb.csv'"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(
            gzip.compress(CONTENT)[:-9],
            "Compressed file ended before the end-of-stream marker was reached",
            id="gzip, cut off",
        ),
        pytest.param(b"\x1f\x8b\x08\0\0\0", "Compressed file ended before", id="gzip, only its beginning"),
        pytest.param(gzip.compress(CONTENT)[:-8] + bytes(8), "CRC check failed", id="gzip, changed"),
        pytest.param(packed("a.csv")[:-30], "File is not a zip file", id="zip, cut off"),
    ],
)
def test_a_damaged_archive_is_refused(data, problem):
    error = refused(data)
    assert error.what.startswith(f"the archive cannot be opened: {problem}")
    assert error.expected == "a complete gzip or zip file without a password"


def test_a_zip_with_a_password_is_refused():
    data = bytearray(packed("a.csv"))
    data[6] |= 1  # the flag in the file's own header, and in the directory at the end
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert refused(bytes(data)).what.startswith("the archive cannot be opened: File 'a.csv' is encrypted")
