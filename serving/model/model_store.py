"""The model that this process serves. It follows the registry's alias and keeps the old model if the new one fails.

A new version is fetched into the cache, verified, loaded beside the served model, and tested with its reference
records. Then one reference is swapped. Requests in progress finish on the model that they started with.
"""

import dataclasses
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from serving.model import evaluation
from serving.model.approvals import Approval, Approvals
from serving.model.bundle import MANIFEST, BundleError, Model, digest_of, read_folder
from serving.model.bundle_cache import BundleCache, LastGood
from serving.model.evaluation import Evaluation
from serving.model.registry_client import ModelVersion, NotFoundError, RegistryClient, RegistryError, Target, Training
from serving.model.worker_states import READY, Workers
from serving.settings import Settings

JITTER = 0.2  # of the interval, so that the workers of many hosts do not poll at the same time
REFUSED_RETRY_SECONDS = 60.0  # until a refused version is tried again, because its files may have been repaired
NOT_POLLED_YET = "not polled yet"
NEVER_POLLED = "not polled: HEARTLINE_BUNDLE is set"
_NO_RETRY = (Target(ModelVersion("", "")), -math.inf)  # no version was refused
UNREGISTERED = "candidate"  # version and alias, in every response, of a bundle that is not registered
LOG = logging.getLogger(__name__)

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]  # ISO 8601 in UTC


def to_text(moment: datetime | None) -> str | None:
    """Return ``moment`` in ISO 8601 with milliseconds; None for None."""
    return moment.isoformat(timespec="milliseconds") if moment else None


class ModelDescription(msgspec.Struct, frozen=True):
    """The model that made a prediction."""

    name: str
    version: str
    alias: str
    family: Annotated[str, Meta(description="The kind of model.")]
    origin: Annotated[str, Meta(description="Origin of the training data; sample: synthetic.")]
    snapshot: Annotated[str, Meta(description="Digest of the training data.")]
    trained_at: Time | None
    run_id: Annotated[str | None, Meta(description="The MLflow run that trained the model.")]
    contract_version: str


@dataclass(frozen=True)
class Served:
    """A served model, its registered version, and what is known of its training.

    ``training`` is None until the registry has returned it; ``approval`` if none is required.
    """

    model: Model
    version: ModelVersion
    alias: str
    since: datetime
    evaluation: Evaluation
    training: Training | None = None
    approval: Approval | None = None

    def describe(self) -> ModelDescription:
        """Return the description that every response contains."""
        about = self.model.about
        training = self.training or Training()
        return ModelDescription(
            name=self.version.name,
            version=self.version.version,
            alias=self.alias,
            family=about.family,
            origin=about.origin,
            snapshot=about.snapshot,
            trained_at=training.trained_at,
            run_id=training.run_id,
            contract_version=about.contract_version,
        )


@dataclass(frozen=True)
class Refusal:
    """A version that is not served.

    Args:
        version: the version.
        reason: why it is not served.
        digest: of its bundle; empty if that is not known.
        passing: whether it was not judged yet, because its files could not be fetched.
    """

    version: ModelVersion
    reason: str
    digest: str = ""
    passing: bool = False

    def __str__(self) -> str:
        """Return version and reason as one clause."""
        return f"version {self.version.version}: {self.reason}"


@dataclass(frozen=True)
class Status:
    """The state of a model store at one instant.

    Args:
        served: the served model.
        last_contact: when the registry last answered a worker of this host.
        not_polled: why this worker has not polled the registry; None after the first poll.
        unreachable: why the last poll did not reach the registry; None if it did, or if there was no poll.
        no_version: why the registry has no version to serve; None where it has one.
        refusal: the version under the alias that is not served, and why; None where it is served.
    """

    served: Served | None = None
    last_contact: datetime | None = None
    not_polled: str | None = NOT_POLLED_YET
    unreachable: str | None = None
    no_version: str | None = None
    refusal: Refusal | None = None

    @property
    def refused(self) -> str | None:
        """Return the version under the alias that is not served, and why; None where it is served."""
        return str(self.refusal) if self.refusal else None

    @property
    def reachable(self) -> bool | None:
        """Return whether the last poll reached the registry; None if there was no poll."""
        return None if self.not_polled else self.unreachable is None

    def reason(self) -> str:
        """Return why no model is served, as one clause."""
        if self.refused:
            return f"refused: {self.refused}"
        if self.not_polled:
            return f"the registry is {self.not_polled}"
        return self.no_version or f"the registry is unreachable: {self.unreachable}"


def ignore(before: Status, now: Status) -> None:
    """Do nothing with a change of status."""


