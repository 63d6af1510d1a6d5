"""Excel workbooks: which sheet is read, and what is refused with which words."""

import datetime
import io
import zipfile

import openpyxl
import pandas as pd
import pytest

from heartline.errors import DataError
from heartline.ingestion import tables
from heartline.ingestion.formats import archives, workbooks
from heartline.ingestion.mapping import catalog as mapping_catalog
from tests.unit.ingestion.tables.support import NAMES, OTHER, ROW, WANTED

NUMBERS = [[None if cell == "?" else float(cell) for cell in row] for row in (ROW, OTHER)]


def workbook(*rows: list, name: str = "Data", after: dict[str, list] | None = None) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = name
    for row in rows:
        book.active.append(row)
    for title, others in (after or {}).items():
        sheet = book.create_sheet(title)
        for row in others:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def table(data: bytes, sheet: str = "") -> tables.Table:
    return tables.parse(archives.unpack(data, where="a.xlsx", size=1 << 20), where="a.xlsx", sheet=sheet)


def refused(data: bytes, sheet: str = "") -> DataError:
    with pytest.raises(DataError) as caught:
        table(data, sheet)
    return caught.value


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(workbook(NAMES, *NUMBERS), id="numbers"),
        pytest.param(workbook(NAMES, ROW, OTHER), id="text"),
        pytest.param(workbook(NAMES, [cell.replace(".", ",") for cell in ROW], OTHER), id="decimal commas"),
        pytest.param(workbook([name.title() for name in NAMES][::-1], *[row[::-1] for row in NUMBERS]), id="order"),
        pytest.param(workbook(*NUMBERS), id="no header"),
        pytest.param(workbook([], [None], NAMES, NUMBERS[0], [], NUMBERS[1], [], ["", None]), id="blank rows"),
        pytest.param(workbook(NAMES, *NUMBERS, after={"Notes": [["x"]]}), id="another sheet behind"),
        pytest.param(zipped({"a.xlsx": workbook(NAMES, *NUMBERS), ".DS_Store": b"x"}), id="in a zip"),
    ],
)
def test_a_workbook_gives_the_same_records(data):
    found = table(data)
    pd.testing.assert_frame_equal(found.frame, WANTED, check_exact=True)
    assert (len(found.unparseable), found.absent) == (0, ())


def test_a_sheet_is_read_by_its_name():
    data = workbook(["notes"], name="Notes", after={"Heart data": [NAMES, *NUMBERS]})
    pd.testing.assert_frame_equal(table(data, "Heart data").frame, WANTED, check_exact=True)


def test_a_sheet_that_does_not_exist_names_those_that_do():
    error = refused(workbook(NAMES, name="One", after={"Two": []}), "Three")
    assert error.what == "the workbook has no sheet Three"
    assert error.expected == "one of its sheets: One, Two"
    assert refused(workbook(NAMES, after={"Two": []}), "Two").what == "the sheet is empty"


def test_a_sheet_of_a_file_without_sheets_is_refused():
    assert refused(",".join(NAMES).encode(), "One").what == "this file has no sheets"


def test_a_title_above_the_header_is_named():
    error = refused(workbook(["Patients of 2026"], [], NAMES, *NUMBERS))
    assert error.what == "the first row of the sheet is not the header: it fills 1 of 14 columns"
    assert "Patients of 2026" in error.where
    assert error.hint.startswith("delete the row above")


@pytest.mark.parametrize("stated", ["", "hospital"])
@pytest.mark.parametrize("cover", [[["Notes"], ["read me"]], [["Title", "Patients"], ["By", "Ward 3"]]])
def test_a_cover_in_front_of_the_records_is_named_with_the_other_sheets(cover, stated):
    data = workbook(*cover, name="Cover", after={"Heart data": [NAMES, *NUMBERS]})
    with pytest.raises(DataError) as caught:
        tables.parse(data, where="a.xlsx", mapping=mapping_catalog.named(stated) if stated else None)
    assert "a.xlsx, sheet Cover" in caught.value.where
    assert "name another sheet after #; the workbook has Cover, Heart data" in caught.value.hint


