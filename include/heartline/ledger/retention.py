"""Removes old entries, where a setting says so. The chain can be verified afterwards.

Entries are removed from the beginning only, and an entry ``pruned`` keeps the number and the hash of the last one that
was removed: the chain continues from there.
"""

import json
from typing import Any

from heartline import origins
from heartline.ledger.schema import OWNER

VARIABLE = "HEARTLINE_LEDGER_DAYS"

# The guards of production need its last two moves and the last one to a version that was not trained on the sample.
_LAST = """
    SELECT entries.number, entries.hash,
        to_char(cut.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        (SELECT count(*) FROM ledger.entries AS older WHERE older.number <= entries.number)
    FROM (SELECT clock_timestamp() - make_interval(days => %(days)s) AS at) AS cut, ledger.entries
    WHERE entries.number < least(
        (SELECT min(number) FROM ledger.entries WHERE at >= cut.at),
        (SELECT min(number) FROM (
            SELECT number FROM ledger.entries WHERE kind = 'moved' ORDER BY number DESC LIMIT 2) AS last),
        (SELECT max(number) FROM ledger.entries WHERE kind = 'moved' AND facts->>'to' IS NOT NULL
            AND coalesce(facts->>'origin', '') <> %(sample)s),
        (SELECT number + 1 FROM ledger.head))
    ORDER BY entries.number DESC LIMIT 1
"""


def prune(cursor: Any, days: int, *, by: str) -> int:
    """Remove the entries that are older than a number of days, and enter that. Return how many were removed.

    The last two moves of production, the last one to a version of real data, and what follows them are kept.

    Args:
        cursor: of a transaction of a user who may take the role of the ledger's owner.
        days: the age from which entries are removed.
        by: who removes them.

    Raises:
        psycopg2.Error: PostgreSQL refuses.
    """
    cursor.execute(f"SET LOCAL ROLE {OWNER}")
    cursor.execute("SELECT number FROM ledger.head FOR UPDATE")  # no entry is added meanwhile
    cursor.execute(_LAST, {"days": days, "sample": origins.SAMPLE})
    found = cursor.fetchone()
    if found is None:
        return 0
    through, digest, before, count = found
    facts = {"through": through, "hash": digest, "entries": count, "days": days, "before": before}
    cursor.execute(
        "INSERT INTO ledger.entries (kind, by, facts) VALUES ('pruned', %s, %s::jsonb)", (by, json.dumps(facts))
    )
    cursor.execute("ALTER TABLE ledger.entries DISABLE TRIGGER refuse")
    cursor.execute("DELETE FROM ledger.entries WHERE number <= %s", (through,))
    cursor.execute("ALTER TABLE ledger.entries ENABLE TRIGGER refuse")
    return int(count)


def days(text: str | None) -> int | None:
    """Return the number of days of the setting, None to keep all entries."""
    return int(text) if text else None
