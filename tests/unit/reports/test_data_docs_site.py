"""The Data Docs site: a page for each run, an index, and no access outside its folder."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heartline.reports import data_docs_site
from heartline.storage import object_store
from heartline.storage.object_store import StoreError
from heartline.validation.checkpoint import Report
from heartline.validation.findings import Finding

PAGE = b"<main>\n<!--site-->\n<h1>The run continued</h1></main>"
UNUSUAL = Finding("expect_column_values_to_be_between", "age", "unusual", "usually 18 to 100", "another", [(1, "9")], 1)


def _report(**changed) -> Report:
    facts = {
        "rows": 303,
        "used": 300,
        "duplicates": 2,
        "quarantined": 1,
        "max_quarantine": 0.05,
        "encoding": "uci",
        "evidence": [],
        "notes": [],
        "expectations": 53,
        "findings": [],
        "stopped": [],
    }
    return Report(**{**facts, **changed})


def _publish(run: str, day: int = 1, page: bytes = PAGE, source: str = "a file", **changed) -> str:
    return data_docs_site.publish(
        page, run, source=source, report=_report(**changed), now=datetime(2026, 11, day, 1, 30, tzinfo=UTC)
    )


def _runs_in_index() -> list[str]:
    return re.findall(r'<a href="[^"]+">(.*?)</a>', data_docs_site.read("index.html").decode())


def _cells(run: str) -> list[str]:
    """The text of a run's line in the index."""
    (line,) = [
        one
        for one in data_docs_site.read("index.html").decode().split("<tr>")[2:]
        if f">{run}<" in one.partition("<br>")[0]
    ]
    texts = re.sub(r"<[^>]+>", " ", line.partition("</tr>")[0].replace("</td>", "|")).split("|")
    return [" ".join(one.split()) for one in texts[:-1]]


def test_a_page_is_kept_under_the_runs_name_and_has_a_link_to_the_index(store):
    name = _publish("manual__2026-11-01T01:30:00+00:00")
    assert name == "manual__2026-11-01T01-30-00-00-00-1bfd5e9309bf2a34.html"
    assert (
        data_docs_site.read(name)
        == (store / "data-docs" / name).read_bytes()
        == b'<main>\n<nav><a href="index.html">All runs</a></nav>\n<h1>The run continued</h1></main>'
    )


def test_the_index_lists_the_newest_run_first_with_its_outcome_and_counts(store):
    _publish("b", day=2, rows=1000, used=900, duplicates=60, quarantined=40, stopped=["too few", "too bad", "too rare"])
    _publish("c", day=3, used=301, quarantined=0)
    _publish("a", day=1, source="https://example.org/x.csv")
    _publish("d", day=4, used=301, quarantined=0, findings=[UNUSUAL])
    assert _runs_in_index() == ["d", "c", "b", "a"]
    assert _cells("a") == [
        "a written 2026-11-01 01:30 UTC",
        "continued, with findings",
        "https://example.org/x.csv",
        "303",
        "300",
        "2",
        "1",
    ]
    assert _cells("b")[1:] == ["stopped too few; and 2 more", "a file", "1,000", "–", "60", "40"]
    assert _cells("c")[1:] == ["continued", "a file", "303", "301", "2", "0"]
    assert _cells("d")[1] == "continued, with findings"


def test_a_run_that_is_published_again_replaces_its_page_only_and_keeps_its_place(store):
    first, second = _publish("first", day=1), _publish("second", day=2)
    before = (store / "data-docs" / second).stat().st_mtime_ns
    assert _publish("first", day=3, page=b"again", quarantined=7) == first
    assert data_docs_site.read(first) == b"again"
    assert (store / "data-docs" / second).stat().st_mtime_ns == before
    assert _runs_in_index() == ["second", "first"]
    assert _cells("first")[-1] == "7"
    assert sorted(path.name for path in (store / "data-docs").iterdir()) == sorted(
        ["index.html", first, second, first.replace(".html", ".json"), second.replace(".html", ".json")]
    )


@pytest.mark.parametrize(
    "runs",
    [
        ("a:b", "a-b", "a+b", "a b", "a/b", "a--b"),
        ("Run", "run", "RUN"),
        ("index", "", ".", "..", "../index"),
        ("é", "ü", "心"),
        ("x" * 500, "x" * 501),
    ],
)
def test_runs_never_share_a_file_and_every_name_is_a_safe_one(runs):
    names = [data_docs_site.page_name(run) for run in runs]
    assert len({name.lower() for name in names}) == len(runs)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,120}\.html", name) for name in names)
    assert "index.html" not in names


