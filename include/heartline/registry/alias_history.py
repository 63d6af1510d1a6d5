"""Who moved ``production``, when, from what to what; and what may replace what.

Each move is a tag of the registered model, named after its time: a move is added in one request, so that two writers
cannot lose each other's, which they could in one list that each reads, changes and writes. Nor would a list last:
MLflow's databases keep 5,000 characters of a tag, some thirty moves, but any number of tags.

The alias is moved first and the tag written then. What moved the alias without a tag (a person in MLflow's UI, or a
command that was cut off between the two) is noted by whoever looks next.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

PREFIX = "heartline.production."
PROMOTE, ROLLBACK, RUN, FIRST_UP = "promote", "rollback", "run", "first up"
OUTSIDE = "moved outside (MLflow's UI or API)"
UNKNOWN = "unknown"
SAMPLE = "sample"

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # of one width, so that tags sort by it, and without a +, which MLflow refuses in names


@dataclass(frozen=True)
class Move:
    """One move of ``production``.

    Attributes:
        when: its time, UTC; of a move from outside, the time at which it was seen.
        before: the version that production was at, "" where it was at none.
        after: the version that it is at since, "" where the alias was removed.
        by: a user name, ``run`` and the id of an Airflow run, or ``unknown``.
        how: promote, rollback, run, first up, or moved outside.
        forced: whether it overruled ``objection``.
    """

    when: datetime
    before: str
    after: str
    by: str
    how: str
    forced: bool = False

    @property
    def key(self) -> str:
        """The name of its tag."""
        return PREFIX + self.when.strftime(_TIME)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "when": self.when.strftime(_TIME),
            "from": self.before or None,
            "to": self.after or None,
            "by": self.by,
            "how": self.how,
            "forced": self.forced,
        }


@dataclass(frozen=True)
class Outcome:
    """What became of a wish to move ``production``.

    Attributes:
        move: the move; None where production is at that version already, or the move was refused.
        refused: why it was refused, "" where it was not.
        forcible: whether it would not be refused with ``force``.
    """

    move: Move | None = None
    refused: str = ""
    forcible: bool = False


class Model(Protocol):
    """The registered model, however it is reached."""

    def look(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that production is at ("" for none), and the model's tags, of one moment."""

    def origin(self, version: str) -> str:
        """Return where a version's training data came from, "" where that is not known."""

    def point(self, version: str) -> None:
        """Point production at a version, in one step."""

    def note(self, key: str, value: str) -> None:
        """Set a tag of the model."""


def read(tags: Mapping[str, str]) -> list[Move]:
    """Return the moves that a model's tags hold, oldest first; tags that somebody made unreadable are left out."""
    found = (_parse(tags[key]) for key in sorted(tags) if key.startswith(PREFIX))
    return [move for move in found if move is not None]


def _parse(text: str) -> Move | None:
    try:
        told = json.loads(text)
        when = datetime.strptime(told["when"], _TIME).replace(tzinfo=UTC)
        before, after, by, how = (str(told[name] or "") for name in ("from", "to", "by", "how"))
    except (ValueError, TypeError, KeyError):
        return None
    return Move(when, before, after, by, how, bool(told.get("forced")))


def previous(moves: Sequence[Move]) -> str | None:
    """Return the version that a rollback puts back, or None where there is none.

    A rollback undoes: the next one goes one move further back, and not to where the last one came from.
    """
    trail = [moves[0].before] if moves and moves[0].before else []
    for move in moves:
        if trail and not trail[-1]:
            trail.pop()  # nobody wants the absence of a model back
        if move.how == ROLLBACK and move.after in trail:
            while trail[-1] != move.after:
                trail.pop()
        elif not trail or trail[-1] != move.after:
            trail.append(move.after)
    return trail[-2] if len(trail) > 1 else None


def objection(version: str, origin: str, production: str, replaced: str) -> str:
    """Return why a version must not replace the one in production, or "" where it may.

    Args:
        version: the one that would go into production.
        origin: where its training data came from.
        production: the version that is there, "" for none.
        replaced: where that one's training data came from; "" (not known) counts as real.
    """
    if not production or origin != SAMPLE or replaced == SAMPLE:
        return ""
    return (
        f"version {version} was trained on the synthetic sample, "
        f"and version {production} in production was not (its origin: {replaced or 'not known'})"
    )


def catch_up(model: Model, now: datetime) -> tuple[str, list[Move]]:
    """Note a move that nobody noted, and return the version in production ("" for none) with all moves, oldest first.

    Args:
        model: the registered model.
        now: the time, UTC.
    """
    production, tags = model.look()
    moves = read(tags)
    last = moves[-1].after if moves else ""
    if production != last:
        _note(model, moves, Move(_next(moves, now), last, production, UNKNOWN, OUTSIDE))
    return production, moves


def overtaken(expected: str, production: str) -> str:
    """Return why production is not moved where it is no longer at the version that was looked at; "" is none."""
    was, now = (f"at version {one}" if one else "at no version" for one in (expected, production))
    return f"production was {was} when it was looked at, and is {now} by now: somebody else moved it"


def move(
    model: Model, version: str, *, by: str, how: str, now: datetime, force: bool = False, expected: str | None = None
) -> Outcome:
    """Move production to a version, unless that would put a model of the sample in place of one of real data.

    Nor is production moved where it is no longer at what the move was decided on. MLflow has no compare-and-set for an
    alias, so production is looked at again as the last thing before it is moved: what somebody else does between these
    two requests, which are milliseconds apart, is overruled.

    Args:
        model: the registered model.
        version: a registered version.
        by: who moves it.
        how: promote, rollback, run or first up.
        now: the time, UTC.
        force: move it all the same where it is the sample that speaks against it.
        expected: the version that production was at when the move was decided, "" for none; None for where it is when
            this function begins.
    """
    production, moves = catch_up(model, now)
    if version == production:
        return Outcome()
    if expected is not None and production != expected:
        return Outcome(refused=overtaken(expected, production))
    against = objection(version, model.origin(version), production, model.origin(production) if production else "")
    if against and not force:
        return Outcome(refused=against, forcible=True)
    found = model.look()[0]
    if found != production:
        return Outcome(refused="" if found == version else overtaken(production, found))
    model.point(version)
    moved = Move(_next(moves, now), production, version, by, how, bool(against))
    _note(model, moves, moved)
    return Outcome(moved)


def _note(model: Model, moves: list[Move], move: Move) -> None:
    model.note(move.key, json.dumps(move.as_dict()))
    moves.append(move)


def _next(moves: Sequence[Move], now: datetime) -> datetime:
    """Return the time, or the least one after the last move where this clock is behind: order is what counts."""
    return max(now, moves[-1].when + timedelta(microseconds=1)) if moves else now
