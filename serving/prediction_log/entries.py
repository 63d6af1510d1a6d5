"""The entries of the prediction log, in the form in which they are stored on disk and in the database."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from serving.model.model_store import Served
from serving.model.predict import Prediction
from serving.model.registry_client import Training
from serving.prediction_log.outcomes import Revision

REQUEST_ID = re.compile(r"[\w.:/+=-]{1,100}", re.ASCII)

# time, request id of the client, model, records (any values that encode to them) and their predictions
Answered = tuple[float, str | None, Served, Sequence[Any], Sequence[Prediction]]


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the log; ``key`` is a digest of the other fields."""

    key: str = ""
    name: str
    version: str
    alias: str
    family: str
    origin: str
    snapshot: str
    contract_version: str
    bundle: str
    run_id: str | None
    source: str | None
    trained_at: str | None

    def keyed(self) -> Self:
        """Return a copy with its key."""
        rest = msgspec.json.encode(msgspec.structs.replace(self, key=""))
        return msgspec.structs.replace(self, key=hashlib.sha256(rest).hexdigest()[:32])


class Entry(msgspec.Struct, frozen=True):
    """One prediction with its record. The fields are columns of the table, and keys in the spill files before 0.3.

    In the response of ``GET /predictions/{id}`` these fields have other names. The others keep theirs.

    Attributes:
        prediction_id: as in the response to ``POST /predict``.
        request_id: as the client sent it, else the first ``prediction_id`` of the request.
        request_row: ``row``, the position of the record in its request, from 0.
        answered: ``predicted_at``, in UTC.
        model_key: ``key`` of the model; not in the response, which has the model's fields in ``lineage``.
        has_heart_disease: whether the probability reached the threshold.
        probability: of heart disease, from 0 to 1.
        imputed: the names of the fields that the model imputed.
        features: ``record``, the values of the request by field.
    """

    prediction_id: str
    request_id: str
    request_row: int
    answered: datetime
    model_key: str
    has_heart_disease: bool
    probability: float
    imputed: list[str]
    features: dict[str, Any]


class Part(msgspec.Struct, frozen=True):
    """Predictions of one request, column by column: a tenth of the cost of an ``Entry`` for each.

    Attributes:
        request_id, answered: as in ``Entry``.
        first_row: the position of the first record in its request.
        prediction_id, has_heart_disease, probability, imputed, features: one for each record, as in ``Entry``.
    """

    request_id: str
    answered: datetime
    first_row: int
    prediction_id: Sequence[str]
    has_heart_disease: Sequence[bool]
    probability: Sequence[float]
    imputed: Sequence[Sequence[str]]
    features: Sequence[Any]

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.prediction_id)

    def slice(self, start: int, stop: int) -> "Part":
        """Return the predictions from ``start`` to ``stop``."""
        rows = slice(start, stop)
        return Part(
            self.request_id,
            self.answered,
            self.first_row + start,
            self.prediction_id[rows],
            self.has_heart_disease[rows],
            self.probability[rows],
            self.imputed[rows],
            self.features[rows],
        )

    def entry(self, row: int, model_key: str) -> Entry:
        """Return one of the predictions, with its record as a dictionary."""
        return Entry(
            self.prediction_id[row],
            self.request_id,
            self.first_row + row,
            self.answered,
            model_key,
            self.has_heart_disease[row],
            self.probability[row],
            list(self.imputed[row]),
            msgspec.to_builtins(self.features[row]),
        )


class Batch(msgspec.Struct, frozen=True):
    """Predictions of one model; ``parts`` is the JSON of a list of ``Part``."""

    model: LoggedModel
    parts: msgspec.Raw

    @classmethod
    def of(cls, model: LoggedModel, parts: Sequence[Part]) -> "Batch":
        """Return the batch of ``parts``."""
        return cls(model, msgspec.Raw(msgspec.json.encode(parts)))

    def decoded(self) -> list[Part]:
        """Return the parts."""
        return msgspec.json.decode(self.parts, type=list[Part])


class _OldBatch(msgspec.Struct, frozen=True):
    """A batch as spill files before 0.3 hold it."""

    model: LoggedModel
    entries: list[Entry]


_STORED = msgspec.json.Decoder(Batch)
_OLD = msgspec.json.Decoder(_OldBatch)


class Found(msgspec.Struct, frozen=True):
    """A logged prediction with its model and its outcomes, the last one at the end."""

    entry: Entry
    model: LoggedModel
    outcomes: list[Revision] = []


def describe_model(served: Served) -> LoggedModel:
    """Return the description of a model for the log."""
    about = served.model.about
    training = served.training or Training()
    return LoggedModel(
        name=served.version.name,
        version=served.version.version,
        alias=served.alias,
        family=about.family,
        origin=about.origin,
        snapshot=about.snapshot,
        contract_version=about.contract_version,
        bundle=served.model.digest,
        run_id=training.run_id,
        source=training.source,
        trained_at=training.trained_at,
    ).keyed()


def read_batch(data: bytes) -> Batch:
    """Return the batch in a line of a spill file.

    Raises:
        msgspec.DecodeError: it is damaged.
    """
    try:
        return _STORED.decode(data)
    except msgspec.ValidationError:
        old = _OLD.decode(data)
    return Batch.of(
        old.model,
        [
            Part(
                one.request_id,
                one.answered,
                one.request_row,
                [one.prediction_id],
                [one.has_heart_disease],
                [one.probability],
                [one.imputed],
                [one.features],
            )
            for one in old.entries
        ],
    )


def part(answered: Answered) -> Part:
    """Return the predictions of one request."""
    seconds, request_id, _, records, predictions = answered
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = predictions[0].prediction_id
    return Part(
        request_id,
        datetime.fromtimestamp(seconds, UTC),
        0,
        [one.prediction_id for one in predictions],
        [one.has_heart_disease for one in predictions],
        [one.probability for one in predictions],
        [one.imputed for one in predictions],
        records,
    )


def batches(model: LoggedModel, parts: Sequence[Part], size: int) -> Iterator[tuple[Batch, int]]:
    """Yield ``parts`` as batches of ``size`` predictions, the last one smaller, with their numbers of predictions."""
    waiting: list[Part] = []
    room = size
    for whole in parts:
        start = 0
        while start < len(whole):
            taken = whole if not start and len(whole) <= room else whole.slice(start, start + room)
            waiting.append(taken)
            start += len(taken)
            room -= len(taken)
            if not room:
                yield Batch.of(model, waiting), size
                waiting, room = [], size
    if waiting:
        yield Batch.of(model, waiting), size - room


def split_batch(batch: Batch) -> Sequence[Batch]:
    """Return the two halves of ``batch``; nothing if it has one prediction only."""
    parts = batch.decoded()
    count = sum(map(len, parts))
    if count < 2:
        return ()
    return [half for half, _ in batches(batch.model, parts, (count + 1) // 2)]
