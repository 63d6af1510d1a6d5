"""The page on monitoring: its sentence, its alarms, a picture for each question, and every state that it can be in."""

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from heartline.monitoring.alarm_entries import OpenAlarm
from heartline.monitoring.report import ColumnDrift
from heartline.reports.monitoring import figures, history, key_figures, page, sentence
from heartline.reports.monitoring.history import Monitored
from tests import monitoring_reports as example
from tests.monitoring_reports import TODAY
from tests.pages import EVIL, Page


def _page(monitored: Monitored, **more) -> Page:
    return Page(page.render(monitored, today=more.pop("today", TODAY), **more))


def _headline(monitored: Monitored, today: date = TODAY) -> str:
    return sentence.of(monitored, today).headline


def _pictures(shown: Page) -> list[str]:
    return [str(attributes["aria-label"]) for tag, attributes in shown.tags if tag == "svg"]


def test_a_quiet_day_is_one_sentence_that_needs_no_statistics():
    found = example.monitored("quiet")
    said = sentence.of(found, TODAY)
    outcomes = found.latest.harm.counted
    assert said.headline == (
        f"On 1 March 2026 nothing needs attention: in {outcomes} outcomes there is no sign that version 7 is worse "
        "than at its training, or that its patients differ from those of its training"
    )
    assert said.tone == ""
    shown = _page(found)
    assert shown.text.index(said.headline) < 200
    assert "Open alarms" not in shown.text


def test_harm_is_the_first_thing_that_is_said():
    found = example.monitored("harm")
    (raised,) = found.alarms
    said = sentence.of(found, TODAY)
    day = sentence.day(raised.alarm.date)
    assert said.headline == f"Since {day} version 7 is worse than at its training"
    assert said.tone == "bad"
    text = _page(found).text
    assert text.index(said.headline) < text.index("Open alarms") < text.index("Is the model right?")


def test_drift_says_that_it_is_no_harm():
    found = example.monitored("drift")
    said = sentence.of(found, TODAY)
    assert said.headline.startswith("Since ")
    assert said.headline.endswith("the patients of version 7 differ from those of its training")
    assert said.tone == "fair"
    assert "give no sign that it is worse" in " ".join(said.more)
    text = _page(found).text
    assert "Nothing is retrained" in text
    assert "by more than chance explains, most in: Cholesterol, Probability of disease." in text


def test_a_silent_day_is_said_with_its_date():
    found = example.monitored("silent")
    assert _headline(found) == "On 1 March 2026 no record arrived"
    text = _page(found).text
    assert "Check that the service runs" in text
    assert "0 predictions on the last day" in text


def test_several_alarms_are_one_sentence_the_most_urgent_first():
    alarms = [
        OpenAlarm(1, example.alarm("weekly", date(2026, 2, 23))),
        OpenAlarm(2, example.alarm("drift", date(2026, 2, 20))),
        OpenAlarm(3, example.alarm("harm", date(2026, 2, 24))),
        OpenAlarm(4, example.alarm("harm", date(2026, 2, 26))),
    ]
    found = replace(example.monitored("quiet"), alarms=tuple(alarms))
    assert _headline(found) == (
        "Since 24 February 2026 version 7 is worse than at its training, and since 20 February 2026 the patients of "
        "version 7 differ from those of its training, and in the week until 23 February 2026 a column differed from "
        "the training of version 7"
    )
    assert [one for one in _page(found).ids if one.startswith("alarm-")] == ["alarm-3", "alarm-4", "alarm-2", "alarm-1"]


@pytest.mark.parametrize("kind", sentence.KINDS)
def test_each_alarm_states_its_false_alarm_rate_and_what_to_do(kind):
    found = replace(example.monitored("quiet"), alarms=(OpenAlarm(12, example.alarm(kind, TODAY)),))
    text = _page(found).text
    assert f"False alarms of this kind: {found.alarms[0].alarm.rate}" in text
    assert sentence.ACTIONS[kind][0] in text
    assert '--acknowledge 12 --reason "…"' in text


