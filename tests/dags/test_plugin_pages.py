"""The pages of all plugins inside Airflow's own application: who may see them, what they show, and their headers."""

import json
import os
import re
import subprocess
import sys
from urllib.parse import quote

import pytest

from heartline import dag_ids
from heartline.reports import data_docs_site
from tests import monitoring_reports
from tests.conftest import ROOT
from tests.mlflow_double import Content, serving

RUN = "manual__2026-11-22T13:45:57+00:00"
OTHER = "manual__2026-11-23"
ID = quote(RUN, safe="")
DATA_DOCS = {
    "index": "/data-docs/",
    "index by name": "/data-docs/index.html",
    "page": f"/data-docs/{data_docs_site.page_name(RUN)}",
    "page of run": f"/data-docs/run?id={ID}",
    "page of run in its tab": f"/data-docs/run?dag=heart_training&id={ID}",
    "page of an approval's candidate": "/data-docs/run?dag=heart_approval&id=asset__1",
}
MLFLOW = {
    "comparison of run": f"/comparison/run?dag=heart_training&id={ID}",
    "comparison of an approval's candidate": "/comparison/run?dag=heart_approval&id=asset__1",
    "comparison of an approval by version": "/comparison/run?dag=heart_approval&id=manual__2",
    "comparison of an approval that has asked": "/comparison/run?dag=heart_approval&id=ask__3",
    "comparison of version": "/comparison/version/2",
}
VERSIONS = {
    "versions": "/versions/",
    "versions of a DAG": "/versions/?dag=heart_scoring",
    "versions since": "/versions/?since=2026-03-01&dag=heart_training",
}
MONITORING = {
    "monitoring": "/monitoring/",
    "monitoring of a DAG": "/monitoring/?dag=heart_monitoring",
    "monitoring of a version": "/monitoring/?version=7&dag=heart_training",
    "monitoring after an acknowledgement": "/monitoring/?acknowledged=11",
    "monitoring with an open alarm in the address": "/monitoring/?acknowledged=12",
}
PAGES = DATA_DOCS | MLFLOW | VERSIONS | MONITORING
ELSEWHERE = {
    "another run": f"/data-docs/run?id={OTHER}",
    "no page": "/data-docs/index.json",
    "another folder": "/data-docs/..%2Freports%2Fx.html",
    "schema": "/data-docs/openapi.json",
    "documentation": "/data-docs/docs",
    "data quality of a scoring run": "/data-docs/run?dag=heart_scoring&id=x",
    "data quality of another approval": "/data-docs/run?dag=heart_approval&id=x",
    "comparison of another run": f"/comparison/run?dag=heart_training&id={OTHER}",
    "comparison of a scoring run": "/comparison/run?dag=heart_scoring&id=x",
    "comparison of another DAG": "/comparison/run?dag=foreign&id=x",
    "comparison of another version": "/comparison/version/99",
    "comparison of no version": "/comparison/version/x%27",
    "comparison of no run": "/comparison/run?dag=heart_training&id=%00",
    "comparison of no approval": "/comparison/run?dag=heart_approval&id=x%00",
    "data quality of no approval": "/data-docs/run?dag=heart_approval&id=%00",
    "versions of another DAG": "/versions/?dag=foreign",
    "monitoring of another DAG": "/monitoring/?dag=foreign",
}
WRONG = {"no run": "/comparison/run?dag=heart_training", "no date": "/versions/?since=March"}
RESULTS = [
    ["validate", -1, {"validation_run": "v0"}],
    ["train", 0, {"outcome": "trained", "run_id": "t0"}],
    ["train", 1, {"outcome": "refused", "run_id": "t1"}],
    ["register", -1, {"version": "7", "family": "random_forest"}],
]  # by task and map index; the task compare has not ended
AWAY = {"no MLflow": MLFLOW["comparison of run"], "no MLflow for versions": "/versions/"}

