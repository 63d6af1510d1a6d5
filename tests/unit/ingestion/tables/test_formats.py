import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ingestion.tables.support import NAMES, OTHER, ROW, WANTED, csv, parse, table, unparseable


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(csv(ROW, OTHER), id="as UCI has it"),
        pytest.param(csv(NAMES, ROW, OTHER), id="with a header"),
        pytest.param(csv([name.upper() + " " for name in NAMES], ROW, OTHER), id="names in another case"),
        pytest.param(csv(NAMES[::-1], ROW[::-1], OTHER[::-1]), id="columns in another order"),
        pytest.param(b"\xef\xbb\xbf" + csv(NAMES, ROW, OTHER), id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf" + csv(ROW, OTHER), id="byte order mark, no header"),
        pytest.param(csv(ROW, OTHER, end="\r\n"), id="CRLF"),
        pytest.param(csv(NAMES, ROW, OTHER, end="\r"), id="CR"),
        pytest.param(csv(NAMES, ROW, OTHER, sep=";"), id="semicolons"),
        pytest.param(csv(NAMES, ROW, OTHER, sep="\t"), id="tabs"),
        pytest.param(csv(ROW, OTHER, sep="  "), id="spaces"),
        pytest.param(csv(NAMES, ROW, OTHER, sep=" , "), id="spaces around commas"),
        pytest.param(csv(NAMES, ROW, OTHER, sep=" \t "), id="tabs among spaces"),
        pytest.param(b"  " + csv(NAMES, ROW, OTHER, sep="   ", end="  \r\n"), id="spaces on both sides of a line"),
        pytest.param(b"  " + csv(ROW, OTHER, sep=" ")[:-1] + b"  ", id="spaces on both sides of a text"),
        pytest.param(csv(NAMES, [f'"{cell}"' for cell in ROW], OTHER), id="quotes"),
        pytest.param(csv(NAMES, [f'"{cell}"' for cell in ROW], OTHER, sep=",  "), id="quotes after spaces"),
        pytest.param(csv([f'"{name}"' for name in NAMES], ROW, OTHER), id="quotes in the header only"),
        pytest.param(csv(NAMES, ROW, OTHER, sep=";").replace(b".", b","), id="decimal commas"),
        pytest.param(csv(ROW, OTHER, sep=";").replace(b".", b","), id="decimal commas, no header"),
        pytest.param(csv(ROW, OTHER, sep="\t").replace(b".", b","), id="decimal commas and tabs"),
        pytest.param(csv(NAMES, ROW).replace(b"\n", b"\r\n") + csv(OTHER, end="\r"), id="line ends of three kinds"),
        pytest.param(b"\n  \n" + csv(NAMES, ROW) + b"\n \n" + csv(OTHER) + b"\n\n", id="blank lines"),
        pytest.param(csv(NAMES, ROW, OTHER)[:-1], id="no line end at the end"),
        *(
            pytest.param(csv(NAMES, [cell if cell != "?" else word for cell in ROW], OTHER), id=f"missing as {word!r}")
            for word in ("", "NA", "NaN", "nan", "na", "nA", " ? ", "n/a", "N/A", "null", "NULL", "None", '"?"')
        ),
    ],
)
def test_every_format_gives_the_same_records(data):
    found = table(data)
    pd.testing.assert_frame_equal(found.frame, WANTED, check_exact=True)
    assert (len(found.unparseable), found.absent, found.dropped) == (0, (), ())


def test_the_names_are_those_of_the_header():
    assert table(csv(ROW, OTHER)).names == ()
    names = [name.upper() for name in NAMES]
    assert table(csv([f" {name} " for name in names], ROW)).names == tuple(names)


def test_the_real_file_is_read_as_pandas_reads_it(real_data, cleveland):
    found = parse((real_data / "processed.cleveland.data").read_bytes())
    pd.testing.assert_frame_equal(found, cleveland, check_names=False, check_exact=True)


def test_the_real_hungarian_file_is_read(real_data):
    found = table((real_data / "processed.hungarian.data").read_bytes())
    assert (len(found.frame), len(found.unparseable)) == (294, 0)
    assert int(found.frame["ca"].isna().sum()) == 291


def test_the_real_kaggle_file_is_read_by_its_names(real_data):
    found = table((real_data / "kaggle_heart_303.csv").read_bytes())
    assert (found.frame.shape, len(found.unparseable), found.absent, found.dropped) == ((303, 14), 0, (), ())
    assert "target" in found.names or "output" in found.names


