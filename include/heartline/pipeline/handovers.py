"""What each task returns and the next ones read: plain JSON, as Airflow's XCom stores it.

Tables, pages and bundles are not handed over themselves: a task writes them to the store and returns their URIs, which
are named by content.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, TypeGuard

from heartline.errors import HandoverError
from heartline.parameters import training as parameters


class Told(TypedDict):
    """What a task tells Airflow beside its result; no task reads it."""

    note: NotRequired[str]
    """The run's note, if this task is the last one that ran: one line."""
    ends: NotRequired[str]
    """Why the run ends after this task, one line: the next tasks are skipped. Absent where the run goes on."""
    assets: NotRequired[dict[str, dict[str, Any]]]
    """The assets that this task changed, by name, with what is stored beside the event."""


class Ingested(Told):
    """Returned by ``ingest``: the parsed values of a source, before validation.

    No task reads ``sha256``; it is for readers of XCom (Airflow's REST API and UI).
    """

    raw: str
    """URI of the rows as they were read; cells that are neither numbers nor words of the mapping are missing in it."""
    unparseable: str
    """URI of the cells and rows that could not be parsed: row, field, value, reason."""
    names: list[str]
    """The source's header as spelled; empty where it has none."""
    missing_columns: list[str]
    """Columns of the contract that the source lacks."""
    extra_columns: list[str]
    """Columns of the source that the contract lacks; they are not used."""
    mapping: NotRequired[str]
    """URI of the mapping that the rows were read with and are decoded with, YAML; absent without one."""
    mapping_title: NotRequired[str]
    """Name or path of the mapping; absent without one."""
    patient: NotRequired[str]
    """Name of the source's column that identifies the patient; absent without one. Its values are not stored."""
    origin: str
    """Kind of source: the ``origin`` of its entry in ``ingestion.source_catalog``."""
    source: str
    """The source in words."""
    sha256: str | None
    """Digest of the source's bytes; None for a database."""


class ValidationEvidence(TypedDict):
    """Where the evidence of the checks is stored."""

    data_docs: str
    """Web address of this run's Data Docs page."""
    validation_run: str
    """Id of the MLflow run that holds the evidence."""
    report: str
    """URI of the report, JSON."""
    page: str
    """URI of the Data Docs page, HTML."""
    quarantine: str
    """URI of the quarantined rows, Parquet."""
    quarantine_csv: str
    """URI of the quarantined rows, CSV."""


class Validated(ValidationEvidence, Told):
    """Returned by ``validate``: the records that passed, and the evidence of the checks.

    No task reads ``expectations``; it is for readers of XCom (Airflow's REST API and UI).
    """

    origin: str
    """Kind of source, as in ``Ingested``."""
    source: str
    """The source in words."""
    snapshot: str
    """URI of the records that passed, in canonical order without duplicates."""
    encoding: str
    """How the codes were read: ``uci``, ``kaggle`` or ``mapping``."""
    mapping: NotRequired[str]
    """URI of the mapping that the records were read with, YAML; absent without one."""
    mapping_title: NotRequired[str]
    """Name or path of the mapping; absent without one."""
    rows: int
    """Rows in the source."""
    used: int
    """Records in the snapshot."""
    duplicates: int
    """Rows that repeat an earlier row."""
    quarantined: int
    """Rows in quarantine."""
    expectations: int
    """Number of expectations that were evaluated."""
    about_patients: NotRequired[list[str]]
    """Sentences about records that may belong to one patient, for the reports; absent without any."""


class Prepared(Validated):
    """Returned by ``preprocess``: the train/test split and the folds, beside what ``validate`` returned."""

    training: str
    """URI of the training set."""
    holdout: str
    """URI of the hold-out: records that nothing is fitted or chosen on."""
    folds: str
    """URI of the fold plan that all families share: (n, repeats) fold numbers."""
    profile: str
    """Name of the evaluation profile: ``quick`` or ``full``."""
    seed: int
    """Seed of the folds and of the models."""
    families: NotRequired[list[str]]
    """Names of the families to train; absent in what version 0.4 or earlier wrote."""
    fingerprint: NotRequired[str]
    """Identifies records, parameters and code: equal ones lead to the same models and comparison."""
    registered: NotRequired["Registered"]
    """What the earlier run with this fingerprint registered, where there is nothing new; absent otherwise."""


class ForFamily(TypedDict):
    """Returned by ``preprocess`` for each family: the task ``train`` is mapped over a list of these."""

    family: str
    """Name of the family."""
    prepared: Prepared
    """What all families share."""


class Trained(TypedDict):
    """Returned by ``train`` for a family that the service can serve."""

    outcome: Literal["trained"]
    """Tells this variant from ``Refused``."""
    family: str
    """Name of the family."""
    bundle: str
    """URI of the model bundle."""
    predictions: str
    """URI of the out-of-fold predictions and the evaluation, Parquet."""
    run_id: str
    """Id of the family's MLflow run."""
    origin: str
    """Kind of source, as in ``Ingested``."""
    roc_auc: float | None
    """ROC AUC of the averaged out-of-fold probabilities; None where it is not defined."""


class Refused(TypedDict):
    """Returned by ``train`` for a family that takes no part in the comparison; the other families continue."""

    outcome: Literal["refused"]
    """Tells this variant from ``Trained``."""
    family: str
    """Name of the family."""
    cause: Literal["not converged", "not servable"]
    """What the family failed at: its fit, or its export and the smoke test."""
    reason: str
    """The error's first line."""
    error: str
    """The error with all its parts."""
    predictions: str
    """URI of the out-of-fold predictions and the evaluation, Parquet."""
    run_id: str
    """Id of the family's MLflow run, which has failed."""
    roc_auc: float | None
    """ROC AUC of the averaged out-of-fold probabilities; None where it is not defined."""


