import gzip
import hashlib
import time
from dataclasses import replace

import pandas as pd
import pytest

from heartline.errors import DataError
from heartline.ingestion import sources
from heartline.ingestion.access.http import Limits
from tests.unit.ingestion.sources.support import BRIEF, CSV, FRAME, STALL_SECONDS, archive, closed_port, refused
from tests.unit.messages import message

PARQUET = FRAME.to_parquet()


def test_a_url(web):
    found = sources.read(f"{web.url}/ok.csv?token=geheim", settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert (found.origin, found.description) == ("url", f"{web.url}/ok.csv?…")
    assert found.sha256 == hashlib.sha256(CSV).hexdigest()


def test_a_url_that_redirects(web):
    assert len(sources.read(f"{web.url}/moved", settings=BRIEF).table.frame) == 30


def test_a_busy_server_is_retried(web):
    assert len(sources.read(f"{web.url}/waking", settings=BRIEF).table.frame) == 30
    assert web.asked == ["/waking", "/waking"]


IMPATIENT = {
    "/stalled": replace(BRIEF.limits, read_seconds=0.3),
    "/trickle": Limits(seconds=1),
    "/drip": Limits(seconds=1),
}
NO_SUCCESS = {
    "expected": "200 OK and the file",
    "hint": "check the URL, and whether it can be read without a login",
}
NO_ANSWER = {
    "expected": "a reachable http(s) URL",
    "hint": "check the URL, the network and the proxy settings, then try again",
}
TOO_LARGE = {"expected": "at most 100,000 bytes", "hint": "split it, or raise HEARTLINE_SOURCE_MAX_BYTES"}
TOO_SLOW = {
    "expected": "the complete file within that time",
    "hint": "check the network and the proxy settings, or raise HEARTLINE_SOURCE_SECONDS",
}


@pytest.mark.parametrize(
    ("path", "what", "advice"),
    [
        ("/none.csv", "the server answered 404 Not Found", NO_SUCCESS),
        ("/locked", "the server answered 401 Unauthorized", NO_SUCCESS),
        ("/busy", "the server answered 503 Service Unavailable", {**NO_SUCCESS, "hint": "try again later"}),
        ("/circle", "the download failed: the address redirects more than 5 times", NO_ANSWER),
        ("/stalled", "the download failed: the server did not answer in time", NO_ANSWER),
        ("/broken", "the download failed: the connection broke before the end", NO_ANSWER),
        ("/flood", "the source is too large", TOO_LARGE),
        ("/huge", "the source is too large", TOO_LARGE),
        ("/trickle", "the download took more than 1 s", TOO_SLOW),
        ("/drip", "the download took more than 1 s", TOO_SLOW),
    ],
)
def test_a_failing_download_is_refused(web, path, what, advice):
    settings = replace(BRIEF, limits=IMPATIENT.get(path, BRIEF.limits))
    started = time.monotonic()
    error = refused(web.url + path, settings)
    assert str(error) == message(what, where=web.url + path, **advice)
    assert (
        time.monotonic() - started < STALL_SECONDS / 4
    )  # many times the normal duration, and much less than the stall


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("http://127.0.0.1:{port}/x.csv", "the download failed: the server refuses the connection or is unreachable"),
        ("http://heartline.invalid/x.csv", "the download failed: the host's name is not known"),
        ("http://", "the download failed: this is not an http(s) URL"),
    ],
)
def test_an_unreachable_server(web, address, what):
    address = address.format(port=closed_port())
    assert str(refused(address)) == message(what, where=address, **NO_ANSWER)


def test_a_plain_server_behind_https_is_refused(web):
    address = web.url.replace("http", "https") + "/ok.csv"
    what = "the download failed: no secure connection: the certificate or the protocol is not accepted"
    assert str(refused(address)) == message(what, where=address, **NO_ANSWER)


def test_no_error_shows_the_secrets_in_a_url():
    error = refused(f"http://anna:geheim@127.0.0.1:{closed_port()}/x.csv?token=geheim")
    assert "geheim" not in str(error)
    assert "127.0.0.1" in error.where
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            gzip.compress(CSV)[:-20],
            "the archive cannot be opened: Compressed file ended before the end-of-stream marker",
        ),
        (archive()[:-30], "the archive cannot be opened: File is not a zip file"),
        (PARQUET[:-20], "the Parquet file cannot be read: "),
    ],
    ids=["gzip", "zip", "Parquet"],
)
def test_a_truncated_file_is_refused(web, body, problem):
    web.bodies["/cut"] = body
    error = refused(f"{web.url}/cut", kind=DataError)
    assert error.what.startswith(problem)
    assert error.where == f"{web.url}/cut"


def test_a_packed_file_is_downloaded_and_unpacked(web):
    web.bodies["/records.csv.gz"] = gzip.compress(CSV)
    pd.testing.assert_frame_equal(sources.read(f"{web.url}/records.csv.gz", settings=BRIEF).table.frame, FRAME)


def test_a_web_page_is_refused(web):
    assert str(refused(f"{web.url}/page.csv", kind=DataError)) == message(
        "this is a web page, not a table",
        where=f"{web.url}/page.csv",
        expected="a CSV, JSON, Parquet or Excel (.xlsx) file",
        hint="check where the file comes from, or convert it to one of these formats",
    )
