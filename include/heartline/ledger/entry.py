"""An entry of the ledger, and the kinds of entries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

KINDS = {
    "registered": "a run registered a version",
    "requested": "a run asked for the approval of a version",
    "approved": "a person approved a version",
    "rejected": "a person rejected a version",
    "withdrawn": "a request for approval was replaced by a newer one",
    "expired": "nobody answered a request for approval in time",
    "moving": "a move of an alias is about to be made",
    "moved": "an alias was moved",
    "refused": "the service refused a version",
    "served": "the service serves another version",
    "scored": "a scoring run wrote its predictions",
    "alarm": "the monitoring raised an alarm",
    "acknowledged": "a person acknowledged an alarm",
    "forgotten": "a person's predictions were erased",
    "pruned": "old entries were removed, as HEARTLINE_LEDGER_DAYS says",
}
"""Each kind, and what an entry of it says."""

SERVICE_KINDS = ("refused", "served", "forgotten")
"""The kinds that the service may enter."""

FIRST = "0" * 64
"""What the first entry has for the hash of the entry before it."""


@dataclass(frozen=True)
class Entry:
    """An entry of the ledger.

    Attributes:
        number: its place, from 1, without gaps.
        at: the time at which PostgreSQL entered it, UTC.
        kind: one of ``KINDS``.
        version: the registered version that it is about, "" for none.
        by: who did it: a user name, ``run`` and the id of an Airflow run, or ``service on`` and a host.
        facts: what else there is to say; no values of patients.
        writer: the role of the database that wrote it.
        key: what tells the same entry apart when it is written again; None where it is not.
        previous: the hash of the entry before it.
        hash: the sha256 of all of the above, in hexadecimal digits.
        text: ``facts`` as PostgreSQL writes them: the hash is made of this text.
    """

    number: int
    at: datetime
    kind: str
    version: str
    by: str
    facts: Mapping[str, Any]
    writer: str
    key: str | None
    previous: str
    hash: str
    text: str = field(default="{}", repr=False, compare=False)


@dataclass(frozen=True)
class Head:
    """The last entry, as the ledger keeps it beside the entries.

    Attributes:
        number: its number, 0 without an entry.
        hash: its hash.
    """

    number: int
    hash: str
