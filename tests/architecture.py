"""The packages of the project and who may import whom; as a program it draws docs/images/architecture.svg.

`ALLOWED` is the one table of the arrows. `tests/unit/project/test_architecture.py` compares the code with it.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tests.running import ROOT

PICTURE = ROOT / "docs" / "images" / "architecture.svg"
REFRESH = "PYTHONPATH=include .venv/bin/python -m tests.architecture"
FOLDERS = {"heartline": "include/heartline", "serving": "serving", "stack": "include/stack"}
TITLES = {
    "heartline": "include/heartline: the domain (no Airflow)",
    "serving": "serving: the REST service (imports nothing of the others)",
    "stack": "include/stack: the local stack (imports heartline)",
}

# Which other packages a package may import.
ALLOWED: Mapping[str, Mapping[str, set[str]]] = {
    "heartline": {
        "ledger": set(),
        "ingestion": {"storage"},
        "storage": set(),
        "validation": {"ingestion", "storage"},
        "training": {"storage"},
        "evaluation": {"storage", "training"},
        "packaging": {"training"},
        "comparison": {"evaluation"},
        "registry": {"ledger", "packaging"},
        "reports": {
            "ingestion",
            "storage",
            "validation",
            "evaluation",
            "comparison",
            "registry",
            "ledger",
            "monitoring",
        },
        "scoring": {"ingestion", "storage", "packaging", "parameters", "registry", "ledger"},
        "parameters": {"ingestion", "training"},
        "pipeline": {
            "parameters",
            "ledger",
            "ingestion",
            "storage",
            "validation",
            "training",
            "evaluation",
            "packaging",
            "comparison",
            "registry",
            "reports",
            "approval",
            "monitoring",
        },
        "approval": {"ledger", "registry"},
        "monitoring": {"evaluation", "ingestion", "ledger", "registry", "scoring", "storage"},
    },
    "serving": {
        "model": set(),
        "metrics": {"model"},
        "prediction_log": {"metrics", "model"},
        "ledger": {"prediction_log", "model"},
        "api": {"ledger", "prediction_log", "metrics", "model"},
        "pages": {"api", "model"},
        "worker": {"api", "prediction_log", "metrics", "model"},
    },
    "stack": {
        "secrets": set(),
        "bootstrap": {"secrets"},
        "clients": {"secrets"},
        "processes": {"clients", "secrets"},
        "commands": {"bootstrap", "clients", "offline", "processes", "secrets"},
        "offline": {"bootstrap"},
        "compose": {"clients", "commands", "processes", "secrets"},
    },
}

# What the modules beside the packages may import of them. A package may import such a module if it may import these.
BESIDE: Mapping[str, Mapping[str, set[str]]] = {
    "heartline": {},
    "serving": {
        "problems": {"model"},
        "personal_data": {"ledger", "model", "prediction_log"},
        "app": {"api", "ledger", "metrics", "model", "pages", "prediction_log"},
        "gunicorn.conf": {"api", "metrics", "model", "prediction_log", "worker"},
    },
    "stack": {"__main__": {"commands"}, "source_choice": {"secrets"}},
}

# Files that import modules by a computed name, with the reason.
DYNAMIC_IMPORTS = {"include/stack/airflow_config/heartline_executor.py": "preloads libraries in the scheduler"}

# Which of the top-level folders' packages may appear in an import, beside libraries.
OUTSIDE = {
    "dags": {"heartline", "orchestration"},
    "plugins": {"heartline", "orchestration"},
    "include/heartline": {"heartline"},
    "include/stack": {"stack", "heartline"},
    "include/orchestration": {"orchestration", "heartline"},
    "serving": {"serving"},
}
OURS = {"dags", "heartline", "orchestration", "plugins", "serving", "stack", "tests"}


@dataclass(frozen=True)
class Import:
    """One import, wherever in a file it stands.

    Attributes:
        path: the file.
        module: what is imported, absolute, as ``package.module`` or ``package.module.name``.
    """

    path: Path
    module: str


def files(place: str) -> list[Path]:
    """Return every Python file below a folder of the project, or the file of that name."""
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imports(path: Path, top: Path) -> Iterator[Import]:
    """Yield each module that a file imports and each name that it takes from one; relative ones made absolute.

    Args:
        path: the file.
        top: the folder from which its package name counts.
    """
    package = path.relative_to(top).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (Import(path, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            module = base if node.level else str(node.module)
            yield Import(path, module)
            yield from (Import(path, f"{module}.{one.name}") for one in node.names)


def dynamic_imports(path: Path) -> list[str]:
    """Return the calls in a file that import a module by a name that is computed: the table does not see these."""
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call for call in calls if call in {"__import__", "importlib.import_module", "import_module"}]


def beside(name: str) -> dict[str, set[str]]:
    """Return which packages each module beside the packages of ``heartline``, ``serving`` or ``stack`` imports."""
    folder = ROOT / FOLDERS[name]
    return {
        path.stem: {
            parts[1]
            for one in imports(path, folder.parent)
            if (parts := one.module.split("."))[0] == name and parts[1:2] and parts[1] in packages(name)
        }
        for path in sorted(folder.glob("*.py"))
    }


def imported_beside(name: str, package: str) -> set[str]:
    """Return which of the modules beside the packages a package imports."""
    folder = ROOT / FOLDERS[name]
    names = {path.stem for path in folder.glob("*.py")}
    found = (
        one.module.split(".") for path in files(f"{FOLDERS[name]}/{package}") for one in imports(path, folder.parent)
    )
    return {parts[1] for parts in found if parts[0] == name and parts[1:2] and parts[1] in names}


def packages(name: str) -> list[str]:
    """Return the packages below ``heartline``, ``serving`` or ``stack``: folders with modules."""
    folder = ROOT / FOLDERS[name]
    return sorted(one.name for one in folder.iterdir() if (one / "__init__.py").exists())


def stems(folder: str) -> list[str]:
    """Return the names of the modules that are in a folder of the project itself, not in folders below it."""
    return sorted(path.stem for path in (ROOT / folder).glob("*.py") if path.stem != "__init__")


def modules(name: str, package: str) -> list[str]:
    """Return the names of a package's modules."""
    return stems(f"{FOLDERS[name]}/{package}")


