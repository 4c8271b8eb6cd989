"""Networks declared in unusual ways: by ``meshNetworks``, and by what is beside their gateways."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from typing import Any

import yaml

from tests.checks.unusual.case import HA, HEALTHY, PRIMARY_REMOTE, Case, Draft, Fault, Json
from tests.checks.unusual.moves import (
    GATEWAY,
    SYSTEM,
    address_of,
    gateways,
    lead_proxies_to,
    lead_to,
    second_gateway,
    without_passing,
)

LABEL = "topology.istio.io/network"
API = "Gateway.gateway.networking.k8s.io"
GATEWAYS = "Gateway.networking.istio.io"


def _network(mesh: Draft, cluster: str) -> str:
    return mesh.spec.cluster(cluster).network


def declare(mesh: Draft, networks: dict[str, Any]) -> None:
    """Write ``meshNetworks`` for every control plane."""
    for plane in mesh.spec.control_planes:
        item = mesh.find(mesh.spec.config_cluster(plane).name, "ConfigMap", "istio")
        item["data"]["meshNetworks"] = yaml.safe_dump({"networks": networks})


def declared(mesh: Draft, cluster: str = "cluster1") -> dict[str, Any]:
    """What the control plane in a cluster has there."""
    text = mesh.find(cluster, "ConfigMap", "istio")["data"]["meshNetworks"]
    networks: dict[str, Any] = yaml.safe_load(text)["networks"]
    return networks


def without_labels(mesh: Draft) -> None:
    """Take the network's label from all namespaces and Services."""
    for cluster, _ in mesh:
        for kind in ("Namespace", "Service"):
            for item in mesh.listed(cluster, kind):
                item["metadata"].get("labels", {}).pop(LABEL, None)


