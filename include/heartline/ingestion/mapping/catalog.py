"""The mappings that Heartline ships, and the forms in which a user names a mapping.

It imports the standard library and the error type only at first, so that DAG files and the launcher can import it.
"""

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from heartline import origins, visible
from heartline.errors import DataError, ParameterError
from heartline.ingestion import source_catalog
from heartline.ingestion.access import files

if TYPE_CHECKING:
    from heartline.ingestion.mapping.file_mapping import FileMapping

SETTING = "HEARTLINE_MAPPING"

_FOLDER = Path(__file__).with_name("shipped")
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 80_000

NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def form_description() -> str:
    """Return what the parameter ``mapping`` accepts, in Markdown: for the DAG's form."""
    return (
        "How the file's columns, words and units become those of the contract: YAML or JSON, the path of such a file, "
        f"or one of {', '.join(f'`{name}`' for name in NAMES)}. Empty: the file has the contract's columns, or one of "
        "these fits it exactly. `./heartline mapping FILE` writes a first draft."
    )


def shipped() -> "list[FileMapping]":
    """Return the mappings that Heartline ships."""
    return [named(name) for name in NAMES]


def text_of(name: str) -> str:
    """Return the text of a shipped mapping."""
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def named(name: str) -> "FileMapping":
    """Return a shipped mapping."""
    from heartline.ingestion.mapping import parser as mapping_parser

    return mapping_parser.parse(text_of(name), title=name)


def pattern() -> str:
    """Return a regular expression for the values of the parameter ``mapping``: a name, a path or a text."""
    return rf"\s*(?:{'|'.join(map(re.escape, NAMES))}|(?:/|file://)[^\n]*|.*\{{.*|.*:[ ].*\S.*|.*\S.*\n.*\S.*)\s*"


def of_nightly(source: str) -> str:
    """Return the mapping of the nightly runs, ``HEARTLINE_MAPPING``, if ``source`` is their source; else ""."""
    return os.environ.get(SETTING, "") if source == (os.environ.get("HEARTLINE_SOURCE") or origins.SAMPLE) else ""


def expect_usable(given: str, source: str, encoding: str) -> None:
    """Check that a run can use a mapping; its text is not parsed.

    Args:
        given: the parameter ``mapping``.
        source: the parameter ``source``.
        encoding: the parameter ``encoding``.

    Raises:
        ParameterError: there is no such mapping, or it cannot go with the source or the encoding.
    """
    found = source_catalog.choose(source)
    if not found.takes_mapping:
        raise ParameterError(
            "this source takes no mapping",
            where=f"parameter mapping, with source {source_catalog.public(source)}",
            expected="no mapping: its columns and codes are known",
            hint="leave the mapping out, or choose another source",
        )
    if encoding != "auto":
        raise ParameterError(
            f"encoding={visible.visible(encoding)} and a mapping are both set",
            where="parameters encoding and mapping",
            expected="one of them: a mapping states the codes itself",
            hint="leave the mapping out, or set encoding=auto",
        )
    text = given.strip()
    if not (text in NAMES or is_inline(text) or is_path(text)):
        raise unknown(text)


def resolve(given: str, folders: files.Folders) -> "FileMapping":
    """Return the mapping that the parameter ``mapping`` names or contains.

    Args:
        given: the name of a shipped mapping, the absolute path of a file, or YAML or JSON.
        folders: the folders whose files may be read.

    Raises:
        ParameterError: there is no such mapping.
        SourceRefusedError: the file may not be read.
        DataError: the file cannot be read, or the mapping is not valid.
    """
    from heartline.ingestion.mapping import parser as mapping_parser

    text = given.strip()
    if text in NAMES:
        return named(text)
    if is_inline(text):
        return mapping_parser.parse(given, title="of the run")
    if is_path(text):
        path = Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)
        return mapping_parser.parse(read(folders.find(path, "mapping")), title=visible.path(path))
    raise unknown(text)


def is_inline(given: str) -> bool:
    """Return whether a value is the text of a mapping rather than a name or path."""
    return not is_path(given) and any(sign in given.strip() for sign in ("\n", "{", ": "))


def is_path(given: str) -> bool:
    """Return whether a value is an absolute path."""
    return given.startswith(("/", "file://")) and "\n" not in given.strip()


def has_suffix(path: Path) -> bool:
    """Return whether a path has the ending of a mapping's file."""
    return path.suffix.lower() in _SUFFIXES


def unknown(given: str) -> ParameterError:
    """Return the error for a value that is neither a name, a path nor a text."""
    near = difflib.get_close_matches(given.lower(), NAMES, n=1)
    return ParameterError(
        f"unknown mapping {visible.visible(given)}",
        where="parameter mapping",
        expected=f"{', '.join(NAMES)}, an absolute path, or the mapping as YAML or JSON",
        hint=f"did you mean {near[0]}?" if near else "./heartline mapping FILE writes a mapping for a file",
    )


def read(path: Path) -> str:
    """Return the text of a mapping's file.

    Raises:
        DataError: it is not a YAML or JSON file of an ordinary size, or cannot be read.
    """
    problem = ""
    try:
        if not has_suffix(path):
            problem = f"its name does not end in {', '.join(_SUFFIXES)}"
        elif not path.is_file():
            problem = "it is no file" if path.exists() else "there is no such file"
        elif path.stat().st_size > _MAX_BYTES:
            problem = "it is too large for a mapping"
        else:
            return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except OSError as error:
        problem = visible.path(error.strerror or error)
    raise DataError(
        f"the mapping cannot be read: {problem}",
        where=f"parameter mapping: {visible.path(path)}",
        expected=f"a readable file, {', '.join(_SUFFIXES)}",
        hint="check the path on the machine that reads it",
    )
