import hashlib
import pickle
from pathlib import Path

import pytest

from heartline.errors import DataError
from heartline.storage import object_store as stores


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def test_object_is_named_by_its_bytes_and_written_once(store):
    uri = stores.put(b"abc", "things", ".txt")
    written = _path(uri).stat().st_mtime_ns

    assert uri == f"{store.as_uri()}/things/{hashlib.sha256(b'abc').hexdigest()}.txt"
    assert stores.put(b"abc", "things", ".txt") == uri
    assert _path(uri).stat().st_mtime_ns == written
    assert stores.get(uri) == b"abc"
    assert [path.name for path in _path(uri).parent.iterdir()] == [_path(uri).name]


def test_damaged_object_is_not_returned(store):
    uri = stores.put(b"abc", "things", ".txt")
    _path(uri).write_bytes(b"abd")
    with pytest.raises(stores.StoreError, match="does not match the digest in its name") as caught:
        stores.get(uri)
    assert caught.value.where == uri


def test_missing_object_has_a_hint(store):
    with pytest.raises(stores.StoreError, match="cannot be read") as caught:
        stores.get(f"{store.as_uri()}/things/{'0' * 64}.txt")
    assert "HEARTLINE_STORE" in caught.value.hint


def test_unwritable_store_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "file").as_uri())
    with pytest.raises(stores.StoreError, match="cannot be written"):
        stores.put(b"abc", "things", ".txt")


def test_foreign_uri_is_refused():
    with pytest.raises(stores.StoreError, match="not the URI of an object"):
        stores.get("file:///etc/passwd")


def test_missing_setting_is_named(monkeypatch):
    monkeypatch.delenv("HEARTLINE_STORE", raising=False)
    with pytest.raises(stores.StoreError, match="no store is configured"):
        stores.put(b"abc", "things", ".txt")


def test_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(DataError("a", where="b", expected="c", hint="d")))
    assert type(error) is DataError
    assert str(error) == "a\n  where:    b\n  expected: c\n  hint:     d"
