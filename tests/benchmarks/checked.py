"""What the tests of the benchmarks share: how one is run, and how the page that it writes is read."""

import subprocess
import sys
from pathlib import Path


def call(script: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Return what a benchmark printed, and its exit code."""
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)


def parts(page: str, begin: str, end: str) -> tuple[str, str, str]:
    """Return what stands before what was measured, that itself, and what stands behind it."""
    before, _, rest = page.partition(begin)
    measured, _, after = rest.partition(end)
    return before, measured, after


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a page, as lists of rows of cells."""
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
