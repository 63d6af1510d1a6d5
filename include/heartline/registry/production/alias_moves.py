"""The rules of a move of ``production``. Check, move and entry hold one lock.

The guard against the synthetic sample looks at what was last in production, by the history and by what the service
serves, and not only at where the alias points now: an alias can be removed or moved by hand, and a version or the whole
registered model can be deleted, renamed or made again.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from heartline import dag_ids, origins
from heartline.ledger.entry import Entry
from heartline.ledger.store import Ledger
from heartline.registry.production import alias_history, approvals
from heartline.registry.production.alias_history import EXTERNAL, UNKNOWN, Move
from heartline.registry.production.alias_lock import StillHeld
from heartline.registry.stored_files import StoredVersion

APPROVED = f"a version that a person has approved ({approvals.REQUIRED}=yes)"
HINT = (
    f"trigger {dag_ids.APPROVAL} in Airflow with the version, if no request is open; a person answers under Required "
    "Actions, and the approval moves production"
)


@dataclass(frozen=True)
class VersionFacts:
    """What the registry records of a version.

    Attributes:
        origin: kind of source of its training data, "" where it is unknown.
        source: MLflow's address of its files.
        approval: its signed approval (``approvals.TAG``), "" without one.
    """

    origin: str = ""
    source: str = ""
    approval: str = ""


@dataclass(frozen=True)
class MoveOutcome:
    """The outcome of a request to move ``production``.

    Attributes:
        move: the move; None where production is at that version already, or the move was refused.
        refused: why the move was refused, "" where it was not.
        forcible: whether ``force`` would allow the move.
        hint: the next step after a refusal, "" where there is none of its own.
        expected: what would have been right, "" where the other fields say it.
    """

    move: Move | None = None
    refused: str = ""
    forcible: bool = False
    hint: str = ""
    expected: str = ""


class Model(Protocol):
    """The registered model: through MLflow's client in a task, through plain HTTP in the command line."""

    @property
    def ledger(self) -> Ledger:
        """The ledger that holds the moves."""

    @property
    def approval_secret(self) -> str | None:
        """The secret with which approvals are verified; None where a version needs none."""

    def lock(self, who: str) -> AbstractContextManager[StillHeld]:
        """Hold the lock of all movers."""

    def production_and_tags(self) -> tuple[str, Mapping[str, str] | None]:
        """Return the version in production ("" for none) and the model's tags, read in one request; None: no model."""

    def history(self) -> Mapping[str, str]:
        """Return the tags of the experiment of looks and of the ledger's noted hash."""

    def facts(self, version: str) -> VersionFacts | None:
        """Return what the registry records of a version; None where there is no such version."""

    def examine(self, version: str) -> StoredVersion:
        """Download the files of a version, and return what is wrong with them."""

    def served(self) -> tuple[str, str] | None:
        """Return the version that the service serves and its origin; None where that is unknown."""

    def set_production(self, version: str) -> None:
        """Point production at a version, in one request."""

    def set_history(self, key: str, value: str) -> None:
        """Set a tag of that experiment, which is created or restored where needed."""


def record_external_moves(model: Model) -> tuple[str, list[Move]]:
    """Enter a move that left no entry; return the version in production ("" for none) and all moves, oldest first.

    Args:
        model: the registered model.

    Raises:
        LedgerError: the ledger does not answer.
    """
    with model.lock("reading the history"):
        production, entries = _bring_up_to_date(model)
        return production, alias_history.moves(entries)


def _bring_up_to_date(model: Model) -> tuple[str, list[Entry]]:
    production, tags = model.production_and_tags()
    kept = model.history()
    entries = model.ledger.entries(kinds=alias_history.KINDS)
    entries += _import_tags(model, alias_history.tagged(kept, tags or {}), entries)
    missed = _enter_missed(model, production, entries)
    if missed:
        entries.append(missed)
    _note_last(model, kept, entries)
    return production, entries


