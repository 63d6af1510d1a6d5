"""The benchmark of the service runs at a small scale without MLflow; its page shows the figures and verdicts."""

import copy
import json
import subprocess
import sys
from contextlib import ExitStack

import pytest
import serving_page
from checked import call
from cost_page import BEGIN, END
from serving_peers import beside, measure, models
from serving_peers.client import connected
from serving_peers.servers import THEIRS, Kind, running

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "serving.py"
PAGE = ROOT / "docs" / "serving-speed.md"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it reads the clocks of other processes as Linux has them")


def figures():
    def load(ours, mlflow, echo):
        cost = {"ours": ours, "mlflow": mlflow, "echo": echo}
        named = {"ours lr": "ours", "ours rf": "ours", "mlflow lr": "mlflow", "mlflow rf": "mlflow", "echo": "echo"}
        return {
            server: {"cpu": [0.9 * cost[kind], cost[kind], 1.2 * cost[kind]], "requests": 9, "p50": 0.001, "p99": 0.02}
            for server, kind in named.items()
        }

    start = {"start": [1.5, 1.6, 1.4], "memory": [90e6], "added": [31e6, 39e6, 35e6]}
    return {
        "machine": {"processor": "2 × P", "python": "3.11.7"},
        "trees": 300,
        "rounds": 3,
        "on": ["HEARTLINE_API_KEYS"],
        "max_abs_diff": 2e-7,
        "loads": {
            "one": load(0.0005, 0.015, 0.00045),
            "sixteen": load(0.0005, 0.015, 0.00045),
            "thousand": load(0.004, 0.05, 0.007),
        },
        "starts": {"ours lr": start, "echo": start},
    }


def test_the_page_shows_what_was_measured():
    text = serving_page.markdown(figures()).replace("\n", " ")
    assert "keys on, prediction log off" in text
    assert "| Heartline, logistic regression | 0.50 ms | 0.48–0.55 | 1/30 | 1.11 times | 1.00 ms | 20.0 ms |" in text
    assert "compared with `mlflow models serve`, logistic regression. Target: at most 1/25; measured: 1/30" in text
    assert (
        "compared with Flask echo. Target: at most 1.2 times; measured: 1.11 times (1.11 times to 1.11 times), met."
        in text
    )
    assert "1,000 records compared with Flask echo. Target: at most 0.8 times; measured: 1/1.75" in text
    assert "35 MB, met" in text
    assert "1.50 s, met" in text
    assert "NOT" not in text


def test_the_page_names_missed_targets():
    slow = copy.deepcopy(figures())
    slow["loads"]["one"]["ours lr"]["cpu"] = [0.001, 0.001, 0.001]
    slow["starts"]["ours lr"] |= {"start": [2.1], "added": [41e6]}
    text = serving_page.markdown(slow).replace("\n", " ")
    assert text.count("NOT met") == 4
    assert "41 MB, **NOT met**" in text
    assert "2.10 s, **NOT met**" in text


def test_a_ratio_is_that_of_the_rounds():
    assert measure.ratio([2.0, 30.0, 2.0], [1.0, 10.0, 4.0]) == (2.0, 1.25, 2.5)


def test_the_peers_run_under_the_services_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("HEARTLINE_CACHE", str(tmp_path))
    monkeypatch.setenv("HEARTLINE_SERVICE_WORKERS", "3")
    monkeypatch.setenv("HEARTLINE_SERVICE_PORT", "8123")
    monkeypatch.setenv("PEER", "echo:create()")
    printed = [
        subprocess.run(
            [sys.executable, "-m", "gunicorn", "-c", str(file), "--print-config"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for file in (ROOT / "serving" / "gunicorn.conf.py", THEIRS)
    ]
    ours, theirs = (dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for text in printed)
    ours, theirs = ({key.strip(): value.strip() for key, value in one.items()} for one in (ours, theirs))
    assert len(ours) > 50
    same = set(ours) - {"config", "worker_class", "wsgi_app"}
    hooks = {name for name in same if ours[name].startswith("<")}
    assert {name: ours[name] for name in same - hooks} == {name: theirs[name] for name in same - hooks}


@LINUX
def test_it_measures_all_processes_of_a_server(tmp_path):
    kind = Kind("echo", "lr", tmp_path)
    body = kind.body([{"age": 63}])
    with running(kind, body, workers=2) as (server, start):
        assert 0.05 < start < 60
        assert len(server.processes()) == 3
        with connected(server.port, kind.path, [body], 1) as client:
            assert client.answer(0) == {"age": 63}
        cpu, seconds = measure.ask(server, [body], connections=4, count=40)
        assert len(seconds) == 40
        assert 0 < cpu < 0.1
        pss, uss = server.memory()
        assert pss > uss > 1e6
    assert server.processes() == []


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("serving") / "found.json"
    options = ["--rounds", "1", "--starts", "0", "--trees", "60", "--share", "0.02", "--bare"]
    done = call(SCRIPT, *options, "--servers", "ours", "plain", "echo", "--json", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text()), done.stdout


@pytest.mark.slow
@LINUX
def test_a_thousand_records_cost_at_most_four_fifths_of_an_echo_with_keys_and_log(tmp_path):
    models.prepare(tmp_path, trees=10)
    records = measure.Records(tmp_path)
    file, key = beside.keys(tmp_path)
    with beside.log_database(tmp_path) as url, ExitStack() as stack:
        extra = {"HEARTLINE_API_KEYS": str(file), "HEARTLINE_PREDICTION_LOG_URL": url}
        kinds = [
            Kind("ours", "lr", tmp_path, extra, {"X-API-Key": key}, later=True),
            Kind("echo", "lr", tmp_path),
        ]
        servers = [stack.enter_context(running(kind, records.bodies(kind, 1)[0]))[0] for kind in kinds]
        rounds = [
            [measure.ask(server, records.bodies(server.kind, 1000), 1, 60)[0] for server in servers] for _ in range(3)
        ]
    assert min(ours / echo for ours, echo in rounds) <= 0.8, rounds


@pytest.mark.slow
@LINUX
def test_every_server_gets_every_load(measured):
    found, page = measured
    servers = {"ours lr", "ours rf", "plain lr", "plain rf", "echo"}
    assert found["max_abs_diff"] < 1e-5
    for name, load in found["loads"].items():
        assert set(load) == servers, name
        assert all(one["cpu"][0] > 0 and one["p99"] >= one["p50"] > 0 for one in load.values())
    assert "compared with Flask echo. Target: at most 1.2 times" in page.replace("\n", " ")


def test_the_page_in_the_repository_was_written_by_this_script():
    text = PAGE.read_text()
    measured = text.partition(BEGIN)[2].partition(END)[0]
    assert measured.count("| Flask echo |") == 4
    for load in serving_page.LOADS.values():
        assert load in measured
    assert "keys on, prediction log on" in measured


def test_a_page_without_markers_is_refused_before_measuring(tmp_path):
    page = tmp_path / "other.md"
    page.write_text("# Another page\n")
    done = call(SCRIPT, "--page", str(page))
    assert done.returncode == 2
    assert "has no lines" in done.stderr


def test_the_page_is_written_for_the_default_worker_only(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    done = call(SCRIPT, "--page", str(page), "--worker", "gthread")
    assert done.returncode == 2
    assert "the page is about the default worker" in done.stderr
