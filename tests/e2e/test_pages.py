"""The web pages of the stack in a real browser.

HEARTLINE_SCREENSHOTS names a folder for the screenshots, for example those of the README.
"""

import csv
import re
from collections.abc import Iterator
from datetime import date
from urllib.parse import quote, urlsplit

import mlflow
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from heartline.reports import versions_page
from heartline.reports.monitoring import page as monitoring_page
from stack.clients.airflow import Airflow
from tests import monitoring_reports, versions_example
from tests.running import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 860})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def signed_in(page, running, log_in) -> Page:
    return log_in(page, running.url("AIRFLOW"), "admin", running.password())


def test_airflow_shows_the_run_as_a_graph(signed_in, running):
    signed_in.goto(running.url("AIRFLOW", "/dags/heart_training"))
    expect(signed_in.get_by_text("Heart-disease training").first).to_be_visible()
    signed_in.locator("a[href*='/dags/heart_training/runs/']").first.click()
    signed_in.get_by_role("button", name=re.compile("Show Graph")).click()
    for task in ("ingest", "validate", "preprocess", "train", "compare", "register"):
        expect(signed_in.get_by_text(task, exact=False).first).to_be_visible()


def test_a_run_has_tabs_with_its_comparison_and_its_data_quality(signed_in, running):
    run = next(one for one in _runs(running) if one["state"] == "success")["dag_run_id"]
    signed_in.goto(running.url("AIRFLOW", f"/dags/heart_training/runs/{quote(run, safe='')}"))
    for tab, heading in (("Comparison", "The models"), ("Data quality", "All checks")):
        signed_in.get_by_role("link", name=tab, exact=True).last.click()
        shown = signed_in.frame_locator(f"iframe[title='{tab}']")
        expect(shown.get_by_role("heading", name=heading, exact=True)).to_be_visible()


def test_the_page_of_all_versions_answers_for_another_date(signed_in, running):
    signed_in.goto(running.url("AIRFLOW", "/dags/heart_training"))
    signed_in.get_by_role("link", name="Versions", exact=True).last.click()
    shown = signed_in.frame_locator("iframe[title='Versions']")
    expect(shown.get_by_role("heading", level=1)).to_contain_text("version 1 is in production")
    expect(shown.locator("svg.versions circle")).to_have_count(2)
    shown.get_by_label("Since").fill("2026-03-01")
    shown.get_by_role("button", name="Show").click()
    expect(shown.get_by_role("heading", level=1)).to_contain_text("1 March 2026")
    shown.get_by_role("link", name="1", exact=True).click()
    expect(shown.get_by_role("heading", name="The models")).to_be_visible()


def test_the_page_of_all_versions_is_one_page_that_loads_nothing(page, pictures, tmp_path):
    file = tmp_path / "versions.html"
    file.write_bytes(versions_page.render(versions_example.history(), since=date(2026, 3, 1), now=versions_example.NOW))
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))

    page.goto(file.as_uri())

    expect(page.get_by_role("heading", level=1)).to_have_text(
        "No detectable change since 1 March 2026, from version 1 to version 35"
    )
    expect(page.get_by_text("approved by dr.meyer", exact=True)).to_be_visible()
    assert loaded == [file.as_uri()]
    page.screenshot(path=pictures / "versions.png")


def test_the_page_on_monitoring_is_one_page_that_loads_nothing(page, pictures, tmp_path):
    file = tmp_path / "monitoring.html"
    found = monitoring_reports.monitored("harm")
    file.write_bytes(monitoring_page.render(found, today=monitoring_reports.TODAY, form=True))
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))

    page.goto(file.as_uri())

    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Since 20 February 2026 version 7 is worse than at its training."
    )
    assert page.get_by_role("img").count() >= 20
    page.set_viewport_size({"width": 1440, "height": 1330})
    page.screenshot(path=pictures / "monitoring.png")
    reason = page.get_by_label(re.compile("^Acknowledge: "))
    reason.fill("too short")
    page.get_by_role("button", name="Acknowledge").click()
    assert reason.evaluate("field => field.validity.tooShort")
    assert loaded == [file.as_uri()]
    page.set_viewport_size({"width": 400, "height": 860})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.set_viewport_size({"width": 1440, "height": 860})


@pytest.fixture
def form(signed_in, running) -> Iterator[Page]:
    """The trigger form."""
    signed_in.goto(running.url("AIRFLOW", "/dags/heart_training"))
    signed_in.get_by_role("button", name=re.compile("^Trigger", re.IGNORECASE)).first.click()
    expect(signed_in.get_by_role("button", name="Promotion", exact=True)).to_be_visible()
    yield signed_in
    signed_in.keyboard.press("Escape")