def test_an_alarm_of_a_kind_of_a_newer_release_is_shown():
    found = replace(example.monitored("quiet"), alarms=(OpenAlarm(12, example.alarm("weather", TODAY)),))
    assert _headline(found) == "On 2 March 2026 there was an alarm (weather) about version 7"
    assert "An alarm of the kind weather." in _page(found).text


def test_with_the_form_an_alarm_is_acknowledged_by_post_with_a_reason():
    shown = _page(example.monitored("harm"), form=True, dag="heart_scoring")
    forms = [attributes for tag, attributes in shown.tags if tag == "form"]
    assert forms == [{"method": "post", "action": "./acknowledge"}]
    fields = {attributes["name"]: attributes for tag, attributes in shown.tags if tag in ("input", "textarea")}
    assert (fields["number"]["value"], fields["dag"]["value"]) == ("40", "heart_scoring")
    assert fields["reason"]["minlength"] == "10"
    labels = [attributes["for"] for tag, attributes in shown.tags if tag == "label"]
    assert labels == [fields["reason"]["id"]]
    assert "./heartline monitor" not in shown.text
    assert ("meta", {"name": "referrer", "content": "same-origin"}) in shown.tags


def test_after_an_acknowledgement_the_harm_is_still_said():
    found = example.monitored("harm", open_=False)
    assert _headline(found) == (
        "Version 7 is worse than at its training, which was acknowledged; nothing else needed attention on 1 March 2026"
    )
    assert sentence.of(found, TODAY).tone == "same"
    assert "No. In" in _page(found).text


def test_after_an_acknowledgement_the_drift_is_still_said():
    said = _headline(example.monitored("drift", open_=False))
    assert said.endswith("worse than at its training (acknowledged: its patients differ from those of its training)")


def test_without_outcomes_the_estimate_is_labelled_with_what_it_assumes():
    found = example.monitored("no outcomes")
    assert _headline(found) == (
        "On 1 March 2026 nothing needs attention: whether version 7 is right is not known before outcomes arrive, and "
        "there is no sign that its patients differ from those of its training"
    )
    shown = _page(found)
    assert "Estimate without outcomes: Brier score 0.127, ROC AUC 0.902." in shown.text
    assert "of the last 28 days alone (260 predictions)" in shown.text
    assert "It assumes that these are right" in shown.text
    assert "Not known yet: no outcome has arrived." in shown.text
    assert not [one for one in _pictures(shown) if one.startswith(("Brier", "Observed", "e-value of “worse"))]


def test_without_a_candidate_the_page_says_so():
    shown = _page(example.monitored("no candidate"))
    assert "there was no candidate: staging pointed at no other version" in shown.text
    assert not [one for one in _pictures(shown) if "candidate" in one]


def test_with_a_candidate_agreement_changes_of_sides_and_evidence_are_shown():
    found = example.monitored("quiet")
    shown = _page(found)
    assert "Not decided yet" in shown.text
    (bar,) = [one for one in _pictures(shown) if one.startswith(f"Of {found.latest.shadow.answered:,} records")]
    assert f"{found.latest.shadow.to_disease} change from healthy to disease" in bar
    assert any("the candidate is better" in one and "decided from 100" in one for one in _pictures(shown))


@pytest.mark.parametrize(("better", "worse", "said"), [(120.0, 0.1, "Yes: in"), (0.1, 120.0, "No: in")])
def test_a_decision_about_the_candidate_is_a_sentence(better, worse, said):
    last = example.reports("quiet")[-1]
    decided = replace(last, shadow=replace(last.shadow, better=better, worse=worse))
    assert said in _page(history.build([decided])).text


def test_before_the_first_day_the_page_says_when_there_will_be_one():
    shown = _page(Monitored())
    assert "No day has been monitored yet." in shown.text
    assert "heart_monitoring writes a report of each day (UTC) in the night after it." in shown.text
    assert _pictures(shown) == []


