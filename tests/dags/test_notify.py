"""Who is told of failures and missed deadlines: by mail, Slack and a webhook, to servers of this test."""

import json
import socketserver
import threading
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.dags.airflow_process import result

PROBE = """
import json, os, sys
from types import SimpleNamespace
from orchestration import deadline, notify
from heartline import errors
from heartline.ledger import store

asked = json.loads(sys.argv[1])
parts = dict(where="row 7, value 63", expected="expected", hint="hint")
ti = SimpleNamespace(dag_id="heart_training", run_id="scheduled__2026-06-01T00:00:00+00:00", task_id="train",
                     map_index=asked.get("map_index", 1), try_number=17)
raised = {
    "away": errors.RegistryError("MLflow does not answer {{ 7 * 7 }} <b>", **parts),
    "records": errors.DataError("63 is no legal cp of patient 4711", **parts),
    "defect": KeyError("4711"),
    "killed": None,
}
entries = {}

def append(kind, *, by, facts, key):
    if asked.get("ledger") == "away":
        raise errors.LedgerError("away", **parts)
    return entries.setdefault(key, SimpleNamespace(kind=kind, by=by, facts=facts))

store.append = append
store.entries = lambda kinds: list(entries.values())
if asked["event"] == "failure":
    notify.failed({"ti": ti, "exception": raised[asked["error"]]})
else:
    context = {
        "dag_run": {"dag_id": ti.dag_id, "dag_run_id": ti.run_id, "state": asked["state"]},
        "deadline": {"id": "d1", "deadline_time": "2026-06-01T06:00:00+00:00"},
    }
    real = os.environ["HEARTLINE_NOTIFY"]
    for call in range(asked.get("times", 1)):
        os.environ["HEARTLINE_NOTIFY"] = "webhook:gone" if call < asked.get("unsent", 0) else real
        deadline.missed(context)
print("RESULT" + json.dumps({"entries": {key: [one.kind, one.by] for key, one in entries.items()}}))
"""


class _Mail(socketserver.StreamRequestHandler):
    def handle(self):
        def say(text):
            self.wfile.write(f"{text}\r\n".encode())

        say("220 sink")
        while line := self.rfile.readline():
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                say("354 go on")
                body = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    body += part
                self.server.received.append(message_from_bytes(body, policy=default))
            say({b"QUIT": "221 bye"}.get(word, "250 ok"))
            if word == b"QUIT":
                return


class _Web(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture
def sinks():
    """A mail server and a web server that keep what they receive."""
    mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail)
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    web.status = 200
    for server in (mail, web):
        server.received = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield mail, web
    for server in (mail, web):
        server.shutdown()
        server.server_close()


@pytest.fixture
def tell(sinks, tmp_path):
    """Let something happen in a process with these connections, and return what it printed."""
    mail, web = (server.server_address[1] for server in sinks)
    connections = {
        "TEAM_MAIL": {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": mail,
            "extra": {"to": "ann@x.org, bob@x.org", "from_email": "h@x.org", "disable_ssl": True, "disable_tls": True},
        },
        "NOBODY": {"conn_type": "smtp", "host": "127.0.0.1", "port": mail, "extra": {"from_email": "h@x.org"}},
        "TEAM": {"conn_type": "slackwebhook", "host": f"http://127.0.0.1:{web}/slack", "password": "T/B/x"},
        "PAGER": {"conn_type": "http", "host": f"http://127.0.0.1:{web}/hook"},
        "GONE": {"conn_type": "http", "host": "http://127.0.0.1:1"},
    }

    def run(notify, **asked):
        found, printed = result(
            PROBE,
            json.dumps(asked),
            HEARTLINE_NOTIFY=notify,
            HEARTLINE_PUBLIC_AIRFLOW_URL="https://ml.example.org/airflow",
            **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
        )
        return found["entries"], printed

    return run


LINK = "https://ml.example.org/airflow/dags/heart_training/runs/scheduled__2026-06-01T00%3A00%3A00%2B00%3A00"


def test_a_failure_is_told_to_everybody_with_a_link(sinks, tell):
    mail, web = sinks
    tell("smtp:team_mail, slack:team,webhook:pager", event="failure", error="away")
    (letter,) = mail.received
    assert letter["To"] == "ann@x.org, bob@x.org"
    # what an error quotes is neither a template nor HTML
    assert letter["Subject"].endswith("failed: MLflow does not answer {{ 7 * 7 }} <b>")
    body = letter.get_body(("html",)).get_content()
    assert "{{ 7 * 7 }} &lt;b&gt;" in body
    assert LINK in body
    said = dict(web.received)
    (slack,) = [body for path, body in web.received if path.startswith("/slack")]
    assert "&lt;b&gt;" in slack["text"]
    assert LINK in slack["text"]
    (hook,) = [body for path, body in said.items() if path.startswith("/hook")]
    assert (hook["event"], hook["link"]) == ("failure", LINK)
    assert hook["subject"].startswith("Heartline: train [1] of heart_training failed: MLflow does not answer")
    assert "attempt 17" in hook["where"]


