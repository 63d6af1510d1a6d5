"""The small pictures of the columns beside their reference, all with the same axes."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from heartline.monitoring.report import ColumnDrift
from heartline.reports.monitoring.axes import Axes, share
from heartline.reports.rendering import BLUE, GREY, element, text, title

_CHARACTER = 7.0  # pixels of a character of the labels
_MOST_LABELS = 6


def draw(column: ColumnDrift) -> Markup:
    """Return the shares of the last 28 days as filled bars, and those of the reference as outlines behind them.

    Without shares of the last 28 days, as where they would show single records, the outlines alone.
    """
    count = len(column.labels)
    if not count:
        return Markup("")
    most = max(0.05, *column.reference, *column.recent)
    frame = Axes((0, count), (0, most), width=260, height=130, left=8, right=8, top=8, bottom=24)
    bottom = frame.height - frame.bottom
    parts = []
    for place, (label, before, now) in enumerate(shares(column)):
        left, right = frame.x(place), frame.x(place + 1)
        said = "" if now is None else f"{share(now)} in the last 28 days, "
        bars = [_bar(frame, left + 1, right - left - 2, before, fill="#fff", stroke=GREY)]
        if now is not None:
            bars.append(_bar(frame, left + (right - left) * 0.2, (right - left) * 0.6, now, fill=BLUE))
        parts.append(element("g", title(f"{label}: {said}{share(before)} at training"), *bars))
    parts.append(element("line", x1=frame.left, x2=frame.width - frame.right, y1=bottom, y2=bottom, stroke=GREY))
    parts += _labels(frame, column.labels)
    said = f"{column.title}: shares in the last 28 days beside those at training; the table has the numbers"
    return frame.picture(said, parts, "small-multiple")


def shares(column: ColumnDrift) -> Iterator[tuple[str, float, float | None]]:
    """Yield of each bar label, share at training, and share in the last 28 days; None where that is hidden."""
    recent: Sequence[float | None] = column.recent or [None] * len(column.labels)
    yield from zip(column.labels, column.reference, recent, strict=True)


def _bar(frame: Axes, x: float, width: float, value: float, **more: str | float) -> Markup:
    y = frame.y(value)
    return element("rect", x=x, y=y, width=max(1.0, width), height=frame.height - frame.bottom - y, **more)


def _labels(frame: Axes, labels: Sequence[str]) -> list[Markup]:
    """Return the labels that have room: all, or the first and the last one."""
    width = frame.x(1) - frame.x(0)
    shown = range(len(labels))
    if len(labels) > _MOST_LABELS or any(len(one) * _CHARACTER > width for one in labels):
        ends = (labels[0], labels[-1])
        if len(labels) > _MOST_LABELS and sum(map(len, ends)) * _CHARACTER < frame.width - 40:
            y = frame.height - 7
            left = text(frame.left, y, ends[0], anchor="start")
            return [left, text(frame.width - frame.right, y, ends[1], anchor="end")]
    room = int(width / _CHARACTER)
    kind = {"class_": "cut"} if any(len(one) > room for one in labels) else {}  # a small screen has no room for them
    return [
        element("text", _cut(labels[one], room), x=frame.x(one + 0.5), y=frame.height - 7, text_anchor="middle", **kind)
        for one in shown
    ]


def _cut(label: str, characters: int) -> str:
    return label if len(label) <= characters else f"{label[: max(1, characters - 1)]}…"
