"""GET /: the form is made from the served contract, loads nothing from other hosts, and is accessible."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from serving.model.evaluation import Evaluation, Metrics, Score
from serving.model.records import Contract
from serving.pages import form
from tests.serving import trained
from tests.serving.fakes import CONTRACT, FakeRegistry, Service, make_bundle

STATIC = Path(form.__file__).with_name("static")
VOID = {"input", "link", "meta", "br"}


class Document(HTMLParser):
    """All elements of a page with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self._open.append((tag, text))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        for _, text in self._open:
            text.append(data)

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, " ".join("".join(text).split()))
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    def ids(self) -> list[str | None]:
        return [attributes["id"] for _, attributes, _ in self.elements if "id" in attributes]


@pytest.fixture(params=["fake", *trained.FAMILIES])
def files(request: pytest.FixtureRequest) -> dict[str, bytes]:
    return make_bundle() if request.param == "fake" else trained.bundle(request.param)


@pytest.fixture
def contract(files: dict[str, bytes]) -> Contract:
    return Contract(json.loads(files["contract.json"]))


@pytest.fixture
def served(registry: FakeRegistry, start: Callable[[], Service], files: dict[str, bytes]) -> Service:
    registry.register(files)
    return start().poll()


@pytest.fixture
def document(served: Service) -> Document:
    response = served.client.get("/")
    assert response.status_code == 200
    assert response.content_type == "text/html; charset=utf-8"
    return Document(response.text)


def test_every_feature_has_one_labelled_control_in_the_contracts_order(document: Document, contract: Contract) -> None:
    labels = {attributes["for"]: text for attributes, text in document.all("label")}
    controls = [one for tag, one, _ in document.elements if tag in ("input", "select")]
    assert [one["name"] for one in controls] == list(contract.features)
    for one in controls:
        name = str(one["name"])
        schema = contract.properties[name]
        optional = name in contract.optional
        assert labels[one["id"]] == schema.get("title", name) + (" (optional)" if optional else "")
        assert ("required" in one) is not optional
        for described in str(one["aria-describedby"]).split():
            assert document.ids().count(described) == 1
    assert len(set(document.ids())) == len(document.ids())


def test_the_page_has_the_prevalence_and_says_what_contributions_are_relative_to(
    document: Document, files: dict[str, bytes]
) -> None:
    ((attributes, _),) = document.all("form")
    scores = json.loads(files["evaluation.json"])["out_of_fold"] if "evaluation.json" in files else {}
    if {"accuracy", "recall"} <= scores.keys():
        assert float(str(attributes["data-prevalence"])) == scores["recall"]["n"] / scores["accuracy"]["n"]
    else:
        assert attributes["data-prevalence"] == ""
    text = " ".join(text for _, text in document.all("p"))
    assert "a value that equals the typical one contributes nothing, even if it goes with a high risk" in text


def test_the_prevalence_is_not_known_without_scores() -> None:
    def evaluation(**counts: int) -> Evaluation:
        scores = {name: Score(None, None, None, n) for name, n in counts.items()}
        return Evaluation(Metrics("quick", scores, {}))

    assert form.prevalence(evaluation(accuracy=200, recall=92)) == 0.46
    assert form.prevalence(evaluation(accuracy=0, recall=0)) is None
    assert form.prevalence(evaluation(accuracy=200)) is None
    assert form.prevalence(Evaluation(reason="lost")) is None


def test_numbers_show_their_range_and_codes_are_options(served: Service, document: Document) -> None:
    for name, schema in served.get("/model")["contract"]["properties"].items():
        (hint,) = (text for _, text in document.all("p", id=f"{name}-hint"))
        if "enum" in schema:
            html = served.client.get("/").text
            (select,) = re.findall(rf'<select id="{name}".*?</select>', html, re.DOTALL)
            options = re.findall(r'<option value="([^"]*)">([^<]*)</option>', select)
            codes = [str(code) for code in schema["enum"] if code is not None]
            assert [value for value, _ in options] == ["", *codes]
            labels = schema.get("x-codes", {})
            assert [text for _, text in options[1:]] == [f"{c} – {labels[c]}" if labels else c for c in codes]
        else:
            assert f"{schema['minimum']:g} to {schema['maximum']:g}" in hint
            assert hint.endswith(schema.get("x-unit", ""))


def test_examples_are_records_that_the_contract_allows(document: Document, contract: Contract) -> None:
    examples = [json.loads(str(one["data-record"])) for one, _ in document.all("button") if "data-record" in one]
    assert len(examples) == 3
    for record in examples:
        assert contract.errors(record) == []
    assert contract.imputed(contract.matrix(examples)) == [[], list(contract.optional), []]
    assert len({json.dumps(record) for record in examples}) == 3


