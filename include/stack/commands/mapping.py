"""`heartline mapping`: writes the first draft of a mapping for a file."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from heartline.errors import DataError
from heartline.ingestion import source_catalog, sources, tables
from heartline.ingestion.formats import archives
from heartline.ingestion.formats.file_kinds import FORMATS
from heartline.ingestion.mapping import choice as mapping_choice
from heartline.ingestion.mapping import draft as mapping_draft
from stack import console, source_choice
from stack.errors import UsageError


def draft(file: Path, out: Path | None) -> None:
    """Print the draft of a mapping for a file, or write it to ``out``.

    Raises:
        UsageError: the file cannot be read, or ``out`` exists.
        DataError: the file is not a table.
    """
    if out is not None and out.exists():
        raise UsageError(
            "the file for the mapping exists",
            where=str(out),
            expected="a new file, so that no mapping that somebody has filled in is overwritten",
            hint="name another file",
        )
    spec = source_choice.check(str(file), "FILE")
    if not spec.startswith(("/", "file://")):
        raise UsageError("this is not a file", where=str(file), expected=f"a {FORMATS} file", hint="name a file")
    named, sheet = source_catalog.split_sheet(spec)
    path = unquote(urlsplit(named).path) if named.startswith("file://") else named
    size = sources.Settings.from_environment().limits.size
    content = archives.unpack(Path(path).read_bytes(), where=path, size=size)
    text = mapping_draft.draft(content, where=path, name=path, sheet=sheet)
    if note := _note(content, path, sheet):
        console.say(note)
    if out is None:
        print(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    opened = text.count(mapping_draft.OPEN) - 1  # one is in the comment at the top
    todo = f'fill in {opened} places marked "?", then' if opened else "nothing was left open; check it, then"
    console.say(f"{out}: {todo} ./heartline train --source {file} --mapping {out}")


def _note(content: bytes, path: str, sheet: str) -> str:
    """Return why a file needs no mapping, or "" if it needs one."""
    try:
        found = mapping_choice.read(
            lambda mapping: tables.parse(content, where=path, mapping=mapping, sheet=sheet), None, automatic=True
        )
    except DataError:
        return ""
    if found.mapping:
        return f"the shipped mapping {found.mapping.title} fits this file exactly: a run chooses it by itself"
    complete = not found.absent and found.unparseable.empty
    return "the file has the contract's columns and numbers: a run may need no mapping" if complete else ""
