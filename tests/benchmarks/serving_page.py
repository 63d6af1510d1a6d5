"""The measured part of docs/serving-speed.md: tables of the figures of ``serving.py``, and a verdict on each target."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from serving_peers.measure import FAMILIES, middle, ratio
from serving_peers.servers import TITLES

Figures = dict[str, Any]
MODELS = {"lr": "logistic regression", "rf": "random forest"}
LOADS = {
    "one": "One record, one connection.",
    "sixteen": "One record, 16 connections at a time.",
    "thousand": "1,000 records in one request, one connection.",
}
SWITCHES = {"HEARTLINE_API_KEYS": "keys", "HEARTLINE_PREDICTION_LOG_URL": "prediction log"}

# The targets: shares of a peer's CPU in the same run, bytes, seconds of CPU.
AIM_ONE, AIM_ECHO, AIM_THOUSAND = 1 / 25, 1.2, 0.8
AIM_MEMORY, AIM_START = 40e6, 2.0


def markdown(found: Figures) -> str:
    """Return the tables, and the verdict on each target."""
    versions = [f"{name} {number}" for name, number in found["machine"].items() if name != "processor"]
    switches = ", ".join(f"{name} {'on' if key in found['on'] else 'off'}" for key, name in SWITCHES.items())
    parts = [
        f"{found['machine']['processor']}; {', '.join(versions)}. Forest of {found['trees']} trees; {switches}. "
        f"{found['rounds']} rounds.",
    ]
    for load, title in LOADS.items():
        parts += [title, _table(_loads_header(), _load_rows(found["loads"][load]))]
    if found["starts"]:
        parts += [
            "CPU from the start to the first answer; memory (PSS) with one worker, and what each further worker adds.",
            _table(("", "start", "one worker", "each further"), _start_rows(found["starts"])),
        ]
    parts += [f"Probabilities are at most {found['max_abs_diff']:.0e} from scikit-learn's.", *aims(found)]
    return "\n\n".join(
        part if part.startswith("|") else textwrap.fill(part, 120, break_on_hyphens=False) for part in parts
    )


def aims(found: Figures) -> list[str]:
    """Return a sentence for each target for which there are figures."""
    loads, starts = found["loads"], found["starts"]
    said = [
        _aim("one record", loads["one"], "ours lr", "mlflow lr", AIM_ONE),
        _aim("one record", loads["one"], "ours lr", "echo", AIM_ECHO),
        _aim("1,000 records", loads["thousand"], "ours lr", "echo", AIM_THOUSAND),
    ]
    for server, one in starts.items():
        if server.startswith("ours"):
            added, start = middle(one["added"])[0], middle(one["start"])[0]
            said.append(
                f"Memory of a further worker ({_model(server)}). Target: at most {AIM_MEMORY / 1e6:.0f} MB; measured: "
                f"{added / 1e6:.0f} MB, {_met(added <= AIM_MEMORY)}. CPU until the first answer. Target: at most "
                f"{AIM_START:.0f} s; measured: {start:.2f} s, {_met(start <= AIM_START)}."
            )
    return [one for one in said if one]


def _aim(what: str, load: Figures, ours: str, theirs: str, aim: float) -> str:
    if theirs not in load:
        return ""
    share, low, high = ratio(load[ours]["cpu"], load[theirs]["cpu"])
    return (
        f"CPU for {what} compared with {_title(theirs)}. Target: at most {_share(aim)}; measured: {_share(share)} "
        f"({_share(low)} to {_share(high)}), {_met(share <= aim)}."
    )


def _share(share: float) -> str:
    """Return a share as text: 1/12.5, or 1.18 times."""
    return f"1/{1 / share:.3g}" if share < 0.8 else f"{share:.3g} times"


def _loads_header() -> tuple[str, ...]:
    return ("", "CPU a request", "quartiles", "of `mlflow`'s", "of the echo's", "p50", "p99", "requests")


def _load_rows(load: Figures) -> Iterable[list[str]]:
    for server, one in load.items():
        cost, low, high = middle(one["cpu"])
        peer = f"mlflow {server.partition(' ')[2] or FAMILIES[0]}"
        shares = [
            _share(ratio(one["cpu"], load[other]["cpu"])[0]) if other in load and other != server else "–"
            for other in (peer, "echo")
        ]
        latency = [_milliseconds(one["p50"]), _milliseconds(one["p99"])]
        quartiles = f"{_plain(low)}–{_plain(high)}"
        yield [_title(server), _milliseconds(cost), quartiles, *shares, *latency, f"{one['requests']:,}"]


def _start_rows(starts: Figures) -> Iterable[list[str]]:
    for server, one in starts.items():
        memory, added = (middle(one[name])[0] / 1e6 for name in ("memory", "added"))
        yield [_title(server), f"{middle(one['start'])[0]:.2f} s", f"{memory:.0f} MB", f"{added:.0f} MB"]


def _title(server: str) -> str:
    name, _, family = server.partition(" ")
    return f"{TITLES[name]}, {MODELS[family]}" if family else TITLES[name]


def _model(server: str) -> str:
    return MODELS[server.partition(" ")[2]]


def _milliseconds(seconds: float) -> str:
    return f"{_plain(seconds)} ms"


def _plain(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.01 else f"{1e3 * seconds:.1f}"


def _met(yes: bool) -> str:
    return "met" if yes else "**NOT met**"


def _table(header: Sequence[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