def test_kaggles_alternative_names_are_known():
    names = {"trestbps": "trtbps", "thalach": "thalachh", "exang": "exng", "slope": "slp", "ca": "caa", "thal": "thall"}
    spelled = [{**names, "num": "output"}.get(name, name) for name in NAMES]
    found = table(csv(spelled, ROW, OTHER))
    pd.testing.assert_frame_equal(found.frame, WANTED)
    assert found.names == tuple(spelled)


def test_a_comma_is_a_decimal_comma_only_if_it_is_not_the_separator():
    assert unparseable(csv(NAMES, ['"1,000"', *ROW[1:]])) == [(1, "age", "1,000", "not a number")]
    assert unparseable(csv(NAMES, ["1,000,000", *ROW[1:]], sep=";")) == [(1, "age", "1,000,000", "not a number")]
    assert parse(csv(NAMES, ["52,5", *ROW[1:]], sep=";"))["age"][1] == 52.5


@pytest.mark.parametrize("written", ["52", "+52", "52.", "5.2e1", "520E-1", "0052.000"])
def test_number_formats(written):
    assert parse(csv(NAMES, [written, *ROW[1:]]))["age"][1] == 52


def test_windows_1252_is_recognised():
    data = csv([*NAMES, "Größe"], [*ROW, "groß"], ["Müller", *OTHER[1:], "5 €"]).decode().encode("cp1252")
    found = table(data)
    assert found.unparseable.to_numpy().tolist() == [[2, "age", "Müller", "not a number"]]
    assert found.dropped == ("Größe",)
    assert found.frame["chol"].tolist() == [221, 210]


def test_columns_that_the_contract_lacks_are_dropped_and_reported():
    data = csv(["id", *NAMES, "Name", ""], ["a;7", *ROW, '"Doe, J."', ""], ["8", *OTHER, "Roe", ""])
    found = table(data)
    pd.testing.assert_frame_equal(found.frame, WANTED)
    assert found.dropped == ("id", "Name", "column 17")


def test_a_missing_column_is_absent():
    found = table(csv([name for name in NAMES if name not in ("age", "sex")], ROW[2:]))
    assert (found.absent, found.dropped) == (("age", "sex"), ())
    assert list(found.frame.columns) == NAMES
    assert found.frame[["age", "sex"]].isna().all(axis=None)
    assert (found.frame.dtypes == "float64").all()


def test_a_column_with_another_name_is_absent_and_dropped():
    found = table(csv(["years", *NAMES[1:]], ROW, OTHER))
    assert (found.absent, found.dropped) == (("age",), ("years",))


@st.composite
def written(draw: st.DrawFn) -> tuple[pd.DataFrame, bytes]:
    """Return a frame, and its CSV in one of the common formats."""
    cell = st.one_of(
        st.just(np.nan),
        st.integers(-9, 1000).map(float),
        st.integers(-100, 10_000).map(lambda tenths: tenths / 10),
        st.floats(allow_nan=False, allow_infinity=False),
    )
    rows = draw(st.lists(st.lists(cell, min_size=14, max_size=14), min_size=1, max_size=6))
    frame = pd.DataFrame(rows, columns=NAMES, index=pd.RangeIndex(1, len(rows) + 1, name="row"), dtype="float64")

    sep = draw(st.sampled_from([",", ";", "\t", " ", "   ", ", "]))
    missing = draw(
        st.sampled_from(["?", "NA", "NaN", "nan", "null", "None", "n/a", *([] if " " in sep else ["", " "])])
    )
    integers, bare, quoted, comma = (draw(st.booleans()) for _ in range(4))

    def text(value: float) -> str:
        if np.isnan(value):
            return missing
        written = str(int(value)) if integers and value.is_integer() and abs(value) < 1e15 else repr(value)
        written = written[1:] if bare and written.startswith("0.") else written
        written = written.replace(".", ",") if comma and sep in (";", "\t") else written
        return f'"{written}"' if quoted else written

    header = draw(st.booleans())
    order = draw(st.permutations(NAMES)) if header else NAMES
    spell = draw(st.sampled_from([str, str.upper, str.title]))
    lines = [sep.join(map(text, row)) for row in frame[order].to_numpy().tolist()]
    if header:
        lines.insert(0, sep.join(map(spell, order)))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    mark, last = draw(st.sampled_from(["", "\ufeff"])), draw(st.sampled_from(["", end, end * 3]))
    return frame, (mark + end.join(lines) + last).encode()


@settings(max_examples=200, deadline=None)
@given(written())
def test_a_frame_survives_every_format(case):
    frame, data = case
    found = table(data)
    pd.testing.assert_frame_equal(found.frame, frame, check_exact=True)
    assert (len(found.unparseable), found.absent, found.dropped) == (0, (), ())
