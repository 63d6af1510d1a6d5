"""Checks before a start that the ports of the stack are free."""

import errno
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from stack.errors import InUseError
from stack.processes.definitions import ProcessDefinition
from stack.processes.orphans import of_stack
from stack.settings import HOST

CONNECT_TIMEOUT = 1.0  # seconds


def check(home: Path, definitions: Iterable[ProcessDefinition]) -> None:
    """Make sure that the port of each process is free, or held by the stack whose state folder is ``home``.

    Raises:
        InUseError: a port is taken; names the port, its setting and the process that holds it.
    """
    definitions = list(definitions)
    taken = {definition.port for definition in definitions}
    for definition in definitions:
        if definition.port and definition.port_variable and not free(definition.port):
            holder = _holder(definition.port)
            if holder and holder in of_stack(home):
                continue
            who = f"`{holder.name()}`, process {holder.pid}" if holder else "another user's process"
            raise InUseError(
                f"port {definition.port}, which {definition.name} needs, is taken",
                where=f"{HOST}:{definition.port}, held by {who}",
                expected=f"a free port for {definition.name}",
                hint=f"end that program, or choose another port with the setting {definition.port_variable}:"
                f" {definition.port_variable}={_next_free(definition.port, taken)} ./heartline up",
            )


def _next_free(port: int, taken: set[int | None]) -> int:
    return next(candidate for candidate in range(port + 1, 65536) if candidate not in taken and free(candidate))


def free(port: int) -> bool:
    """Tell whether a server could listen on a loopback port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    # Some systems let two sockets bind one port, so also try to connect.
    with socket.socket() as caller:
        caller.settimeout(CONNECT_TIMEOUT)
        return caller.connect_ex((HOST, port)) != 0


def _holder(port: int) -> psutil.Process | None:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            try:
                return psutil.Process(connection.pid)
            except psutil.NoSuchProcess:
                return None
    return None
