"""The figure of the page "Versions": ROC AUC with its 95 % interval by registration time, as SVG inside HTML.

It is drawn without matplotlib, which takes a second to import and would stay in the memory of the api-server.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from markupsafe import Markup

from heartline.reports.rendering import BLUE, GREY, GRID, ORANGE, element, text, title
from heartline.reports.versions_history import History, ModelVersion, Score

WIDTH, HEIGHT = 960, 340
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 40, 44
CLOSEST = 9.0  # pixels between two marks, where there is room: versions of one run are seconds apart
MOST_TICKS = 12  # of the time axis
LABELLED = 40  # marks at most with their number below
BANDS = ("#dcecf8", "#f3e8d8")

_STEPS = (  # of the time axis, with the form of its labels
    *((timedelta(minutes=one), "%H:%M") for one in (1, 5, 15, 30)),
    *((timedelta(hours=one), "%-d %b %H:%M") for one in (1, 3, 6, 12)),
    *((timedelta(days=one), "%-d %b") for one in (1, 2, 7, 14)),
    *((timedelta(days=one), "%b %Y") for one in (30.4375, 91.3125, 182.625, 365.25, 730.5)),
)


@dataclass(frozen=True)
class Axes:
    """The ranges of both axes."""

    start: datetime
    end: datetime
    low: float
    high: float

    def x(self, moment: datetime) -> float:
        """Return the place of a time in pixels, inside of the axes."""
        share = (moment - self.start) / (self.end - self.start)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share))

    def y(self, value: float) -> float:
        """Return the place of a score in pixels."""
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, max(0.0, share))


def draw(history: History, *, since: date, now: datetime) -> Markup:
    """Return the figure; empty where no version has both a time and a ROC AUC.

    Args:
        history: all versions and times in production.
        since: the date of the question; a line marks it.
        now: the right end of the time axis, UTC.
    """
    shown = [(one, when, score) for one in history.versions if (when := one.registered) and (score := one.roc_auc)]
    if not shown:
        return Markup("")
    axes = _axes(history, [when for _, when, _ in shown], [score for _, _, score in shown], since, now)
    places = _apart([axes.x(when) for _, when, _ in shown])
    marks = list(zip(shown, places, strict=True))
    parts = [
        *_grid(axes),
        *_times(axes),
        *_bands(history, axes),
        *_since(axes, since),
        *_line(history, axes),
        *(_mark(one, score, f"registered {_when(when)}", x, axes, history) for (one, when, score), x in marks),
        *_numbers([one for one, _, _ in shown], places, history),
    ]
    label = "ROC AUC of each version with its 95 % interval, by the time of its registration"
    box = f"0 0 {WIDTH} {HEIGHT}"
    return element("svg", *parts, class_="chart versions", viewBox=box, role="img", aria_label=label)


def _axes(history: History, moments: Sequence[datetime], scores: Sequence[Score], since: date, now: datetime) -> Axes:
    starts = [one.earliest for one in history.spans if one.earliest]
    begin = datetime.combine(since, time(), UTC)
    start, end = min([*moments, *starts, begin]), max([*moments, now])
    if begin == start and moments:
        # a date long before the first version would leave the figure empty
        first = min([*moments, *starts])
        start = max(start, first - max((end - first) / 4, timedelta(minutes=5)))
    room = max((end - start) / 50, timedelta(seconds=30))
    lows = [one.value if one.low is None else one.low for one in scores]
    highs = [one.value if one.high is None else one.high for one in scores]
    margin = max(0.01, (max(highs) - min(lows)) * 0.06)
    return Axes(start - room, end + room, max(0.0, min(lows) - margin), min(1.0, max(highs) + margin))


def _apart(places: Sequence[float]) -> list[float]:
    """Return the places, moved so far that marks do not cover each other; their order stays."""
    order = sorted(range(len(places)), key=lambda one: places[one])
    gap = min(CLOSEST, (WIDTH - LEFT - RIGHT - 12) / max(1, len(places)))
    found = list(places)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + gap)
    limit = WIDTH - RIGHT - 6.0
    for one in reversed(order):
        found[one] = min(found[one], limit)
        limit = found[one] - gap
    return found


def _grid(axes: Axes) -> Iterator[Markup]:
    step = next((one for one in (0.01, 0.02, 0.05, 0.1, 0.2) if (axes.high - axes.low) / one <= 7), 0.5)
    tick = -(-axes.low // step) * step
    while tick <= axes.high + 1e-9:
        y = axes.y(tick)
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=GRID)
        yield text(LEFT - 8, y + 4, f"{tick:.2f}", anchor="end")
        tick += step
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f"rotate(-90 14 {middle})"
    yield element("text", "ROC AUC, 95 % interval", x=14, y=middle, transform=turned, text_anchor="middle")


def _times(axes: Axes) -> Iterator[Markup]:
    length = axes.end - axes.start
    step, form = next(((step, form) for step, form in _STEPS if length / step <= MOST_TICKS), _STEPS[-1])
    months = max(1, round(step.days / 30.4375)) if form == "%b %Y" else 0
    moment = _first_month(axes.start, months) if months else _rounded_up(axes.start, step)
    while moment <= axes.end:
        x = axes.x(moment)
        if LEFT + 20 < x < WIDTH - RIGHT - 20:
            yield element("line", x1=x, x2=x, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 5, stroke=GREY)
            yield text(x, HEIGHT - 12, moment.strftime(form))
        moment = _months_later(moment, months) if months else moment + step


def _rounded_up(moment: datetime, step: timedelta) -> datetime:
    epoch = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
    return epoch - (epoch - moment) // step * step


def _first_month(moment: datetime, months: int) -> datetime:
    number = moment.year * 12 + moment.month  # of the month after that of the moment, from 0
    number = -(-number // months) * months
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _months_later(moment: datetime, months: int) -> datetime:
    number = moment.year * 12 + moment.month - 1 + months
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _bands(history: History, axes: Axes) -> Iterator[Markup]:
    """Yield a band for each time in production, with the version's number above it where there is room."""
    last = float(LEFT + 60)
    yield text(LEFT, TOP - 8, "In production:", anchor="start")
    for position, one in enumerate(history.spans):
        x, right = axes.x(one.earliest or axes.start), axes.x(one.end or axes.end)
        band = {"x": x, "y": TOP, "width": max(1.0, right - x), "height": HEIGHT - TOP - BOTTOM}
        yield element("rect", title(f"version {one.version} in production"), **band, fill=BANDS[position % 2])
        middle = (max(x, last + 14) + right) / 2
        if middle - last > 34 and right - x > 4:
            yield text(middle, TOP - 8, f"version {one.version}" if right - x > 90 else f"v{one.version}", weight="600")
            last = middle


