"""A page of a few sentences in place of one that cannot be shown: what is missing, why, and what to do."""

from collections.abc import Sequence

from heartline.errors import HeartlineError
from heartline.reports import rendering


def render(title: str, sentences: Sequence[str] = (), *, links: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the page: HTML in UTF-8.

    Args:
        title: its heading.
        sentences: one paragraph each.
        links: address and text of pages that help, relative to this one.
    """
    template = rendering.templates().get_template("notice.html")
    return template.render(title=title, sentences=sentences, facts=[], links=links).encode()


def of_error(error: HeartlineError, *, links: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the page of an error: what was wrong, where, what was expected, a hint, and links as for ``render``."""
    facts = [("Where", error.where), ("Expected", error.expected), ("What to do", error.hint)]
    template = rendering.templates().get_template("notice.html")
    title = error.what[:1].upper() + error.what[1:]
    return template.render(title=title, sentences=[], facts=facts, links=links).encode()
