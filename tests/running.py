"""A stack of this checkout for tests, with its own state folder and ports, separate from all other stacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PORT_NAMES = ("AIRFLOW", "MLFLOW", "SERVICE", "POSTGRES")


def free_ports(count: int) -> list[int]:
    """Return different ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass
class Running:
    """A running stack, as after `./heartline up`, and how to use it.

    Attributes:
        home: the state folder.
        ports: by the name in ``HEARTLINE_…_PORT``.
        root: the checkout whose launcher is called.
        first_up: what the first ``up`` printed.
        settings: further settings of the shell; ``up`` applies a change.
    """

    home: Path
    ports: dict[str, int] = field(
        default_factory=lambda: dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True))
    )
    root: Path = ROOT
    first_up: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a shell with this state folder and these ports."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEARTLINE_", "PYTEST_"))}
        ports = {f"HEARTLINE_{name}_PORT": str(port) for name, port in self.ports.items()}
        return {**kept, **ports, "HEARTLINE_HOME": str(self.home), **self.settings}

    def url(self, name: str, path: str = "") -> str:
        """Return the address of a server."""
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def call(self, *arguments: str, check: bool = True, seconds: float = 1500) -> subprocess.CompletedProcess[str]:
        """Call ``./heartline`` and return what it printed."""
        done = subprocess.run(
            [str(self.root / "heartline"), *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check:
            assert done.returncode == 0, (
                f"./heartline {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def status(self) -> dict[str, Any]:
        """Return the output of ``./heartline status --json``."""
        found: dict[str, Any] = json.loads(self.call("status", "--json", check=False).stdout)
        return found

    def assert_healthy(self) -> None:
        """Fail with the processes that are not healthy."""
        assert [one for one in self.status()["processes"] if not one["healthy"]] == []

    def password(self, user: str = "admin") -> str:
        """Return the password of one of Airflow's users, ``admin`` or ``approver``."""
        return next(self.home.rglob(f"airflow_{user}_password")).read_text().strip()
