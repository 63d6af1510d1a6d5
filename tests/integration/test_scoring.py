"""heart_scoring on the real stack, by REST, and `./heartline score`: the same output, and entries in the ledger."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import requests

from heartline import contract
from heartline.ingestion.sample import synthetic
from tests.running import Running
from tests.waiting import until


def token(running: Running) -> str:
    password = (running.home / "secrets" / "airflow_admin_password").read_text().strip()
    login = {"username": "admin", "password": password}
    answer = requests.post(running.url("AIRFLOW", "/auth/token"), json=login, timeout=60)
    return str(answer.json()["access_token"])


def test_by_rest_and_on_the_command_line(running: Running, tmp_path: Path) -> None:
    frame = synthetic.generate(300, 4)[list(contract.FEATURE_NAMES)].copy()
    frame.insert(0, "patient", [f"p{number}" for number in range(300)])
    frame.loc[frame.index[7], "age"] = 300
    source = tmp_path / "records.csv"
    frame.to_csv(source, index=False)

    made = json.loads(running.call("score", str(source), "--output", str(tmp_path / "scored.parquet"), "--json").stdout)
    assert (made["rows"], made["rejected"]) == (300, 1)

    headers = {"Authorization": f"Bearer {token(running)}"}
    runs = running.url("AIRFLOW", "/api/v2/dags/heart_scoring/dagRuns")
    wrong = requests.post(runs, json={"logical_date": None, "conf": {"sauce": 1}}, headers=headers, timeout=60)
    assert wrong.status_code == 400
    assert "no parameter 'sauce'" in wrong.json()["detail"]
    # tasks read the sample; they may not read the test's folder
    conf = {"source": "sample:300"}
    triggered = requests.post(runs, json={"logical_date": None, "conf": conf}, headers=headers, timeout=60).json()

    def ended() -> Any:
        found = requests.get(f"{runs}/{triggered['dag_run_id']}", headers=headers, timeout=60).json()
        return found if found["state"] in ("success", "failed") else None

    assert until(ended, seconds=600)["state"] == "success"
    result = f"{runs}/{triggered['dag_run_id']}/taskInstances/finish/xcomEntries/return_value"
    finished = requests.get(result, headers=headers, timeout=60).json()["value"]
    finished = json.loads(finished) if isinstance(finished, str) else finished
    assert (finished["rows"], finished["rejected"], finished["version"]) == (300, 0, made["version"])
    assert finished["entry"] > made["entry"] > 0
    events = requests.get(running.url("AIRFLOW", "/api/v2/assets/events"), headers=headers, timeout=60).json()
    assert {"rows": 300, "run": triggered["dag_run_id"]}.items() <= next(
        one["extra"] for one in events["asset_events"] if one["name"] == "scores"
    ).items()
    scored = pq.read_table(tmp_path / "scored.parquet")
    assert scored["patient"].to_pylist() == list(frame["patient"])
    assert [at for at, one in enumerate(scored["reason"].to_pylist()) if one] == [7]
