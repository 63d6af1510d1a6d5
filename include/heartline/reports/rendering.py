"""How reports look: the Jinja environment of the pages, elements of SVG, and colours and style of the figures.

matplotlib takes a second to import and is imported only where a figure is drawn: the process that serves the Data Docs
imports this module for its pages.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from heartline import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which people with any kind of colour vision can tell apart
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#666666"
GRID = "#dddddd"

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "heartline",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@cache
def templates() -> Environment:
    """Return the Jinja environment of all pages.

    It escapes every value, as values come from records, and shows characters that cannot be seen.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    environment.filters["thousands"] = thousands
    return environment


def _visible(value: Any) -> Any:
    """Return a value for a page; HTML that is ready stays as it is."""
    return visible.escaped(value, keep="\n") if isinstance(value, str) and not isinstance(value, Markup) else value


def thousands(number: int) -> str:
    """Return a number with commas between thousands."""
    return f"{number:,}"


def element(tag: str, *inner: str, **attributes: str | float) -> Markup:
    """Return an SVG element; texts are escaped, ``stroke_width`` stands for ``stroke-width``."""
    named = [
        Markup(' {}="{}"').format(
            name.strip("_").replace("_", "-"), value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
        )
        for name, value in attributes.items()
    ]
    opening = Markup("<{}{}>").format(tag, Markup("").join(named))
    return opening + Markup("").join(inner) + Markup("</{}>").format(tag)


def text(x: float, y: float, words: str, *, anchor: str = "middle", weight: str = "400") -> Markup:
    """Return a text of SVG at a place in pixels."""
    return element("text", words, x=x, y=y, text_anchor=anchor, font_weight=weight)


def title(words: str) -> Markup:
    """Return what a browser shows when the pointer is on an element of SVG."""
    return element("title", words)


@contextmanager
def plot_style(changes: Mapping[str, Any]) -> Iterator[None]:
    """Draw in the style of all figures, whatever a user's matplotlibrc says: it must not change the bytes.

    Args:
        changes: rcParams that differ for these figures, such as ``font.size``.
    """
    import matplotlib as mpl
    from matplotlib import style

    parameters: Any = {**_STYLE, **changes}
    with style.context("default"), mpl.rc_context(parameters):
        yield


def to_svg(figure: "Figure", *, dpi: float | None = None) -> bytes:
    """Return a figure as SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=dpi or "figure", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def unit_square(axis: "Axes", x: str, y: str) -> None:
    """Set both axes to 0 to 1 with a grid, and label them."""
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    grid(axis)


def grid(axis: "Axes", *, only: str = "both") -> None:
    """Draw the grid below the data; ``only`` is ``x``, ``y`` or ``both``."""
    axis.grid(axis=only, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axis.set_axisbelow(True)