class LookTaken(TypedDict):
    """Which look a comparison is (``comparison.looks``), as ``Decision`` holds it."""

    number: int | None
    """Which look of the last 365 days; None for a comparison that is no look."""
    level: float | None
    """The one-sided level that it spends; None for no look."""
    p_values: dict[str, float]
    """By challenger, one-sided, corrected for their number (Holm)."""
    new_records: int | None
    """Training records that were not in the last look; None where they were not counted."""
    needed_records: int | None
    """New training records that a look needs; None where they were not counted."""
    note: str
    """Which look it is and what it spends, or why it is none."""


class Decision(TypedDict):
    """The verdict over the families, as the hand-over ``Compared`` and ``comparison.json`` hold it."""

    winner: str | None
    """The family for ``staging``; None where no family meets the minimum requirements."""
    incumbent: str
    """The family that had to be beaten."""
    verdict: str
    """One of ``comparison.verdict_names``, such as *better*."""
    reason: str
    """The verdict in one sentence."""
    reasons: list[str]
    """One sentence for each comparison, violated requirement, refused family and so on."""
    held_back: str
    """Why a run must not move ``production`` whatever the verdict; "" where it may."""
    look: LookTaken
    """Which look the comparison is."""
    cautions: dict[str, str]
    """By challenger, why the evidence does not suffice to move ``production`` to it; absent where it does."""


class Compared(Decision, Told):
    """Returned by ``compare``: the verdict, beside what ``train`` returned for each family.

    No task reads ``incumbent`` and ``reasons``; they are for readers of XCom (Airflow's REST API and UI).
    """

    trained: list[Trained | Refused]
    """One entry for each family."""
    production: str
    """The version in production when the families were compared; "" for none."""
    comparison_run: str
    """Id of the MLflow run that holds the evidence."""
    fingerprint: NotRequired[str]
    """As in ``Prepared``."""


class Registered(Told):
    """Returned by ``register``; ``./heartline train`` shows it."""

    name: str
    """Name of the registered model."""
    version: str | None
    """The winner's version, which ``staging`` points at; None where there is no winner."""
    family: str | None
    """The winner's family."""
    origin: str | None
    """Kind of source of the winner's records."""
    roc_auc: float | None
    """The winner's ROC AUC, as in ``Trained``."""
    versions: dict[str, str]
    """The version of each family that was registered."""
    repaired: list[str]
    """What was deleted or damaged in MLflow and has been repaired, one sentence each."""
    verdict: str
    """As in ``Compared``."""
    reason: str
    """As in ``Compared``."""
    look: str
    """The ``note`` of the look in ``Compared``."""
    promoted: bool
    """Whether ``production`` points at the winner's version now because of this run."""
    held_back: str
    """Why ``production`` was not moved although the run was to move it; "" otherwise."""


def end_after(result: Told, task: str, until: str) -> None:
    """Mark a result as the run's last one, where the parameter ``until`` names the task.

    Args:
        result: what the task returns.
        task: its id.
        until: one of ``parameters.STAGES``.
    """
    if task == until and until != parameters.STAGES[-1]:
        result["ends"] = f"the run was to end after {until} (parameter until)"


def note(result: object) -> str:
    """Return the run's note in what a task returned; "" for none.

    Args:
        result: as XCom gives it; of ``preprocess``, a list of what it says for each family.
    """
    if isinstance(result, list) and result and isinstance(result[0], Mapping):
        result = result[0].get("prepared")
    text = result.get("note") if isinstance(result, Mapping) else None
    return " ".join(str(text or "").split())


def is_refused(trained: Trained | Refused) -> TypeGuard[Refused]:
    """Return whether a family was refused."""
    return trained["outcome"] == "refused"


def is_trained(trained: Trained | Refused) -> TypeGuard[Trained]:
    """Return whether a family can be served."""
    return trained["outcome"] == "trained"


_FIELDS = {
    "ingest": Ingested.__required_keys__,
    "validate": Validated.__required_keys__,
    "preprocess": Prepared.__required_keys__,
    "compare": Compared.__required_keys__,
}
_VARIANTS = {"trained": Trained.__required_keys__, "refused": Refused.__required_keys__}


def expect(task: str, value: Mapping[str, object]) -> None:
    """Refuse the result of a task that another version of the code wrote, as after an upgrade in the middle of a run.

    Args:
        task: the id of the task that returned it.
        value: its result, as XCom gives it.

    Raises:
        HandoverError: it lacks a field.
    """
    if task == "train":
        _expect_fields(task, value, _VARIANTS.get(str(value.get("outcome")), Trained.__required_keys__))
        return
    _expect_fields(task, value, _FIELDS[task])
    if task == "compare":
        families = value["trained"]
        for one in families if isinstance(families, list) else []:
            expect("train", one)


def _expect_fields(task: str, value: Mapping[str, object], fields: frozenset[str]) -> None:
    missing = sorted(fields - value.keys())
    if missing:
        raise HandoverError(
            f"the result of the task {task} has another form than this version of Heartline reads",
            where=f"XCom return_value of the task {task}; missing: {', '.join(missing)}",
            expected=f"the fields {', '.join(sorted(fields))}",
            hint="another version of Heartline started this run: trigger a new run instead of clearing its tasks",
        )