def _import_tags(model: Model, tagged: Sequence[Move], entries: Sequence[Entry]) -> list[Entry]:
    """Enter the moves that versions up to 0.4 wrote into tags, and return their entries.

    Anybody who opens MLflow can write such tags. They are read until the first move is entered by this version, and
    never afterwards.
    """
    if not all(alias_history.is_imported(one) for one in entries):
        return []
    known = {entry.key for entry in entries}
    return [
        model.ledger.append(
            "moving" if move.pending else "moved",
            by=move.by,
            version=move.after,
            facts=_with_origin(model, move).imported_facts(),
            key=f"tag {move.tag}",
        )
        for move in tagged
        if f"tag {move.tag}" not in known
    ]


def _with_origin(model: Model, move: Move) -> Move:
    """Add the origin to a move that version 0.2 or earlier wrote."""
    if move.number is not None or not move.after:
        return move
    return replace(move, origin=(model.facts(move.after) or VersionFacts()).origin)


def _enter_missed(model: Model, production: str, entries: Sequence[Entry]) -> Entry | None:
    """Enter the move that leads to where production is, and has no entry; None where all have one."""
    moves = alias_history.moves(entries)
    before = (moves[-1].after, moves[-1].source) if moves else ("", "")
    facts = (model.facts(production) if production else None) or VersionFacts()
    found = (production, facts.source)
    if alias_history.same_version(found, before):
        return None
    started = alias_history.unfinished(entries)
    if started:
        announced = alias_history.of_entry(started)
        if alias_history.same_version(found, (announced.after, announced.source)):
            return _enter_made(model, announced, started)
    now = datetime.now(UTC)
    move = Move(now, before[0], production, UNKNOWN, EXTERNAL, origin=facts.origin, source=facts.source)
    return model.ledger.append("moved", by=UNKNOWN, version=production, facts=move.facts())


def _enter_made(model: Model, move: Move, announcement: Entry) -> Entry:
    """Enter that an announced move was made; again is the same entry."""
    facts = {**move.facts(), "announced": announcement.number}
    return model.ledger.append("moved", by=move.by, version=move.after, facts=facts, key=f"move {announcement.number}")


def _note_last(model: Model, kept: Mapping[str, str], entries: Sequence[Entry]) -> None:
    """Note the hash of the last move in MLflow, unless the hash that is noted there is not in the ledger.

    That hash then is the evidence that the ledger was rewritten, and stays.
    """
    made = {entry.number: entry for entry in entries if entry.kind == "moved"}
    if not made:
        return
    noted = alias_history.noted_head(kept)
    last = made[max(made)]
    if noted and noted.number >= min(made) and (noted.number not in made or made[noted.number].hash != noted.hash):
        return
    if noted is None or noted.number != last.number:
        model.set_history(alias_history.HEAD, alias_history.head_text(last))


def sample_refusal(
    version: str, origin: str, production: str, moves: Sequence[Move], served: tuple[str, str] | None
) -> str:
    """Return why a version trained on the sample must not be put into production, "" where it may.

    The last model of real data in production is protected until a forced move to a model of the sample replaces it. A
    move to such a model by hand, in MLflow, does not end its protection.

    Args:
        version: the new version.
        origin: kind of source of its training data.
        production: the version at the alias, "" for none.
        moves: all moves so far. An unknown origin in them counts as real data.
        served: version and origin of the model that the service serves, None where that is unknown.
    """
    if origin != origins.SAMPLE:
        return ""
    real = None
    for move in moves:
        if move.after and move.origin != origins.SAMPLE:
            real = move
        elif move.after and move.forced:
            real = None
    if real:
        current = real is moves[-1] and real.after == production
        place = " in production" if current else ", which was in production before,"
        other, other_origin = f"version {real.after}{place}", real.origin
    elif served and served[1] != origins.SAMPLE:
        other, other_origin = f"version {served[0]}, which the service serves,", served[1]
    else:
        return ""
    return (
        f"version {version} was trained on the synthetic sample, "
        f"and {other} was not (its origin: {other_origin or 'unknown'})"
    )


