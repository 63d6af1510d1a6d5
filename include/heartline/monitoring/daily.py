"""Computes the days that are missing, in their order, version by version; a stored day is not computed again.

Which versions are monitored on a day, and which one is the candidate, is what log and ledger say of its end, so that
a day has the same ones whenever it is run.
"""

import datetime
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heartline import contract
from heartline.arrays import Flags, Floats
from heartline.errors import ParameterError, RegistryRefusedError
from heartline.ledger import past
from heartline.ledger import store as ledger
from heartline.ledger.entry import Entry
from heartline.monitoring import references
from heartline.monitoring.inputs import Answers, Day, Outcomes, Reference, Settings
from heartline.monitoring.prediction_log import LoggedVersion, PredictionLog
from heartline.monitoring.references import NoReferenceError
from heartline.monitoring.report import Report
from heartline.monitoring.shadow import Candidate
from heartline.monitoring.store import Store
from heartline.registry import mlflow_registry, versions

HISTORY_KINDS = ("registered", "moved")
SETTLED = datetime.timedelta(minutes=10)
"""After the end of a day, until all transactions of the service that began on it have ended."""
_DAY = datetime.timedelta(days=1)

log = logging.getLogger(__name__)

Advance = Callable[[Any, Reference, Day, Settings, Any], tuple[Any, Report]]
"""``advance.advance``."""


@dataclass(frozen=True)
class History:
    """What the ledger says of versions.

    Attributes:
        entries: of ``HISTORY_KINDS``, oldest first.
    """

    entries: Sequence[Entry]

    @classmethod
    def read(cls) -> "History":
        """Read the ledger.

        Raises:
            LedgerError: the ledger does not answer.
        """
        return cls(ledger.entries(kinds=HISTORY_KINDS))

    def production(self, day: datetime.date) -> str:
        """Return the version in production at the end of a day; "" for none."""
        move = past.at(self.entries, end(day) - datetime.datetime.resolution).move
        return str(move.facts.get("to") or "") if move else ""

    def digest(self, version: str, day: datetime.date) -> str:
        """Return the sha256 of a version's manifest as it was at the end of a day, "" where it is unknown."""
        found = [one for one in self._registered(day) if one.version == version]
        return str(found[-1].facts.get("digest", "")) if found else ""

    def staged(self, day: datetime.date) -> str:
        """Return the winner that a run registered last until the end of a day; "" where the ledger has none."""
        found = [one for one in self._registered(day) if one.facts.get("winner")]
        return found[-1].version if found else ""

    def registered(self, version: str, day: datetime.date) -> datetime.datetime | None:
        """Return when a version was registered, of the entries until the end of a day; None where there is none."""
        times = [past.since(one) for one in self.entries if one.kind == "registered" and one.version == version]
        return max((one for one in times if one < end(day)), default=None)

    def _registered(self, day: datetime.date) -> list[Entry]:
        return [one for one in self.entries if one.kind == "registered" and one.at < end(day)]


def end(day: datetime.date) -> datetime.datetime:
    """Return the end of a day, UTC."""
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=1)


def monitored(logged: Sequence[LoggedVersion], history: History, day: datetime.date) -> list[LoggedVersion]:
    """Return the versions that are monitored on a day: those in the log, and the one in production.

    Args:
        logged: versions with predictions or outcomes on that day.
        history: of the ledger.
        day: the day.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    production = history.production(day)
    if not production:
        return list(logged)
    digest = history.digest(production, day)
    if not digest:  # registered before there was a ledger
        stored = versions.find(production)
        digest = stored.digest if stored else ""
    if not digest or any(one.digest == digest for one in logged):
        return list(logged)
    return sorted([*logged, LoggedVersion(digest, production)], key=lambda one: one.digest)


def _in_production(versions_of_day: Sequence[LoggedVersion], production: str, digest: str) -> str:
    """Return the digest of the version in production; where the ledger names none, that of the last one in the log."""
    if not production:
        return max(versions_of_day, key=lambda one: (len(one.version), one.version)).digest if versions_of_day else ""
    return digest or next((one.digest for one in versions_of_day if one.version == production), "")


def candidate(history: History, day: datetime.date) -> str:
    """Return the version that answers in the shadow on a day: the staged one; "" where there is none.

    The ledger says which one a run has staged last until then. Where it names none, as before there was a ledger, it is
    the one that the alias ``staging`` points at now.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    found = history.staged(day)
    if not found:
        staged = mlflow_registry.aliased(mlflow_registry.STAGING)
        found = staged.number if staged else ""
    return "" if found == history.production(day) else found


