"""Batch scoring and the service give the same records the same answers and refuse the same fields in the same words.

They share no code. Here both get 10,000 legal and illegal records.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient

from heartline import contract
from heartline.ingestion import sources
from heartline.ingestion.access import files
from heartline.scoring import tasks
from heartline.scoring.model import ScoringModel, packed
from heartline.scoring.reading import inputs
from heartline.scoring.reading.layout import Wanted
from heartline.scoring.writing import outputs, results
from serving.app import create_app
from serving.settings import Settings
from tests.serving import trained

RECORDS = 10_000
Record = dict[str, Any]


def legal(draw: random.Random) -> Record:
    """Return a record that the contract allows, its fields in any order, whole numbers also as decimals."""
    found: Record = {}
    for column in contract.FEATURES:
        if column.codes:
            value: float | int | None = draw.choice(sorted(column.codes))
        elif column.whole:
            value = draw.randint(int(column.minimum), int(column.maximum))
        else:
            value = draw.choice([round(draw.uniform(column.minimum, column.maximum), 2), column.minimum, 1, 1.05e0])
        if draw.random() < 0.2:
            value = float(value)
        if column.optional and draw.random() < 0.3:
            if draw.random() < 0.5:
                continue
            value = None
        found[column.name] = value
    names = list(found)
    draw.shuffle(names)
    return {name: found[name] for name in names}


def broken(draw: random.Random) -> Record:
    """Return a record with one to three bad fields."""
    record = legal(draw)
    for _ in range(draw.randint(1, 3)):
        column = draw.choice(contract.FEATURES)
        wrong = [
            column.maximum + 1, column.minimum - 1, column.maximum + 1e-9, 10**30, -(10**20), 1e300, 2.5, -0.5, 1e-320,
            "63", "", "yes", "=1+1", "\u00e9" * 150, "\ud800", True, False, None,
        ]  # fmt: skip
        kind = draw.randrange(8)
        if kind == 0:
            record.pop(column.name, None)
        elif kind == 1:
            record[draw.choice(["Age", "x", "a/b", "a~b", "", "num", "y" * 200])] = draw.choice(wrong)
        else:
            record[column.name] = draw.choice(wrong)
    return record


def cases() -> list[Record]:
    draw = random.Random(20)
    edges = [
        {one.name: value(one) for one in contract.FEATURES}
        for value in (lambda one: one.minimum, lambda one: one.maximum, lambda one: -0.0, lambda one: None)
    ]
    drawn = [legal(draw) if number % 2 else broken(draw) for number in range(RECORDS - len(edges) - 1)]
    return [*edges, {}, *drawn]


@pytest.fixture(scope="module", params=trained.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(family: str, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder = tmp_path_factory.mktemp(family)
    for name, data in trained.bundle(family).items():
        (folder / name).write_bytes(data)
    app = create_app(Settings(cache=str(folder / "cache"), bundle=str(folder)))
    app.extensions["model_store"].start()
    return app.test_client()


def post(client: FlaskClient, body: Any, kind: str = "application/json") -> Any:
    """Return the service's answer: a prediction, predictions, or the errors of the problem."""
    response = client.post("/predict", data=body, content_type=kind)
    assert response.status_code in (200, 422), response.data
    return response.get_json() if response.status_code == 200 else response.get_json()["errors"]


def answers(client: FlaskClient, records: list[Record]) -> Iterator[Any]:
    """Yield what the service says to each record alone: its prediction, or the errors of the problem."""
    for record in records:
        yield post(client, json.dumps(record))


def scored(family: str, path: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the output for a file, read back from its parts."""
    model = ScoringModel.unpacked(packed(trained.bundle(family)), "7")
    settings = sources.Settings(folders=files.ANYWHERE)
    wanted = Wanted(model.contract, keys=())
    planned = inputs.plan(inputs.Request(str(path), None, wanted, (folder / "copy").as_uri(), settings))
    counts = results.Counts()
    for chunk in planned.chunks:
        rows = tasks.scored_rows(planned, chunk, model, counts, folders=files.ANYWHERE)
        outputs.write_part(rows, str(folder / "out"), chunk.number, outputs.PARQUET)
    parts = sorted((folder / "out").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def expect_equal(answer: Any, row: dict[str, Any]) -> None:
    if isinstance(answer, list):
        assert row["probability"] is None
        assert json.loads(row["errors"]) == answer
        assert row["reason"].count(";") == len(answer) - 1
        return
    assert row["errors"] is None, row
    assert np.float32(answer["probability"]).tobytes() == np.float32(row["probability"]).tobytes()
    assert answer["has_heart_disease"] == row["has_heart_disease"]
    assert " ".join(answer["imputed"]) == row["imputed"]


def test_records(family: str, client: FlaskClient, tmp_path: Path) -> None:
    records = cases()
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    rows = scored(family, path, tmp_path)
    assert len(rows) == len(records) == RECORDS
    refused = 0
    for answer, row in zip(answers(client, records), rows, strict=True):
        expect_equal(answer, row)
        refused += isinstance(answer, list)
    assert 0.2 * RECORDS < refused < 0.8 * RECORDS


def test_a_list_is_answered_like_each_of_its_records(family: str, client: FlaskClient) -> None:
    draw = random.Random(3)
    records = [legal(draw) for _ in range(300)]
    together = post(client, json.dumps(records))["predictions"]
    alone = [answer["probability"] for answer in answers(client, records)]
    assert [one["probability"] for one in together] == alone


def test_rows_of_csv(family: str, client: FlaskClient, tmp_path: Path) -> None:
    draw = random.Random(9)
    names = list(contract.FEATURE_NAMES)
    lines = [",".join(_cell(record.get(name)) for name in names) for record in (legal(draw) for _ in range(300))]
    lines += [",".join(_cell(record.get(name)) for name in names) for record in (broken(draw) for _ in range(300))]
    header = ",".join(names)
    path = tmp_path / "records.csv"
    path.write_text("\n".join([header, *lines]))
    for line, row in zip(lines, scored(family, path, tmp_path), strict=True):
        answer = post(client, f"{header}\n{line}", "text/csv")
        if isinstance(answer, list):
            for one in answer:
                one["pointer"] = one["pointer"].removeprefix("/0")
                one["detail"] = one["detail"].removesuffix(" (line 2)")
        expect_equal(answer if isinstance(answer, list) else answer["predictions"][0], row)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value.encode(errors="ignore").decode()  # no ?, which is a missing value in a file
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