def _entries(mesh: Draft, *, by_address: bool = True, by_cidr: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cluster, _ in mesh:
        entry = found.setdefault(_network(mesh, cluster), {"endpoints": [], "gateways": []})
        entry["endpoints"].append(
            {"fromCidr": _cidr(mesh, cluster)} if by_cidr else {"fromRegistry": cluster}
        )
    for cluster, service in gateways(mesh):
        name = f"{GATEWAY}.{SYSTEM}.svc.cluster.local"
        gateway = {"address": address_of(service)} if by_address else {"registryServiceName": name}
        found[_network(mesh, cluster)]["gateways"].append({**gateway, "port": 15443})
    return found


def _cidr(mesh: Draft, cluster: str) -> str:
    pods = mesh.listed(cluster, "Pod")
    address = next(one["status"]["podIP"] for one in pods if one["status"].get("podIP"))
    return str(ip_network(f"{address}/16", strict=False))


def by_address(mesh: Draft, *, by_cidr: bool = False) -> None:
    declare(mesh, _entries(mesh, by_cidr=by_cidr))
    for _, service in gateways(mesh):
        lead_to(mesh, address_of(service), [(address_of(service), 15443)], Cluster="")
    without_labels(mesh)


def by_service(mesh: Draft, *, port: int = 15443) -> None:
    entries = _entries(mesh, by_address=False)
    for entry in entries.values():
        for gateway in entry["gateways"]:
            gateway["port"] = port
    declare(mesh, entries)
    for cluster, service in gateways(mesh):
        lead_to(mesh, address_of(service), [(address_of(service), port)])
        for one in service["spec"]["ports"]:
            if one["port"] == 15443:
                one["port"] = port
        for item in mesh.listed(cluster, GATEWAYS):
            for server in item["spec"]["servers"]:
                if server["port"]["number"] == 15443:
                    server["port"]["number"] = port
    without_labels(mesh)


def other_networks_gateway(mesh: Draft) -> None:
    for plane in mesh.spec.control_planes:
        name = mesh.spec.config_cluster(plane).name
        networks = declared(mesh, name)
        networks["network2"]["gateways"] = networks["network1"]["gateways"]
        text = yaml.safe_dump({"networks": networks})
        mesh.find(name, "ConfigMap", "istio")["data"]["meshNetworks"] = text


def _respell(mesh: Draft, network: str, **changes: object) -> None:
    networks = declared(mesh)
    networks[network]["gateways"][0] |= changes
    text = yaml.safe_dump({"networks": networks})
    mesh.find("cluster1", "ConfigMap", "istio")["data"]["meshNetworks"] = text


def port_that_is_not_there(mesh: Draft) -> None:
    _respell(mesh, "network2", port=15444)


def service_that_is_not_there(mesh: Draft) -> None:
    name = f"ingress.{SYSTEM}.svc.cluster.local"
    _respell(mesh, "network1", registryServiceName=name)


def cluster_in_another_network(mesh: Draft) -> None:
    networks = declared(mesh)
    one, two = networks["network1"]["endpoints"], networks["network2"]["endpoints"]
    networks["network1"]["endpoints"], networks["network2"]["endpoints"] = two, one
    text = yaml.safe_dump({"networks": networks})
    mesh.find("cluster1", "ConfigMap", "istio")["data"]["meshNetworks"] = text


def cluster_in_no_network(mesh: Draft) -> None:
    networks = declared(mesh)
    networks["network2"]["endpoints"] = []
    text = yaml.safe_dump({"networks": networks})
    mesh.find("cluster1", "ConfigMap", "istio")["data"]["meshNetworks"] = text


def gateway_lost(mesh: Draft) -> None:
    address = address_of(mesh.find("cluster1", "Service", GATEWAY))
    lead_to(mesh, address, [])


def _in_snake_case(mesh: Draft) -> None:
    by_address(mesh)
    for plane in mesh.spec.control_planes:
        data = mesh.find(mesh.spec.config_cluster(plane).name, "ConfigMap", "istio")["data"]
        data["meshNetworks"] = data["meshNetworks"].replace("fromRegistry", "from_registry")


def _unreadable(mesh: Draft) -> None:
    for plane in mesh.spec.control_planes:
        item = mesh.find(mesh.spec.config_cluster(plane).name, "ConfigMap", "istio")
        item["data"]["meshNetworks"] = "networks: [one, two]"


def an_appliance_in_front(mesh: Draft) -> None:
    """What peers connect to is nothing that Kubernetes knows of."""
    by_address(mesh)
    for cluster, service in gateways(mesh):
        outer = f"198.51.100.{cluster[-1]}"
        lead_to(mesh, address_of(service), [(outer, 443)])
        for plane in mesh.spec.control_planes:
            data = mesh.find(mesh.spec.config_cluster(plane).name, "ConfigMap", "istio")["data"]
            networks = yaml.safe_load(data["meshNetworks"])["networks"]
            for entry in networks.values():
                for gateway in entry["gateways"]:
                    if gateway["address"] == address_of(service):
                        gateway |= {"address": outer, "port": 443}
            data["meshNetworks"] = yaml.safe_dump({"networks": networks})


def nothing_passed(mesh: Draft) -> None:
    mesh.listed("cluster1", GATEWAYS).clear()


def proxies_led_elsewhere(mesh: Draft) -> None:
    service = mesh.find("cluster1", "Service", GATEWAY)
    lead_proxies_to(mesh, address_of(service), [("1.2.3.4", 15443)])


def proxies_led_past_the_appliance(mesh: Draft) -> None:
    service = mesh.find("cluster1", "Service", GATEWAY)
    lead_proxies_to(mesh, "198.51.100.1", [(address_of(service), 15443)])


def demo_profile(mesh: Draft) -> None:
    for cluster, _ in list(gateways(mesh)):
        address = f"198.51.100.{cluster[-1]}"
        second_gateway(mesh, cluster, "istio-ingressgateway", address)
        without_passing(mesh, cluster, "istio-ingressgateway")


def label_lost(mesh: Draft) -> None:
    service = mesh.find("cluster1", "Service", GATEWAY)
    del service["metadata"]["labels"][LABEL]
    lead_to(mesh, address_of(service), [])


def ingress_passes_mesh_hosts(mesh: Draft) -> None:
    """Somebody opened the ingress gateway instead of the east-west gateway."""
    for item in mesh.listed("cluster1", GATEWAYS):
        item["spec"]["selector"] = {"istio": "istio-ingressgateway"}


def ingress_is_meant(mesh: Draft) -> None:
    """The ingress gateway is the only gateway, opened as one, and not labelled."""
    ingress_passes_mesh_hosts(mesh)
    service = mesh.find("cluster1", "Service", GATEWAY)
    lead_to(mesh, address_of(service), [])
    mesh.listed("cluster1", "Service").remove(service)


def ambient_beside(mesh: Draft) -> None:
    for cluster, service in list(gateways(mesh)):
        address = f"198.51.100.{cluster[-1]}"
        other = second_gateway(mesh, cluster, "ambient-eastwest", address)
        other["metadata"]["labels"][LABEL] = service["metadata"]["labels"][LABEL]
        other["spec"]["ports"] = [
            {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
            for name, port in (("status-port", 15021), ("mesh", 15008))
        ]
        without_passing(mesh, cluster, "ambient-eastwest")
        options = {"gateway.istio.io/tls-terminate-mode": "ISTIO_MUTUAL"}
        listener = {
            "name": "mesh",
            "port": 15008,
            "protocol": "HBONE",
            "tls": {"mode": "Terminate", "options": options},
        }
        network = {LABEL: _network(mesh, cluster)}
        metadata = {"name": "ambient-eastwest", "namespace": SYSTEM, "labels": network}
        spec = {"gatewayClassName": "istio-east-west", "listeners": [listener]}
        mesh.listed(cluster, API).append({"metadata": metadata, "spec": spec})
        for istiod in mesh.istiods():
            rows: list[Json] = istiod["debug"]["networkz"]
            row = next(one for one in rows if one["Cluster"] == cluster)
            rows.append(row | {"Addr": address, "Port": 0, "HBONEPort": 15008})


def only_the_ambient_one(mesh: Draft) -> None:
    service = mesh.find("cluster1", "Service", GATEWAY)
    lead_to(mesh, address_of(service), [])
    mesh.listed("cluster1", "Service").remove(service)


MESH_NETWORKS = (
    Fault(other_networks_gateway, "MC-EASTWEST-001", "ew-mesh-networks"),
    Fault(cluster_in_another_network, "MC-CONTROL-003", "cp-mesh-networks"),
    Fault(cluster_in_no_network, "MC-CONTROL-003", "cp-mesh-networks"),
    Fault(gateway_lost, "MC-EASTWEST-001", "ew-unknown-to-istiod"),
    Fault(proxies_led_elsewhere, "MC-DISCOVERY-002", "eds-missing"),
)
_DOCS = "istio.io, Global Mesh Options, MeshNetworks; Istio network.go, reloadMeshNetworks"

CASES = [
    Case(
        "mesh-networks-by-address",
        by_address,
        _DOCS,
        (*MESH_NETWORKS, Fault(port_that_is_not_there, "MC-EASTWEST-001", "ew-mesh-networks")),
    ),
    *(
        Case("mesh-networks-by-address", by_address, _DOCS, MESH_NETWORKS[:1], mesh=mesh)
        for mesh in (PRIMARY_REMOTE, HA)
    ),
    Case("mesh-networks-by-address", _in_snake_case, "protobuf's JSON takes both spellings"),
    Case(
        "mesh-networks-with-an-appliance",
        an_appliance_in_front,
        f"an address of meshNetworks may be anything; {_DOCS}",
        (
            Fault(proxies_led_past_the_appliance, "MC-DISCOVERY-002", "eds-missing"),
            Fault(nothing_passed, "MC-EASTWEST-002", "ew-passthrough-missing"),
        ),
    ),
    Case(
        "mesh-networks-by-cidr",
        partial(by_address, by_cidr=True),
        _DOCS,
        MESH_NETWORKS,
    ),
    *(
        Case(
            "mesh-networks-by-service",
            partial(by_service, port=port),
            f"istio.io had the ingress gateway's port 443 for it; {_DOCS}",
            (
                Fault(service_that_is_not_there, "MC-EASTWEST-001", "ew-mesh-networks"),
                Fault(cluster_in_another_network, "MC-CONTROL-003", "cp-mesh-networks"),
                Fault(gateway_lost, "MC-EASTWEST-001", "ew-unknown-to-istiod"),
                Fault(proxies_led_elsewhere, "MC-DISCOVERY-002", "eds-missing"),
            ),
            mesh=mesh,
        )
        for port, mesh in ((443, HEALTHY), (15443, PRIMARY_REMOTE))
    ),
    Case(
        "mesh-networks-that-cannot-be-read",
        _unreadable,
        "what istiod makes of it is not known",
        (Fault(nothing_passed, "MC-EASTWEST-002", "ew-passthrough-missing"),),
        {
            "MC-EASTWEST-001": "the gateways of meshNetworks are not known",
            "MC-DISCOVERY-002": "the same",
            "MC-LOCALITY-001": "the same",
        },
    ),
    *(
        Case(
            "ingress-gateway-with-port-15443",
            demo_profile,
            "Istio's profile demo (manifests/helm-profiles/demo.yaml)",
            (
                Fault(label_lost, "MC-EASTWEST-002", "ew-svc-label-missing"),
                Fault(ingress_passes_mesh_hosts, "MC-EASTWEST-002", "ew-passthrough-missing"),
                Fault(ingress_is_meant, "MC-EASTWEST-002", "ew-svc-label-missing"),
            ),
            mesh=mesh,
        )
        for mesh in (HEALTHY, PRIMARY_REMOTE, HA)
    ),
    *(
        Case(
            "ambient-gateway-beside",
            ambient_beside,
            "Istio ep_filters.go, selectNetworkGateways: sidecars pass over gateways without port",
            (
                Fault(only_the_ambient_one, "MC-EASTWEST-001", "ew-not-deployed"),
                Fault(label_lost, "MC-EASTWEST-002", "ew-svc-label-missing"),
            ),
            mesh=mesh,
        )
        for mesh in (HEALTHY, PRIMARY_REMOTE)
    ),
]
