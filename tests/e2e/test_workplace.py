"""A day in Airflow's pages, in a real browser: form, graph, tabs, approval; and what is seen when nothing is promoted.

HEARTLINE_SCREENSHOTS names a folder for the screenshots, for example those of the documentation.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from heartline.monitoring import alarm_entries
from heartline.monitoring.store import Store
from stack.clients.airflow import Airflow
from tests import monitoring_reports
from tests.running import ROOT, Running
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

TRAINING, APPROVAL = "heart_training", "heart_approval"
ENDED = ("success", "failed")
TASKS = ("ingest", "validate", "preprocess", "train", "compare", "register")
REASON = "Reviewed with cardiology: fewer missed patients."
FOUND = "The new ward sends other outcomes; corrected with cardiology."
REJECTION = "The recall of older women has not been reviewed."
RUN_SECONDS = 600.0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Iterator[Running]:
    """A stack trained on the sample, where whoever trained a version cannot approve it."""
    stack = Running(tmp_path_factory.mktemp("workplace") / "home", settings={"HEARTLINE_FOUR_EYES": "yes"})
    try:
        stack.first_up = stack.call("up", "--source", "sample", "--set", "profile=quick").stdout
        yield stack
    finally:
        stack.call("down", "--purge")


@pytest.fixture
def airflow(workplace) -> Airflow:
    return Airflow(workplace.url("AIRFLOW"), workplace.password())


@pytest.fixture
def user(browser: Browser, workplace, log_in) -> Iterator[Callable[..., Page]]:
    """Return a function that logs a user in, in a browser context of their own."""
    contexts = []

    def user(name: str, *, height: int = 860) -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": height})
        context.set_default_timeout(60_000)
        contexts.append(context)
        return log_in(context.new_page(), workplace.url("AIRFLOW"), name, workplace.password(name))

    yield user
    for context in contexts:
        context.close()


def test_a_version_goes_from_the_form_through_an_approval_into_production(workplace, airflow, user, pictures):
    before = _production(workplace)
    admin = user("admin")

    run = _train_from_the_form(admin, workplace, pictures)
    admin.get_by_role("button", name=re.compile("Show Graph")).click()
    for task in TASKS:
        expect(admin.get_by_test_id(f"rf__node-{task}")).to_contain_text("success", timeout=1000 * RUN_SECONDS)
    admin.reload()  # a note that is written during the run is not shown before
    expect(admin.get_by_text("Result: ").first).to_be_visible()
    _picture(admin, pictures / "airflow.png")
    version = airflow.returned(TRAINING, run, "register")["version"]
    assert version != before
    admin.get_by_role("button", name=re.compile("Show Grid")).click()  # the tabs are wider beside it
    for tab, heading in (("Comparison", "The models"), ("Data quality", "All checks")):
        admin.goto(workplace.url("AIRFLOW", f"/dags/{TRAINING}/runs/{quote(run, safe='')}"))
        admin.get_by_role("link", name=tab, exact=True).last.click()
        shown = admin.frame_locator(f"iframe[title='{tab}']")
        expect(shown.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        _picture(admin, pictures / f"tab-{tab.lower().replace(' ', '-')}.png")
    assert _production(workplace) == before

    approver = user("approver", height=1330)
    _answer(approver, workplace, version, "Approve", REASON, pictures / "approval.png")

    until(lambda: _production(workplace) == version)
    until(lambda: _answering(workplace) == version)
    expected = [
        f"asked for the approval of version {version}",
        f"approver approved version {version}: {REASON}",
        f"approver moved production from version {before} to version {version}",
        f"serves version {version}",
    ]
    assert [one for one in expected if one not in _history(workplace)] == []

    admin.goto(workplace.url("AIRFLOW", f"/dags/{TRAINING}"))
    admin.get_by_role("link", name="Versions", exact=True).last.click()
    shown = admin.frame_locator("iframe[title='Versions']")
    expect(shown.get_by_role("heading", level=1)).to_contain_text(f"to version {version}")
    expect(shown.get_by_text("approved by approver").first).to_be_visible()
    _picture(admin, pictures / "tab-versions.png")


def test_the_assets_are_a_graph_from_training_to_production(workplace, user, pictures):
    page = user("admin")
    page.goto(workplace.url("AIRFLOW", "/assets"))
    page.get_by_role("link", name="candidate", exact=True).click()
    for name in ("Heart-disease training", "snapshot", "candidate", "Heart-disease approval", "production"):
        expect(page.locator(".react-flow__node").filter(has_text=name).first).to_be_visible()
    _picture(page, pictures / "assets.png")


def test_a_rejected_version_stays_out_of_production(workplace, airflow, user, pictures):
    before = _production(workplace)
    run = airflow.trigger(APPROVAL, {"version": "2"})
    until(lambda: _waits(airflow, run))  # the page lists what was open when it was loaded
    page = user("approver")

    _answer(page, workplace, "2", "Reject", REJECTION)

    assert _ended(airflow, APPROVAL, run)["state"] == "success"
    _show_run(page, workplace, APPROVAL, run)
    expect(page.get_by_text(re.compile("rejected", re.IGNORECASE)).first).to_be_visible()
    _picture(page, pictures / "approval-rejected.png")
    assert _production(workplace) == before
    assert f"approver rejected version 2: {REJECTION}" in _history(workplace)


def test_a_request_that_nobody_answers_ends_without_an_approval(workplace, airflow, user, pictures):
    before = _production(workplace)
    with _settings(workplace, HEARTLINE_APPROVAL_DAYS="0.0002"):
        run = airflow.trigger(APPROVAL, {"version": "2"})
        assert _ended(airflow, APPROVAL, run)["state"] == "success"
    page = user("approver")
    _show_run(page, workplace, APPROVAL, run)
    expect(page.get_by_text(re.compile("nobody answered", re.IGNORECASE)).first).to_be_visible()
    _picture(page, pictures / "approval-expired.png")
    assert _production(workplace) == before
    assert "nobody answered the request for the approval of version 2 in time" in _history(workplace)


def test_an_alarm_is_acknowledged_with_a_reason_on_the_tab_monitoring(workplace, user, pictures):
    version = _production(workplace)
    number = _monitored(workplace, version)
    done = workplace.call("monitor", check=False)
    assert done.returncode == 1
    assert f"version {version} is worse than at its training" in done.stdout
    assert "1 open alarm: Since " in workplace.call("status").stdout

    page = user("approver", height=1330)
    page.goto(workplace.url("AIRFLOW", "/dags/heart_monitoring"))
    page.get_by_role("link", name="Monitoring", exact=True).last.click()
    shown = page.frame_locator("iframe[title='Monitoring']")
    expect(shown.get_by_role("heading", level=1)).to_contain_text(f"version {version} is worse than at its training")
    shown.get_by_label(re.compile("^Acknowledge: ")).fill(FOUND)
    _picture(page, pictures / "tab-monitoring.png")
    shown.get_by_role("button", name="Acknowledge").click()
    expect(shown.get_by_role("status")).to_contain_text(f"Alarm {number} is acknowledged")
    expect(shown.get_by_role("heading", level=1)).to_contain_text("nothing else needed attention")
    expect(shown.get_by_role("heading", name="Open alarms")).to_have_count(0)

    assert f"approver acknowledged the alarm of entry {number} about version {version}: {FOUND}" in _history(workplace)
    assert "nothing else needed attention" in workplace.call("monitor").stdout


def test_nights_with_nothing_new_and_with_bad_records(workplace, airflow, user, pictures, tmp_path):
    before = _production(workplace)
    rows = list(csv.reader((ROOT / "docs" / "examples" / "synthetic.csv").open(newline="")))
    records = tmp_path / "records.csv"
    _write(records, rows)
    page = user("admin")
    nightly = {"HEARTLINE_DATA": str(tmp_path), "HEARTLINE_SOURCE": str(records), "HEARTLINE_SCHEDULE": "* * * * *"}
    with _settings(workplace, **nightly):
        quiet = _night(airflow, lambda run: run["state"] == "success" and "nothing new" in (run["note"] or "").lower())
        label = rows[0].index("num")
        _write(
            records, [rows[0], *([*row[:label], int(float(row[label]) == 0), *row[label + 1 :]] for row in rows[1:])]
        )
        stopped = _night(airflow, lambda run: run["state"] == "failed")
    _show_run(page, workplace, TRAINING, quiet)
    expect(page.get_by_text(re.compile("nothing new", re.IGNORECASE)).first).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="register")).to_contain_text("Skipped")
    _picture(page, pictures / "night-nothing-new.png")
    _show_run(page, workplace, TRAINING, stopped)
    expect(page.get_by_role("row").filter(has_text="validate")).to_contain_text("Failed")
    _picture(page, pictures / "night-stopped.png")
    assert _production(workplace) == before


def _monitored(stack: Running, version: str) -> int:
    """Store reports of some weeks until yesterday, with an alarm of harm, and return the number of its entry."""
    urls = {
        role: f"postgresql://{role}:{password}@127.0.0.1:{stack.ports['POSTGRES']}/heartline"
        for role in ("ledger", "monitoring")
        for password in [(stack.home / "secrets" / f"{role}_db_password").read_text().strip()]
    }
    store = Store(urls["monitoring"])
    store.prepare()
    last = datetime.now(UTC).date() - timedelta(days=1)
    reports = monitoring_reports.reports("harm", first=last - timedelta(days=55), last=last, version=version)
    for one in reports:
        store.save(one, b"{}")
    (alarm,) = [alarm for one in reports for alarm in one.alarms]
    return alarm_entries.enter(alarm, reports[-1].digest, by="run x", url=urls["ledger"]).number


def _train_from_the_form(page: Page, stack: Running, pictures: Path) -> str:
    """Fill in the form, trigger a run, and return its id."""
    page.goto(stack.url("AIRFLOW", f"/dags/{TRAINING}"))
    page.get_by_role("button", name=re.compile("^Trigger", re.IGNORECASE)).first.click()
    section = page.get_by_role("button", name="Data", exact=True)
    section.click()
    page.locator("#element_source").fill("sample:400")
    _picture(page, pictures / "trigger.png")
    page.get_by_role("button", name="Training", exact=True).click()
    _choose(page, "profile", "quick")
    page.get_by_role("button", name="Promotion", exact=True).click()
    _choose(page, "promotion", "approval")
    with page.expect_response(lambda answer: answer.request.method == "POST" and "/dagRuns" in answer.url) as answer:
        page.get_by_role("button", name="Trigger", exact=True).last.click()
    run: str = answer.value.json()["dag_run_id"]
    page.goto(stack.url("AIRFLOW", f"/dags/{TRAINING}/runs/{quote(run, safe='')}"))
    return run


def _choose(page: Page, name: str, value: str) -> None:
    field = page.locator(f"#element_{name}")
    field.get_by_role("combobox").fill(value)
    field.get_by_role("combobox").press("Enter")
    expect(field.get_by_text(value, exact=True)).to_be_visible()


def _answer(page: Page, stack: Running, version: str, answer: str, reason: str, picture: Path | None = None) -> None:
    """Answer the open request for a version, under Required Actions."""
    page.goto(stack.url("AIRFLOW", "/required_actions?response_received=false"))
    title = re.compile(f"^Version {version} for production")
    page.get_by_role("link", name=title).first.click()
    page.locator("#element_reason").fill(reason)
    if picture:
        _picture(page, picture)
    page.get_by_role("button", name=answer, exact=True).click()
    expect(page.get_by_role("button", name=answer, exact=True)).to_be_disabled()


def _picture(page: Page, file: Path) -> None:
    """Take a picture when the page loads nothing more and its animations have ended."""
    page.wait_for_load_state("networkidle")
    page.screenshot(path=file, animations="disabled")


def _show_run(page: Page, stack: Running, dag: str, run: str) -> None:
    page.goto(stack.url("AIRFLOW", f"/dags/{dag}/runs/{quote(run, safe='')}"))
    expect(page.get_by_role("row").nth(1)).to_be_visible()


@contextmanager
def _settings(stack: Running, **changed: str) -> Iterator[None]:
    """Run the stack with other settings."""
    before = dict(stack.settings)
    stack.settings.update(changed)
    stack.call("up")
    try:
        yield
    finally:
        stack.settings.clear()
        stack.settings.update(before)
        stack.call("up")


def _write(file: Path, rows: list[list[Any]]) -> None:
    new = file.with_suffix(".new")
    with new.open("w", newline="") as text:
        csv.writer(text).writerows(rows)
    new.replace(file)  # a run that starts meanwhile reads the old file or the new one


def _night(airflow: Airflow, wanted: Callable[[dict[str, Any]], bool]) -> str:
    """Wait for a scheduled run, and return its id."""

    def found() -> str:
        runs = airflow._get(f"dags/{TRAINING}/dagRuns", run_type="scheduled", limit=100)["dag_runs"]
        return next((run["dag_run_id"] for run in runs if wanted(run)), "")

    return until(found, seconds=RUN_SECONDS, pause=1)


def _waits(airflow: Airflow, run: str) -> bool:
    """Return whether a run of the approval waits for an answer."""
    return any((one["task_id"], one["state"]) == ("ask", "awaiting_input") for one in airflow.tasks(APPROVAL, run))


def _ended(airflow: Airflow, dag: str, run: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        found = airflow.run(dag, run)
        return found if found["state"] in ENDED else None

    return until(ended, seconds=RUN_SECONDS, pause=0.5)


def _production(stack: Running) -> str:
    client = mlflow.MlflowClient(stack.url("MLFLOW"))
    return str(client.get_model_version_by_alias("heart-disease", "production").version)


def _answering(stack: Running) -> str:
    """Return the version with which the service answers."""
    record = json.loads((ROOT / "docs" / "examples" / "record.json").read_text())
    answer = requests.post(stack.url("SERVICE", "/predict"), json=record, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"]["version"])


def _history(stack: Running) -> str:
    """Return what `./heartline history` prints, on one line."""
    return " ".join(stack.call("history").stdout.split())
