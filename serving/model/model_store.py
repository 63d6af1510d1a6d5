"""The model that this process serves: it follows the registry's alias, and is never given up for a worse one.

A candidate is fetched into the cache, verified, loaded beside the model that serves, and probed. Only then one
reference is swapped; requests under way finish on the model that they started with.
"""

import dataclasses
import logging
import math
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serving.metrics import prometheus
from serving.model import evaluation
from serving.model.bundle import MANIFEST, BundleError, Model, digest_of, read_folder
from serving.model.bundle_cache import BundleCache, LastGood
from serving.model.evaluation import Evaluation
from serving.model.registry_client import ModelVersion, NotThereError, RegistryClient, RegistryError, Training
from serving.model.worker_states import READY, Workers
from serving.settings import Settings

JITTER = 0.2  # of the interval, so that the workers of many hosts do not ask at once
REFUSED_SECONDS = 60.0  # until a refused version is tried again, in case its files were repaired
NOT_ASKED = "it has not been asked yet"
NEVER_ASKED = "it is never asked: HEARTLINE_BUNDLE names what is served"
CANDIDATE = "candidate"  # in place of the number of a version, and of an alias, where a bundle has neither
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model that answers, the registered version that it is, and what is known of its training.

    ``training`` is None until the registry has said.
    """

    model: Model
    version: ModelVersion
    alias: str
    since: datetime
    evaluation: Evaluation
    training: Training | None = None

    def describe(self) -> dict[str, str | None]:
        """Return what every answer says about its model."""
        about = self.model.about
        training = self.training or Training()
        return {
            "name": self.version.name,
            "version": self.version.version,
            "alias": self.alias,
            "family": about.family,
            "origin": about.origin,
            "snapshot": about.snapshot,
            "trained_at": training.trained_at,
            "run_id": training.run_id,
            "contract_version": about.contract_version,
        }


@dataclass(frozen=True)
class Status:
    """All that is known at one instant.

    Args:
        served: the model that answers.
        last_heard: when the registry was last heard by a worker of this host.
        silent: why it is not heard now, where it is not.
        waiting: why the registry has no version to offer, where it has none.
        refused: which version is not served, though the alias names it, and why.
    """

    served: Served | None = None
    last_heard: datetime | None = None
    silent: str | None = NOT_ASKED
    waiting: str | None = None
    refused: str | None = None

    def reason(self) -> str:
        """Return why nothing is served, as one clause."""
        if self.refused:
            return f"refused: {self.refused}"
        return self.waiting or f"the registry is not heard: {self.silent}"


class ModelStore:
    """Holds the served model, and follows the alias in a thread of its own.

    ``status`` is replaced as a whole and may be read from any thread. The rest belongs to the poller.
    """

    def __init__(self, settings: Settings, client: RegistryClient, cache: BundleCache, workers: Workers) -> None:
        self.status = Status()
        self._workers = workers
        self._number = 0
        self._settings = settings
        self._client = client
        self._cache = cache
        self._retry_refused = (ModelVersion("", ""), -math.inf)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, number: int = 0) -> None:
        """Serve what was served last, if the cache has it, and begin to follow the alias. Call it after the fork.

        Where the settings name a bundle, serve that one and follow nothing.

        Args:
            number: of this worker, as ``Workers`` knows it.
        """
        self._number = number
        if self._settings.bundle:
            self.load(Path(self._settings.bundle))
            return
        self.restore()
        # made here, not in __init__: a thread object that went through a fork cannot be started (Python 3.13)
        self._thread = threading.Thread(target=self._run, name="registry-poller", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the poller; what is served stays."""
        self._stopping.set()
        if self._thread:
            self._thread.join(timeout=1)

    def load(self, folder: Path) -> None:
        """Serve the bundle in ``folder``, verified and probed as one of the registry would be."""
        version = ModelVersion(self._settings.model_name, CANDIDATE, str(folder))
        self._update(silent=NEVER_ASKED)
        try:
            model = Model(read_folder(folder))
        except (BundleError, OSError) as error:
            self._refuse(version, str(error))
        else:
            self._serve(model, version, alias=CANDIDATE)
            LOG.info("serving %s from %s", _name(version), folder)

    def restore(self) -> None:
        """Serve the last good version from the cache, where there is one and it is still what it was."""
        good = self._cache.last_good()
        wanted = (self._settings.model_name, self._settings.model_alias)
        if good is None or (good.version.name, good.alias) != wanted:
            return
        try:
            model = Model(self._cache.read(good.digest))
        except (BundleError, OSError) as error:
            self._refuse(good.version, f"{error} (in the cache)")
            return
        except Exception as error:  # a worker that cannot start would end the whole service
            LOG.exception("version %s is not understood", good.version.version)
            self._refuse(good.version, f"{type(error).__name__}: {error} (in the cache)")
            return
        self._update(last_heard=self._cache.last_heard())
        self._serve(model, good.version, training=good.training)
        LOG.info("serving %s from the cache; the registry was last heard at %s", _name(good.version), self._heard_at())

    def poll(self) -> None:
        """Ask the registry once, and act on its answer. Raises nothing that a registry or a bundle can cause."""
        try:
            version = self._client.version_with_alias(self._settings.model_name, self._settings.model_alias)
        except RegistryError as error:
            self._not_heard(str(error))
            return
        except NotThereError as error:
            self._heard(waiting=f"the registry has no version to serve: {error}")
            self._forget_refused()
            return
        self._heard(waiting=None)
        if self.status.served and self.status.served.version == version:
            self._forget_refused()
            self._learn(self.status.served)
        elif self._retry_refused[0] != version or time.monotonic() >= self._retry_refused[1]:
            self._adopt(version)

    def _adopt(self, version: ModelVersion) -> None:
        try:
            model = self._tried(self._cache.fetch(self._client, version))
            training = self._training(version)
            self._cache.note_last_good(LastGood(self._settings.model_alias, version, model.digest, training))
        except RegistryError as error:
            self._refuse(version, f"not fetched yet: {error}")
        except (BundleError, NotThereError, OSError) as error:
            self._refuse(version, f"the cache fails: {error}" if isinstance(error, OSError) else str(error))
            self._retry_refused = (version, time.monotonic() + REFUSED_SECONDS)
        except Exception as error:  # no candidate can do more than to be refused
            LOG.exception("version %s is not understood", version.version)
            self._refuse(version, f"{type(error).__name__}: {error}")
            self._retry_refused = (version, time.monotonic() + REFUSED_SECONDS)
        else:
            self._serve(model, version, training=training)
            LOG.info("serving %s", _name(version))

    def _tried(self, files: dict[str, bytes]) -> Model:
        if self.status.served is None:  # there is nothing to lose
            return Model(files)
        with self._cache.trial(digest_of(files[MANIFEST])):
            return Model(files)

    def _training(self, version: ModelVersion) -> Training | None:
        try:
            return self._client.training(version)
        except RegistryError as error:  # no reason not to serve it: asked again with the next poll
            LOG.debug("the run of %s is not known yet: %s", _name(version), error)
            return None

    def _learn(self, served: Served) -> None:
        """Ask for what was not said when ``served`` was adopted, or by a service that did not ask."""
        more = served
        if more.training is None:
            more = self._with_training(more)
        if more.evaluation.awaited:
            more = self._with_evaluation(more)
        if more is not served:
            self._update(served=more)

    def _with_training(self, served: Served) -> Served:
        training = self._training(served.version)
        if training is None:
            return served
        try:
            alias = self._settings.model_alias
            self._cache.note_last_good(LastGood(alias, served.version, served.model.digest, training))
        except OSError as error:
            LOG.debug("the run is not noted: %s", error)
        return dataclasses.replace(served, training=training)

    def _with_evaluation(self, served: Served) -> Served:
        try:
            data = self._cache.fetch_evaluation(self._client, served.version, served.model.digest)
        except (RegistryError, OSError) as error:  # asked again with the next poll
            LOG.debug("the evaluation of %s is not fetched: %s", _name(served.version), error)
            return served
        except (BundleError, NotThereError) as error:
            LOG.error("the evaluation of %s is not shown: %s", _name(served.version), error)
            return dataclasses.replace(
                served, evaluation=Evaluation(reason=f"{evaluation.FILE} is not fetched: {error}")
            )
        return dataclasses.replace(served, evaluation=evaluation.read(data))

    def _serve(self, model: Model, version: ModelVersion, alias: str = "", training: Training | None = None) -> None:
        alias = alias or self._settings.model_alias
        served = Served(model, version, alias, datetime.now(UTC), model.evaluation, training)
        self._update(served=served, refused=None)
        self._workers.mark(self._number, READY)

    def _refuse(self, version: ModelVersion, reason: str) -> None:
        refused = f"version {version.version}: {reason}"
        if refused != self.status.refused:
            kept = self.status.served
            LOG.error("refused: %s; %s", refused, f"{_name(kept.version)} stays" if kept else "nothing is served")
        self._update(refused=refused)

    def _forget_refused(self) -> None:
        """The alias names no refused version now; one that it names again is tried again, and says why again."""
        self._retry_refused = (ModelVersion("", ""), -math.inf)
        self._update(refused=None)

    def _heard(self, waiting: str | None) -> None:
        if self.status.silent not in (None, NOT_ASKED):
            LOG.info("the registry is heard again")
        if waiting and waiting != self.status.waiting:
            LOG.warning("%s", waiting)
        self._cache.note_heard()
        self._update(silent=None, waiting=waiting, last_heard=datetime.now(UTC))

    def _not_heard(self, reason: str) -> None:
        if reason != self.status.silent:
            LOG.warning("the registry is not heard since %s: %s", self._heard_at(), reason)
        self._update(silent=reason, waiting=None)

    def _heard_at(self) -> str:
        return self.status.last_heard.isoformat(timespec="seconds") if self.status.last_heard else "the start"

    def _update(self, **changes: object) -> None:
        before = self.status
        self.status = dataclasses.replace(before, **changes)  # type: ignore[arg-type]
        prometheus.follow(before, self.status)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception as error:  # the poller outlives its own faults, and says so
                reason = f"polling failed: {error}"
                if reason != self.status.silent:
                    LOG.exception("polling failed")
                self._not_heard(reason)
            jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            self._stopping.wait(self._settings.poll_seconds * jitter)


def _name(version: ModelVersion) -> str:
    return f"{version.name} version {version.version}"
