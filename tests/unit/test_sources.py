import contextlib
import hashlib
import http.server
import io
import socket
import sqlite3
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heartline import contract, sample, sources, uci
from heartline.download import Limits
from heartline.errors import DataError, HeartlineError, SourceError
from heartline.sources import Settings

FRAME = sample.generate(30)
CSV = FRAME.to_csv(index=False).encode()
BRIEF = Settings(limits=Limits(seconds=3, retries=1, connect_seconds=1, read_seconds=0.3, size=100_000))


def archive(data: bytes = CSV, member: str = uci.MEMBER) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, data)
    return buffer.getvalue()


class Web:
    """A web server of this test, which answers by path."""

    def __init__(self) -> None:
        self.bodies = {"/ok.csv": CSV, "/uci.zip": archive(), "/page.csv": b"<html>log in</html>"}
        self.asked: list[str] = []
        self.over = threading.Event()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.asked.append(path)
                special = getattr(web, path.strip("/").partition(".")[0], None)
                with contextlib.suppress(OSError):  # the client left, as it should
                    special(self) if special else web.answer(self, path)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler, path: str) -> None:
        body = self.bodies.get(path)
        request.send_response(404 if body is None else 200)
        request.send_header("Content-Length", str(len(body or b"")))
        request.end_headers()
        request.wfile.write(body or b"")

    def moved(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "/ok.csv")
        request.end_headers()

    def circle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "/circle")
        request.end_headers()

    def busy(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(503)
        request.send_header("Retry-After", "3600")
        request.end_headers()

    def waking(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if self.asked.count("/waking") == 1:
            self.busy(request)
        else:
            self.answer(request, "/ok.csv")

    def locked(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(401)
        request.end_headers()

    def silent(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.over.wait(10)

    def broken(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CSV)))
        request.end_headers()
        request.wfile.write(CSV[: len(CSV) // 2])

    def trickle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.over.wait(0.05):
            request.wfile.write(b"1")

    def drip(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        self.trickle(request)

    def flood(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.over.is_set():
            request.wfile.write(b"1" * 65536)

    def huge(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(10**12))
        request.end_headers()


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Web()
    yield server
    server.close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refused(
    spec: str, settings: Settings = BRIEF, *, query: str | None = None, kind: type[HeartlineError] = SourceError
) -> HeartlineError:
    with pytest.raises(kind) as caught:
        sources.read(spec, query=query, settings=settings)
    error = caught.value
    assert type(error) is kind
    assert error.what
    assert error.where
    assert error.expected
    assert error.do
    return error


# --- which source


@pytest.mark.parametrize(
    "spec", ["", "smaple", "sample:", "sample:ten", "sample:-5", "data.csv", "ftp://host/x", "UCI"]
)
def test_an_unknown_source_is_refused(spec):
    error = refused(spec)
    assert error.what.startswith("unknown source")
    assert error.where == "parameter source"


def test_a_query_without_postgres_is_refused():
    assert refused("sample", query="SELECT 1").what == "only the source postgres takes a query"


@pytest.mark.parametrize(("spec", "rows"), [("sample", 303), ("sample:25", 25), (" sample:20 ", 20)])
def test_the_sample(spec, rows):
    found = sources.read(spec, settings=BRIEF)
    pd.testing.assert_frame_equal(found.frame, sample.generate(rows))
    assert found.origin == "sample"
    assert found.sha256 is None
    assert "synthetic" in found.description


@pytest.mark.parametrize("n", [0, 19, 10_000_001])
def test_a_sample_out_of_range_is_refused(n):
    error = refused(f"sample:{n}")
    assert error.where == f"source sample:{n}"
    assert error.expected == "a number of rows from 20 to 10000000"


# --- files


@pytest.mark.parametrize("as_address", [False, True])
def test_a_file(tmp_path, as_address):
    path = tmp_path / "the records.csv"
    path.write_bytes(CSV)
    found = sources.read(path.as_uri() if as_address else str(path), settings=BRIEF)
    pd.testing.assert_frame_equal(found.frame, FRAME)
    assert (found.origin, found.description, found.dropped) == ("file", str(path), ())
    assert found.sha256 == hashlib.sha256(CSV).hexdigest()


def test_a_parquet_file_whatever_its_name(tmp_path):
    path = tmp_path / "records.dat"
    FRAME.assign(ward="b").to_parquet(path)
    found = sources.read(str(path), settings=BRIEF)
    pd.testing.assert_frame_equal(found.frame, FRAME)
    assert found.dropped == ("ward",)


def test_the_real_file(real_data, cleveland):
    found = sources.read(str(real_data / uci.MEMBER), settings=BRIEF)
    pd.testing.assert_frame_equal(found.frame, cleveland, check_names=False)
    assert found.sha256 == uci.SHA256


def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path, monkeypatch):
    (tmp_path / "large.csv").write_bytes(CSV * 100)
    (tmp_path / "closed.csv").write_bytes(CSV)

    assert refused("/no/such/file.csv").what == "there is no such file"
    assert refused(str(tmp_path / "closed.csv" / "inner.csv")).what == "there is no such file"
    assert refused(str(tmp_path)).what == "this is a folder, not a file"
    assert refused("/dev/zero").what == "the file cannot be read: it is a device or a pipe"
    assert refused("/" + "x" * 5000).what == "the file cannot be read: File name too long"
    assert refused("file://elsewhere/x.csv").expected == "file:///absolute/path"
    assert refused(str(tmp_path / "large.csv")).expected == "at most 100,000 bytes"

    def forbidden(self: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # root may read everything
    assert refused(str(tmp_path / "closed.csv")).what == "the file may not be read"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty"),
        (CSV.splitlines()[0], "there are no records"),
        (CSV.replace(b"thal,", b"thall,"), "1 column is missing: thal"),
    ],
)
def test_a_file_without_records_is_refused(tmp_path, data, problem):
    path = tmp_path / "records.csv"
    path.write_bytes(data)
    error = refused(str(path), kind=DataError)
    assert error.what == problem
    assert str(path) in error.where


# --- web addresses


def test_a_web_address(web):
    found = sources.read(f"{web.url}/ok.csv?token=geheim", settings=BRIEF)
    pd.testing.assert_frame_equal(found.frame, FRAME)
    assert (found.origin, found.description) == ("url", f"{web.url}/ok.csv?…")
    assert found.sha256 == hashlib.sha256(CSV).hexdigest()


def test_an_address_that_has_moved(web):
    assert len(sources.read(f"{web.url}/moved", settings=BRIEF).frame) == 30


def test_a_server_that_is_busy_is_asked_again(web):
    assert len(sources.read(f"{web.url}/waking", settings=BRIEF).frame) == 30
    assert web.asked == ["/waking", "/waking"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/none.csv", "the server answered 404 Not Found"),
        ("/locked", "the server answered 401 Unauthorized"),
        ("/busy", "the server answered 503 Service Unavailable"),
        ("/circle", "the download failed: the address redirects more than 5 times"),
        ("/silent", "the download failed: the server did not answer in time"),
        ("/broken", "the download failed: the connection broke before the end"),
        ("/flood", "the source is too large"),
        ("/huge", "the source is too large"),
        ("/trickle", "the download took more than 1 s"),
        ("/drip", "the download took more than 1 s"),
    ],
)
def test_a_web_address_that_fails(web, path, problem):
    settings = BRIEF
    if path in ("/trickle", "/drip"):
        settings = Settings(limits=Limits(seconds=1))
    started = time.monotonic()
    error = refused(web.url + path, settings)
    assert error.what == problem
    assert error.where == web.url + path
    assert time.monotonic() - started < 2.5


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://127.0.0.1:{port}/x.csv", "the download failed: the server refuses the connection or is not there"),
        ("http://heartline.invalid/x.csv", "the download failed: the host's name is not known"),
        ("http://", "the download failed: this is not a web address"),
    ],
)
def test_a_server_that_is_not_there(web, address, problem):
    assert refused(address.format(port=closed_port())).what == problem


def test_a_plain_server_behind_https_is_refused(web):
    error = refused(web.url.replace("http", "https") + "/ok.csv")
    assert error.what == "the download failed: no secure connection, as the certificate or the protocol is not accepted"


def test_no_error_shows_what_is_secret_in_an_address():
    error = refused(f"http://anna:geheim@127.0.0.1:{closed_port()}/x.csv?token=geheim")
    assert "geheim" not in str(error)
    assert "127.0.0.1" in error.where
    assert error.__cause__ is None


def test_a_web_page_is_no_table(web):
    assert refused(f"{web.url}/page.csv", kind=DataError).what == "this is a web page, not a table"


# --- the UCI archive


@pytest.fixture
def ours(web, tmp_path):
    """Settings under which our own archive stands for UCI's."""
    return Settings(
        uci_url=f"{web.url}/uci.zip",
        uci_sha256=hashlib.sha256(CSV).hexdigest(),
        cache=tmp_path / "new" / "cache",
        limits=BRIEF.limits,
    )


def test_the_archive_is_fetched_once(web, ours):
    first, second = (sources.read("uci", settings=ours) for _ in range(2))
    pd.testing.assert_frame_equal(first.frame, FRAME)
    pd.testing.assert_frame_equal(second.frame, FRAME)
    assert web.asked == ["/uci.zip"]
    assert (first.origin, first.sha256) == ("uci", ours.uci_sha256)
    assert first.description == f"processed.cleveland.data of {web.url}/uci.zip"
    assert second.description.endswith("kept from an earlier run")
    assert [path.name for path in ours.cache.iterdir()] == [ours.uci_sha256]


def test_a_damaged_copy_is_fetched_again(web, ours, caplog):
    sources.read("uci", settings=ours)
    (ours.cache / ours.uci_sha256).write_bytes(b"damaged")
    pd.testing.assert_frame_equal(sources.read("uci", settings=ours).frame, FRAME)
    assert "is damaged" in caplog.text
    assert (ours.cache / ours.uci_sha256).read_bytes() == CSV


def test_a_cache_that_cannot_be_written_costs_a_warning(web, ours, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    settings = Settings(ours.uci_url, ours.uci_sha256, tmp_path / "file", limits=BRIEF.limits)
    assert len(sources.read("uci", settings=settings).frame) == 30
    assert "no copy is kept" in caplog.text


@pytest.mark.parametrize("as_address", [False, True])
def test_the_archive_may_be_a_local_copy(ours, tmp_path, as_address):
    copy = tmp_path / "heart+disease.zip"
    copy.write_bytes(archive())
    settings = Settings(copy.as_uri() if as_address else str(copy), ours.uci_sha256)
    assert sources.read("uci", settings=settings).origin == "uci"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (archive(CSV + b"\n"), "processed.cleveland.data is not the file that it was: its sha256 is "),
        (archive(member="other.data"), "the archive does not hold processed.cleveland.data"),
        (archive()[:-30], "the archive cannot be opened: "),
        (CSV, "the archive cannot be opened: "),
        (archive(b"0" * 200_000), "the source is too large"),
        (None, "the server answered 404 Not Found"),
    ],
)
def test_another_archive_is_refused_and_not_kept(web, ours, body, problem):
    web.bodies["/uci.zip"] = body
    assert refused("uci", ours).what.startswith(problem)
    assert not ours.cache.exists()


