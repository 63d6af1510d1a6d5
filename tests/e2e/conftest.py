"""What the browser tests share: one browser, the folder of the pictures, and logging in to Airflow."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

SECONDS = 60


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the screenshots, HEARTLINE_SCREENSHOTS."""
    folder = Path(os.environ.get("HEARTLINE_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser(need: Callable[[object, str], None]) -> Iterator[Browser]:
    """Start Chromium; Playwright allows one in a process."""
    chromium = shutil.which("chromium")
    need(chromium, "chromium on PATH")
    expect.set_options(timeout=1000 * SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def log_in() -> Callable[[Page, str, str, str], Page]:
    """Return a function that logs a user in to Airflow: page, address, user, password."""

    def log_in(page: Page, address: str, user: str, password: str) -> Page:
        page.goto(address)
        page.get_by_label(re.compile("username", re.IGNORECASE)).fill(user)
        page.locator("input[type=password]").fill(password)
        page.get_by_role("button", name=re.compile("sign in|log in", re.IGNORECASE)).click()
        expect(page.get_by_test_id("nav-dags-link")).to_be_visible()
        return page

    return log_in
