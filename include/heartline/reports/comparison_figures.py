"""The figures of the comparison page, as SVG elements inside HTML. The same input gives the same text.

Text stays text, for search and screen readers; nothing refers to anything outside the figure.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from heartline import contract
from heartline.comparison.compare import Comparison, OutOfFoldPredictions
from heartline.comparison.paired_tests import Interval
from heartline.evaluation import curves
from heartline.reports.rendering import BLUE, GREEN, GREY, ORANGE, PURPLE, grid, plot_style, to_svg, unit_square
from heartline.scores import roc_auc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.4  # inches: two fit side by side on a screen, and one is legible on a phone
# colour, line and marker of each model: each of them alone tells the models apart
LOOKS = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"))

_STYLE: Any = {
    "svg.fonttype": "none",
    "axes.unicode_minus": False,  # as in the text of the page
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9,
}
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Row:
    """A difference in an interval plot: its label, its interval, and whether it decides the verdict."""

    text: str
    interval: Interval
    decides: bool


def draw(
    models: Sequence[tuple[str, OutOfFoldPredictions]],
    comparisons: Sequence[Comparison],
    *,
    margin: float,
    brier_margin: float,
) -> dict[str, Markup]:
    """Return the figures ``roc`` and ``calibration``, and with a comparison ``auc`` and ``brier``.

    Args:
        models: title and out-of-fold predictions of each.
        comparisons: of them; titled by what the models are called.
        margin: the difference in ROC AUC that matters.
        brier_margin: the difference in the Brier score that is too much.
    """
    titles = {predictions.name: title for title, predictions in models}
    square = (WIDTH, WIDTH)
    pictures: dict[str, tuple[str, tuple[float, float], Callable[[Figure], None]]] = {
        "roc": ("ROC curves of all models", square, lambda figure: _roc(figure, models)),
        "calibration": ("Calibration of all models", square, lambda figure: _calibration(figure, models)),
    }
    if comparisons:
        auc, brier = _auc_rows(comparisons, titles), _brier_rows(comparisons, titles)
        pictures["auc"] = (
            "Differences in ROC AUC with their 95 % intervals",
            (WIDTH, 1.2 + 0.5 * len(auc)),
            lambda figure: intervals(figure, auc, margin, 0.06, "Difference in ROC AUC (right: challenger is ahead)"),
        )
        pictures["brier"] = (
            "Differences in Brier score with their 95 % intervals",
            (WIDTH, 1.2 + 0.5 * len(brier)),
            lambda figure: intervals(
                figure, brier, brier_margin, 0.03, "Difference in Brier score (left: challenger is ahead)"
            ),
        )
    return _drawn(pictures)


def _drawn(pictures: "dict[str, tuple[str, tuple[float, float], Callable[[Figure], None]]]") -> dict[str, Markup]:
    from matplotlib.figure import Figure

    found = {}
    with plot_style(_STYLE):
        for name, (label, size, picture) in pictures.items():
            figure = Figure(figsize=size, layout="constrained")
            picture(figure)
            found[name] = inline(to_svg(figure), name, label)
    return found


def inline(svg: bytes, name: str, label: str) -> Markup:
    """Return matplotlib's SVG as an element of an HTML page that holds others.

    Args:
        svg: matplotlib's output.
        name: prefix of each id, so that ids of several figures on a page differ.
        label: what the figure shows, for screen readers.
    """
    root = ET.fromstring(svg)  # noqa: S314 (matplotlib wrote it just now)
    for parent in list(root.iter()):
        for child in list(parent):
            # metadata holds URLs, and a style would apply to the whole page: comparison.css has it
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == _LINK:
                del element.attrib[key]
                element.set("href", value.replace("#", f"#{name}-", 1))
            elif value.startswith("url(#"):
                element.set(key, value.replace("url(#", f"url(#{name}-", 1))
    inner = "".join(ET.tostring(child, encoding="unicode", short_empty_elements=False) for child in root)
    opening = Markup('<svg class="chart" viewBox="{}" role="img" aria-label="{}">').format(root.get("viewBox"), label)
    return opening + Markup(inner) + Markup("</svg>")  # noqa: S704 (ElementTree escaped its text)


def swatch(position: int) -> Markup:
    """Return a model's line and colour as a small SVG, for tables."""
    colour, line, _ = LOOKS[position % len(LOOKS)]
    dashes = {"-": "none", "--": "6 3", "-.": "7 3 2 3", ":": "2 3"}[line]
    return Markup(
        '<svg class="swatch" viewBox="0 0 24 6" aria-hidden="true"><path d="M0 3H24" fill="none" stroke="{}" '
        'stroke-width="3" stroke-dasharray="{}"/></svg>'
    ).format(escape(colour), dashes)


