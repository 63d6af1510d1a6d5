"""The cache folder of verified bundles: shared by all workers of a host, addressed by digest, written atomically.

bundles/<sha256 of the manifest>/   the files of a bundle
last_good.json                      the version served last; its modification time is the last contact with the registry
lock                                held while bundles are added, tested or removed
trial                               digest of the bundle that is being loaded, or that crashed its process
"""

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from serving.model import evaluation
from serving.model.approvals import Approval
from serving.model.bundle import (
    MANIFEST,
    BundleError,
    Manifest,
    digest_of,
    files_to_read,
    parse_manifest,
    read_file,
    read_verified,
)
from serving.model.registry_client import ModelVersion, RegistryClient, Training

KEPT_BUNDLES = 3
MANIFEST_BYTES = 1024 * 1024
TRIAL_RETRY_SECONDS = 600.0  # until a bundle that crashed a process is loaded again
LOG = logging.getLogger(__name__)


class LastGood(msgspec.Struct, frozen=True):
    """The version served last, and the digest of its bundle.

    ``training`` is None until the registry has returned it; ``approval`` if none was required.
    """

    alias: str
    version: ModelVersion
    digest: str
    training: Training | None = None
    approval: Approval | None = None


@dataclass(frozen=True)
class Candidate:
    """A bundle in the registry: where its files are, its manifest, which is not parsed yet, and the digest of that."""

    root: str
    manifest: bytes
    digest: str


class BundleCache:
    """The verified bundles in ``folder``, which is made again if somebody deletes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bundles = folder / "bundles"
        self._last_good = folder / "last_good.json"
        self._trial = folder / "trial"

    @staticmethod
    def find(client: RegistryClient, version: ModelVersion) -> Candidate:
        """Return the bundle of ``version``, of which only the manifest is downloaded.

        Raises:
            NotFoundError: the registry does not have it.
            RegistryError: the registry is unreachable.
        """
        root = client.artifact_root(version)
        manifest = b"".join(client.read(root, MANIFEST, MANIFEST_BYTES))
        return Candidate(root, manifest, digest_of(manifest))

    def fetch(self, client: RegistryClient, candidate: Candidate) -> dict[str, bytes]:
        """Return the verified files of ``candidate`` by name; download them if they are not in the cache.

        Workers that fetch at the same time wait for the download of the first one.

        Raises:
            BundleError: the bundle must not be served.
            NotFoundError: the registry does not have it.
            RegistryError: the registry is unreachable.
            OSError: the folder cannot be written to.
        """
        parse_manifest(candidate.manifest)
        with self._locked():
            try:
                return self.read(candidate.digest)
            except BundleError:
                return self._download(client, candidate.root, candidate.manifest, candidate.digest)

    def read(self, digest: str) -> dict[str, bytes]:
        """Return the verified files of the bundle at ``digest`` by name.

        Raises:
            BundleError: it is not in the cache, or was changed.
        """
        return read_verified(self._bundles / digest, digest)

    def fetch_evaluation(self, client: RegistryClient, version: ModelVersion, digest: str) -> bytes:
        """Return the evaluation of the bundle at ``digest``; download it if an earlier service did not.

        Raises:
            BundleError: it differs from the manifest, or the bundle is not in the cache any more.
            NotFoundError: the registry does not have it.
            RegistryError: the registry is unreachable.
            OSError: the folder cannot be written to.
        """
        root = client.artifact_root(version)
        name = evaluation.FILE
        with self._locked():
            files = self.read(digest)
            if name in files:  # another worker has fetched it
                return files[name]
            manifest = parse_manifest(files[MANIFEST])
            with self._empty_folder() as folder:
                _save(client, root, manifest, (name,), folder)
                data = read_file(folder, name, manifest.files[name])
                (folder / name).replace(self._bundles / digest / name)
                _sync_folder(self._bundles / digest)
        return data

    @contextmanager
    def trial(self, digest: str) -> Iterator[None]:
        """Write a marker while the bundle at ``digest`` is loaded: native code may crash the process.

        One worker of a host loads at a time, so that at most one crashes.

        Raises:
            BundleError: the process that loaded it last has crashed.
            OSError: the folder cannot be written to.
        """
        with self._locked():
            if self._trial.exists():  # of a process that has ended, because we hold the lock
                recent = time.time() - self._trial.stat().st_mtime < TRIAL_RETRY_SECONDS
                if recent and self._trial.read_text() == digest:
                    raise BundleError("the process that loaded it has crashed")
            self._trial.write_text(digest)
            try:
                yield
            finally:
                self._trial.unlink()

    def last_good(self) -> LastGood | None:
        """Return the version saved last, or None."""
        try:
            return msgspec.json.decode(self._last_good.read_bytes(), type=LastGood)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            LOG.warning("%s cannot be read and is ignored: %s", self._last_good, error)
            return None

    def save_last_good(self, good: LastGood) -> None:
        """Save the served version, and delete the bundles that were not used for the longest time.

        Raises:
            OSError: the folder cannot be written to.
        """
        with self._locked():
            new = self._last_good.with_suffix(".new")
            _write(new, [msgspec.json.encode(good)])
            new.replace(self._last_good)
            _sync_folder(self._folder)
            if not (self._bundles / good.digest).exists():
                return  # the cache was deleted meanwhile; the version is served, and the next one is saved again
            os.utime(self._bundles / good.digest)
            by_age = sorted(self._bundles.iterdir(), key=lambda bundle: bundle.stat().st_mtime, reverse=True)
            for bundle in by_age[KEPT_BUNDLES:]:
                shutil.rmtree(bundle)

    def holds(self, digest: str) -> bool:
        """Return whether the cache has the bundle at ``digest`` and a version saved last."""
        return (self._bundles / digest / MANIFEST).exists() and self._last_good.exists()

    def save_contact(self) -> None:
        """Save the present time as that of the last contact with the registry."""
        try:
            os.utime(self._last_good)
        except OSError as error:
            LOG.debug("the time of the contact is not saved: %s", error)

    def last_contact(self) -> datetime | None:
        """Return the time of the last contact of a worker of this host with the registry, or None."""
        try:
            return datetime.fromtimestamp(self._last_good.stat().st_mtime, UTC)
        except OSError:
            return None

    def _download(self, client: RegistryClient, root: str, manifest: bytes, digest: str) -> dict[str, bytes]:
        with self._empty_folder() as folder:
            fetched = folder / digest
            fetched.mkdir()
            _write(fetched / MANIFEST, [manifest])
            listed = parse_manifest(manifest)
            _save(client, root, listed, files_to_read(listed), fetched)
            files = read_verified(fetched, digest)
            self._bundles.mkdir(exist_ok=True)
            target = self._bundles / digest
            if target.exists():  # its files were changed, else they would have been used
                shutil.rmtree(target)
            _sync_folder(fetched)
            fetched.rename(target)
            _sync_folder(self._bundles)
        return files

    @contextmanager
    def _empty_folder(self) -> Iterator[Path]:
        """Yield an empty folder for a download. Call it while the lock is held."""
        for left_over in self._folder.glob(".fetch-*"):  # of a process that was killed, because we hold the lock
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch-") as name:
            yield Path(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _save(client: RegistryClient, root: str, manifest: Manifest, names: Sequence[str], folder: Path) -> None:
    for name in names:
        _write(folder / name, client.read(root, name, manifest.files[name].bytes))


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file to the disk: after a power failure it must not be cut under its final name."""
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
