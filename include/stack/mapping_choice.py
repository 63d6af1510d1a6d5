"""Checks the mapping that a user names on the command line, and hands its text over: no task reads the user's file."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from heartline.errors import DataError, ParameterError
from heartline.ingestion.mapping import catalog as mapping_catalog
from stack.errors import UsageError

RECORD = "mapping.yaml"  # in the state folder


def remember(home: Path, mapping: str | None) -> None:
    """Store the mapping of the source that the nightly runs read, or remove it with None or an empty one."""
    if mapping:
        text = mapping_catalog.text_of(mapping) if mapping in mapping_catalog.NAMES else mapping
        (home / RECORD).write_text(text, encoding="utf-8")
    else:
        (home / RECORD).unlink(missing_ok=True)


def nightly(home: Path) -> str | None:
    """Return the mapping of the nightly runs: ``HEARTLINE_MAPPING``, else that of the source of the first `up`.

    A relative path is made absolute, because the task that reads it has another working directory. The recorded
    mapping is a text: tasks do not read the state folder.
    """
    setting = os.environ.get("HEARTLINE_MAPPING")
    if setting:
        is_name = setting in mapping_catalog.NAMES or mapping_catalog.is_inline(setting)
        is_url = setting.startswith("file://")
        return setting if is_name or is_url else str(path_of(setting).resolve())
    if os.environ.get("HEARTLINE_SOURCE") or not (home / RECORD).exists():
        return None
    return (home / RECORD).read_text(encoding="utf-8")


def path_of(given: str) -> Path:
    """Return the path in a user's value: a path, or a ``file://`` URL."""
    if given.startswith("file://"):
        return Path(unquote(urlsplit(given).path))
    return Path(given).expanduser()


def check(given: str, setting: str) -> str:
    """Return the value of the DAG's parameter ``mapping``: the name of a shipped mapping, or a mapping's text.

    Args:
        given: the user's value: such a name, a file, or YAML or JSON.
        setting: the option that it comes from, for the message.

    Raises:
        UsageError: there is no such file or mapping, it leaves something open, or it does not fit the contract.
    """
    from heartline.ingestion.mapping import (
        parser as mapping_parser,  # imports pandas, which takes a second and no other command needs
    )

    name = given.strip()
    if name in mapping_catalog.NAMES or not name:
        return name
    try:
        if mapping_catalog.is_inline(given):
            mapping_parser.parse(given, title="of the run")
            return given
        path = path_of(name)
        if not path.exists() and "/" not in name and not path.suffix:
            raise mapping_catalog.unknown(name)
        text = mapping_catalog.read(path)
        mapping_parser.parse(text, title=str(path))
    except (DataError, ParameterError) as error:
        raise UsageError(
            error.what,
            where=f"{error.where} ({setting})",
            expected=error.expected,
            hint=f"{error.hint}; nothing was started or trained",
        ) from None
    # a text of one line could be taken for a name
    return text if mapping_catalog.is_inline(text) else f"{text}\n#\n"
