"""What the monitoring of one version keeps from day to day: counts and sums, of constant size, no record and no id."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from heartline.errors import HandoverError
from heartline.monitoring.inputs import Settings
from heartline.monitoring.methods import conformal, harm, live, refused
from heartline.monitoring.methods.betting import Wealth
from heartline.monitoring.methods.columns import COUNTED
from heartline.monitoring.methods.live import Live
from heartline.monitoring.methods.paired import Compared
from heartline.monitoring.methods.refused import Refused
from heartline.monitoring.methods.volume import Volume
from heartline.monitoring.recent import Recent, Week

FORMAT = 1
LONGEST = 730  # days of delay that are counted; longer ones are counted there


@dataclass(frozen=True)
class State:
    """All that is kept of one version.

    Attributes:
        digest: of the version's bundle.
        first: the first day.
        settings: of the team on the first day. They are those of the version's whole life: a rate that is changed
            while one looks is none.
        date: the last day that was counted.
        predictions: so far.
        counts: of each column, predictions by cell.
        drift: the e-processes of the columns.
        harm: the e-process of the Brier score.
        live: outcomes by score.
        corrected: corrections that changed the outcome.
        delays: (days,) first outcomes by their delay.
        recent: the last days.
        week: the present week; None at its beginning.
        weekly: p-values of the last week.
        weekly_raised: columns that were in a weekly alarm.
        volume: records of the whole service on the last days on which the version was in production.
        refused: the same days by their share of refused requests.
        shadow: the comparison with the candidate; None without one.
        raised: the kinds of alarms that are raised once and were raised.
        format: of this document.
    """

    digest: str
    first: datetime.date
    settings: Settings
    date: datetime.date
    predictions: int
    counts: list[list[int]]
    drift: Wealth
    harm: Wealth
    live: Live
    corrected: int
    delays: list[int]
    recent: list[Recent]
    week: Week | None
    weekly: Mapping[str, float]
    weekly_raised: list[str]
    volume: Volume
    refused: Refused
    shadow: Compared | None
    raised: list[str] = field(default_factory=list)
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Return it as JSON, the same bytes for the same state."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes | str) -> "State":
        """Return the state that ``to_json`` wrote.

        Raises:
            HandoverError: it is another document, or one of another version of Heartline.
        """
        try:
            found = msgspec.json.decode(data, type=cls)
        except msgspec.ValidationError as error:
            raise _unreadable(str(error)) from error
        if found.format != FORMAT:
            raise _unreadable(f"format {found.format}")
        return found


def _unreadable(what: str) -> HandoverError:
    return HandoverError(
        f"a state of the monitoring cannot be read: {what}",
        where="the table of the monitoring's states",
        expected=f"a document of format {FORMAT}",
        hint="run the version of Heartline that wrote it",
    )


def start(digest: str, date: datetime.date, settings: Settings) -> State:
    """Return the state of a version before its first day.

    Args:
        digest: of its bundle.
        date: the first day.
        settings: of the team.
    """
    return State(
        digest=digest,
        first=date,
        settings=settings,
        date=date - datetime.timedelta(days=1),
        predictions=0,
        counts=[[0] * column.size for column in COUNTED],
        drift=conformal.start(len(COUNTED)),
        harm=harm.start(),
        live=live.start(),
        corrected=0,
        delays=[0] * (LONGEST + 1),
        recent=[],
        week=None,
        weekly={},
        weekly_raised=[],
        volume=Volume(),
        refused=refused.start(),
        shadow=None,
    )
