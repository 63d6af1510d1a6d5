"""The column that identifies the patient: found by name, hashed before anything is kept."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from heartline.errors import DataError, ParameterError, SourceRefusedError
from heartline.ingestion import patients, sources, tables
from heartline.ingestion.access import files
from heartline.ingestion.mapping.parser import parse
from heartline.ingestion.patients import PatientColumn
from heartline.ingestion.sample import synthetic

SECRET = "5" * 64
COLUMN = PatientColumn("MRN", SECRET)
ROWS = synthetic.generate(120)
WHO = [1000 + number % 80 for number in range(120)]


def settings(**changed):
    return sources.Settings(folders=files.ANYWHERE, patient_secret=SECRET, **changed)


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([7, 12, None]),
        pa.array([7.0, 12.0, None]),
        pa.array(["7", " 012 ", "?"]),
        pa.array(["7.0", "12", "-9"]),
        pa.array([Decimal("7.00"), Decimal("12.00"), None]),
        pa.array(["07", "12", "NaN"]).dictionary_encode(),
    ],
    ids=["integers", "floats", "text", "text of floats", "decimals", "dictionary"],
)
def test_the_same_patient_has_the_same_key_in_each_format(cells):
    first, second, missing = COLUMN.keys(cells).tolist()
    assert (first, second) == tuple(COLUMN.keys(pa.array(["7", "12"])).tolist())
    assert first != second
    assert missing == patients.NO_KEY


def test_long_numbers_and_other_texts_stay_different():
    texts = ["9007199254740993", "9007199254740992", "a-1", "a-2", "10", "1", "0"]
    assert len(set(COLUMN.keys(pa.array(texts)).tolist())) == len(texts)
    assert len(set(COLUMN.keys(pa.array([2**53, 2**53 + 1])).tolist())) == 2
    assert patients.normal("  Ward  A ") == patients.normal("ward a")


@given(text=st.text(min_size=1))
def test_a_key_depends_on_the_secret_and_is_no_plain_hash(text):
    one, other = (PatientColumn("p", secret * 40).keys(pa.array([text]))[0] for secret in "ab")
    assert (one == other) == (one == patients.NO_KEY)


def _written(folder, kind, frame):
    path = folder / f"a.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "json":
        path.write_text(frame.to_json(orient="records"))
    elif kind == "xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return str(path)


def test_files_and_queries_give_the_same_keys(tmp_path):
    frame = ROWS.assign(MRN=WHO)
    found = [
        sources.read(_written(tmp_path, kind, frame), settings=settings(), patient="mrn").table
        for kind in ("csv", "json", "xlsx", "parquet")
    ]
    address = f"sqlite:///{tmp_path}/db"
    frame.to_sql("patients", create_engine(address), index=False)
    found += [
        sources.read("postgres", settings=settings(database_url=address), patient="MRN", query=query).table
        for query in (None, "SELECT * FROM patients")
    ]
    for table in found:
        assert (table.patients == COLUMN.keys(pa.array(WHO))).all()
        assert table.patient == "MRN"
        assert table.dropped == ()
        pd.testing.assert_frame_equal(table.frame, ROWS, check_names=False)


def test_long_numbers_of_a_query_stay_different_beside_missing_ones(tmp_path):
    address = f"sqlite:///{tmp_path}/db"
    who = [2**60 + number for number in range(119)] + [None]
    ROWS.assign(MRN=pd.array(who, "Int64")).to_sql("patients", create_engine(address), index=False)
    found = sources.read("postgres", settings=settings(database_url=address), patient="MRN").table.patients
    assert len(np.unique(found)) == 120


def test_a_shipped_mapping_is_chosen_beside_the_patients_column(tmp_path):
    from tests.unit.ingestion.mapping import layouts

    frame = layouts.heart_918(synthetic.generate(400))
    frame["MRN"] = np.arange(len(frame)) // 2
    path = tmp_path / "a.csv"
    frame.to_csv(path, index=False)
    table = sources.read(str(path), settings=settings(), patient="MRN").table
    assert table.mapping.title == "heart-918"
    assert len(np.unique(table.patients)) == 200


@pytest.mark.parametrize(
    ("name", "what", "where"),
    [
        (
            "patient_no",
            "the source has no column patient_no for the patients",
            "columns beside the contract's are: MRN",
        ),
        ("Age", "the column Age cannot identify patients: it is age of the contract", "parameter patient"),
        ("num", "the column num cannot identify patients: it is num of the contract", "parameter patient"),
        ("ward", "the column ward does not identify patients: it has 4 different values in 120 rows", "a.csv"),
        ("none", "the column none does not identify patients: no row has a value", "a.csv"),
    ],
)
def test_a_column_that_identifies_no_patients_is_refused(tmp_path, name, what, where):
    frame = ROWS.assign(MRN=WHO, ward=[number % 4 for number in range(120)], none=np.nan)
    with pytest.raises(DataError) as caught:
        sources.read(_written(tmp_path, "csv", frame), settings=settings(), patient=name)
    assert caught.value.what == what
    assert where in caught.value.where
    assert "parameter patient" in caught.value.where


def test_a_file_without_a_header_has_no_such_column(tmp_path):
    ROWS.to_csv(tmp_path / "a.csv", index=False, header=False)
    with pytest.raises(DataError, match="has no header"):
        sources.read(str(tmp_path / "a.csv"), settings=settings(), patient="MRN")


def test_a_name_that_occurs_twice_is_refused():
    with pytest.raises(DataError, match="2 columns MRN"):
        COLUMN.locate(["mrn", "Mrn", "age"], {"age": 2}, where="a file")
    assert COLUMN.locate(["mrn", "MRN", "age"], {"age": 2}, where="a file") == 1


@pytest.mark.parametrize("secret", ["", "short"])
def test_without_the_stacks_secret_nothing_is_read(tmp_path, secret):
    with pytest.raises(SourceRefusedError, match="no secret to hash them with") as caught:
        sources.read(str(tmp_path / "missing.csv"), settings=sources.Settings(patient_secret=secret), patient="MRN")
    assert "HEARTLINE_PATIENT_SECRET" in caught.value.where
    assert "short" not in str(caught.value)


def test_a_source_without_further_columns_takes_no_patient():
    with pytest.raises(ParameterError, match="has no column of patients"):
        sources.read("sample", settings=settings(), patient="MRN")


def test_the_secret_is_in_no_text_of_the_settings():
    assert SECRET not in repr(settings())
    assert SECRET not in repr(COLUMN)


def test_no_value_is_kept_with_malformed_rows_or_in_errors():
    lines = ROWS.assign(MRN=[f"geheim{number}" for number in WHO]).to_csv(index=False).splitlines()
    lines[3] += ",too,many"
    table = tables.parse("\n".join(lines).encode(), where="a.csv", patient=COLUMN)
    assert table.unparseable["value"].tolist() == [patients.NOT_SHOWN]
    assert "geheim" not in json.dumps([table.unparseable.to_dict("list"), table.names])
    with pytest.raises(DataError) as caught:
        _keys = tables._PatientKeys(
            COLUMN,
            tables.table_formats.of_frames([], ["MRN"]),
            {},
            "a file",
        )
        _keys.add(pa.array([b"geheim\xff"]))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("words", [False, True], ids=["numbers", "a mapping's words"])
def test_a_value_in_the_wrong_column_is_not_kept_and_a_frequent_word_is(words):
    rows = ROWS.assign(MRN=[f"geheim{number}" for number in WHO]).astype("object")
    rows.loc[rows.index[:3], "sex"] = "divers"
    rows.loc[rows.index[3], ["sex", "MRN"]] = ["geheim3", 1]
    mapping = None
    if words:
        mapping = parse("columns: {sex: {codes: {'0': 0, '1': 1, male: 1}}}", title="words")
        rows["sex"] = rows["sex"].replace({1: "male"})
    table = tables.parse(rows.to_csv(index=False).encode(), where="a.csv", patient=COLUMN, mapping=mapping)
    held = [*table.unparseable["value"], *(table.frame["sex"].astype(str) if words else [])]
    assert "geheim" not in " ".join(held)
    assert patients.NOT_SHOWN in held
    assert held.count("divers") == 3


def test_the_nightly_column_is_for_the_nightly_source_only(monkeypatch):
    monkeypatch.setenv("HEARTLINE_PATIENT", "MRN")
    monkeypatch.setenv("HEARTLINE_SOURCE", "/data/night.csv")
    assert patients.of_nightly("/data/night.csv") == "MRN"
    assert patients.of_nightly("/data/other.csv") == ""