@dataclass
class Monitor:
    """What the days are computed from, and where they are stored.

    Attributes:
        store: of the reports.
        prediction_log: of the service.
        settings: of the monitoring.
        advance: computes a day of a version.
        state_of: reads the state that is stored as JSON.
    """

    store: Store
    prediction_log: PredictionLog
    settings: Settings
    advance: Advance
    state_of: Callable[[bytes], Any]
    _references: dict[str, Reference | str] = field(default_factory=dict)
    _candidates: dict[str, Candidate | None] = field(default_factory=dict)

    def run(self, day: datetime.date | None, now: datetime.datetime) -> list[datetime.date]:
        """Compute all missing days until a day, and return those that were computed.

        Args:
            day: the last one; None for the last that has ended.
            now: the time, with a time zone.

        Raises:
            ParameterError: the day has not ended yet.
            MonitoringError: a database does not answer. The days before are stored.
            RegistryError: MLflow cannot be reached.
            LedgerError: the ledger does not answer.
            StoreError: the store cannot be read.
        """
        last = last_ended(now)
        day = _until(day, last)
        self.store.prepare()
        if not self.prediction_log.exists():
            log.warning("the service has logged nothing yet, or it logs nothing: no day is computed")
            return []
        days = list(self._missing(day))
        history = History.read() if days else History(())
        for one in days:
            self._compute(one, history)
        return days

    def _missing(self, until: datetime.date) -> Iterator[datetime.date]:
        completed = self.store.completed()
        day = completed + _DAY if completed else (self.prediction_log.first_day() or until)
        while day <= until:
            yield day
            day += _DAY

    def _compute(self, day: datetime.date, history: History) -> None:
        production = history.production(day)
        staged = candidate(history, day)
        service = self.prediction_log.service(day)
        notes = []
        versions_of_day = monitored(self.prediction_log.versions(day), history, day)
        digest = _in_production(versions_of_day, production, history.digest(production, day))
        for one in versions_of_day:
            if self.store.report(one.digest, day):
                continue  # an earlier attempt got as far as this
            reference = self._reference(one)
            if isinstance(reference, str):
                notes.append(reference)
                continue
            wanted = staged if production in ("", one.version) and staged != one.version else ""
            arrived, note = self._arrived(one, day, wanted, history.registered(wanted, day))
            arrived = replace(
                arrived,
                rejected=service.rejected,
                records=service.records,
                requests=service.requests,
                # where the ledger names none, a version that only got outcomes is none
                in_production=one.digest == digest and bool(production or arrived.answers.ids),
            )
            self._store(reference, arrived, note)
        self.store.complete(day, notes)
        log.info("%s is complete%s", day, "".join(f"; {one}" for one in notes))

    def _store(self, reference: Reference, arrived: Day, note: str) -> None:
        before = self.store.last(reference.digest, before=arrived.date)
        state = self.state_of(before.state) if before else None
        # days on which it neither answered nor was in production: without a report
        between = (arrived.date - before.day).days - 1 if before else 0
        for number in range(between, 0, -1):
            day = _empty(arrived.date - number * _DAY)
            state, _ = self.advance(state, reference, day, self.settings, None)
        predecessor = self._predecessor(arrived, reference) if arrived.in_production else None
        state, report = self.advance(state, reference, arrived, self.settings, predecessor)
        notes = [*report.notes, *reference.missing, *([note] if note else [])]
        report = replace(report, notes=list(dict.fromkeys(notes)))
        self.store.save(report, state.to_json(), in_production=arrived.in_production)

    def _predecessor(self, arrived: Day, reference: Reference) -> Any:
        """Return the state of the version that was in production before a day; None where it was the same one."""
        found = self.store.last_in_production(before=arrived.date)
        return self.state_of(found.state) if found and found.digest != reference.digest else None

    def _arrived(
        self, one: LoggedVersion, day: datetime.date, staged: str, since: datetime.datetime | None
    ) -> tuple[Day, str]:
        """Return what arrived for a version on a day, with the candidate's answers, or why those are missing.

        Only predictions that were logged after the candidate was registered are compared: the records of earlier ones
        may be among its training data. To the day is exact enough: a day on which it was registered is left out.
        """
        answers = self.prediction_log.answers(one.digest, day)
        outcomes = self.prediction_log.outcomes(one.digest, day)
        found = Day(day, answers, outcomes, candidate_version=staged)
        if not staged:
            return found, ""
        if since is None:
            return found, f"the candidate, version {staged}, is not compared: the ledger does not say since when it is"
        candidate = self._candidate(staged)
        if candidate is None:
            return found, f"the candidate, version {staged}, cannot be asked: its files are gone or damaged"
        start = end(day) - _DAY
        # an outcome that arrived today after d days is that of a prediction of d days before the day's start, or later
        logged = start.timestamp() - outcomes.delays * _DAY.total_seconds()
        return replace(
            found,
            answers=replace(answers, candidate=_answers(candidate, answers.features, start >= since)),
            outcomes=replace(outcomes, candidate=_answers(candidate, outcomes.features, logged >= since.timestamp())),
        ), ""

    def _reference(self, one: LoggedVersion) -> Reference | str:
        """Return the reference of a version, or why there is none."""
        if one.digest not in self._references:
            try:
                self._references[one.digest] = references.of(one.version, one.digest)
            except NoReferenceError as error:
                log.warning("version %s is not monitored: %s", one.version, error)
                self._references[one.digest] = f"version {one.version} is not monitored: {error.what}"
        return self._references[one.digest]

    def _candidate(self, version: str) -> Candidate | None:
        if version not in self._candidates:
            try:
                self._candidates[version] = Candidate.fetch(version)
            except (ParameterError, RegistryRefusedError) as error:
                log.warning("version %s cannot answer in the shadow: %s", version, error)
                self._candidates[version] = None
        return self._candidates[version]


