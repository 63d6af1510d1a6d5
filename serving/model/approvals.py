"""Signed approvals of registered versions: what is signed, and when the service accepts one.

An approval is the tag `heartline.approval` of a version in MLflow, as JSON. Its signature covers the digest of the
bundle's manifest, and with it every file of the bundle. Who can set tags in MLflow, but does not know the secret,
cannot approve a version.
"""

import hashlib
import hmac

import msgspec

from serving.model.bundle import BundleError
from serving.settings import PREFIX, SettingError, Settings

TAG = "heartline.approval"
TAG_CHARACTERS = 20_000  # of a tag that is parsed
HEADER = "heartline approval v1"  # first line of what is signed


class ApprovalError(BundleError):
    """A version without a valid approval; the text is the reason."""


class Approval(msgspec.Struct, frozen=True):
    """Who approved which bundle, when and why.

    Args:
        model: name of the registered model.
        digest: sha256 of the bundle's manifest, in hexadecimal.
        by: the user.
        at: the time, ISO 8601 in UTC.
        reason: of the user.
        signature: HMAC-SHA256 of the others, in hexadecimal.
    """

    model: str
    digest: str
    by: str
    at: str
    reason: str
    signature: str

    def signed(self) -> bytes:
        """Return the bytes that the signature covers.

        Raises:
            UnicodeEncodeError: a text has no encoding in UTF-8.
        """
        reason = hashlib.sha256(self.reason.encode()).hexdigest()
        return "\n".join([HEADER, self.model, self.digest, self.by, self.at, reason]).encode()


class Approvals:
    """Decides whether a bundle may be served.

    Args:
        settings: of the service.

    Raises:
        SettingError: approvals are required, and there is no secret to verify them with.
    """

    def __init__(self, settings: Settings) -> None:
        # A bundle of HEARTLINE_BUNDLE is not registered, so that nothing could hold its approval; and who starts the
        # process with that setting could leave out HEARTLINE_REQUIRE_APPROVAL as well.
        self.required = settings.require_approval == "yes" and not settings.bundle
        self._model = settings.model_name
        self._secret = settings.approval_secret.encode("ascii")
        if self.required and not self._secret:
            raise SettingError(
                "approvals are required, and the secret that verifies them is not set",
                where=PREFIX + "APPROVAL_SECRET",
                expected="the secret with which approvals are signed, at least 32 characters",
                hint=f"set it to the stack's secret approval_secret, or set {PREFIX}REQUIRE_APPROVAL=no",
            )

    def check_tag(self, tag: str | None, digest: str) -> Approval | None:
        """Return the approval in the tag of a version, after it was verified; None if none is required.

        Args:
            tag: value of the tag ``TAG``; None if the version has no such tag.
            digest: of the manifest of the version's bundle.

        Raises:
            ApprovalError: approvals are required, and this is no valid one for the bundle.
        """
        if not self.required:
            return None
        return self.check(_parsed(tag) if tag is not None else None, digest)

    def check(self, approval: Approval | None, digest: str) -> Approval | None:
        """Return ``approval`` after it was verified; None if none is required.

        Args:
            approval: of a version; None if it has none.
            digest: of the manifest of the version's bundle.

        Raises:
            ApprovalError: approvals are required, and this is no valid one for the bundle.
        """
        if not self.required:
            return None
        if approval is None:
            raise ApprovalError(f"it is not approved: it has no tag {TAG}")
        if approval.model != self._model:
            raise ApprovalError("it is not approved: its approval is for another model")
        if approval.digest != digest:
            raise ApprovalError("it is not approved: its approval is for another bundle")
        if not self._signed(approval):
            raise ApprovalError("it is not approved: the signature of its approval is wrong")
        return approval

    def _signed(self, approval: Approval) -> bool:
        lines = (approval.model, approval.digest, approval.by, approval.at)
        if any(end in line for line in lines for end in "\r\n"):  # else two approvals could have the same signed text
            return False
        try:
            signature = hmac.new(self._secret, approval.signed(), hashlib.sha256).hexdigest()
            return hmac.compare_digest(signature.encode(), approval.signature.encode())
        except UnicodeEncodeError:
            return False


def _parsed(tag: str) -> Approval:
    if len(tag) > TAG_CHARACTERS:
        raise ApprovalError(
            f"it is not approved: its tag {TAG} has {len(tag)} characters; at most {TAG_CHARACTERS} are read"
        )
    try:
        return msgspec.json.decode(tag, type=Approval)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApprovalError(f"it is not approved: its tag {TAG} is not an approval: {error}") from error
