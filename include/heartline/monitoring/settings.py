"""The settings of the monitoring."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heartline.monitoring.inputs import Settings

MARGIN, HARM_RATE, DRIFT_RATE, WEEKLY_RATE = (
    "HEARTLINE_HARM_MARGIN",
    "HEARTLINE_HARM_RATE",
    "HEARTLINE_DRIFT_RATE",
    "HEARTLINE_WEEKLY_RATE",
)
RATES = (HARM_RATE, DRIFT_RATE, WEEKLY_RATE)


def of(environ: Mapping[str, str] = os.environ) -> "Settings":
    """Read the settings; ``stack.setting_checks`` has refused wrong ones before the stack was started."""
    from heartline.monitoring.inputs import Settings  # it imports numpy, which the command line does without

    usual = Settings()
    return Settings(
        margin=float(environ.get(MARGIN) or usual.margin),
        harm_rate=float(environ.get(HARM_RATE) or usual.harm_rate),
        drift_rate=float(environ.get(DRIFT_RATE) or usual.drift_rate),
        weekly_rate=float(environ.get(WEEKLY_RATE) or usual.weekly_rate),
    )


def is_margin(text: str) -> bool:
    """Return whether a text is a margin: a number from 0 to below 1, as a Brier score is between 0 and 1."""
    return (value := _number(text)) is not None and 0 <= value < 1


def is_rate(text: str) -> bool:
    """Return whether a text is the probability of a false alarm: above 0 and below 1."""
    return (value := _number(text)) is not None and 0 < value < 1


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