def test_the_real_archive_has_the_digest_that_we_expect(real_data, tmp_path):
    copy = tmp_path / "heart+disease.zip"
    copy.write_bytes(archive((real_data / uci.MEMBER).read_bytes()))
    assert len(sources.read("uci", settings=Settings(uci_url=str(copy))).frame) == 303


# --- databases (SQLite stands for what is the same in all; the integration tests have PostgreSQL)


@pytest.fixture
def patients(tmp_path):
    path = tmp_path / "heart.db"
    with sqlite3.connect(path) as connection:
        FRAME.to_sql("patients", connection, index=False)
        connection.execute("CREATE TABLE nobody AS SELECT * FROM patients WHERE 0")
    connection.close()
    return Settings(database_url=f"sqlite:///{path}", limits=BRIEF.limits)


def test_the_table_of_patients(patients):
    found = sources.read("postgres", settings=patients)
    pd.testing.assert_frame_equal(found.frame, FRAME)
    assert found.origin == "postgres"
    assert "FROM patients" in found.description


def test_a_query_of_ones_own(patients):
    query = "SELECT *, 'x%' AS ward, 1 || ':00' AS hour FROM patients WHERE age > 50;"
    found = sources.read("postgres", query=query, settings=patients)
    assert list(found.frame["age"]) == list(FRAME.loc[FRAME["age"] > 50, "age"])
    assert found.dropped == ("ward", "hour")


