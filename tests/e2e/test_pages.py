"""The pages that people look at, in a real browser against the real stack.

With HEARTLINE_SCREENSHOTS the pictures are written to that folder: so are those of the README made.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = Path(os.environ.get("HEARTLINE_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def page(need) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    need(chromium, "chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        opened = browser.new_page(viewport={"width": 1440, "height": 860})
        opened.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield opened
        browser.close()


@pytest.fixture(scope="module")
def signed_in(page, running) -> Page:
    page.goto(running.url("AIRFLOW"))
    page.get_by_label(re.compile("username", re.IGNORECASE)).fill("admin")
    page.locator("input[type=password]").fill(running.password())
    page.get_by_role("button", name=re.compile("sign in|log in", re.IGNORECASE)).click()
    expect(page.get_by_test_id("nav-dags-link")).to_be_visible()
    return page


def test_airflow_shows_the_run_as_a_graph(signed_in, running, pictures):
    signed_in.goto(running.url("AIRFLOW", "/dags/heart_training"))
    expect(signed_in.get_by_text("Heart-disease training").first).to_be_visible()
    signed_in.locator("a[href*='/dags/heart_training/runs/']").first.click()
    signed_in.get_by_role("button", name=re.compile("Show Graph")).click()
    for task in ("ingest", "validate", "preprocess", "train", "compare", "register"):
        expect(signed_in.get_by_text(task, exact=False).first).to_be_visible()
    signed_in.wait_for_timeout(3000)
    signed_in.screenshot(path=pictures / "airflow.png")


def test_airflows_trigger_form_describes_the_parameters(signed_in, running, pictures):
    signed_in.goto(running.url("AIRFLOW", "/dags/heart_training"))
    signed_in.get_by_role("button", name=re.compile("^Trigger", re.IGNORECASE)).first.click()
    for title in ("Source of the records", "Profile", "Promotion", "Seed"):
        expect(signed_in.get_by_text(title).first).to_be_visible()
    signed_in.screenshot(path=pictures / "trigger.png")
    signed_in.keyboard.press("Escape")


def test_mlflow_shows_the_versions_and_their_aliases(page, running, pictures):
    page.goto(running.url("MLFLOW", "/#/models/heart-disease"))
    expect(page.get_by_text("production").first).to_be_visible()
    expect(page.get_by_text("staging").first).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()  # the assistant's panel
    page.wait_for_timeout(2000)
    page.screenshot(path=pictures / "mlflow.png")
