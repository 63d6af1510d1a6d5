import base64
import os
import stat
from pathlib import Path

import pytest

from stack.errors import UnhealthyError
from stack.secrets import env_file
from stack.secrets.credentials import LOCAL, SHARED, Credentials, write_private


def test_secrets_are_generated_once_for_their_owner_only(settings):
    first = {name: Credentials(settings.home)[name] for name in LOCAL}
    again = {name: Credentials(settings.home)[name] for name in LOCAL}
    assert first == again
    assert len(set(first.values())) == len(LOCAL)
    assert min(map(len, first.values())) >= 40
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (settings.home / "secrets").iterdir())


def test_the_fernet_key_is_one(credentials):
    assert len(base64.urlsafe_b64decode(credentials["airflow_fernet_key"])) == 32


def test_an_unknown_name_is_no_secret(credentials):
    with pytest.raises(KeyError):
        credentials["airflow_password"]


def test_a_private_file_replaces_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / "file.part").write_text("left by an interrupted call")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_private_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append("rename") or replace(path, to))
    write_private(tmp_path / "file", "text")
    assert done == [False, "rename", True]


def test_an_empty_secret_is_named_and_not_generated_again(credentials):
    path = credentials.folder / "postgres_password"
    assert credentials["postgres_password"]
    path.write_text("")
    with pytest.raises(UnhealthyError, match="the file of a secret is empty") as caught:
        credentials["postgres_password"]
    assert caught.value.where == str(path)
    assert path.read_text() == ""


def test_init_generates_all_and_then_changes_nothing(tmp_path):
    generated = env_file.init(tmp_path)
    text = (tmp_path / ".env").read_text()
    assert generated == [name.upper() for name in SHARED]
    assert set(env_file.read_env(tmp_path / ".env")) == set(generated)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600

    assert env_file.init(tmp_path) == []
    assert (tmp_path / ".env").read_text() == text


def test_init_adds_to_what_a_person_wrote(tmp_path):
    (tmp_path / ".env").write_text("# ours\nPOSTGRES_PASSWORD=theirs\nAIRFLOW_FERNET_KEY=\nOTHER=1")
    generated = env_file.init(tmp_path)
    assert "POSTGRES_PASSWORD" not in generated
    assert "AIRFLOW_FERNET_KEY" in generated
    found = env_file.read_env(tmp_path / ".env")
    assert (found["POSTGRES_PASSWORD"], found["OTHER"]) == ("theirs", "1")
    assert (tmp_path / ".env").read_text().startswith("# ours\nPOSTGRES_PASSWORD=theirs\n")


def test_the_secret_that_airflow_signs_with_is_long_enough_for_sha_512(credentials):
    assert len(credentials["airflow_jwt_secret"]) >= 64
