"""The history of the alias ``production``: who moved it, when, from which version to which; and the rules of a move.

Each move is a tag of the registered model, named after its time. A tag is added in one request, so that two writers
cannot lose each other's moves, as they could in one list that each of them reads, changes and writes. A list would also
run full: MLflow's databases keep 5,000 characters of a tag, about thirty moves, but any number of tags.

A move sets the alias first and writes the tag second. An alias that was set without a tag (in MLflow's UI, or by a
command that was interrupted between the two) is recorded by the next reader, ``record_external_moves``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from heartline import origins

PREFIX = "heartline.production."
PROMOTE, ROLLBACK, RUN, FIRST_UP = "promote", "rollback", "run", "first up"
EXTERNAL = "moved outside (MLflow's UI or API)"
UNKNOWN = "unknown"

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # fixed width, so that tags sort by time; no "+", which MLflow refuses in names


@dataclass(frozen=True)
class Move:
    """One move of ``production``.

    Attributes:
        when: its time, UTC; for an external move, the time at which it was found.
        before: the version before the move, "" for none.
        after: the version after the move, "" where the alias was removed.
        by: a user name, ``run`` and the id of an Airflow run, or ``unknown``.
        how: promote, rollback, run, first up, or moved outside.
        forced: whether the user overruled ``sample_refusal``.
    """

    when: datetime
    before: str
    after: str
    by: str
    how: str
    forced: bool = False

    @property
    def key(self) -> str:
        """Return the name of its tag."""
        return PREFIX + self.when.strftime(_TIME)

    def as_dict(self) -> dict[str, Any]:
        """Return the move for JSON."""
        return {
            "when": self.when.strftime(_TIME),
            "from": self.before or None,
            "to": self.after or None,
            "by": self.by,
            "how": self.how,
            "forced": self.forced,
        }


@dataclass(frozen=True)
class MoveOutcome:
    """The outcome of a request to move ``production``.

    Attributes:
        move: the move; None where production is at that version already, or the move was refused.
        refused: why the move was refused, "" where it was not.
        forcible: whether ``force`` would allow the move.
    """

    move: Move | None = None
    refused: str = ""
    forcible: bool = False


class Model(Protocol):
    """The registered model: through MLflow's client in a task, through plain HTTP in the command line."""

    def production_and_tags(self) -> tuple[str, Mapping[str, str]]:
        """Return the version in production ("" for none) and the model's tags, read in one request."""

    def origin(self, version: str) -> str:
        """Return the kind of source of a version's training data, "" where it is unknown."""

    def set_production(self, version: str) -> None:
        """Point production at a version, in one request."""

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the model."""


def read(tags: Mapping[str, str]) -> list[Move]:
    """Return the moves in a model's tags, oldest first; tags that cannot be parsed are skipped."""
    found = (_parse(tags[key]) for key in sorted(tags) if key.startswith(PREFIX))
    return [move for move in found if move is not None]


def _parse(text: str) -> Move | None:
    try:
        found = json.loads(text)
        when = datetime.strptime(found["when"], _TIME).replace(tzinfo=UTC)
        before, after, by, how = (str(found[name] or "") for name in ("from", "to", "by", "how"))
    except (ValueError, TypeError, KeyError):
        return None
    return Move(when, before, after, by, how, bool(found.get("forced")))


def rollback_target(moves: Sequence[Move]) -> str | None:
    """Return the version that a rollback restores, or None where there is none.

    A rollback undoes a move: the next rollback goes one move further back, not to where the last one came from.
    """
    trail = [moves[0].before] if moves and moves[0].before else []
    for move in moves:
        if trail and not trail[-1]:
            trail.pop()  # a rollback never restores the absence of a model
        if move.how == ROLLBACK and move.after in trail:
            while trail[-1] != move.after:
                trail.pop()
        elif not trail or trail[-1] != move.after:
            trail.append(move.after)
    return trail[-2] if len(trail) > 1 else None


def sample_refusal(version: str, origin: str, production: str, production_origin: str) -> str:
    """Return why a version trained on the sample must not replace the one in production, "" where it may.

    Args:
        version: the new version.
        origin: kind of source of its training data.
        production: the version in production, "" for none.
        production_origin: kind of source of its training data; "" (unknown) counts as real data.
    """
    if not production or origin != origins.SAMPLE or production_origin == origins.SAMPLE:
        return ""
    return (
        f"version {version} was trained on the synthetic sample, "
        f"and version {production} in production was not (its origin: {production_origin or 'unknown'})"
    )


def record_external_moves(model: Model, now: datetime) -> tuple[str, list[Move]]:
    """Record a move that left no tag; return the version in production ("" for none) and all moves, oldest first.

    Args:
        model: the registered model.
        now: the time, UTC.
    """
    production, tags = model.production_and_tags()
    moves = read(tags)
    last = moves[-1].after if moves else ""
    if production != last:
        _record(model, moves, Move(_time_after(moves, now), last, production, UNKNOWN, EXTERNAL))
    return production, moves


def changed_meanwhile(expected: str, production: str) -> str:
    """Return the refusal of a move because production changed since the decision; "" stands for no version."""
    was, now = (f"at version {one}" if one else "at no version" for one in (expected, production))
    return f"production changed since the decision: it was {was} and is {now} now"


def move(
    model: Model, version: str, *, by: str, how: str, now: datetime, force: bool = False, expected: str | None = None
) -> MoveOutcome:
    """Move production to a version.

    A model trained on the sample does not replace one trained on real data. The move is also refused if production
    changed since the decision. MLflow has no compare-and-set for an alias, so production is read again immediately
    before it is set: a change within the milliseconds between these two requests is overwritten.

    Args:
        model: the registered model.
        version: a registered version.
        by: who moves it.
        how: promote, rollback, run or first up.
        now: the time, UTC.
        force: move it even if a model of the sample replaces one of real data.
        expected: the version in production when the move was decided, "" for none; None to take the version at the
            start of this function.
    """
    production, moves = record_external_moves(model, now)
    if version == production:
        return MoveOutcome()
    if expected is not None and production != expected:
        return MoveOutcome(refused=changed_meanwhile(expected, production))
    refusal = sample_refusal(version, model.origin(version), production, model.origin(production) if production else "")
    if refusal and not force:
        return MoveOutcome(refused=refusal, forcible=True)
    found = model.production_and_tags()[0]
    if found != production:
        return MoveOutcome(refused="" if found == version else changed_meanwhile(production, found))
    model.set_production(version)
    moved = Move(_time_after(moves, now), production, version, by, how, bool(refusal))
    _record(model, moves, moved)
    return MoveOutcome(moved)


def _record(model: Model, moves: list[Move], move: Move) -> None:
    model.set_tag(move.key, json.dumps(move.as_dict()))
    moves.append(move)


def _time_after(moves: Sequence[Move], now: datetime) -> datetime:
    """Return ``now``, or the next instant after the last move where this clock is behind: moves sort by time."""
    return max(now, moves[-1].when + timedelta(microseconds=1)) if moves else now
