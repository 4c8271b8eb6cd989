"""The topology as a spec, and as a mesh that really runs."""

from __future__ import annotations

import base64
import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.errors import KubeError, UsageProblem
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab import lab
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.lab.binaries.images import ISTIO_HUB, ISTIO_TAG
from pytest_istio_mc.lab.istio_settings import LAB_SETTINGS
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from pytest_istio_mc.topologies import istio, known
from pytest_istio_mc.topologies.access import ClusterAccess
from pytest_istio_mc.topologies.istio import IstioDistribution
from tests.kubernetes_api import kubernetes_api, programs

TOPOLOGY = known()["multi-network-multi-primary"]


def _spec(*clusters: ClusterSpec, federated: bool = False) -> MeshSpec:
    return MeshSpec(TOPOLOGY.name, clusters, federated=federated)


@pytest.mark.parametrize("clusters", [2, 3, 20])
def test_the_default_spec_is_valid_for_any_number_of_clusters(clusters: int) -> None:
    spec = TOPOLOGY.default_spec(clusters).validated()

    TOPOLOGY.check(spec)
    assert len(spec.clusters) == len(spec.networks) == clusters
    assert [str(cluster.locality) for cluster in spec][:2] == [
        "region1/zone1/cluster1",
        "region2/zone2/cluster2",
    ]
    assert [(cluster.name, cluster.network) for cluster in spec][:2] == [
        ("cluster1", "network1"),
        ("cluster2", "network2"),
    ]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            _spec(ClusterSpec("a", "n"), ClusterSpec("b", "n")),
            "1 network; this topology needs two or more",
        ),
        (
            _spec(ClusterSpec("a", "n"), ClusterSpec("b", "n")),
            'clusters "a", "b" are on one network, "n"',
        ),
        (
            _spec(ClusterSpec("a", "n"), ClusterSpec("b", "m", Role.REMOTE, "a")),
            'cluster "b" is remote; in this topology every',
        ),
        (_spec(ClusterSpec("a", "n"), ClusterSpec("b", "m"), federated=True), "federated is true"),
    ],
    ids=["one-network", "shared-network", "remote", "federated"],
)
def test_a_spec_of_another_shape_is_refused_with_a_sentence(spec: MeshSpec, sentence: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        TOPOLOGY.check(spec)

    assert sentence in str(refused.value)


@pytest.mark.lab
def test_the_cluster_that_fails_is_named(tmp_path: Path) -> None:
    spec = TOPOLOGY.default_spec()
    distribution = IstioDistribution(programs() / "istioctl", "hub", "tag", tmp_path / "cache")
    with kubernetes_api(programs(), tmp_path / "api") as api:
        gone = tmp_path / "gone"
        gone.write_text(api.kubeconfig.read_text().replace(api.url, "https://127.0.0.1:1"))
        accesses = {
            name: ClusterAccess(name, str(file), api.name, api.url, Kube(name, str(file), api.name))
            for name, file in (("cluster1", api.kubeconfig), ("cluster2", gone))
        }

        with pytest.raises(KubeError, match="refused") as failed:
            TOPOLOGY.install(spec, accesses, distribution, Progress())

    assert failed.value.thing == 'cluster "cluster2"'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Kube]]:
    """The default mesh, installed in a lab of its own: a client for each cluster."""
    tools = toolchain.cached()
    if tools is None or os.geteuid() != 0:
        pytest.skip("a lab needs root and the toolchain: istio-mc lab build")
    spec = TOPOLOGY.default_spec()
    running = lab.start(
        spec,
        f"test-topology-{os.getpid()}",
        tools,
        Progress(),
        within_seconds=Timeouts().cluster_ready,
    )
    try:
        config = str(running.kubeconfig)
        accesses = {
            node.name: ClusterAccess(
                node.name, config, node.name, node.peer_server, Kube(node.name, config, node.name)
            )
            for node in running.plan.nodes
        }
        cache = tmp_path_factory.mktemp("cache")
        TOPOLOGY.install(
            spec,
            accesses,
            IstioDistribution(tools.bin / "istioctl", ISTIO_HUB, ISTIO_TAG, cache, LAB_SETTINGS),
            Progress(),
        )
        yield {name: access.kube for name, access in accesses.items()}
    finally:
        running.stop()


@pytest.mark.lab
def test_every_istiod_has_synced_every_cluster(mesh: dict[str, Kube]) -> None:
    for kube in mesh.values():
        (seen,) = istio.remote_clusters(kube, "istio-system").values()
        assert seen == {"cluster1": "synced", "cluster2": "synced"}


@pytest.mark.lab
def test_every_network_has_a_gateway_with_an_address_of_its_own(mesh: dict[str, Kube]) -> None:
    addresses = [
        istio.load_balancer_addresses(kube, "istio-system", istio.EAST_WEST_GATEWAY)
        for kube in mesh.values()
    ]

    assert all(addresses)
    assert len({address for (address,) in addresses}) == len(mesh)
    for kube in mesh.values():
        (gateway,) = kube.list("Gateway.networking.istio.io", "istio-system")
        assert gateway["spec"]["servers"][0]["tls"]["mode"] == "AUTO_PASSTHROUGH"


@pytest.mark.lab
def test_every_istiod_signs_with_its_own_intermediate_of_one_root(mesh: dict[str, Kube]) -> None:
    roots, intermediates = set(), set()
    for kube in mesh.values():
        secret = kube.read("Secret", "cacerts", "istio-system")
        assert secret is not None
        files = {
            name: base64.b64decode(content).decode() for name, content in secret["data"].items()
        }
        assert (
            certificates.verify_chain(
                files["cert-chain.pem"], files["root-cert.pem"], dt.datetime.now(dt.UTC)
            )
            is None
        )
        roots.add(certificates.facts(files["root-cert.pem"]).sha256)
        intermediates.add(certificates.facts(files["ca-cert.pem"]).sha256)
        published = kube.read("ConfigMap", "istio-ca-root-cert", "default")
        assert published is not None
        assert published["data"]["root-cert.pem"] == files["root-cert.pem"]

    assert (len(roots), len(intermediates)) == (1, 2)
