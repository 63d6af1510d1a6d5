"""The ledger's table, as a role sees it that may read and insert."""

import msgspec

from serving.ledger.events import Event
from serving.prediction_log.connection import Connection

# Most events that are entered twice are found before the table's trigger gives them a number.
_ENTER = """INSERT INTO ledger.entries (kind, version, by, facts, key)
    SELECT new.kind, new.version, new.by, new.facts, new.key
    FROM (SELECT %s::text, %s::text, %s::text, %s::jsonb, %s::text) AS new(kind, version, by, facts, key)
    WHERE NOT EXISTS (SELECT FROM ledger.entries AS old WHERE old.key = new.key)
    ON CONFLICT (key) DO NOTHING"""


class LedgerDatabase(Connection):
    """The database of the ledger. The table exists: the stack creates it."""

    def enter(self, event: Event) -> bool:
        """Enter an event, and return whether the ledger did not have it.

        Raises:
            DatabaseError: it was not entered.
            ValueError: the database refuses the data.
        """
        facts = msgspec.json.encode(event.facts).decode()
        values = (event.kind, event.version, event.by, facts, event.key)
        return bool(self._run(lambda: self._execute(_ENTER, *values).rowcount))
