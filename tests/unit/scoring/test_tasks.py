"""The tasks of a scoring run: one output, one manifest and one entry, however often they run."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from heartline import contract
from heartline.errors import (
    DataError,
    HandoverError,
    ParameterError,
    RegistryRefusedError,
    SourceError,
    SourceRefusedError,
)
from heartline.ingestion.sample import synthetic
from heartline.registry import versions
from heartline.scoring import tasks
from heartline.scoring.model import ScoringModel, packed
from heartline.scoring.reading import inputs, text_input
from heartline.scoring.writing import outputs
from tests.serving import trained

NAMES = list(contract.FEATURE_NAMES)


class Ledger:
    """Keeps the entries in memory, one for each key."""

    def __init__(self) -> None:
        self.entries: dict[str | None, dict[str, Any]] = {}

    def append(self, kind: str, *, key: str | None = None, url: str | None = None, **facts: Any) -> Any:
        entry = self.entries.setdefault(key, {"kind": kind, **facts})
        number = list(self.entries).index(key) + 1
        return type("Entry", (), {"number": number, **entry})


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    found = Ledger()
    monkeypatch.setattr("heartline.ledger.store.append", found.append)
    return found


@pytest.fixture
def plan(
    monkeypatch: pytest.MonkeyPatch, store: Path, ledger: Ledger, tmp_path: Path
) -> Callable[..., list[tasks.Task]]:
    """Plan a run that may read and write below the test's folder, in chunks of some 100 rows."""
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(tmp_path))
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 4_000)
    monkeypatch.setattr(text_input, "PART", 2_000)
    monkeypatch.setattr(
        versions, "fetch", lambda version: versions.PinnedVersion(version or "3", trained.bundle("logistic_regression"))
    )

    def planned(**given: Any) -> list[tasks.Task]:
        return tasks.plan(
            run="manual__1", **{"source": str(tmp_path / "records.csv"), "output": str(tmp_path / "out"), **given}
        )

    return planned


@pytest.fixture
def records(tmp_path: Path) -> pd.DataFrame:
    frame = synthetic.generate(500, 4)[NAMES].copy()
    frame.insert(0, "patient", [f"p{number}" for number in range(len(frame))])
    frame.loc[frame.index[[5, 250, 499]], "age"] = 200
    frame.to_csv(tmp_path / "records.csv", index=False)
    return frame


def run(chunks: list[tasks.Task]) -> tasks.Finished:
    return tasks.finish([json.loads(json.dumps(tasks.score(one))) for one in chunks], chunks)


