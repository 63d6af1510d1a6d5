"""Approvals through the real processes: approve, reject, time-out; two people; the service answers with what moved."""

import json
from collections.abc import Callable, Iterator

import mlflow
import pytest
import requests

from heartline.registry.production import approvals
from tests.running import Running
from tests.waiting import until

REASON = "fewer patients with disease are missed"
SECONDS = 600.0


class Approvals:
    """The DAG ``heart_approval`` as a user sees it by Airflow's REST API."""

    def __init__(self, running: Running) -> None:
        self._url = running.url("AIRFLOW")
        self._http = {}
        for user in ("admin", "approver"):
            password = next(running.home.rglob(f"airflow_{user}_password")).read_text().strip()
            session = requests.Session()
            login = {"username": user, "password": password}
            token = session.post(f"{self._url}/auth/token", json=login, timeout=120).json()["access_token"]
            session.headers["Authorization"] = f"Bearer {token}"
            self._http[user] = session

    def call(self, user: str, method: str, path: str, **body: object) -> requests.Response:
        url = f"{self._url}/api/v2/dags/heart_approval/dagRuns{path}"
        return self._http[user].request(method, url, json=body or None, timeout=120)

    def ask(self, version: str) -> str:
        """Trigger a run as ``admin``, and return its id once the request is open."""
        answer = self.call("admin", "POST", "", logical_date=None, conf={"version": version})
        assert answer.status_code == 200, answer.text
        run = answer.json()["dag_run_id"]
        self.wait(run, lambda tasks: tasks.get("ask") == "awaiting_input")
        return str(run)

    def tasks(self, run: str) -> dict[str, str]:
        found = self.call("admin", "GET", f"/{run}/taskInstances").json()["task_instances"]
        return {one["task_id"]: one["state"] for one in found}

    def wait(self, run: str, reached: Callable[[dict[str, str]], bool]) -> None:
        until(
            lambda: reached(self.tasks(run)),
            passing=requests.RequestException,
            said=lambda: str(self.tasks(run)),
            seconds=SECONDS,
        )

    def ended(self, run: str) -> str:
        """Return how a run ended."""
        return str(
            until(
                lambda: (
                    state
                    if (state := self.call("admin", "GET", f"/{run}").json()["state"]) in ("success", "failed")
                    else ""
                ),
                passing=requests.RequestException,
                said=lambda: str(self.tasks(run)),
                seconds=SECONDS,
            )
        )

    def answer(self, run: str, user: str, option: str, reason: str | None) -> int:
        given = {} if reason is None else {"reason": reason}
        path = f"/{run}/taskInstances/ask/-1/hitlDetails"
        return self.call(user, "PATCH", path, chosen_options=[option], params_input=given).status_code

    def reopened(self, run: str, after: int) -> int:
        """Return the number of the attempt that has opened a request again after attempt ``after``."""

        def attempt() -> int:
            task = self.call("admin", "GET", f"/{run}/taskInstances/ask").json()
            return int(task["try_number"]) if task["state"] == "awaiting_input" and task["try_number"] > after else 0

        return until(attempt, passing=requests.RequestException, seconds=SECONDS)

    def decided(self, run: str) -> dict:
        path = f"/{run}/taskInstances/decide/xcomEntries/return_value?deserialize=false&stringify=false"
        return dict(self.call("admin", "GET", path).json()["value"])


@pytest.fixture(scope="module")
def stack(running: Running) -> Iterator[Running]:
    """The stack, restarted with four eyes."""
    running.settings = {"HEARTLINE_FOUR_EYES": "yes"}
    running.call("up")
    yield running
    running.settings = {}


@pytest.fixture(scope="module")
def airflow(stack: Running) -> Approvals:
    return Approvals(stack)


@pytest.fixture(scope="module")
def registry(stack: Running) -> Iterator[mlflow.MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(stack.url("MLFLOW"))
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def _production(registry: mlflow.MlflowClient) -> str:
    return str(registry.get_model_version_by_alias("heart-disease", "production").version)


def _other(registry: mlflow.MlflowClient) -> str:
    """Return a version that is not in production."""
    versions = [str(one.version) for one in registry.search_model_versions("name = 'heart-disease'")]
    return next(one for one in sorted(versions, key=int) if one != _production(registry))


def test_a_person_approves_and_the_service_answers_with_that_version(stack, airflow, registry):
    version = _other(registry)
    run = airflow.ask(version)
    waiting = [one for one in stack.status()["approvals"] if one["version"] == version]
    assert run in waiting[0]["url"].replace("%3A", ":").replace("%2B", "+")

    assert airflow.answer(run, "approver", "Approve", None) == 200
    attempt = airflow.reopened(run, 1)
    assert airflow.answer(run, "admin", "Approve", REASON) == 200  # admin has asked: two people are needed
    airflow.reopened(run, attempt)
    assert _production(registry) != version
    assert airflow.answer(run, "approver", "Approve", REASON) == 200
    assert airflow.answer(run, "admin", "Reject", REASON) == 409

    assert airflow.ended(run) == "success"
    assert _production(registry) == version
    tag = registry.get_model_version("heart-disease", version).tags[approvals.TAG]
    found = json.loads(tag)
    assert (found["by"], found["reason"]) == ("approver", REASON)
    secret = next(stack.home.rglob("approval_secret")).read_text().strip()
    assert approvals.problem(tag, found["digest"], secret) == ""
    until(
        lambda: requests.get(stack.url("SERVICE", "/readyz"), timeout=60).json()["model"]["version"] == version,
        passing=(requests.RequestException, KeyError, TypeError),
    )
    note = airflow.call("admin", "GET", f"/{run}").json()["note"]
    assert f"version {version} approved by approver: {REASON}" in note


def test_a_person_rejects_and_production_stays(airflow, registry):
    before, version = _production(registry), _other(registry)
    run = airflow.ask(version)
    assert airflow.answer(run, "admin", "Reject", REASON) == 200

    assert airflow.ended(run) == "success"
    assert _production(registry) == before
    assert airflow.decided(run)["outcome"] == "rejected"


def test_a_newer_request_ends_the_older_one(airflow, registry):
    version = _other(registry)
    older = airflow.ask(version)
    newer = airflow.ask(version)

    assert airflow.ended(older) == "success"
    assert airflow.tasks(older)["ask"] == "skipped"
    assert airflow.answer(newer, "approver", "Reject", REASON) == 200
    assert airflow.ended(newer) == "success"


def test_without_an_answer_in_time_the_version_is_not_approved(stack, registry):
    before, version = _production(registry), _other(registry)
    stack.settings = {"HEARTLINE_APPROVAL_DAYS": "0.0003"}
    stack.call("up")
    airflow = Approvals(stack)
    answer = airflow.call("admin", "POST", "", logical_date=None, conf={"version": version})
    run = answer.json()["dag_run_id"]

    assert airflow.ended(run) == "success"
    assert airflow.decided(run)["outcome"] == "expired"
    assert _production(registry) == before
