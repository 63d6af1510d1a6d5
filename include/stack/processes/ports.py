"""Ports that are taken by somebody else, found before anything is started."""

import errno
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from stack.errors import InUseError
from stack.processes.definitions import Part
from stack.processes.orphans import marked
from stack.settings import HOST


def check(home: Path, parts: Iterable[Part]) -> None:
    """Make sure that the port of each part is free, or held by the stack whose state folder is ``home``.

    Raises:
        InUseError: one is not; names the port, its setting and who holds it.
    """
    parts = list(parts)
    taken = {part.port for part in parts}
    for part in parts:
        if part.port and part.port_variable and not free(part.port):
            holder = _holder(part.port)
            if holder and holder in marked(home):
                continue
            who = f"`{holder.name()}`, process {holder.pid}" if holder else "another user's process"
            raise InUseError(
                f"port {part.port}, which {part.name} needs, is taken",
                where=f"{HOST}:{part.port}, held by {who}",
                expected=f"a free port for {part.name}",
                hint=f"free it, or: {part.port_variable}={_next_free(part.port, taken)} ./heartline up",
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
    # Some systems let two sockets bind one port: does anybody answer?
    with socket.socket() as caller:
        caller.settimeout(1)
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
