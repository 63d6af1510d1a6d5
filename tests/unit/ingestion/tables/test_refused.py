import pickle

import pytest

from heartline.errors import DataError
from heartline.ingestion import tables
from heartline.ingestion.mapping import catalog as mapping_catalog
from tests.unit.ingestion.tables.support import NAMES, NO_RECORDS, OTHER, ROW, csv, refused, table
from tests.unit.messages import message


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf\n"], ids=["nothing", "blank lines", "only a mark"])
def test_an_empty_file_is_refused(data):
    assert str(refused(data)) == message(
        "the file is empty",
        where="some.csv",
        expected="a CSV, JSON, Parquet or Excel (.xlsx) file with records",
        hint="check how the file was made, and whether it was copied completely",
    )


@pytest.mark.parametrize("rest", [b"", b"\n\n", b" \n\t\n"])
def test_a_header_alone_is_refused(rest):
    assert str(refused(csv(NAMES) + rest)) == NO_RECORDS


def test_a_table_with_half_of_the_columns_is_accepted():
    assert table(csv(NAMES[:7], ROW[:7])).absent == tuple(NAMES[7:])
    assert str(refused(csv(NAMES[:6], ROW[:6]))) == message(
        "this is not a table of records: it has 6 of the 14 columns",
        where="some.csv, whose columns are: age, sex, cp, trestbps, chol, fbs",
        expected=f"the columns {', '.join(NAMES)}",
        hint="check that this is the right source; if its columns only have other names, "
        "./heartline mapping FILE writes a mapping for it",
    )


def test_at_most_twenty_column_names_are_shown_each_cut():
    error = refused(csv(["age", *[f"gene{number}" + "x" * 500 for number in range(500)]], ["1"] * 501))
    assert error.where.endswith("… … and 481 more")
    assert len(error.where) < 1200


def test_a_text_without_any_known_name_is_not_quoted():
    error = refused(b"root:x:0:0:root:/root:/bin/bash\ndaemon:*:1:1\n")
    assert error.where == "some.csv, whose first line has 1 field"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ch\u200bol", "ch\\u200bol (contains U+200B ZERO WIDTH SPACE)"),
        ("\u0430ge", "\\u0430ge (contains U+0430 CYRILLIC SMALL LETTER A)"),
        ("sex\x1b[2J", "sex\\x1b[2J (contains U+001B ESCAPE)"),
    ],
)
def test_characters_of_a_name_that_cannot_be_seen_are_shown(name, shown):
    assert shown in refused(csv([name, *NAMES[:5]], ROW[:6])).where


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"  <!DOCTYPE html><html>secret", "a web page, not a table"),
        (b'<?xml version="1.0"?><Workbook>secret', "XML, not a table"),
        (b"%PDF-1.7\nsecret\0", "a PDF document"),
        (pickle.dumps({"secret": 1}), "a Python pickle, which is never opened"),
        (b"SQLite format 3\0secret", "an SQLite database"),
        (b"\xd0\xcf\x11\xe0secret", "an old Excel or Word file (.xls, .doc)"),
    ],
)
def test_a_file_of_another_kind_is_named_and_not_quoted(data, kind):
    error = refused(data)
    assert error.what == f"this is {kind}"
    assert "secret" not in str(error)


@pytest.mark.parametrize("name", ["Age", " age "])
def test_a_column_that_occurs_twice_is_named(name):
    assert str(refused(csv([*NAMES, name], [*ROW, "52"]))) == message(
        "1 column is present more than once: age",
        where=f"some.csv, whose columns are: {', '.join(NAMES)}, {name.strip()}",
        expected="each column once, under one of its names",
        hint="remove or rename the duplicate columns",
    )


def test_a_column_that_occurs_under_two_names_is_named():
    assert str(refused(csv([*NAMES, "target", "thall"], [*ROW, "1", "1"]))) == message(
        "2 columns are present more than once: thal, num",
        where=f"some.csv, whose columns are: {', '.join(NAMES)}, target, thall",
        expected="each column once, under one of its names",
        hint="remove or rename the duplicate columns",
    )


