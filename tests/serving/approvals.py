"""Approvals as the stack signs them, written out for tests: the service shares no code with it."""

import hashlib
import hmac
import json

from tests.serving.fakes import FakeRegistry, Files

TAG = "heartline.approval"
SECRET = "k" * 64


def digest_of(files: Files) -> str:
    return hashlib.sha256(files["manifest.json"]).hexdigest()


def sign(digest: str, *, secret: str = SECRET, model: str = "heart-disease", **changed: str) -> dict[str, str]:
    """Return an approval with a signature; ``changed`` replaces members after it was signed."""
    by, at, reason = "approver", "2026-11-30T02:00:00+00:00", "looks right to me"
    lines = ["heartline approval v1", model, digest, by, at, hashlib.sha256(reason.encode()).hexdigest()]
    signature = hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    approval = {"model": model, "digest": digest, "by": by, "at": at, "reason": reason, "signature": signature}
    return approval | changed


def approve(registry: FakeRegistry, version: str, **changed: str) -> str:
    """Set the tag of a version to a valid approval of its bundle, and return it."""
    text = json.dumps(sign(digest_of(registry.versions[version]), **changed))
    registry.tags[version] = {TAG: text}
    return text