def test_nothing_is_loaded_from_other_hosts_and_nothing_is_inline(served: Service, document: Document) -> None:
    for tag, attributes, text in document.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        for name in ("src", "href", "action"):
            if name in attributes:
                assert re.fullmatch(r"[a-z][a-z./]*", str(attributes[name])), attributes
        assert tag != "style"
        assert tag != "script" or (attributes["src"] == "static/page.js" and not "".join(text).strip())
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""://|["'`(]//""", text), file.name
        assert "@import" not in text
        assert "innerHTML" not in text


def test_the_static_files_have_the_security_headers(served: Service, document: Document) -> None:
    loaded = [one["href"] for one, _ in document.all("link")] + [one["src"] for one, _ in document.all("script")]
    assert sorted(str(one) for one in loaded) == ["static/icon.svg", "static/page.css", "static/page.js"]
    for path in ["", *loaded]:
        response = served.client.get(f"/{path}")
        assert response.status_code == 200
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        assert policy.pop("default-src") == "'none'"
        assert {policy.pop(name) for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
        assert policy == dict.fromkeys(["form-action", "base-uri", "frame-ancestors"], "'none'")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        response.close()
    assert served.client.get("/").headers["Cache-Control"] == "no-store"


def test_api_responses_do_not_have_the_headers_of_pages(served: Service) -> None:
    assert "Content-Security-Policy" not in served.client.get("/healthz").headers


@pytest.mark.parametrize(("origin", "hidden"), [("sample", False), ("file", True)])
def test_a_model_that_was_trained_on_synthetic_records_gets_a_warning(
    registry: FakeRegistry, start: Callable[[], Service], origin: str, hidden: bool
) -> None:
    files = make_bundle()
    manifest = json.loads(files["manifest.json"])
    manifest["model"]["origin"] = origin
    registry.register({**files, "manifest.json": json.dumps(manifest).encode()})

    document = Document(start().poll().client.get("/").text)

    ((attributes, text),) = document.all("section", id="sample")
    assert "trained on synthetic records" in text
    assert ("hidden" in attributes) is hidden
    assert any("not a medical device" in text for _, text in document.all("header"))


def test_the_page_describes_the_model(document: Document, served: Service) -> None:
    model = served.get("/model")["model"]
    shown = {
        one["data-fact"]: text
        for tag in ("dd", "span", "code")
        for one, text in document.all(tag)
        if "data-fact" in one
    }
    for name in ("name", "version", "alias", "origin", "snapshot", "contract_version"):
        assert shown[name] == model[name]
    assert shown["family"] == model["family"].replace("_", " ")
    assert shown["trained_at"] == (model.get("trained_at") or "not recorded")


def test_without_javascript_there_is_a_notice_and_the_buttons_are_disabled(document: Document) -> None:
    assert "needs JavaScript" in document.all("noscript")[0][1]
    assert all("disabled" in attributes for attributes, _ in document.all("button"))


def test_without_a_model_there_is_a_reason_and_no_form(registry: FakeRegistry, start: Callable[[], Service]) -> None:
    response = start().poll().client.get("/")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "Content-Security-Policy" in response.headers
    document = Document(response.text)
    assert document.all("h1")[0][1] == "No model is ready"
    assert "Registered model alias production not found" in document.all("section")[0][1]
    assert document.all("form") == []


def test_texts_of_a_contract_are_escaped(registry: FakeRegistry, start: Callable[[], Service]) -> None:
    contract: dict[str, Any] = json.loads(json.dumps(CONTRACT))
    contract["properties"]["age"]["title"] = '<img src="x">&'
    registry.register(make_bundle(contract=contract))

    document = Document(start().poll().client.get("/").text)

    assert document.all("img") == []
    assert document.all("label", **{"for": "age"})[0][1] == '<img src="x">&'


def test_another_method_and_a_missing_file_are_problems(service: Service) -> None:
    assert service.client.post("/").get_json(force=True)["type"] == "urn:heartline:problem:method-not-allowed"
    assert service.client.get("/static/none.js").get_json(force=True)["type"] == "urn:heartline:problem:not-found"
    assert service.client.get("/static/../page.py").status_code == 404


@pytest.mark.parametrize("part", ["bytes=0-3", "bytes=99999999-", "nonsense"])
def test_range_requests_get_the_complete_file(service: Service, part: str) -> None:
    complete = service.client.get("/static/page.js")
    asked = service.client.get("/static/page.js", headers={"Range": part})

    assert (asked.status_code, asked.data) == (200, complete.data)