def test_values_of_a_source_are_escaped_in_the_index(store):
    _publish("<script>alert(1)</script>", source='<img src="https://example.org/x">', stopped=["<b>&"])
    index = data_docs_site.read("index.html").decode()
    assert "<script" not in index
    assert "<img" not in index
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</a>" in index
    assert "&lt;img src=&#34;https://example.org/x&#34;&gt;" in index
    assert "&lt;b&gt;&amp;</span>" in index
    assert re.findall(r'(?:href|src)="([^"]+)"', index) == [data_docs_site.page_name("<script>alert(1)</script>")]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.html",
        "..",
        "",
        "a/../index.html",
        "/etc/passwd",
        "a\\b.html",
        "index.html\n",
        "index.html\x00",
        "run.json",
        "a..html",
        "%2e%2e%2fsecret.html",
        "file:///etc/passwd.html",
    ],
)
def test_only_plain_names_of_pages_are_read(store, name):
    _publish("run")
    (store / "secret.html").write_text("secret")
    with pytest.raises(data_docs_site.NoSuchPageError) as caught:
        data_docs_site.read(name)
    assert caught.value.where == f"Data Docs page {name!r}"


def test_a_missing_page_is_a_clear_error(store):
    with pytest.raises(data_docs_site.NoSuchPageError) as caught:
        data_docs_site.read("run.html")
    assert str(caught.value) == (
        "there is no such page\n"
        "  where:    Data Docs page 'run.html'\n"
        "  expected: index.html or a page that it links to\n"
        "  hint:     open the index; a run has a page after its task validate"
    )


def test_a_run_that_is_published_at_the_same_time_as_another_is_in_the_index(store, monkeypatch):
    """Between listing the pages and writing the index, another run may write both."""
    write, published = object_store.write, []

    def publish_another(fs, path, data):
        if path.endswith("index.html") and not published:
            published.append(path)
            _publish("fast", day=2)
        write(fs, path, data)

    monkeypatch.setattr(object_store, "write", publish_another)
    _publish("slow", day=1)
    assert published
    assert _runs_in_index() == ["fast", "slow"]


def test_a_store_in_memory_works_too(monkeypatch):
    monkeypatch.setenv("HEARTLINE_STORE", "memory://heartline-data-docs")
    assert data_docs_site.read(_publish("one", day=1)).endswith(b"<h1>The run continued</h1></main>")
    _publish("two", day=2)
    assert _runs_in_index() == ["two", "one"]


def test_a_store_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "file").as_uri())
    with pytest.raises(StoreError, match="the store cannot be written") as caught:
        _publish("run")
    assert caught.value.where == f"{(tmp_path / 'file').as_uri()}/data-docs"


def test_the_entry_of_the_index_is_stored_beside_the_page(store):
    name = _publish("run", day=5, findings=[UNUSUAL])
    about = json.loads(Path(store, "data-docs", name).with_suffix(".json").read_text())
    assert about == {
        "page": name,
        "run": "run",
        "source": "a file",
        "stopped": [],
        "rows": 303,
        "used": 300,
        "duplicates": 2,
        "quarantined": 1,
        "warnings": 1,
        "written": "2026-11-05T01:30:00+00:00",
    }


@pytest.mark.parametrize("damage", [b"", b'{"page": "x', b"\x00\xff", b"[]", b'{"page": "x.html"}'])
def test_a_damaged_entry_is_set_apart_and_the_next_run_is_published(store, caplog, damage):
    first, second = _publish("first", day=1), _publish("second", day=2)
    entry = Path(store, "data-docs", first).with_suffix(".json")
    entry.write_bytes(damage)

    _publish("third", day=3)

    assert _runs_in_index() == ["third", "second"]
    assert f"{entry} is damaged and was moved to {store}/damaged/data-docs/{entry.name}" in caplog.text
    assert f"{first} is not in the index" in caplog.text
    assert Path(store, "damaged", "data-docs", entry.name).read_bytes() == damage
    assert data_docs_site.read(second)
    _publish("first", day=4)
    assert _runs_in_index() == ["first", "third", "second"]


def test_a_damaged_entry_of_the_same_run_is_written_again(store):
    name = _publish("run", day=1)
    Path(store, "data-docs", name).with_suffix(".json").write_bytes(b'{"run')
    _publish("run", day=5)
    assert _runs_in_index() == ["run"]