def _roc(figure: "Figure", models: Sequence[tuple[str, OutOfFoldPredictions]]) -> None:
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 3)), linewidth=1)
    for position, (title, one) in enumerate(models):
        colour, line, marker = LOOKS[position % len(LOOKS)]
        x, y = curves.roc_points(one.labels, one.probabilities)
        area = roc_auc(one.labels, one.probabilities)
        axis.plot(x, y, color=colour, linestyle=line, linewidth=1.8, label=f"{title}, AUC {area:.3f}")
        predicted = one.probabilities >= contract.THRESHOLD
        at = [float(predicted[one.labels == label].mean()) for label in (0, 1)]
        axis.plot(*at, marker, color=colour, markersize=7, markeredgecolor="white")
    axis.plot([], [], "o", color=GREY, markersize=6, label=f"at the threshold of {contract.THRESHOLD:g}")
    unit_square(axis, "1 − specificity (false positive rate)", "Recall (true positive rate)")
    axis.legend(loc="lower right")


def _calibration(figure: "Figure", models: Sequence[tuple[str, OutOfFoldPredictions]]) -> None:
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 3)), linewidth=1, label="as predicted")
    for position, (title, one) in enumerate(models):
        colour, line, marker = LOOKS[position % len(LOOKS)]
        found = curves.calibration(one.labels, one.probabilities)
        spread = np.abs([found.observed - found.low, found.high - found.observed])
        axis.errorbar(found.predicted, found.observed, spread, fmt="none", ecolor=colour, elinewidth=1, alpha=0.45)
        axis.plot(
            found.predicted,
            found.observed,
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=5,
            linewidth=1.4,
            label=title,
        )
    unit_square(axis, "Predicted probability, in tenths", "Observed share with disease, 95 %")
    axis.legend(loc="upper left")


def _auc_rows(comparisons: Sequence[Comparison], titles: dict[str, str]) -> list[Row]:
    rows = []
    for one in comparisons:
        whose = f"{titles[one.challenger]}: " if len(comparisons) > 1 else ""
        folds = Interval(one.folds.delta, one.folds.low, one.folds.high)
        rows += [
            Row(f"{whose}Bootstrap (decides)", one.auc, True),
            Row(f"{whose}DeLong", one.delong.auc, False),
            Row(f"{whose}Nadeau–Bengio, within folds", folds, False),
        ]
    return rows


def _brier_rows(comparisons: Sequence[Comparison], titles: dict[str, str]) -> list[Row]:
    whose = [f"{titles[one.challenger]}: " if len(comparisons) > 1 else "" for one in comparisons]
    return [Row(f"{name}Bootstrap", one.brier, True) for name, one in zip(whose, comparisons, strict=True)]


def intervals(figure: "Figure", rows: Sequence[Row], margin: float, usual: float, xlabel: str) -> None:
    """Draw differences with their intervals, one below the other.

    Args:
        figure: an empty one.
        rows: from top to bottom.
        margin: position of the margin's line.
        usual: half of the axis' range, unless an interval needs more.
        xlabel: label of the axis.
    """
    axis = figure.subplots()
    ends = [abs(end) for row in rows for end in (row.interval.low, row.interval.high)]
    reach = 1.06 * max(usual, margin, *ends)
    axis.axvline(0, color="black", linewidth=1, label="no difference")
    axis.axvline(margin, color=ORANGE, linewidth=1.2, linestyle="--", label=f"margin, {margin:+g}")
    for position, row in enumerate(rows):
        one, colour = row.interval, BLUE if row.decides else GREY
        y = len(rows) - 1 - position
        spread = [[max(0.0, one.value - one.low)], [max(0.0, one.high - one.value)]]
        axis.errorbar(
            [one.value],
            [y],
            xerr=spread,
            fmt="o" if row.decides else "s",
            color=colour,
            capsize=4,
            markersize=7 if row.decides else 5,
            linewidth=2.2 if row.decides else 1.4,
        )
        axis.text(
            0.01,
            y + 0.28,
            row.text,
            transform=axis.get_yaxis_transform(),
            fontsize=8.5,
            fontweight="bold" if row.decides else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
            in_layout=False,
        )
    axis.set(xlim=(-reach, reach), ylim=(-0.5, len(rows) - 0.25), xlabel=xlabel, yticks=[])
    axis.spines["left"].set_visible(False)
    grid(axis, only="x")
    figure.legend(loc="outside upper left", ncols=2)
