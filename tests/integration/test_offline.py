"""A bundle is written, unpacked into an empty folder on a machine without a network, installed, trained and asked."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from stack.offline import bundle
from tests import without_network
from tests.running import ROOT

pytestmark = pytest.mark.slow

LOOK_UP = "import socket\ntry: socket.getaddrinfo('example.org', 443)\nexcept OSError: pass"
CONNECT = "import socket\ntry: socket.create_connection(('192.0.2.7', 443), 5)\nexcept OSError: pass"
# Twice the interval in which background threads of the libraries send what they have gathered.
WAIT = "import time; time.sleep(20)"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A bundle of the working tree, as an archive."""
    clone = tmp_path_factory.mktemp("source") / "clone"
    clone.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    tracked = [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]
    for name in tracked:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes((ROOT / name).read_bytes())
        (clone / name).chmod((ROOT / name).stat().st_mode)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "state"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    out = tmp_path_factory.mktemp("bundle") / "heartline.tar"
    return bundle.write(clone, out)


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other-machine")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


def test_digests_and_sboms_describe_what_is_in_it(unpacked):
    checked = subprocess.run(["sha256sum", "--check", "--quiet", bundle.SUMS], cwd=unpacked, check=False)
    assert checked.returncode == 0
    wheels = {path.name for path in (unpacked / "wheels").glob("*.whl")}
    manifest = json.loads((unpacked / "wheels" / "bundle.json").read_text())
    assert set(manifest["wheels"]) == wheels
    assert manifest["pythons"] == [f"{sys.version_info[0]}.{sys.version_info[1]}"]
    listed = {}
    for path in (unpacked / "sbom").glob("*.cdx.json"):
        document = json.loads(path.read_text())
        assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
        listed |= {one["name"]: one for one in document["components"]}
    assert {"apache-airflow", "mlflow", "uv", "gunicorn"} <= set(listed)
    assert len(wheels) - 5 <= len(listed) <= len(wheels)  # a few packages are there in two versions
    assert all(one.get("licenses") for name, one in listed.items() if name in ("apache-airflow", "mlflow"))
    assert json.dumps(listed["mlflow"]).count("SHA-256") == 1


def test_it_installs_trains_and_predicts_and_reaches_for_nothing(unpacked, need):
    need(without_network.available(), "the right to make a network namespace (root, or user namespaces)")
    home = unpacked.parent / "home"
    home.mkdir()
    python = Path(sys.base_prefix) / "bin"
    environment = {"HOME": str(home), "PATH": f"{python}{os.pathsep}/usr/bin:/bin"}
    heartline = [sys.executable if sys.prefix == sys.base_prefix else str(python / "python3"), "./heartline"]
    commands = [
        [*heartline, "up", "--offline"],
        [sys.executable, "-c", WAIT],
        [*heartline, "predict"],
        [*heartline, "train", "--source", "https://example.org/records.csv"],
        [*heartline, "train", "--source", "uci"],
        [*heartline, "down"],
        [sys.executable, "-c", LOOK_UP],
        [sys.executable, "-c", CONNECT],
    ]
    up, wait, predict, url, uci, down, look_up, connect = without_network.run(commands, unpacked, environment, 900)

    assert up.code == 0, up.output
    assert "this stack works offline" in up.output
    assert '"origin": "sample"' in up.output
    assert predict.code == 0, predict.output
    assert '"probability"' in predict.output
    for refused in (url, uci):
        assert refused.code == 2, refused.output
        assert "nothing is downloaded from other networks" in refused.output
    assert down.code == 0, down.output
    assert [one.attempts for one in (up, wait, predict, url, uci, down)] == [0] * 6
    # what the counter would have counted
    assert look_up.attempts > 0
    assert connect.attempts > 0
