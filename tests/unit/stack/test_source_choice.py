import pytest

from stack import source_choice
from stack.errors import UsageError
from tests.running import free_ports


@pytest.fixture
def home(settings, monkeypatch):
    monkeypatch.delenv("HEARTLINE_SOURCE", raising=False)
    monkeypatch.setenv("HEARTLINE_UCI_URL", f"http://127.0.0.1:{free_ports(1)[0]}/heart.zip")
    return settings.home


@pytest.mark.parametrize(
    "source", ["sample", "sample:500", "uci", "postgres", "https://host/a.csv", "s3://bucket/a.csv"]
)
def test_names_and_urls_are_not_changed(source):
    assert source_choice.check(source, "--source") == source


def test_a_path_becomes_absolute(tmp_path, monkeypatch):
    (tmp_path / "a b.csv").write_text("1")
    monkeypatch.chdir(tmp_path)
    assert source_choice.check("a b.csv", "--source") == str(tmp_path / "a b.csv")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.touch(), "is empty: 0 bytes"),
        (lambda path: path.mkdir(), "is not a file"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_an_unusable_file_is_refused_at_once(tmp_path, make, problem, form):
    path = tmp_path / "records.csv"
    make(path)
    with pytest.raises(UsageError) as caught:
        source_choice.check(form.format(path), "--source")
    assert caught.value.what == f"the source {problem}"
    assert caught.value.where == f"{path} (--source)"


def test_the_given_source_comes_first(home, monkeypatch):
    monkeypatch.setenv("HEARTLINE_SOURCE", "postgres")
    source_choice.remember(home, "uci")
    assert source_choice.choose("sample:9", home).source == "sample:9"


def test_then_the_setting_then_the_stored_source(home, monkeypatch):
    source_choice.remember(home, "uci")
    assert source_choice.choose(None, home).source == "uci"
    monkeypatch.setenv("HEARTLINE_SOURCE", "postgres")
    assert source_choice.choose(None, home).source == "postgres"


def test_the_stack_starts_although_the_file_was_deleted_later(home, monkeypatch, tmp_path):
    source_choice.remember(home, str(tmp_path / "deleted.csv"))
    assert source_choice.choose(None, home).source == str(tmp_path / "deleted.csv")
    monkeypatch.setenv("HEARTLINE_SOURCE", str(tmp_path / "deleted too.csv"))
    assert source_choice.choose(None, home).source == str(tmp_path / "deleted too.csv")
    source_choice.remember(home, None)
    with pytest.raises(UsageError, match="does not exist"):
        source_choice.choose(None, home)


def test_then_the_archive_if_it_answers(home, monkeypatch, answers):
    server = answers()
    server.answers["GET /heart.zip"] = (200, "PK")
    monkeypatch.setenv("HEARTLINE_UCI_URL", f"{server.url}/heart.zip")
    choice = source_choice.choose(None, home)
    assert (choice.source, choice.fallback) == ("uci", False)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_local_copy_of_the_archive_is_used_as_by_the_task(home, monkeypatch, tmp_path, prefix):
    (tmp_path / "heart.zip").write_bytes(b"PK")
    monkeypatch.setenv("HEARTLINE_UCI_URL", f"{prefix}{tmp_path / 'heart.zip'}")
    assert source_choice.choose(None, home).source == "uci"
    (tmp_path / "heart.zip").unlink()
    with pytest.raises(UsageError, match="does not exist") as caught:
        source_choice.choose(None, home)
    assert "HEARTLINE_UCI_URL" in caught.value.where


@pytest.mark.parametrize("status", [404, 500, None])
def test_else_the_sample_as_a_fallback(home, monkeypatch, answers, status):
    if status:
        server = answers()
        server.answers["GET /heart.zip"] = (status, "")
        monkeypatch.setenv("HEARTLINE_UCI_URL", f"{server.url}/heart.zip")
    choice = source_choice.choose(None, home)
    assert (choice.source, choice.fallback) == ("sample", True)
    assert "/heart.zip does not answer" in choice.reason


def test_a_stored_source_can_be_removed(home):
    source_choice.remember(home, "sample")
    source_choice.remember(home, None)
    source_choice.remember(home, None)
    assert source_choice.remembered(home) is None


@pytest.mark.parametrize(("source", "hint"), [("smaple", "did you mean sample?"), ("nowhere.csv", "correct the path")])
def test_a_misspelt_name_is_told_from_a_wrong_path(tmp_path, monkeypatch, source, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        source_choice.check(source, "--source")
    assert caught.value.hint == f"{hint}; nothing was started or trained"


def test_an_empty_file_is_not_blamed_on_its_path(tmp_path):
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UsageError) as caught:
        source_choice.check(str(tmp_path / "empty.csv"), "--source")
    assert caught.value.hint.startswith("name a file with records")


def test_an_empty_record_of_the_source_is_none(tmp_path):
    source_choice.remember(tmp_path, "uci")
    assert source_choice.remembered(tmp_path) == "uci"
    (tmp_path / source_choice.RECORD).write_text("")
    assert source_choice.remembered(tmp_path) is None


@pytest.fixture
def offline(home, monkeypatch):
    monkeypatch.setenv("HEARTLINE_OFFLINE", "yes")
    monkeypatch.delenv("HEARTLINE_UCI_URL")


def test_offline_the_archive_is_not_asked(home, offline, monkeypatch):
    monkeypatch.setattr(source_choice.requests, "get", lambda *_, **__: pytest.fail("asked"))
    choice = source_choice.choose(None, home)
    assert (choice.source, choice.fallback) == ("sample", True)
    assert "HEARTLINE_OFFLINE" in choice.reason


def test_offline_a_file_with_the_archive_is_used(home, offline, monkeypatch, tmp_path):
    (tmp_path / "heart.zip").write_bytes(b"PK")
    monkeypatch.setenv("HEARTLINE_UCI_URL", str(tmp_path / "heart.zip"))
    assert source_choice.choose(None, home).source == "uci"


@pytest.mark.parametrize("source", ["uci", "https://example.org/records.csv", "http://example.org/records.csv"])
def test_offline_a_source_outside_is_refused_at_once(home, offline, source):
    with pytest.raises(UsageError, match="works offline") as caught:
        source_choice.choose(source, home)
    assert source in caught.value.where


def test_offline_a_url_of_a_named_network_is_left_to_the_task(home, offline, monkeypatch):
    monkeypatch.setenv("HEARTLINE_SOURCE_NETWORKS", "10.0.0.0/8")
    url = "https://records.hospital.example/all.csv"
    assert source_choice.choose(url, home).source == url
