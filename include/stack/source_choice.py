"""Which records a training run is to read: what the user named, or what can be reached."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from heartline.ingestion import source_catalog
from stack.errors import UsageError

RECORD = "source"  # in the state folder
PATIENCE = 4.0  # seconds in which the archive must begin to answer

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """A source, and why it was taken.

    Attributes:
        source: what the DAG's parameter ``source`` gets.
        reason: one sentence for the user.
        fallback: whether nobody asked for this source, so that it must be said loudly.
    """

    source: str
    reason: str
    fallback: bool = False


def absolute(source: str) -> str:
    """Return ``source`` with a path made absolute: the task that reads it runs in another folder."""
    if _is_name(source) or _SCHEME.match(source):
        return source
    return str(Path(source).expanduser().resolve())


def check(source: str, setting: str) -> str:
    """Return ``source`` as a task can use it, after a look at the file that it names, if it names one.

    Args:
        source: what the user gave.
        setting: where it was given, for the message.

    Raises:
        UsageError: the file is missing, empty, or no file.
    """
    source = absolute(source)
    if _is_name(source) or (_SCHEME.match(source) and not source.startswith("file://")):
        return source
    path = Path(unquote(urlsplit(source).path)) if source.startswith("file://") else Path(source)
    problem = _problem(path)
    if problem:
        raise UsageError(
            f"the source {problem}",
            where=f"{path} ({setting})",
            expected=source_catalog.choices(),
            hint="correct the path; nothing was started or trained",
        )
    return source


def _is_name(source: str) -> bool:
    found = source_catalog.find(source)
    return found is not None and not found.is_address


def _problem(path: Path) -> str | None:
    if not path.exists():
        return "does not exist"
    if not path.is_file():
        return "is not a file"
    if not os.access(path, os.R_OK):
        return "cannot be read by this user"
    return None if path.stat().st_size else "is empty: 0 bytes"


def remembered(home: Path) -> str | None:
    """Return the source that the first `up` took, which the nightly runs read too; None before that."""
    path = home / RECORD
    return path.read_text().strip() if path.exists() else None


def remember(home: Path, source: str | None) -> None:
    """Write down the source of the nightly runs, or with None forget it."""
    if source is None:
        (home / RECORD).unlink(missing_ok=True)
    else:
        (home / RECORD).write_text(source + "\n")


def choose(given: str | None, home: Path) -> Choice:
    """Return the source for a training.

    That is what was asked for, else ``HEARTLINE_SOURCE``, else what an earlier `up` took, else ``uci`` where the
    archive answers, else ``sample``.

    A file of the setting is looked at when nothing was taken before. Later on the stack must start without it, too.

    Raises:
        UsageError: a file was named that cannot be used.
    """
    if given:
        return Choice(check(given, "--source"), "as asked for")
    before, setting = remembered(home), os.environ.get("HEARTLINE_SOURCE")
    if setting:
        source = absolute(setting) if before else check(setting, "setting HEARTLINE_SOURCE")
        return Choice(source, "as HEARTLINE_SOURCE says")
    if before:
        return Choice(before, "the first `up` of this stack took this source", before == "sample")
    return _probe(os.environ.get("HEARTLINE_UCI_URL") or source_catalog.UCI_URL)


def _probe(url: str) -> Choice:
    try:
        # A read of the first bytes, because an archive may refuse HEAD; the task itself downloads and checks it.
        with requests.get(url, stream=True, timeout=PATIENCE) as answer:
            answer.raise_for_status()
    except requests.RequestException as error:
        return Choice("sample", f"{url} does not answer ({type(error).__name__})", fallback=True)
    return Choice("uci", f"{url} answers")