def _since(axes: Axes, since: date) -> Iterator[Markup]:
    moment = datetime.combine(since, time(), UTC)
    if axes.start <= moment <= axes.end:
        x, hint = axes.x(moment), title(f"since {since.isoformat()}")
        yield element("line", hint, x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, stroke="#333", stroke_dasharray="3 3")
        near = x > WIDTH - RIGHT - 40
        yield text(x - 4 if near else x + 4, HEIGHT - BOTTOM - 6, "since", anchor="end" if near else "start")


def _line(history: History, axes: Axes) -> Iterator[Markup]:
    """Yield the ROC AUC of the version in production over time."""
    for one in history.spans:
        if score := history.version(one.version).roc_auc:
            x, right, y = axes.x(one.earliest or axes.start), axes.x(one.end or axes.end), axes.y(score.value)
            yield element("line", x1=x, x2=max(right, x + 2), y1=y, y2=y, stroke=ORANGE, stroke_width=3)


def _mark(one: ModelVersion, score: Score, registered: str, x: float, axes: Axes, history: History) -> Markup:
    used = any(span.version == one.number for span in history.spans)
    colour = ORANGE if used else GREY if one.deleted else BLUE
    name = f"version {one.number}{', deleted' if one.deleted else ''}, {one.family.replace('_', ' ')}"
    parts = [title(f"{name}: {in_words(score)}, {registered}")]
    if score.low is not None and score.high is not None:
        y1, y2 = axes.y(score.low), axes.y(score.high)
        parts.append(element("line", x1=x, x2=x, y1=y1, y2=y2, stroke=colour, stroke_width=1.5))
    inside, line, radius = (colour, "#fff", 5) if used else ("#fff", colour, 3.5)
    parts.append(element("circle", cx=x, cy=axes.y(score.value), r=radius, fill=inside, stroke=line, stroke_width=1.5))
    return element("g", *parts, class_="many" if len(history.versions) > LABELLED and not used else "mark")


def _numbers(versions: Sequence[ModelVersion], places: Sequence[float], history: History) -> Iterator[Markup]:
    """Yield the numbers of the versions below their marks: of all, or of those that were in production."""
    used = {one.version for one in history.spans}
    last = float(LEFT - 40)
    for one, x in sorted(zip(versions, places, strict=True), key=lambda pair: pair[1]):
        room = 7 * len(one.number) + 4
        if (len(versions) <= LABELLED or one.number in used) and x - last >= room:
            yield text(x, HEIGHT - BOTTOM + 16, one.number, weight="600" if one.number in used else "400")
            last = x


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def in_words(score: Score) -> str:
    """Return ``0.908 (0.871 to 0.943)``."""
    ends = "" if score.low is None or score.high is None else f" ({score.low:.3f} to {score.high:.3f})"
    return f"{score.value:.3f}{ends}"
