"""Which files and addresses a source may be read from."""

import ipaddress
import os
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from requests import Session

from heartline.errors import PermanentError, SourceRefusedError
from heartline.ingestion import sources
from heartline.ingestion.access import networks, uploads
from heartline.ingestion.access.files import Folders
from heartline.ingestion.sources import Settings
from tests.unit.ingestion.sources.support import BRIEF, CSV, refused

STRICT = replace(BRIEF, reach=networks.Reach())
SECRET = "root:$6$geheim:19000:0:99999:7:::\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that may be read, beside one with a secret."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "records.csv").write_bytes(CSV)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "password").write_text(SECRET)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"HEARTLINE_SOURCE_FOLDERS": str(folder / "data"), "HEARTLINE_HOME": str(folder / "state"), **more}


def read(spec: str, environment: dict[str, str]) -> int:
    return len(sources.read(spec, settings=Settings.from_environment(environment)).table.frame)


def _resolve(monkeypatch: pytest.MonkeyPatch, name: str, answers: list[tuple[str, ...]]) -> None:
    """Let ``name`` resolve to the addresses of the first answer, then of the next; the last answer stays."""
    real = socket.getaddrinfo

    def resolve(host, port, *rest, **options):
        if host != name:
            return real(host, port, *rest, **options)
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for one in addresses for found in real(one, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_a_file_below_an_allowed_folder_is_read(folder):
    assert read(str(folder / "data" / "records.csv"), environment(folder)) == 30


@pytest.mark.parametrize(
    "spec",
    [
        "{0}/state/password",
        "file://{0}/state/password",
        "{0}/data/../state/password",
        "{0}/data/link",
        "{0}/data/linked/password",
        "{0}/none/such",
        "/etc/shadow",
        "/proc/self/environ",
        "{0}/data/.hidden",
        "{0}/data/a\0b.csv",
        "file://{0}/data/a%00b.csv",
        "{0}/data/.ssh/id_rsa",
    ],
)
def test_another_file_is_refused_for_good_and_not_quoted(folder, spec):
    (folder / "data" / "link").symlink_to(folder / "state" / "password")
    (folder / "data" / "linked").symlink_to(folder / "state")
    (folder / "data" / ".hidden").write_text(SECRET)
    error = refused(spec.format(folder), Settings.from_environment(environment(folder)), kind=SourceRefusedError)
    assert isinstance(error, PermanentError)
    assert "may not be read as a source" in error.what
    assert "HEARTLINE_SOURCE_FOLDERS" in error.expected
    assert "HEARTLINE_SOURCE_FOLDERS" in error.hint
    assert "geheim" not in str(error)


def test_a_refusal_does_not_tell_whether_the_file_exists(folder):
    settings = Settings.from_environment(environment(folder))
    there, absent = (refused(f"{folder}/{name}", settings) for name in ("state/password", "state/absent"))
    assert str(there).replace("password", "absent") == str(absent)


def test_the_state_folder_is_never_read_even_below_an_allowed_one(folder):
    settings = Settings.from_environment(environment(folder, HEARTLINE_SOURCE_FOLDERS=str(folder)))
    assert "state of the stack" in refused(f"{folder}/state/password", settings).what


def test_nothing_is_allowed_without_the_setting(folder):
    assert "may not be read" in refused(str(folder / "data" / "records.csv"), Settings()).what


def test_the_file_in_the_setting_of_the_nightly_run_is_read_wherever_it_is(folder):
    spec = str(folder / "nightly.csv")
    Path(spec).write_bytes(CSV)
    assert read(spec, environment(folder, HEARTLINE_SOURCE=spec)) == 30
    refused(spec, Settings.from_environment(environment(folder)))


def test_several_folders_are_separated_as_in_path(folder):
    (folder / "more").mkdir()
    (folder / "more" / "records.csv").write_bytes(CSV)
    both = os.pathsep.join([str(folder / "data"), str(folder / "more")])
    assert read(str(folder / "more" / "records.csv"), environment(folder, HEARTLINE_SOURCE_FOLDERS=both)) == 30


def test_a_link_that_replaces_a_checked_file_is_not_followed(folder, monkeypatch):
    path = folder / "data" / "records.csv"
    settings = Settings.from_environment(environment(folder))
    find = Folders.find

    def swapped(self: Folders, asked: Path) -> Path:
        found = find(self, asked)
        path.unlink()
        path.symlink_to(folder / "state" / "password")
        return found

    monkeypatch.setattr(Folders, "find", swapped)
    assert "geheim" not in str(refused(str(path), settings))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "224.0.0.1",
    ],
)
def test_an_address_that_is_not_public_is_refused_for_good(web, host):
    port = web.url.rpartition(":")[2]
    error = refused(f"http://{host}:{port}/ok.csv", STRICT, kind=SourceRefusedError)
    assert "not public" in error.what
    assert "HEARTLINE_SOURCE_NETWORKS" in error.hint
    assert web.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "fec0::1",
        "64:ff9b:1::a00:1",
        "::10.0.0.1",
        "::ffff:0:127.0.0.1",
        "3fff::1",
        "5f00::1",
        "192.88.99.1",
        "192.0.0.8",
    ],
)
def test_a_special_address_is_not_public(address):
    assert not networks.Reach().allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_a_public_address_is_allowed(host):
    assert networks.Reach().allows(ipaddress.ip_address(host))


def test_a_redirect_to_an_address_that_is_not_allowed_is_refused(web):
    settings = replace(BRIEF, reach=networks.Reach(networks.parse("127.0.0.1/32")))
    port = web.url.rpartition(":")[2]
    web.elsewhere = lambda request: (
        request.send_response(302),
        request.send_header("Location", f"http://127.0.0.2:{port}/ok.csv"),
        request.end_headers(),
    )
    assert "not public" in refused(f"{web.url}/elsewhere", settings).what
    assert web.asked == ["/elsewhere"]


