"""Export and erasure of one person's predictions: by id and by record, in the database and on disk."""

import json
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving import personal_data
from serving.prediction_log import writer
from serving.prediction_log.connection import DatabaseError
from serving.settings import Settings
from tests.postgres import Postgres
from tests.serving.fakes import RECORD, FakeRegistry, make_bundle
from tests.serving.prediction_log.service import Logged, logged, spills

OTHER = {**RECORD, "age": 62}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    made = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield made
    made.remove()


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    server.start()
    server.clear()
    server.empty_ledger()
    return server


@pytest.fixture
def service(postgres: Postgres, settings: Settings, registry: FakeRegistry) -> Logged:
    registry.register(make_bundle())
    made = Logged(msgspec.structs.replace(settings, prediction_log_url=postgres.url))
    made.poll()
    return made


@pytest.fixture
def run(
    postgres: Postgres, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Call the command line as the service's user; return exit code, standard output and standard error."""
    monkeypatch.setattr(personal_data, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setenv("HEARTLINE_CACHE", settings.cache)
    monkeypatch.setenv("HEARTLINE_PREDICTION_LOG_URL", postgres.url)
    monkeypatch.setenv("HEARTLINE_LEDGER_URL", postgres.service_ledger_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = personal_data.main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def entries(postgres: Postgres) -> list[tuple[Any, ...]]:
    connection = postgres.server.connect(database="heartline")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT kind, version, by, facts, writer FROM ledger.entries")
            return list(cursor.fetchall())
    finally:
        connection.close()


def predicted(service: Logged, *records: Any) -> list[str]:
    found = [one["prediction_id"] for one in service.predict(list(records))["predictions"]]
    service.tick()
    return found


def outcome(service: Logged, prediction_id: str, *values: int) -> None:
    for value in values:
        body = {"prediction_id": prediction_id, "outcome": value, "observed_at": "2026-03-02T08:30:00Z"}
        assert service.client.post("/outcomes", json=body).status_code == 200


def test_without_yes_it_shows_what_would_be_erased_and_erases_nothing(
    service: Logged, postgres: Postgres, run: Run
) -> None:
    first, other = predicted(service, RECORD, OTHER)
    outcome(service, first, 1)
    code, said, _ = run("forget", first, "--by", "anna")
    assert code == 0
    assert first in said
    assert other not in said
    assert "version 1, 1 outcome" in said
    assert "nothing is erased: add --yes to erase 1 prediction" in said
    assert "250.5" not in said
    assert sorted(logged(postgres)) == sorted([first, other])
    assert entries(postgres) == []


def test_predictions_are_erased_by_id_with_all_revisions_of_their_outcomes(
    service: Logged, postgres: Postgres, run: Run
) -> None:
    first, second, other = predicted(service, RECORD, RECORD, OTHER)
    outcome(service, first, 1, 0)
    outcome(service, other, 1)
    code, said, _ = run("forget", first.upper(), second, str(uuid.uuid4()), "--by", "anna", "--yes")
    assert code == 0
    assert "erased: 2 predictions and 2 outcomes; entered in the ledger" in said
    assert logged(postgres) == [other]
    assert postgres.run("SELECT prediction_id::text FROM outcome") == [(other,)]
    assert service.client.get(f"/predictions/{first}").status_code == 404
    facts = {"predictions": 2, "outcomes": 2, "asked_for": "prediction ids"}
    assert entries(postgres) == [("forgotten", "", "anna", facts, "ledger_service")]


def test_predictions_are_erased_by_exactly_this_record(
    service: Logged, postgres: Postgres, run: Run, tmp_path: Path
) -> None:
    _, other, missing = predicted(service, RECORD, OTHER, {**RECORD, "ca": None})
    predicted(service, {**RECORD, "chol": 250.50}, {"ca": 2, "sex": 1, "chol": 2505e-1, "age": 61})
    file = tmp_path / "record.json"
    file.write_text(json.dumps(RECORD))
    assert run("forget", "--record", str(file), "--by", "anna", "--yes")[0] == 0
    assert sorted(logged(postgres)) == sorted([other, missing])
    file.write_text(json.dumps({"age": 61, "sex": 1, "chol": 250.5}))  # a missing value is the same as null
    assert run("forget", "--record", str(file), "--by", "anna", "--yes")[0] == 0
    assert logged(postgres) == [other]
    assert "61" not in json.dumps(entries(postgres))
    code, _, said = run("forget", "--record", str(file), "--by", "anna", "--yes")
    assert (code, "has no such prediction" in said) == (1, True)
    assert len(entries(postgres)) == 2


def test_rows_on_disk_are_erased_and_the_others_stay_as_they_were(
    service: Logged, postgres: Postgres, run: Run
) -> None:
    postgres.stop()
    kept_first, gone, kept_last = predicted(service, OTHER, RECORD, {**OTHER, "age": 63})
    (alone,) = predicted(service, RECORD)
    before = {one: service.get(f"/predictions/{one}") for one in (kept_first, kept_last)}
    service.log._spill.close()  # the service has stopped
    assert len(spills(service)) == 1
    postgres.start()
    code, said, _ = run("forget", gone, alone, "--by", "anna", "--yes")
    assert (code, said.count("on disk")) == (0, 2)
    (file,) = spills(service)
    assert gone not in file.read_text()
    assert alone not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = Logged(service.app.extensions["settings"])
    state = again.tick()
    assert (state["written"], state["dropped"], state["spilled"]) == (2, 0, 0)
    assert sorted(logged(postgres)) == sorted([kept_first, kept_last])
    assert {one: again.get(f"/predictions/{one}") for one in before} == before


def test_a_file_with_nothing_left_is_deleted(service: Logged, postgres: Postgres, run: Run, tmp_path: Path) -> None:
    postgres.stop()
    predicted(service, RECORD, RECORD)
    service.log._spill.close()
    postgres.start()
    file = tmp_path / "record.json"
    file.write_text(json.dumps(RECORD))
    assert run("forget", "--record", str(file), "--by", "anna", "--yes")[0] == 0
    assert spills(service) == []
    assert logged(postgres) == []


def test_spill_files_of_version_0_2_are_read(service: Logged, postgres: Postgres, run: Run) -> None:
    postgres.stop()
    kept, gone = predicted(service, OTHER, RECORD)
    (file,) = spills(service)
    service.log._spill.close()
    _, _, rest = file.read_bytes().partition(b" ")
    batch = json.loads(rest.partition(b" ")[2])
    (part,) = batch["parts"]
    old = {
        "model": batch["model"],
        "entries": [
            {
                "prediction_id": part["prediction_id"][row],
                "request_id": part["request_id"],
                "request_row": row,
                "answered": part["answered"],
                "model_key": batch["model"]["key"],
                **{name: part[name][row] for name in ("has_heart_disease", "probability", "imputed", "features")},
            }
            for row in (0, 1)
        ],
    }
    from serving.prediction_log.spill import _line

    file.write_bytes(_line(json.dumps(old).encode(), 2))
    postgres.start()
    assert run("forget", gone, "--by", "anna", "--yes")[0] == 0
    again = Logged(service.app.extensions["settings"])
    assert again.tick()["written"] == 1
    assert logged(postgres) == [kept]


def test_while_a_service_runs_it_waits_until_the_files_are_written(
    service: Logged, postgres: Postgres, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.stop()
    gone, kept = predicted(service, RECORD, OTHER)
    postgres.start()
    monkeypatch.setattr(personal_data, "SPILL_SECONDS", 0.0)
    code, _, said = run("forget", gone, "--by", "anna", "--yes")
    assert (code, "a running service holds further predictions" in said) == (5, True)
    monkeypatch.undo()
    monkeypatch.setenv("HEARTLINE_CACHE", service.app.extensions["settings"].cache)
    monkeypatch.setenv("HEARTLINE_PREDICTION_LOG_URL", postgres.url)
    service.log.start()
    try:
        assert personal_data.main(["forget", gone, "--by", "anna", "--yes"]) == 0
    finally:
        service.log.stop()
    assert logged(postgres) == [kept]


def test_what_was_erased_before_it_failed_is_entered_in_the_ledger(
    service: Logged, postgres: Postgres, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored,) = predicted(service, RECORD)
    outcome(service, stored, 1)
    postgres.stop()
    (waiting,) = predicted(service, RECORD)
    postgres.start()
    monkeypatch.setattr(personal_data, "SPILL_SECONDS", 0.0)
    code, _, said = run("forget", stored, waiting, "--by", "anna", "--yes")
    assert (code, "not all is erased: 1 prediction and 1 outcome are" in said) == (5, True)
    facts = {"predictions": 1, "outcomes": 1, "asked_for": "prediction ids"}
    assert [(kind, by, found) for kind, _, by, found, _ in entries(postgres)] == [("forgotten", "anna", facts)]
    assert run("forget", waiting, "--by", "anna", "--yes")[0] == 5
    assert len(entries(postgres)) == 1, "the second command has erased nothing"


def test_what_was_erased_on_disk_before_the_database_went_away_is_entered(
    service: Logged, postgres: Postgres, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.stop()
    (waiting,) = predicted(service, RECORD)
    service.log._spill.close()
    postgres.start()

    def away(self: Any, person: Any) -> None:
        raise DatabaseError("it has stopped")

    monkeypatch.setattr(personal_data.PersonalData, "erase", away)
    code, _, said = run("forget", waiting, "--by", "anna", "--yes")
    assert (code, "not all is erased: 1 prediction and 0 outcomes are" in said) == (5, True)
    assert spills(service) == []
    facts = {"predictions": 1, "outcomes": 0, "asked_for": "prediction ids"}
    assert [one[3] for one in entries(postgres)] == [facts]


def test_an_export_has_all_rows_of_a_person_and_no_others(
    service: Logged, postgres: Postgres, run: Run, tmp_path: Path
) -> None:
    first, other = predicted(service, RECORD, OTHER)
    outcome(service, first, 1, 0)
    file, out = tmp_path / "record.json", tmp_path / "person.json"
    file.write_text(json.dumps(RECORD))
    assert run("export", "--record", str(file), "--out", str(out))[0] == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = json.loads(out.read_text())
    (one,) = found["predictions"]
    assert one["prediction"]["features"] == RECORD
    assert one["prediction"]["logged"]
    assert one["model"]["version"] == "1"
    assert [each["outcome"] for each in one["outcomes"]] == [True, False]
    assert other not in out.read_text()
    code, _, said = run("export", first, "--out", str(out))
    assert (code, "the file cannot be written" in said) == (2, True)
    code, printed, _ = run("export", other, "--out", "-")
    assert json.loads(printed)["predictions"][0]["prediction"]["prediction_id"] == other
    assert entries(postgres) == []


def test_an_export_has_what_waits_on_disk(service: Logged, postgres: Postgres, run: Run) -> None:
    postgres.stop()
    (waiting,) = predicted(service, RECORD)
    postgres.start()
    _, printed, _ = run("export", waiting, "--out", "-")
    (one,) = json.loads(printed)["predictions"]
    assert (one["on_disk"], one["prediction"]["features"], one["outcomes"]) == (True, RECORD, [])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "neither ids nor a record are given"),
        (("7",), "'7' is not the id of a prediction"),
        (("--record", "/nowhere/record.json"), "the file cannot be read"),
        (("--record", "RECORD:[]"), "this is not a record"),
        (("--record", "RECORD:{}"), "this is not a record"),
        (("--record", 'RECORD:{"ca": null}'), "this is not a record"),
        (("--record", 'RECORD:{"age": "61"}'), "the value of 'age' is not a number"),
        (("--record", "RECORD:{"), "this is not JSON"),
        ((str(uuid.UUID(int=7)), "--record", "RECORD:{}"), "ids and a record are given"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, tmp_path: Path, arguments: tuple[str, ...], what: str) -> None:
    if arguments and arguments[-1].startswith("RECORD:"):
        (tmp_path / "record.json").write_text(arguments[-1].removeprefix("RECORD:"))
        arguments = (*arguments[:-1], str(tmp_path / "record.json"))
    code, _, said = run("forget", *arguments, "--by", "anna", "--yes")
    assert (code, what in said) == (2, True), said


def test_without_its_databases_nothing_is_erased(
    service: Logged, postgres: Postgres, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = predicted(service, RECORD)
    monkeypatch.setenv("HEARTLINE_LEDGER_URL", "postgresql://ledger:s3cret@127.0.0.1:1/heartline")
    code, _, said = run("forget", known, "--by", "anna", "--yes")
    assert (code, "Connection refused" in said, "s3cret" in said) == (5, True, False)
    assert logged(postgres) == [known]
    monkeypatch.setenv("HEARTLINE_PREDICTION_LOG_URL", "postgresql://p:s3cret@127.0.0.1:1/predictions")
    assert run("forget", known, "--by", "anna", "--yes")[0] == 5
    monkeypatch.setenv("HEARTLINE_PREDICTION_LOG_URL", "off")
    code, _, said = run("forget", known, "--by", "anna", "--yes")
    assert (code, "no predictions are logged" in said) == (1, True)


def test_the_folder_is_that_of_the_writer() -> None:
    assert personal_data.FOLDER == writer.FOLDER
