"""The requests for approval in the ledger: which are open, and how each ended.

A request has one entry ``requested`` and at most one entry that ends it: ``approved``, ``rejected``, ``expired`` or
``withdrawn``. The four share a key, so that the first one counts, whoever else writes at the same time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from heartline.ledger import store
from heartline.ledger.entry import Entry

REQUESTED = "requested"
APPROVED, REJECTED, EXPIRED, WITHDRAWN = "approved", "rejected", "expired", "withdrawn"
ENDS = (APPROVED, REJECTED, EXPIRED, WITHDRAWN)


@dataclass(frozen=True)
class Asked:
    """A request for approval.

    Attributes:
        run: the run of ``heart_approval`` that asks.
        version: the registered version.
        digest: sha256 of its manifest.json.
        production: the version that it would replace, "" for none.
        until: when it expires.
        not_by: the users who triggered the training or asked for the approval.
        training: the run of ``heart_training`` that registered the version, "" where that is unknown.
        why: why there is a request.
    """

    run: str
    version: str
    digest: str
    production: str
    until: datetime
    not_by: tuple[str, ...]
    training: str
    why: str

    def facts(self) -> dict[str, Any]:
        """Return the facts of its entry in the ledger."""
        return {
            "run": self.run,
            "digest": self.digest,
            "production": self.production,
            "until": self.until.isoformat(),
            "not_by": list(self.not_by),
            "training": self.training,
            "why": self.why,
        }

    @classmethod
    def of(cls, entry: Entry) -> "Asked":
        """Read an entry of the ledger."""
        facts = entry.facts
        return cls(
            run=str(facts["run"]),
            version=entry.version,
            digest=str(facts["digest"]),
            production=str(facts["production"]),
            until=datetime.fromisoformat(facts["until"]),
            not_by=tuple(facts["not_by"]),
            training=str(facts["training"]),
            why=str(facts["why"]),
        )


@dataclass(frozen=True)
class Known:
    """A request, and how it ended.

    Attributes:
        asked: the request.
        end: the entry that ended it; None while it is open.
    """

    asked: Asked
    end: Entry | None


def enter(asked: Asked, *, by: str) -> Asked:
    """Enter a request, and return it; where its run has entered one before, return that one.

    Raises:
        LedgerError: the ledger does not answer.
    """
    return Asked.of(
        store.append(REQUESTED, by=by, version=asked.version, facts=asked.facts(), key=f"request {asked.run}")
    )


def end(asked: Asked, kind: str, *, by: str, facts: Mapping[str, Any]) -> Entry:
    """Enter how a request ended, and return the entry; where it had ended before, return the entry of that end.

    Args:
        asked: the request.
        kind: one of ``ENDS``.
        by: who ended it: a user, or ``run`` and the id of a run.
        facts: what else there is to say.

    Raises:
        LedgerError: the ledger does not answer.
    """
    return store.append(
        kind, by=by, version=asked.version, facts={"run": asked.run, **facts}, key=f"answer {asked.run}"
    )


def known() -> list[Known]:
    """Return all requests with their ends, oldest first.

    Raises:
        LedgerError: the ledger does not answer.
    """
    found = store.entries(kinds=(REQUESTED, *ENDS))
    ends = {str(one.facts.get("run")): one for one in found if one.kind in ENDS}
    asked = [Asked.of(one) for one in found if one.kind == REQUESTED and "run" in one.facts]
    return [Known(one, ends.get(one.run)) for one in asked]


def of_run(requests: Sequence[Known], run: str) -> Known | None:
    """Return the request of a run; None where it has entered none."""
    return next((one for one in requests if one.asked.run == run), None)


def in_words(end: Entry) -> str:
    """Return how a request ended, in one line: the note of its run."""
    reason = str(end.facts.get("reason", ""))
    if end.kind == EXPIRED:
        return f"version {end.version} was not approved: nobody answered in time"
    if end.kind == WITHDRAWN:
        return f"the request for version {end.version} was withdrawn: {reason}"
    return f"version {end.version} {end.kind} by {end.by}: {reason}"
