"""Creates the databases, their roles and the ledger, on the embedded PostgreSQL server or on the user's own."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import sql

from heartline.ledger import retention, schema
from stack.errors import MachineError, UnhealthyError
from stack.processes import reading_roles
from stack.secrets.credentials import Credentials
from stack.settings import HOST, Settings

NAMES = ("airflow", "mlflow", "heartline", "predictions")  # each is the name of a role and of the database that it owns
LEDGER_DATABASE = "heartline"
SUPERUSER = "postgres"
CONNECT_TIMEOUT = 5  # seconds
REFUSED_LOGIN = "password authentication failed"  # in PostgreSQL's message


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server, and a user who may create roles and databases there."""

    host: str
    port: int
    user: str
    password: str
    database: str
    query: str

    @classmethod
    def of(cls, settings: Settings, credentials: Credentials) -> Self:
        """Return the server of HEARTLINE_POSTGRES_URL, else the embedded one."""
        if not settings.postgres_url:
            password = credentials["postgres_password"]
            return cls(HOST, settings.postgres_port, SUPERUSER, password, SUPERUSER, "")
        parts = urlsplit(settings.postgres_url)
        user = unquote(parts.username or SUPERUSER)
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 5432,
            user=user,
            password=unquote(parts.password or ""),
            database=unquote(parts.path.lstrip("/")) or user,
            query=parts.query,
        )

    def address(self, name: str, password: str, driver: str | None = "psycopg2", *, database: str | None = None) -> str:
        """Return the SQLAlchemy URL of one of our databases, for a role; the libpq URL if ``driver`` is None.

        Args:
            name: of the role.
            password: of the role.
            driver: SQLAlchemy's name of the driver.
            database: by default the one that is named like the role.
        """
        query = dict(parse_qsl(self.query))
        if driver == "asyncpg" and "sslmode" in query:
            query["ssl"] = query.pop("sslmode")  # asyncpg's name for the same setting
        host = f"[{self.host}]" if ":" in self.host else self.host
        rest = f"?{urlencode(query)}" if query else ""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{name}:{quote(password, safe='')}@{host}:{self.port}/{database or name}{rest}"

    def libpq(self, name: str, password: str) -> dict[str, str]:
        """Return the environment variables with which psql opens one of our databases as its own role."""
        found = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": name, "PGDATABASE": name}
        query = dict(parse_qsl(self.query))
        return found | {"PGPASSWORD": password} | {f"PG{key.upper()}": value for key, value in query.items()}

    def connect(self, user: str | None = None, password: str | None = None, database: str | None = None) -> Any:
        """Open a connection in autocommit mode, by default for the server's own user and database.

        Raises:
            psycopg2.OperationalError: the server does not answer, or refuses.
        """
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            user=user or self.user,
            password=self.password if password is None else password,
            dbname=database or self.database,
            connect_timeout=CONNECT_TIMEOUT,
            **dict(parse_qsl(self.query)),
        )
        connection.autocommit = True
        return connection

    def accepts_password(self) -> bool:
        """Tell whether the server accepts its own user's password.

        Raises:
            psycopg2.OperationalError: it does not answer, or refuses for another reason.
        """
        try:
            self.connect().close()
        except psycopg2.OperationalError as error:
            if REFUSED_LOGIN in str(error):
                return False
            raise
        return True

    def version(self) -> str:
        """Return the server's version, for example ``18.4``.

        Raises:
            psycopg2.Error: it does not answer.
        """
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SHOW server_version")
                return str(cursor.fetchone()[0]).split()[0]
        finally:
            connection.close()


def create_missing(server: Server, credentials: Credentials, *, own: bool = False) -> set[str]:
    """Create the roles, databases and tables of the ledger that are missing. What is stored there is not changed.

    Args:
        server: the server.
        credentials: the passwords of the roles.
        own: whether the server belongs to this stack alone; a role with another password then gets the present one.

    Returns:
        The names of the databases that were created.

    Raises:
        UnhealthyError: the server does not answer.
        MachineError: the user may not create them, or a role exists with another password.
    """
    try:
        connection = server.connect()
    except psycopg2.OperationalError as error:
        raise UnhealthyError(
            f"PostgreSQL does not answer: {str(error).strip().splitlines()[-1]}",
            where=f"{server.host}:{server.port}, user {server.user}",
            expected="a connection within a few seconds",
            hint="check HEARTLINE_POSTGRES_URL, or see ./heartline logs postgres",
        ) from error
    try:
        with connection.cursor() as cursor:
            passwords = {name: credentials[f"{name}_db_password"] for name in NAMES}
            for name in reading_roles.LOGINS:  # before their database: the service creates tables as soon as it can
                _create_role(cursor, name, credentials[f"{name}_db_password"])
            created = {name for name in NAMES if _create_missing(cursor, server, name, passwords[name], own=own)}
            _create_missing_ledger(cursor, server, credentials, own=own)
            _let_read(cursor, server, credentials, own=own)
            return created
    except psycopg2.Error as error:
        raise MachineError(
            f"PostgreSQL refused: {str(error).strip().splitlines()[0]}",
            where=f"{server.host}:{server.port}, user {server.user}",
            expected="a user who may create roles and databases",
            hint="give HEARTLINE_POSTGRES_URL such a user, or ALTER ROLE … CREATEDB CREATEROLE",
        ) from error
    finally:
        connection.close()


