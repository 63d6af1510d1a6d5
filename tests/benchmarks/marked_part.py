"""The part of a page between two markers, which a benchmark writes anew."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MarkedPart:
    """A part of a page.

    Attributes:
        name: in its markers.
    """

    name: str

    @property
    def begin(self) -> str:
        """The marker before it."""
        return f"<!-- {self.name}: begin -->"

    @property
    def end(self) -> str:
        """The marker behind it."""
        return f"<!-- {self.name}: end -->"

    def expect(self, parser: argparse.ArgumentParser, page: Path | None) -> None:
        """End with a usage error if there is a page without this part: before a measurement, not after it."""
        if page and not -1 < (text := page.read_text()).find(self.begin) < text.find(self.end):
            parser.error(f"{page} has no lines {self.begin} and {self.end}")

    def write(self, page: Path, text: str) -> None:
        """Replace the part of a page."""
        before, _, rest = page.read_text().partition(self.begin)
        page.write_text(f"{before}{self.begin}\n\n{text}\n\n{self.end}{rest.partition(self.end)[2]}")
