"""The history of the registered model for the page "Versions": its versions, decisions about them, and moves.

MLflow knows the versions that exist and their scores. The ledger knows who decided and moved what, and also the
versions that were deleted since. ``build`` puts both together and is pure; ``gather`` asks them.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from heartline.ledger import store
from heartline.ledger.entry import Entry
from heartline.registry import mlflow_http
from heartline.registry.mlflow_http import ListedModel, ListedVersion

ROC_AUC = "ROC AUC"  # the title of the score, as in the tag "scores" of a version
PRODUCTION = "production"
NOT_ENTERED = "not entered in the ledger yet"
DECISIONS = ("requested", "approved", "rejected", "withdrawn", "expired")
KINDS = ("registered", *DECISIONS, "moved", "refused", "served")

_SCORE = re.compile(r"(?P<title>.+?) (?P<value>-?\d+\.\d+)(?: \((?P<low>-?\d+\.\d+) to (?P<high>-?\d+\.\d+)\))?")
_CACHED_EVALUATIONS = 500  # of a few hundred bytes each


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval; the ends are None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Decision:
    """A decision about a version: one of ``DECISIONS``, or what the service did: ``refused`` or ``served``.

    Attributes:
        kind: what was decided or done.
        at: when, UTC.
        by: by whom.
        reason: why, "" where none was given.
    """

    kind: str
    at: datetime
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Span:
    """A time in production.

    Attributes:
        version: its number.
        start: when it was moved there; None where that is not recorded.
        end: when another version replaced it; None while it is in production.
        by: who moved it.
        how: promote, rollback, run, first up, approval, or moved outside.
        forced: whether a user overruled a refusal.
        reason: the reason that the mover gave, "" for none.
        approval: the approval that came before the move; None where there was none.
        served: when services began to serve it in that time; empty where none was seen.
        earliest: when it began at the earliest: ``start``, or the registration where the start is not recorded.
    """

    version: str
    start: datetime | None
    end: datetime | None = None
    by: str = ""
    how: str = ""
    forced: bool = False
    reason: str = ""
    approval: Decision | None = None
    served: tuple[Decision, ...] = ()
    earliest: datetime | None = None


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model.

    Attributes:
        number: its number.
        registered: when, UTC; None where that is not recorded.
        deleted: whether MLflow has it no more.
        family: its model family.
        origin: kind of source of its training data.
        profile: how thoroughly it was evaluated.
        verdict: of its comparison, with the sentence that explains it.
        reason: the sentence that explains the verdict.
        scores: by title, out of fold.
        decisions: about it, and when services began to serve it, oldest first.
    """

    number: str
    registered: datetime | None = None
    deleted: bool = False
    family: str = ""
    origin: str = ""
    profile: str = ""
    verdict: str = ""
    reason: str = ""
    scores: Mapping[str, Score] | None = None
    decisions: tuple[Decision, ...] = ()

    @property
    def roc_auc(self) -> Score | None:
        """Its ROC AUC out of fold; None where it is not known."""
        return (self.scores or {}).get(ROC_AUC)


@dataclass(frozen=True)
class History:
    """All versions and all times in production.

    Attributes:
        versions: oldest first.
        spans: oldest first.
        production: the version that the alias points at now, "" for none.
    """

    versions: tuple[ModelVersion, ...] = ()
    spans: tuple[Span, ...] = ()
    production: str = ""

    def version(self, number: str) -> ModelVersion:
        """Return a version by its number; one without facts where nothing is known of it."""
        return next((one for one in self.versions if one.number == number), ModelVersion(number, deleted=True))

    def at(self, moment: datetime) -> Span | None:
        """Return the time in production that a moment is in; None where no version was in production then."""
        inside = (
            one
            for one in self.spans
            if (one.earliest is None or one.earliest <= moment) and (one.end is None or moment < one.end)
        )
        return next(inside, None)


def gather() -> History:
    """Ask MLflow and the ledger for the history.

    Raises:
        RegistryError: MLflow does not answer, or refuses.
        LedgerError: the ledger's database does not answer, or refuses.
    """
    model = mlflow_http.model()
    return build(model, store.entries(kinds=KINDS), _stored_scores(model.versions))


def requested_by(run: str) -> tuple[str, str]:
    """Return the training run and the version that a run of ``heart_approval`` has asked about; "" where it has not.

    Args:
        run: id of the run of ``heart_approval``.

    Raises:
        LedgerError: the ledger's database does not answer, or refuses.
    """
    entries = store.entries(kinds=("requested",))
    found = next((one for one in reversed(entries) if one.facts.get("run") == run), None)
    return (str(found.facts.get("training") or ""), found.version) if found else ("", "")