def arrows(name: str) -> dict[str, set[str]]:
    """Return which other packages each package of ``heartline``, ``serving`` or ``stack`` imports."""
    folder = ROOT / FOLDERS[name]
    known = packages(name)
    found: dict[str, set[str]] = {one: set() for one in known}
    for package in known:
        for path in files(f"{FOLDERS[name]}/{package}"):
            for one in imports(path, folder.parent):
                parts = one.module.split(".")
                if parts[0] == name and len(parts) > 1 and parts[1] in known and parts[1] != package:
                    found[package].add(parts[1])
    return found


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows of an acyclic graph that no path of others implies."""

    def reachable(start: str) -> set[str]:
        return graph[start] | {two for one in graph[start] for two in reachable(one)}

    return {
        one: {two for two in graph[one] if not any(two in reachable(other) for other in graph[one] - {two})}
        for one in graph
    }


def layers(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the layer of each package: 0 where it imports no other, else one above the highest that it imports."""

    def layer(one: str) -> int:
        return 1 + max((layer(two) for two in graph[one]), default=-1)

    return {one: layer(one) for one in graph}


# The picture ---------------------------------------------------------------------------------------------------------

WIDTH, MARGIN, GAP = 1180, 20, 20
BOX, LINE, RISE = 262, 15, 38
COLOURS = {"heartline": ("#eff6ff", "#2563eb"), "serving": ("#f0fdf4", "#16a34a"), "stack": ("#fefce8", "#a16207")}
CALLERS = ("dags", "plugins")  # drawn above what they import
# The column of each package of heartline, from 0; those of the others are centred in their row.
COLUMNS = {
    "reports": 0,
    "validation": 0,
    "parameters": 0,
    "ingestion": 0,
    "plugins": 0,
    "dags": 1,
    "pipeline": 1,
    "comparison": 1,
    "evaluation": 1,
    "training": 1,
    "storage": 1,
    "registry": 2,
    "approval": 2,
    "ledger": 2,
    "scoring": 2,
    "packaging": 2,
    "monitoring": 0,
}


@dataclass(frozen=True)
class Box:
    """A package in the picture: its name, its lines of text, and where it is in pixels."""

    name: str
    lines: list[str]
    x: float
    y: float
    height: float


def graph_of(name: str) -> dict[str, set[str]]:
    """Return what the picture shows of ``heartline``, ``serving`` or ``stack``: the table, and who calls heartline."""
    graph = {one: set(targets) for one, targets in ALLOWED[name].items()}
    if name == "heartline":
        for caller in CALLERS:
            modules_used = [one.module.split(".") for path in files(caller) for one in imports(path, ROOT)]
            graph[caller] = {
                parts[1] for parts in modules_used if parts[0] == name and parts[1:2] and parts[1] in graph
            }
    return graph