class ModelStore:
    """Holds the served model and follows the alias in a thread of its own.

    ``status`` is replaced, never changed, and may be read from any thread. The rest belongs to the poller.

    Args:
        settings: of the service.
        client: of the registry.
        cache: of verified bundles.
        workers: the states of all workers.
        follow: called with the old and the new status after each change.

    Raises:
        SettingError: approvals are required, and there is no secret to verify them with.
    """

    def __init__(
        self,
        settings: Settings,
        client: RegistryClient,
        cache: BundleCache,
        workers: Workers,
        follow: Callable[[Status, Status], None] = ignore,
    ) -> None:
        self.status = Status()
        self._workers = workers
        self._number = 0
        self._settings = settings
        self._client = client
        self._cache = cache
        self._follow = follow
        self._approvals = Approvals(settings)
        self._retry_refused = _NO_RETRY
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, number: int = 0) -> None:
        """Serve the last good version, if the cache has it, and start to follow the alias. Call it after the fork.

        If the settings name a bundle, serve that bundle and follow nothing.

        Args:
            number: of this worker, as in ``Workers``.
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
        """Stop the poller. The model is still served."""
        self._stopping.set()
        if self._thread:
            self._thread.join(timeout=1)

    def load(self, folder: Path) -> None:
        """Serve the bundle in ``folder``, after the same checks as for a bundle of the registry."""
        version = ModelVersion(self._settings.model_name, UNREGISTERED, str(folder))
        self._update(not_polled=NEVER_POLLED)
        try:
            model = Model(read_folder(folder))
        except (BundleError, OSError) as error:
            self._refuse(version, str(error))
        else:
            self._serve(model, version, alias=UNREGISTERED)
            LOG.info("serving %s from %s", _name(version), folder)

    def restore(self) -> None:
        """Serve the last good version from the cache, if there is one and it passes all checks again."""
        good = self._cache.last_good()
        wanted = (self._settings.model_name, self._settings.model_alias)
        if good is None or (good.version.name, good.alias) != wanted:
            return
        try:
            approval = self._approvals.check(good.approval, good.digest)
            model = Model(self._cache.read(good.digest))
        except (BundleError, OSError) as error:
            self._refuse(good.version, f"{error} (in the cache)", good.digest)
            return
        except Exception as error:  # a worker that cannot start would end the service
            LOG.exception("version %s cannot be loaded", good.version.version)
            self._refuse(good.version, f"{type(error).__name__}: {error} (in the cache)", good.digest)
            return
        self._update(last_contact=self._cache.last_contact())
        self._serve(model, good.version, training=good.training, approval=approval)
        LOG.info("serving %s from the cache; last contact with the registry: %s", _name(good.version), self._contact())

    def poll(self) -> None:
        """Ask the registry once and act on its answer. No registry and no bundle can make it raise."""
        try:
            target = self._client.version_with_alias(self._settings.model_name, self._settings.model_alias)
        except RegistryError as error:
            self._registry_failed(str(error))
            return
        except NotFoundError as error:
            self._registry_answered(no_version=f"the registry has no version to serve: {error}")
            self._forget_refused()
            return
        self._registry_answered(no_version=None)
        if not self._approvals.required:
            target = Target(target.version)
        if self.status.served and self.status.served.version == target.version:
            self._forget_refused()
            self._cache_again(self.status.served)
            self._complete(self.status.served)
        elif self._retry_refused[0] != target or time.monotonic() >= self._retry_refused[1]:  # or it has a new approval
            self._adopt(target)

    def _adopt(self, target: Target) -> None:
        version, digest = target.version, ""
        try:
            candidate = self._cache.find(self._client, version)
            digest = candidate.digest
            approval = self._approvals.check_tag(target.approval, digest)
            model = self._load_new_version(self._cache.fetch(self._client, candidate))
            training = self._training(version)
            self._cache.save_last_good(LastGood(self._settings.model_alias, version, model.digest, training, approval))
        except RegistryError as error:
            self._refuse(version, f"not fetched yet: {error}", digest, passing=True)
        except (BundleError, NotFoundError, OSError) as error:
            self._refuse(version, f"the cache failed: {error}" if isinstance(error, OSError) else str(error), digest)
            self._retry_refused = (target, time.monotonic() + REFUSED_RETRY_SECONDS)
        except Exception as error:  # a bad version must not stop the poller
            LOG.exception("version %s cannot be loaded", version.version)
            self._refuse(version, f"{type(error).__name__}: {error}", digest)
            self._retry_refused = (target, time.monotonic() + REFUSED_RETRY_SECONDS)
        else:
            self._serve(model, version, training=training, approval=approval)
            LOG.info("serving %s", _name(version))

    def _cache_again(self, served: Served) -> None:
        """Save the served version, if somebody has deleted it from the cache."""
        if self._cache.holds(served.model.digest):
            return
        try:
            self._cache.fetch(self._client, self._cache.find(self._client, served.version))
            self._save_last_good(served)
        except (RegistryError, BundleError, NotFoundError, OSError) as error:  # the next poll tries again
            LOG.debug("%s is not in the cache: %s", _name(served.version), error)
        else:
            LOG.warning("the cache was deleted; %s was saved again", _name(served.version))

    def _load_new_version(self, files: dict[str, bytes]) -> Model:
        if self.status.served is None:  # a crash would interrupt no service
            return Model(files)
        with self._cache.trial(digest_of(files[MANIFEST])):
            return Model(files)

    def _training(self, version: ModelVersion) -> Training | None:
        try:
            return self._client.training(version)
        except RegistryError as error:  # the version is served without it; the next poll tries again
            LOG.debug("the run of %s is not known yet: %s", _name(version), error)
            return None

    def _complete(self, served: Served) -> None:
        """Fetch the training or the evaluation of ``served`` if it is still missing."""
        more = served
        if more.training is None:
            more = self._with_training(more)
        if more.evaluation.pending:
            more = self._with_evaluation(more)
        if more is not served:
            self._update(served=more)

    def _with_training(self, served: Served) -> Served:
        training = self._training(served.version)
        if training is None:
            return served
        complete = dataclasses.replace(served, training=training)
        try:
            self._save_last_good(complete)
        except OSError as error:
            LOG.debug("the run is not saved: %s", error)
        return complete

    def _save_last_good(self, served: Served) -> None:
        alias, digest = self._settings.model_alias, served.model.digest
        self._cache.save_last_good(LastGood(alias, served.version, digest, served.training, served.approval))

    def _with_evaluation(self, served: Served) -> Served:
        try:
            data = self._cache.fetch_evaluation(self._client, served.version, served.model.digest)
        except (RegistryError, OSError) as error:  # the next poll tries again
            LOG.debug("the evaluation of %s is not fetched: %s", _name(served.version), error)
            return served
        except (BundleError, NotFoundError) as error:
            LOG.error("the evaluation of %s is not available: %s", _name(served.version), error)
            return dataclasses.replace(
                served, evaluation=Evaluation(reason=f"{evaluation.FILE} is not fetched: {error}")
            )
        return dataclasses.replace(served, evaluation=evaluation.read(data))

    def _serve(
        self,
        model: Model,
        version: ModelVersion,
        alias: str = "",
        training: Training | None = None,
        approval: Approval | None = None,
    ) -> None:
        alias = alias or self._settings.model_alias
        served = Served(model, version, alias, datetime.now(UTC), model.evaluation, training, approval)
        self._update(served=served, refusal=None)
        self._workers.mark(self._number, READY)

    def _refuse(self, version: ModelVersion, reason: str, digest: str = "", *, passing: bool = False) -> None:
        refusal = Refusal(version, reason, digest, passing)
        if str(refusal) != self.status.refused:
            kept = self.status.served
            LOG.error(
                "refused: %s; %s", refusal, f"{_name(kept.version)} is still served" if kept else "no model is served"
            )
        self._update(refusal=refusal)

    def _forget_refused(self) -> None:
        """Note that the alias names no refused version now. If it names one again, it is tried and logged again."""
        self._retry_refused = _NO_RETRY
        self._update(refusal=None)

    def _registry_answered(self, no_version: str | None) -> None:
        if self.status.unreachable:
            LOG.info("the registry is reachable again")
        if no_version and no_version != self.status.no_version:
            LOG.warning("%s", no_version)
        self._cache.save_contact()
        self._update(not_polled=None, unreachable=None, no_version=no_version, last_contact=datetime.now(UTC))

    def _registry_failed(self, reason: str) -> None:
        if reason != self.status.unreachable:
            LOG.warning("the registry is unreachable, last contact %s: %s", self._contact(), reason)
        self._update(not_polled=None, unreachable=reason, no_version=None)

    def _contact(self) -> str:
        return self.status.last_contact.isoformat(timespec="seconds") if self.status.last_contact else "never"

    def _update(self, **changes: object) -> None:
        before = self.status
        self.status = dataclasses.replace(before, **changes)  # type: ignore[arg-type]
        self._follow(before, self.status)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception as error:  # an error of our own must not stop the poller
                reason = f"polling failed: {error}"
                if reason != self.status.unreachable:
                    LOG.exception("polling failed")
                self._registry_failed(reason)
            jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            self._stopping.wait(self._settings.poll_seconds * jitter)


def _name(version: ModelVersion) -> str:
    return f"{version.name} version {version.version}"
