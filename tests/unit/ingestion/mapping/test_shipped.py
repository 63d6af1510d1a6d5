"""The shipped mappings: chosen only where header, values and label leave nothing to guess."""

import pandas as pd
import pytest

from heartline.ingestion import encodings, tables
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ingestion.mapping import choice as mapping_choice
from heartline.ingestion.mapping import parser as mapping_parser
from tests.unit.ingestion.mapping import layouts


def read(frame: pd.DataFrame) -> tables.Table:
    data = frame.to_csv(index=False).encode()
    return mapping_choice.read(lambda mapping: tables.parse(data, where="a.csv", mapping=mapping), None, automatic=True)


def chosen(frame: pd.DataFrame) -> str:
    """Return the mapping that is chosen for a file, "" for none or where the file is refused."""
    try:
        table = read(frame)
    except Exception:
        return ""
    return table.mapping.title if table.mapping else ""


LAYOUTS = {
    "heart-918": layouts.heart_918,
    "heart-920": layouts.heart_920,
    "heart-297": layouts.heart_297,
    "hospital": layouts.hospital,
}


@pytest.mark.parametrize("name", mapping_catalog.NAMES)
def test_each_shipped_mapping_is_chosen_for_its_layout_and_gives_the_contracts_records(name, cohort):
    table = read(LAYOUTS[name](cohort))
    assert table.mapping is not None
    assert table.mapping.title == name
    decoded, unparseable = table.mapping.decode(table.frame, table.unparseable)
    wanted = layouts.binary(cohort) if name in ("heart-918", "heart-297") else cohort
    present = [column for column in wanted.columns if column not in table.absent]
    pd.testing.assert_frame_equal(
        decoded[present], wanted[present].astype("float64"), check_names=False, check_index_type=False
    )
    assert unparseable.empty
    assert table.absent == (("ca", "thal") if name == "heart-918" else ())


@pytest.mark.parametrize("name", mapping_catalog.NAMES)
def test_the_frame_before_decoding_holds_what_the_file_holds(name, cohort):
    file = LAYOUTS[name](cohort)
    table = read(file)
    sex = next(column for column in file if column.lower() == "sex")
    if name != "heart-297":
        assert table.frame["sex"].astype("str").tolist() == file[sex].tolist()
    assert table.frame["age"].tolist() == cohort["age"].tolist()


@pytest.mark.parametrize("name", mapping_catalog.NAMES)
def test_a_turned_label_is_not_chosen(name, cohort):
    file = LAYOUTS[name](cohort)
    label = file.columns[-1]
    assert chosen(file.assign(**{label: (file[label] == 0).astype(int)})) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: file.rename(columns={"condition": "target"}), "a label named target is ambiguous"),
        (lambda file: file.assign(ward=1), "a column that no layout has"),
        (lambda file: file.assign(cp=3 - file["cp"]), "codes in another order"),
        (lambda file: file.assign(thal=2 - file["thal"]), "a scan in another order"),
        (lambda file: file.assign(cp=file["cp"] + 1), "codes from 1"),
        (lambda file: file.assign(cp=file["cp"].clip(upper=2)), "a code is never seen"),
        (lambda file: file.assign(thal=file["thal"].replace(2, 3)), "a code of another layout"),
        (lambda file: file.assign(condition=1), "one class"),
        (lambda file: file.head(12), "too few rows to determine the label"),
    ],
)
def test_what_differs_from_a_layout_is_not_chosen(cohort, change, why):
    assert chosen(layouts.heart_297(cohort)) == "heart-297"
    assert chosen(change(layouts.heart_297(cohort))) == "", why


@pytest.mark.parametrize("word", ["typical", "5", "TA "])
def test_one_other_word_is_enough_for_no_choice(cohort, word):
    file = layouts.heart_920(cohort)
    file.loc[7, "cp"] = word
    assert chosen(file) == ""


def test_a_measurement_in_another_unit_is_no_fit(cohort):
    file = layouts.hospital(cohort)
    assert chosen(file) == "hospital"
    assert chosen(file.assign(Cholesterol=(file["Cholesterol"] / 38.67).round(2))) == ""
    assert chosen(file.assign(trestbps=file["trestbps"] / 10)) == ""


def test_uci_and_kaggle_files_are_read_as_before(cohort):
    for file in (cohort, layouts.kaggle(cohort)):
        table = read(file)
        assert table.mapping is None
        assert table.unparseable.empty
    uci = cohort.astype("object")
    uci.loc[3, "chol"] = "high"
    assert read(uci).mapping is None
    assert chosen(layouts.kaggle(cohort).rename(columns={"target": "condition"})) == ""
    assert chosen(layouts.kaggle(cohort).rename(columns={"target": "heart_disease"})) == ""


def test_kaggles_codes_with_an_upright_label_are_not_chosen(cohort):
    file = layouts.kaggle(cohort).rename(columns={"target": "condition"})
    assert chosen(file.assign(condition=1 - file["condition"])) == ""


def test_an_index_column_is_harmless(cohort):
    file = layouts.heart_918(cohort)
    file.insert(0, "Unnamed: 0", range(len(file)))
    assert chosen(file) == "heart-918"


@pytest.mark.parametrize("name", mapping_catalog.NAMES)
def test_a_mappings_text_gives_the_mapping_again(name):
    one = mapping_catalog.named(name)
    again = mapping_parser.parse(one.text(), title=name)
    assert (again, again.digest) == (one, one.digest)


def test_nothing_is_decoded_twice(cohort):
    table = read(layouts.hospital(cohort))
    assert table.mapping is not None
    decoded, _ = table.mapping.decode(table.frame, encodings.no_unparseable_cells())
    assert encodings.decide_encoding(decoded, [], encodings.AUTO).encoding == encodings.UCI
