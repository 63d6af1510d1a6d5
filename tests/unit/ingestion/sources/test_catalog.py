"""The catalogue of sources: everything that lists sources follows from one entry."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest

from heartline.errors import ParameterError
from heartline.ingestion import source_catalog, sources, tables
from heartline.ingestion.source_catalog import SOURCES, Source
from heartline.reports import model_card
from stack import source_choice
from stack.commands import cli
from tests import data_page
from tests.conftest import ROOT
from tests.pages import Page
from tests.unit.comparison.cases import ABOUT, candidate, judged
from tests.unit.ingestion.sources.support import BRIEF, FRAME, refused

MADE_UP = Source(
    origin="ward",
    pattern=r"ward-\d+",
    spelled=("ward-N",),
    description="the records of ward N",
    card="Records of one ward.",
    limits="Only one ward.",
    citation="Ward (2026).",
    takes_query=True,
)


@pytest.fixture
def made_up(monkeypatch) -> None:
    """The catalogue with one more entry, and its reader."""
    monkeypatch.setattr(source_catalog, "SOURCES", (*SOURCES, MADE_UP))

    def read(request: sources.Request) -> sources.Records:
        table = tables.from_frame(pd.DataFrame(FRAME.to_numpy()), list(FRAME.columns), where=request.spec)
        return sources.Records(table, "ward", f"{request.spec}, query: {request.query}")

    monkeypatch.setitem(sources.READERS, "ward", read)


def test_every_source_has_a_reader():
    assert sorted(sources.READERS) == sorted(one.origin for one in SOURCES)


@pytest.mark.parametrize(
    ("spec", "origin"),
    [
        ("sample", "sample"),
        ("sample:250", "sample"),
        ("HTTPS://host/a.csv", "url"),
        ("uci", "uci"),
        ("postgres", "postgres"),
        ("/data/a.csv", "file"),
        ("file:///data/a.csv", "file"),
        ("/data/two\nlines.csv", "file"),
        ("http://host/a.csv", "url"),
        ("HTTPS://host/a.csv", "url"),
    ],
)
def test_each_form_names_one_source(spec, origin):
    assert [one.origin for one in SOURCES if one.match(spec)] == [origin]


@pytest.mark.parametrize(
    "spec", ["", "sample:", "sample:1\n", "Sample", "UCI", "uci ", "a.csv", "ftp://host/a.csv", "FILE:///a.csv"]
)
def test_other_values_name_none(spec):
    assert source_catalog.find(spec) is None


@pytest.mark.parametrize("one", SOURCES, ids=lambda one: one.origin)
def test_every_source_is_described_in_full(one):
    assert one.spelled
    assert one.description
    assert one.card.endswith(".")
    assert one.limits.endswith(".")
    assert one.is_address or one.match(one.spelled[0])


def test_the_texts_as_they_are():
    assert source_catalog.choices() == (
        "sample, sample:N, uci, postgres, or the path or http(s) URL of a CSV, JSON, Parquet or Excel (.xlsx) file"
    )
    assert source_catalog.form_description() == (
        "`sample` or `sample:N` (a synthetic cohort, N from 100 to 10,000,000), `uci` (the Cleveland file of the "
        "UCI archive), `postgres` (a SQL query on the database at `HEARTLINE_DATABASE_URL`), or the path or http(s) "
        "URL of a CSV, JSON, Parquet or Excel (.xlsx) file."
    )
    assert source_catalog.query_description() == (
        "For the source `postgres`, and needed there: SQL that returns the contract's columns, such as "
        f"`{source_catalog.DEFAULT_QUERY}`. The nightly run uses that one if its source is a database."
    )
    assert source_catalog.DEFAULT_QUERY.startswith("SELECT age, sex, cp, ")
    assert source_catalog.DEFAULT_QUERY.endswith(", thal, num FROM patients")


def test_a_new_source_is_read(made_up):
    found = sources.read("ward-7", query="SELECT 1", settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert (found.origin, found.description) == ("ward", "ward-7, query: SELECT 1")


def test_a_new_source_is_in_the_messages(made_up):
    assert "postgres, ward-N, or the path" in refused("nothing", kind=ParameterError).expected
    assert (
        refused("sample", query="SELECT 1", kind=ParameterError).expected
        == "no query, or the sources postgres or ward-N"
    )


def test_a_new_source_is_in_the_forms_descriptions(made_up):
    assert "`ward-N` (the records of ward N)" in source_catalog.form_description()
    assert "`ward-N`" in source_catalog.query_description()


def test_a_new_source_is_in_the_help_of_the_command_line(made_up):
    spec = importlib.util.spec_from_file_location("cli_with_a_new_source", Path(cli.__file__))
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    for name in ("up", "train"):
        command = again.cli.commands[name]
        text = " ".join(command.get_help(click.Context(command)).split())
        assert f"{source_catalog.choices()}." in text
        assert "ward-N" in text


def test_the_launcher_does_not_take_a_new_source_for_a_path(made_up):
    assert source_choice.check("ward-7", "--source") == "ward-7"


def test_a_new_source_is_on_the_model_card(made_up):
    lr, rf = candidate(), candidate("rf", "Random forest")
    html = model_card.render(lr, judged(lr, rf)[0], about={**ABOUT, "origin": "ward"})
    for text in (MADE_UP.card, MADE_UP.limits, MADE_UP.citation):
        assert text in Page(html).text


def test_the_card_of_an_origin_that_is_not_in_the_catalogue_names_it():
    assert source_catalog.of_origin("elsewhere").card == "Records of origin elsewhere."


def test_the_table_in_the_docs_is_current():
    assert data_page.section("sources") == source_catalog.markdown(), f"run: {data_page.REFRESH}"


def test_nothing_else_lists_the_sources():
    names = re.compile(r"\bsample\b.*\buci\b.*\bpostgres\b", re.DOTALL)
    files = [path for folder in ("include", "dags", "plugins") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [path.name for path in files if any(names.search(line) for line in path.read_text().splitlines())]
    assert found == []


def test_the_catalogue_imports_nothing_heavy():
    probe = (
        "import sys; before = set(sys.modules); import heartline.ingestion.source_catalog; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", probe],
        env={"PYTHONPATH": str(ROOT / "include")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["heartline"]