def lost_production(production: str, moves: Sequence[Move], served: tuple[str, str] | None) -> str:
    """Return what was in production, where the alias is missing although something was; "" otherwise.

    Args:
        production: the version at the alias, "" for none.
        moves: all moves so far.
        served: version and origin of the model that the service serves, None where that is unknown.
    """
    if production:
        return ""
    last = next((move.after for move in reversed(moves) if move.after), "")
    if last:
        return f"the alias production is missing in MLflow, and version {last} was in production before"
    if served:
        return f"the alias production is missing in MLflow, and the service serves version {served[0]}"
    return ""


def changed_meanwhile(expected: str, production: str) -> str:
    """Return the refusal of a move because production changed since the decision; "" stands for no version."""
    was, now = (f"at version {one}" if one else "at no version" for one in (expected, production))
    return f"production changed since the decision: it was {was} and is {now} now"


def unapproved(model: Model, facts: VersionFacts, stored: StoredVersion) -> str:
    """Return why a version may not be put into production without an approval; "" where it may.

    Args:
        model: the registered model.
        facts: what the registry records of the version.
        stored: what was found of its files.
    """
    secret = model.approval_secret
    return "" if secret is None else approvals.problem(facts.approval, stored.digest, secret)


def move(
    model: Model,
    version: str,
    *,
    by: str,
    how: str,
    force: bool = False,
    expected: str | None = None,
    reason: str = "",
) -> MoveOutcome:
    """Move production to a version, under the lock of all movers, and enter it into the ledger.

    A model trained on the sample does not replace one trained on real data, and a version whose files cannot be
    downloaded is not put into production. The move is also refused if production changed since the decision. MLflow's
    UI takes no lock, and MLflow has no compare-and-set for an alias: production is read again immediately before it is
    set, and a change by hand within the milliseconds between these requests is overwritten.

    Args:
        model: the registered model.
        version: a registered version.
        by: who moves it.
        how: promote, rollback, run or first up.
        force: move it even if a model of the sample replaces one of real data.
        expected: the version in production when the move was decided, "" for none; None to take the version at the
            start of this function.
        reason: why, in the words of the user; "" for none.

    Raises:
        LedgerError: the ledger does not answer. Unless it was away only after production was moved, nothing was moved;
            the next reader of the history enters a move that was made.
    """
    with model.lock(f"{how} of version {version} by {by}") as still_held:
        production, entries = _bring_up_to_date(model)
        moves = alias_history.moves(entries)
        if version == production:
            return MoveOutcome()
        if expected is not None and production != expected:
            return MoveOutcome(refused=changed_meanwhile(expected, production))
        stored = model.examine(version)
        if stored.damage:
            return MoveOutcome(refused=f"version {version} cannot be downloaded: {stored.damage}", hint=stored.hint)
        facts = model.facts(version) or VersionFacts()
        if why := unapproved(model, facts, stored):
            return MoveOutcome(refused=f"version {version} needs an approval: {why}", hint=HINT, expected=APPROVED)
        origin = stored.origin or facts.origin
        refusal = sample_refusal(version, origin, production, moves, model.served())
        if refusal and not force:
            return MoveOutcome(refused=refusal, forcible=True)
        wanted = Move(
            datetime.now(UTC), production, version, by, how, bool(refusal), None, origin, facts.source, reason=reason
        )
        found = model.production_and_tags()[0]
        if found != production:
            return MoveOutcome(refused="" if found == version else changed_meanwhile(production, found))
        announcement = model.ledger.append("moving", by=by, version=version, facts=wanted.facts())
        still_held()
        model.set_production(version)
        made = _enter_made(model, wanted, announcement)
        _note_last(model, model.history(), [*entries, made])
        return MoveOutcome(alias_history.of_entry(made))
