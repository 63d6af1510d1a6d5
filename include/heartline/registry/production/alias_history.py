"""The history of the alias ``production``: who moved it, when, from which version to which.

A move is two entries of the ledger: ``moving`` before the alias is moved, ``moved`` afterwards. If the mover is killed
in between, the next reader sees from the alias whether the move was made. Moves are ordered by the number of their
entry, not by time.

Up to version 0.4 a move was a tag of MLflow's experiment ``EXPERIMENT`` and of the registered model. These tags are
read once, and entered into the ledger with their own times.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from heartline.ledger.entry import Entry, Head

EXPERIMENT = "heart-disease-production"
EXPERIMENT_TAGS = {
    "mlflow.note.content": "The looks of the comparisons of heart-disease, and the hash of the ledger's entry of the "
    "last move of the alias production. It holds no runs.",
    "mlflow.experimentKind": "custom_model_development",  # without it, MLflow's UI shows pages for GenAI
}
PREFIX = "heartline.production."  # of the tags up to version 0.4
HEAD = "heartline.ledger.head"
"""Tag of the experiment: number and hash of the ledger's entry of the last move, outside of the ledger's database."""
KINDS = ("moving", "moved", "pruned")
"""The kinds of entries that the history is made of."""
ALIAS = "production"
PROMOTE, ROLLBACK, RUN, FIRST_UP, APPROVAL = "promote", "rollback", "run", "first up", "approval"
EXTERNAL = "moved outside (MLflow's UI or API)"
UNKNOWN = "unknown"

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # of fixed width: entries without a number sort by it
_NUMBERED = re.compile(re.escape(PREFIX) + r"n([0-9]+)")
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


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
        number: of its entry in the ledger; for a tag up to version 0.4, its number there, None before 0.3.
        origin: kind of source of the training data of ``after``, "" where it is unknown.
        source: MLflow's address of the files of ``after``. It tells versions of the same number apart after the
            registered model was deleted and made again.
        pending: whether the mover has not yet seen the move succeed.
        reason: what the user gave as the reason, "" for none.
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
    reason: str = ""

    @property
    def tag(self) -> str:
        """Return the name of its tag, up to version 0.4."""
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
            "reason": self.reason or None,
        }

    def facts(self) -> dict[str, Any]:
        """Return the facts of its entries in the ledger."""
        return {
            "alias": ALIAS,
            "from": self.before or None,
            "to": self.after or None,
            "how": self.how,
            "forced": self.forced,
            "origin": self.origin or None,
            "source": self.source or None,
            **({"reason": self.reason} if self.reason else {}),
        }

    def imported_facts(self) -> dict[str, Any]:
        """Return the facts of an entry that is made of a tag: with its own time."""
        return {**self.facts(), "when": self.when.strftime(_TIME), "imported": True}


def of_entry(entry: Entry) -> Move:
    """Return the move of an entry ``moving`` or ``moved``."""
    facts = entry.facts
    return Move(
        _time(facts.get("when")) or entry.at,
        str(facts.get("from") or ""),
        str(facts.get("to") or ""),
        entry.by,
        str(facts.get("how") or ""),
        bool(facts.get("forced")),
        number=entry.number,
        origin=str(facts.get("origin") or ""),
        source=str(facts.get("source") or ""),
        pending=entry.kind == "moving",
        reason=str(facts.get("reason") or ""),
    )


def moves(entries: Sequence[Entry]) -> list[Move]:
    """Return the moves that were made, oldest first."""
    return [of_entry(entry) for entry in entries if entry.kind == "moved" and _is_ours(entry)]


def unfinished(entries: Sequence[Entry]) -> Entry | None:
    """Return the announcement of a move that nobody has entered as made, where it is the last entry of a move."""
    last = next((entry for entry in reversed(entries) if entry.kind in ("moving", "moved") and _is_ours(entry)), None)
    return last if last and last.kind == "moving" else None


def _is_ours(entry: Entry) -> bool:
    return entry.facts.get("alias") == ALIAS


def is_imported(entry: Entry) -> bool:
    """Return whether an entry was made of a tag."""
    return bool(entry.facts.get("imported"))


def noted_head(tags: Mapping[str, str]) -> Head | None:
    """Return the number and hash that the tag ``HEAD`` holds; None without the tag, or where it is no such text."""
    found = _HEAD.fullmatch(tags.get(HEAD, ""))
    return Head(int(found[1]), found[2]) if found else None


def head_text(entry: Entry) -> str:
    """Return the value of the tag ``HEAD`` for an entry."""
    return f"{entry.number}:{entry.hash}"


def tagged(*tags: Mapping[str, str]) -> list[Move]:
    """Return the moves in the tags of an experiment and of a model, as they were written up to version 0.4.

    Of two copies of a tag the first one counts. Tags that cannot be parsed are skipped, and so is a pending move,
    unless it is the last one. The oldest comes first.
    """
    found = _entries(*tags)
    return [move for move in found if not move.pending or move is found[-1]]


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


def _time(text: object) -> datetime | None:
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


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
