"""Outcomes of a table: added once, corrected, and what cannot be used is reported while the others are accepted."""

import pytest

from heartline.errors import DataError, ParameterError, SourceError
from heartline.ingestion import sources
from heartline.monitoring import outcome_import
from heartline.storage import object_store
from tests.unit.monitoring.fakes import Log, moment

NOW = moment(20)


@pytest.fixture
def table(log: Log, store, tmp_path, monkeypatch):
    """Return a function that imports the lines of a CSV file."""
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(tmp_path))

    def run(*lines: str, header: str = "prediction_id,outcome,observed_at,source", name: str = "outcomes.csv"):
        path = tmp_path / name
        path.write_text("\n".join([header, *lines, ""]))
        return outcome_import.run(str(path), now=NOW, settings=sources.Settings.from_environment())

    return run


def test_outcomes_are_added_once(log, table):
    one, two = log.predict(1), log.predict(1)
    lines = (f"{one},1,2026-03-05T10:00:00Z,lab", f"{two.upper()},0,2026-03-05,")
    found = table(*lines)
    assert (found.rows, found.added, found.known, found.refused, found.file) == (2, 2, 0, {}, "")
    assert log.outcomes() == [("01", 1, True, None, "lab"), ("02", 1, False, None, None)]
    again = table(*lines)
    assert (again.added, again.known) == (0, 2)
    assert len(log.outcomes()) == 2


def test_a_later_row_corrects_and_a_table_that_is_read_each_day_does_not_undo_another_correction(log, table):
    one = log.predict(1)
    lines = (f"{one},1,2026-03-05T10:00:00Z,lab", f"{one},0,2026-03-06T10:00:00Z,lab")
    assert table(*lines).added == 2
    assert [row[1:3] for row in log.outcomes()] == [(1, True), (2, False)]
    log.observe(one, 7, True, revision=3)
    assert table(*lines).added == 0
    assert [row[1:3] for row in log.outcomes()] == [(1, True), (2, False), (3, True)]


def test_num_is_disease_from_1_on(log, table):
    ids = [log.predict(1) for _ in range(2)]
    found = table(f"{ids[0]},0,2026-03-05", f"{ids[1]},3,2026-03-05", header="Prediction_ID,num,observed_at")
    assert found.added == 2
    assert [row[2:4] for row in log.outcomes()] == [(False, 0), (True, 3)]


def test_rows_that_cannot_be_used_are_reported_and_the_others_accepted(log, table):
    one = log.predict(1)
    unknown = "00000000-0000-0000-0000-0000000000ff"
    found = table(
        f"{one},1,,2026-03-05,",
        f"{unknown},1,,2026-03-05,",
        "42,1,,2026-03-05,",
        f"{one},2,,2026-03-05,",
        f"{one},,5,2026-03-05,",
        f"{one},,,2026-03-05,",
        f"{one},0,3,2026-03-05,",
        f"{one},1,,yesterday,",
        f"{one},1,,2026-05-05,",
        f"{one},1,2026-03-05",
        header="prediction_id,outcome,num,observed_at,source",
    )
    assert (found.rows, found.added) == (10, 1)
    assert found.refused == {
        "no prediction has this id": 1,
        "prediction_id is no id of a prediction": 1,
        "outcome is neither 0 nor 1": 1,
        "num is no number from 0 to 4": 1,
        "neither outcome nor num is given": 1,
        "outcome and num contradict each other": 1,
        "observed_at is no time such as 2026-03-01T12:00:00Z": 1,
        "observed_at is in the future": 1,
        "the row has another number of fields than the header": 1,
    }
    lines = object_store.get(found.file).decode().splitlines()
    assert lines[:3] == ["row,reason", "2,no prediction has this id", "3,prediction_id is no id of a prediction"]
    assert len(lines) == 10


def test_what_was_erased_is_not_written_down_again(log, table, store):
    erased = log.predict(1)
    log.postgres.run("DELETE FROM prediction")
    found = table(f"{erased},1,2026-03-05,lab", "patient 7,1,2026-03-05,lab")
    assert found.refused["no prediction has this id"] == 1
    text = object_store.get(found.file).decode()
    assert erased not in text
    assert "patient" not in text


