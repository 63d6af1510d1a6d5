"""The task ``request`` of ``heart_approval``: decides whether a person is asked about a version, and what is stated."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

from heartline import addresses, dag_ids
from heartline.approval import requests
from heartline.approval.answers import ApprovalError
from heartline.approval.requests import Asked, Known
from heartline.approval.settings import Settings
from heartline.comparison.verdict_names import BETTER
from heartline.errors import MonitoringError
from heartline.monitoring import summary
from heartline.pipeline import approval_evidence
from heartline.registry import mlflow_registry, versions
from heartline.registry.production import approvals
from heartline.registry.versions import StoredModel
from heartline.reports import approval_request

SCHEDULE = "schedule"
"""Who started a run that nobody started."""

_BY_HAND = "a user asked for this approval"

log = logging.getLogger(__name__)


class Request(TypedDict):
    """Returned by ``request``; ``ask`` and ``decide`` read it."""

    note: str
    """The run's note, if nobody is asked: one line."""
    ends: str
    """Why nobody is asked: the next tasks are skipped; "" where a person is asked."""
    version: str
    """The version that is asked about."""
    digest: str
    """sha256 of its manifest.json."""
    until: str
    """When the request expires, ISO 8601 in UTC."""
    not_by: list[str]
    """The users who triggered the training or asked for the approval."""
    subject: str
    """Title of the request."""
    body: str
    """Its text, Markdown."""
    withdrawn: list[str]
    """The runs that wait for an answer to a request which this one replaces."""


@dataclass(frozen=True)
class Candidate:
    """A version that a person may be asked about.

    Attributes:
        stored: the version.
        why: why it needs an answer, "" where it needs none.
        why_not: why it needs none.
        training: the run of ``heart_training`` that staged it last, "" where that is unknown.
        trained_by: who started that run.
        asked: whether a user asked for this approval: it is asked again after an earlier answer.
    """

    stored: StoredModel
    why: str = ""
    why_not: str = ""
    training: str = ""
    trained_by: str = ""
    asked: bool = False


def request(
    version: str | None,
    *,
    run: str,
    by: str | None,
    events: Sequence[Mapping[str, Any]],
    active: Callable[[str], bool],
    now: datetime | None = None,
) -> Request:
    """Enter a request for the approval of a version, unless it needs none, and return what a person is told.

    A newer request replaces an open one: two answers would otherwise be about the same move.

    Args:
        version: the version that the run was started for; None for the candidate of ``events``, or the staged one.
        run: id of this run of ``heart_approval``.
        by: the user who started this run; None where nobody did.
        events: what is stored beside the asset events that started the run, oldest first.
        active: returns whether a run of ``heart_approval`` has not ended yet.
        now: the time, UTC; None for the present one.

    Raises:
        ApprovalError: there is no such version, or its files are missing.
        RegistryError: MLflow cannot be reached.
        LedgerError: the ledger does not answer.
    """
    known = requests.known()
    own = requests.of_run(known, run)
    if own and own.end:  # the run was cleared after its request had ended
        return _nobody_asked(requests.in_words(own.end))
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    placed = production.number if production else ""
    if own:
        candidate = Candidate(_stored(own.asked.version), why=own.asked.why)
        asked = own.asked
    else:
        candidate = _candidate(version, events, placed)
        why_not = candidate.why_not or _answered(candidate, known, run, active)
        if why_not:
            return _nobody_asked(why_not)
        asked = _asked(candidate, run=run, by=by, production=placed, now=now or datetime.now(UTC))
    asked = requests.enter(asked, by=by or f"run {run}")
    withdrawn = [one for one in _withdraw_older(asked) if active(one)]
    return _told(asked, candidate.stored, withdrawn)


def replaced(request: Request) -> list[str]:
    """Return the runs whose open requests a request replaces; the task ``withdraw`` ends them."""
    return request["withdrawn"]


def _asked(candidate: Candidate, *, run: str, by: str | None, production: str, now: datetime) -> Asked:
    people = (name for name in (candidate.trained_by, by) if name and name != SCHEDULE)
    return Asked(
        run=run,
        version=candidate.stored.number,
        digest=candidate.stored.digest,
        production=production,
        until=now + Settings.of().wait,
        not_by=tuple(dict.fromkeys(people)),
        training=candidate.training,
        why=candidate.why,
    )


def _told(asked: Asked, stored: StoredModel, withdrawn: list[str]) -> Request:
    text = approval_evidence.collect(
        stored,
        versions.find(asked.production) if asked.production else None,  # the version itself, where it lacks an approval
        why=asked.why,
        until=asked.until,
        not_by=asked.not_by if Settings.of().four_eyes else (),
    )
    title = approval_request.subject(text)
    log.info("%s. Answer under Required Actions: %s", title, addresses.dag(dag_ids.APPROVAL))
    return {
        "note": f"version {asked.version} waits for an answer until {asked.until:%Y-%m-%d %H:%M} UTC",
        "ends": "",
        "version": asked.version,
        "digest": asked.digest,
        "until": asked.until.isoformat(),
        "not_by": list(asked.not_by),
        "subject": title,
        "body": approval_request.body(text),
        "withdrawn": withdrawn,
    }


def _nobody_asked(why: str) -> Request:
    log.info("nobody is asked: %s", why)
    return {
        "note": why,
        "ends": why,
        "version": "",
        "digest": "",
        "until": "",
        "not_by": [],
        "subject": "",
        "body": "",
        "withdrawn": [],
    }