@pytest.mark.parametrize("error", ["records", "defect", "killed"])
def test_no_value_of_a_record_is_told(sinks, tell, error):
    _, web = sinks
    tell("webhook:pager", event="failure", error=error)
    ((_, hook),) = web.received
    assert "4711" not in json.dumps(hook)
    assert "63" not in json.dumps(hook)
    assert hook["subject"].split("failed: ")[1] in (
        "the records, their source or a parameter were refused",
        "KeyError",
        "its process ended",
    )


def test_a_connection_that_fails_is_logged_and_the_others_are_told(sinks, tell):
    _, web = sinks
    _, log = tell("webhook:gone, webhook:none, smtp:nobody, pigeon:x, webhook:pager", event="failure", error="away")
    assert len(web.received) == 1
    for words in ("webhook:gone was not told", "webhook:none was not told", 'its extra needs "to"', "pigeon:x was not"):
        assert words in log


def test_a_server_that_refuses_is_logged(sinks, tell):
    _, web = sinks
    web.status = 500
    assert "webhook:pager was not told" in tell("webhook:pager", event="failure", error="away")[1]


def test_a_missed_deadline_is_told_once_and_is_in_the_ledger(sinks, tell):
    _, web = sinks
    entries, _ = tell("webhook:pager", event="deadline", state="running", times=3)
    ((_, hook),) = web.received
    assert (hook["event"], hook["link"]) == ("deadline", LINK)
    assert hook["subject"] == "Heartline: no fresh model by 06:00: the run is running"
    ((key, (kind, by)),) = entries.items()
    assert key == "deadline scheduled__2026-06-01T00:00:00+00:00"
    assert (kind, by) == ("alarm", "run scheduled__2026-06-01T00:00:00+00:00")


def test_a_deadline_is_told_of_after_a_failure_and_not_after_a_success(sinks, tell):
    _, web = sinks
    assert tell("webhook:pager", event="deadline", state="success")[0] == {}
    assert web.received == []
    tell("webhook:pager", event="deadline", state="failed")
    assert web.received[0][1]["subject"].endswith("the run is failed")


@pytest.mark.parametrize(("map_index", "named"), [(0, "train [0] of"), (-1, "train of"), (None, "train of")])
def test_the_mapped_task_is_named(sinks, tell, map_index, named):
    _, web = sinks
    tell("webhook:pager", event="failure", error="away", map_index=map_index)
    assert named in web.received[0][1]["subject"]


def test_a_deadline_that_could_not_be_told_is_told_by_the_next_call(sinks, tell):
    _, web = sinks
    entries, _ = tell("webhook:pager", event="deadline", state="running", times=4, unsent=2)
    assert len(web.received) == 1
    run = "scheduled__2026-06-01T00:00:00+00:00"
    assert list(entries) == [
        f"deadline {run}",
        f"deadline {run}, untold 1",
        f"deadline {run}, attempt 2",
        f"deadline {run}, untold 2",
        f"deadline {run}, attempt 3",
    ]


def test_a_deadline_is_told_of_also_while_the_ledger_is_away(sinks, tell):
    _, web = sinks
    tell("webhook:pager", event="deadline", state="running", ledger="away")
    assert len(web.received) == 1


def test_without_the_setting_no_callback_is_set():
    script = (
        "from orchestration import defaults, notify; import json, os;"
        "off = defaults.DEFAULT_ARGS['on_failure_callback'];"
        "os.environ['HEARTLINE_NOTIFY'] = 'smtp:x';"
        "print('RESULT' + json.dumps([len(off), len(notify.callbacks())]))"
    )
    assert result(script)[0] == [0, 1]


def test_the_deadline_is_the_next_time_of_day_in_the_time_zone():
    script = """
import json, os
from datetime import datetime
from orchestration import deadline
os.environ["HEARTLINE_TIMEZONE"] = "Europe/Berlin"

def at(due, setting="06:00"):
    os.environ["HEARTLINE_DEADLINE"] = setting
    found = deadline.next_deadline(datetime.fromisoformat(due))
    return found and found.astimezone().astimezone(datetime.fromisoformat(due).tzinfo).isoformat()

print("RESULT" + json.dumps([
    at("2026-06-01T00:00:00+00:00"),
    at("2026-06-01T04:00:00+00:00"),
    at("2026-10-24T23:00:00+00:00"),  # summer time ends before the deadline
    at("2026-06-01T00:00:00+00:00", "off"),
    at("2026-06-01T00:00:00+00:00", ""),
]))
"""
    assert result(script)[0] == [
        "2026-06-01T04:00:00+00:00",
        "2026-06-02T04:00:00+00:00",
        "2026-10-25T05:00:00+00:00",
        None,
        None,
    ]