def test_without_a_prediction_log_the_page_says_how_to_switch_it_on():
    shown = _page(Monitored(logged=False))
    assert "Predictions are not logged, so nothing is monitored." in shown.text
    assert "HEARTLINE_PREDICTION_LOG_URL" in shown.text


def test_a_monitoring_that_stopped_is_not_called_quiet():
    found = example.monitored("quiet")
    said = sentence.of(found, example.LAST + timedelta(days=5))
    assert said.headline == "The monitoring stopped: its last day is 1 March 2026, 5 days ago"
    assert said.tone == "fair"
    assert sentence.of(found, example.LAST + timedelta(days=2)).headline.startswith("On 1 March 2026 nothing")


def test_the_first_day_of_a_version_has_pictures():
    (first,) = example.reports("quiet")[:1]
    shown = _page(history.build([first]), today=first.date + timedelta(days=1))
    assert any(one.startswith("Predictions of each day") for one in _pictures(shown))


def test_the_version_in_production_is_shown_and_another_one_can_be_chosen():
    other = example.reports("no outcomes", version="8")
    reports = [*example.reports("quiet"), *other]
    assert history.build(reports, production="7").latest.version == "7"
    assert history.build(reports, version="8", production="7").latest.version == "8"
    assert history.build(reports, version="99").latest is None
    shown = _page(history.build(reports, production="7"))
    assert [dict(attributes) for tag, attributes in shown.tags if tag == "option"] == [{}, {"selected": None}]
    assert _headline(history.build(reports, version="99")) == "This version has no report"


def test_the_version_with_most_predictions_is_shown_where_production_is_not_known():
    one, other = example.reports("quiet")[-1], example.reports("silent", version="8")[-1]
    assert history.build([one, other]).latest.version == "7"


def test_each_picture_has_a_text_and_a_table_beside_it():
    shown = _page(example.monitored("quiet"))
    assert len(_pictures(shown)) >= 8 + 15
    assert all(len(one) > 20 for one in _pictures(shown))
    tables = sum(tag == "table" for tag, _ in shown.tags)
    assert tables >= 7
    assert all(attributes.get("scope") for tag, attributes in shown.tags if tag == "th")


def test_a_statistician_finds_method_assumptions_sources_and_the_rate_of_the_page():
    found = example.monitored("quiet")
    text = _page(found).text
    method = text[text.index("Method, assumptions and false-alarm rate") :]
    assert f"False alarms of this whole page: {example.RATE}" in method
    for word in ("Ville", "Waudby-Smith", "Podkopaev", "Vovk", "Bonferroni", "exchangeability", "calibrated", "CBPE"):
        assert word in method


