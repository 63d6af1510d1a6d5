"""The entries of the prediction log, in the form in which they are stored on disk and in the database."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from serving.model.model_store import Served
from serving.model.predict import Prediction
from serving.model.records import Record
from serving.model.registry_client import Training

REQUEST_ID = re.compile(r"[\w.:/+=-]{1,100}", re.ASCII)

# time, request id of the client, model, records and their predictions
Answered = tuple[float, str | None, Served, Sequence[Record], Sequence[Prediction]]


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
    """One prediction with its record. The fields are stored names: columns of the table, and keys in the spill files.

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


class Batch(msgspec.Struct, frozen=True):
    """Predictions of one model; ``entries`` is the JSON of a list of ``Entry``."""

    model: LoggedModel
    entries: msgspec.Raw


class Found(msgspec.Struct, frozen=True):
    """A logged prediction with its model."""

    entry: Entry
    model: LoggedModel


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


def entries(answered: Answered, model_key: str) -> list[Entry]:
    """Return the entries for the predictions of one request."""
    seconds, request_id, _, records, predictions = answered
    at = datetime.fromtimestamp(seconds, UTC)
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = predictions[0].prediction_id
    return [
        Entry(p.prediction_id, request_id, row, at, model_key, p.has_heart_disease, p.probability, p.imputed, record)
        for row, (p, record) in enumerate(zip(predictions, records, strict=True))
    ]


def split_batch(batch: Batch) -> Sequence[Batch]:
    """Return the two halves of ``batch``; nothing if it has one record only."""
    entries = msgspec.json.decode(batch.entries, type=list[msgspec.Raw])
    if len(entries) < 2:
        return ()
    middle = len(entries) // 2
    return [Batch(batch.model, msgspec.Raw(msgspec.json.encode(part))) for part in (entries[:middle], entries[middle:])]
