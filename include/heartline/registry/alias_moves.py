"""The rules of a move of ``production``. Check, move and entry hold one lock.

The guard against the synthetic sample looks at what was last in production, by the history and by what the service
serves, and not only at where the alias points now: an alias can be removed or moved by hand, and a version or the whole
registered model can be deleted, renamed or made again.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from heartline import dag_ids, origins
from heartline.registry import alias_history, approvals
from heartline.registry.alias_history import EXTERNAL, UNKNOWN, Move
from heartline.registry.alias_lock import StillHeld
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
    def approval_secret(self) -> str | None:
        """The secret with which approvals are verified; None where a version needs none."""

    def lock(self, who: str) -> AbstractContextManager[StillHeld]:
        """Hold the lock of all movers."""

    def production_and_tags(self) -> tuple[str, Mapping[str, str] | None]:
        """Return the version in production ("" for none) and the model's tags, read in one request; None: no model."""

    def history(self) -> Mapping[str, str]:
        """Return the tags of the history's experiment."""

    def facts(self, version: str) -> VersionFacts | None:
        """Return what the registry records of a version; None where there is no such version."""

    def examine(self, version: str) -> StoredVersion:
        """Download the files of a version, and return what is wrong with them."""

    def served(self) -> tuple[str, str] | None:
        """Return the version that the service serves and its origin; None where that is unknown."""

    def set_production(self, version: str) -> None:
        """Point production at a version, in one request."""

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the model."""

    def set_history(self, key: str, value: str) -> None:
        """Set a tag of the history's experiment, which is created or restored where needed."""


def record_external_moves(model: Model, now: datetime) -> tuple[str, list[Move]]:
    """Record a move that left no entry; return the version in production ("" for none) and all moves, oldest first.

    Args:
        model: the registered model.
        now: the time, UTC.
    """
    with model.lock("reading the history"):
        return _bring_up_to_date(model, now)


def _bring_up_to_date(model: Model, now: datetime) -> tuple[str, list[Move]]:
    production, tags = model.production_and_tags()
    kept = model.history()
    moves = [_with_origin(model, move, kept) for move in alias_history.read(kept, tags or {})]
    for one in moves:
        _write(model, one, kept=one.key in kept, tagged=tags is None or one.key in tags)
    missed = _missed(model, production, moves, alias_history.pending(kept, tags or {}), now)
    if missed:
        _write(model, missed, tagged=tags is None)
        moves.append(missed)
    return production, moves


def _with_origin(model: Model, move: Move, kept: Mapping[str, str]) -> Move:
    """Add the origin to an entry of version 0.2 or earlier, before it is first kept outside of the model."""
    if move.key in kept or move.number is not None or not move.after:
        return move
    return replace(move, origin=(model.facts(move.after) or VersionFacts()).origin)


def _missed(model: Model, production: str, moves: list[Move], started: Move | None, now: datetime) -> Move | None:
    """Return the move that leads to where production is, and has no entry; None where all have one."""
    last = moves[-1] if moves else Move(now, "", "", UNKNOWN, EXTERNAL)
    facts = (model.facts(production) if production else None) or VersionFacts()
    found = (production, facts.source)
    if alias_history.same_version(found, (last.after, last.source)):
        return None
    if started and alias_history.same_version(found, (started.after, started.source)):
        return started.completed()
    number = alias_history.next_number(moves)
    return Move(now, last.after, production, UNKNOWN, EXTERNAL, number=number, origin=facts.origin, source=facts.source)


def _write(model: Model, move: Move, *, kept: bool = False, tagged: bool = False) -> None:
    """Write an entry to the places that lack it."""
    if not kept:
        model.set_history(move.key, move.as_text())
    if not tagged:
        model.set_tag(move.key, move.as_text())


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
    model: Model, version: str, *, by: str, how: str, now: datetime, force: bool = False, expected: str | None = None
) -> MoveOutcome:
    """Move production to a version, under the lock of all movers.

    A model trained on the sample does not replace one trained on real data, and a version whose files cannot be
    downloaded is not put into production. The move is also refused if production changed since the decision. MLflow's
    UI takes no lock, and MLflow has no compare-and-set for an alias: production is read again immediately before it is
    set, and a change by hand within the milliseconds between these requests is overwritten.

    Args:
        model: the registered model.
        version: a registered version.
        by: who moves it.
        how: promote, rollback, run or first up.
        now: the time, UTC, for readers.
        force: move it even if a model of the sample replaces one of real data.
        expected: the version in production when the move was decided, "" for none; None to take the version at the
            start of this function.
    """
    with model.lock(f"{how} of version {version} by {by}") as still_held:
        production, moves = _bring_up_to_date(model, now)
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
        number = alias_history.next_number(moves)
        entry = Move(now, production, version, by, how, bool(refusal), number, origin, facts.source, pending=True)
        found = model.production_and_tags()[0]
        if found != production:
            return MoveOutcome(refused="" if found == version else changed_meanwhile(production, found))
        model.set_history(entry.key, entry.as_text())
        still_held()
        model.set_production(version)
        _write(model, entry.completed())
        return MoveOutcome(entry.completed())
