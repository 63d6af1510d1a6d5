"""The Data Docs inside Airflow's own application: who may see them, and with which headers."""

import json
import os
import re
import subprocess
import sys

import pytest

from heartline import dag_ids
from heartline.reports import data_docs_site
from tests.conftest import ROOT

RUN = "manual__2026-11-22T13:45:57+00:00"
PAGES = {
    "index": "/data-docs/",
    "index by name": "/data-docs/index.html",
    "page": f"/data-docs/{data_docs_site.page_name(RUN)}",
    "page of run": "/data-docs/run?id=manual__2026-11-22T13%3A45%3A57%2B00%3A00",
}
ELSEWHERE = {
    "another run": "/data-docs/run?id=manual__2026-11-23",
    "no page": "/data-docs/index.json",
    "another folder": "/data-docs/..%2Freports%2Fx.html",
    "schema": "/data-docs/openapi.json",
    "documentation": "/data-docs/docs",
}

PROBE = """
import json, sys
from airflow.plugins_manager import get_plugin_info
heavy = {"great_expectations", "pandas", "numpy"}
before = set(sys.modules)
info = {one["name"]: one for one in get_plugin_info()}
loaded = sorted((heavy | {"fastapi.testclient"}) & (set(sys.modules) - before))

from airflow.utils.db import initdb
initdb()
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

client = TestClient(create_app(apps="core"), follow_redirects=False, raise_server_exceptions=False)
token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ann", role="viewer"))
logins = {
    "anonymous": {},
    "browser": {"Accept": "text/html,*/*"},
    "bearer": {"Authorization": "Bearer " + token},
    "cookie": {"Cookie": "_token=" + token},
    "forged": {"Authorization": "Bearer " + token[:-3] + "abc"},
}
responses = {}
for login, headers in logins.items():
    for name, path in json.loads(sys.argv[1]).items():
        answer = client.get(path, headers=headers)
        responses[login + ": " + name] = [answer.status_code, answer.text, dict(answer.headers)]
print("RESULT" + json.dumps({
    "responses": responses, "loaded": loaded, "heavy": sorted(heavy & set(sys.modules)),
    "views": info["heartline_data_docs"]["external_views"],
}))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> dict:
    """What Airflow's application responds, in a process of its own with an empty database and a site of one page."""
    home = tmp_path_factory.mktemp("airflow")
    site = home / "store" / "data-docs"
    site.mkdir(parents=True)
    (site / data_docs_site.page_name(RUN)).write_text("<p>a page</p>")
    (site / "index.html").write_text("<p>the index</p>")
    (site / "index.json").write_text("{}")
    (home / "store" / "reports").mkdir()
    (home / "store" / "reports" / "x.html").write_text("secret")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(PAGES | ELSEWHERE)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ann:viewer",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of sixty-four bytes or more, as its algorithm asks for it",
            "HEARTLINE_STORE": (home / "store").as_uri(),
            "PYTHONPATH": str(ROOT / "include"),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "RESULT" in done.stdout, done.stderr
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


@pytest.mark.parametrize("path", PAGES | ELSEWHERE)
def test_without_a_login_nothing_is_shown(airflow, path):
    status, text, _ = airflow["responses"][f"anonymous: {path}"]
    # a name with a slash is no address of the site
    assert (status, text) == ((401, "Not authenticated\n") if path != "another folder" else (404, "Not Found\n"))


@pytest.mark.parametrize("path", PAGES)
def test_a_forged_login_is_refused(airflow, path):
    status, text, _ = airflow["responses"][f"forged: {path}"]
    assert (status, text) == (403, "Invalid JWT token\n")


def test_a_browser_without_a_login_is_sent_to_it_and_back(airflow):
    status, text, headers = airflow["responses"]["browser: page of run"]
    assert (status, text) == (303, "")
    assert headers["location"] == (
        "/api/v2/auth/login?next=%2Fdata-docs%2Frun%3Fid%3Dmanual__2026-11-22T13%253A45%253A57%252B00%253A00"
    )


@pytest.mark.parametrize("login", ["bearer", "cookie"])
@pytest.mark.parametrize("path", PAGES)
def test_with_a_login_the_pages_are_shown(airflow, login, path):
    status, text, headers = airflow["responses"][f"{login}: {path}"]
    assert (status, text) == (200, "<p>the index</p>" if "index" in path else "<p>a page</p>")
    assert headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_no_script_and_is_not_cached(airflow, path):
    headers = airflow["responses"][f"cookie: {path}"][2]
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_other_addresses_are_not_found(airflow, path):
    status, text, headers = airflow["responses"][f"cookie: {path}"]
    assert status == 404
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert "secret" not in text


def test_a_run_without_a_page_is_explained(airflow):
    assert airflow["responses"]["cookie: another run"][1] == (
        "This run has no page: its task validate writes one after the checks.\n"
    )


def test_the_site_is_in_the_navigation_and_beside_each_run(airflow):
    assert [(one["destination"], one["href"]) for one in airflow["views"]] == [
        ("nav", "data-docs/"),
        ("dag_run", "data-docs/run?id={RUN_ID}"),
    ]
    assert len({one["url_route"] for one in airflow["views"]}) == 2


def test_neither_the_plugin_nor_the_site_imports_anything_heavy(airflow):
    assert airflow["loaded"] == []
    assert airflow["heavy"] == []


def test_the_pages_need_the_permission_to_read_the_dag():
    plugin = (ROOT / "plugins" / "heartline_data_docs.py").read_text()
    (dag,) = re.findall(r"TASK_LOGS, dag_ids\.(\w+)\)", plugin)
    assert (ROOT / "dags" / f"{getattr(dag_ids, dag)}.py").is_file()
