"""The Data Docs site: a page for each run, and an index.

The site is in the store, ``<store>/data-docs/``. Each page has a small JSON file with its entry of the index, so that
the index can be rewritten without parsing pages. ``data_docs_page`` renders the pages. This module imports nothing
heavy: the process that serves the pages does not need Great Expectations.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fsspec

from heartline.errors import HeartlineError
from heartline.reports import rendering
from heartline.storage import object_store

if TYPE_CHECKING:
    from heartline.validation.checkpoint import Report

INDEX = "index.html"
LINK_TO_INDEX = b"<!--site-->"  # replaced by the link to the index when a page is published

_FOLDER = "data-docs"
_PAGE = re.compile(r"[A-Za-z0-9_-]+\.html")
_MAX_INDEX_WRITES = 5  # of one publication, if other runs publish at the same time


class NoSuchPageError(HeartlineError):
    """The site has no page of that name."""


def page_name(run: str) -> str:
    """Return the name of the file that holds a run's page.

    It is readable, safe in URLs and file systems, and unique: it ends in a digest of the run's name.
    """
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", run)[:80].strip("-")
    return f"{readable}-{hashlib.sha256(run.encode()).hexdigest()[:16]}.html".lstrip("-")


def publish(page: bytes, run: str, *, source: str, report: "Report", now: datetime | None = None) -> str:
    """Write a run's page and the index of the site.

    A page of the same run is replaced and keeps its place in the index; other pages are not touched.

    Args:
        page: what ``data_docs_page.render`` returned.
        run: Airflow's DAG run id.
        source: where the records came from.
        report: the outcome of the checks.
        now: when the run is published; it only orders the index. The clock's if not given.

    Returns:
        the page's name, for ``read``.

    Raises:
        StoreError: the store cannot be written.
    """
    name = page_name(run)
    entry = {
        "page": name,
        "run": run,
        "source": source,
        "stopped": report.stopped,
        "rows": report.rows,
        "used": report.used,
        "duplicates": report.duplicates,
        "quarantined": report.quarantined,
        "warnings": sum(one.layer == "unusual" for one in report.findings),
    }
    with _site("written") as (fs, folder):
        path = posixpath.join(folder, name)
        about = _about(path)
        written = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        if fs.exists(about):
            written = json.loads(fs.cat_file(about))["written"]
        fs.makedirs(folder, exist_ok=True)
        _write(fs, path, page.replace(LINK_TO_INDEX, f'<nav><a href="{INDEX}">All runs</a></nav>'.encode()))
        _write(fs, about, json.dumps({**entry, "written": written}, indent=1, ensure_ascii=False).encode())
        _write_index(fs, folder)
    return name


def read(name: str) -> bytes:
    """Return a page of the site, or its index.

    Args:
        name: ``index.html``, or what ``publish`` returned.

    Raises:
        NoSuchPageError: there is no such page, or ``name`` is no plain name of a page.
        StoreError: the store cannot be read.
    """
    missing = NoSuchPageError(
        "there is no such page",
        where=f"Data Docs page {name!r}",
        expected=f"{INDEX} or a page that it links to",
        hint="open the index; a run has a page after its task validate",
    )
    if not _PAGE.fullmatch(name):
        raise missing
    with _site("read") as (fs, folder):
        try:
            return bytes(fs.cat_file(posixpath.join(folder, name)))
        except FileNotFoundError:
            raise missing from None


@contextmanager
def _site(verb: str) -> Iterator[tuple[Any, str]]:
    """Yield the site's file system and folder; turn their errors into a StoreError."""
    uri = posixpath.join(object_store.default_uri().rstrip("/"), _FOLDER)
    try:
        fs, folder = fsspec.core.url_to_fs(uri)
        yield fs, folder
    except OSError as error:
        raise object_store.StoreError(
            f"the Data Docs cannot be {verb}: {error}",
            where=uri,
            expected="a store that can be read and written, with free space",
            hint="check HEARTLINE_STORE, its rights and the free space",
        ) from error


def _about(page: str) -> str:
    return page.removesuffix(".html") + ".json"


def _write(fs: Any, path: str, data: bytes) -> None:
    # a reader must never see half a page: the transaction renames the file at the end
    with fs.transaction, fs.open(path, "wb") as file:
        file.write(data)


def _write_index(fs: Any, folder: str) -> None:
    """Write the index, and again if a run was published meanwhile: the last of two writers lists both pages."""
    shown: list[dict[str, Any]] | None = None
    for _ in range(_MAX_INDEX_WRITES):
        entries = _entries(fs, folder)
        if entries == shown:
            return
        html = rendering.templates().get_template("data_docs_index.html").render(entries=entries)
        _write(fs, posixpath.join(folder, INDEX), html.encode())
        shown = entries


def _entries(fs: Any, folder: str) -> list[dict[str, Any]]:
    """Return the entries of the index, newest first."""
    fs.invalidate_cache(folder)
    paths = [path for path in fs.ls(folder, detail=False) if path.endswith(".json")]
    found = [json.loads(text) for text in fs.cat(paths, on_error="omit").values()] if paths else []
    return sorted(found, key=lambda one: (one["written"], one["run"]), reverse=True)
