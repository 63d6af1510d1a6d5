"""The visible text of an HTML page, and a text that would be dangerous on one."""

from html.parser import HTMLParser

EVIL = """<script>alert(1)</script>"'&$age ${chol} {{ 7 * 7 }}"""


class Page(HTMLParser):
    """The tags of a page, and its text without style, with one space between words."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._parts: list[str] = []
        self._in_style = False
        self.feed(html.decode())
        self.text = " ".join("".join(self._parts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        self._parts.append(" " if tag not in ("b", "code", "strong") else "")

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        self._parts.append("" if self._in_style else data)

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]
