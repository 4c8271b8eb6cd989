"""Faults of east-west gateways that static checks find, each as the one root cause."""

from __future__ import annotations

import copy

import pytest

from tests.checks.seeding import Case, Faults, pods_instead_of_gateways
from tests.fake_clusters import PROBES, SYSTEM, FakeMesh

GATEWAY = ("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM)

fault = Faults()


@fault(
    "MC-EASTWEST-001",
    "ew-not-deployed",
    "cluster2",
    remedy="gen-eastwest-gateway.sh --network network2",
)
def no_gateway(mesh: FakeMesh) -> None:
    mesh[2].remove("Service", "istio-eastwestgateway", SYSTEM)
    mesh[2].remove("Pod", "gateway-2", SYSTEM)
    pods_instead_of_gateways(mesh)


@fault(
    "MC-EASTWEST-001", "ew-no-address", "cluster2", remedy="describe service/istio-eastwestgateway"
)
def gateway_without_address(mesh: FakeMesh) -> None:
    mesh[2].find("Service", "istio-eastwestgateway", SYSTEM)["status"] = {}
    pods_instead_of_gateways(mesh)


@fault(
    "MC-EASTWEST-001",
    "res-ew-down",
    "cluster2",
    remedy="scale deployment -l istio=eastwestgateway --current-replicas=0 --replicas=1",
)
def gateway_without_pods(mesh: FakeMesh) -> None:
    mesh[2].remove("Pod", "gateway-2", SYSTEM)
    name = "istio-eastwestgateway-abc"
    mesh[2].find("EndpointSlice.discovery.k8s.io", name, SYSTEM)["endpoints"] = []


@fault(
    "MC-EASTWEST-002",
    "ew-svc-label-missing",
    "cluster2",
    remedy="label service/istio-eastwestgateway topology.istio.io/network=network2",
)
def gateway_without_label(mesh: FakeMesh) -> None:
    del mesh[2].find("Service", "istio-eastwestgateway", SYSTEM)["metadata"]["labels"]
    pods_instead_of_gateways(mesh)


@fault(
    "MC-EASTWEST-002",
    "ew-passthrough-missing",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n istio-system apply -f -",
)
def services_not_exposed(mesh: FakeMesh) -> None:
    mesh[2].remove(*GATEWAY)
    mesh[2].dump("gateway-2")["configs"][3]["dynamic_listeners"] = []


@fault(
    "MC-EASTWEST-002",
    "ew-passthrough-mode",
    "cluster2",
    remedy="patch gateways.networking.istio.io/cross-network-gateway",
)
def gateway_that_does_not_route_by_sni(mesh: FakeMesh) -> None:
    (server,) = mesh[2].find(*GATEWAY)["spec"]["servers"]
    server["tls"]["mode"] = "PASSTHROUGH"
    listener = mesh[2].dump("gateway-2")["configs"][3]["dynamic_listeners"][0]["active_state"]
    listener["listener"]["filter_chains"] = []


@fault("MC-EASTWEST-002", "ew-selector", "cluster2", remedy='{"istio":"eastwestgateway"}')
def gateway_that_selects_nothing(mesh: FakeMesh) -> None:
    mesh[2].find(*GATEWAY)["spec"]["selector"] = {"istio": "nope"}
    mesh[2].dump("gateway-2")["configs"][3]["dynamic_listeners"] = []


@fault(
    "MC-EASTWEST-002",
    "ew-lds-nack",
    "cluster2",
    remedy="# kubectl --context=ctx-2 -n istio-system delete gateways.networking.istio.io/another",
)
def two_gateways_for_the_same_hosts(mesh: FakeMesh) -> None:
    item = copy.deepcopy(mesh[2].find(*GATEWAY))
    item["metadata"]["name"] = "another"
    mesh[2].objects["Gateway.networking.istio.io"].append(item)


@fault(
    "MC-EASTWEST-002",
    "ew-gateway-port-label",
    "cluster2",
    remedy="label service/istio-eastwestgateway networking.istio.io/gatewayPort-",
)
def gateway_that_sends_peers_to_another_port(mesh: FakeMesh) -> None:
    service = mesh[2].find("Service", "istio-eastwestgateway", SYSTEM)
    service["metadata"]["labels"]["networking.istio.io/gatewayPort"] = "15999"


@fault(
    "MC-EASTWEST-009",
    "ew-exposes-external",
    "cluster1",
    remedy="patch gateways.networking.istio.io/cross-network-gateway",
)
def gateway_for_every_host(mesh: FakeMesh) -> None:
    (server,) = mesh[1].find(*GATEWAY)["spec"]["servers"]
    server["hosts"] = ["*"]


@fault("MC-EASTWEST-009", "ew-exposes-external", "cluster1")
def external_service_under_a_mesh_name(mesh: FakeMesh) -> None:
    entry = {
        "metadata": {"name": "printer", "namespace": PROBES},
        "spec": {"hosts": ["printer.local"], "resolution": "DNS"},
    }
    mesh[1].objects["ServiceEntry.networking.istio.io"] = [entry]


@pytest.mark.parametrize("case", fault.cases)
def test_a_fault_is_the_one_root_cause(case: Case) -> None:
    case.assert_one_root_cause()
