"""Each kind of input gives the same answers, in its order, with its own columns, or the reason of a refusal."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heartline import contract
from heartline.errors import DataError, ParameterError, SourceError
from heartline.ingestion.sample import synthetic
from tests.unit.scoring.conftest import Score, errors

NAMES = list(contract.FEATURE_NAMES)


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    """50 records with two own columns, one of them in the middle; row 3 lacks thal."""
    frame = synthetic.generate(50, 4)[NAMES].copy()
    frame.loc[3, "thal"] = float("nan")
    frame.insert(2, "patient", [f"{number:05}" for number in range(len(frame))])
    frame["ward"] = ["A, 1"] * len(frame)
    return frame


@pytest.fixture(scope="module")
def cells(patients: pd.DataFrame) -> list[list[str]]:
    return [
        ["" if value != value else f"{value:g}" if isinstance(value, float) else str(value) for value in row]
        for row in patients.itertuples(index=False)
    ]


def csv_of(header: list[str], rows: list[list[str]], separator: str = ",", comma: bool = False) -> str:
    def line(values: list[str]) -> str:
        if comma:
            values = [value.replace(".", ",") if value.replace(".", "").isdigit() else value for value in values]
        return separator.join(f'"{value}"' if separator in value else value for value in values)

    return "\n".join(map(line, [header, *rows])) + "\n"


@pytest.fixture
def expected(score: Score, patients: pd.DataFrame, cells: list[list[str]], tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "plain.csv"
    path.write_text(csv_of(list(patients), cells))
    found = score(path)
    assert [one["patient"] for one in found] == list(patients["patient"])
    assert {one["ward"] for one in found} == {"A, 1"}
    assert found[2]["imputed"] == "thal"
    assert all(0 < one["probability"] < 1 and one["reason"] is None and one["version"] == "7" for one in found)
    return found


def zipped(path: Path, patients: pd.DataFrame, cells: list[list[str]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("records.csv", csv_of(list(patients), cells))


def texts_in_parquet(path: Path, patients: pd.DataFrame, cells: list[list[str]]) -> None:
    pq.write_table(pa.table({name: [row[at] for row in cells] for at, name in enumerate(patients)}), path)


def plain_values(patients: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if value != value else value for name, value in row.items()} for row in patients.to_dict("records")
    ]


def workbook(path: Path, patients: pd.DataFrame, cells: list[list[str]]) -> None:
    book = openpyxl.Workbook()
    for row in [list(patients), *(list(one.values()) for one in plain_values(patients))]:
        book.active.append(row)
    book.save(path)


WRITERS: dict[str, Callable[[Path, pd.DataFrame, list[list[str]]], object]] = {
    "csv in zip": zipped,
    "parquet": lambda path, patients, cells: patients.to_parquet(path, row_group_size=7),
    "parquet of text": texts_in_parquet,
    "parquet of float32": lambda path, patients, cells: patients.astype(dict.fromkeys(NAMES, "float32")).to_parquet(
        path
    ),
    "json": lambda path, patients, cells: path.write_text(json.dumps(plain_values(patients))),
    "jsonl": lambda path, patients, cells: path.write_text("\n".join(map(json.dumps, plain_values(patients)))),
    "xlsx": workbook,
}


def as_bytes(kind: str, patients: pd.DataFrame, cells: list[list[str]], folder: Path) -> Path:
    """Write the records as a kind of file."""
    header, path = list(patients), folder / f"records.{kind.split()[0]}"
    plain = csv_of(header, cells)
    texts = {
        "csv with crlf": plain.replace("\n", "\r\n"),
        "csv with cr": plain.replace("\n", "\r"),
        "csv with blank lines": "\n\n" + plain.replace("\n", "\n\n  \n"),
        "csv with a comment": "# from the ward\n" + plain,
        "csv without a last line break": plain.rstrip("\n"),
        "csv with empty rows at the end": plain + ",,,,\n" * 3,
        "csv with semicolons": csv_of(header, cells, ";", comma=True),
        "csv with sep": "sep=;\n" + csv_of(header, cells, ";"),
        "tsv": csv_of(header, cells, "\t"),
        "csv with spaces around numbers": plain.replace(",1,", ", 1 ,"),
        "csv with capitals": plain.replace("age,sex", "Age,SEX", 1),
    }
    encoded = {
        "csv in utf-16": plain.encode("utf-16"),
        "csv with a byte order mark": b"\xef\xbb\xbf" + plain.encode(),
        "csv in gzip": gzip.compress(plain.encode()),
    } | {name: text.encode() for name, text in texts.items()}
    if kind in encoded:
        path.write_bytes(encoded[kind])
    else:
        WRITERS[kind](path, patients, cells)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "csv with crlf", "csv with cr", "csv with blank lines", "csv with a comment", "csv without a last line break",
        "csv with empty rows at the end", "csv with semicolons", "csv with sep", "tsv",
        "csv with spaces around numbers", "csv with capitals", "csv in utf-16", "csv with a byte order mark",
        "csv in gzip", "csv in zip", "parquet", "parquet of text", "parquet of float32", "json", "jsonl", "xlsx",
    ],
)  # fmt: skip
def test_a_kind_of_file(
    kind: str,
    score: Score,
    patients: pd.DataFrame,
    cells: list[list[str]],
    expected: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    assert score(as_bytes(kind, patients, cells, tmp_path)) == expected


def test_windows_1252(score: Score, patients: pd.DataFrame, cells: list[list[str]], tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_bytes(
        csv_of(["Größe" if name == "ward" else name for name in patients], cells)
        .replace("A, 1", "Über")
        .encode("cp1252")
    )
    found = score(path)
    assert {one["Größe"] for one in found} == {"Über"}


def test_without_a_header(score: Score, tmp_path: Path) -> None:
    frame = synthetic.generate(20, 4)
    path = tmp_path / "records.data"
    frame[NAMES].to_csv(path, header=False, index=False, na_rep="?")
    features = score(path)
    frame.to_csv(path, header=False, index=False, na_rep="?")
    with_label = score(path)
    assert [one.pop("num") for one in with_label] == [f"{value:.1f}" for value in frame["num"]]
    assert with_label == features


def test_rejected_rows_are_kept(score: Score, cells: list[list[str]], patients: pd.DataFrame, tmp_path: Path) -> None:
    rows = [list(row) for row in cells[:6]]
    at = list(patients).index
    rows[0][at("age")] = "130"
    rows[1][at("cp")] = "typical"
    rows[2][at("sex")] = ""
    rows[3] = rows[3][:4]
    rows[4][at("ca")], rows[4][at("chol")] = "7", "-9"
    path = tmp_path / "records.csv"
    path.write_text(csv_of(list(patients), rows))
    found = score(path)
    assert [errors(one) for one in found] == [
        [("/age", "the value is not allowed")],
        [("/cp", "the value is not allowed")],
        [("/sex", "the field is missing")],
        [("", f"the row has 4 cells, the header {len(patients.columns)}")],
        [("/chol", "the field is missing"), ("/ca", "the value is not allowed")],
        [],
    ]
    assert found[4]["reason"] == "chol: the field is missing; ca: the value is not allowed"
    assert json.loads(found[0]["errors"])[0]["value"] == 130
    assert json.loads(found[1]["errors"])[0]["value"] == "typical"
    assert [one["patient"] for one in found] == [row[2] if len(row) > 4 else None for row in rows]
    assert all(one["probability"] is None and one["has_heart_disease"] is None for one in found[:5])
    assert found[5]["probability"] is not None
    assert {one["version"] for one in found} == {"7"}


def test_own_columns_that_are_named(score: Score, expected: list[dict[str, Any]], tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv"
    assert "ward" not in score(plain, keys="patient")[0]
    assert score(plain, keys='["ward"]')[0]["ward"] == "A, 1"
    assert "patient" not in score(plain, keys="[]")[0]
    with pytest.raises(ParameterError, match="no column room"):
        score(plain, keys="room")
    with pytest.raises(ParameterError, match="no list of names"):
        score(plain, keys="[1]")


def test_an_own_column_with_a_name_of_the_output(
    score: Score, cells: list[list[str]], patients: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "records.csv"
    header = ["row" if name == "patient" else "Version" if name == "ward" else name for name in patients]
    path.write_text(csv_of(header, cells))
    found = score(path)
    assert found[1]["input_row"] == "00001"
    assert found[1]["input_Version"] == "A, 1"


def test_texts_of_own_columns_stay(
    score: Score, cells: list[list[str]], patients: pd.DataFrame, tmp_path: Path
) -> None:
    rows = [list(row) for row in cells[:3]]
    for row, text in zip(rows, ("NA", "", "007"), strict=True):
        row[2] = text
    path = tmp_path / "records.csv"
    path.write_text(csv_of(list(patients), rows))
    assert [one["patient"] for one in score(path)] == ["NA", "", "007"]


def test_a_mapping(score: Score, tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    header = "Id,Age,Sex,ChestPainType,RestingBP,Cholesterol,FastingBS,RestingECG,MaxHR,ExerciseAngina,Oldpeak,ST_Slope"
    rows = ["a,54,M,ASY,130,242,0,Normal,152,N,0.8,Up", "b,54,F,XYZ,130,0,0,LVH,152,Y,0.8,Down"]
    path.write_text("\n".join([header, *rows]))
    found = score(path, mapping="heart-918")
    assert found[0]["imputed"] == "ca thal"
    assert found[0]["Id"] == "a"
    assert errors(found[1]) == [("/cp", "the mapping has no code for this value"), ("/chol", "the field is missing")]
    with pytest.raises(DataError, match="not a table of records") as caught:
        score(path)
    assert "heart-918" in caught.value.hint


def test_kaggles_codes_stop_the_run_unless_stated(score: Score, tmp_path: Path) -> None:
    frame = synthetic.generate(100, 4)[NAMES]
    uci = tmp_path / "uci.csv"
    frame.to_csv(uci, index=False)
    from heartline.ingestion import encodings

    coded = frame.copy()
    for name, codes in encodings.KAGGLE_CODES.items():
        if name in coded:
            back = {meant: code for code, meant in codes.items() if meant == meant}
            coded[name] = coded[name].map(back)
    coded["ca"], coded["thal"] = coded["ca"].fillna(4), coded["thal"].fillna(0)
    kaggle = tmp_path / "kaggle.csv"
    coded.to_csv(kaggle, index=False)
    with pytest.raises(DataError, match="codes of Kaggle"):
        score(kaggle)
    assert score(kaggle, encoding="kaggle") == score(uci)
    coded.loc[coded.index[0], "cp"] = 4
    coded.to_csv(kaggle, index=False)
    assert errors(score(kaggle, encoding="kaggle")[0]) == [("/cp", "the value is not allowed")]


def test_a_header_without_rows(score: Score, run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    for end in ("", "\n", "\r\n\r\n"):
        path.write_text(",".join([*NAMES, "id"]) + end)
        assert score(path) == []
    content = run(path, tmp_path / "out")
    table = pq.read_table(Path(content["output"], "part-00000.parquet"))
    assert table.num_rows == 0
    assert {"row", "id", "probability", "errors"} <= set(table.column_names)
    assert table.schema.field("probability").type == pa.float32()
    assert table.schema.field("id").type == pa.string()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"%PDF-1.7", "a PDF document"),
        (b"a,b\n\0", "binary"),
        (b"PAR1 no", "Parquet file cannot be read"),
        (b"x,y\n1,2\n", "not a table of records"),
        (",".join(NAMES[1:]).encode() + b"\n1\n", "the records have no age"),
        (",".join([*NAMES, "age"]).encode() + b"\n1\n", "present more than once"),
        (b"{}", "holds no records"),
        (",".join(NAMES).encode() + b"\n" + b"1" * 9_000_000, "cannot be split into rows"),
        ((",".join([*NAMES, "id"]) + "\n" + ",".join("1" for _ in NAMES) + ',"a\nb"\n').encode(), "cannot be split"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(data: bytes, what: str, score: Score, tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(data)
    with pytest.raises(DataError, match=what):
        score(path)


def test_a_file_that_is_not_there(score: Score, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        score(tmp_path / "records.csv")


def test_the_sample(score: Score) -> None:
    assert len(score("sample:120")) == 120


def test_a_scored_file_without_its_error_has_no_model_columns_of_the_checkout(score: Score, tmp_path: Path) -> None:
    frame = synthetic.generate(20, 4)
    path = tmp_path / "records.csv"
    frame.to_csv(path, index=False)
    assert [float(one["num"]) for one in score(path)] == frame["num"].tolist()  # the label is an own column
