"""The history of the alias ``production``: who moved it, when, from which version to which.

An entry is a tag, added in one request. It is stored twice in MLflow: as a tag of the experiment ``EXPERIMENT``, which
no deletion of a version or of the registered model touches, and as a tag of the registered model, where MLflow shows
it. Readers take both together. Entries are ordered by a number that is taken under the lock of ``alias_lock``, not by
time. Entries of version 0.2 and earlier have no number, only a time; they come first.

A mover writes its entry before it moves the alias (``pending``), and again without that mark afterwards. If it is
killed in between, the next reader sees from the alias whether the move was made.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

EXPERIMENT = "heart-disease-production"
EXPERIMENT_TAGS = {
    "mlflow.note.content": "The history of the alias production of heart-disease, one tag for each move, and the looks "
    "of its comparisons. It holds no runs.",
    "mlflow.experimentKind": "custom_model_development",  # without it, MLflow's UI shows pages for GenAI
}
PREFIX = "heartline.production."
PROMOTE, ROLLBACK, RUN, FIRST_UP, APPROVAL = "promote", "rollback", "run", "first up", "approval"
EXTERNAL = "moved outside (MLflow's UI or API)"
UNKNOWN = "unknown"

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # of fixed width: entries without a number sort by it
_NUMBERED = re.compile(re.escape(PREFIX) + r"n([0-9]+)")


@dataclass(frozen=True)
class Move:
    """One move of ``production``.

    Attributes:
        when: its time, UTC, for readers; for an external move, the time at which it was found.
        before: the version before the move, "" for none.
        after: the version after the move, "" where the alias was removed.
        by: a user name, ``run`` and the id of an Airflow run, or ``unknown``.
        how: promote, rollback, run, first up, approval, or moved outside.
        forced: whether the user overruled a refusal.
        number: its place in the history, from 1; None for an entry of version 0.2 or earlier.
        origin: kind of source of the training data of ``after``, "" where it is unknown.
        source: MLflow's address of the files of ``after``. It tells versions of the same number apart after the
            registered model was deleted and made again.
        pending: whether the mover has not yet seen the move succeed.
    """

    when: datetime
    before: str
    after: str
    by: str
    how: str
    forced: bool = False
    number: int | None = None
    origin: str = ""
    source: str = ""
    pending: bool = False

    @property
    def key(self) -> str:
        """Return the name of its tag."""
        return PREFIX + (self.when.strftime(_TIME) if self.number is None else f"n{self.number:06d}")

    def as_dict(self) -> dict[str, Any]:
        """Return the move for JSON."""
        return {
            "number": self.number,
            "when": self.when.strftime(_TIME),
            "from": self.before or None,
            "to": self.after or None,
            "by": self.by,
            "how": self.how,
            "forced": self.forced,
            "origin": self.origin or None,
            "source": self.source or None,
        }

    def as_text(self) -> str:
        """Return the value of its tag."""
        return json.dumps(self.as_dict() | ({"pending": True} if self.pending else {}))

    def completed(self) -> "Move":
        """Return the move without the mark of a pending one."""
        return replace(self, pending=False)


def read(*tags: Mapping[str, str]) -> list[Move]:
    """Return the moves in the tags of an experiment and of a model, oldest first, without pending ones.

    Of two copies of an entry the first one counts. Tags that cannot be parsed are skipped.
    """
    return [move for move in _entries(*tags) if not move.pending]


def pending(*tags: Mapping[str, str]) -> Move | None:
    """Return the move that is pending after the last complete one, if there is one."""
    last = next(reversed(_entries(*tags)), None)
    return last if last and last.pending else None


def _entries(*tags: Mapping[str, str]) -> list[Move]:
    found: dict[str, Move] = {}
    for key, text in (item for one in tags for item in one.items() if item[0].startswith(PREFIX)):
        move = _parse(key, text)
        # of two copies, the complete one is the later
        if move is not None and (key not in found or found[key].pending):
            found[key] = move
    return [found[key] for key in sorted(found, key=lambda key: (found[key].number or 0, key))]


def _parse(key: str, text: str) -> Move | None:
    numbered = _NUMBERED.fullmatch(key)
    try:
        found = json.loads(text)
        when = datetime.strptime(found["when"], _TIME).replace(tzinfo=UTC)
        before, after, by, how = (str(found[name] or "") for name in ("from", "to", "by", "how"))
        return Move(
            when,
            before,
            after,
            by,
            how,
            bool(found.get("forced")),
            number=int(numbered[1]) if numbered else None,
            origin=str(found.get("origin") or ""),
            source=str(found.get("source") or ""),
            pending=bool(found.get("pending")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def next_number(moves: Sequence[Move]) -> int:
    """Return the number of the next entry. It is taken under the lock."""
    return max((move.number or 0 for move in moves), default=0) + 1


def same_version(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two pairs of a version's number and source are the same version; "" is an unknown source."""
    return one[0] == other[0] and (one[1] == other[1] or "" in (one[1], other[1]))


def rollback_target(moves: Sequence[Move]) -> tuple[str, str] | None:
    """Return the number and the source of the version that a rollback restores, or None where there is none.

    A rollback undoes a move: the next rollback goes one move further back, not to where the last one came from.
    """
    trail = [(moves[0].before, "")] if moves and moves[0].before else []
    for move in moves:
        version = (move.after, move.source)
        if trail and not trail[-1][0]:
            trail.pop()  # a rollback never restores the absence of a model
        if move.how == ROLLBACK and any(same_version(one, version) for one in trail):
            while not same_version(trail[-1], version):
                trail.pop()
        elif not trail or not same_version(trail[-1], version):
            trail.append(version)
    return trail[-2] if len(trail) > 1 else None
