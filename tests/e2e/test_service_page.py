"""The prediction form in a real browser, with a running service.

With HEARTLINE_SCREENSHOTS the pictures are written to that folder.
"""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from tests.conftest import ROOT
from tests.serving import trained
from tests.waiting import until

pytestmark = pytest.mark.browser
SECONDS = 60
# in the order in which Tab reaches the controls; thal is left to the model
RECORD = {
    "age": 63,
    "sex": 1,
    "cp": 4,
    "trestbps": 140,
    "chol": 260,
    "fbs": 0,
    "restecg": 2,
    "thalach": 112,
    "exang": 1,
    "oldpeak": 2.4,
    "slope": 2,
    "ca": 1,
}


@pytest.fixture(scope="module", params=trained.FAMILIES)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that answers with a model of this family."""
    folder = tmp_path_factory.mktemp(request.param)
    for name, data in trained.bundle(request.param).items():
        (folder / name).write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
    ours = {"BUNDLE": str(folder), "CACHE": str(folder / "cache"), "SERVICE_PORT": str(port), "SERVICE_WORKERS": "1"}
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "serving" / "gunicorn.conf.py")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=kept | {f"HEARTLINE_{name}": value for name, value in ours.items()}, stderr=log
        )
    try:
        until(lambda: _is_ready(f"http://127.0.0.1:{port}"), passing=OSError, said=(folder / "log").read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console said, policy violations among it."""
    return []


@pytest.fixture
def requests() -> list[str]:
    """What the page asked for."""
    return []


@pytest.fixture
def page(browser: Browser, address: str, complaints: list[str], requests: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    yield page
    context.close()


def _is_ready(address: str) -> bool:
    with urllib.request.urlopen(f"{address}/readyz", timeout=SECONDS):
        return True


def _ask(address: str, record: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{address}/predict?explain=true", json.dumps(record).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _tab_to(page: Page, name: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name || document.activeElement.id") == name:
            return
    pytest.fail(f"Tab never reaches {name}")


def _fill_by_keyboard(page: Page, record: dict[str, Any]) -> None:
    for name, value in record.items():
        _tab_to(page, name)
        # a code's option begins with the code, so that typing it chooses it
        page.keyboard.type(str(value))
    page.keyboard.press("Tab")


def _overflow(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def test_a_record_filled_in_by_keyboard_gets_the_services_answer(page, address, complaints, requests, pictures):
    _fill_by_keyboard(page, RECORD)
    _tab_to(page, "ask")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Prediction", exact=True)).to_be_focused()
    answer = _ask(address, RECORD)
    assert float(page.locator("#probability").get_attribute("data-exact")) == answer["probability"]
    expect(page.locator("#probability")).to_have_text(f"{100 * answer['probability']:.1f} %")
    expect(page.locator("#verdict")).to_have_text("with disease" if answer["has_heart_disease"] else "without disease")
    expect(page.locator("#imputed")).to_contain_text("Thallium scan")

    features = answer["contributions"]["features"]
    moved = [name for name in features if abs(features[name]["contribution"]) >= 0.0005]
    known = sorted(moved, key=lambda n: -abs(features[n]["contribution"]))
    titles = [page.locator(f"label[for={name}]").evaluate("one => one.firstChild.textContent.trim()") for name in known]
    assert page.locator("#contributions .name").all_text_contents() == titles
    same = page.locator("#same").text_content().partition(": ")[2].rstrip(".").split(", ")
    assert len(titles) + len(same) == len(features) - 1
    bars = page.locator("#contributions .both span").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    assert bars == sorted(bars, reverse=True)
    assert bars[0] > 50

    assert requests
    assert all(url.startswith(address + "/") for url in requests)
    assert complaints == []
    page.screenshot(path=pictures / f"service-{answer['model']['family']}.png", full_page=True)


def test_impossible_values_are_told_at_their_fields(page, pictures):
    page.get_by_role("button", name="Typical values").click()
    page.get_by_label("Age").fill("400")
    page.get_by_label("ST depression").fill("much")
    page.get_by_label("Sex").select_option("")
    page.get_by_role("button", name="Predict").click()

    age = page.get_by_label("Age")
    expect(age).to_be_focused()
    expect(age).to_have_attribute("aria-invalid", "true")
    expect(age).to_have_accessible_description(
        "Age of the patient: a whole number, 1 to 120; usually 18 to 100 years "
        "Not allowed. Allowed: a whole number from 1 to 120 years."
    )
    expect(page.locator("#sex-error")).to_have_text("Missing. Allowed: 0 (female), 1 (male).")
    expect(page.locator("#oldpeak-error")).to_contain_text("Not allowed. Allowed: a number from 0 to 10 mm")
    expect(page.get_by_role("alert")).to_have_text("3 fields are not valid: Age, Sex, ST depression.")
    expect(page.locator("#result")).to_be_hidden()
    page.screenshot(path=pictures / "service-errors.png", full_page=True)

    age.fill("40")
    page.get_by_label("ST depression").fill("1,5")  # as in most of Europe
    page.get_by_label("Sex").select_option("0")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("heading", name="Prediction", exact=True)).to_be_focused()
    expect(page.locator("[aria-invalid]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_every_screen_and_can_be_read(page, pictures, width, scheme):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("button", name="Upper values").click()
    assert _overflow(page) == 0
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("heading", name="Prediction", exact=True)).to_be_focused()
    assert _overflow(page) == 0
    assert page.evaluate(CONTRAST) == []
    family = page.locator("[data-fact=family]").text_content().replace(" ", "-")
    page.screenshot(path=pictures / f"service-{family}-{width}-{scheme}.png", full_page=True)


def test_how_good_the_model_is_is_said_of_the_version_that_the_page_was_loaded_with(page, address):
    area = page.locator("#roc-auc")
    expect(area).to_have_text("0.908 (95 % interval 0.870 to 0.940) in cross-validation on 242 records, profile quick")
    page.get_by_role("button", name="Typical values").click()
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("heading", name="Prediction", exact=True)).to_be_focused()
    expect(area).to_be_visible()

    def of_another_version(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json={**answer, "model": {**answer["model"], "version": "another"}})

    page.route("**/predict*", of_another_version)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#changed")).to_contain_text("The service serves version another")
    expect(area).to_be_hidden()
    page.unroute("**/predict*")


def test_a_service_that_went_away_is_said_to_be_away(page, address):
    page.get_by_role("button", name="Typical values").click()
    page.route("**/predict*", lambda route: route.abort())
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("alert")).to_contain_text("The service is unreachable")
    page.unroute("**/predict*")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("heading", name="Prediction", exact=True)).to_be_focused()


# Every visible text whose contrast with the ground beneath it is below 4.5 (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = parse(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${walker.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
