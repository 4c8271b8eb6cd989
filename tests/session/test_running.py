"""Versions in the certificate: what runs, as it says itself."""

from __future__ import annotations

import pytest

from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.session.running import short, with_running_versions
from pytest_istio_mc.snapshot import Snapshot
from tests.fake_clusters import FakeMesh


def versions_of(fake: FakeMesh) -> dict[str, dict[str, str]]:
    """The versions of each cluster, by what was recorded."""
    snapshot: Snapshot = fake.record()
    mesh = Mesh(snapshot.spec, "run", "fake", "image", versions={"cluster1": {"istio": "lab"}})
    found = with_running_versions(mesh, snapshot).versions
    return {name: dict(entry) for name, entry in found.items()}


def test_istiods_and_proxies_say_their_versions_themselves() -> None:
    found = versions_of(FakeMesh())

    assert found["cluster1"] == {"istio": "lab", "istiod": "1.31.0", "proxies": "1.31.0"}
    assert found["cluster2"] == {"istiod": "1.31.0", "proxies": "1.31.0"}


def test_of_several_versions_each_is_named_where_it_is() -> None:
    fake = FakeMesh()
    pod = fake.add_replica(1)
    told = (pod, 15014, "/version")
    fake[1].answers[told] = "1.30.4-9739e10eb9d7-Clean"
    for key, answer in fake[2].answers.items():
        if key[2].startswith("/debug/syncz"):
            answer[0]["istio_version"] = "1.30.4"

    found = versions_of(fake)

    assert found["cluster1"]["istiod"] == "1.30.4, 1.31.0"
    assert found["cluster1"]["proxies"] == "1.31.0"
    assert found["cluster2"] == {"istiod": "1.31.0", "proxies": "1.30.4, 1.31.0"}


def test_what_nobody_said_is_left_out() -> None:
    fake = FakeMesh()
    for cluster in (fake[1], fake[2]):
        cluster.answers.clear()

    assert versions_of(fake) == {"cluster1": {"istio": "lab"}, "cluster2": {}}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("1.29.1-8f8ff8d9c1a9c2a9f9c2b1a8f8ff8d9c1a9c2a9f-Clean", "1.29.1"),
        ("1.31.0-eed52ebb66ad-eed52ebb66ad-Clean", "1.31.0-eed52ebb66ad"),
        ("1.31-alpha.abc-0123456789-dirty-Modified", "1.31-alpha.abc"),
        ("1.31.0", "1.31.0"),
        ("", ""),
    ],
)
def test_a_version_is_told_without_the_state_of_its_build(told: str, meant: str) -> None:
    assert short(told) == meant
