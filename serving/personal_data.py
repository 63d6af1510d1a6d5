"""Shows, exports and erases what the prediction log holds of one person: ``python -m serving.personal_data``.

``./heartline forget`` and ``./heartline export-person`` call it. With docker compose it runs in the container of the
service.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.ledger.database import LedgerDatabase
from serving.ledger.events import FORGOTTEN, Event
from serving.model.records import MalformedError, Record, parse
from serving.prediction_log.connection import DatabaseError
from serving.prediction_log.personal_data import Person, PersonalData, Stored, erase_spilled, find_spilled
from serving.prediction_log.writer import FOLDER, INTERVAL_SECONDS
from serving.settings import PREFIX, SettingError, Settings

OK, FAILED, USAGE, UNHEALTHY = 0, 1, 2, 5  # the launcher's exit codes
SPILL_SECONDS = 60.0  # until a running service has written its files to the database
SHOWN = 20  # predictions that are listed


@dataclass
class Erased:
    """What was erased so far: numbers of predictions and outcomes."""

    predictions: int = 0
    outcomes: int = 0

    def __str__(self) -> str:
        """Return both numbers in words."""
        return f"{_count(self.predictions, 'prediction')} and {_count(self.outcomes, 'outcome')}"


class PersonalDataError(SettingError):
    """The command cannot do what was asked; it has an exit code."""

    def __init__(self, code: int, what: str, *, where: str, expected: str, hint: str) -> None:
        super().__init__(what, where=where, expected=expected, hint=hint)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        person = _person(given.ids, given.record)
        settings = Settings.from_environment(os.environ)
        if settings.prediction_log_url == "off":
            raise PersonalDataError(
                FAILED,
                "no predictions are logged",
                where=PREFIX + "PREDICTION_LOG_URL",
                expected="the database of a prediction log",
                hint="set it as for the service",
            )
        run = _export if given.command == "export" else _forget
        return run(settings, person, given)
    except PersonalDataError as error:
        print(f"heartline: {error}", file=sys.stderr)
        return error.code
    except SettingError as error:
        print(f"heartline: {error}", file=sys.stderr)
        return USAGE
    except DatabaseError as error:
        print(f"heartline: {_unreachable(error)}", file=sys.stderr)
        return UNHEALTHY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.personal_data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    forget = commands.add_parser("forget", help="erase the predictions of a person, with their outcomes")
    export = commands.add_parser("export", help="write all that is stored of a person to a JSON file")
    for command in (forget, export):
        command.add_argument("ids", nargs="*", metavar="ID", help="prediction_id of a response")
        command.add_argument("--record", metavar="FILE", help="one record as JSON: all predictions of exactly this one")
    forget.add_argument("--yes", action="store_true", help="erase; without it, only show what would be erased")
    forget.add_argument("--by", required=True, metavar="NAME", help="your name, for the ledger")
    export.add_argument("--out", required=True, metavar="FILE", help="a new file; - is standard output")
    return parser


def _forget(settings: Settings, person: Person, given: argparse.Namespace) -> int:
    database, folder = PersonalData(settings.prediction_log_url), Path(settings.cache) / FOLDER
    try:
        found = _found(database, folder, person)
        if not found:
            raise _nothing()
        for line in _lines(found):
            print(line)
        if not given.yes:
            print(f"nothing is erased: add --yes to erase {_count(len(found), 'prediction')}")
            return OK
        ledger = LedgerDatabase(settings.ledger_url) if settings.ledger_url != "off" else None
        if ledger:
            ledger.open()  # what is erased must be entered
        time.sleep(2 * INTERVAL_SECONDS)  # what was predicted just now is in the queue of a worker
        erased = Erased()
        try:
            _erase(database, folder, person, erased)
        finally:  # also what was erased before it failed
            if ledger:
                _enter(ledger, erased, given)
    finally:
        database.close()
    if not erased.predictions:
        raise _nothing()
    entered = "entered in the ledger" if settings.ledger_url != "off" else "no ledger is configured"
    print(f"erased: {erased}; {entered}")
    return OK


def _erase(database: PersonalData, folder: Path, person: Person, erased: Erased) -> None:
    """Erase on disk, then in the database, until nothing is left.

    Args:
        database: of the log.
        folder: with the files on disk.
        person: whose predictions are erased.
        erased: is increased by what was erased, also where this fails later.

    Raises:
        PersonalDataError: not all was erased.
    """
    deadline = time.monotonic() + SPILL_SECONDS
    while True:
        on_disk, owned = erase_spilled(folder, person)
        erased.predictions += on_disk
        try:
            predictions, outcomes = database.erase(person)
        except DatabaseError as error:
            if not erased.predictions:
                raise
            raise PersonalDataError(
                UNHEALTHY,
                f"not all is erased: {erased} are, then PostgreSQL did not answer: {error}",
                where="the database of the prediction log",
                expected="a database that answers until all is erased",
                hint="check that it runs (./heartline status), then call the same command again",
            ) from error
        erased.predictions += predictions
        erased.outcomes += outcomes
        if not owned:
            return
        if time.monotonic() > deadline:
            raise PersonalDataError(
                UNHEALTHY,
                f"not all is erased: {erased} are, and a running service holds further predictions",
                where=", ".join(map(str, owned)),
                expected="a service that writes them to its database",
                hint="call the same command again when GET /readyz says that nothing is spilled, or stop the service",
            )
        time.sleep(INTERVAL_SECONDS)


def _enter(ledger: LedgerDatabase, erased: Erased, given: argparse.Namespace) -> None:
    """Enter what was erased in the ledger, if anything was, and close the ledger."""
    facts = {
        "predictions": erased.predictions,
        "outcomes": erased.outcomes,
        "asked_for": "a record" if given.record else "prediction ids",
    }
    try:
        if erased.predictions:
            ledger.enter(Event(FORGOTTEN, "", given.by, facts, f"forgotten {uuid.uuid4().hex}"))
    except (DatabaseError, ValueError) as error:
        raise PersonalDataError(
            UNHEALTHY,
            f"{erased} are erased, but not entered in the ledger: {error}",
            where=PREFIX + "LEDGER_URL",
            expected="a ledger that takes the entry",
            hint="note it yourself: who erased how many, and when",
        ) from error
    finally:
        ledger.close()


def _export(settings: Settings, person: Person, given: argparse.Namespace) -> int:
    database = PersonalData(settings.prediction_log_url)
    try:
        found = _found(database, Path(settings.cache) / FOLDER, person)
    finally:
        database.close()
    if not found:
        raise _nothing()
    content = {
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "All rows of the prediction log of this person; other places are listed in docs/privacy.md.",
        "predictions": found,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if given.out == "-":
        print(text, end="")
        return OK
    try:
        with os.fdopen(os.open(given.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise PersonalDataError(
            USAGE,
            f"the file cannot be written: {error.strerror}",
            where=given.out,
            expected="a new file in a folder that you may write to",
            hint="choose another name",
        ) from error
    print(f"{given.out}: {_count(len(found), 'prediction')}, readable by you only")
    return OK


def _found(database: PersonalData, folder: Path, person: Person) -> list[Stored]:
    """Return all predictions of a person; one that is written from disk meanwhile is found once."""
    on_disk = {one["prediction"]["prediction_id"]: one for one in find_spilled(folder, person)}
    stored = {one["prediction"]["prediction_id"]: one for one in database.rows_of(person)}
    return list((on_disk | stored).values())


def _lines(found: Sequence[Stored]) -> list[str]:
    lines = []
    for one in found[:SHOWN]:
        prediction, outcomes = one["prediction"], len(one["outcomes"])
        place = ", on disk" if one.get("on_disk") else ""
        model = one["model"]["version"]
        lines.append(
            f"  {prediction['prediction_id']}  {prediction['answered']}  version {model}, "
            f"{_count(outcomes, 'outcome')}{place}"
        )
    if more := len(found) - len(lines):
        lines.append(f"  and {more} more")
    return lines


def _person(ids: Sequence[str], record: str | None) -> Person:
    if bool(ids) == bool(record):
        raise PersonalDataError(
            USAGE,
            "ids and a record are given" if ids else "neither ids nor a record are given",
            where="command line",
            expected="the ids of predictions, or --record FILE",
            hint="see --help",
        )
    return Person(record=_record(record)) if record else Person(frozenset(map(_id, ids)))


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise PersonalDataError(
            USAGE,
            f"{text[:100]!r} is not the id of a prediction",
            where="command line: ID",
            expected="the prediction_id of a response, such as dfc6f228-4fe2-4d31-aa95-6aa5c466bb05",
            hint="correct it, or use --record FILE",
        ) from None


def _record(file: str) -> Record:
    try:
        found: Any = parse(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        raise _no_record(file, f"the file cannot be read: {error.strerror}") from error
    except MalformedError as error:
        raise _no_record(file, f"this is not JSON: {error}") from error
    if not isinstance(found, dict) or not any(value is not None for value in found.values()):
        raise _no_record(file, "this is not a record")
    if wrong := [name for name, value in found.items() if isinstance(value, bool | str | list | dict)]:
        raise _no_record(file, f"this is not a record: the value of {wrong[0][:100]!r} is not a number")
    return found


def _no_record(file: str, what: str) -> PersonalDataError:
    return PersonalDataError(
        USAGE,
        what,
        where="standard input" if file == "-" else file,
        expected="one record as JSON, as it was sent to POST /predict",
        hint="correct the file",
    )


def _nothing() -> PersonalDataError:
    return PersonalDataError(
        FAILED,
        "the prediction log has no such prediction",
        where="the database of the log and its files on disk",
        expected="ids or a record of logged predictions",
        hint="it may have expired or been erased before; a record must be the same in every field",
    )


def _unreachable(error: DatabaseError) -> SettingError:
    return SettingError(
        f"PostgreSQL does not answer: {error}",
        where="the database of the prediction log, or that of the ledger",
        expected="both databases; without them, nothing can be erased",
        hint="check that they run (./heartline status), then call the same command again",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
