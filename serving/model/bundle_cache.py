"""The folder of verified bundles: one for all workers of a host, addressed by digest, written atomically.

bundles/<sha256 of the manifest>/   the files of a bundle
last_good.json                      the version served last; its time of change is when the registry was last heard
lock                                held while bundles are added, tried or removed
trial                               the bundle that is tried just now, or that its process did not outlive
"""

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from serving.model import evaluation
from serving.model.bundle import (
    MANIFEST,
    BundleError,
    Manifest,
    digest_of,
    parse_manifest,
    read_file,
    read_verified,
    wanted,
)
from serving.model.registry_client import ModelVersion, RegistryClient, Training

KEPT_BUNDLES = 3
MANIFEST_BYTES = 1024 * 1024
TRIAL_SECONDS = 600.0  # until a bundle is tried again that a process did not outlive
LOG = logging.getLogger(__name__)


class LastGood(msgspec.Struct, frozen=True):
    """Which version was served last, the address of its bundle, and what trained it, once the registry has said."""

    alias: str
    version: ModelVersion
    digest: str
    training: Training | None = None


class BundleCache:
    """The verified bundles in ``folder``, which exists."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bundles = folder / "bundles"
        self._last_good = folder / "last_good.json"
        self._trial = folder / "trial"

    def fetch(self, client: RegistryClient, version: ModelVersion) -> dict[str, bytes]:
        """Return the verified files of ``version`` by name; those not yet here are downloaded.

        Workers that ask at the same time wait for the first one's download.

        Raises:
            BundleError: the bundle must not serve.
            NotThereError: the registry does not have it.
            RegistryError: the registry could not be heard.
            OSError: the folder cannot be written to.
        """
        root = client.artifact_root(version)
        manifest = b"".join(client.read(root, MANIFEST, MANIFEST_BYTES))
        parse_manifest(manifest)
        digest = digest_of(manifest)
        with self._locked():
            try:
                return self.read(digest)
            except BundleError:
                return self._download(client, root, manifest, digest)

    def read(self, digest: str) -> dict[str, bytes]:
        """Return the verified files of the bundle at ``digest`` by name.

        Raises:
            BundleError: it is not here, or not what it was.
        """
        return read_verified(self._bundles / digest, digest)

    def fetch_evaluation(self, client: RegistryClient, version: ModelVersion, digest: str) -> bytes:
        """Return the evaluation of the bundle at ``digest``, which a service that did not read it may have left out.

        Raises:
            BundleError: it is not what the manifest says, or the bundle is not here any more.
            NotThereError: the registry does not have it.
            RegistryError: the registry could not be heard.
            OSError: the folder cannot be written to.
        """
        root = client.artifact_root(version)
        name = evaluation.FILE
        with self._locked():
            files = self.read(digest)
            if name in files:  # another worker was here first
                return files[name]
            manifest = parse_manifest(files[MANIFEST])
            with self._empty_folder() as folder:
                _save(client, root, manifest, (name,), folder)
                data = read_file(folder, name, manifest.files[name])
                (folder / name).replace(self._bundles / digest / name)
        return data

    @contextmanager
    def trial(self, digest: str) -> Iterator[None]:
        """Leave a mark while the bundle at ``digest`` is tried: it is native code, and may end the process.

        One worker of a host tries at a time, so that at most one is lost.

        Raises:
            BundleError: the process that tried it last did not outlive it.
            OSError: the folder cannot be written to.
        """
        with self._locked():
            if self._trial.exists():  # of a process that has ended: we hold the lock
                recent = time.time() - self._trial.stat().st_mtime < TRIAL_SECONDS
                if recent and self._trial.read_text() == digest:
                    raise BundleError("the process that tried it has ended")
            self._trial.write_text(digest)
            try:
                yield
            finally:
                self._trial.unlink()

    def last_good(self) -> LastGood | None:
        """Return what was noted last, or None."""
        try:
            return msgspec.json.decode(self._last_good.read_bytes(), type=LastGood)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            LOG.warning("%s is not readable and has no effect: %s", self._last_good, error)
            return None

    def note_last_good(self, good: LastGood) -> None:
        """Note what is served now, and let go of bundles that were not used for long.

        Raises:
            OSError: the folder cannot be written to.
        """
        with self._locked():
            new = self._last_good.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(good))
            new.replace(self._last_good)
            os.utime(self._bundles / good.digest)
            by_age = sorted(self._bundles.iterdir(), key=lambda bundle: bundle.stat().st_mtime, reverse=True)
            for bundle in by_age[KEPT_BUNDLES:]:
                shutil.rmtree(bundle)

    def note_heard(self) -> None:
        """Note that the registry was heard just now."""
        try:
            os.utime(self._last_good)
        except OSError as error:
            LOG.debug("the time is not noted: %s", error)

    def last_heard(self) -> datetime | None:
        """Return when a worker of this host last heard the registry, or None."""
        try:
            return datetime.fromtimestamp(self._last_good.stat().st_mtime, UTC)
        except OSError:
            return None

    def _download(self, client: RegistryClient, root: str, manifest: bytes, digest: str) -> dict[str, bytes]:
        with self._empty_folder() as folder:
            fetched = folder / digest
            fetched.mkdir()
            (fetched / MANIFEST).write_bytes(manifest)
            listed = parse_manifest(manifest)
            _save(client, root, listed, wanted(listed), fetched)
            files = read_verified(fetched, digest)
            self._bundles.mkdir(exist_ok=True)
            target = self._bundles / digest
            if target.exists():  # it is not what it was, or we would not be here
                shutil.rmtree(target)
            fetched.rename(target)
        return files

    @contextmanager
    def _empty_folder(self) -> Iterator[Path]:
        """Give a folder for what is being fetched; call it while the lock is held."""
        for left_over in self._folder.glob(".fetch-*"):  # from a process that was killed: we hold the lock
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch-") as name:
            yield Path(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _save(client: RegistryClient, root: str, manifest: Manifest, names: Sequence[str], folder: Path) -> None:
    for name in names:
        with (folder / name).open("wb") as file:
            for chunk in client.read(root, name, manifest.files[name].bytes):
                file.write(chunk)
