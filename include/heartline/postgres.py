"""How Heartline reaches PostgreSQL: the ledger, the monitoring and the lock of the aliases are in its databases."""

import re
from typing import Any
from urllib.parse import urlsplit

import psycopg2  # type: ignore[import-untyped]

CONNECT_SECONDS = 5
NETWORK_SECONDS = 30  # until a server that sends nothing counts as away


def connect(url: str, **more: Any) -> Any:
    """Open a connection, which ends when the server is away.

    Args:
        url: of the database, as libpq or SQLAlchemy spell it.
        more: further parameters of libpq.

    Raises:
        psycopg2.Error: the server does not answer, or refuses.
    """
    return psycopg2.connect(
        re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url),
        connect_timeout=CONNECT_SECONDS,
        keepalives_idle=NETWORK_SECONDS,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=NETWORK_SECONDS * 1000,
        **more,
    )


def place(url: str) -> str:
    """Return the host, port and database of a URL, for messages: without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def role(url: str) -> str:
    """Return the user in a URL, for messages."""
    return urlsplit(url).username or ""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text: the others repeat the statement."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
