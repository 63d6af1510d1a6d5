"""The text of a request for approval, Markdown: what a person decides on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from heartline import contract
from heartline.evaluation import metrics
from heartline.evaluation.metrics import Estimate

PATIENTS = 1000
NO_SHADOW = "There is no shadow yet: the candidate has not answered records of production."
_SHOWN = ("roc_auc", "recall", "specificity", "brier")


@dataclass(frozen=True)
class Changes:
    """How many predictions differ between the version in production and the candidate, on the same records.

    Attributes:
        rows: number of records.
        to_disease: records that only the candidate predicts to have heart disease.
        to_healthy: records that only the version in production predicts to have it.
    """

    rows: int
    to_disease: int
    to_healthy: int


@dataclass(frozen=True)
class Model:
    """A version on the request.

    Attributes:
        version: its number.
        family: its family, in words.
        origin: kind of source of its training data.
        scores: out-of-fold scores, by name; empty where they are not known.
    """

    version: str
    family: str
    origin: str
    scores: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class ApprovalRequest:
    """What a request states.

    Attributes:
        candidate: the version that is asked about.
        production: the version in production; None without one.
        why: why there is a request, one sentence without a full stop.
        verdict: of the candidate's latest comparison.
        reasons: of the verdict, one sentence each.
        caution: why a run may not move ``production`` on that evidence; "" where it may.
        changes: of predictions; None where they could not be computed.
        changes_note: why not.
        links: address by title.
        until: when the request expires.
        not_by: users who may not approve.
        shadow: what the candidate's answers to the records of production say, Markdown.
    """

    candidate: Model
    production: Model | None
    why: str
    verdict: str
    reasons: Sequence[str]
    caution: str
    changes: Changes | None
    changes_note: str
    links: Mapping[str, str]
    until: datetime
    not_by: Sequence[str] = ()
    shadow: str = NO_SHADOW


def subject(request: ApprovalRequest) -> str:
    """Return the title: which version would replace which."""
    if _in_production(request):
        return f"Version {request.candidate.version}, which is in production, needs an approval: {request.verdict}"
    replaced = f" in place of version {request.production.version}" if request.production else ", the first one"
    return f"Version {request.candidate.version} for production{replaced}: {request.verdict}"


def body(request: ApprovalRequest) -> str:
    """Return the text, Markdown."""
    parts = [
        f"**Verdict of the training run: {request.verdict}.** " + " ".join(_sentence(one) for one in request.reasons),
        "The run compared its model families with each other, and with the version in production where it is of one of "
        "them. An approval moves production whatever the run decided.",
        f"A run would not move production on this evidence: {request.caution}." if request.caution else "",
        "### What would change",
        _replacement(request),
        _changes(request),
        _table(request),
        "Scores are out of fold (cross-validated), with 95 % intervals. Each version's scores are of its own training "
        "records."
        if request.production
        else "Scores are out of fold (cross-validated), with 95 % intervals.",
        "### In the shadow",
        request.shadow,
        "### Evidence",
        "\n".join(f"- [{title}]({address})" for title, address in request.links.items()),
        "### How to answer",
        _how(request),
        f"Asked because {request.why}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _name(model: Model) -> str:
    return f"version {model.version} ({model.family}, trained on {model.origin})"


def _in_production(request: ApprovalRequest) -> bool:
    return request.production is not None and request.production.version == request.candidate.version


def _replacement(request: ApprovalRequest) -> str:
    if _in_production(request):
        return f"Nothing: {_name(request.candidate)} answers already. Approved, the service goes on with it."
    if request.production is None:
        return f"{_name(request.candidate).capitalize()} would answer. No version is in production."
    return f"{_name(request.candidate).capitalize()} would answer in place of {_name(request.production)}."


def _changes(request: ApprovalRequest) -> str:
    found = request.changes
    if found is None or _in_production(request):
        return request.changes_note
    more, fewer = (round(PATIENTS * n / found.rows) for n in (found.to_disease, found.to_healthy))
    return (
        f"Of {PATIENTS:,} such patients, {more + fewer} would get another prediction: {more} *heart disease* instead "
        f"of *no heart disease*, {fewer} the reverse. Counted on the candidate's {found.rows:,} records, at the "
        f"threshold {contract.THRESHOLD:g}."
    )


def _table(request: ApprovalRequest) -> str:
    others = [request.production] if request.production and not _in_production(request) else []
    models = [*others, request.candidate]
    if not all(model.scores for model in models):
        models = [model for model in models if model.scores]
    if not models:
        return "No scores are stored with these versions."
    places = {request.candidate.version: "candidate"}
    heads = [f"version {model.version} ({places.get(model.version, 'production')})" for model in models]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' --- |' * len(models)}"]
    for name in _SHOWN:
        cells = [str(model.scores[name]) if name in model.scores else "unknown" for model in models]
        lines.append(f"| {metrics.TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _how(request: ApprovalRequest) -> str:
    until = f"{request.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    text = (
        "Choose *Approve* or *Reject*, and write the reason, at least ten characters: it is kept in the ledger. "
        f"Without an answer until {until} the version is not approved."
    )
    if request.not_by:
        text += f" Two people are needed: {' and '.join(request.not_by)} cannot approve."
    return text
