"""How the launcher speaks: steps and errors on standard error, answers on standard output."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from heartline.errors import HeartlineError

WIDE = 160  # columns where there is no terminal: a file or a pipe has no edge

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
for _console in (out, err):
    if not _console.is_terminal:
        _console.width = WIDE


def say(line: str) -> None:
    """Tell the user something on the way to the answer."""
    err.print(line, markup=False)


def done(what: str, seconds: float) -> None:
    """Tell that a step is complete, and how long it took."""
    err.print(f"  [green]✓[/green] {escape(what):<34}[dim]{seconds:6.1f} s[/dim]")


def loud(line: str) -> None:
    """Tell what nobody may overlook."""
    err.rule(style="bold yellow")
    err.print(line, style="bold yellow", markup=False)
    err.rule(style="bold yellow")


def fail(error: HeartlineError) -> None:
    """Show an error in the one error shape."""
    first, _, rest = str(error).partition("\n")
    err.print("heartline: ", style="bold red", end="")
    err.print(first, markup=False)
    err.print(rest, markup=False)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show that a step is under way, then how long it took."""
    begun = time.monotonic()
    with err.status(what):
        yield
    done(what, time.monotonic() - begun)