@pytest.mark.parametrize(
    ("data", "where"),
    [
        pytest.param(csv(NAMES, ROW) + b'"' + csv(OTHER, ROW), "some.csv, row 2", id="a row"),
        pytest.param(csv(NAMES, ROW) + b'"\n' + csv(OTHER, ROW), "some.csv, row 2", id="a line of its own"),
        pytest.param(csv(NAMES, [*ROW[:-1], '"1'], OTHER), "some.csv, row 1", id="the last cell"),
        pytest.param(csv([*NAMES, "note"], [*ROW, "x"], [*ROW, '"x'], [*ROW, "x"]), "some.csv", id="a note"),
        pytest.param(csv(NAMES, ROW[:-1], ROW, *[[*ROW[:-1], '"1']] * 2), "some.csv, row 3", id="two in a column"),
        pytest.param(csv(NAMES, ['"52', *ROW[1:]], *[ROW] * 40_000), "some.csv", id="more than a block"),
        pytest.param(csv(NAMES, ["5" * 4_000_000, *ROW[1:]]), "some.csv", id="no quote, but an endless row"),
    ],
)
def test_an_unclosed_quote_is_refused(data, where):
    assert str(refused(data)) == message(
        "the text cannot be split into rows",
        where=where,
        expected="each quote closed in its row, and rows of at most 1,048,576 bytes",
        hint="look for a quote that is never closed",
    )


@pytest.mark.parametrize("n", [1, 25])
def test_a_file_in_which_no_row_has_the_fields_of_the_header_is_refused(n):
    shown = ", ".join(f"row {number} has 15" for number in range(1, min(n, 10) + 1))
    assert str(refused(csv(NAMES, *[[*ROW, "1"]] * n))) == message(
        "no row has 14 fields",
        where=f"some.csv: {shown}{', …' if n > 10 else ''}",
        expected="14 fields in each row, as in the header",
        hint="check the separator; put a field that contains it in quotes",
    )


def test_reading_stops_after_ten_thousand_malformed_rows_at_the_start():
    ragged = [[*ROW, "1"]] * 10_000
    error = refused(csv(NAMES, *ragged, ROW))
    assert error.what == "none of the first 10,000 rows has 14 fields"
    assert error.where.endswith("row 10 has 15, …")
    assert len(table(csv(NAMES, ROW, *ragged)).unparseable) == 10_000


def test_records_without_header_and_with_another_number_of_fields_are_refused():
    assert str(refused(csv(*[ROW[:-1]] * 3))) == message(
        "no row has 14 fields",
        where="some.csv: row 1 has 13, row 2 has 13, row 3 has 13",
        expected="14 fields in each row, as in the UCI files",
        hint="check the separator; put a field that contains it in quotes",
    )


@pytest.mark.parametrize(
    ("data", "problem", "where"),
    [
        (
            csv(NAMES, ROW).decode().encode("utf-16-le"),
            "the file is binary, or UTF-16 without a byte order mark",
            "some.csv, NUL at byte 2",
        ),
        (
            csv(NAMES, ROW) + b"5\0",
            "the file is binary, or UTF-16 without a byte order mark",
            "some.csv, NUL at byte 138",
        ),
        (b"x" * 200_000, "the first line is neither names nor values", "some.csv"),
    ],
)
def test_data_that_is_not_a_table_is_refused(data, problem, where):
    assert str(refused(data)) == message(
        problem,
        where=where,
        expected="a CSV, JSON, Parquet or Excel (.xlsx) file, with text in UTF-8",
        hint="check where the file comes from, or convert it to one of these formats",
    )


SECRETS = {
    "accounts": b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
    "a private key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n",
    "settings": b"DATABASE_PASSWORD=hunter2secret\nAPI_KEY=a,b,c\n",
    "a CSV file of passwords": b"login,secret\nalice,hunter2secret\n",
}
TELLING = ("root", "PRIVATE", "b3Blbn", "hunter2", "PASSWORD", "login", "alice")


@pytest.mark.parametrize("stated", ["", "hospital", "heart-918"])
@pytest.mark.parametrize("data", SECRETS.values(), ids=SECRETS)
def test_nothing_of_a_file_that_is_no_table_is_quoted(data, stated):
    with pytest.raises(DataError) as caught:
        tables.parse(data, where="a file", mapping=mapping_catalog.named(stated) if stated else None)
    assert not [word for word in TELLING if word in str(caught.value)]
    assert "whose first line has" in str(caught.value)