def prune_ledger(server: Server, days: int | None, *, by: str) -> int:
    """Remove the entries of the ledger that are older than a number of days; return how many were removed.

    Args:
        server: the server; its user may take the role of the ledger's owner.
        days: the age from which entries are removed; None to remove none.
        by: who removes them, for the ledger.

    Raises:
        MachineError: the server refuses or does not answer.
    """
    if days is None:
        return 0
    try:
        with closing(server.connect(database=LEDGER_DATABASE)) as connection:
            connection.autocommit = False
            with connection, connection.cursor() as cursor:
                return retention.prune(cursor, days, by=by)
    except psycopg2.Error as error:
        raise MachineError(
            f"old entries of the ledger could not be removed: {str(error).strip().splitlines()[0]}",
            where=f"{server.host}:{server.port}, user {server.user}",
            expected="a user who may change the ledger's tables",
            hint=f"unset {retention.VARIABLE} to keep all entries",
        ) from error


def _create_missing(cursor: Any, server: Server, name: str, password: str, *, own: bool) -> bool:
    _create_role(cursor, name, password)
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    created = cursor.fetchone() is None
    if created:
        # A user who is no superuser must be a member of a role to create a database for it.
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)))
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(name)))
    _check_login(cursor, server, name, password, name, own=own)
    return created


def _create_missing_ledger(cursor: Any, server: Server, credentials: Credentials, *, own: bool) -> None:
    """Create what is missing of the ledger, in the database ``LEDGER_DATABASE``.

    Its tables belong to a role that cannot log in: no task, command or service has the password of a user who may
    change or delete entries.
    """
    _create_role(cursor, schema.OWNER, None)
    passwords = {name: credentials[f"{name}_db_password"] for name in schema.LOGINS}
    for name, password in passwords.items():
        _create_role(cursor, name, password)
    # A user who is no superuser must be a member of a role to create tables for it.
    cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(schema.OWNER)))
    _grant_on_database(server, credentials[f"{LEDGER_DATABASE}_db_password"])
    with closing(server.connect(database=LEDGER_DATABASE)) as connection:
        connection.autocommit = False
        with connection, connection.cursor() as tables:
            schema.create(tables)
    for name, password in passwords.items():
        _check_login(cursor, server, name, password, LEDGER_DATABASE, own=own)


def _let_read(cursor: Any, server: Server, credentials: Credentials, *, own: bool) -> None:
    """Let the roles of the monitoring and of readers read the prediction log; create the monitoring's schema."""
    for name in reading_roles.LOGINS:
        _check_login(cursor, server, name, credentials[f"{name}_db_password"], reading_roles.LOG_DATABASE, own=own)
    log, database = reading_roles.LOG_DATABASE, reading_roles.SCHEMA_DATABASE
    with closing(server.connect(log, credentials[f"{log}_db_password"], log)) as connection:
        reading_roles.grant_on_log(connection)
    with closing(server.connect(database, credentials[f"{database}_db_password"], database)) as connection:
        reading_roles.create_schema(connection, server, credentials[f"{reading_roles.MONITORING}_db_password"])


def _grant_on_database(server: Server, password: str) -> None:
    """Let the ledger's owner create its schema: the database belongs to the role of its own name."""
    database = sql.Identifier(LEDGER_DATABASE)
    grants = {schema.OWNER: "CONNECT, CREATE", **dict.fromkeys(schema.LOGINS, "CONNECT")}
    with (
        closing(server.connect(LEDGER_DATABASE, password, LEDGER_DATABASE)) as connection,
        connection.cursor() as cursor,
    ):
        for role, rights in grants.items():
            grant = sql.SQL("GRANT {} ON DATABASE {} TO {}")
            cursor.execute(grant.format(sql.SQL(rights), database, sql.Identifier(role)))


def _create_role(cursor: Any, name: str, password: str | None) -> None:
    """Create a role, unless there is one of that name; without a password, it cannot log in."""
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    if cursor.fetchone() is not None:
        return
    if password is None:
        cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    else:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(name)), (password,))


def _check_login(cursor: Any, server: Server, name: str, password: str, database: str, *, own: bool) -> None:
    """Check that a role can log in with its password; on a server of our own, give it that password."""
    try:
        server.connect(name, password, database).close()
    except psycopg2.OperationalError as error:
        if not (own and REFUSED_LOGIN in str(error)):
            raise _not_ours(server, name, error) from error
        cursor.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(name)), (password,))


def _not_ours(server: Server, name: str, error: Exception) -> MachineError:
    return MachineError(
        f"the role {name} exists with a password that this clone does not have",
        where=f"{server.host}:{server.port}: {str(error).strip().splitlines()[-1]}",
        expected=f"the password in the file secrets/{name}_db_password of the state folder",
        hint=f"restore that file, or use another server; or give the role its password: ALTER ROLE {name} PASSWORD '…'",
    )