def test_words_and_gaps_in_a_table(patients):
    names = ", ".join(name for name in contract.COLUMN_NAMES if name not in ("age", "ca"))
    found = sources.read("postgres", query=f"SELECT 'old' AS AGE, NULL AS ca, {names} FROM patients", settings=patients)
    assert list(found.frame["age"].unique()) == ["old"]
    assert np.isnan(found.frame["ca"]).all()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT age FROM persons", "the query failed: no such table: persons"),
        ("SELEKT 1", 'the query failed: near "SELEKT": syntax error'),
        ("SELECT 1; DROP TABLE patients", "the query is not one statement"),
        (" ; ", "the query is not one statement"),
        ("DELETE FROM patients", "the query failed: This result object does not return rows"),
    ],
)
def test_a_query_that_cannot_be_answered_changes_nothing(patients, query, problem):
    assert refused("postgres", patients, query=query).what.startswith(problem)
    assert len(sources.read("postgres", settings=patients).frame) == 30


def test_a_table_without_rows_or_columns_is_refused(patients):
    assert refused("postgres", patients, query="SELECT * FROM nobody", kind=DataError).what == "there are no records"
    error = refused("postgres", patients, query="SELECT age, sex FROM patients", kind=DataError)
    assert error.what.startswith("12 columns are missing: cp, trestbps")


