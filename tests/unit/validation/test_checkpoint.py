"""The checkpoint: which rows are used, which are quarantined, and what stops a run."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from heartline import contract
from heartline.ingestion import encodings
from heartline.ingestion.sample import synthetic
from heartline.storage import record_identity
from heartline.validation import checkpoint, drift, findings

NONE = encodings.no_unparseable_cells()
REQUIRED = [column for column in contract.COLUMNS if not column.optional]


def _unparseable(*cells: tuple[int, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(cells), columns=checkpoint.QUARANTINE)


def _serious(checked: checkpoint.Checked) -> list[tuple[str, str, str]]:
    return [(one.layer, one.column, one.expectation) for one in checked.findings if one.layer != "unusual"]


def test_good_records_are_all_used(cohort):
    checked = checkpoint.check(cohort, NONE)
    assert (checked.rows, checked.used, checked.duplicates, checked.quarantined) == (303, 303, [], 0)
    assert _serious(checked) == []
    assert checkpoint.reasons_to_stop(checked, 0) == []
    pd.testing.assert_frame_equal(checked.records, record_identity.canonical(cohort))


def test_real_records_pass_with_one_unusual_value(cleveland):
    checked = checkpoint.check(cleveland, NONE)
    assert [str(one) for one in checked.findings] == [
        "chol: expected usually 100 to 500 mg/dl; found 1 row that does not meet this: 564 in row 153 "
        "[expect_column_values_to_be_between]"
    ]
    assert (checked.used, checked.quarantined) == (303, 0)


@pytest.mark.parametrize(
    ("column", "value", "shown", "reason"),
    [
        ("cp", 9.0, "9", "expected one of the codes 1, 2, 3, 4"),
        ("cp", 2.7, "2.7", "not a whole number"),
        ("age", 300.0, "300", "expected 1 to 120 years"),
        ("age", 54.5, "54.5", "not a whole number"),
        ("trestbps", 0.0, "0", "expected 50 to 300 mm Hg"),
        ("oldpeak", -1.0, "-1", "expected 0 to 10 mm"),
        ("oldpeak", np.inf, "inf", "not a number"),
        ("chol", 0.0, "0", "expected 50 to 1000 mg/dl"),
        ("chol", np.nan, "missing", "expected a value in every row"),
        ("chol", 123456789.0, "123456789", "expected 50 to 1000 mg/dl"),
        ("num", 5.0, "5", "expected one of the codes 0, 1, 2, 3, 4"),
    ],
)
def test_a_row_with_an_impossible_value_is_quarantined_and_the_others_are_used(cohort, column, value, shown, reason):
    bad = cohort.copy()
    bad.loc[7, column] = value
    checked = checkpoint.check(bad, NONE)
    assert checked.quarantine.to_dict("records") == [{"row": 7, "field": column, "value": shown, "reason": reason}]
    assert (checked.used, checked.quarantined) == (302, 1)
    assert checkpoint.reasons_to_stop(checked, contract.MAX_QUARANTINE_SHARE) == []


def test_a_row_with_several_wrong_fields_counts_once(cohort):
    bad = cohort.copy()
    bad.loc[7, ["cp", "thalach"]] = 9, np.nan
    checked = checkpoint.check(
        bad, _unparseable((7, "thalach", "fast", "not a number"), (999, "", "1,2", "2 fields instead of 14"))
    )
    assert checked.quarantine.to_numpy().tolist() == [
        [7, "cp", "9", "expected one of the codes 1, 2, 3, 4"],
        [7, "thalach", "fast", "not a number"],
        [999, "", "1,2", "2 fields instead of 14"],
    ]
    assert (checked.rows, checked.used, checked.quarantined) == (304, 302, 2)
    assert [str(one) for one in checked.findings if one.layer == "row"] == [
        "all records: expected 14 fields in each row; found 1 row that does not meet this: 2 fields instead of 14 in "
        "row 999 [rows_that_can_be_read]",
        "cp: expected one of the codes 1, 2, 3, 4; found 1 row that does not meet this: 9 in row 7 "
        "[expect_column_values_to_be_in_set]",
        "thalach: expected whole numbers; found 1 row that does not meet this: 'fast' in row 7 "
        "[expect_column_values_to_be_null]",
    ]


def test_rows_with_the_same_value_are_grouped_in_the_message(cohort):
    bad = cohort.copy()
    bad.loc[[3, 5], "cp"], bad.loc[4, "cp"] = 9, np.nan
    checked = checkpoint.check(bad, NONE)
    assert [str(one) for one in checked.findings if one.column == "cp"] == [
        "cp: expected a value in every row; found 1 row that does not meet this: missing in row 4 "
        "[expect_column_values_to_not_be_null]",
        "cp: expected one of the codes 1, 2, 3, 4; found 2 rows that do not meet this: 9 in rows 3, 5 "
        "[expect_column_values_to_be_in_set]",
    ]
    mixed = replace(checked.findings[1], rows=[(3, "9"), (4, "8"), (5, "9")], count=4)
    assert "found 2 rows that do not meet this: 9 in rows 3, 5; 8 in row 4, … [" in str(mixed)


def test_an_unusual_value_is_used_with_a_warning(cohort):
    checked = checkpoint.check(cohort.assign(thalach=cohort["thalach"].where(cohort.index != 4, 50)), NONE)
    assert [(one.layer, one.column, one.rows) for one in checked.findings if one.column == "thalach"] == [
        ("unusual", "thalach", [(4, "50")])
    ]
    assert checked.used == 303


def test_duplicates_are_counted_and_used_once(cohort):
    repeated = pd.concat([cohort, cohort.iloc[:5]], ignore_index=True).set_axis(range(1, 309))
    checked = checkpoint.check(repeated, NONE)
    assert (checked.rows, checked.used, checked.duplicates) == (308, 303, [304, 305, 306, 307, 308])
    assert _serious(checked) == []


@pytest.mark.parametrize(
    ("change", "column", "found"),
    [
        pytest.param(lambda frame: frame.iloc[20:30], "", "found 10", id="ten rows"),
        pytest.param(lambda frame: frame.assign(num=0.0), "num", "found 0.0%", id="one class"),
        pytest.param(lambda frame: frame.assign(ca=np.nan), "ca", "found 0.0%", id="a column missing throughout"),
        pytest.param(
            lambda frame: pd.concat([frame] * 4, ignore_index=True), "", "found 75.0%", id="mostly duplicates"
        ),
        pytest.param(
            lambda frame: frame.assign(num=(frame["num"] == 0).astype("float64")),
            "num",
            "found 5 of them contradict the label",
            id="label inverted",
        ),
    ],
)
def test_an_unmet_requirement_on_the_dataset_stops_the_run(cohort, change, column, found):
    checked = checkpoint.check(change(cohort), NONE)
    ((layer, name, _),) = _serious(checked)
    assert (layer, name) == ("set", column)
    assert found in str(checked.findings[0])
    assert len(checkpoint.reasons_to_stop(checked, 1.0)) == 1


def test_a_missing_column_stops_the_run_and_nothing_is_used(cohort):
    checked = checkpoint.check(cohort.assign(thal=np.nan), NONE, absent=["thal"])
    assert str(checked.findings[0]).endswith("thal, num; found none of thal [expect_table_columns_to_match_set]")
    assert (checked.rows, checked.used, checked.quarantined, len(checked.records)) == (303, 303, 0, 0)
    assert len(checkpoint.reasons_to_stop(checked, 1.0)) == 1


def test_counts_that_do_not_add_up_raise(cohort, monkeypatch):
    monkeypatch.setattr(record_identity, "canonical", lambda frame, order: frame.iloc[1:])
    with pytest.raises(RuntimeError, match="303 rows in, but 303 used, 0 duplicates, 0 quarantined, 302 records out"):
        checkpoint.check(cohort, NONE)


def test_records_without_findings_are_hashed_and_sorted_once(cohort, monkeypatch):
    sizes = []
    hashes = record_identity.feature_hashes
    monkeypatch.setattr(record_identity, "feature_hashes", lambda frame: sizes.append(len(frame)) or hashes(frame))
    checkpoint.check(cohort, NONE)
    assert sizes == [303]


def test_quarantine_above_the_limit_stops_the_run_and_holds_every_row(cohort):
    checked = checkpoint.check(cohort.assign(chol=0.0), NONE)
    assert checked.quarantined == len(checked.quarantine) == 303
    (finding,) = [one for one in checked.findings if one.layer == "row"]
    assert (finding.count, len(finding.rows)) == (303, 10)
    assert checkpoint.reasons_to_stop(checked, 0.05) == [
        "all records: 303 of 303 rows (100.0%) are in quarantine, at most 5.0% may be"
    ]
    assert checkpoint.reasons_to_stop(checked, 1.0) == []


def test_drift_is_found_for_a_shifted_column_only(cohort):
    reference = drift.reference(record_identity.canonical(cohort))
    alike = checkpoint.check(synthetic.generate(303, seed=11), NONE, reference=reference)
    older = checkpoint.check(cohort.assign(age=np.minimum(cohort["age"] + 15, 110)), NONE, reference=reference)
    meant = checkpoint.check(
        cohort.assign(age=np.minimum(cohort["age"] + 15, 110)), NONE, reference=reference, max_drift=5
    )
    assert _serious(alike) == []
    assert _serious(older) == [("set", "age", "expect_column_kl_divergence_to_be_less_than")]
    assert [layer for layer, column, _ in _serious(meant) if column == "age"] == ["drift"]
    assert checkpoint.reasons_to_stop(meant, 0.05) == []


def test_drift_above_chance_and_below_the_stop_level_is_a_warning(cohort):
    older = cohort.assign(age=np.minimum(cohort["age"] + 4, 110))
    reference = drift.reference(record_identity.canonical(cohort))
    checked = checkpoint.check(older, NONE, reference=reference)
    (finding,) = [one for one in checked.findings if one.expectation == findings.DRIFT]
    chance = drift.chance_level(303, 303, cells=10, columns=14)
    assert (finding.layer, finding.column) == ("drift", "age")
    assert f"up to the chance level of {chance:.3f} (303 records against 303; the run stops above 0.25)" in str(finding)
    assert chance < float(finding.found) < 0.25
    assert checkpoint.reasons_to_stop(checked, 0.05) == []


def test_a_column_that_stops_the_run_has_no_warning_of_drift_too(cohort):
    older = cohort.assign(age=np.minimum(cohort["age"] + 15, 110))
    checked = checkpoint.check(older, NONE, reference=drift.reference(record_identity.canonical(cohort)))
    assert [one.layer for one in checked.findings if one.column == "age" and one.expectation == findings.DRIFT] == [
        "set"
    ]


def test_a_value_that_is_not_in_the_reference_is_drift_and_not_an_error(cohort):
    reference = drift.reference(record_identity.canonical(cohort[cohort["cp"] != 4]))
    checked = checkpoint.check(cohort, NONE, reference=reference)
    (finding,) = [one for one in checked.findings if one.column == "cp"]
    assert finding.layer == "set"
    assert 0.25 < float(finding.found) < 10


def _outside(column: contract.Column) -> st.SearchStrategy[float]:
    """Values that break one rule of a column."""
    beyond = st.one_of(
        st.integers(int(column.maximum) + 1, 10**6).map(float),
        st.integers(-(10**6), int(column.minimum) - 1).map(float),
    )
    fraction = st.floats(column.minimum, column.maximum).filter(lambda value: value != int(value))
    between = st.sampled_from(
        [code for code in range(int(column.minimum), int(column.maximum)) if code not in column.codes] or [-1]
    )
    rules = [beyond] + [fraction] * column.whole + [between.map(float)] * bool(column.codes)
    return st.one_of(*rules, *([] if column.optional else [st.just(np.nan)]))


@pytest.mark.slow
@given(data=st.data())
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a second, so shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_breaking_one_rule_quarantines_exactly_those_rows(cohort, data):
    column = data.draw(st.sampled_from(contract.COLUMNS))
    rows = sorted(data.draw(st.sets(st.sampled_from(list(cohort.index)), min_size=1, max_size=40)))
    bad = cohort.copy()
    for row in rows:
        bad.loc[row, column.name] = data.draw(_outside(column))

    checked = checkpoint.check(bad, NONE)

    assert checked.quarantine["row"].tolist() == rows
    assert set(checked.quarantine["field"]) == {column.name}
    assert checked.used + len(checked.duplicates) + checked.quarantined == 303
    assert bool(checkpoint.reasons_to_stop(checked, 0.05)) == (len(rows) > 0.05 * 303)
    pd.testing.assert_frame_equal(checked.records, record_identity.canonical(cohort.drop(index=rows)))


def _peak_of_check(n: int) -> int:
    """Return the memory that the checkpoint needs for ``n`` records, two of whose columns lack some values."""
    records = pd.concat([synthetic.generate()] * -(-n // 303), ignore_index=True).iloc[:n]
    frame = records.assign(chol=np.arange(n) % 300 + 150.0, thalach=np.arange(n) // 300 % 120 + 80.0)
    for place, name in enumerate(("ca", "thal")):
        frame.loc[frame.index % 100 == place, name] = np.nan
    tracemalloc.start()
    try:
        checkpoint.check(frame, NONE)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_missing_values_do_not_make_the_checkpoint_copy_all_columns():
    few, many = _peak_of_check(20_000), _peak_of_check(80_000)
    assert (many - few) / 60_000 < 180


def test_columns_with_missing_values_keep_the_order_of_the_suite(cohort):
    frame = cohort.copy()
    frame.loc[frame.index[:2], ["ca", "thal", "oldpeak"]] = np.nan
    results = checkpoint.check(frame, NONE).result
    expected = checkpoint.check(cohort.fillna({"ca": 0.0, "thal": 3.0}), NONE).result

    def listed(found):
        return [(one.expectation_config.type, one.expectation_config.kwargs.get("column")) for one in found.results]

    assert listed(results) == listed(expected)
    assert results.statistics["evaluated_expectations"] == len(results.results)
    assert results.success == all(one.success for one in results.results)
