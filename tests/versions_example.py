"""A year of a registry with two versions a week, for the picture of the page "Versions" in the README."""

import random
from datetime import UTC, datetime, timedelta

from heartline.ledger.entry import Entry
from heartline.registry.mlflow_http import ListedModel, ListedVersion
from heartline.reports import versions_history
from heartline.reports.versions_history import History

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
WEEKS = 24
FAMILIES = ("logistic_regression", "random_forest")


def history() -> History:
    """Return versions with plausible scores, a move by the first `up`, one by an approval and one by hand."""
    drawn = random.Random(4)
    versions = []
    for week in range(WEEKS):
        for position, family in enumerate(FAMILIES):
            auc = 0.905 + drawn.gauss(0, 0.006) + 0.0005 * week
            scores = "; ".join(
                f"{title} {value:.3f} ({value - below:.3f} to {value + above:.3f})"
                for title, value, below, above in (
                    ("ROC AUC", auc, 0.036, 0.030),
                    ("Brier score", 0.118 + drawn.gauss(0, 0.003), 0.019, 0.022),
                    ("Recall (sensitivity)", 0.80 + drawn.gauss(0, 0.01), 0.07, 0.06),
                    ("Specificity", 0.86 + drawn.gauss(0, 0.01), 0.06, 0.05),
                )
            )
            tags = {"family": family, "origin": "postgres", "profile": "full", "scores": scores}
            tags |= {"verdict": "no detectable difference", "reason": "There is no detectable difference."}
            when = NOW - timedelta(days=14 * (WEEKS - week), hours=7, seconds=-9 * position)
            versions.append(ListedVersion(str(len(versions) + 1), when, "run", tags))
    return versions_history.build(ListedModel(tuple(versions), {"production": "35"}), _ledger(versions))


def _ledger(versions: list[ListedVersion]) -> list[Entry]:
    found: list[Entry] = []

    def add(kind: str, version: int, by: str, days: float, **facts: object) -> None:
        at = versions[version - 1].registered + timedelta(days=days)
        found.append(Entry(len(found) + 1, at, kind, str(version), by, facts, "ledger", None, "", ""))

    def move(before: int | None, after: int, by: str, how: str, days: float) -> None:
        add(
            "moved", after, by, days, **{"from": str(before or ""), "to": str(after), "how": how, "alias": "production"}
        )
        add("served", after, "service on web-1", days + 0.0001)

    move(None, 1, "admin", "first up", 0.1)
    add("requested", 17, "schedule", 0.01)
    add("approved", 17, "dr.meyer", 0.9, reason="Calibration checked on the spring's admissions")
    move(1, 17, "dr.meyer", "approval", 0.9001)
    move(17, 35, "admin", "promote", 1.2)
    add("requested", 48, "schedule", 0.01)
    add("rejected", 48, "dr.okafor", 1.3, reason="Recall under the age of 50 is too low")
    return found
