"""Runs commands in a network namespace that has only the loopback interface, and counts attempts to leave it.

As a program, inside the namespace: ``without_network.py RESOLV.CONF COMMAND...``; each command is a JSON list. Prints a
JSON list with the exit code, the output and the count of each. Needs only the standard library.

The kernel counts each packet for which it finds no route: each connection or datagram to another machine, and each DNS
query, because the name server is another machine. Without a route none of them leaves, so nothing has to answer.
"""

import fcntl
import json
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_NAME_SERVER = "192.0.2.1"  # an address for documentation


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: its exit code.
        output: what it wrote, with its errors.
        attempts: how often a process in the namespace tried to reach another machine while it ran.
    """

    code: int
    output: str
    attempts: int


def available() -> bool:
    """Tell whether this user can make such a namespace."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0


def run(commands: Sequence[Sequence[str]], cwd: Path, environment: dict[str, str], timeout: float) -> list[Ended]:
    """Run commands one after another in one namespace; processes that they start in the background stay in it."""
    resolver = cwd / ".resolv.conf"
    resolver.write_text(f"nameserver {_NAME_SERVER}\n")
    program = [*_unshare(), sys.executable, __file__, str(resolver), *map(json.dumps, commands)]
    ended = subprocess.run(
        program, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=True
    )
    return [Ended(**one) for one in json.loads(ended.stdout)]


def _unshare() -> list[str]:
    return ["unshare", "--map-root-user", "--net", "--mount"] if _is_user() else ["unshare", "--net", "--mount"]


def _is_user() -> bool:
    return Path("/proc/self").stat().st_uid != 0


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, _GET_FLAGS, struct.pack("16sH14s", b"lo", 0, b""))
        flags = struct.unpack("16sH14s", answer)[1]
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sH14s", b"lo", flags | _UP, b""))


def _without_route() -> int:
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(six.get("Ip6OutNoRoutes", 0))


def _main(resolver: str, commands: list[str]) -> None:
    _loopback_up()
    subprocess.run(["mount", "--bind", resolver, "/etc/resolv.conf"], check=True)
    found = []
    for command in commands:
        before = _without_route()
        ended = subprocess.run(
            json.loads(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        output = ended.stdout.decode(errors="replace")
        found.append({"code": ended.returncode, "output": output, "attempts": _without_route() - before})
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