RUNS = """
import sys
import pendulum
from airflow import settings
from airflow.models import DagRun
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.models.xcom import XComModel
from airflow.plugins_manager import get_global_operator_extra_links
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

now = pendulum.now("UTC")

def run(dag_id, run_id, **more):
    return DagRun(dag_id=dag_id, run_id=run_id, run_type=DagRunType.MANUAL, run_after=now, **more)

def insert(training_run, results):
    with create_session() as session:
        asset = AssetModel(name="candidate", uri="heartline://candidate", group="heartline")
        session.add(asset)
        session.flush()
        by_event = run("heart_approval", "asset__1")
        by_event.consumed_asset_events.append(
            AssetEvent(asset_id=asset.id, extra={"version": "2", "run_id": training_run}, timestamp=now)
        )
        by_hand = run("heart_approval", "manual__2", conf={"version": "2"})
        trained = run("heart_training", training_run)
        trained.id = 9
        session.add_all([by_event, by_hand, trained])
    with settings.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # the results without their task instances
        connection.execute(XComModel.__table__.insert(), [
            {"dag_run_id": 9, "dag_id": "heart_training", "run_id": training_run, "task_id": task_id,
             "map_index": map_index, "key": "return_value", "value": value}
            for task_id, map_index, value in results
        ])
        connection.commit()

def links(training_run):
    keys = [("heart_training", task, index) for task, index in (
        ("ingest", -1), ("validate", -1), ("train", 0), ("train", 1), ("compare", -1), ("register", -1))]
    keys.append(("foreign", "train", 0))
    return {
        f"{dag_id} {task_id} {index} {link.name}": link.get_link(
            None, ti_key=TaskInstanceKey(dag_id, task_id, training_run, 1, index)
        )
        for dag_id, task_id, index in keys for link in get_global_operator_extra_links()
    }
"""

