"""The pictures of the page on monitoring: calibration, scores and e-values over time, volume, risk bands, candidate.

They are drawn without matplotlib, which takes a second to import and would stay in the memory of the api-server.
"""

from collections.abc import Sequence
from datetime import date

from markupsafe import Markup

from heartline.monitoring.report import CalibrationBin, Report, RiskBand, Shadow
from heartline.reports.monitoring.axes import Axes, of_days, powers, share, ticks
from heartline.reports.rendering import BLUE, GREEN, GREY, ORANGE, PURPLE, element, text, title

RED = "#b3261e"
_LOWEST_E = 0.01  # an e-value below it is drawn there
_HIGHEST = 1e4  # times the level of the alarm; an e-value above it is drawn there


def calibration(bins: Sequence[CalibrationBin]) -> Markup:
    """Return observed shares with their intervals by predicted probability; empty without outcomes."""
    if not bins:
        return Markup("")
    frame = Axes((0, 1), (0, 1), height=420, right=26, bottom=52)
    parts = [*frame.rows([(one / 5, f"{one * 20} %") for one in range(6)]), *_probabilities(frame)]
    parts.append(frame.line([(0, 0), (1, 1)], GREY, 1.5))
    parts += [_calibrated(frame, one) for one in bins]
    return frame.picture("Observed share with disease by predicted probability, with 95 % intervals", parts)


def _probabilities(frame: Axes) -> list[Markup]:
    bottom = frame.height - frame.bottom
    labels = [text(frame.x(one / 5), bottom + 20, f"{one * 20} %") for one in range(6)]
    return [*labels, text(frame.x(0.5), frame.height - 8, "predicted probability")]


def _calibrated(frame: Axes, one: CalibrationBin) -> Markup:
    x, observed = frame.x(one.predicted), one.observed
    outside = not observed.low <= one.predicted <= observed.high
    colour = ORANGE if outside else BLUE
    words = (
        f"predicted {share(one.predicted)}, observed {share(observed.value)} "
        f"({share(observed.low)} to {share(observed.high)}), {one.count:,} predictions"
    )
    return element(
        "g",
        title(words),
        element("line", x1=x, x2=x, y1=frame.y(observed.low), y2=frame.y(observed.high), stroke=colour, stroke_width=2),
        element("circle", cx=x, cy=frame.y(observed.value), r=5.5, fill=colour),
        element("text", f"{one.count:,}", x=x + 9, y=frame.y(observed.value) + 4, fill=colour),
    )


def brier(reports: Sequence[Report]) -> Markup:
    """Return the Brier score of all outcomes so far, by day, beside its limit; empty without outcomes."""
    found = [(one.date, one.harm.groups[0].brier) for one in reports if one.harm.groups and one.harm.groups[0].brier]
    if not found:
        return Markup("")
    points = [(float(when.toordinal()), score) for when, score in found if score]
    harm = reports[-1].harm
    limit = harm.reference_brier + harm.margin
    values = [value for _, one in points for value in (one.low, one.high)]
    low, high = min(*values, harm.reference_brier), max(*values, limit)
    room = max(0.01, (high - low) * 0.1)
    frame = Axes(of_days([when for when, _ in found]), (max(0.0, low - room), min(1.0, high + room)))
    parts = [*frame.rows(ticks(*frame.y_range)), *frame.dates()]
    parts.append(frame.area([(x, one.low, one.high) for x, one in points], BLUE))
    parts.append(frame.line([(x, one.value) for x, one in points], BLUE))
    parts.append(frame.level(harm.reference_brier, f"at its training {harm.reference_brier:.3f}", GREY, below=True))
    parts.append(frame.level(limit, f"plus the margin {limit:.3f}", RED))
    last = points[-1][1]
    label = f"Brier score of all outcomes so far, by day: {last.value:.3f} on the last day; 0 is best"
    return frame.picture(label, parts)