def build(
    model: ListedModel, entries: Iterable[Entry], stored: Mapping[str, Mapping[str, Score]] | None = None
) -> History:
    """Put together what MLflow and the ledger know.

    Args:
        model: what MLflow lists.
        entries: the ledger's, in their order.
        stored: by version, scores for those whose tags have none.
    """
    ordered = list(entries)
    about: dict[str, list[Entry]] = {}
    for one in ordered:
        if one.version:
            about.setdefault(one.version, []).append(one)
    listed = {one.number: one for one in model.versions}
    production = (model.aliases or {}).get(PRODUCTION, "")
    spans = _spans(ordered, production)
    numbers = {*listed, *about, *(one.version for one in spans)}
    versions = [
        _version(number, listed.get(number), about.get(number, []), (stored or {}).get(number, {}))
        for number in sorted(numbers, key=lambda one: (int(one) if one.isdecimal() else 0, one))
    ]
    registered = {one.number: one.registered for one in versions}
    dated = (replace(one, earliest=one.start or registered[one.version]) for one in spans)
    return History(tuple(versions), tuple(dated), production)


def scores_in(text: str) -> dict[str, Score]:
    """Return the scores in the tag ``scores`` of a version, by title; those that have no value are left out."""
    found = {}
    for part in text.split("; "):
        if match := _SCORE.fullmatch(part.strip()):
            low, high = (float(match[name]) if match[name] else None for name in ("low", "high"))
            found[match["title"]] = Score(float(match["value"]), low, high)
    return found


def _version(
    number: str, listed: ListedVersion | None, entries: Sequence[Entry], stored: Mapping[str, Score]
) -> ModelVersion:
    registered = next((one for one in entries if one.kind == "registered"), None)
    facts = registered.facts if registered else {}
    tags = listed.tags if listed else {name: str(value) for name, value in facts.items() if value is not None}
    when = listed.registered if listed else registered.at if registered else None
    return ModelVersion(
        number,
        registered=when,
        deleted=listed is None,
        **{name: tags.get(name, "") for name in ("family", "origin", "profile", "verdict", "reason")},
        scores=scores_in(tags.get("scores", "")) or dict(stored) or _roc_auc_of(tags),
        decisions=tuple(_decision(one) for one in entries if one.kind in (*DECISIONS, "refused", "served")),
    )


def _roc_auc_of(tags: Mapping[str, str]) -> dict[str, Score]:
    """Return the score that versions without the tag ``scores`` have, without its interval."""
    try:
        return {ROC_AUC: Score(float(tags["roc_auc"]))}
    except (KeyError, ValueError):
        return {}


def _decision(entry: Entry) -> Decision:
    return Decision(entry.kind, entry.at, entry.by, str(entry.facts.get("reason") or ""))


def _spans(entries: Sequence[Entry], production: str) -> list[Span]:
    """Return the times in production; the last one without an end where the alias still points there."""
    spans: list[Span] = []
    approvals: dict[str, Decision | None] = {}
    for one in entries:
        if one.kind in DECISIONS:
            approvals[one.version] = _decision(one) if one.kind == "approved" else None
        if one.kind == "served" and spans and spans[-1].version == one.version:
            spans[-1] = replace(spans[-1], served=(*spans[-1].served, _decision(one)))
        if one.kind != "moved" or one.facts.get("alias", PRODUCTION) != PRODUCTION:
            continue
        if spans and spans[-1].end is None:
            spans[-1] = replace(spans[-1], end=_moment(one))
        elif not spans and one.facts.get("from"):
            spans.append(Span(str(one.facts["from"]), None, _moment(one)))
        after = str(one.facts.get("to") or "")
        if after:
            spans.append(_span(after, one, approvals.pop(after, None)))
    last = spans[-1].version if spans and spans[-1].end is None else ""
    if production and production != last:
        # moved by hand since the last entry, or before there was a ledger
        spans.append(Span(production, None, how=NOT_ENTERED))
    return spans


def _span(version: str, move: Entry, approval: Decision | None) -> Span:
    return Span(
        version,
        _moment(move),
        by=move.by,
        how=str(move.facts.get("how") or ""),
        forced=bool(move.facts.get("forced")),
        reason=str(move.facts.get("reason") or ""),
        approval=approval,
    )


def _moment(move: Entry) -> datetime:
    """Return when a move was made: the ledger states it for moves that were recorded before there was a ledger."""
    try:
        return datetime.fromisoformat(str(move.facts["when"]))
    except (KeyError, ValueError):
        return move.at


def _stored_scores(versions: Sequence[ListedVersion]) -> dict[str, Mapping[str, Score]]:
    """Return the scores of the newest versions whose tags have none: those that version 0.2 or earlier registered."""
    lacking = [one for one in versions if not scores_in(one.tags.get("scores", "")) and one.run_id]
    return {one.number: _evaluation(one.run_id) for one in lacking[-_CACHED_EVALUATIONS // 10 :]}


@lru_cache(maxsize=_CACHED_EVALUATIONS)
def _evaluation(run_id: str) -> Mapping[str, Score]:
    """Return the ROC AUC in the evaluation of a run, which never changes; empty where it cannot be read."""
    try:
        found = json.loads(mlflow_http.artifact(run_id, "evaluation.json") or b"{}")["out_of_fold"]["roc_auc"]
        return {ROC_AUC: Score(float(found["value"]), found["low"], found["high"])}
    except (ValueError, KeyError, TypeError):
        return {}
