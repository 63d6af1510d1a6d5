"""GET /docs: the content of the OpenAPI document as a page, without resources of other hosts."""

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from serving.problems import PROBLEMS
from serving.settings import Settings
from tests.serving.fakes import CONTRACT, RECORD, FakeRegistry, Service, expected_probability, make_bundle

# elements without an end tag
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def page_of(service: Service) -> Page:
    response = service.client.get("/docs")
    assert response.status_code == 200
    return Page(response.text)


@pytest.fixture
def page(service: Service) -> Page:
    return page_of(service)


def test_it_names_every_endpoint_field_code_unit_and_error(service: Service, page: Page) -> None:
    api = service.get("/openapi.json")
    for path, methods in api["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page.words
    for name in CONTRACT["properties"]:
        assert name in page.words
    for text in ("0 female", "1 male", "1 to 120, whole number", "50 to 1000", "years"):
        assert text in page.words
    for slug, kind in PROBLEMS.items():
        assert slug in page.words
        assert str(kind.status) in page.words
        assert kind.when.replace("`", "") in page.words
    assert len(PROBLEMS) >= 19


def test_its_example_response_is_that_of_its_example_request(service: Service, page: Page) -> None:
    body = re.search(r"-d '(\{.*?\})'", page.words, re.DOTALL)
    assert body
    answer = service.client.post("/predict", data=body[1], content_type="application/json").get_json()

    assert "curl http://localhost/predict" in page.words
    assert f'"probability": {answer["probability"]},' in page.words


def test_it_loads_and_links_to_nothing_but_this_service(service: Service, page: Page) -> None:
    targets = {
        str(attributes[name])
        for _, attributes in page.elements
        for name in ("href", "src", "action")
        if name in attributes
    }
    assert targets >= {"static/docs.css", "openapi.json", "#fields"}
    ids = {attributes.get("id") for _, attributes in page.elements}
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in ids
        else:
            assert ":" not in target
            assert service.client.get("/" + target.removeprefix("./")).status_code == 200
    assert page.all("script", "style") == []
    assert not any("style" in attributes for _, attributes in page.elements)


def test_its_security_headers_allow_no_other_host(service: Service) -> None:
    headers = service.client.get("/docs").headers

    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert set(policy.values()) <= {"'none'", "'self'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


def test_it_is_accessible_to_screen_readers(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("title")) == 1
    assert all(attributes.get("aria-label") for attributes in page.all("nav"))
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    # elements that scroll horizontally can be focused and have a label
    scrolling = [attributes for attributes in page.all("pre", "div") if "tabindex" in attributes]
    assert len(scrolling) == len(page.all("table")) + len(page.all("pre")) == 5
    assert all(attributes.get("aria-label") and attributes.get("role") for attributes in scrolling)


def test_texts_of_a_contract_are_escaped(registry: FakeRegistry, settings: Settings) -> None:
    evil = "<script>alert(1)</script>"
    contract: dict[str, Any] = {**CONTRACT, "properties": {**CONTRACT["properties"]}}
    contract["properties"]["age"] = {**CONTRACT["properties"]["age"], "title": evil, "x-unit": evil}
    reference = {"records": [RECORD], "probabilities": [expected_probability(RECORD, -2.0)]}
    registry.register(make_bundle(contract=contract, reference=reference))

    page = page_of(Service(settings).poll())

    assert page.words.count(evil) == 2
    assert page.all("script") == []


def test_it_warns_of_models_that_were_trained_on_synthetic_records_only(
    registry: FakeRegistry, service: Service
) -> None:
    warning = "trained on synthetic records"
    assert warning in page_of(service).words
    bundle = make_bundle(0.5)
    manifest = msgspec.json.decode(bundle["manifest.json"])
    manifest["model"]["origin"] = "file"

    registry.register({**bundle, "manifest.json": msgspec.json.encode(manifest)})

    assert warning not in page_of(service.poll()).words


def test_it_describes_keys_only_if_they_are_required(settings: Settings, service: Service) -> None:
    assert "X-API-Key" not in page_of(service).words
    service.app.extensions["settings"] = msgspec.structs.replace(settings, api_keys="keys")

    assert '-H "X-API-Key: $KEY"' in page_of(service).words


def test_without_a_model_it_is_not_ready(settings: Settings) -> None:
    response = Service(settings).client.get("/docs")

    assert (response.status_code, response.content_type) == (503, "application/problem+json")