PROBE = """
import json, os, sys
from airflow.plugins_manager import get_fastapi_plugins, get_plugin_info
heavy = {"great_expectations", "pandas", "numpy", "mlflow", "matplotlib", "sklearn"}
before = set(sys.modules)
info = get_plugin_info()
loaded = sorted((heavy | {"fastapi.testclient"}) & (set(sys.modules) - before))

wanted = json.loads(sys.argv[1])
below = os.environ.get("BELOW", "")
if wanted:
    from airflow.utils.db import initdb
    initdb()
    import runs_of_test
    runs_of_test.insert(sys.argv[2], json.loads(sys.argv[4]))
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

client = TestClient(create_app(apps="core"), follow_redirects=False, raise_server_exceptions=False)

routes = []
for one in get_fastapi_plugins()[0]:
    app = one["app"]
    site = app.site() if hasattr(app, "site") else app
    for route in site.routes:
        routes.append([one["url_prefix"], route.path, sorted(route.methods)])

manager = get_auth_manager()
token = manager.generate_jwt(SimpleAuthManagerUser(username="ann", role="viewer"))
without = manager.generate_jwt(SimpleAuthManagerUser(username="bob", role=None))
logins = {
    "anonymous": {},
    "browser": {"Accept": "text/html,*/*"},
    "bearer": {"Authorization": "Bearer " + token},
    "cookie": {"Cookie": "_token=" + token},
    "user": {"Cookie": "_token=" + manager.generate_jwt(SimpleAuthManagerUser(username="carl", role="user"))},
    "page in a browser": {"Cookie": "_token=" + token, "Accept": "text/html,*/*"},
    "forged": {"Authorization": "Bearer " + token[:-3] + "abc"},
    "no permission": {"Authorization": "Bearer " + without},
}
responses = {}
def ask(login, name, path, method="GET"):
    answer = client.request(method, path, headers=logins[login])
    responses[login + ": " + name] = [answer.status_code, answer.text, dict(answer.headers)]

for prefix, path, methods in routes:
    for method in methods:
        for login in ("anonymous", "forged", "no permission") if wanted else ("anonymous",):
            address = f"{below}{prefix}{path}".replace("{", "").replace("}", "")
            ask(login, f"{method} {prefix}{path}", address, method)
if wanted:
    ask("bearer", "no ledger", "/versions/")
    ask("page in a browser", "no ledger", "/versions/")
    from datetime import UTC, datetime
    from heartline.ledger import store
    from heartline.ledger.entry import Entry
    asked = Entry(
        1, datetime(2026, 11, 1, tzinfo=UTC), "requested", "2", "run x", {"run": "ask__3", "training": sys.argv[2]},
        "ledger", None, "", "",
    )
    alarm = {"alarm": "harm", "day": "2026-02-20", "sentence": "It is worse.", "rate": "at most 1 %"}
    alarmed = Entry(12, asked.at, "alarm", "7", "run y", alarm, "ledger", None, "", "")
    seen = Entry(13, asked.at, "acknowledged", "7", "carl", {"alarm": 11, "reason": "x"}, "ledger", None, "", "")
    store.entries = lambda kinds, **_: [one for one in (asked, alarmed, seen) if one.kind in kinds]
    entered = []
    store.append = lambda kind, **more: entered.append([kind, more["by"], more["facts"]])
    from heartline.monitoring import store as monitoring_store
    from heartline.monitoring.report import Report
    reports = [Report.from_json(line) for line in open(os.environ["REPORTS"])]
    monitoring_store.reports = lambda *_, **__: reports
    monitoring_store.Store.notes = lambda *_: []
    form = "number=12&reason=checked+with+the+ward&dag=heart_scoring"
    here, form_type = {"Origin": "http://testserver"}, "application/x-www-form-urlencoded"
    for name, login, content, more in (
        ("viewer", "cookie", form, here),
        ("another port", "user", form, {"Origin": "http://testserver:8080"}),
        ("another port, new browser", "user", form, here | {"Sec-Fetch-Site": "same-site"}),
        ("no origin", "user", form, {"Origin": "null"}),
        ("short reason", "user", "number=12&reason=ok", here),
        ("other alarm", "user", form.replace("12", "13"), here),
        ("no number", "user", "reason=checked+with+the+ward", here),
        ("long", "user", form + "&more=" + "x" * 50_000, here),
        ("form", "user", form, here),
        ("form in a new browser", "user", form, {"Origin": "null", "Sec-Fetch-Site": "same-origin"}),
        ("program", "user", form, {}),
        ("expired login", "browser", form, here),
    ):
        before = len(entered)
        headers = logins[login] | more | {"Content-Type": form_type}
        answer = client.post("/monitoring/acknowledge", content=content, headers=headers)
        responses["post: " + name] = [answer.status_code, answer.text, dict(answer.headers), entered[before:]]
for name, path in wanted.items():
    for login in logins:
        ask(login, name, path)
os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
for name, path in json.loads(sys.argv[3]).items():
    ask("bearer", name, path)
    ask("page in a browser", name, path)
ask("browser", "below a prefix", f"{below}/versions/?since=2026-03-01")
print("RESULT" + json.dumps({
    "links": runs_of_test.links(sys.argv[2]) if wanted else {},
    "responses": responses, "loaded": loaded, "heavy": sorted(heavy & set(sys.modules)), "routes": routes,
    "views": [view for one in info for view in one["external_views"]],
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A site of one page on data quality."""
    home = tmp_path_factory.mktemp("airflow")
    site = home / "store" / "data-docs"
    site.mkdir(parents=True)
    (site / data_docs_site.page_name(RUN)).write_text("<p>a page</p>")
    (site / "index.html").write_text("<p>the index</p>")
    (site / "index.json").write_text("{}")
    reports = monitoring_reports.reports("harm")
    (home / "reports.jsonl").write_bytes(b"".join(one.to_json() + b"\n" for one in reports))
    (home / "store" / "reports").mkdir()
    (home / "store" / "reports" / "x.html").write_text("secret")
    return home