def e_values(
    days: Sequence[date], lines: Sequence[tuple[str, Sequence[float], str]], threshold: float, what: str
) -> Markup:
    """Return e-values by day on a logarithmic axis, with the level of the alarm; empty without a day.

    Args:
        days: n days.
        lines: name, n e-values and colour of each.
        threshold: the level of the alarm.
        what: what is above the level, for the label.
    """
    if not days:
        return Markup("")
    reached = max(threshold, *(max(values) for _, values, _ in lines))
    highest = min(reached, threshold * _HIGHEST)
    frame = Axes(of_days(days), (_LOWEST_E, highest * 4), logarithmic=True)
    parts = [*frame.rows(powers(*frame.y_range)), *frame.dates()]
    parts.append(frame.level(threshold, f"{what} from {threshold:,.0f}", RED, first=True))
    for name, values, colour in lines:
        points = [(float(when.toordinal()), value) for when, value in zip(days, values, strict=True)]
        parts.append(element("g", title(f"{name}: {number(values[-1])} on the last day"), frame.line(points, colour)))
    said = "; ".join(f"{name}: {number(values[-1])} on the last day" for name, values, _ in lines)
    if reached > highest:
        above = f"values above {number(highest)} are drawn there"
        parts.append(text(frame.left + 6, frame.top + 10, above, anchor="start"))
        said = f"{said}; {above}"
    return frame.picture(f"{said}; {what} from {threshold:,.0f}", parts)


def harm(reports: Sequence[Report]) -> Markup:
    """Return the e-value of "worse than at its training" by day; empty without outcomes."""
    counted = [one for one in reports if one.harm.counted]
    if not counted:
        return Markup("")
    line = ("e-value of “worse than at its training”", [one.harm.e for one in counted], ORANGE)
    return e_values([one.date for one in counted], [line], reports[-1].harm.threshold, "alarm")


def drift(reports: Sequence[Report]) -> Markup:
    """Return the e-value of "the patients differ" by day."""
    line = ("e-value of “the patients differ”", [one.drift.e for one in reports], PURPLE)
    return e_values([one.date for one in reports], [line], reports[-1].drift.threshold, "alarm")


def shadow(reports: Sequence[Report], version: str) -> Markup:
    """Return the e-values of "the candidate is better" and "worse" by day; empty without outcomes."""
    found = [(one.date, one.shadow) for one in reports if one.shadow and one.shadow.version == version]
    counted = [(when, one) for when, one in found if one and one.outcomes]
    if not counted:
        return Markup("")
    lines = [
        ("the candidate is better", [one.better for _, one in counted], GREEN),
        ("the candidate is worse", [one.worse for _, one in counted], ORANGE),
    ]
    return e_values([when for when, _ in counted], lines, counted[-1][1].threshold, "decided")


def sides(candidate: Shadow) -> Markup:
    """Return a bar of the records that change sides and those that do not; empty without a record."""
    if not candidate.answered:
        return Markup("")
    frame = Axes((0, candidate.answered), (0, 1), height=70, left=8, right=8)
    same = candidate.answered - candidate.to_disease - candidate.to_healthy
    parts, start = [], 0
    for name, count, colour in (
        ("the same answer", same, "#cfd8e3"),
        ("from healthy to disease", candidate.to_disease, ORANGE),
        ("from disease to healthy", candidate.to_healthy, BLUE),
    ):
        x, end = frame.x(start), frame.x(start + count)
        words = title(f"{name}: {count:,} of {candidate.answered:,}")
        if count:
            parts.append(element("rect", words, x=x, y=8, width=max(2.0, end - x), height=34, fill=colour))
        start += count
    parts.append(text(8, 62, f"same answer {share(same / candidate.answered)}", anchor="start"))
    label = (
        f"Of {candidate.answered:,} records, {same:,} get the same answer, {candidate.to_disease:,} change from "
        f"healthy to disease, {candidate.to_healthy:,} from disease to healthy"
    )
    return frame.picture(label, parts, "flat")


