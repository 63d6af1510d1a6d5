"""The mapping of the command line: checked before anything is started, and handed over as text."""

import pytest

from heartline.ingestion.access import files
from heartline.ingestion.mapping import catalog as mapping_catalog
from stack import console, mapping_choice, source_choice
from stack.commands import mapping
from stack.commands.training import train
from stack.errors import UsageError
from tests.unit.ingestion.mapping import layouts

TEXT = mapping_catalog.text_of("heart-918")


def test_a_file_is_handed_over_as_its_text(tmp_path, monkeypatch):
    (tmp_path / "m.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    for given in ("m.yaml", str(tmp_path / "m.yaml"), TEXT):
        assert train.run_parameters(None, [], mapping=given, usual_source="/data/a.csv") == {"mapping": TEXT}
        assert train.run_parameters(None, [f"mapping={given}"], usual_source="/data/a.csv") == {"mapping": TEXT}
    assert mapping_choice.check("hospital", "--mapping") == "hospital"


def test_a_mapping_of_one_line_is_handed_over_as_text(tmp_path):
    (tmp_path / "m.json").write_text('{"columns":{"age":"years"}}')
    given = mapping_choice.check(str(tmp_path / "m.json"), "--mapping")
    assert mapping_catalog.resolve(given, files.Folders()).columns["age"].names == ("years",)


@pytest.mark.parametrize(
    ("text", "what"),
    [("columns: {age: '?'}", "left open"), ("columns: {agee: x}", "unknown column"), (None, "there is no such file")],
)
def test_what_a_run_would_refuse_is_refused_before_it_starts(tmp_path, text, what):
    path = tmp_path / "m.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(UsageError) as caught:
        train.run_parameters(None, [], mapping=str(path))
    assert what in caught.value.what
    assert "(--mapping)" in caught.value.where
    assert caught.value.hint.endswith("nothing was started or trained")


def test_a_misspelt_name_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        mapping_choice.check("hospitl", "--mapping")
    assert "did you mean hospital?" in caught.value.hint


def test_a_mapping_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match="the mapping is given twice"):
        train.run_parameters(None, ["mapping=hospital"], mapping="hospital")


def test_the_nightly_run_has_the_mapping_of_the_first_source(tmp_path, monkeypatch):
    monkeypatch.delenv("HEARTLINE_MAPPING", raising=False)
    monkeypatch.delenv("HEARTLINE_SOURCE", raising=False)
    assert mapping_choice.nightly(tmp_path) is None
    mapping_choice.remember(tmp_path, "heart-918")
    assert mapping_choice.nightly(tmp_path) == TEXT
    monkeypatch.setenv("HEARTLINE_SOURCE", "uci")
    assert mapping_choice.nightly(tmp_path) is None  # it belongs to the other source
    monkeypatch.setenv("HEARTLINE_MAPPING", "hospital")
    assert mapping_choice.nightly(tmp_path) == "hospital"
    mapping_choice.remember(tmp_path, None)
    assert not (tmp_path / mapping_choice.RECORD).exists()


@pytest.mark.parametrize("setting", ["file:///srv/two%20words.yaml", "/srv/m.yaml", "columns: {age: years}"])
def test_a_setting_that_does_not_depend_on_the_working_directory_stays(tmp_path, monkeypatch, setting):
    monkeypatch.setenv("HEARTLINE_MAPPING", setting)
    assert mapping_choice.nightly(tmp_path) == setting


def test_a_relative_setting_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEARTLINE_MAPPING", "m.yaml")
    assert mapping_choice.nightly(tmp_path) == str(tmp_path / "m.yaml")


def test_a_file_url_is_handed_over_as_its_text(tmp_path):
    (tmp_path / "two words.yaml").write_text(TEXT)
    assert mapping_choice.check((tmp_path / "two words.yaml").as_uri(), "--mapping") == TEXT


def test_a_draft_is_written_and_never_overwritten(tmp_path, cohort, capsys, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    file, out = tmp_path / "ward.csv", tmp_path / "ward.yaml"
    layouts.heart_297(cohort).to_csv(file, index=False)
    mapping.draft(file, out)
    assert "the shipped mapping heart-297 fits this file exactly" in " ".join(said)
    assert 'places marked "?"' in " ".join(said)
    with pytest.raises(UsageError, match="exists"):
        mapping.draft(file, out)
    mapping.draft(file, None)
    assert capsys.readouterr().out == out.read_text()


@pytest.mark.parametrize("name", ["heart.xls", "heart.ods", "https://host/heart.xls?raw=1", "heart.XLSB#Sheet1"])
def test_a_spreadsheet_that_is_not_read_is_refused_by_its_name(name):
    with pytest.raises(UsageError, match="which is not read"):
        source_choice.check(name, "--source")


def test_a_sheet_may_be_named_behind_the_file(tmp_path, monkeypatch):
    (tmp_path / "heart.xlsx").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert source_choice.check("heart.xlsx#Two words", "--source") == f"{tmp_path}/heart.xlsx#Two words"
    with pytest.raises(UsageError, match="does not exist"):
        source_choice.check("other.xlsx#Sheet", "--source")
