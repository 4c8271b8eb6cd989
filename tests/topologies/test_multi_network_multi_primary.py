"""The mesh of multi-network-multi-primary, as it really runs."""

from __future__ import annotations

import base64
import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.certificate_chains import verify_chain
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab import lab
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.lab.binaries.images import ISTIO_HUB, ISTIO_TAG
from pytest_istio_mc.lab.istio_settings import LAB_SETTINGS
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.topologies import istio, known
from pytest_istio_mc.topologies.access import ClusterAccess
from pytest_istio_mc.topologies.istio import IstioDistribution
from tests.kubernetes_api import kubernetes_api, programs

TOPOLOGY = known()["multi-network-multi-primary"]


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
    """A client for each cluster of the default mesh, in its own lab."""
    tools = toolchain.cached()
    if tools is None or os.geteuid() != 0:
        pytest.skip("a lab needs root and the toolchain: istio-mc lab build")
    spec = TOPOLOGY.default_spec()
    name, wait = f"test-topology-{os.getpid()}", Timeouts().cluster_ready
    running = lab.start(spec, name, tools, Progress(), within_seconds=wait)
    try:
        config = str(running.kubeconfig)
        accesses = {}
        for node in running.plan.nodes:
            kube = Kube(node.name, config, node.name)
            access = ClusterAccess(node.name, config, node.name, node.peer_server, kube)
            accesses[node.name] = access
        istioctl, cache = tools.bin / "istioctl", tmp_path_factory.mktemp("cache")
        distribution = IstioDistribution(istioctl, ISTIO_HUB, ISTIO_TAG, cache, LAB_SETTINGS)
        TOPOLOGY.install(spec, accesses, distribution, Progress())
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
        data = secret["data"].items()
        files = {name: base64.b64decode(content).decode() for name, content in data}
        chain, root = files["cert-chain.pem"], files["root-cert.pem"]
        assert verify_chain(chain, root, dt.datetime.now(dt.UTC)) is None
        roots.add(certificates.facts(files["root-cert.pem"]).sha256)
        intermediates.add(certificates.facts(files["ca-cert.pem"]).sha256)
        published = kube.read("ConfigMap", "istio-ca-root-cert", "default")
        assert published is not None
        assert published["data"]["root-cert.pem"] == files["root-cert.pem"]

    assert (len(roots), len(intermediates)) == (1, 2)
