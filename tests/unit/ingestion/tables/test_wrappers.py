"""Harmless wrappers around a CSV table: what Excel, R and pandas add is read as if it were not there."""

import time

import pandas as pd
import pytest

from heartline.ingestion.formats import csv_text
from tests.unit.ingestion.tables.support import NAMES, OTHER, ROW, WANTED, csv, refused, table

PLAIN = csv(NAMES, ROW, OTHER)
SEMICOLONS = csv(NAMES, ROW, OTHER, sep=";")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"sep=;\n" + SEMICOLONS, id="sep"),
        pytest.param(b"SEP=,\r\n" + PLAIN, id="sep in capitals, CRLF"),
        pytest.param(b"\xef\xbb\xbfsep=;\r\n" + SEMICOLONS, id="sep after a byte order mark"),
        pytest.param(b'"sep=;"\n' + SEMICOLONS, id="sep in quotes"),
        pytest.param(b"sep=,,,,,,,,,,,,,\n" + PLAIN, id="sep, saved again by Excel"),
        pytest.param(b"sep=\t\n" + csv(NAMES, ROW, OTHER, sep="\t"), id="sep, tabs"),
        pytest.param(b'"sep=\t"\r\n' + csv(NAMES, ROW, OTHER, sep="\t", end="\r\n"), id="sep in quotes, tabs"),
        pytest.param(b"sep=\t\t\t\t\n" + csv(NAMES, ROW, OTHER, sep="\t"), id="sep, tabs, saved again by Excel"),
        pytest.param(b"sep=|\n" + csv(NAMES, ROW, OTHER, sep="|"), id="sep, vertical bars"),
        pytest.param(b"sep=:\n" + csv(NAMES, ROW, OTHER, sep=":"), id="sep, a separator of its own"),
        pytest.param(b"sep=;\n" + csv(ROW, OTHER, sep=";").replace(b".", b","), id="sep, no header, decimal commas"),
        pytest.param(csv(NAMES, ROW, OTHER, sep="|"), id="vertical bars"),
        pytest.param(csv(NAMES, ROW, OTHER, sep="\t").decode().encode("utf-16"), id="Unicode text of Excel"),
        pytest.param(("\ufeff" + PLAIN.decode()).encode("utf-16-be"), id="UTF-16, the other byte order"),
        pytest.param(b"# exported on Monday\n#\n" + PLAIN, id="lines of comment above"),
        pytest.param(b"#" + PLAIN, id="a header behind a sign"),
        pytest.param(b",,,,\n;;;\n" + PLAIN, id="empty rows above"),
        pytest.param(PLAIN + b",,,,,,,,,,,,,\n \n,,,,,,,,,,,,,\n\n", id="empty rows below"),
        pytest.param(csv(NAMES, ROW, OTHER, end="\r") + b";;;;\r\r", id="empty rows below, CR"),
        pytest.param(csv(*[[f'"{cell}"' for cell in row] for row in (NAMES, ROW, OTHER)]), id="quotes everywhere"),
    ],
)
def test_wrapped_text_gives_the_same_records(data):
    found = table(data)
    pd.testing.assert_frame_equal(found.frame, WANTED, check_exact=True)
    assert (len(found.unparseable), found.absent, found.dropped) == (0, (), ())


@pytest.mark.parametrize(
    ("data", "dropped"),
    [
        (csv(NAMES, ROW, OTHER, end=",\n"), ("column 15",)),
        (csv(ROW, OTHER, end=",\n"), ("column 15",)),
        (csv(NAMES) + csv(ROW, OTHER, end=",\n"), ("column 15",)),
        (csv(["", *NAMES], ["0", *ROW], ["1", *OTHER]), ("column 1",)),
        (csv(["Unnamed: 0", *NAMES], ["0", *ROW], ["1", *OTHER]), ("Unnamed: 0",)),
    ],
    ids=["separators at the end", "no header", "only in the rows", "an index without a name", "an index of pandas"],
)
def test_columns_that_programs_add_are_dropped_and_reported(data, dropped):
    found = table(data)
    pd.testing.assert_frame_equal(found.frame, WANTED, check_exact=True)
    assert found.dropped == dropped


def test_missing_cells_at_the_end_of_the_last_row_are_no_empty_row():
    found = table(csv(NAMES, ROW, [*OTHER[:-3], "", "", "1"]) + b",,,,,,,,,,,,,\n")
    assert (len(found.frame), len(found.unparseable)) == (2, 0)
    tabs = table(csv(NAMES, [*ROW[:-2], "", ""], sep="\t"))
    assert (len(tabs.frame), len(tabs.unparseable)) == (1, 0)


def test_a_damaged_utf_16_text_is_named():
    assert refused(b"\xff\xfe\x00\xd8" + b"a").what == "the file is binary, or damaged text in UTF-16"


@pytest.mark.parametrize("row", [b",,,,,,,,,,,,,\n", b" \n", b";;;\r\n", b",,\r"])
def test_the_time_for_empty_rows_below_grows_with_their_number_only(row):
    def seconds(count: int) -> float:
        data = PLAIN * 200 + row * count
        taken = []
        for _ in range(3):
            start = time.process_time()
            csv_text.detect_dialect(data, where="some.csv")
            taken.append(time.process_time() - start)
        return min(taken)

    assert seconds(80_000) < 8 * seconds(20_000)


def test_a_long_row_of_separators_below_is_an_empty_row():
    assert len(table(PLAIN + b"," * 100_000).frame) == 2
