"""`./heartline keys`: a key is printed once, its digest is stored, and the service accepts it."""

import hashlib
import json
import re
import stat
import sys

import pytest

from serving.api.api_keys import Keys
from stack.clients.service import predict, served
from stack.commands import cli
from stack.errors import Exit, UsageError, WorkError
from stack.processes.definitions import SERVICE, define_processes
from stack.secrets import api_keys
from stack.secrets.credentials import Credentials
from stack.settings import MARKER_FILE


@pytest.fixture(autouse=True)
def no_setting(monkeypatch):
    monkeypatch.delenv(api_keys.VARIABLE, raising=False)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "api-keys"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command line with a state folder that does not exist; return exit code, standard output and error."""
    monkeypatch.setenv("HEARTLINE_HOME", str(tmp_path / "state"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["heartline", *arguments])
        return cli.main(), *capsys.readouterr()

    return run


def test_the_service_accepts_a_new_key_and_only_its_digest_is_stored(file):
    key = api_keys.add(file, "clinic-a")

    assert re.fullmatch(r"hl_[A-Za-z0-9_-]{43}", key)
    assert Keys(file).name_of(key) == "clinic-a"
    assert key not in file.read_text()
    assert hashlib.sha256(key.encode()).hexdigest() in file.read_text()
    assert api_keys.add(file, "clinic-b") != key
    assert [one.name for one in api_keys.read(file)] == ["clinic-a", "clinic-b"]


def test_the_file_may_be_read_by_the_service_and_written_by_its_owner_only(file):
    api_keys.add(file, "ann")

    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755  # a container reads it as another user
    assert sorted(path.name for path in file.parent.iterdir()) == ["api-keys", "api-keys.lock"]


def test_a_revoked_key_is_refused_and_the_others_and_comments_stay(file):
    ann, bob = api_keys.add(file, "ann"), api_keys.add(file, "ann-2")
    file.write_text("# who may ask\n" + file.read_text())

    api_keys.revoke(file, "ann")

    assert (Keys(file).name_of(ann), Keys(file).name_of(bob)) == (None, "ann-2")
    assert file.read_text().startswith("# who may ask\nann-2 ")


@pytest.mark.parametrize("name", ["", "Ann", "a b", "-a", "a" * 65, "a\nb", "heartline"])
def test_an_invalid_name_is_refused(file, name):
    with pytest.raises(UsageError, match="cannot be the name"):
        api_keys.add(file, name)
    assert not file.exists()


def test_a_name_is_given_once(file):
    api_keys.add(file, "ann")
    before = file.read_text()

    with pytest.raises(WorkError, match="there is a key 'ann' already"):
        api_keys.add(file, "ann")
    assert file.read_text() == before


@pytest.mark.parametrize("name", ["bob", "an"])
def test_a_missing_key_cannot_be_revoked(file, name):
    api_keys.add(file, "ann")
    with pytest.raises(WorkError, match="there is no key"):
        api_keys.revoke(file, name)


def test_another_file_is_not_changed(file):
    file.parent.mkdir()
    file.write_text("my letter\n")
    for change in (api_keys.add, api_keys.revoke):
        with pytest.raises(WorkError, match="this is not a key file") as caught:
            change(file, "ann")
        assert caught.value.where == f"{file}, line 1"
    assert file.read_text() == "my letter\n"


def test_the_launcher_uses_its_own_key_once_there_are_keys(settings, answers):
    service = answers(settings.service_port)
    service.answers["POST /predict"] = (200, {})
    seen = []
    service.server.RequestHandlerClass.log_request = lambda self, *_: seen.append(self.headers["Authorization"])

    predict(settings, {})
    api_keys.add(api_keys.file_of(settings), "ann", settings)
    predict(settings, {})
    served(settings)

    own = api_keys.own(settings)
    assert seen == [None, f"Bearer {own}", f"Bearer {own}"]
    assert Keys(api_keys.file_of(settings)).name_of(own) == "heartline"
    assert stat.S_IMODE((settings.home / "secrets" / "service_key").stat().st_mode) == 0o600


def test_the_launchers_key_stays(settings):
    api_keys.add(api_keys.file_of(settings), "ann", settings)
    with pytest.raises(UsageError, match="the launcher needs this key"):
        api_keys.revoke(api_keys.file_of(settings), "heartline")


def test_the_local_service_gets_the_file_if_it_exists_or_the_setting_names_one(settings, monkeypatch):
    def given():
        return {definition.name: definition for definition in define_processes(settings, Credentials(settings.home))}[
            SERVICE
        ].settings[api_keys.VARIABLE]

    assert given() == ""
    api_keys.add(api_keys.file_of(settings), "ann", settings)
    assert given() == str(settings.home / "secrets" / "api-keys")
    monkeypatch.setenv(api_keys.VARIABLE, "/nowhere/keys")
    assert given() == "/nowhere/keys"


def test_on_the_command_line(call, tmp_path):
    code, key, said = call("keys", "add", "ann")
    assert code == Exit.OK
    assert "it is not shown again" in said
    assert "after the next ./heartline up" in said
    assert (tmp_path / "state" / MARKER_FILE).exists()  # so that `up` accepts the folder
    file = tmp_path / "state" / "secrets" / "api-keys"
    assert Keys(file).name_of(key.strip()) == "ann"

    assert "next ./heartline up" not in call("keys", "add", "bob")[2]
    assert [line.split()[1] for line in call("keys", "list")[1].splitlines()] == ["heartline", "ann", "bob"]
    assert [one["name"] for one in json.loads(call("keys", "list", "--json")[1])] == ["heartline", "ann", "bob"]
    assert call("keys", "revoke", "ann")[::2] == (Exit.OK, "revoked: ann\n")
    assert Keys(file).name_of(key.strip()) is None
    assert call("keys", "revoke", "ann")[0] == Exit.FAILED
    assert call("keys", "add", "A B")[0] == Exit.USAGE
    assert call("keys", "nonsense")[0] == Exit.USAGE


@pytest.mark.parametrize("scope", api_keys.SCOPES)
def test_the_service_reads_the_scope_of_a_key(file, scope):
    key = api_keys.add(file, "ann", scope=scope)
    assert Keys(file).find(key).scope == scope
    assert api_keys.read(file)[0].scope == scope


def test_a_key_of_before_has_the_scope_predict(file):
    file.parent.mkdir()
    file.write_text(f"ann 2026-01-31 sha256:{'0' * 64}\n")
    assert api_keys.read(file) == [api_keys.Key("ann", "2026-01-31", "predict")]


def test_the_scope_is_an_option_and_in_the_list(call):
    assert call("keys", "add", "lab", "--scope", "outcomes")[0] == Exit.OK
    assert [line.split()[1:] for line in call("keys", "list")[1].splitlines()] == [
        ["heartline", "predict"],
        ["lab", "outcomes"],
    ]
    assert json.loads(call("keys", "list", "--json")[1])[1]["scope"] == "outcomes"
    assert call("keys", "add", "lab-2", "--scope", "everything")[0] == Exit.USAGE


def test_a_file_given_by_option_gets_no_key_of_the_launcher(call, file):
    code, _, said = call("keys", "list", "--file", str(file))
    assert code == Exit.OK
    assert said.startswith("there are no keys: the service requires none")
    assert call("keys", "add", "ann", "--file", str(file))[0] == Exit.OK
    assert [key.name for key in api_keys.read(file)] == ["ann"]