def test_a_run(
    plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, ledger: Ledger, store: Path, tmp_path: Path
) -> None:
    chunks = json.loads(json.dumps(plan()))
    assert len(chunks) > 3
    found = run(chunks)
    folder = tmp_path / "out" / "run=manual__1"
    rows = [row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert [row["patient"] for row in rows] == list(records["patient"])
    assert [row["row"] for row in rows] == list(range(1, 501))
    assert (found["rows"], found["rejected"], found["version"], found["output"]) == (500, 3, "3", str(folder))
    assert found["reasons"] == {"age: the value is not allowed": 3}
    assert found["sha256"] == hashlib.sha256((tmp_path / "records.csv").read_bytes()).hexdigest()
    assert found["assets"] == {
        "scores": {name: found[name] for name in ("run", "version", "rows", "rejected", "positive", "output")}
    }  # type: ignore[literal-required]
    manifest = json.loads((folder / outputs.MANIFEST).read_text())
    assert manifest == {name: value for name, value in found.items() if name not in ("assets", "note")}
    assert found["note"].startswith("500 rows scored with version 3: ")
    for part in manifest["parts"]:
        assert hashlib.sha256((folder / part["name"]).read_bytes()).hexdigest() == part["sha256"]
    (entry,) = ledger.entries.values()
    assert (entry["kind"], entry["by"], entry["version"]) == ("scored", "run manual__1", "3")
    assert entry["facts"]["rejected"] == 3
    assert not (store / "scoring").exists()
    together = pq.read_table(folder)  # readers leave the manifest out
    assert together.num_rows == 500


def test_each_task_again_gives_the_same_bytes(
    plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, ledger: Ledger, tmp_path: Path
) -> None:
    chunks = plan(format="both")
    first = run(chunks)
    folder = Path(first["output"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / ".part-00001-killed").mkdir()  # a killed attempt
    (folder / ".part-00001-killed" / "part-00001.csv").write_text("half")
    assert plan(format="both") == chunks
    assert run(chunks) == first
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(ledger.entries) == 1
    texts = [pyarrow.csv.read_csv(path) for path in sorted(folder.glob("*.csv"))]
    assert sum(one.num_rows for one in texts) == 500


def test_kill_before_each_write(
    plan: Callable[..., list[tasks.Task]],
    records: pd.DataFrame,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    chunks = plan()
    scored = [tasks.score(one) for one in chunks]

    def killed(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            tasks.finish(scored, chunks)
    assert outputs.read_manifest(str(tmp_path / "out/run=manual__1")) is None
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "_moved", killed)
        with pytest.raises(KeyboardInterrupt):
            tasks.score(chunks[1])
    assert tasks.score(chunks[1]) == scored[1]
    tasks.finish(scored, chunks)
    assert len(ledger.entries) == 1


def test_an_address_that_nothing_writes_to_is_refused_at_once(plan: Callable[..., list[tasks.Task]]) -> None:
    with pytest.raises(outputs.OutputError, match="nothing is installed that writes to nowhere://") as caught:
        plan(output="nowhere://bucket/scores")
    assert "package" in caught.value.hint


def test_finish_refuses_what_is_incomplete(
    plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, tmp_path: Path
) -> None:
    chunks = plan()
    scored = [tasks.score(one) for one in chunks]
    with pytest.raises(HandoverError, match="the input 500"):
        tasks.finish(scored[:-1], chunks)
    (tmp_path / "out/run=manual__1/part-00001.parquet").unlink()
    with pytest.raises(outputs.OutputError, match=r"part-00001\.parquet"):
        tasks.finish(scored, chunks)
    assert outputs.read_manifest(str(tmp_path / "out/run=manual__1")) is None
    with pytest.raises(HandoverError, match="another form"):
        tasks.finish([{"number": 0}], chunks)


def test_an_input_that_changes(plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, tmp_path: Path) -> None:
    chunks = plan()
    path = tmp_path / "records.csv"
    path.write_text(path.read_text().replace("p250", "p999"))
    at = next(at for at, one in enumerate(chunks) if one["first_row"] + one["rows"] > 251)
    tasks.score(chunks[0])
    with pytest.raises(DataError, match="changed after the run had started"):
        tasks.score(chunks[at])
    assert not (tmp_path / f"out/run=manual__1/part-{at:05}.parquet").exists()


def test_the_version_is_pinned(
    plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = plan(version="9")
    monkeypatch.setattr(versions, "fetch", lambda version: pytest.fail("MLflow was asked again"))
    assert run(chunks)["version"] == "9"


def test_copies_of_the_input_are_deleted(
    plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(
        "\n".join(
            map(
                json.dumps,
                records.replace({float("nan"): None}).astype(object).where(records.notna(), None).to_dict("records"),
            )
        )
    )
    chunks = plan(source=str(path))
    assert list((store / "scoring" / "manual__1").iterdir())
    found = run(chunks)
    assert (found["rows"], found["rejected"]) == (500, 3)
    assert not (store / "scoring" / "manual__1").exists()
    with pytest.raises(SourceError, match="not in the store"):
        tasks.score(chunks[0])


@pytest.mark.parametrize("output", ["/etc", "{home}/.hidden/x", "/proc"])
def test_only_allowed_folders_are_written(plan: Callable[..., list[tasks.Task]], output: str, tmp_path: Path) -> None:
    with pytest.raises(SourceRefusedError, match="output"):
        plan(output=output.format(home=tmp_path))


def test_the_default_output_is_the_store(
    plan: Callable[..., list[tasks.Task]], records: pd.DataFrame, store: Path
) -> None:
    assert run(plan(output=None))["output"] == f"{store.as_uri()}/scores/run=manual__1"
    assert (store / "scores/run=manual__1/part-00000.parquet").exists()


def test_parameters_are_checked_first(plan: Callable[..., list[tasks.Task]]) -> None:
    with pytest.raises(ParameterError, match="no parameter"):
        plan(given={"source": "sample", "sauce": 1})
    with pytest.raises(ParameterError, match="has no source"):
        plan(given={"source": None})


def test_damaged_files_of_a_version_are_refused() -> None:
    files = dict(trained.bundle("logistic_regression"))
    with pytest.raises(RegistryRefusedError, match=r"model\.onnx differs"):
        packed({**files, "model.onnx": b"x"})
    with pytest.raises(RegistryRefusedError, match=r"contract\.json is missing"):
        packed({name: data for name, data in files.items() if name != "contract.json"})
    with pytest.raises(RegistryRefusedError, match=r"manifest\.json"):
        ScoringModel({}, "1")


def test_reasons_beyond_the_most_frequent_are_counted_together() -> None:
    def chunk(first: int) -> Counter[str]:
        return Counter({f"reason {number}": number for number in range(first, first + 60)})

    parts = [tasks.most_common(chunk(1)), tasks.most_common(chunk(31))]
    assert [len(one) for one in parts] == [51, 51]
    together: Counter[str] = Counter()
    for one in parts:
        together.update(one)
    found = tasks.most_common(together)
    assert sum(found.values()) == chunk(1).total() + chunk(31).total()
    assert list(found)[-1] == tasks.OTHER_REASONS