def _candidate(version: str | None, events: Sequence[Mapping[str, Any]], production: str) -> Candidate:
    """Return the version that needs an answer, or one that needs none with the reason."""
    if version is not None:
        return _chosen(version, production)
    found = [_of_event(event, production) for event in reversed(events) if event.get("version")]
    wanting = [one for one in found if one.why]
    if wanting or found:
        return (wanting or found)[0]
    staged = mlflow_registry.aliased(mlflow_registry.STAGING)
    if staged is None:
        return Candidate(StoredModel("", {}), why_not="no version is staged")
    return _of_event(_recorded(staged.tags) | {"version": staged.number}, production)


def _chosen(version: str, production: str) -> Candidate:
    stored = _stored(version)
    if stored.number == production and not _lacks_approval(stored):
        return Candidate(stored, why_not=f"version {stored.number} is in production already")
    recorded = _recorded(stored.tags)
    return Candidate(
        stored,
        why=_BY_HAND,
        training=str(recorded.get("run_id") or ""),
        trained_by=str(recorded.get("triggered_by") or ""),
        asked=True,
    )


def _lacks_approval(stored: StoredModel) -> bool:
    """Return whether the service would refuse a version for want of a valid approval, although it is in production."""
    settings = Settings.of()
    tag = stored.tags.get(approvals.TAG, "")
    return settings.required and bool(approvals.problem(tag, stored.digest, settings.secret))


def _of_event(event: Mapping[str, Any], production: str) -> Candidate:
    number = str(event["version"])
    stored = versions.find(number)
    if stored is None:
        return Candidate(StoredModel(number, {}), why_not=f"version {number} was deleted")
    recorded = _recorded(stored.tags) | {name: value for name, value in event.items() if value}
    wanted = bool(recorded.get("requested"))
    why, why_not = _need(stored, production, wanted=wanted)
    return Candidate(
        stored,
        why=why,
        why_not=why_not,
        training=str(recorded.get("run_id") or ""),
        trained_by=str(recorded.get("triggered_by") or ""),
        asked=wanted,
    )


def _need(stored: StoredModel, production: str, *, wanted: bool) -> tuple[str, str]:
    """Return why a version needs an answer, and why it needs none; one of both is empty."""
    verdict = stored.tags.get("verdict", "not compared")
    if stored.number == production:
        return "", f"version {stored.number} is in production already"
    if wanted:
        return "its training run was to ask for an approval (promotion approval)", ""
    if not production and Settings.of().required:
        return "no version is in production, and production needs an approval", ""
    if production and verdict == BETTER:
        return f"its verdict is *{BETTER}*", ""
    if production and _better_in_the_shadow(stored, production):
        return "it is *better* in the shadow, by the outcomes of production's records", ""
    return "", f"version {stored.number} needs no answer: its verdict is {verdict}, and its run did not ask for one"


def _better_in_the_shadow(stored: StoredModel, production: str) -> bool:
    try:
        found = approval_evidence.shadow(stored, versions.find(production))
    except MonitoringError as error:
        log.warning("the state of the shadow is not known: %s", error)
        return False
    return found is not None and summary.shadow_verdict(found) == summary.BETTER


def _answered(candidate: Candidate, known: Sequence[Known], run: str, active: Callable[[str], bool]) -> str:
    """Return why a version is not asked about again; "" where it is."""
    number, digest = candidate.stored.number, candidate.stored.digest
    same = [one for one in known if (one.asked.version, one.asked.digest) == (number, digest)]
    waiting = next((one for one in same if not one.end and one.asked.run != run and active(one.asked.run)), None)
    if waiting and not _by_hand(candidate):
        return f"version {number} waits for an answer already, in run {waiting.asked.run}"
    ended = next((one for one in reversed(same) if one.end and one.end.kind != requests.WITHDRAWN), None)
    if ended is None or ended.end is None or _by_hand(candidate):
        return ""
    if candidate.asked and candidate.training != ended.asked.training:
        return ""
    return (
        f"{requests.in_words(ended.end)}; to ask again, trigger {dag_ids.APPROVAL} with "
        f"{json.dumps({'version': number})}"
    )


def _by_hand(candidate: Candidate) -> bool:
    return candidate.why == _BY_HAND


def _withdraw_older(asked: Asked) -> list[str]:
    """Withdraw the open requests that were entered before; return their runs, also those of an earlier attempt.

    They are read after the own entry: of two requests at the same time, the later one withdraws the other.
    """
    reason = f"a newer request, for version {asked.version}, replaced it"
    ended = []
    for one in requests.known():
        if one.asked.run == asked.run:
            break
        facts = {"reason": reason, "replaced_by": asked.run}
        end = one.end or requests.end(one.asked, requests.WITHDRAWN, by=f"run {asked.run}", facts=facts)
        if end.kind == requests.WITHDRAWN and end.facts.get("replaced_by") == asked.run:
            ended.append(one.asked.run)
    return ended


def _stored(version: str) -> StoredModel:
    found = versions.find(version) if version.isdecimal() and version.isascii() else None
    if found is not None and found.digest:
        return found
    what = f"there is no version {version!r}" if found is None else f"version {version} has no manifest.json"
    raise ApprovalError(
        what,
        where=f"parameter version; the registered model: {addresses.model()}",
        expected="the number of a registered version whose files are complete",
        hint="choose a version that MLflow lists, or leave the parameter empty for the staged one",
    )


def _recorded(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what the training run that staged a version has stored about that, in the version's tag."""
    try:
        found = json.loads(tags.get(versions.CANDIDATE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
