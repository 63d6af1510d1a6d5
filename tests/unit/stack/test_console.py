"""What the launcher prints cannot change the terminal."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from heartline.errors import HeartlineError
from stack import console

EVIL = "a\x1b[2J\u202eb\x9bc"


@pytest.fixture
def printed(monkeypatch):
    stream = io.StringIO()
    for one in (console.out, console.err):
        monkeypatch.setattr(one, "file", stream)
    return stream


def _safe(text: str) -> bool:
    return not {"\x1b", "\u202e", "\x9b"} & set(text) and "a\\x1b[2J\\u202eb\\x9bc" in text


def test_lines_warnings_steps_and_errors_are_escaped(printed):
    for write in (console.say, console.warn, lambda text: console.done(text, 1.0)):
        write(EVIL)
        assert _safe(printed.getvalue())
        printed.seek(0)
        printed.truncate()
    console.fail(HeartlineError(EVIL, where="w", expected="e", hint="h"))
    assert _safe(printed.getvalue())
    assert "\n  where:    w\n" in printed.getvalue()


def test_cells_of_tables_are_escaped(printed):
    table = Table()
    table.add_column("reason")
    table.add_row(EVIL)
    console.out.print(table)
    assert _safe(printed.getvalue())


def test_both_consoles_are_the_same_kind():
    assert isinstance(console.out, Console)
    assert type(console.out) is type(console.err)