def test_the_outcomes_of_a_prediction_are_added_in_the_order_in_which_they_were_observed(log, table, monkeypatch):
    monkeypatch.setattr(outcome_import, "_BATCH", 2)
    one, two = log.predict(1), log.predict(1)
    found = table(
        f"{one},0,2026-03-07T10:00:00Z,lab",
        f"{two},1,2026-03-05T10:00:00Z,lab",
        f"{two},0,2026-03-05T10:00:00Z,ward",
        f"{one},1,2026-03-05T10:00:00Z,lab",
        f"{one},1,2026-03-07T09:00:00+02:00,ward",
    )
    assert found.added == 5
    assert log.outcomes() == [
        ("01", 1, True, None, "lab"), ("01", 2, True, None, "ward"), ("01", 3, False, None, "lab"),
        ("02", 1, True, None, "lab"), ("02", 2, False, None, "ward"),
    ]  # fmt: skip


def test_a_source_is_refused_as_in_post_outcomes(log, table):
    one, two, three = (log.predict(1) for _ in range(3))
    found = table(
        f"{one},1,2026-03-05,{'x' * 100}", f"{two},1,2026-03-05,{'x' * 101}", f"{three},1,2026-03-05,la\u200eb"
    )
    assert found.refused == {"source is not text of at most 100 printable characters": 2}
    assert [row[4] for row in log.outcomes()] == ["x" * 100]


def test_rows_behind_a_malformed_one_have_the_numbers_of_the_file(log, table):
    one = log.predict(1)
    found = table(
        f"{one},1,2026-03-05,lab",
        "too short",
        f"{one},2,2026-03-05,lab",
        "too short",
        "too short",
        f"{one},3,2026-03-05,lab",
    )
    malformed, wrong = "the row has another number of fields than the header", "outcome is neither 0 nor 1"
    lines = object_store.get(found.file).decode().splitlines()[1:]
    assert lines == [f"2,{malformed}", f"3,{wrong}", f"4,{malformed}", f"5,{malformed}", f"6,{wrong}"]


def test_a_time_without_a_zone_is_utc(log, table):
    one = log.predict(1)
    assert table(f"{one},1,2026-03-05T10:00:00,lab").added == 1
    assert table(f"{one},1,2026-03-05T12:00:00+02:00,lab").added == 0


def test_a_table_without_its_columns_is_refused(log, table):
    with pytest.raises(DataError, match="observed_at is missing"):
        table("1,1", header="prediction_id,outcome")
    with pytest.raises(DataError, match="outcome or num is missing"):
        table("1,1", header="prediction_id,observed_at")


def test_the_rules_of_the_training_sources_hold(log, store, tmp_path, monkeypatch):
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(tmp_path / "allowed"))
    (tmp_path / "secret.csv").write_text("prediction_id,outcome,observed_at\n")
    settings = sources.Settings.from_environment()
    with pytest.raises(SourceError):
        outcome_import.run(str(tmp_path / "secret.csv"), now=NOW, settings=settings)
    with pytest.raises(SourceError):
        outcome_import.run("http://127.0.0.1:1/outcomes.csv", now=NOW, settings=settings)
    with pytest.raises(ParameterError):
        outcome_import.run("sample", now=NOW, settings=settings)


def test_a_table_and_a_query_of_postgresql(log, store, ledger_database):
    one, two = log.predict(1), log.predict(1)
    log.postgres.run(
        "DROP TABLE IF EXISTS outcomes; CREATE TABLE outcomes (prediction_id uuid, num int, "
        "observed_at timestamptz, comment text)"
    )
    log.postgres.run(
        "INSERT INTO outcomes VALUES (%s, 2, '2026-03-05T10:00:00+02', 'x'), (%s, NULL, '2026-03-05', 'y')", one, two
    )
    settings = sources.Settings(database_url=ledger_database.url)
    found = outcome_import.run("postgres:outcomes", now=NOW, settings=settings)
    assert (found.added, found.refused) == (1, {"neither outcome nor num is given": 1})
    query = "SELECT prediction_id, false AS outcome, observed_at, 'ward' AS source FROM outcomes"
    assert outcome_import.run("postgres", query=query, now=NOW, settings=settings).added == 2
    assert log.outcomes() == [("01", 1, True, 2, None), ("01", 2, False, None, "ward"), ("02", 1, False, None, "ward")]
