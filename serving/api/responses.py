"""The responses of the API. They are encoded from these types, and the OpenAPI document is made from them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from serving.ledger.writer import LedgerState
from serving.model.evaluation import Metrics
from serving.model.model_store import ModelDescription, Status, Time, to_text
from serving.model.predict import Prediction
from serving.prediction_log.entries import Found
from serving.prediction_log.outcomes import Revision
from serving.prediction_log.writer import LogState
from serving.problems import OutcomeResult

Refused = Annotated[str | None, Meta(description="The version under the alias that is not served, and why.")]
Digest = Annotated[str, Meta(description="Digest of the manifest of the model's bundle.")]


class Contribution(msgspec.Struct, frozen=True, omit_defaults=True):
    """The contribution of one value to the prediction."""

    value: Annotated[float | int | None, Meta(description="As in the record; null where the model imputes it.")]
    contribution: Annotated[float, Meta(description="What the value adds to the base, on the scale.")]
    standard_error: (
        Annotated[float, Meta(ge=0, description="Present where the contribution is an estimate.")] | UnsetType
    ) = UNSET


class Explanation(msgspec.Struct, frozen=True):
    """The contributions to one prediction. Base and contributions add up to the prediction."""

    scale: Annotated[
        Literal["log_odds", "probability"], Meta(description="Of base and contributions; log_odds: natural logarithm.")
    ]
    method: Annotated[
        Literal["exact", "sampled"], Meta(description="sampled: the record has too many values for all subsets.")
    ]
    base: Annotated[
        float,
        Meta(description="The prediction for a typical record: all values missing, so that the model imputes them."),
    ]
    features: Annotated[dict[str, Contribution], Meta(description="By feature, in the contract's order.")]


class ExplainedPrediction(Prediction, frozen=True):
    """The prediction for one record."""

    contributions: Annotated[Explanation, Meta(description="With explain=true only.")] | UnsetType = UNSET


class PredictionResponse(ExplainedPrediction, frozen=True, kw_only=True):
    """The prediction for a request with one record."""

    model: ModelDescription


class PredictionListResponse(msgspec.Struct, frozen=True):
    """The predictions for a request with a list of records or with CSV, in the order of the records."""

    predictions: list[ExplainedPrediction]
    model: ModelDescription


class HealthResponse(msgspec.Struct, frozen=True):
    """The process runs."""

    status: Literal["ok"] = "ok"


class RegistryState(msgspec.Struct, frozen=True):
    """Whether the worker that answers can reach the registry."""

    reachable: Annotated[bool | None, Meta(description="Whether the last poll reached it; null: not polled.")]
    last_contact: Annotated[Time | None, Meta(description="Of any worker of this host.")]
    reason: Annotated[str | None, Meta(description="Why it is unreachable, not polled, or has no version to serve.")]

    @classmethod
    def of(cls, status: Status) -> "RegistryState":
        """Return the state of the registry in ``status``."""
        reason = status.not_polled or status.unreachable or status.no_version
        return cls(status.reachable, to_text(status.last_contact), reason)


class ReadinessResponse(msgspec.Struct, frozen=True):
    """Every worker serves a model."""

    status: Literal["ready"]
    model: ModelDescription
    registry: RegistryState
    refused: Refused
    api_keys_error: Annotated[str | None, Meta(description="Why the present file of API keys is not in use.")]
    prediction_log: LogState
    ledger: LedgerState


class ModelResponse(msgspec.Struct, frozen=True):
    """The served model."""

    model: ModelDescription
    bundle: Digest
    threshold: Annotated[float, Meta(ge=0, le=1, description="Of has_heart_disease; a convention.")]
    served_since: Time
    metrics: Annotated[Metrics | None, Meta(description="How good the model is.")]
    metrics_reason: Annotated[str | None, Meta(description="Why there are no metrics.")]
    registry: RegistryState
    refused: Refused
    prediction_log: LogState
    contract: Annotated[dict[str, Any], Meta(description="JSON Schema of a record.")]


class OutcomesResponse(msgspec.Struct, frozen=True):
    """All outcomes of the request are valid and of known predictions."""

    results: Annotated[list[OutcomeResult], Meta(description="What became of each, in the order of the request.")]


class LineageModel(msgspec.Struct, frozen=True):
    """The model that made a logged prediction."""

    name: str
    version: str
    alias: str
    family: str
    contract_version: str
    bundle: Digest


class LineageRun(msgspec.Struct, frozen=True):
    """The MLflow run that trained the model."""

    id: str | None
    trained_at: Time | None


class LineageSnapshot(msgspec.Struct, frozen=True):
    """The dataset snapshot that the model was trained on."""

    sha256: str
    origin: str


class Lineage(msgspec.Struct, frozen=True):
    """The way from a prediction back to the training data."""

    model: LineageModel
    run: LineageRun
    snapshot: LineageSnapshot
    source: Annotated[str | None, Meta(description="Where the training data was read from.")]


class LoggedPredictionResponse(msgspec.Struct, frozen=True):
    """A prediction of the log."""

    prediction_id: Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
    predicted_at: Annotated[datetime, Meta(tz=True)]
    request_id: Annotated[str, Meta(description="As the client sent it, else the first prediction_id of the request.")]
    row: Annotated[int, Meta(ge=0, description="Position of the record in its request.")]
    record: Annotated[dict[str, Any], Meta(description="Valid under the contract of that time.")]
    has_heart_disease: Annotated[bool, Meta(description="Whether the probability reached the threshold.")]
    probability: Annotated[float, Meta(ge=0, le=1, description="Of heart disease.")]
    imputed: Annotated[list[str], Meta(description="Missing fields that the model imputed.")]
    lineage: Lineage
    outcomes: Annotated[list[Revision], Meta(description="What was observed; the last one counts.")]

    @classmethod
    def of(cls, found: Found) -> "LoggedPredictionResponse":
        """Return the response for a prediction that was found in the log."""
        entry, model = found.entry, found.model
        return cls(
            prediction_id=entry.prediction_id,
            predicted_at=entry.answered,
            request_id=entry.request_id,
            row=entry.request_row,
            record=entry.features,
            has_heart_disease=entry.has_heart_disease,
            probability=entry.probability,
            imputed=entry.imputed,
            lineage=Lineage(
                LineageModel(
                    model.name, model.version, model.alias, model.family, model.contract_version, model.bundle
                ),
                LineageRun(model.run_id, model.trained_at),
                LineageSnapshot(model.snapshot, model.origin),
                model.source,
            ),
            outcomes=[
                msgspec.structs.replace(one, last=place == len(found.outcomes))
                for place, one in enumerate(found.outcomes, 1)
            ],
        )