def test_a_redirect_to_a_file_is_refused(web, folder):
    web.elsewhere = lambda request: (
        request.send_response(302),
        request.send_header("Location", f"file://{folder}/state/password"),
        request.end_headers(),
    )
    assert "geheim" not in str(refused(f"{web.url}/elsewhere"))


def test_the_connection_is_made_to_the_address_that_was_checked(web, monkeypatch):
    """A name that resolves to a public address first and to loopback later is connected to the public one."""
    _resolve(monkeypatch, "rebound.example", [("93.184.216.34",), ("127.0.0.1",)])
    connected = []

    def connect(address, *_, **__):
        connected.append(address[0])
        raise OSError("not from a test")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    port = web.url.rpartition(":")[2]
    refused(f"http://rebound.example:{port}/ok.csv", replace(STRICT, limits=replace(BRIEF.limits, retries=0)))
    assert connected == ["93.184.216.34"]


def test_one_private_address_of_a_name_is_enough_to_refuse_it(monkeypatch):
    _resolve(monkeypatch, "ward.example", [("93.184.216.34", "10.0.0.1")])
    assert "not public" in refused("http://ward.example/x.csv", STRICT).what


def test_the_host_in_a_setting_is_allowed(web):
    settings = Settings.from_environment({"HEARTLINE_SOURCE": f"{web.url}/ok.csv"})
    assert len(sources.read(f"{web.url}/ok.csv", settings=settings).table.frame) == 30


def test_a_proxy_is_not_a_way_to_a_private_address(web, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", web.url)
    monkeypatch.setenv("http_proxy", web.url)
    settings = replace(STRICT, reach=networks.Reach(hosts=frozenset({"127.0.0.1"})))  # the proxy's own address
    assert "not public" in refused("http://10.0.0.1/x.csv", settings).what
    assert web.asked == []


def test_a_certificate_is_verified_for_the_name_and_not_for_the_address(monkeypatch):
    seen = []
    monkeypatch.setattr(
        ssl.SSLContext, "wrap_socket", lambda self, sock, *_, server_hostname=None, **__: seen.append(server_hostname)
    )
    _resolve(monkeypatch, "ward.example", [("127.0.0.1",)])
    with socket.create_server(("127.0.0.1", 0)) as server, Session() as session:
        port = server.getsockname()[1]
        session.mount("https://", networks.CheckedAdapter(networks.Reach(networks.parse("127.0.0.0/8"))))
        session.trust_env = False
        with pytest.raises(Exception):  # noqa: B017 - the fake socket ends the attempt
            session.get(f"https://ward.example:{port}/x.csv", timeout=5)
    assert set(seen) == {"ward.example"}


def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer(web, monkeypatch):
    _resolve(monkeypatch, "ward.example", [("::1", "127.0.0.1")])
    monkeypatch.setenv("NO_PROXY", "ward.example")
    settings = replace(BRIEF, reach=networks.Reach(networks.parse("127.0.0.0/8 ::1/128")))
    port = web.url.rpartition(":")[2]
    assert len(sources.read(f"http://ward.example:{port}/ok.csv", settings=settings).table.frame) == 30


@pytest.mark.parametrize("text", ["10.0.0.1/8", "ward", "10.0.0.0/33"])
def test_a_network_that_is_none_is_refused(text):
    with pytest.raises(SourceRefusedError) as caught:
        Settings.from_environment({"HEARTLINE_SOURCE_NETWORKS": text})
    assert "HEARTLINE_SOURCE_NETWORKS" in caught.value.where


def test_a_file_in_the_store_is_read_by_its_digest(store):
    spec = uploads.write(CSV, "/home/anna/records.csv")
    found = sources.read(spec, settings=Settings())
    assert (found.origin, found.description) == ("file", "/home/anna/records.csv")
    assert len(found.table.frame) == 30


@pytest.mark.parametrize("url", ["http://[bad", "http://example.org:99999/", "http://a..b/x.csv"])
def test_an_address_that_is_none_is_refused_for_good(url):
    error = refused(url, STRICT, kind=SourceRefusedError)
    assert "this is not an http(s) URL" in error.what


@pytest.mark.parametrize("source", ["https://records.example/x.csv", "uci"])
def test_offline_a_name_is_not_even_looked_up(monkeypatch, source):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    settings = replace(Settings.from_environment({"HEARTLINE_OFFLINE": "yes"}), limits=replace(BRIEF.limits, retries=0))
    error = refused(source, settings)
    assert "works offline" in error.what
    assert "HEARTLINE_OFFLINE" in error.where


def test_offline_a_network_of_the_setting_is_read_and_a_public_address_is_not(web, monkeypatch):
    given = {"HEARTLINE_OFFLINE": "yes", "HEARTLINE_SOURCE_NETWORKS": "127.0.0.0/8"}
    settings = Settings.from_environment(given)
    assert len(sources.read(f"{web.url}/ok.csv", settings=settings).table.frame) == 30
    _resolve(monkeypatch, "public.example", [("93.184.216.34",)])
    assert "works offline" in refused("http://public.example/x.csv", settings).what


def test_offline_the_archive_is_read_from_the_host_that_the_owner_named(web):
    settings = Settings.from_environment({"HEARTLINE_OFFLINE": "yes", "HEARTLINE_UCI_URL": f"{web.url}/ok.csv"})
    assert "cannot be opened" in refused("uci", settings).what, "it was downloaded, and is not a zip"
