"""A snapshot is saved and loaded without loss, and without anything secret."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.errors import ObservationError, UsageProblem
from pytest_istio_mc.recorded import Failure
from pytest_istio_mc.redact import REDACTED, scrub, scrub_text
from pytest_istio_mc.snapshot import ClusterSnapshot, Snapshot
from pytest_istio_mc.tool import tool_version
from tests.fake_clusters import SYSTEM, FakeMesh, jwt
from tests.static_checks import judge_all

TOKEN = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+")


def read_all(folder: Path) -> str:
    """Everything in the files of a snapshot."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    assert files
    return "\n".join(
        (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()
        for file in files
    )


@pytest.mark.parametrize("compress", [False, True])
def test_a_saved_snapshot_is_loaded_as_it_was(tmp_path: Path, compress: bool) -> None:
    snapshot = FakeMesh(3).record()

    snapshot.save(tmp_path, compress=compress)
    loaded = Snapshot.load(tmp_path)

    assert loaded == replace(snapshot, recorded_by=tool_version())
    assert judge_all(loaded) == judge_all(snapshot)


def test_the_same_snapshot_is_the_same_bytes(tmp_path: Path) -> None:
    snapshot = FakeMesh().record()
    for name in ("first", "second"):
        snapshot.save(tmp_path / name, compress=True)

    first, second = (
        [file.read_bytes() for file in sorted((tmp_path / name).rglob("*.gz"))]
        for name in ("first", "second")
    )

    assert first == second


def test_no_file_holds_a_private_key_or_a_token(tmp_path: Path) -> None:
    mesh = FakeMesh()
    mesh[1].find("Pod", "istiod-1", SYSTEM)["spec"]["containers"][0]["env"] += [
        {"name": "DB_PASSWORD", "value": "hunter2hunter2"},
        {"name": "EXTRA", "value": jwt(sub="somebody")},
    ]
    mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["mesh"] += f"# {mesh.root.key}"
    keys = [mesh.root.key, *(authority.key for authority in mesh.intermediates.values())]
    tokens = [token for cluster in mesh.clusters.values() for token in cluster.tokens]

    mesh.record().save(tmp_path)

    text = read_all(tmp_path)
    assert "PRIVATE KEY" not in text
    assert "hunter2" not in text
    assert not TOKEN.search(text)
    for secret in (*tokens, *(line for key in keys for line in key.splitlines()[1:-1])):
        assert secret not in text
    assert "networking.istio.io/cluster" in text
    assert "last-applied-configuration" not in text


def test_what_is_secret_is_found_inside_other_text() -> None:
    key = certificates.make_root().key
    token = jwt(sub="somebody")

    assert scrub_text(f"before {key} after") == f"before {REDACTED}\n after"
    assert scrub_text(f"Bearer {token}!") == f"Bearer {REDACTED}!"
    for hidden in (key, token, f"x{key}", f"xy{token}"):
        assert REDACTED in scrub_text(base64.b64encode(hidden.encode()).decode())
    assert scrub({"a": [token, 1, None]}) == {"a": [REDACTED, 1, None]}


def test_certificates_are_public_and_stay() -> None:
    certificate = certificates.make_root().certificate

    assert scrub_text(certificate) == certificate


def test_a_fact_that_could_not_be_had_is_not_an_absent_one() -> None:
    forbidden = Failure("list Service", "services is forbidden", 403)
    cluster = ClusterSnapshot("east", objects={"Node": ()}, failures=(forbidden,))

    with pytest.raises(ObservationError, match=r"could not list Service.*403"):
        cluster.listed("Service")
    with pytest.raises(ObservationError, match=r"could not list Pod .it was not recorded"):
        cluster.listed("Pod")
    assert cluster.listed("Node") == ()


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "no json", json.dumps({"apiVersion": "istio-mc.dev/v9", "kind": "Snapshot"})],
)
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "snapshot.json").write_text(content)

    with pytest.raises(UsageProblem, match="snapshot"):
        Snapshot.load(tmp_path)


def test_a_folder_without_a_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="cannot be read"):
        Snapshot.load(tmp_path)
