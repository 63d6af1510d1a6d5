"""The roles that read the service's prediction log: that of the monitoring, and one for people.

``monitoring`` reads the log and adds outcomes; it owns the schema ``monitoring`` of the database ``heartline``.
``predictions_reader`` reads the log and nothing else. Both are created before the service creates its tables, or after.
"""

from contextlib import closing
from typing import Any

from psycopg2 import sql  # type: ignore[import-untyped]

MONITORING = "monitoring"
READER = "predictions_reader"
LOGINS = (MONITORING, READER)
LOG_DATABASE = "predictions"  # also the role that owns it and its tables
SCHEMA = "monitoring"
SCHEMA_DATABASE = "heartline"

# The service grants the same when it creates or changes its tables (serving/prediction_log/database.py). It holds this
# lock meanwhile: either it sees the roles, or we see the tables.
SCHEMA_LOCK = 0x4865617274 + 1
_TABLES = {
    MONITORING: ("prediction", "model", "outcome", "rejected"),
    READER: ("prediction", "model", "outcome", "rejected", "prediction_log"),
}


def grant_on_log(connection: Any) -> None:
    """Let the roles read the log.

    Args:
        connection: of the role that owns the log's database, to that database, in autocommit mode.

    Raises:
        psycopg2.Error: PostgreSQL refuses.
    """
    connection.autocommit = False
    database = sql.Identifier(LOG_DATABASE)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
        cursor.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
        for role in LOGINS:
            cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(role)))
            for table in _existing(cursor, _TABLES[role]):
                grant = sql.SQL("GRANT SELECT ON {} TO {}")
                cursor.execute(grant.format(sql.Identifier(table), sql.Identifier(role)))
        if _existing(cursor, ("outcome",)):
            cursor.execute(sql.SQL("GRANT INSERT ON outcome TO {}").format(sql.Identifier(MONITORING)))


def create_schema(owner: Any, server: Any, password: str) -> None:
    """Create the schema of the monitoring, unless it exists.

    Args:
        owner: a connection of the role that owns ``SCHEMA_DATABASE``, to it, in autocommit mode.
        server: on which the role ``MONITORING`` can log in.
        password: of that role.

    Raises:
        psycopg2.Error: PostgreSQL refuses.
    """
    database, role = sql.Identifier(SCHEMA_DATABASE), sql.Identifier(MONITORING)
    with owner.cursor() as cursor:
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,))
        if cursor.fetchone() is not None:
            return
        cursor.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, role))
        with closing(server.connect(MONITORING, password, SCHEMA_DATABASE)) as own, own.cursor() as creating:
            creating.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        cursor.execute(sql.SQL("REVOKE CREATE ON DATABASE {} FROM {}").format(database, role))


def _existing(cursor: Any, tables: tuple[str, ...]) -> list[str]:
    """Return those of the tables that the service has created."""
    cursor.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY(%s)", (list(tables),)
    )
    return [name for (name,) in cursor.fetchall()]
