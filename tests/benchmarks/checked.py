"""Shared by the tests of the benchmarks: runs a benchmark and reads the page that it writes."""

import subprocess
import sys
from pathlib import Path


def call(script: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a benchmark and return its exit code and output."""
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)


def split_page(page: str, begin: str, end: str) -> tuple[str, str, str]:
    """Return the text before the measured part, the measured part, and the text after it."""
    before, _, rest = page.partition(begin)
    measured, _, after = rest.partition(end)
    return before, measured, after


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a page as lists of rows of cells."""
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
