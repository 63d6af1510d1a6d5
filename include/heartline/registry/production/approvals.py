"""Signed approvals: a person allows the files of a version, and nobody without the secret can write that.

An approval is a tag of the version, JSON. It names the files by the sha256 of the bundle's manifest, which has the
sha256 of every other file. A copy of the tag on another version is therefore no approval of that one. The signature is
an HMAC-SHA256; the tasks of the scheduler, the command line and the service have its key.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from heartline import contract

TAG = "heartline.approval"
REQUIRED = "HEARTLINE_REQUIRE_APPROVAL"
SECRET = "HEARTLINE_APPROVAL_SECRET"  # noqa: S105 - the name of a variable
_HEADER = "heartline approval v1\n"


@dataclass(frozen=True)
class Approval:
    """A person's approval of the files of a version.

    Attributes:
        model: name of the registered model.
        digest: sha256 of the bundle's manifest.json.
        by: who approved.
        at: when, ISO 8601 in UTC.
        reason: why, as the person wrote it.
        signature: HMAC-SHA256 of all of these, in hexadecimal digits.
    """

    model: str
    digest: str
    by: str
    at: str
    reason: str
    signature: str

    def as_text(self) -> str:
        """Return the value of its tag."""
        return json.dumps(asdict(self))


def sign(digest: str, *, by: str, at: str, reason: str, key: str, model: str = contract.MODEL_NAME) -> Approval:
    """Return a signed approval.

    Args:
        digest: sha256 of the bundle's manifest.json.
        by: who approves.
        at: when, ISO 8601 in UTC.
        reason: why.
        key: the secret ``approval_secret``.
        model: name of the registered model.

    Raises:
        ValueError: there is no key, or a field has more than one line, which would make the signed text ambiguous.
    """
    if not key:
        raise ValueError("an approval cannot be signed without a key")
    if not _single_lines(model, digest, by, at):
        raise ValueError("model, digest, by and at of an approval are single lines")
    return Approval(model, digest, by, at, reason, _signature(model, digest, by, at, reason, key))


def parse(text: str) -> Approval | None:
    """Return the approval in the value of a tag; None where it holds none. The signature is not verified."""
    try:
        found = json.loads(text)
        fields = {name: found[name] for name in Approval.__dataclass_fields__}
    except (ValueError, TypeError, KeyError):
        return None
    return Approval(**fields) if all(isinstance(value, str) for value in fields.values()) else None


def problem(text: str, digest: str, key: str, *, model: str = contract.MODEL_NAME) -> str:
    """Return why a version is not approved, as a clause about it; "" where it is.

    Args:
        text: the value of its tag ``TAG``, "" without one.
        digest: sha256 of its manifest.json, as it is stored now.
        key: the secret with which approvals are signed.
        model: name of the registered model.
    """
    if not text:
        return "nobody has approved it"
    found = parse(text)
    if found is None:
        return f"its approval (tag {TAG}) cannot be read"
    if (found.model, found.digest) != (model, digest):
        return "its approval belongs to other files"
    expected = _signature(found.model, found.digest, found.by, found.at, found.reason, key)
    valid = _single_lines(found.model, found.digest, found.by, found.at) and hmac.compare_digest(
        expected.encode(), found.signature.encode()
    )
    return "" if key and valid else "the signature of its approval is not valid"


def required(environ: Mapping[str, str]) -> bool:
    """Return whether ``production`` moves only to approved versions (setting HEARTLINE_REQUIRE_APPROVAL)."""
    return environ.get(REQUIRED, "") == "yes"


def secret_if_required(environ: Mapping[str, str]) -> str | None:
    """Return the secret with which the approval of a version is verified before a move; None where none is needed."""
    return environ.get(SECRET, "") if required(environ) else None


def _single_lines(*fields: str) -> bool:
    return not any(one in field for field in fields for one in "\r\n")


def _signature(model: str, digest: str, by: str, at: str, reason: str, key: str) -> str:
    signed = _HEADER + "\n".join([model, digest, by, at, hashlib.sha256(_utf8(reason)).hexdigest()])
    return hmac.new(_utf8(key), _utf8(signed), hashlib.sha256).hexdigest()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold half of a pair, which is not a reason to fail
