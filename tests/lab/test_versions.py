"""A real lab of the older versions, and its upgrade."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc.collect.istiod import MONITORING_PORT
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.lab.binaries import editions, images
from pytest_istio_mc.lab.lab import Lab
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.lab import bring_up
from pytest_istio_mc.providers.lab_upgrade import Wanted, upgrade
from pytest_istio_mc.session.running import short
from pytest_istio_mc.topologies import injected, known
from pytest_istio_mc.topologies.istio import remote_clusters
from pytest_istio_mc.topologies.phases import Method, Phase
from pytest_istio_mc.topologies.standing import istiods, revision_of

ISTIO, KUBERNETES = "1.30", "1.35"
SYSTEM = "istio-system"

pytestmark = pytest.mark.lab

Running = tuple[Lab, Mesh, dict[str, Kube]]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A mesh of two clusters of the older versions, with an injected workload in each."""
    if editions.cached(ISTIO, KUBERNETES) is None:
        build = f"istio-mc lab build --istio {ISTIO} --kubernetes {KUBERNETES}"
        pytest.fail(f"these are not built: `{build}` (make test does), or -m 'not lab'")
    topology = known()["multi-network-multi-primary"]
    spec, name = topology.default_spec(), f"versions-{os.getpid()}"
    with (
        bring_up(
            topology, spec, name, Timeouts(), Progress(), istio=ISTIO, kubernetes=KUBERNETES
        ) as (lab, mesh),
        connected(mesh.spec, Timeouts()) as kubes,
    ):
        for kube in kubes.values():
            kube.apply(*_shop())
            kube.wait_available([("Deployment", "web")], "shop", within_seconds=120)
        yield lab, mesh, kubes


def test_kubernetes_and_istio_are_of_the_versions_that_were_asked_for(running: Running) -> None:
    _, mesh, kubes = running

    for name, kube in kubes.items():
        (node,) = kube.list("Node")
        version = mesh.versions[name]["kubernetes"]
        assert version.startswith("v1.35.")
        assert kube.version() == node["status"]["nodeInfo"]["kubeletVersion"] == version
        assert _istiod_versions(kube) == {mesh.versions[name]["istio"]}
        assert mesh.versions[name]["istio"].startswith("1.30.")
        assert {(one.revision, one.image) for one in injected.proxies(kube)} == {
            ("default", f"{images.ISTIO_HUB}/proxyv2:1.30.4")
        }


def test_a_canary_goes_there_and_back_and_there_again(running: Running) -> None:
    lab, mesh, kubes = running
    marks: list[str] = []

    def ask(wanted: Wanted) -> None:
        upgrade(
            lab,
            mesh.spec,
            wanted,
            timeouts=Timeouts(),
            progress=Progress(),
            mark=marks.append,
        )

    ask(Wanted("1.31", until=Phase.GATEWAYS, clusters=("cluster1",)))
    assert _proxies(kubes["cluster1"]) == {("1-31", images.ISTIO_TAG)}
    assert _proxies(kubes["cluster2"]) == {("default", "1.30.4")}

    ask(Wanted("1.31", back=True))
    for kube in kubes.values():
        assert _proxies(kube) == {("default", "1.30.4")}
        assert [revision_of(one) for one in istiods(kube, SYSTEM)] == ["default"]

    marks.clear()
    ask(Wanted("1.31"))
    for kube in kubes.values():
        assert _proxies(kube) == {("1-31", images.ISTIO_TAG)}
        assert [revision_of(one) for one in istiods(kube, SYSTEM)] == ["1-31"]
        (seen,) = remote_clusters(kube, SYSTEM).values()
        assert seen == {"cluster1": "synced", "cluster2": "synced"}
        (version,) = _istiod_versions(kube)
        assert version.startswith("1.31.")
    assert marks[0] == "all clusters: definitions"
    assert marks[-2:] == ["cluster1, cluster2: removal", "end"]

    before = _staying(kubes)
    ask(Wanted("", Method.RESTART))
    after = _staying(kubes)
    assert len(before) == len(after) == 2
    assert before.isdisjoint(after)


def test_the_spec_of_the_lab_lies_beside_its_kubeconfig(running: Running) -> None:
    lab, _, _ = running

    assert Path(lab.plan.home, "mesh-spec.yaml").is_file()


def _shop() -> Iterator[dict[str, object]]:
    labels = {"app": "web"}
    container = {"name": "web", "image": images.PYTHON, "command": ["python3", "-m", "http.server"]}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    namespace = {"name": "shop", "labels": {"istio-injection": "enabled"}}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def _staying(kubes: dict[str, Kube]) -> set[str]:
    """The workload's pods that are not about to go."""
    pods = [pod["metadata"] for kube in kubes.values() for pod in kube.list("Pod", "shop")]
    return {str(pod["uid"]) for pod in pods if "deletionTimestamp" not in pod}


def _proxies(kube: Kube) -> set[tuple[str, str]]:
    return {(one.revision, one.image.rpartition(":")[2]) for one in injected.proxies(kube)}


def _istiod_versions(kube: Kube) -> set[str]:
    names = [
        pod["metadata"]["name"]
        for pod in kube.list("Pod", SYSTEM, labels="app=istiod")
        if "deletionTimestamp" not in pod["metadata"]
    ]
    told = (kube.http_get(SYSTEM, name, MONITORING_PORT, "/version") for name in names)
    return {short(version.decode().strip()) for version in told}