def test_the_trigger_form_describes_the_parameters_in_groups(form):
    form.get_by_role("button", name="Data", exact=True).click()
    expect(form.locator("strong", has_text="sample:N")).to_be_visible()  # Markdown, rendered
    assert form.locator("#list_source option").count() >= 4
    for section, titles in {
        "Checks": ("Largest share of rows in quarantine", "A number from 0 to 1.", "Largest drift"),
        "Training": ("Profile", "10 × 10 folds", "Seed", "A whole number from 0 to 2147483647."),
        "Promotion": ("only a user",),
    }.items():
        form.get_by_role("button", name=section, exact=True).click()
        for title in titles:
            expect(form.get_by_text(title).first).to_be_visible()
    raw = form.get_by_role("dialog").inner_text()
    assert "`" not in raw
    assert "*better*" not in raw


def test_the_trigger_form_refuses_a_number_out_of_bounds_instead_of_changing_it(form, running):
    before = len(_runs(running))
    form.get_by_role("button", name="Checks", exact=True).click()
    field = form.get_by_role("spinbutton").first
    field.fill("2")
    field.press("Tab")
    expect(field).to_have_value("2")
    form.get_by_role("button", name="Trigger", exact=True).last.click()
    expect(form.get_by_text("2 is out of bounds")).to_be_visible()
    expect(form.get_by_text("expected: a number from 0 to 1")).to_be_visible()
    assert len(_runs(running)) == before


def test_an_emptied_choice_means_the_default(form):
    form.get_by_role("button", name="Data", exact=True).click()
    field = form.locator("#element_encoding")
    field.get_by_role("combobox").press("Delete")
    expect(field.get_by_text("auto (the default)")).to_be_visible()
    expect(form.get_by_text("This field is required")).to_have_count(0)


def _runs(running) -> list[dict]:
    airflow = Airflow(running.url("AIRFLOW"), running.password())
    return airflow._get("dags/heart_training/dagRuns", limit=100)["dag_runs"]


def test_mlflow_shows_the_versions_and_their_aliases(page, running, pictures):
    page.goto(running.url("MLFLOW", "/#/models/heart-disease"))
    expect(page.get_by_text("production").first).to_be_visible()
    expect(page.get_by_text("staging").first).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()  # the assistant's panel
    page.wait_for_timeout(2000)
    page.screenshot(path=pictures / "mlflow.png")


def test_the_data_docs_say_what_was_wrong_with_a_refused_set(signed_in, running, pictures, tmp_path):
    rows = list(csv.reader((ROOT / "docs" / "examples" / "synthetic.csv").open(newline="")))
    label = rows[0].index("num")
    inverted = tmp_path / "inverted.csv"
    with inverted.open("w", newline="") as file:
        csv.writer(file).writerows(
            [rows[0], *([*row[:label], int(float(row[label]) == 0), *row[label + 1 :]] for row in rows[1:])]
        )

    done = running.call("train", "--source", str(inverted), "--set", "profile=quick", check=False)

    assert done.returncode != 0
    address = urlsplit(re.search(r"page: (http\S+)", done.stdout + done.stderr)[1])
    assert address.netloc == f"127.0.0.1:{running.ports['AIRFLOW']}"
    signed_in.goto(address.geturl())
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("The run stopped: these records are refused")
    expect(signed_in.get_by_text("Nothing was trained on these records.")).to_be_visible()
    signed_in.screenshot(path=pictures / "data-docs-refused.png", full_page=True)
    signed_in.goto(running.url("AIRFLOW", "/data-docs/"))
    expect(signed_in.get_by_role("row")).to_have_count(3)  # this run and the one before, below the titles


def test_a_comparison_is_one_page_that_loads_nothing(page, running, pictures, tmp_path):
    client = mlflow.MlflowClient(running.url("MLFLOW"))
    experiment = client.get_experiment_by_name("heart-disease-comparisons")
    (run,) = client.search_runs([experiment.experiment_id])
    file = tmp_path / "comparison.html"
    asked = requests.get(
        running.url("MLFLOW", "/get-artifact"), {"run_id": run.info.run_id, "path": file.name}, timeout=60
    )
    file.write_bytes(asked.content)
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))

    page.goto(file.as_uri())

    verdict = run.data.tags["verdict"]
    expect(page.get_by_role("heading", level=1)).to_have_text(verdict.capitalize())
    for title in ("The models", "Differences"):
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    assert page.locator("svg").count() >= 4
    assert loaded == [file.as_uri()]
    page.screenshot(path=pictures / "comparison.png", full_page=True)