def test_outcomes_that_are_no_fair_sample_are_named():
    last = example.reports("quiet")[-1]
    fair = [replace(one, outcomes=one.predictions // 2) for one in last.awaited.bands]
    equal = replace(last, awaited=replace(last.awaited, bands=fair))
    assert "Outcomes are known about equally often at each predicted risk." in _page(history.build([equal])).text
    biased = [replace(one, outcomes=one.predictions if one.low > 0.5 else 0) for one in last.awaited.bands]
    unequal = replace(last, awaited=replace(last.awaited, bands=biased))
    assert "describe those patients and not all of them" in _page(history.build([unequal])).text


def test_groups_with_too_few_outcomes_say_so():
    last = example.reports("quiet")[-1]
    groups = [last.harm.groups[0], replace(last.harm.groups[1], brier=None, auc=None, slope=None, intercept=None)]
    text = _page(history.build([replace(last, harm=replace(last.harm, groups=groups))])).text
    assert "sex: female" in text
    assert "too few" in text


def test_texts_from_outside_are_escaped():
    last = example.reports("quiet")[-1]
    column = ColumnDrift("age", EVIL, 1.0, [EVIL], [1.0], [1.0], 0.0, 0.0)
    report = replace(
        last,
        version=EVIL,
        rate=EVIL,
        drift=replace(last.drift, columns=[column]),
        completeness=replace(last.completeness, rejected={EVIL: 1}),
        notes=[EVIL],
    )
    raised = OpenAlarm(1, replace(example.alarm("harm", TODAY, EVIL), rate=EVIL, figures={EVIL: EVIL}))
    found = page.render(history.build([report], [raised]), today=TODAY, dag=EVIL, form=True, said=EVIL).decode()
    assert "<script" not in found
    assert found.count("&lt;script&gt;") > 8


def test_the_page_loads_nothing_runs_no_script_and_is_the_same_every_time():
    found = page.render(example.monitored("quiet"), today=TODAY)
    assert found == page.render(example.monitored("quiet"), today=TODAY)
    assert b"<script" not in found
    assert not re.search(rb'(src|action|href)="(https?:|//|/)', found)


def test_what_else_is_to_be_known_is_said():
    last = replace(example.reports("quiet")[-1], notes=["The records of the training are gone."])
    text = _page(history.build([last], notes=["Version 6 is not monitored."])).text
    assert "The records of the training are gone." in text
    assert "Version 6 is not monitored." in text


def test_a_year_of_days_is_small_enough_for_a_browser():
    reports = example.reports("quiet", first=date(2025, 3, 1))
    assert len(page.render(history.build(reports), today=TODAY)) < 600_000


def test_all_places_of_pictures_are_inside_of_their_box():
    for scenario in example.SCENARIOS:
        found = page.render(example.monitored(scenario), today=TODAY).decode()
        for width, height, inner in re.findall(r'viewBox="0 0 (\d+) (\d+)"[^>]*>(.*?)</svg>', found, re.DOTALL):
            xs = [float(one) for one in re.findall(r' c?x[12]?="([-\d.]+)"', inner)]
            ys = [float(one) for one in re.findall(r' c?y[12]?="([-\d.]+)"', inner)]
            assert not xs or (min(xs) >= 0 and max(xs) <= float(width))
            assert not ys or (min(ys) >= 0 and max(ys) <= float(height))


def test_the_key_figures_are_those_of_the_report():
    last = example.monitored("quiet").latest
    found = {one.name: one for one in key_figures.of(last)}
    assert found["outcomes"].value == f"{last.awaited.outcomes} of {last.awaited.predictions}"
    live = last.harm.groups[0]
    assert found["Brier score"].value == f"{live.brier.value:.3f} ({live.brier.low:.3f} to {live.brier.high:.3f})"
    assert found["Brier score"].beside == "0.124 at its training, margin 0.02"
    assert found["version 9: same answers"].value == "95 %"
    names = {one.name for one in key_figures.of(example.monitored("no candidate").latest)}
    assert not [one for one in names if one.startswith("version 9")]


def test_the_last_28_days_are_beside_all_outcomes():
    harmed = example.monitored("harm")
    figure = {one.name: one for one in key_figures.of(harmed.latest)}["Brier score, last 28 days"]
    assert (figure.value, figure.beside) == ("0.183", "240 outcomes")
    assert "Last 28 days: Brier score 0.183 in 240 outcomes; at its training 0.124" in _page(harmed).text
    quiet = harmed.latest
    none = replace(quiet, harm=replace(quiet.harm, recent_brier=None, recent_outcomes=0))
    assert "Last 28 days: no outcome; at its training 0.124" in _page(history.build([none])).text
    figure = {one.name: one for one in key_figures.of(none)}["Brier score, last 28 days"]
    assert (figure.value, figure.beside) == ("–", "0 outcomes")


def test_the_score_at_training_is_an_estimate():
    found = example.monitored("quiet")
    text = _page(found).text
    assert "an estimate from 303 records; its standard error is 0.013" in text
    assert "The false-alarm rate holds against this number; the number itself is an estimate" in text
    unknown = replace(found.latest.harm, reference_error=None)
    gone = _page(history.build([replace(found.latest, reference_records=0, harm=unknown)])).text
    assert "standard error" not in gone
    assert "the number itself is an estimate from the training records." in gone


@pytest.mark.parametrize("outcomes", [1, 29])
def test_a_few_outcomes_are_no_reassurance(outcomes):
    last = example.reports("quiet")[-1]
    few = replace(last, harm=replace(last.harm, counted=outcomes))
    found = history.build([few])
    assert _headline(found) == (
        f"On 1 March 2026 nothing needs attention: too few outcomes ({outcomes}) to say whether version 7 is worse, "
        "and there is no sign that its patients differ from those of its training"
    )
    text = _page(found).text
    assert "too few to say whether it is worse than at its training" in text
    assert "There is no sign that it is worse" not in text
    alarm = OpenAlarm(1, example.alarm("drift", example.LAST))
    more = " ".join(sentence.of(replace(found, alarms=(alarm,)), TODAY).more)
    assert f"too few outcomes ({outcomes}) to say whether version 7 is worse." in more
    enough = replace(last, harm=replace(last.harm, counted=sentence.FEW))
    assert "in 30 outcomes there is no sign" in _headline(history.build([enough]))


def test_hidden_shares_are_left_out_and_the_page_says_so():
    last = example.reports("quiet")[-1]
    hidden = [replace(one, recent=[]) for one in last.drift.columns]
    shown = _page(history.build([replace(last, drift=replace(last.drift, columns=hidden))]))
    assert "Shares of the last 28 days are left out" in shown.text
    assert re.search(r"female: – \(\d+ %\)", shown.text)
    assert len([one for one in _pictures(shown) if "beside those at training" in one]) == len(hidden)
    assert "are left out" not in _page(example.monitored("quiet")).text


def test_harm_with_few_outcomes_is_still_harm():
    last = example.reports("harm")[-1]
    few = replace(last, harm=replace(last.harm, counted=12))
    assert "No. In 12 outcomes the errors are larger" in _page(history.build([few])).text


def test_the_alarm_of_harm_says_what_a_training_needs():
    said = " ".join(sentence.ACTIONS[sentence.HARM])
    assert "put the new cases with their outcomes into the training source" in said
    assert "nothing new" in said


def test_questions_have_the_words_that_are_searched_for():
    text = _page(example.monitored("quiet")).text
    for words in (
        "Is the model right? (performance degradation)",
        "Which outcomes are missing? (labels, ground truth)",
        "Have the patients changed? (data drift)",
        "Is the input complete? (missing data)",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("value", "shown"), [(0.00001, "1.0e-05"), (0.4321, "0.43"), (12.6, "13"), (1234.5, "1,234"), (3.2e9, "3.2e+09")]
)
def test_e_values_have_few_digits(value, shown):
    assert figures.number(value) == shown


def test_a_log_that_was_switched_off_later_is_said_first():
    found = replace(example.monitored("quiet"), logged=False)
    said = sentence.of(found, TODAY)
    assert said.headline == "Predictions are not logged any more, so nothing is monitored"
    assert any(one.startswith("On 1 March 2026 nothing needs attention") for one in said.more)


def test_a_version_without_predictions_is_said_to_have_none():
    last = example.reports("no outcomes")[-1]
    none = replace(last, drift=replace(last.drift, counted=0, columns=[]), awaited=replace(last.awaited, bands=[]))
    assert _headline(history.build([none])).endswith(
        "nothing needs attention: no prediction of version 7 has been logged yet"
    )
    assert "Not known yet: no prediction was logged." in _page(history.build([none])).text


def test_a_picture_says_where_it_cuts_values_off():
    days = [date(2026, 3, 1), date(2026, 3, 2)]
    cut = figures.e_values(days, [("worse", [1.0, 1e20], "red")], 100, "alarm")
    assert cut.count("values above 1.0e+06 are drawn there") == 2, "in the picture and in its description"
    assert "are drawn there" not in figures.e_values(days, [("worse", [1.0, 1e5], "red")], 100, "alarm")
