"""A snapshot has the addresses of gateways that have a host name, or are reached at nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.network_gateways import external_addresses
from pytest_istio_mc.verdicts import Outcome
from tests.checks.seeding import endpoint_configs
from tests.fake_clusters import SYSTEM, FakeMesh, Json
from tests.static_checks import STATIC

GATEWAY = "istio-eastwestgateway"
HOST = "lb.example.com"


@pytest.fixture
def mesh() -> FakeMesh:
    """A mesh in which the gateway of cluster2 has a host name, which istiods resolved."""
    found = FakeMesh()
    service = found[2].find("Service", GATEWAY, SYSTEM)
    service["status"]["loadBalancer"]["ingress"] = [{"hostname": HOST}]
    return found


class Answering:
    """Probes whose name servers know the host, or do not."""

    def __init__(self, mesh: FakeMesh, *addresses: str, lost: tuple[str, ...] = ()) -> None:
        self._mesh, self._addresses, self._lost = mesh, addresses, lost
        self.asked: list[tuple[str, str]] = []

    def __call__(self, source: str, operation: Json) -> Mapping[str, Any]:
        if operation["op"] != "dns":
            return self._mesh.ask(source, operation)
        self.asked.append((source, operation["name"]))
        if source in self._lost:
            raise ObservationError(f"pod client-{source}", "cannot be reached")
        error = "" if self._addresses else "Name or service not known"
        return {"addresses": list(self._addresses), "error": error, "seconds": 0.01}


def test_every_cluster_asks_for_the_host_names_of_all(mesh: FakeMesh) -> None:
    probes = Answering(mesh, "198.19.2.1", "198.19.2.2")

    snapshot = mesh.record(ask=probes)

    assert sorted(probes.asked) == [("cluster1", HOST), ("cluster2", HOST)]
    for cluster in snapshot:
        assert cluster.resolved == {HOST: ("198.19.2.1", "198.19.2.2")}


def test_nothing_is_asked_where_all_gateways_have_addresses() -> None:
    mesh = FakeMesh()
    probes = Answering(mesh)

    assert all(not cluster.resolved for cluster in mesh.record(ask=probes))
    assert probes.asked == []


def test_host_names_in_mesh_networks_are_asked_for_too() -> None:
    mesh = FakeMesh()
    gateway = {"address": "appliance.example.com", "port": 443}
    text = yaml.safe_dump({"networks": {"network2": {"gateways": [gateway]}}})
    mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["meshNetworks"] = text
    probes = Answering(mesh, "203.0.113.1")

    mesh.record(ask=probes)

    assert {name for _, name in probes.asked} == {"appliance.example.com"}


def test_a_name_that_could_not_be_resolved_is_a_recorded_failure(mesh: FakeMesh) -> None:
    snapshot = mesh.record(ask=Answering(mesh, lost=("cluster1",)))

    for name in ("cluster1", "cluster2"):
        cluster = snapshot.clusters[name]
        assert cluster.resolved == {}
        assert [one.what for one in cluster.failures] == [f"resolve {HOST}"]


@pytest.mark.parametrize(
    ("addresses", "outcome"),
    [(("198.19.2.1",), Outcome.CONFORMANT), ((), Outcome.INCONCLUSIVE)],
)
def test_an_istiod_that_says_nothing_is_compared_with_the_name_servers(
    mesh: FakeMesh, addresses: tuple[str, ...], outcome: Outcome
) -> None:
    for number in (1, 2):
        rows = mesh[number].istiod("networkz")
        rows[:] = [row for row in rows if row["Cluster"] != "cluster2"]

    verdict = STATIC["MC-DISCOVERY-002"].judge(mesh.record(ask=Answering(mesh, *addresses)))

    assert verdict.outcome is outcome, verdict.reason


def test_endpoints_at_an_address_that_the_name_does_not_have_are_found(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "client-1"):
        for group in entry["endpoint_config"]["endpoints"]:
            for item in group["lb_endpoints"]:
                address = item["endpoint"]["address"]["socket_address"]
                if address["address"] == mesh[2].gateway:
                    address["address"] = "203.0.113.66"

    verdict = STATIC["MC-DISCOVERY-002"].judge(mesh.record(ask=Answering(mesh, "198.19.2.1")))

    assert {finding.fault for finding in verdict.findings} == {"eds-missing"}


def test_addresses_of_nodes_are_recorded_only_where_they_lead_to_a_gateway() -> None:
    mesh = FakeMesh()
    for number in (1, 2):
        inner = {"type": "InternalIP", "address": f"10.0.0.{number}"}
        outer = [{"type": "ExternalIP", "address": f"203.0.113.{number}{n}"} for n in (1, 2)]
        mesh[number].objects["Node"][0]["status"] = {"addresses": [inner, *outer], "images": ["x"]}
    service = mesh[2].find("Service", GATEWAY, SYSTEM)
    service["spec"]["type"], service["status"] = "NodePort", {}
    service["metadata"]["annotations"] = {"traffic.istio.io/nodeSelector": "{}"}

    first, second = mesh.record()

    [plain], [reached] = first.listed("Node"), second.listed("Node")
    assert "status" not in plain
    assert {"type": "ExternalIP", "address": "203.0.113.21"} in reached["status"]["addresses"]
    assert external_addresses(service, second.listed("Node")) == ("203.0.113.21",)


def test_nodes_that_are_not_selected_are_known_not_to_be() -> None:
    mesh = FakeMesh()
    service = mesh[2].find("Service", GATEWAY, SYSTEM)
    service["spec"]["type"], service["status"] = "NodePort", {}
    service["metadata"]["annotations"] = {"traffic.istio.io/nodeSelector": '{"edge": "yes"}'}

    _, second = mesh.record()

    assert external_addresses(service, second.listed("Node")) == ()


def test_labels_of_selected_nodes_are_recorded() -> None:
    mesh = FakeMesh()
    node = mesh[2].objects["Node"][0]
    node["metadata"]["labels"]["edge"] = "yes"
    node["status"] = {"addresses": [{"type": "ExternalIP", "address": "203.0.113.2"}]}
    service = mesh[2].find("Service", GATEWAY, SYSTEM)
    service["spec"]["type"], service["status"] = "NodePort", {}
    service["metadata"]["annotations"] = {"traffic.istio.io/nodeSelector": '{"edge": "yes"}'}

    _, second = mesh.record()

    assert external_addresses(service, second.listed("Node")) == ("203.0.113.2",)


@pytest.mark.parametrize("text", ["networks: [one, two]", "[]x: {", "- one"])
def test_mesh_networks_that_cannot_be_read_are_recorded_as_such(text: str) -> None:
    mesh = FakeMesh()
    mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["meshNetworks"] = text

    verdict = STATIC["MC-DISCOVERY-002"].judge(mesh.record())

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "meshNetworks cannot be read" in verdict.reason


def test_the_pods_of_a_gateway_that_mesh_networks_name_are_recorded() -> None:
    mesh = FakeMesh()
    service = mesh[1].find("Service", GATEWAY, SYSTEM)
    service["metadata"] = {"name": "front", "namespace": "edge", "uid": "uid-front"}
    service["spec"] |= {"selector": {"app": "front"}, "ports": [{"name": "tls", "port": 443}]}
    pod = mesh[1].find("Pod", "gateway-1", SYSTEM)
    pod["metadata"] |= {"namespace": "edge", "labels": {"app": "front"}}
    name = "front.edge.svc.cluster.local"
    gateway = {"registryServiceName": name, "port": 443}
    entry = {"endpoints": [{"fromRegistry": "cluster1"}], "gateways": [gateway]}
    text = yaml.safe_dump({"networks": {"network1": entry}})
    mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["meshNetworks"] = text

    snapshot = mesh.record()

    kinds = {proxy.pod: proxy.kind for proxy in snapshot.clusters["cluster1"].proxies}
    assert kinds["gateway-1"] == "east-west"
