"""Files that tasks may not read are handed over by the command line."""

import io
import os
from pathlib import Path

import pytest

from heartline.ingestion import source_catalog, sources
from heartline.ingestion.sample import synthetic
from heartline.ingestion.sources import Settings
from stack import source_choice
from stack.commands.training import source_access
from stack.errors import UsageError
from stack.processes.definitions import SCHEDULER
from stack.processes.lifecycle import Stack


def environment(settings) -> dict[str, str]:
    return next(one.settings for one in Stack.of(settings).definitions() if one.name == SCHEDULER)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "far" / "records.csv"
    path.parent.mkdir()
    synthetic.generate(30).to_csv(path, index=False)
    return path


def test_a_file_that_tasks_may_read_keeps_its_path(settings, records, monkeypatch):
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(records.parent))
    assert source_access.for_task(environment(settings), str(records)) == str(records)
    assert not (settings.home / "store").exists()


@pytest.mark.parametrize("spelled", [str, Path.as_uri])
def test_the_content_of_another_file_is_handed_over(settings, records, monkeypatch, spelled):
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", "/none")
    spec = source_access.for_task(environment(settings), spelled(records))
    _, path = source_catalog.upload(spec)
    assert path == str(records)
    monkeypatch.setenv("HEARTLINE_STORE", (settings.home / "store").as_uri())
    records.unlink()
    assert len(sources.read(spec, settings=Settings()).table.frame) == 30
    assert source_choice.check(spec, "--source") == spec


def test_standard_input_is_handed_over(settings, records, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(records.read_bytes())))
    spec = source_access.from_stdin(environment(settings))
    monkeypatch.setenv("HEARTLINE_STORE", (settings.home / "store").as_uri())
    assert len(sources.read(spec, settings=Settings()).table.frame) == 30


def test_empty_standard_input_is_refused(settings, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(UsageError, match="nothing on standard input"):
        source_access.from_stdin(environment(settings))


@pytest.mark.parametrize("source", ["sample:200", "uci", "https://example.org/records.csv"])
def test_other_sources_are_left_as_they_are(settings, source):
    assert source_access.for_task(environment(settings), source) == source


def test_the_default_folders(monkeypatch):
    monkeypatch.delenv("HEARTLINE_SOURCE_FOLDERS", raising=False)
    monkeypatch.setenv("HEARTLINE_DATA", "/srv/records")
    monkeypatch.setenv("HOME", "/home/anna")
    assert source_choice.readable_folders(Path("/clone")) == os.pathsep.join(["/clone", "/home/anna", "/srv/records"])
    monkeypatch.setenv("HOME", "/")  # a system user's; it would allow every file
    assert "/" not in source_choice.readable_folders(Path("/clone")).split(os.pathsep)


def test_a_file_whose_patients_are_named_is_not_copied(settings, records, monkeypatch):
    """A copy in the store would hold their values in clear."""
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", "/none")
    with pytest.raises(UsageError, match="not copied into the store") as caught:
        source_access.for_task(environment(settings), str(records), patient="MRN")
    assert f"HEARTLINE_DATA={records.parent}" in caught.value.hint
    with pytest.raises(UsageError, match="not copied into the store"):
        source_access.from_stdin(environment(settings), patient="MRN")
    assert not (settings.home / "store").exists()
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(records.parent))
    assert source_access.for_task(environment(settings), str(records), patient="MRN") == str(records)
