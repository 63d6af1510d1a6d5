import hashlib

import pandas as pd
import pytest

from heartline.ingestion import sources
from heartline.ingestion.access import uci
from heartline.ingestion.sources import Settings
from tests.unit.ingestion.sources.support import BRIEF, CSV, FRAME, archive, refused


@pytest.fixture
def ours(web, tmp_path):
    """Settings in which a test archive replaces UCI's."""
    return Settings(
        uci_url=f"{web.url}/uci.zip",
        uci_sha256=hashlib.sha256(CSV).hexdigest(),
        cache=tmp_path / "new" / "cache",
        limits=BRIEF.limits,
    )


def test_the_archive_is_downloaded_once(web, ours):
    first, second = (sources.read("uci", settings=ours) for _ in range(2))
    pd.testing.assert_frame_equal(first.table.frame, FRAME)
    pd.testing.assert_frame_equal(second.table.frame, FRAME)
    assert web.asked == ["/uci.zip"]
    assert (first.origin, first.sha256) == ("uci", ours.uci_sha256)
    assert first.description == f"processed.cleveland.data of {web.url}/uci.zip"
    assert second.description.endswith("kept from an earlier run")
    assert [path.name for path in ours.cache.iterdir()] == [ours.uci_sha256]


def test_a_damaged_copy_is_downloaded_again(web, ours, caplog):
    sources.read("uci", settings=ours)
    (ours.cache / ours.uci_sha256).write_bytes(b"damaged")
    pd.testing.assert_frame_equal(sources.read("uci", settings=ours).table.frame, FRAME)
    assert "is damaged" in caplog.text
    assert (ours.cache / ours.uci_sha256).read_bytes() == CSV


def test_a_cache_that_cannot_be_written_gives_a_warning(web, ours, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    settings = Settings(ours.uci_url, ours.uci_sha256, tmp_path / "file", limits=BRIEF.limits)
    assert len(sources.read("uci", settings=settings).table.frame) == 30
    assert "cannot be cached" in caplog.text


@pytest.mark.parametrize("as_address", [False, True])
def test_the_archive_may_be_a_local_copy(ours, tmp_path, as_address):
    copy = tmp_path / "heart+disease.zip"
    copy.write_bytes(archive())
    settings = Settings(copy.as_uri() if as_address else str(copy), ours.uci_sha256)
    assert sources.read("uci", settings=settings).origin == "uci"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (archive(CSV + b"\n"), "processed.cleveland.data has changed: its sha256 is "),
        (archive(member="other.data"), "the archive does not hold processed.cleveland.data"),
        (archive()[:-30], "the archive cannot be opened: "),
        (CSV, "the archive cannot be opened: "),
        (archive(b"0" * 200_000), "the source is too large"),
        (None, "the server answered 404 Not Found"),
    ],
)
def test_another_archive_is_refused_and_not_cached(web, ours, body, problem):
    web.bodies["/uci.zip"] = body
    assert refused("uci", ours).what.startswith(problem)
    assert not ours.cache.exists()


def test_the_real_archive_has_the_expected_digest(real_data, tmp_path):
    copy = tmp_path / "heart+disease.zip"
    copy.write_bytes(archive((real_data / uci.MEMBER).read_bytes()))
    assert len(sources.read("uci", settings=Settings(uci_url=str(copy))).table.frame) == 303
