"""The table of problems: complete, used by the service, and the same in the README."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import msgspec
import pytest

import serving
from serving.problems import PROBLEMS, Problem, ProblemType
from tests.serving.fakes import Service

SERVING = Path(serving.__file__).parent
OUTSIDE_OF_THE_TABLE = "http-error"  # has the status that Werkzeug found


def placeholders(kind: ProblemType) -> set[str]:
    templates = (kind.detail, kind.expected, kind.hint, *kind.headers.values())
    return {name for template in templates for _, name, _, _ in Formatter().parse(template) if name}


def uses(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield the slug and the names of the values of every problem that the module at ``path`` makes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Problem":
            assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: the slug is not a literal"
            yield (
                str(node.args[0].value),
                {str(keyword.arg) for keyword in node.keywords} - {"errors", "results", "kind"},
            )


def test_every_problem_is_used_with_the_values_of_its_templates() -> None:
    paths = [path for path in SERVING.rglob("*.py") if "__pycache__" not in path.parts]
    found = [use for path in paths for use in uses(path)]

    assert len(paths) > 40
    assert {slug for slug, _ in found} - {OUTSIDE_OF_THE_TABLE} == set(PROBLEMS)
    for slug, values in found:
        if slug != OUTSIDE_OF_THE_TABLE:
            assert values == placeholders(PROBLEMS[slug]), slug


def test_the_readme_has_the_same_table() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \| (.+) \|$", (SERVING / "README.md").read_text(), re.MULTILINE)

    by_status = sorted(PROBLEMS.items(), key=lambda item: item[1].status)
    assert rows == [(str(kind.status), slug, kind.when) for slug, kind in by_status]


@pytest.mark.parametrize("slug", PROBLEMS)
def test_a_problem_document_has_all_parts(slug: str) -> None:
    kind = PROBLEMS[slug]
    values = {name: 7 if name in ("seconds", "retry_after") else "{x}" for name in placeholders(kind)}
    problem = Problem(slug, **values)

    document = msgspec.json.decode(problem.body("/path"))
    assert list(document) == ["type", "title", "status", "detail", "expected", "hint", "instance"]
    assert all(document.values())
    assert document["type"] == f"urn:heartline:problem:{slug}"
    assert (document["status"], document["instance"], problem.status) == (kind.status, "/path", kind.status)
    assert set(problem.headers) == set(kind.headers)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        Problem("not-ready", reason="no model")


def test_an_http_error_of_another_kind_is_a_problem_document(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from werkzeug.exceptions import ImATeapot

    def brew() -> None:
        raise ImATeapot

    monkeypatch.setitem(service.app.view_functions, "heartline.healthz", brew)
    response = service.client.get("/healthz")

    document = msgspec.json.decode(response.data)
    assert (response.status_code, response.content_type) == (418, "application/problem+json")
    assert (document["type"], document["status"]) == ("urn:heartline:problem:http-error", 418)
    assert document["expected"] == "a valid HTTP request"
