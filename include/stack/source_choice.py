"""Chooses the records of a training run: the source that the user named, else one that can be reached."""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from heartline.ingestion import source_catalog
from heartline.ingestion.access import files, networks
from stack.errors import UsageError
from stack.secrets.credentials import write_private

RECORD = "source"  # in the state folder
FALLBACK = "sample"  # the source if no other one is named or can be reached
ARCHIVE_TIMEOUT = 4.0  # seconds until the UCI archive must start to answer

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """A source, and why it was chosen.

    Attributes:
        source: the value of the DAG's parameter ``source``.
        reason: one sentence for the user.
        fallback: whether this is the synthetic sample although it was not requested, which calls for a warning.
    """

    source: str
    reason: str
    fallback: bool = False


def absolute(source: str) -> str:
    """Return ``source``, with a path made absolute: the task that reads it has another working directory."""
    if _is_name(source) or _SCHEME.match(source) or source_catalog.upload(source):
        return source
    return str(Path(source).expanduser().resolve())


def check(source: str, setting: str) -> str:
    """Return ``source`` as a task can use it. If it names a local file, check that the file can be read.

    Args:
        source: the user's value.
        setting: the option or setting that it comes from, for the message.

    Raises:
        UsageError: the file is missing, empty, unreadable, or not a file; or the stack is offline, and this is outside.
    """
    if _is_outside(source):
        raise UsageError(
            "this stack works offline, so nothing is downloaded from other networks",
            where=f"{source} ({setting})",
            expected=f"a file, the sample, a database, or a URL in a network of {networks.SETTING}",
            hint="copy the file to this machine and name its path; nothing was started or trained",
        )
    if not _is_name(source) and (kind := source_catalog.unread(source)):
        raise UsageError(
            f"the source is {kind}, which is not read",
            where=f"{source} ({setting})",
            expected=source_catalog.choices(),
            hint="save it as .xlsx or CSV; nothing was started or trained",
        )
    given, source = source, absolute(source)
    if (
        _is_name(source)
        or source_catalog.upload(source)
        or (_SCHEME.match(source) and not source.startswith("file://"))
    ):
        return source
    file, _ = source_catalog.split_sheet(source)
    path = Path(unquote(urlsplit(file).path)) if file.startswith("file://") else Path(file)
    problem = _problem(path)
    if problem:
        raise UsageError(
            f"the source {problem}",
            where=f"{path} ({setting})",
            expected=source_catalog.choices(),
            hint=f"{_advice(given, path)}; nothing was started or trained",
        )
    return source


def _is_outside(source: str) -> bool:
    """Tell whether a source can only be refused, because the stack is offline."""
    if os.environ.get(networks.OFFLINE) != "yes":
        return False
    if source == "uci":
        return not os.environ.get("HEARTLINE_UCI_URL")
    return source.startswith(("http://", "https://")) and not os.environ.get(networks.SETTING)


def _advice(given: str, path: Path) -> str:
    names = [form for one in source_catalog.SOURCES if not one.is_address for form in one.spelled]
    near = difflib.get_close_matches(given, names, n=1)
    if near and not path.exists():
        return f"did you mean {near[0]}?"
    return "name a file with records" if path.is_file() else "correct the path"


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


def readable_folders(root: Path) -> str:
    """Return the folders whose files tasks may read, separated as in ``PATH``.

    ``HEARTLINE_SOURCE_FOLDERS``, else the clone, the home of the user who starts the stack, and ``HEARTLINE_DATA``.
    """
    given = os.environ.get(files.SETTING)
    if given:
        return given
    folders = [root, Path.home(), *(Path(one) for one in [os.environ.get("HEARTLINE_DATA")] if one)]
    # a system user may have / as its home, which would allow every file
    return os.pathsep.join(str(one) for one in folders if one != Path("/"))


def remembered(home: Path) -> str | None:
    """Return the source that the first `up` used, which the nightly runs read too; None before that."""
    path = home / RECORD
    return path.read_text().strip() or None if path.exists() else None


def nightly(home: Path) -> str | None:
    """Return the source of the nightly runs as it is configured; None for the DAG's own default."""
    return os.environ.get("HEARTLINE_SOURCE") or remembered(home)


def remember(home: Path, source: str | None) -> None:
    """Store the source of the nightly runs, or remove it with None."""
    if source is None:
        (home / RECORD).unlink(missing_ok=True)
    else:
        write_private(home / RECORD, source + "\n")


def choose(given: str | None, home: Path) -> Choice:
    """Return the source for a training.

    The first of these that exists: ``given``, ``HEARTLINE_SOURCE``, the source of an earlier `up`, ``uci`` if the
    archive answers, ``sample``.

    A file in ``HEARTLINE_SOURCE`` is checked before the first `up` only: later, the stack must start without it too.

    Raises:
        UsageError: the named file cannot be used.
    """
    if given:
        return Choice(check(given, "--source"), "named with --source")
    before, setting = remembered(home), os.environ.get("HEARTLINE_SOURCE")
    if setting:
        source = absolute(setting) if before else check(setting, "setting HEARTLINE_SOURCE")
        return Choice(source, "set by HEARTLINE_SOURCE")
    if before:
        return Choice(before, "the first `up` of this stack used this source", before == FALLBACK)
    return _probe(os.environ.get("HEARTLINE_UCI_URL") or source_catalog.UCI_URL)


def _probe(url: str) -> Choice:
    if _is_outside("uci"):
        return Choice(FALLBACK, f"this stack works offline ({networks.OFFLINE}), and no file was named", fallback=True)
    if url.startswith(("/", "file://")):
        return Choice("uci", f"HEARTLINE_UCI_URL is {check(url, 'setting HEARTLINE_UCI_URL')}")
    try:
        # GET without reading the body, because an archive may refuse HEAD. The task downloads and checks the records.
        with requests.get(url, stream=True, timeout=ARCHIVE_TIMEOUT) as answer:
            answer.raise_for_status()
    except requests.RequestException as error:
        return Choice(FALLBACK, f"{url} does not answer ({type(error).__name__})", fallback=True)
    return Choice("uci", f"{url} answers")