def volume(reports: Sequence[Report]) -> Markup:
    """Return the number of predictions of each day, with the usual number of its weekday."""
    counts = [one.completeness.records for one in reports]
    usual = [(one.date, value) for one in reports if (value := one.completeness.usual) is not None]
    first, last = of_days([one.date for one in reports])
    most = max([1.0, *counts, *(value for _, value in usual)])
    frame = Axes((first - 0.6, last + 0.6), (0, most * 1.08))
    parts = list(frame.rows([one for one in ticks(0, most * 1.08, 5) if one[0] == int(one[0])]))
    width = max(1.0, (frame.x(first + 0.8) - frame.x(first)))
    for report, count in zip(reports, counts, strict=True):
        x, words = frame.x(report.date.toordinal()), title(f"{report.date:%-d %B %Y}: {count:,} predictions")
        bottom = frame.height - frame.bottom
        height, colour = (bottom - frame.y(count), BLUE) if count else (5.0, RED)  # a silent day is seen
        parts.append(
            element("rect", words, x=x - width / 2, width=width, y=bottom - height, height=height, fill=colour)
        )
    for when, value in usual:
        x, y = frame.x(when.toordinal()), frame.y(value)
        parts.append(element("line", x1=x - width * 0.6, x2=x + width * 0.6, y1=y, y2=y, stroke=ORANGE, stroke_width=2))
    parts += frame.dates()
    return frame.picture(f"Predictions of each day: {counts[-1]:,} on the last day", parts)


def imputed(reports: Sequence[Report]) -> Markup:
    """Return the shares of records with an imputed field and of refused requests, of 28 days each, by day."""
    at_training = reports[-1].completeness.imputed_reference
    lines = [
        ("with an imputed field", [one.completeness.imputed for one in reports], BLUE),
        ("refused requests", [one.completeness.rejected_share for one in reports], ORANGE),
    ]
    highest = max(at_training, *(value for _, values, _ in lines for value in values))
    frame = Axes(of_days([one.date for one in reports]), (0, min(1.0, max(0.05, highest * 1.25))))
    parts = [*frame.rows([(value, share(value)) for value, _ in ticks(*frame.y_range, 5)]), *frame.dates()]
    parts.append(frame.level(at_training, f"imputed at training {share(at_training)}", GREY))
    for name, values, colour in lines:
        points = [(float(one.date.toordinal()), value) for one, value in zip(reports, values, strict=True)]
        words = title(f"{name}: {share(values[-1])} on the last day")
        parts.append(element("g", words, frame.line(points, colour)))
    said = "; ".join(f"{name}: {share(values[-1])}" for name, values, _ in lines)
    return frame.picture(f"Shares of the last 28 days, by day; on the last day {said}", parts)


def awaited(bands: Sequence[RiskBand]) -> Markup:
    """Return the share of predictions with an outcome, by predicted risk; empty without a prediction."""
    if not any(one.predictions for one in bands):
        return Markup("")
    frame = Axes((0, 1), (0, 1), height=260, right=26, bottom=52)
    parts = [*frame.rows([(one / 4, f"{one * 25} %") for one in range(5)]), *_probabilities(frame)]
    bottom = frame.height - frame.bottom
    for one in bands:
        left, right = frame.x(one.low) + 2, frame.x(one.high) - 2
        known = one.outcomes / one.predictions if one.predictions else 0.0
        range_ = f"predicted {share(one.low)} to {share(one.high)}"
        words = title(f"{range_}: {one.outcomes:,} of {one.predictions:,} predictions have an outcome")
        y = frame.y(known)
        parts.append(element("rect", words, x=left, width=right - left, y=y, height=bottom - y, fill=BLUE))
        if one.predictions:
            parts.append(text((left + right) / 2, max(frame.top + 10, y - 5), share(known)))
    return frame.picture("Share of predictions with an outcome, by predicted probability", parts)


def number(value: float) -> str:
    """Return an e-value or p-value in few digits."""
    if value >= 100:
        return f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"
    return f"{value:.2g}" if value >= 0.001 else f"{value:.1e}"