def _wrapped(names: list[str], characters: int) -> list[str]:
    lines = [""]
    for name in names:
        longer = f"{lines[-1]}  {name}" if lines[-1] else name
        if len(longer) <= characters:
            lines[-1] = longer
        else:
            lines.append(name)
    return lines


def _boxes(name: str, left: float, top: float, width: float) -> tuple[dict[str, Box], float]:
    """Return the boxes of a panel, row by row from the callers down, and where the last row ends."""
    graph = graph_of(name)
    levels = layers(graph)
    levels |= {one: max(levels.values()) for one in CALLERS if one in levels}
    boxes: dict[str, Box] = {}
    y = top
    for level in sorted(set(levels.values()), reverse=True):
        row = [one for one in graph if levels[one] == level]
        texts = {one: _wrapped(modules(name, one) if one in ALLOWED[name] else stems(one), 38) for one in row}
        height = max(30 + LINE * len(text) for text in texts.values())
        for position, one in enumerate(row):
            columns, column = (3, COLUMNS[one]) if name == "heartline" else (len(row), position)
            x = left + (width - columns * BOX) * (column + 1) / (columns + 1) + BOX * column
            boxes[one] = Box(one, texts[one], x, y, height)
        y += height + RISE
    return boxes, y - RISE


def _arrow(start: Box, stop: Box) -> str:
    lean = 0.1 * (stop.x - start.x)
    x1, y1 = start.x + BOX / 2 + lean, start.y + start.height
    x2, y2 = stop.x + BOX / 2 - lean, stop.y - 3
    bend = (y2 - y1) * (0.5 if abs(lean) < 1 or y2 - y1 < 2 * RISE else 0.85)
    return (
        f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + (y2 - y1) * 0.15 + 10:.0f} {x2:.0f} {y2 - bend:.0f} '
        f'{x2:.0f} {y2:.0f}" fill="none" stroke="#64748b" stroke-width="1.6" marker-end="url(#tip)"/>'
    )


def _drawn(box: Box, fill: str, stroke: str) -> Iterator[str]:
    yield (
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX}" height="{box.height}" rx="8" fill="{fill}" '
        f'stroke="{stroke}"/>'
    )
    yield (
        f'<text x="{box.x + 10:.0f}" y="{box.y + 19:.0f}" font-size="14" font-weight="bold" fill="{stroke}">'
        f"{box.name}/</text>"
    )
    for number, line in enumerate(box.lines):
        y = box.y + 36 + LINE * number
        yield f'<text x="{box.x + 10:.0f}" y="{y:.0f}" font-size="11" xml:space="preserve">{escape(line)}</text>'


def _panel(name: str, left: float, top: float, width: float) -> tuple[list[str], float]:
    """Return the drawing of one of the three, and where it ends."""
    fill, stroke = COLOURS[name]
    boxes, end = _boxes(name, left, top + 42, width)
    end += GAP
    drawn = [
        f'<rect x="{left}" y="{top:.0f}" width="{width}" height="{end - top:.0f}" rx="12" fill="none" '
        'stroke="#cbd5e1"/>',
        f'<text x="{left + 14}" y="{top + 25:.0f}" font-size="15" font-weight="bold">{escape(TITLES[name])}</text>',
    ]
    for one, targets in reduced(graph_of(name)).items():
        drawn += [_arrow(boxes[one], boxes[two]) for two in sorted(targets)]
    for box in boxes.values():
        drawn += _drawn(box, *(("#ffffff", "#475569") if box.name in CALLERS else (fill, stroke)))
    return drawn, end


def svg() -> str:
    """Return the picture: each package with its modules, and the imports between packages."""
    half = (WIDTH - 2 * MARGIN - GAP) / 2
    first, top = _panel("heartline", MARGIN, 40, WIDTH - 2 * MARGIN)
    second, end = _panel("serving", MARGIN, top + GAP, half)
    third, other = _panel("stack", MARGIN + half + GAP, top + GAP, half)
    height = max(end, other) + GAP
    note = "An arrow is an import. An arrow that follows from others (A imports B, B imports C) is not drawn."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            'font-family="ui-sans-serif, Helvetica, Arial, sans-serif" fill="#0f172a">',
            "<title>The packages of Heartline, their modules, and the imports between them</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="#64748b"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            f'<text x="{MARGIN + 14}" y="26" font-size="12" fill="#475569">{escape(note)}</text>',
            *first,
            *second,
            *third,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(svg())