def _probe(home, paths: dict, away: dict, **settings: str) -> dict:
    """What Airflow's application responds, in a process of its own with an empty database."""
    (home / "code").mkdir(exist_ok=True)
    (home / "code" / "runs_of_test.py").write_text(RUNS)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(paths), RUN, json.dumps(away), json.dumps(RESULTS)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "HEARTLINE_"))},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ann:viewer",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of sixty-four bytes or more, as its algorithm asks for it",
            "HEARTLINE_STORE": (home / "store").as_uri(),
            "REPORTS": str(home / "reports.jsonl"),
            "PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{home / 'code'}",
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "RESULT" in done.stdout, done.stderr
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


@pytest.fixture(scope="module")
def airflow(folder) -> dict:
    """Airflow with all plugins, an MLflow with two versions and one comparison, and an empty ledger."""
    scores = "ROC AUC 0.908 (0.871 to 0.943)"
    content = Content(
        {"1": {"scores": scores}, "2": {"scores": scores, "comparison_run": "abc"}},
        {"production": "1"},
        {RUN: "abc"},
        {("abc", "comparison.html"): b"<p>a comparison</p>"},
    )
    with serving(content) as url:
        return _probe(folder, PAGES | ELSEWHERE | WRONG, AWAY, MLFLOW_TRACKING_URI=url)


@pytest.fixture(scope="module")
def below_a_prefix(folder) -> dict:
    """The same, behind a reverse proxy that serves it below /airflow."""
    url = "https://ml.example/airflow"
    return _probe(folder, {}, {}, HEARTLINE_PUBLIC_AIRFLOW_URL=url, AIRFLOW__API__BASE_URL=url, BELOW="/airflow")


def _routes(airflow) -> list[str]:
    return [f"{method} {prefix}{path}" for prefix, path, methods in airflow["routes"] for method in methods]


def test_every_route_that_a_plugin_mounts_requires_a_login_and_a_permission(airflow):
    assert {prefix for prefix, _, _ in airflow["routes"]} == {"/comparison", "/data-docs", "/monitoring", "/versions"}
    assert "POST /monitoring/acknowledge" in _routes(airflow)
    assert len(_routes(airflow)) >= 8
    for route in _routes(airflow):
        found = {login: airflow["responses"][f"{login}: {route}"] for login in ("anonymous", "forged", "no permission")}
        assert found["anonymous"][:2] == [401, "Not authenticated\n"], route
        assert found["forged"][:2] == [403, "Invalid JWT token\n"], route
        assert found["no permission"][:2] == [403, "Forbidden\n"], route


def test_every_page_of_this_test_is_behind_the_login(airflow):
    for name in PAGES | ELSEWHERE | WRONG:
        # a name with a slash is no address of the site
        expected = [404, "Not Found\n"] if name == "another folder" else [401, "Not authenticated\n"]
        assert airflow["responses"][f"anonymous: {name}"][:2] == expected, name


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_without_a_login_is_sent_to_it_and_back(airflow, path):
    status, text, headers = airflow["responses"][f"browser: {path}"]
    assert (status, text) == (303, "")
    assert headers["location"] == f"/api/v2/auth/login?next={quote(PAGES[path], safe='')}"


def test_below_a_prefix_the_login_leads_back_below_it(below_a_prefix):
    status, text, headers = below_a_prefix["responses"]["browser: below a prefix"]
    assert (status, text) == (303, "")
    assert headers["location"] == (
        f"/airflow/api/v2/auth/login?next={quote('/airflow/versions/?since=2026-03-01', safe='')}"
    )


def test_below_a_prefix_every_route_requires_a_login(below_a_prefix):
    assert _routes(below_a_prefix)
    for route in _routes(below_a_prefix):
        assert below_a_prefix["responses"][f"anonymous: {route}"][0] == 401, route