def test_a_title_above_the_names_of_a_cover_is_named_with_the_other_sheets():
    data = workbook(["Title"], ["what", "who", "when"], name="Cover", after={"Heart data": [NAMES, *NUMBERS]})
    assert "the workbook has Cover, Heart data" in refused(data).hint


def test_no_other_sheet_is_proposed_if_there_is_none():
    for rows in ([["Notes"], ["read me"]], []):
        error = refused(workbook(*rows))
        assert "another sheet" not in str(error)
        assert error.hint


def test_cells_that_are_no_numbers_are_reported_as_they_stand():
    row = [datetime.datetime(2026, 3, 2), "#N/A", *NUMBERS[0][2:]]
    found = table(workbook(NAMES, row, NUMBERS[1])).unparseable
    assert found.to_numpy().tolist() == [
        [1, "age", "2026-03-02", "not a number"],
        [1, "sex", "#N/A", "not a number"],
    ]


def test_a_formula_without_a_stored_result_is_refused_and_an_unused_one_is_not():
    error = refused(workbook(NAMES, ["=50+2", *NUMBERS[0][1:]], ["=50+3", *NUMBERS[1][1:]]))
    assert error.what == "2 cells hold formulas without a stored result"
    assert error.where.endswith("sheet Data, A2, A3")
    found = table(workbook([*NAMES, "sum"], [*NUMBERS[0], "=A2+1"], [*NUMBERS[1], "=A3+1"]))
    pd.testing.assert_frame_equal(found.frame, WANTED, check_exact=True)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (workbooks.OLD_EXCEL + b"x" * 600, "this is an old Excel workbook (.xls)"),
        (workbooks.OLD_EXCEL + "EncryptedPackage".encode("utf-16-le"), "this is an Excel workbook with a password"),
        (zipped({"mimetype": b"x", "content.xml": b"x"}), "this is an OpenDocument file (.ods)"),
        (zipped({"xl/workbook.bin": b"x"}), "this is a binary Excel workbook (.xlsb)"),
        (zipped({"word/document.xml": b"x"}), "this is a Word document (.docx)"),
        (zipped({"a.zip": zipped({"b.csv": b"x"})}), "this is a zip inside an archive"),
        (zipped({"a.ods": zipped({"mimetype": b"x", "content.xml": b"x"})}), "this is an OpenDocument file (.ods)"),
        (zipped({"xl/workbook.xml": b"<x"}), "the workbook cannot be opened: KeyError"),
    ],
)
def test_other_documents_are_named(data, what):
    assert refused(data).what == what


def test_the_size_that_a_sheet_states_is_not_believed():
    data = workbook(NAMES, *NUMBERS)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    sheet = files["xl/worksheets/sheet1.xml"]
    assert b'ref="A1:N3"' in sheet
    files["xl/worksheets/sheet1.xml"] = sheet.replace(b'ref="A1:N3"', b'ref="A1:XFD1048576"')
    pd.testing.assert_frame_equal(table(zipped(files)).frame, WANTED, check_exact=True)


def test_a_sheet_with_too_many_cells_is_refused(monkeypatch):
    monkeypatch.setattr(workbooks, "MAX_CELLS", 41)
    assert refused(workbook(NAMES, *NUMBERS)).what == "the sheet has more than 41 cells"
    monkeypatch.setattr(workbooks, "MAX_CELLS", 42)
    assert len(table(workbook(NAMES, *NUMBERS)).frame) == 2


@pytest.mark.parametrize("limit", ["MAX_UNPACKED", "MAX_PART"])
def test_a_workbook_that_is_too_large_when_unpacked_is_refused(monkeypatch, limit):
    monkeypatch.setattr(workbooks, limit, 100)
    assert refused(workbook(NAMES, ROW)).what == "the workbook is too large"
