"""The api-server refuses a run with wrong parameters, before Airflow creates it, and leaves other requests alone."""

import json

import pytest

from tests.dags.airflow_process import WITH_PLUGINS, result

TRIGGER = "/api/v2/dags/heart_training/dagRuns"
SCORE = "/api/v2/dags/heart_scoring/dagRuns"
APPROVE = "/api/v2/dags/heart_approval/dagRuns"
REQUESTS = {
    "misspelt": ["POST", TRIGGER, {"conf": {"sorce": "uci"}}],
    "below a prefix": ["POST", f"/airflow{TRIGGER}", {"conf": {"seed": 1000.0}}],
    "good": ["POST", TRIGGER, {"conf": {"seed": 1000}}],
    "empty": ["POST", TRIGGER, {"conf": None}],
    "without conf": ["POST", TRIGGER, {}],
    "a list": ["POST", TRIGGER, {"conf": ["sorce"]}],
    "not JSON": ["POST", TRIGGER, "{"],
    "another DAG": ["POST", "/api/v2/dags/other/dagRuns", {"conf": {"sorce": "uci"}}],
    "a question": ["POST", f"{TRIGGER}/list", {"conf": {"sorce": "uci"}}],
    "another method": ["PATCH", TRIGGER, {"conf": {"sorce": "uci"}}],
    "scoring with a wrong parameter": ["POST", SCORE, {"conf": {"source": "sample", "version": "latest"}}],
    "scoring without a source": ["POST", SCORE, {"conf": {"format": "csv"}}],
    "scoring with nothing": ["POST", SCORE, {"logical_date": None}],
    "scoring": ["POST", SCORE, {"conf": {"source": "sample", "output": "postgres:scores"}}],
    "approval with a misspelt parameter": ["POST", APPROVE, {"conf": {"Version": "3"}}],
    "approval": ["POST", APPROVE, {"conf": {"version": "3"}}],
    "large": ["POST", TRIGGER, {"note": "x" * 3_000_000, "conf": {"seed": 1}}],
}

PROBE = """
import json, sys
from airflow import plugins_manager
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

async def echo(request):
    return JSONResponse({"received": len(await request.body())}, 207)

app = Starlette(routes=[Route("/{rest:path}", echo, methods=["POST", "PATCH"])])
for one in plugins_manager.get_fastapi_plugins()[1]:
    app.add_middleware(one["middleware"], *one.get("args", []), **one.get("kwargs", {}))
client = TestClient(app)
found = {}
for name, (method, path, body) in json.load(sys.stdin).items():
    text = body if isinstance(body, str) else json.dumps(body)
    answer = client.request(method, path, content=text, headers={"Content-Type": "application/json"})
    found[name] = [answer.status_code, answer.json(), len(text)]
print("RESULT" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers() -> dict:
    return result(PROBE, stdin=json.dumps(REQUESTS), **WITH_PLUGINS)[0]


REFUSED = {
    "misspelt": "did you mean source?",
    "below a prefix": "1000.0 is not a whole number",
    "scoring with a wrong parameter": "'latest' is not a number",
    "scoring without a source": "the run has no source",
    "scoring with nothing": "the run has no source",
    "approval with a misspelt parameter": "there is no parameter 'Version'",
}


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_wrong_parameters_are_refused_with_the_words_of_the_check(answers, name, words):
    status, body, _ = answers[name]
    assert status == 400
    assert words in body["detail"]


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in REFUSED])
def test_everything_else_reaches_airflow_unchanged(answers, name):
    status, body, sent = answers[name]
    assert (status, body) == (207, {"received": sent})