@pytest.mark.parametrize("login", ["bearer", "cookie"])
@pytest.mark.parametrize("path", PAGES)
def test_with_a_login_the_pages_are_shown(airflow, login, path):
    status, text, headers = airflow["responses"][f"{login}: {path}"]
    assert status == 200, text
    assert headers["content-type"] == "text/html; charset=utf-8"
    if path in DATA_DOCS:
        assert text == ("<p>the index</p>" if "index" in path else "<p>a page</p>")
    elif path in MLFLOW:
        assert text == "<p>a comparison</p>"
    elif path in MONITORING:
        assert "Since 20 February 2026 version 7 is worse than at its training" in text
        assert '<form method="post"' not in text, "a viewer cannot acknowledge"
    else:
        assert "version 1 is in production" in text
        assert text.count("<circle") == 2


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_no_script_and_is_not_cached(airflow, path):
    headers = airflow["responses"][f"cookie: {path}"][2]
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    )
    assert headers["cache-control"] == "no-store"
    # with none, a form would not say which page it is on
    assert headers["referrer-policy"] == ("same-origin" if path in MONITORING else "no-referrer")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_other_addresses_are_not_found(airflow, path):
    status, text, headers = airflow["responses"][f"cookie: {path}"]
    assert status == 404
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert "secret" not in text


def test_who_may_trigger_a_run_can_acknowledge_an_alarm_with_a_reason(airflow):
    text = airflow["responses"]["user: monitoring"][1]
    assert '<form method="post" action="./acknowledge">' in text
    assert 'name="number" value="12"' in text
    for name in ("form", "form in a new browser", "program"):
        status, _, headers, entered = airflow["responses"][f"post: {name}"]
        assert (status, headers["location"]) == (303, "./?dag=heart_scoring&acknowledged=12"), name
        assert entered == [["acknowledged", "carl", {"alarm": 12, "reason": "checked with the ward"}]]


def test_the_page_says_of_acknowledged_alarms_only_that_they_are(airflow):
    said = {name: airflow["responses"][f"user: {name}"][1] for name in MONITORING}
    assert "Alarm 11 is acknowledged; the ledger holds the reason." in said["monitoring after an acknowledgement"]
    assert "is acknowledged; the ledger" not in said["monitoring with an open alarm in the address"]


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("viewer", 403, "Forbidden"),
        ("another port", 403, "This request comes from another page"),
        ("another port, new browser", 403, "This request comes from another page"),
        ("no origin", 403, "This request comes from another page"),
        ("short reason", 422, "a reason of 10 to"),
        ("other alarm", 422, "ntry 13 is no alarm"),
        ("no number", 422, "The form names no alarm"),
        ("long", 422, "The form names no alarm"),
    ],
)
def test_other_requests_acknowledge_nothing(airflow, name, status, said):
    found, text, _, entered = airflow["responses"][f"post: {name}"]
    assert (found, entered) == (status, [])
    assert said in text


def test_a_form_whose_login_has_expired_leads_to_the_login_and_back_to_the_page(airflow):
    status, _, headers, entered = airflow["responses"]["post: expired login"]
    assert (status, entered) == (303, [])
    assert headers["location"] == f"/api/v2/auth/login?next={quote('/monitoring/', safe='')}"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("another run", "Its task validate writes one after the checks."),
        ("data quality of a scoring run", "A scoring run trains and compares no model."),
        ("data quality of another approval", "This run names no candidate."),
        ("comparison of another run", "The task compare of a training run stores one."),
        ("comparison of a scoring run", "A scoring run trains and compares no model."),
        ("comparison of another DAG", "The DAG foreign trains no model of Heartline."),
        ("versions of another DAG", "The DAG foreign trains no model of Heartline"),
        ("monitoring of another DAG", "The DAG foreign monitors no model of Heartline"),
    ],
)
def test_a_missing_page_is_explained_to_programs_and_in_a_browser(airflow, path, said):
    assert said in airflow["responses"][f"cookie: {path}"][1]
    status, text, headers = airflow["responses"][f"page in a browser: {path}"]
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert said in text


