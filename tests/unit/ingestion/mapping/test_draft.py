"""The first draft of a mapping: certain things are filled in, the rest is open, and no patient's value is shown."""

import numpy as np
import pandas as pd
import pytest

from heartline.errors import DataError
from heartline.ingestion import tables
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ingestion.mapping import draft as mapping_draft
from heartline.ingestion.mapping import parser as mapping_parser
from tests.unit.ingestion.mapping import layouts


def draft(frame: pd.DataFrame) -> str:
    return mapping_draft.draft(frame.to_csv(index=False).encode(), where="a.csv", name="/data/ward.csv")


@pytest.mark.parametrize("layout", [layouts.hospital, layouts.heart_920], ids=lambda one: one.__name__)
def test_the_draft_of_a_file_with_certain_words_is_complete(cohort, layout):
    file = layout(cohort)
    one = mapping_parser.parse(draft(file), title="draft")
    table = tables.parse(file.to_csv(index=False).encode(), where="a.csv", mapping=one)
    decoded, unparseable = one.decode(table.frame, table.unparseable)
    pd.testing.assert_frame_equal(decoded, cohort.astype("float64"), check_names=False, check_index_type=False)
    assert (len(unparseable), one.title) == (0, "ward")


@pytest.mark.parametrize(
    ("layout", "fields"),
    [
        (layouts.heart_918, {"columns.ca.column", "columns.thal.column", "label.disease", "label.no_disease"}),
        (
            layouts.heart_297,
            {'columns.cp.codes."0"', 'columns.slope.codes."2"', 'columns.thal.codes."1"', "label.disease"},
        ),
        (
            layouts.kaggle,
            {'columns.cp.codes."0"', 'columns.restecg.codes."0"', 'columns.ca.codes."4"', "label.disease"},
        ),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_told_is_left_open_and_then_refused(cohort, layout, fields):
    text = draft(layout(cohort))
    with pytest.raises(DataError) as caught:
        mapping_parser.parse(text, title="draft")
    assert "left open" in caught.value.what
    for field in fields:
        last = field.rpartition(".")[2]
        assert f'{last}: "?"' in text, field


def test_the_label_of_the_archive_is_in_order(cohort):
    rows = cohort.assign(num=[(3, 1, 0, 2, 4)[row % 5] for row in range(len(cohort))])
    assert 'disease: ["1", "2", "3", "4"]\n  no_disease: ["0"]' in draft(rows)


def test_a_label_of_zero_and_one_is_never_guessed(cohort):
    text = draft(layouts.binary(cohort).rename(columns={"num": "outcome"}))
    assert 'column: outcome\n  disease: "?"' in text
    assert "the file has" in text


def test_another_unit_is_seen_and_left_open(cohort):
    text = draft(cohort.assign(chol=(cohort["chol"] / 38.67).round(1), age=cohort["age"] * 12))
    assert 'factor: "?"  # the values look like mmol/l: then 38.67' in text
    assert text.count("factor:") == 2


def test_no_values_of_columns_with_many_are_shown(cohort):
    names = [f"Doe{row}" for row in range(len(cohort))]
    file = cohort.assign(patient=names, sex=names, thal="x" * 300)
    text = draft(file)
    assert "Doe" not in text
    assert "it has more than 12 different values" in text
    assert "x" * 201 not in text
    assert not any(f"{value:g}" in text.split() for value in cohort["chol"])


def test_odd_names_and_words_are_escaped_and_read_back(cohort):
    odd = 'a: "b" # c\u200b\x1b[31m'
    file = cohort.rename(columns={"age": odd}).assign(sex=np.where(cohort["sex"] == 1, odd, "no"), thal="?")
    text = draft(file)
    assert "\x1b" not in text
    assert "\u200b" not in text
    filled = text.replace('column: "?"', f"column: {mapping_draft._quoted(odd)}").replace('"?"', "1")
    filled = filled.replace(f"  - {mapping_draft._quoted(odd)}", "  - nothing")
    assert odd in mapping_parser.parse(filled, title="draft").columns["sex"].codes


@pytest.mark.parametrize("name", mapping_catalog.NAMES)
def test_a_shipped_mappings_names_are_in_the_vocabulary(name):
    from heartline.ingestion.mapping.vocabulary import NAMES

    for column, one in mapping_catalog.named(name).columns.items():
        known = (column, *NAMES[column])
        assert {"".join(filter(str.isalnum, spelled)).lower() for spelled in one.names} <= set(known)
