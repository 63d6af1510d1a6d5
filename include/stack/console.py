"""The launcher's output: steps and errors on standard error, results on standard output."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from heartline import visible
from heartline.errors import HeartlineError

NO_TERMINAL_WIDTH = 160  # columns, if the output is a file or a pipe


class _VisibleConsole(Console):
    """A console on which texts of servers and files cannot move the cursor or hide what is written."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text to be printed, with its invisible characters escaped."""
        return super().render_str(visible.escaped(text, keep="\n\t"), **options)


out = _VisibleConsole(highlight=False, soft_wrap=True)
err = _VisibleConsole(stderr=True, highlight=False, soft_wrap=True)
for _console in (out, err):
    if not _console.is_terminal:
        _console.width = NO_TERMINAL_WIDTH


def say(line: str) -> None:
    """Print a line about the progress of a command."""
    err.print(line, markup=False)


def done(what: str, seconds: float) -> None:
    """Print that a step is complete, and the seconds that it took."""
    err.print(f"  [green]✓[/green] {escape(what):<34}[dim]{seconds:6.1f} s[/dim]")


def warn(line: str) -> None:
    """Print a warning between two rules."""
    err.rule(style="bold yellow")
    err.print(line, style="bold yellow", markup=False)
    err.rule(style="bold yellow")


def fail(error: HeartlineError) -> None:
    """Print an error in the project's error shape."""
    first, _, rest = str(error).partition("\n")
    err.print("heartline: ", style="bold red", end="")
    err.print(first, markup=False)
    err.print(rest, markup=False)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show a step while it runs, then the seconds that it took."""
    started = time.monotonic()
    with err.status(what):
        yield
    done(what, time.monotonic() - started)