@pytest.mark.parametrize(("path", "field"), [("no run", "id: "), ("no date", "since: ")])
def test_an_incomplete_address_is_refused(airflow, path, field):
    status, text, _ = airflow["responses"][f"cookie: {path}"]
    assert (status, field in text) == (422, True)


@pytest.mark.parametrize("path", AWAY)
def test_a_page_says_when_mlflow_is_away(airflow, path):
    status, text, _ = airflow["responses"][f"bearer: {path}"]
    assert status == 503
    assert [part for part in ("MLflow does not answer", "where:", "expected:", "hint:") if part not in text] == []
    status, text, headers = airflow["responses"][f"page in a browser: {path}"]
    assert (status, headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "<h1>MLflow does not answer" in text


def test_a_page_says_when_the_ledger_is_away(airflow):
    status, text, _ = airflow["responses"]["bearer: no ledger"]
    assert status == 503
    assert "HEARTLINE_LEDGER_URL" in text
    assert "<dt>What to do</dt>" in airflow["responses"]["page in a browser: no ledger"][1]


def test_the_views_are_where_they_are_looked_for(airflow):
    assert {(one["name"], one["destination"], one["href"]) for one in airflow["views"] if "url_route" in one} == {
        ("Data quality", "nav", "data-docs/"),
        ("Data quality", "dag_run", "data-docs/run?dag={DAG_ID}&id={RUN_ID}"),
        ("Comparison", "dag_run", "comparison/run?dag={DAG_ID}&id={RUN_ID}"),
        ("Versions", "nav", "versions/"),
        ("Versions", "dag", "versions/?dag={DAG_ID}"),
        ("Monitoring", "nav", "monitoring/"),
        ("Monitoring", "dag", "monitoring/?dag={DAG_ID}"),
    }


def test_the_views_are_below_airflows_address_and_the_links_leave_it(airflow):
    links = {one["name"]: one["href"] for one in airflow["views"] if "url_route" not in one}
    assert set(links) == {"Models in MLflow", "Runs in MLflow", "Prediction service"}
    assert all(href.startswith("http://") for href in links.values())
    views = [one for one in airflow["views"] if "url_route" in one]
    assert not any(one["href"].startswith(("/", "http")) for one in views)
    assert len({one["url_route"] for one in views}) == len(views)
    # bookmarks of older versions name these
    assert {"data-docs", "data-docs-of-run"} <= {one["url_route"] for one in views}


def test_neither_the_plugins_nor_the_pages_import_anything_heavy(airflow):
    assert airflow["loaded"] == []
    assert airflow["heavy"] == []


def test_values_of_patients_need_the_permission_to_read_the_task_logs():
    plugin = (ROOT / "plugins" / "heartline_data_docs.py").read_text()
    assert "task_logs=True" in plugin
    pages = (ROOT / "include" / "orchestration" / "plugin_pages.py").read_text()
    (dag,) = re.findall(r'requires_access_dag\("GET", entity, dag_ids\.(\w+)\)', pages)
    assert (ROOT / "dags" / f"{getattr(dag_ids, dag)}.py").is_file()


def test_tasks_link_to_their_run_or_version_in_mlflow(airflow):
    mlflow = "http://127.0.0.1:5000/#"
    assert {name: link for name, link in airflow["links"].items() if link} == {
        "heart_training validate -1 Run in MLflow": f"{mlflow}/runs/v0",
        "heart_training train 0 Run in MLflow": f"{mlflow}/runs/t0",
        "heart_training train 1 Run in MLflow": f"{mlflow}/runs/t1",
        "heart_training register -1 Version in MLflow": f"{mlflow}/models/heart-disease/versions/7",
    }


def test_tasks_without_a_result_and_of_other_dags_have_no_link(airflow):
    without = {name for name, link in airflow["links"].items() if link == ""}
    assert {"heart_training compare -1 Run in MLflow", "foreign train 0 Run in MLflow"} <= without
