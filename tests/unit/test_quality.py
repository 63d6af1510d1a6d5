import numpy as np
import pandas as pd
import pytest

from heartline import contract, quality
from heartline.errors import DataError


def _failures(frame: pd.DataFrame) -> list[tuple[str, str, list[tuple[int, str]]]]:
    report = quality.check(frame)
    return [(one.column, one.expectation, one.rows) for one in report.failures]


def test_good_records_pass_every_expectation(cohort):
    report = quality.check(cohort)
    assert report.passed
    assert report.expectations == 2 + 3 * len(contract.COLUMNS)


def test_real_records_pass(cleveland):
    assert quality.check(cleveland).passed


@pytest.mark.parametrize(
    ("column", "value", "expectation"),
    [
        ("cp", 9.0, "expect_column_values_to_be_in_set"),
        ("cp", 2.7, "expect_column_values_to_be_in_set"),
        ("age", 300.0, "expect_column_values_to_be_between"),
        ("oldpeak", -1.0, "expect_column_values_to_be_between"),
        ("chol", 0.0, "expect_column_values_to_be_between"),
        ("num", 5.0, "expect_column_values_to_be_in_set"),
        ("chol", np.nan, "expect_column_values_to_not_be_null"),
    ],
)
def test_a_bad_value_is_found_in_its_row(cohort, column, value, expectation):
    bad = cohort.copy()
    bad.loc[7, column] = value
    assert [(one[0], one[1], [row for row, _ in one[2]]) for one in _failures(bad)] == [(column, expectation, [7])]


def test_words_in_a_number_are_shown_as_they_are(cohort):
    bad = cohort.astype("object")
    bad.loc[5, "thalach"] = "fast"
    assert _failures(bad) == [("thalach", "expect_column_values_to_be_null", [(5, "'fast'")])]


def test_one_class_only_stops_the_run(cohort):
    assert [one[0] for one in _failures(cohort.assign(num=0.0))] == [quality.DISEASE]


def test_a_mostly_missing_column_stops_the_run(cohort):
    assert [one[0] for one in _failures(cohort.assign(ca=np.nan))] == ["ca"]


def test_too_few_rows_stop_the_run(cohort):
    report = quality.check(cohort.iloc[:10])
    assert "expect_table_row_count_to_be_between" in [one.expectation for one in report.failures]


def test_the_message_names_expectation_column_rows_and_what_to_do(cohort):
    bad = cohort.copy()
    bad.loc[3, "cp"] = 9
    bad.loc[4, "cp"] = 2.7
    with pytest.raises(DataError) as caught:
        quality.stop_on(quality.check(bad), source="file /tmp/x.csv")
    assert str(caught.value) == (
        "1 of 44 expectations are not met\n"
        "  where:    source file /tmp/x.csv\n"
        "    - cp: expected one of the codes 1, 2, 3, 4; found 2 other in row 3: 9, row 4: 2.7 "
        "[expect_column_values_to_be_in_set]\n"
        f"  expected: records as contract {contract.VERSION} describes them\n"
        "  do:       mend these rows in the source and run again; nothing was trained on them"
    )


def test_at_most_ten_rows_are_shown_and_all_are_counted(cohort):
    (failure,) = quality.check(cohort.assign(chol=0.0)).failures
    assert len(failure.rows) == 10
    assert failure.count == len(cohort)
