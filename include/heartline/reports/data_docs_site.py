"""The Data Docs site: a page for each run, and an index.

The site is in the store, ``<store>/data-docs/``. Each page has a small JSON file with its entry of the index, so that
the index can be rewritten without parsing pages. ``data_docs_page`` renders the pages. This module imports nothing
heavy: the process that serves the pages does not need Great Expectations.
"""

import hashlib
import json
import logging
import posixpath
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fsspec

from heartline.errors import HeartlineError
from heartline.reports import rendering
from heartline.storage import object_store

if TYPE_CHECKING:
    from heartline.validation.checkpoint import Report

log = logging.getLogger(__name__)

INDEX = "index.html"
LINK_TO_INDEX = b"<!--site-->"  # replaced by the link to the index when a page is published

_FOLDER = "data-docs"
_PAGE = re.compile(r"[A-Za-z0-9_-]+\.html")
_FIELDS = {"page", "run", "source", "stopped", "rows", "used", "duplicates", "quarantined", "warnings", "written"}
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
        "warnings": sum(one.layer in ("unusual", "drift") for one in report.findings),
    }
    with object_store.writing(_uri()) as (fs, folder):
        path = posixpath.join(folder, name)
        about = _about(path)
        written = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        known = _entry(fs, about) if fs.exists(about) else None
        written = known["written"] if known else written
        object_store.write(fs, path, page.replace(LINK_TO_INDEX, f'<nav><a href="{INDEX}">All runs</a></nav>'.encode()))
        object_store.write(fs, about, json.dumps({**entry, "written": written}, indent=1, ensure_ascii=False).encode())
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
    try:
        fs, folder = fsspec.core.url_to_fs(_uri())
        return bytes(fs.cat_file(posixpath.join(folder, name)))
    except FileNotFoundError:
        raise missing from None
    except OSError as error:
        raise object_store.StoreError(
            f"the Data Docs cannot be read: {error}",
            where=_uri(),
            expected="a store that can be read",
            hint="check HEARTLINE_STORE and its permissions",
        ) from error


def _uri() -> str:
    return posixpath.join(object_store.default_uri().rstrip("/"), _FOLDER)


def _about(page: str) -> str:
    return page.removesuffix(".html") + ".json"


def _write_index(fs: Any, folder: str) -> None:
    """Write the index, and again if a run was published meanwhile: the last of two writers lists both pages."""
    shown: list[dict[str, Any]] | None = None
    for _ in range(_MAX_INDEX_WRITES):
        entries = _entries(fs, folder)
        if entries == shown:
            return
        html = rendering.templates().get_template("data_docs_index.html").render(entries=entries)
        object_store.write(fs, posixpath.join(folder, INDEX), html.encode())
        shown = entries


def _entries(fs: Any, folder: str) -> list[dict[str, Any]]:
    """Return the entries of the index, newest first."""
    fs.invalidate_cache(folder)
    paths = [path for path in fs.ls(folder, detail=False) if path.endswith(".json")]
    found = [entry for path in paths if (entry := _entry(fs, path))]
    return sorted(found, key=lambda one: (one["written"], one["run"]), reverse=True)


def _entry(fs: Any, path: str) -> dict[str, Any] | None:
    """Return the entry in a file; None if it is damaged and was set apart, or another run has removed it."""
    try:
        entry = json.loads(fs.cat_file(path))
        if isinstance(entry, dict) and entry.keys() >= _FIELDS:
            return entry
    except FileNotFoundError:
        return None
    except ValueError:
        pass  # cut or overwritten: handled like an entry without its fields
    object_store.set_apart(fs, [path])
    log.warning("%s is not in the index of the Data Docs until its run is validated again", _page(path))
    return None


def _page(about: str) -> str:
    return posixpath.basename(about).removesuffix(".json") + ".html"
