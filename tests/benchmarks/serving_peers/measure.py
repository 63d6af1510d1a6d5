"""CPU of a request: in each round every server is asked in turn, so that other load affects all of them."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from serving_peers.servers import Kind, Server, running

FAMILIES = ("lr", "rf")
PEERS = ("ours", "mlflow", "plain", "echo")
TOLERANCE = 1e-5
WARM_UP = 32
KEPT_RECORDS = 64  # number of different records in requests of one record


@dataclass(frozen=True)
class Load:
    """A kind of load.

    Attributes:
        name: of the load.
        records: number of records in each request.
        connections: number of concurrent connections.
        requests: number of requests in each round, by server.
    """

    name: str
    records: int
    connections: int
    requests: Mapping[str, int]


LOADS = (
    Load("one", 1, 1, {"ours": 200, "mlflow": 12, "plain": 20, "echo": 200}),
    Load("sixteen", 1, 16, {"ours": 320, "mlflow": 16, "plain": 32, "echo": 320}),
    Load("thousand", 1000, 1, {"ours": 24, "mlflow": 4, "plain": 4, "echo": 24}),
)


class Records:
    """The records to ask about, and each family's answers.

    Args:
        folder: where ``models.store`` has put them.
    """

    def __init__(self, folder: Path) -> None:
        asked = json.loads((folder / "records.json").read_text())
        self._records: list[dict[str, Any]] = asked["records"]
        self._answers: dict[str, list[float]] = asked["answers"]

    def bodies(self, kind: Kind, size: int) -> list[bytes]:
        """Return requests of ``size`` records."""
        if size == 1:
            return [kind.body([record]) for record in self._records[:KEPT_RECORDS]]
        return [kind.body([self._records[row % len(self._records)] for row in range(size)])]

    def check(self, server: Server) -> float:
        """Return the largest difference between the server's probabilities and the pipeline's; 0 for the echo.

        Raises:
            RuntimeError: the difference is more than 1e-5.
        """
        kind = server.kind
        if kind.name == "echo":
            return 0.0
        expected = self._answers[kind.family]
        with server.client([kind.body(self._records)], 1) as client:
            found = kind.probabilities(client.answer(0))
        max_abs_diff = max(abs(one - other) for one, other in zip(found, expected, strict=True))
        with server.client(self.bodies(kind, 1), 1) as client:
            singles = [kind.probabilities(client.answer(row))[0] for row in range(8)]
        max_abs_diff = max(
            [max_abs_diff, *(abs(one - other) for one, other in zip(singles, expected[:8], strict=True))]
        )
        if not max_abs_diff <= TOLERANCE:
            raise RuntimeError(f"{kind.name} with {kind.family} differs from the pipeline by {max_abs_diff:.2g}")
        return max_abs_diff


def requests(kinds: Sequence[Kind], records: Records, rounds: int, share: float = 1.0) -> dict[str, Any]:
    """Ask all servers in ``rounds`` rounds; return by load and server the CPU seconds a request in each round, and the
    latency.

    Args:
        kinds: the servers, which all run during all rounds.
        records: what to ask.
        rounds: how many.
        share: of the usual number of requests.
    """
    spent: dict[tuple[str, str], list[float]] = {}
    taken: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        servers = []
        for kind in kinds:
            progress(f"start {kind.name} {kind.family}")
            servers.append(stack.enter_context(running(kind, records.bodies(kind, 1)[0]))[0])
        max_abs_diff = max(records.check(server) for server in servers)
        for number in range(-1, rounds):  # the first is not counted
            progress(f"round {number + 1} of {rounds}")
            for load in LOADS:
                start = number % len(servers)
                for server in (*servers[start:], *servers[:start]):
                    count = max(load.connections, int(share * load.requests[server.kind.name]))
                    cpu, seconds = ask(server, records.bodies(server.kind, load.records), load.connections, count)
                    if number >= 0:
                        key = (load.name, label(server.kind))
                        spent.setdefault(key, []).append(cpu)
                        taken.setdefault(key, []).extend(seconds)
    found: dict[str, Any] = {load.name: {} for load in LOADS}
    for (load_name, server_name), costs in spent.items():
        seconds = sorted(taken[load_name, server_name])
        found[load_name][server_name] = {
            "cpu": costs,
            "requests": len(seconds),
            "p50": median(seconds),
            "p99": seconds[int(0.99 * (len(seconds) - 1))],
        }
    return {"loads": found, "max_abs_diff": max_abs_diff}


def ask(server: Server, bodies: Sequence[bytes], connections: int, count: int) -> tuple[float, list[float]]:
    """Return the CPU seconds of the server for each of ``count`` requests, and how long each of them took.

    Raises:
        RuntimeError: a process of the server ended, or a new one began.
    """
    with server.client(bodies, connections) as client:
        client.ask(connections)  # connects
        server.settle()
        before = server.cpu()
        seconds = client.ask(count)
        server.settle()
        after = server.cpu()
    if before.keys() != after.keys():
        raise RuntimeError(f"{server.kind.name} did not keep its processes")
    return sum(after[pid] - before[pid] for pid in after) / len(seconds), seconds


def starts(kinds: Sequence[Kind], records: Records, times: int) -> dict[str, Any]:
    """Start each server with one worker and with three, one server at a time; return the CPU until the first answer,
    and the memory.

    The service is started ``times`` times, its peers once, and with one model: their figures are far from every aim.

    Returns:
        by server: ``start`` (CPU seconds, each time), ``memory`` (bytes with one worker) and ``added`` (bytes by which
        the memory of all processes grows with each further worker).
    """
    started = [kind for kind in kinds if kind.name == "ours" or kind.family == FAMILIES[0]] if times else []
    found: dict[str, Any] = {label(kind): {"start": [], "memory": [], "added": []} for kind in started}
    for number in range(times):
        for kind in started if number == 0 else [kind for kind in started if kind.name == "ours"]:
            progress(f"start {number + 1} of {times}: {kind.name} {kind.family}")
            memory: dict[int, int] = {}
            for workers in (1, 3):
                bodies = records.bodies(kind, 1)
                with running(kind, bodies[0], workers) as (server, cpu):
                    if workers == 1:
                        found[label(kind)]["start"].append(cpu)
                    for _ in range(3):  # anew each time, so that each worker gets some
                        ask(server, bodies, 16, WARM_UP * workers)
                    memory[workers] = server.memory()[0]
            found[label(kind)]["memory"].append(memory[1])
            found[label(kind)]["added"].append((memory[3] - memory[1]) / 2)
    return found


def label(kind: Kind) -> str:
    """Return how the figures name a server; the echo has no model."""
    return kind.name if kind.name == "echo" else f"{kind.name} {kind.family}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of the rounds' ratios, and their quartiles: both servers were asked in the same rounds."""
    return middle([one / other for one, other in zip(ours, theirs, strict=True)])


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and both quartiles."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return median(values), low, high


def progress(what: str) -> None:
    """Print progress to stderr."""
    print(what, file=sys.stderr, flush=True)
