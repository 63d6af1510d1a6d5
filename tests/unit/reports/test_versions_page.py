"""The page of all versions: its answer in words, its figure, and every state that a registry can be in."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape

import pytest

from heartline.evaluation.metrics import Estimate
from heartline.ledger.entry import Entry
from heartline.registry.mlflow_http import ListedModel, ListedVersion
from heartline.registry.production.alias_history import EXTERNAL
from heartline.reports import versions_change, versions_history, versions_page
from heartline.reports.versions_change import BETTER, NONE, SAME, UNKNOWN, WORSE
from heartline.reports.versions_history import History, Score

FIRST = datetime(2026, 1, 10, 2, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
MARCH = date(2026, 3, 1)


def _listed(number: int, auc: float = 0.9, *, half: float = 0.03, **tags: str) -> ListedVersion:
    scores = f"ROC AUC {auc:.3f} ({auc - half:.3f} to {auc + half:.3f}); Brier score 0.115 (0.095 to 0.138)"
    usual = {"family": "random_forest", "origin": "file", "profile": "full", "scores": scores}
    return ListedVersion(str(number), FIRST + timedelta(days=30 * (number - 1)), f"run-{number}", usual | tags)


class Ledger(list):
    """Entries, each a day after the one before unless a time is given."""

    def add(self, kind: str, version: int | str, by: str = "ann", at: datetime | None = None, **facts) -> "Ledger":
        when = at or (self[-1].at + timedelta(hours=1) if self else FIRST)
        self.append(Entry(len(self) + 1, when, kind, str(version), by, facts, "ledger", None, "", ""))
        return self

    def move(self, before: int | str, after: int | str, month: int, by: str = "user ann", **facts) -> "Ledger":
        at = datetime(2026, month, 15, 9, 0, tzinfo=UTC)
        return self.add("moved", after, by, at, **{"from": str(before), "to": str(after), "how": "promote"} | facts)


def _history(*versions: ListedVersion, ledger: list[Entry] = (), production: str = "") -> History:
    return versions_history.build(ListedModel(versions, {"production": production} if production else {}), ledger)


def _page(history: History, since: date | None = MARCH) -> str:
    return versions_page.render(history, since=since, now=NOW, dag="heart_training").decode()


def _text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.partition("<main")[2])).split())


def _headline(page: str) -> str:
    return re.search(r"<h1>(.*?)</h1>", page)[1]


@pytest.fixture
def changed() -> History:
    """Version 1 in production since January, version 3 since June, approved by Ben."""
    ledger = Ledger().move("", 1, 1, how="first up")
    ledger.add("requested", 3, "run scheduled__x", datetime(2026, 6, 15, 7, tzinfo=UTC))
    ledger.add("approved", 3, "ben", reason="checked against the spring's outcomes")
    ledger.move(1, 3, 6, "ben", how="approval")
    ledger.add("served", 3, "service on web-1")
    return _history(_listed(1, 0.92), _listed(2), _listed(3, 0.9), ledger=ledger, production="3")


def test_the_first_sentences_say_whether_it_got_worse_and_who_approved(changed):
    text = _text(_page(changed))
    assert text.index("No detectable change since 1 March 2026, from version 1 to version 3") < 200
    assert "In production then: version 1, ROC AUC 0.920, 95 % interval 0.890 to 0.950." in text
    assert "In production now: version 3, ROC AUC 0.900, 95 % interval 0.870 to 0.930." in text
    assert "Difference in ROC AUC: −0.020, 95 % interval −0.062 to +0.022." in text
    assert "version 1 → version 3, approved by ben checked against the spring's outcomes , moved by ben" in text
    assert text.index("approved by ben") < text.index("of each version, by the time of its registration")


def test_moves_before_the_date_are_not_among_the_changes(changed):
    answer = _page(changed).partition("<form")[0]
    assert "15 Jun 2026, 09:00" in answer
    assert "15 Jan 2026, 09:00" not in answer
    assert "15 Jan 2026, 09:00" in _page(changed)


@pytest.mark.parametrize(
    ("now", "half", "outcome", "headline"),
    [
        (0.80, 0.02, WORSE, "Yes, it got worse since 1 March 2026: version 2 is worse than version 1"),
        (0.98, 0.02, BETTER, "No, it got better since 1 March 2026: version 2 is better than version 1"),
        (0.89, 0.05, NONE, "No detectable change since 1 March 2026, from version 1 to version 2"),
    ],
)
def test_the_answer_follows_the_interval_of_the_difference(now, half, outcome, headline):
    ledger = Ledger().move("", 1, 1).move(1, 2, 6)
    history = _history(_listed(1, 0.9, half=0.02), _listed(2, now, half=half), ledger=ledger, production="2")
    assert versions_change.since(history, MARCH).outcome == outcome
    assert _headline(_page(history)) == headline


def test_a_move_without_an_approval_says_so():
    ledger = Ledger().move("", 1, 1).move(1, 2, 6, "user ann", forced=True)
    text = _text(_page(_history(_listed(1), _listed(2), ledger=ledger, production="2")))
    assert "moved by user ann with ./heartline promote (forced), without an approval" in text


def test_a_move_by_hand_in_mlflow_says_so():
    ledger = Ledger().move("", 1, 1).move(1, 2, 6, "unknown", how=EXTERNAL)
    text = _text(_page(_history(_listed(1), _listed(2), ledger=ledger, production="2")))
    assert "version 1 → version 2, moved by hand in MLflow (its UI or API), by whom is not recorded" in text


def test_an_approval_that_was_withdrawn_later_does_not_count():
    ledger = Ledger().move("", 1, 1).add("approved", 2, "ben", reason="it is good enough")
    ledger.add("withdrawn", 2, "run x").move(1, 2, 6)
    history = _history(_listed(1), _listed(2), ledger=ledger, production="2")
    assert history.spans[-1].approval is None


def test_without_a_version_the_page_says_so():
    page = _page(_history(), None)
    assert _headline(page) == "No version is registered yet"
    assert "<svg" not in page
    assert "A run of the training DAG registers the first version." in page


def test_versions_that_were_never_in_production_have_no_answer():
    page = _page(_history(_listed(1), _listed(2)), None)
    assert _headline(page) == "No version is in production"
    assert "<h2>In production</h2>" not in page
    assert page.count("<circle") == 2


def test_one_version_in_production_has_not_changed():
    history = _history(_listed(1), ledger=Ledger().move("", 1, 1), production="1")
    assert versions_change.since(history, MARCH).outcome == SAME
    page = _page(history)
    assert _headline(page) == "Nothing changed since 1 March 2026: version 1 is in production"
    assert "Who approved" not in page


def test_the_date_is_that_of_the_first_move_or_90_days_ago():
    young = Ledger().move("", 1, 11)
    assert versions_change.usual_date(_history(_listed(1), ledger=young), NOW.date()) == date(2026, 11, 15)
    old = Ledger().move("", 1, 1)
    assert versions_change.usual_date(_history(_listed(1), ledger=old), NOW.date()) == date(2026, 9, 1)


def test_a_date_before_the_first_move_compares_with_the_first_version():
    ledger = Ledger().move("", 1, 5).move(1, 2, 6)
    text = _text(_page(_history(_listed(1), _listed(2), ledger=ledger, production="2")))
    assert "No version was in production then; the first one was version 1" in text


def test_a_deleted_version_stays_with_what_the_ledger_knows():
    ledger = Ledger().add("registered", 1, "run a", family="logistic_regression", roc_auc=0.913).move("", 1, 1)
    ledger.move(1, 2, 6)
    history = _history(_listed(2), ledger=ledger, production="2")
    gone = history.version("1")
    assert (gone.deleted, gone.family, gone.roc_auc, gone.registered) == (
        True,
        "logistic_regression",
        Score(0.913),
        FIRST,
    )
    page = _page(history)
    assert '<b>1</b> <span class="badge same">deleted</span>' in page
    assert 'href="../comparison/version/1"' not in page
    assert 'href="../comparison/version/2"' in page


def test_a_deleted_version_of_which_nothing_is_known_is_named():
    history = _history(_listed(2), ledger=Ledger().move("", 1, 1).move(1, 2, 6), production="2")
    assert versions_change.since(history, MARCH).outcome == UNKNOWN
    page = _page(history)
    assert _headline(page) == "From version 1 to version 2 since 1 March 2026: the change is not known"
    assert "version 1, ROC AUC not known" in page


def test_a_move_by_hand_that_is_not_in_the_ledger_yet_is_shown():
    history = _history(_listed(1), _listed(2), ledger=Ledger().move("", 1, 1), production="2")
    assert history.spans[-1].version == "2"
    assert history.spans[-1].start is None
    assert "moved by hand in MLflow, not entered in the ledger yet" in _page(history)


def test_a_version_without_a_recorded_move_was_not_in_production_before_it_was_registered():
    history = _history(_listed(2), production="2")
    change = versions_change.since(history, date(2026, 1, 20))
    assert (change.outcome, change.first) == (SAME, True)
    assert versions_change.usual_date(history, date(2026, 3, 1)) == date(2026, 2, 9)
    assert history.at(FIRST) is None


def test_an_alias_that_was_removed_leaves_no_version_in_production():
    history = _history(_listed(1), ledger=Ledger().move("", 1, 1).move(1, "", 6))
    assert _headline(_page(history)) == "No version is in production"
    assert history.spans[0].end == datetime(2026, 6, 15, 9, tzinfo=UTC)


def test_the_version_before_the_ledgers_first_move_is_known_by_it():
    history = _history(_listed(1), _listed(2), ledger=Ledger().move(1, 2, 6), production="2")
    assert [(one.version, one.start) for one in history.spans] == [
        ("1", None),
        ("2", datetime(2026, 6, 15, 9, tzinfo=UTC)),
    ]


def test_a_move_from_before_the_ledger_has_the_time_that_it_states():
    ledger = Ledger().move("", 1, 6, when="2025-10-01T02:00:00.000000Z", imported=True)
    assert _history(_listed(1), ledger=ledger, production="1").spans[0].start == datetime(2025, 10, 1, 2, tzinfo=UTC)


def test_moves_of_other_aliases_are_left_out():
    ledger = Ledger().move("", 1, 1).move(1, 2, 6, alias="staging")
    assert [one.version for one in _history(_listed(1), _listed(2), ledger=ledger).spans] == ["1"]


def test_texts_of_people_are_escaped_everywhere():
    evil = "<script>alert('x')</script>"
    ledger = Ledger().move("", 1, 1).add("approved", 2, evil, reason=evil).move(1, 2, 6, evil, reason=evil)
    ledger.add("rejected", 1, evil, reason=evil).add("served", 2, evil)
    page = _page(
        _history(_listed(1), _listed(2, family=evil, reason=evil, verdict=evil), ledger=ledger, production="2")
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 6


def test_the_page_loads_nothing_and_runs_no_script(changed):
    page = _page(changed)
    assert "<script" not in page
    assert not re.search(r'(src|action|href)="(https?:|//|/)', page)
    assert 'name="dag" value="heart_training"' in page


def test_each_score_of_the_tag_is_read_with_its_interval():
    text = "; ".join(
        f"{title} {one}"
        for title, one in {
            "ROC AUC": Estimate(0.9123, 0.871, 0.943, 303),
            "Recall (sensitivity)": Estimate(
                0.81, None, None, 139, "no interval: every bootstrap sample gives the same"
            ),
            "Specificity": Estimate(None, None, None, 0, "no record is without the disease"),
        }.items()
    )
    assert versions_history.scores_in(text) == {
        "ROC AUC": Score(0.912, 0.871, 0.943),
        "Recall (sensitivity)": Score(0.81),
    }


def test_a_version_without_the_tag_shows_what_its_run_stored():
    listed = _listed(1, scores="", roc_auc="0.9")
    assert versions_history.build(ListedModel((listed,), {}), []).versions[0].roc_auc == Score(0.9)
    stored = {"1": {"ROC AUC": Score(0.91, 0.88, 0.94)}}
    assert versions_history.build(ListedModel((listed,), {}), [], stored).versions[0].roc_auc == Score(0.91, 0.88, 0.94)


def test_the_difference_of_two_scores_without_intervals_has_none():
    assert versions_change.difference(Score(0.9), Score(0.8, 0.7, 0.9)) == Score(pytest.approx(-0.1))
    assert versions_change.difference(None, Score(0.8)) is None


def test_equal_scores_give_an_interval_around_zero():
    found = versions_change.difference(Score(0.9, 0.87, 0.93), Score(0.9, 0.87, 0.93))
    assert found.value == 0
    assert -found.low == pytest.approx(found.high) == pytest.approx(0.03 * 2**0.5)


@pytest.mark.parametrize(
    ("one", "other", "caution"),
    [
        ({"origin": "sample"}, {}, "Version 1 was trained and evaluated on the synthetic sample"),
        ({"profile": "quick"}, {}, "evaluated with different profiles (quick and full)"),
        ({"origin": "sample"}, {"origin": "sample"}, ""),
    ],
)
def test_what_limits_the_comparison_is_said(one, other, caution):
    ledger = Ledger().move("", 1, 1).move(1, 2, 6)
    history = _history(_listed(1, **one), _listed(2, **other), ledger=ledger, production="2")
    cautions = versions_change.since(history, MARCH).cautions
    assert len(cautions) == bool(caution)
    assert caution in " ".join(cautions)


def test_many_versions_are_one_figure_and_a_table_that_unfolds():
    versions = [
        replace(_listed(1), number=str(1 + number), registered=FIRST + timedelta(days=number)) for number in range(300)
    ]
    page = _page(_history(*versions, ledger=Ledger().move("", 1, 1), production="1"))
    assert page.count("<circle") == 300
    assert "270 older versions" in page
    places = [float(one) for one in re.findall(r'<circle cx="([\d.]+)"', page)]
    assert places == sorted(places)
    assert min(places) >= 54
    assert max(places) <= 960


@pytest.mark.parametrize("age", [timedelta(minutes=2), timedelta(hours=5), timedelta(days=40), timedelta(days=1500)])
def test_the_time_axis_has_a_few_labels_at_every_scale(age):
    old = ListedVersion("1", NOW - age, "r", _listed(1).tags)
    page = _page(_history(old), None)
    times = re.findall(r'y="328" text-anchor="middle" font-weight="400">([^<]+)<', page)
    assert 1 <= len(times) <= 13
    assert len(set(times)) == len(times)