def test_a_database_that_is_not_there():
    port = closed_port()
    error = refused("postgres", Settings(database_url=f"postgresql://anna:geheim@127.0.0.1:{port}/heart"))
    assert error.what.startswith("the database cannot be reached: ")
    assert error.where == f"postgresql://127.0.0.1:{port}/heart"
    assert "geheim" not in str(error)


@pytest.mark.parametrize("address", ["", "no address", "postgresql://anna:geheim@host:port/heart", "mydb://host/heart"])
def test_a_database_address_that_is_none(address):
    error = refused("postgres", Settings(database_url=address))
    assert "geheim" not in str(error)


# --- settings


def test_settings_come_from_the_environment():
    found = Settings.from_environment(
        {
            "HEARTLINE_UCI_URL": "https://mirror/heart.zip",
            "HEARTLINE_HOME": "/var/lib/heartline",
            "HEARTLINE_DATABASE_URL": "postgresql://anna:geheim@host/heart",
            "HEARTLINE_SOURCE_SECONDS": "7",
            "HEARTLINE_SOURCE_MAX_BYTES": "1000",
        }
    )
    assert found.uci_url == "https://mirror/heart.zip"
    assert found.cache == Path("/var/lib/heartline/cache")
    assert (found.limits.seconds, found.limits.size) == (7, 1000)
    assert "geheim" not in repr(found)
    assert Settings.from_environment({"HEARTLINE_CACHE_DIR": "/c", "HEARTLINE_HOME": "/h"}).cache == Path("/c")
    assert Settings.from_environment({"HEARTLINE_UCI_URL": ""}) == Settings()


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon"])
def test_a_setting_that_is_no_number_is_refused(text):
    with pytest.raises(SourceError) as caught:
        Settings.from_environment({"HEARTLINE_SOURCE_SECONDS": text})
    assert caught.value.where == "setting HEARTLINE_SOURCE_SECONDS"
