"""Raw connections go where istiod leads sidecars, whatever the gateways look like."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest
import yaml

from pytest_istio_mc.kube import Kube
from pytest_istio_mc.probes.paths import crossings, gateway_addresses, path
from tests.fake_clusters import SYSTEM, FakeCluster, FakeMesh, Json

GATEWAY = "istio-eastwestgateway"


class Reading:
    """What paths read of a fake cluster, and what they read of it."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self.asked: list[str] = []

    def list(self, kind: str, namespace: str | None = None, *, labels: str = "") -> list[Json]:
        self.asked.append(kind)
        found = self._cluster.objects.get(kind, [])
        key, _, value = labels.partition("=")

        def fits(item: Json) -> bool:
            own = item["metadata"].get("labels") or {}
            return not key or (own.get(key) == value if value else key in own)

        return [copy.deepcopy(item) for item in found if fits(item)]

    def read(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        self.asked.append(f"{kind}/{name}")
        for item in self._cluster.objects.get(kind, []):
            metadata = item["metadata"]
            if (metadata["name"], metadata.get("namespace")) == (name, namespace):
                return copy.deepcopy(item)
        return None


@pytest.fixture
def mesh() -> FakeMesh:
    return FakeMesh()


def kubes(mesh: FakeMesh) -> dict[str, Reading]:
    return {name: Reading(cluster) for name, cluster in mesh.clusters.items()}


def found(mesh: FakeMesh) -> list[tuple[str, str, int]]:
    """Network, address and port of all gateways."""
    gateways = gateway_addresses(mesh.spec, cast("Mapping[str, Kube]", kubes(mesh)))
    return [(one.network, one.address, one.port) for one in gateways]


def service(mesh: FakeMesh, number: int = 1) -> dict[str, Any]:
    return mesh[number].find("Service", GATEWAY, SYSTEM)


def test_labelled_services_are_gateways(mesh: FakeMesh) -> None:
    assert found(mesh) == [("network1", "198.19.1.1", 15443), ("network2", "198.19.2.1", 15443)]


def test_nodes_are_read_only_where_they_lead_to_a_gateway(mesh: FakeMesh) -> None:
    reading = kubes(mesh)
    gateway_addresses(mesh.spec, cast("Mapping[str, Kube]", reading))

    assert all("Node" not in one.asked for one in reading.values())


def test_a_node_port_gateway_is_reached_at_its_nodes(mesh: FakeMesh) -> None:
    item = service(mesh)
    item["spec"]["type"], item["status"] = "NodePort", {}
    item["metadata"]["annotations"] = {"traffic.istio.io/nodeSelector": "{}"}
    address = {"type": "ExternalIP", "address": "203.0.113.7"}
    mesh[1].objects["Node"][0]["status"] = {"addresses": [address]}

    assert found(mesh)[0] == ("network1", "203.0.113.7", 30001)


def test_a_host_name_stays_what_probes_connect_to(mesh: FakeMesh) -> None:
    service(mesh)["status"]["loadBalancer"]["ingress"] = [{"hostname": "lb.example.com"}]

    assert found(mesh)[0] == ("network1", "lb.example.com", 15443)


def test_a_gateway_of_the_gateway_api_with_addresses_is_one(mesh: FakeMesh) -> None:
    mesh[1].remove("Service", GATEWAY, SYSTEM)
    tls = {"mode": "Passthrough"}
    item = {
        "metadata": {
            "name": "gw",
            "namespace": SYSTEM,
            "labels": service(mesh, 2)["metadata"]["labels"],
        },
        "spec": {
            "gatewayClassName": "istio",
            "addresses": [{"type": "Hostname", "value": "gw.example.com"}],
            "listeners": [{"port": 15443, "protocol": "TLS", "tls": tls}],
        },
    }
    mesh[2].objects["Gateway.gateway.networking.k8s.io"] = [item]

    assert found(mesh) == [
        ("network2", "198.19.2.1", 15443),
        ("network2", "gw.example.com", 15443),
    ]


def declare(mesh: FakeMesh, number: int, *, revision: str = "", **gateway: object) -> None:
    """Let an istiod have ``meshNetworks`` with a gateway of network1."""
    networks = {"network1": {"endpoints": [{"fromRegistry": "cluster1"}], "gateways": [gateway]}}
    name = f"istio-{revision}" if revision else "istio"
    labels = {"app": "istiod", **({"istio.io/rev": revision} if revision else {})}
    mesh[number].objects["Deployment"] = [{"metadata": {"name": "istiod", "labels": labels}}]
    metadata = {"name": name, "namespace": SYSTEM}
    mesh[number].objects["ConfigMap"] = [
        {"metadata": metadata, "data": {"meshNetworks": yaml.safe_dump({"networks": networks})}}
    ]


@pytest.mark.parametrize("revision", ["", "1-31"])
def test_mesh_networks_of_any_istiod_count(mesh: FakeMesh, revision: str) -> None:
    del service(mesh)["metadata"]["labels"]
    declare(mesh, 2, revision=revision, address="203.0.113.9", port=443)

    assert ("network1", "203.0.113.9", 443) in found(mesh)


def test_a_service_that_mesh_networks_name_is_a_gateway(mesh: FakeMesh) -> None:
    del service(mesh)["metadata"]["labels"]
    name = f"{GATEWAY}.{SYSTEM}.svc.cluster.local"
    declare(mesh, 1, registryServiceName=name, port=15443)

    assert ("network1", "198.19.1.1", 15443) in found(mesh)


def test_what_two_istiods_say_is_one_way(mesh: FakeMesh) -> None:
    for number in (1, 2):
        declare(mesh, number, address="198.19.1.1", port=15443)
    gateways = gateway_addresses(mesh.spec, cast("Mapping[str, Kube]", kubes(mesh)))

    ways = [(source, gateway.address) for source, gateway in crossings(mesh.spec, gateways)]

    assert ways == [("cluster1", "198.19.2.1"), ("cluster2", "198.19.1.1")]


def test_a_targets_own_gateway_is_taken_before_one_of_its_whole_network(mesh: FakeMesh) -> None:
    declare(mesh, 2, address="203.0.113.9", port=443)
    gateways = gateway_addresses(mesh.spec, cast("Mapping[str, Kube]", kubes(mesh)))

    way = path(mesh.mesh, gateways[::-1], "cluster2", "cluster1", 5000)

    assert way is not None
    assert way.address == "198.19.1.1"
