import pytest

from stack.clients import service as service_api
from stack.errors import Exit, UnhealthyError, WorkError

PROBLEM = {
    "detail": "2 fields violate the contract",
    "expected": "records as the contract describes them",
    "hint": "correct each field",
    "errors": [
        {"pointer": "/age", "detail": "the value is not allowed", "allowed": "1 to 120", "value": 900},
        {"pointer": "/cp", "detail": "the field is missing", "allowed": "1, 2, 3, 4"},
    ],
}


@pytest.fixture
def service(settings, answers):
    return answers(settings.service_port)


def test_the_example_is_a_complete_record():
    assert len(service_api.example()) == 13
    assert None not in service_api.example().values()


def test_the_response_is_returned(settings, service):
    service.answers["POST /predict"] = (200, {"has_heart_disease": True})
    assert service_api.predict(settings, {"age": 1}) == {"has_heart_disease": True}
    assert service.asked[-1][2] == {"age": 1}


def test_bytes_are_sent_unchanged(settings, service):
    service.answers["POST /predict"] = (200, {})
    service_api.predict(settings, b'[{"age": 1}]')
    assert service.asked[-1][2] == [{"age": 1}]


def test_a_refusal_names_every_bad_field(settings, service):
    service.answers["POST /predict"] = (422, PROBLEM)
    with pytest.raises(WorkError) as caught:
        service_api.predict(settings, {"age": 900})
    lines = caught.value.where.split("\n")
    assert [line.strip() for line in lines if line.strip()] == [
        "/age: the value is not allowed; allowed: 1 to 120; value: 900",
        "/cp: the field is missing; allowed: 1, 2, 3, 4",
    ]
    assert caught.value.expected == PROBLEM["expected"]
    assert caught.value.hint == "correct these fields"
    assert caught.value.code == Exit.FAILED


@pytest.mark.parametrize("answer", [(503, {"detail": "no model"}), (500, "<html>")])
def test_a_service_that_cannot_answer_is_unhealthy(settings, service, answer):
    service.answers["POST /predict"] = answer
    with pytest.raises(UnhealthyError, match=str(answer[0])):
        service_api.predict(settings, {})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, {"status": "ready", "refused": "version 4: it is not approved"}), "version 4: it is not approved"),
        ((200, {"status": "ready", "refused": None}), None),
        ((503, {"detail": "refused: version 4: it is not approved"}), "version 4: it is not approved"),
        ((503, {"detail": "the registry is not polled yet"}), None),
        ((502, "<html>"), None),
    ],
)
def test_a_refused_version_is_reported_by_readyz(settings, service, answer, expected):
    service.answers["GET /readyz"] = answer
    assert service_api.refused(settings) == expected


def test_a_service_that_does_not_run_is_reported(settings):
    with pytest.raises(UnhealthyError, match="service does not answer"):
        service_api.predict(settings, {})


def test_a_version_is_served_when_every_worker_says_so(settings, service):
    old, new = (200, {"model": {"version": "1"}}), (200, {"model": {"version": "2"}})
    service.answers["GET /model"] = [(503, {}), old, new, old, new]  # one worker is ahead of the other
    service.answers["GET /readyz"] = (200, {})
    service_api.wait_until_served(settings, "2")
    assert [what for what, *_ in service.asked].count("GET /model") == 4 + service_api.CONSECUTIVE_ANSWERS


def test_a_worker_without_a_model_is_waited_for_although_the_others_answer(settings, service):
    service.answers["GET /model"] = (200, {"model": {"version": "2"}})
    service.answers["GET /readyz"] = [(503, {}), (503, {}), (200, {})]
    service_api.wait_until_served(settings, "2")
    assert [what for what, *_ in service.asked].count("GET /readyz") == 3


def test_a_version_that_is_not_served_in_time(settings, service, monkeypatch):
    monkeypatch.setattr(service_api, "SWITCH_TIMEOUT", 0.3)
    service.answers["GET /readyz"] = (503, {"detail": "refused: version 2: digest of model.onnx differs"})
    with pytest.raises(UnhealthyError, match="does not serve version 2") as caught:
        service_api.wait_until_served(settings, "2")
    assert "digest of model.onnx differs" in caught.value.where