def _answers(candidate: Candidate, features: Floats, compared: Flags | bool) -> Floats:
    """Return the candidate's answers (n,) to records (n, features), NaN for those that are not compared."""
    asked: Flags = np.broadcast_to(compared, len(features))
    found = np.full(len(features), np.nan)
    if asked.any():
        found[asked] = candidate.answers(features[asked])
    return found


def _empty(day: datetime.date) -> Day:
    """Return a day on which nothing arrived for a version that was not in production."""
    features = np.empty((0, len(contract.FEATURE_NAMES)))
    none, whole = np.empty(0), np.empty(0, np.int64)
    return Day(day, Answers([], features, none), Outcomes(whole, whole, features, none, none), in_production=False)


def last_ended(now: datetime.datetime) -> datetime.date:
    """Return the last day (UTC) that has ended, and on which nothing can arrive any more.

    Args:
        now: the time, with a time zone.
    """
    return (now.astimezone(datetime.UTC) - SETTLED).date() - _DAY


def _until(day: datetime.date | None, last: datetime.date) -> datetime.date:
    if day is None:
        return last
    if day > last:
        raise ParameterError(
            f"the day {day} has not ended yet",
            where="parameter day",
            expected=f"a day (UTC) until {last}",
            hint="leave it out for the last day that has ended",
        )
    return day
