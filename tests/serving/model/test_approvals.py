"""With HEARTLINE_REQUIRE_APPROVAL=yes the service serves only bundles with a signed approval."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from serving.app import create_app
from serving.model.approvals import Approval, ApprovalError, Approvals
from serving.settings import SettingError, Settings
from tests.serving.approvals import SECRET, TAG, approve, digest_of, sign
from tests.serving.fakes import FakeRegistry, Service, make_bundle
from tests.serving.gunicorns import ROOT

DIGEST = "ab" * 32
# computed with openssl dgst -sha256 -hmac
SIGNATURE = "e912d4e03592f697a9e2369ec2abc188385513ca87b2dc0ddd04d0053cc16ec9"
OTHER = make_bundle(2.0)


@pytest.fixture
def required(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, require_approval="yes", approval_secret=SECRET)


@pytest.fixture
def start(required: Settings) -> Callable[[], Service]:
    """Start a service that requires approvals, like a new process, with each call."""
    return lambda: Service(required)


@pytest.fixture
def service(registry: FakeRegistry, start: Callable[[], Service]) -> Service:
    """A service that serves version 1, which is approved."""
    approve(registry, registry.register(make_bundle()))
    return start().poll()


def approvals(**changed: str) -> Approvals:
    return Approvals(Settings(cache="unused", require_approval="yes", approval_secret=SECRET, **changed))


def test_the_format_of_the_signature_is_that_of_the_stack() -> None:
    text = json.dumps(sign(DIGEST))
    assert json.loads(text) == {
        "model": "heart-disease",
        "digest": DIGEST,
        "by": "approver",
        "at": "2026-11-30T02:00:00+00:00",
        "reason": "looks right to me",
        "signature": SIGNATURE,
    }

    assert approvals().check_tag(text, DIGEST) == Approval(**json.loads(text))


REFUSED: dict[str, tuple[Callable[[str], str | None], str]] = {
    "no tag": (lambda digest: None, f"it has no tag {TAG}"),
    "empty tag": (lambda digest: "", f"its tag {TAG} is not an approval"),
    "no JSON": (lambda digest: "yes", f"its tag {TAG} is not an approval: JSON is malformed"),
    "no object": (lambda digest: "[]", f"its tag {TAG} is not an approval: Expected `object`, got `array`"),
    "deep JSON": (lambda digest: "[" * 10_000, f"its tag {TAG} is not an approval"),
    "half a surrogate pair": (
        lambda digest: json.dumps(sign(digest, reason="\ud800")),
        f"its tag {TAG} is not an approval",
    ),
    "a missing member": (
        lambda digest: json.dumps({key: value for key, value in sign(digest).items() if key != "by"}),
        f"its tag {TAG} is not an approval: Object missing required field `by`",
    ),
    "a number instead of a text": (
        lambda digest: json.dumps({**sign(digest), "signature": 1}),
        f"its tag {TAG} is not an approval: Expected `str`, got `int` - at `$.signature`",
    ),
    "a huge tag": (
        lambda digest: json.dumps(sign(digest, reason="x" * 100_000)),
        "characters; at most 20000 are read",
    ),
    "wrong signature": (
        lambda digest: json.dumps(sign(digest, signature="0" * 64)),
        "the signature of its approval is wrong",
    ),
    "no hexadecimal signature": (
        lambda digest: json.dumps(sign(digest, signature="ä")),
        "the signature of its approval is wrong",
    ),
    "signed with another secret": (
        lambda digest: json.dumps(sign(digest, secret="l" * 64)),
        "the signature of its approval is wrong",
    ),
    "another reason than the signed one": (
        lambda digest: json.dumps(sign(digest, reason="it looks right")),
        "the signature of its approval is wrong",
    ),
    "another user than the signed one": (
        lambda digest: json.dumps(sign(digest, by="admin")),
        "the signature of its approval is wrong",
    ),
    "another digest than the signed one": (
        lambda digest: json.dumps({**sign(digest_of(OTHER)), "digest": digest}),
        "the signature of its approval is wrong",
    ),
    "copied from another version": (
        lambda digest: json.dumps(sign(digest_of(OTHER))),
        "its approval is for another bundle",
    ),
    "of another model": (
        lambda digest: json.dumps(sign(digest, model="another")),
        "its approval is for another model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_version_without_a_valid_approval_is_refused_and_the_old_one_served(
    service: Service, registry: FakeRegistry, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    make, reason = REFUSED[case]
    bundle = make_bundle(1.0)
    version = registry.register(bundle)
    if (tag := make(digest_of(bundle))) is not None:
        registry.tags[version] = {TAG: tag}
    registry.requests.clear()

    response = service.poll().client.get("/readyz")

    assert response.status_code == 200
    page = response.get_json(force=True)
    assert page["model"]["version"] == "1"
    assert page["refused"].startswith("version 2: it is not approved: ")
    assert reason in page["refused"]
    assert page["refused"] in caplog.text
    assert registry.requests["model.onnx"] == 0, "it was downloaded"
    assert "heartline_refused_version_info" in service.client.get("/metrics").text


def test_line_breaks_do_not_move_signed_text_between_members() -> None:
    moved = sign(DIGEST, by="approver\n2026-11-30T02:00:00+00:00", at="")
    with pytest.raises(ApprovalError, match="the signature of its approval is wrong"):
        approvals().check_tag(json.dumps(moved), DIGEST)


def test_without_an_approved_version_it_is_not_ready_and_says_why(
    start: Callable[[], Service], registry: FakeRegistry
) -> None:
    registry.register(make_bundle())

    response = start().poll().client.get("/readyz")

    assert response.status_code == 503
    detail = response.get_json(force=True)["detail"]
    assert detail == f"refused: version 1: it is not approved: it has no tag {TAG}"


def test_an_approval_that_comes_later_is_found_by_the_next_poll(service: Service, registry: FakeRegistry) -> None:
    version = registry.register(make_bundle(1.0))
    assert service.poll().get("/readyz")["model"]["version"] == "1"

    approve(registry, version)

    page = service.poll().get("/readyz")
    assert (page["model"]["version"], page["refused"]) == ("2", None)


def test_a_version_without_an_approval_is_not_asked_for_at_every_poll(service: Service, registry: FakeRegistry) -> None:
    registry.register(make_bundle(1.0))
    service.poll()
    registry.requests.clear()

    service.poll().poll()

    assert registry.requests == {"alias": 2}


def test_the_same_bundle_registered_twice_needs_one_approval(service: Service, registry: FakeRegistry) -> None:
    tag = registry.tags["1"]
    registry.tags[registry.register(make_bundle())] = tag

    assert service.poll().get("/readyz")["model"]["version"] == "2"


def test_files_that_were_replaced_after_the_approval_are_refused(
    start: Callable[[], Service], registry: FakeRegistry
) -> None:
    version = registry.register(make_bundle())
    approve(registry, version)
    registry.versions[version] = make_bundle(1.0)

    assert "its approval is for another bundle" in start().poll().get("/readyz")["detail"]


def test_a_served_version_whose_tag_is_deleted_stays_served_also_after_a_restart(
    service: Service, registry: FakeRegistry, start: Callable[[], Service]
) -> None:
    registry.tags.clear()
    assert service.poll().get("/readyz")["refused"] is None

    page = start().poll().get("/readyz")

    assert (page["model"]["version"], page["refused"]) == ("1", None)


def test_an_approved_version_is_served_from_the_cache_without_a_registry(
    service: Service, registry: FakeRegistry, start: Callable[[], Service]
) -> None:
    registry.answer = lambda path: (503, b"{}")

    assert start().poll().get("/readyz")["model"]["version"] == "1"


@pytest.mark.parametrize("change", ["none", "forged", "of another secret"])
def test_a_cached_version_without_a_valid_approval_is_not_restored(
    service: Service, registry: FakeRegistry, start: Callable[[], Service], required: Settings, change: str
) -> None:
    path = Path(required.cache) / "last_good.json"
    good = json.loads(path.read_text())
    approval = {"none": None, "forged": {**good["approval"], "by": "me"}}
    path.write_text(json.dumps({**good, "approval": approval.get(change, sign(good["digest"], secret="l" * 64))}))
    registry.answer = lambda path: (503, b"{}")

    response = start().client.get("/readyz")

    assert response.status_code == 503
    assert "not approved" in response.get_json(force=True)["detail"]
    assert "(in the cache)" in response.get_json(force=True)["detail"]


def test_a_cache_of_a_service_that_required_no_approval_is_not_restored_but_followed(
    registry: FakeRegistry, settings: Settings, start: Callable[[], Service]
) -> None:
    registry.register(make_bundle())
    Service(settings).poll()

    restarted = start()

    assert "it is not approved" in restarted.get("/readyz")["detail"]
    approve(registry, "1")
    assert restarted.poll().get("/readyz")["model"]["version"] == "1"


def test_the_approval_is_cached_again_after_the_cache_was_deleted(
    service: Service, registry: FakeRegistry, start: Callable[[], Service], required: Settings
) -> None:
    (Path(required.cache) / "last_good.json").unlink()
    service.poll()
    registry.tags.clear()

    assert start().get("/readyz")["model"]["version"] == "1"


def test_by_default_no_approval_is_required(settings: Settings, registry: FakeRegistry) -> None:
    registry.tags[registry.register(make_bundle())] = {TAG: "nonsense"}

    assert settings.require_approval == "no"
    assert Service(settings).poll().get("/readyz")["model"]["version"] == "1"


def test_without_the_setting_a_changed_tag_causes_no_further_attempt(
    settings: Settings, registry: FakeRegistry
) -> None:
    version = registry.register({"manifest.json": b"{}"})
    service = Service(settings).poll()
    registry.requests.clear()
    registry.tags[version] = {TAG: "new"}

    service.poll()

    assert registry.requests == {"alias": 1}


def test_a_bundle_of_the_settings_needs_no_approval(tmp_path: Path) -> None:
    for name, data in make_bundle().items():
        (tmp_path / name).write_bytes(data)
    settings = Settings(cache=str(tmp_path / "cache"), bundle=str(tmp_path), require_approval="yes")
    app = create_app(settings)

    app.extensions["model_store"].start()

    assert app.test_client().get("/readyz").get_json(force=True)["model"]["version"] == "candidate"


def test_approvals_without_a_secret_are_refused(settings: Settings) -> None:
    with pytest.raises(SettingError, match="the secret that verifies them is not set") as caught:
        create_app(msgspec.structs.replace(settings, require_approval="yes"))

    assert caught.value.where == "HEARTLINE_APPROVAL_SECRET"


@pytest.mark.parametrize("secret", ["", "short-and-s3cret", "s3cret " * 10])
def test_the_service_does_not_start_without_a_usable_secret(tmp_path: Path, secret: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
    settings = {"HEARTLINE_CACHE": str(tmp_path), "HEARTLINE_REQUIRE_APPROVAL": "yes"}

    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "serving" / "gunicorn.conf.py")],
        env=kept | settings | {"HEARTLINE_APPROVAL_SECRET": secret},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert lines[1] == "  where:    HEARTLINE_APPROVAL_SECRET"
    assert "at least 32" in lines[2]
    assert "s3cret" not in result.stderr
