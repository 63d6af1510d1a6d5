"""Axes of the pictures of the page on monitoring: ranges, grids and dates, as SVG inside HTML."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from markupsafe import Markup

from heartline.reports.rendering import GREY, GRID, element, text

MOST_DATES = 5  # of a time axis
_DAYS = (1, 2, 7, 14, 28, 56, 91, 182, 365)
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Axes:
    """The place of the data in a picture.

    Attributes:
        x_range: lowest and highest value on the horizontal axis.
        y_range: the same on the vertical axis; above 0 where it is logarithmic.
        width: of the picture in pixels of its view box.
        height: of the picture.
        left, right, top, bottom: margins.
        logarithmic: whether the vertical axis is.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float = 560
    height: float = 300
    left: float = 66
    right: float = 14
    top: float = 14
    bottom: float = 34
    logarithmic: bool = False

    def x(self, value: float) -> float:
        """Return the place of a value in pixels, inside of the axes."""
        return self.left + (self.width - self.left - self.right) * _share(value, *self.x_range)

    def y(self, value: float) -> float:
        """Return the place of a value in pixels, inside of the axes."""
        low, high = self.y_range
        if self.logarithmic:
            share = _share(math.log(max(value, low)), math.log(low), math.log(high))
        else:
            share = _share(value, low, high)
        return self.height - self.bottom - (self.height - self.top - self.bottom) * share

    def picture(self, label: str, parts: Sequence[Markup], kind: str = "") -> Markup:
        """Return the picture.

        Args:
            label: what it shows, for people who do not see it.
            parts: its elements.
            kind: a further CSS class.
        """
        box = f"0 0 {self.width:g} {self.height:g}"
        classes = f"chart monitoring {kind}".strip()
        return element("svg", *parts, class_=classes, viewBox=box, role="img", aria_label=label)

    def rows(self, ticks: Sequence[tuple[float, str]]) -> Iterator[Markup]:
        """Yield a line of the grid with its label for each tick of the vertical axis."""
        for value, label in ticks:
            y = self.y(value)
            yield element("line", x1=self.left, x2=self.width - self.right, y1=y, y2=y, stroke=GRID)
            yield text(self.left - 8, y + 4, label, anchor="end")

    def level(self, value: float, label: str, colour: str, *, below: bool = False, first: bool = False) -> Markup:
        """Return a dashed line across the picture with its label above or below it, at the right or the left end."""
        y = self.y(value)
        ends = {"x1": self.left, "x2": self.width - self.right}
        line = element("line", **ends, y1=y, y2=y, stroke=colour, stroke_dasharray="6 4")
        x, anchor = (self.left + 4, "start") if first else (self.width - self.right - 4, "end")
        return line + text(x, y + 15 if below else y - 5, label, anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 2) -> Markup:
        """Return a line through points; a single point is a dot."""
        if len(points) == 1:
            return element("circle", cx=self.x(points[0][0]), cy=self.y(points[0][1]), r=3.5, fill=colour)
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return element("polyline", points=path, fill="none", stroke=colour, stroke_width=width)

    def area(self, points: Sequence[tuple[float, float, float]], colour: str) -> Markup:
        """Return the area between the second and third value of each point."""
        ends = [(x, low) for x, low, _ in points] + [(x, high) for x, _, high in reversed(points)]
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in ends)
        return element("polygon", points=path, fill=colour, fill_opacity="0.16")

    def dates(self) -> Iterator[Markup]:
        """Yield the labels of a horizontal axis of days, as ``date.toordinal`` counts them."""
        first, last = int(self.x_range[0]), int(self.x_range[1])
        step = next((one for one in _DAYS if (last - first) / one < MOST_DATES), _DAYS[-1])
        form = "%-d %b" if step < 182 else "%b %Y"
        moment = date.fromordinal(last)
        while moment.toordinal() >= first:
            x = self.x(moment.toordinal())
            if x >= self.left + 10 or first == last:
                anchor = "end" if x > self.width - self.right - 20 and first != last else "middle"
                bottom = self.height - self.bottom
                yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, stroke=GREY)
                yield text(x, self.height - 8, moment.strftime(form), anchor=anchor)
            moment -= timedelta(days=step)


def of_days(days: Sequence[date]) -> tuple[float, float]:
    """Return the range of a horizontal axis of days."""
    return (float(days[0].toordinal()), float(days[-1].toordinal()))


def ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Return ticks at round numbers."""
    step = next((one for one in _STEPS if (high - low) / one <= most), None) or 10 ** math.ceil(math.log10(high - low))
    first = math.ceil(low / step - 1e-9)
    digits = 0 if step >= 1 else 1 if step in (0.1, 0.2, 0.5) else 2
    return [(one * step, f"{one * step:,.{digits}f}") for one in range(first, int(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[tuple[float, str]]:
    """Return ticks of a logarithmic axis: powers of ten, at most seven."""
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    step = max(1, -(-len(exponents) // 7))
    return [(10.0**one, f"{10**one:,}" if 0 <= one <= 5 else f"{10.0**one:g}") for one in exponents if one % step == 0]


def share(value: float) -> str:
    """Return a share as a percentage; ``0.3 %`` for small ones."""
    percent = 100 * value
    digits = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{digits}f} %"


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else min(1.0, max(0.0, (value - low) / (high - low)))
