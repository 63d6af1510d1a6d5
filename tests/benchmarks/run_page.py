"""The measured part of docs/run-speed.md."""

from collections.abc import Sequence
from statistics import median
from typing import Any

STACK = "stack"
PEERS = ("plain", "prefect")
TITLES = {STACK: "`heart_training` in the stack", "plain": "one plain process", "prefect": "Prefect flow"}
AIMS = {"plain": 0.8, "started": 0.16, "idle": 0.05}


def markdown(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rounds = found["rounds"]
    parts = [_about(found), _runs(rounds)]
    if rounds:
        parts += ["Seconds of each task in the stack, median and largest:", _tasks(rounds)]
    if found["idle"]:
        parts += ["CPU of the idle stack, as a share of one core:", _idle(found["idle"])]
    return "\n\n".join([*parts, *_verdicts(found)])


def _about(found: dict[str, Any]) -> str:
    about = found["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in about if name != "processor")
    return (
        f"{about['processor']}; {versions}. Source `{found['source']}`, profile `{found['profile']}`, "
        f"{len(found['rounds'])} rounds."
    )


def _runs(rounds: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| | wall | CPU of all processes | wall, the stack's to this | CPU, the stack's to this |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in TITLES:
        if rounds and name in rounds[0]:
            wall, cpu = ([one[name][key] for one in rounds] for key in ("wall", "cpu"))
            ratios = ["–", "–"] if name == STACK else [_spread(ratios_of(rounds, name, key)) for key in ("wall", "cpu")]
            lines.append(f"| {TITLES[name]} | {_seconds(wall)} | {_seconds(cpu)} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def ratios_of(rounds: Sequence[dict[str, Any]], name: str, key: str) -> list[float]:
    """Return the stack's figure as a multiple of another's, in each round."""
    return [one[STACK][key] / one[name][key] for one in rounds]


def _tasks(rounds: Sequence[dict[str, Any]]) -> str:
    by_task: dict[str, list[dict[str, Any]]] = {}
    for one in rounds:
        for task in one[STACK]["tasks"]:
            by_task.setdefault(task["task"], []).append(task)
    lines = [
        "| task | end of what it waits for → queued | queued → started | started → ended |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, tasks in by_task.items():
        cells = [[task[key] for task in tasks] for key in ("scheduler", "started", "ran")]
        lines.append(f"| {name} | " + " | ".join(f"{median(cell):.2f}, {max(cell):.2f}" for cell in cells) + " |")
    return "\n".join(lines)


def _idle(idle: dict[str, float]) -> str:
    lines = ["| process | CPU |", "| --- | ---: |"]
    lines += [f"| {name} | {share:.1%} |" for name, share in sorted(idle.items(), key=lambda one: -one[1])]
    return "\n".join([*lines, f"| **all** | **{sum(idle.values()):.1%}** |"])


def _verdicts(found: dict[str, Any]) -> list[str]:
    rounds, lines = found["rounds"], []
    if rounds and "plain" in rounds[0]:
        ratio = median(ratios_of(rounds, "plain", "wall"))
        lines.append(f"- wall beside the plain process: {ratio:.2f}; aim {AIMS['plain']}: {_met(ratio, AIMS['plain'])}")
    if rounds:
        waits = [task["started"] for one in rounds for task in one[STACK]["tasks"]]
        wait = median(waits)
        lines.append(
            f"- queued → started: median {wait:.2f} s, largest {max(waits):.2f} s; aim {AIMS['started']} s: "
            f"{_met(wait, AIMS['started'])}"
        )
    if found["idle"]:
        idle = sum(found["idle"].values())
        lines.append(f"- idle stack: {idle:.1%} of one core; aim {AIMS['idle']:.0%}: {_met(idle, AIMS['idle'])}")
    return ["\n".join(lines)] if lines else []


def _met(value: float, aim: float) -> str:
    return "met" if value <= aim else "missed"


def _seconds(values: Sequence[float]) -> str:
    return f"{median(values):.1f} s ({min(values):.1f} to {max(values):.1f})"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
