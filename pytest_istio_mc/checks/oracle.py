"""The oracle: whom a workload must reach, by which way, and which endpoints that takes.

The ways follow from the spec alone; the endpoints from it and the clusters' own objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import ObservationError
from ..istio_names import EAST_WEST_PORT, GATEWAY_PORT_LABEL, NETWORK_LABEL, SERVICE_LABEL
from ..recorded import ProxyEndpoint, ProxyFacts
from ..snapshot import (
    ClusterSnapshot,
    Object,
    Snapshot,
    labels_of,
    locality_of,
    name_of,
    namespace_of,
)
from ..spec import ClusterSpec, MeshSpec


class By(Enum):
    """How requests for a shared service get from one cluster to the instances in another."""

    OWN = "within the cluster"
    NETWORK = "straight to the pods, over the network that both clusters are on"
    GATEWAY = "through an east-west gateway of the target's network"


@dataclass(frozen=True)
class Way:
    """Workloads of ``source`` must reach a shared service's instances in ``target``, this way."""

    source: str
    target: str
    by: By


@dataclass(frozen=True)
class Instance:
    """One ready instance of the probe service, as its own cluster's EndpointSlices say it."""

    cluster: str
    pod: str
    address: str
    port: int
    locality: str


@dataclass(frozen=True)
class Gateway:
    """One address of an east-west gateway, as its own cluster's Services say it.

    Hostnames stay names.
    """

    cluster: str
    network: str
    address: str
    port: int
    service: str


@dataclass(frozen=True)
class Expected:
    """One endpoint that a proxy must hold: where it leads to and in which locality.

    ``gateway`` says that another network is behind it.
    """

    address: str
    port: int
    locality: str
    targets: tuple[str, ...]
    gateway: bool


def ways(spec: MeshSpec, source: ClusterSpec) -> tuple[Way, ...]:
    """Whom the workloads of a cluster must reach under one name, in order.

    - Every cluster with workloads, by whatever control plane it is served.
    - In federated meshes, whose names differ, only the cluster itself.
    """
    return tuple(
        Way(source.name, target.name, _by(source, target))
        for target in spec.data_planes
        if not spec.federated or target.name == source.name
    )


def _by(source: ClusterSpec, target: ClusterSpec) -> By:
    if source.name == target.name:
        return By.OWN
    return By.NETWORK if source.network == target.network else By.GATEWAY


def expected_endpoints(
    spec: MeshSpec,
    source: ClusterSpec,
    instances: Mapping[str, tuple[Instance, ...]],
    gateways: tuple[Gateway, ...],
) -> tuple[Expected, ...]:
    """What a proxy in ``source`` must hold for one port of a service with these instances.

    - Pods where the target is on the source's network.
    - Else the gateways that lead to the target, in the locality of the instances behind them.
    - Federated meshes share nothing.
    """
    found: dict[tuple[str, int, str, bool], list[str]] = {}
    for way in ways(spec, source):
        target, crosses = spec.cluster(way.target), way.by is By.GATEWAY
        for instance in instances.get(target.name, ()):
            goals: Sequence[Gateway | Instance]
            goals = gateways_to(target, gateways) if crosses else (instance,)
            for goal in goals:
                key = (goal.address, goal.port, instance.locality, crosses)
                found.setdefault(key, []).append(target.name)
    return tuple(
        Expected(address, port, locality, tuple(dict.fromkeys(targets)), gateway)
        for (address, port, locality, gateway), targets in sorted(found.items())
    )


def held_for(
    proxy: ProxyFacts, prefix: str, snapshot: Snapshot
) -> tuple[ProxyEndpoint, ...] | None:
    """The endpoints of the probe service in a proxy's Envoy cluster with that prefix.

    None where it has no such cluster.
    """
    probes = snapshot.require_probes()
    separator = "" if prefix.endswith("|") else "."
    for name, endpoints in proxy.endpoints.items():
        if name.startswith(f"{prefix}{separator}{probes.service}.{probes.namespace}."):
            return endpoints
    return None


def misplaced(wanted: Sequence[Expected], held: Sequence[ProxyEndpoint]) -> list[Expected]:
    """The healthy endpoints that are held in another locality than they are in."""
    actual: dict[tuple[str, int], set[str]] = {}
    for one in held:
        if one.health == "HEALTHY":
            actual.setdefault((one.address, one.port), set()).add(one.locality)
    # a gateway may lead to instances in several localities;
    # Envoy keeps an address once, in the locality that named it first
    possible: dict[str, set[str]] = {}
    for expected in wanted:
        possible.setdefault(expected.address, set()).add(expected.locality)
    return [
        one
        for one in wanted
        if (found := actual.get((one.address, one.port))) and not found & possible[one.address]
    ]


def gateways_to(target: ClusterSpec, gateways: tuple[Gateway, ...]) -> tuple[Gateway, ...]:
    """The gateways that lead to a cluster from other networks: its own, else its network's."""
    there = tuple(gateway for gateway in gateways if gateway.network == target.network)
    return tuple(gateway for gateway in there if gateway.cluster == target.name) or there


def ready_instances(
    snapshot: Snapshot, cluster: ClusterSnapshot, port_name: str
) -> tuple[Instance, ...]:
    """The ready instances of the probe service in a cluster, on the port of that name."""
    probes = snapshot.require_probes()
    nodes = {name_of(node): str(locality_of(node)) for node in cluster.listed("Node")}
    found = []
    for item in cluster.listed("EndpointSlice", probes.namespace):
        of_probes = labels_of(item).get(SERVICE_LABEL) == probes.service
        if not of_probes or item["addressType"] == "FQDN":
            continue
        for port in item["ports"]:
            # a port without a number stands for all (EndpointPort of discovery.k8s.io/v1)
            if (port.get("name") or "") != port_name or port.get("port") is None:
                continue
            for endpoint in item["endpoints"]:
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    pod, address = endpoint["target"], endpoint["addresses"][0]
                    locality = nodes.get(endpoint.get("nodeName", ""), "")
                    found.append(Instance(cluster.name, pod, address, port["port"], locality))
    return tuple(sorted(found, key=lambda instance: (instance.address, instance.port)))


def service_ports(snapshot: Snapshot) -> tuple[tuple[int, str], ...]:
    """Number and name of every TCP port of the probe service."""
    probes = snapshot.require_probes()
    for cluster in snapshot:
        item = cluster.found("Service", probes.service, probes.namespace)
        if item is not None:
            return tuple(
                (port["port"], port.get("name", ""))
                for port in item["spec"].get("ports") or ()
                if port.get("protocol", "TCP") == "TCP"
            )
    service = f"service {probes.service}.{probes.namespace}"
    raise ObservationError(service, "is in no cluster", advice="deploy the probes again")


def gateway_addresses(snapshot: Snapshot) -> tuple[Gateway, ...]:
    """Every address of every Service that is labelled as the gateway of its cluster's network."""
    found: list[Gateway] = []
    for cluster in snapshot.spec.data_planes:
        for service in snapshot.clusters[cluster.name].east_west_services():
            network = labels_of(service).get(NETWORK_LABEL, "")
            if network:
                found.extend(_addresses(cluster.name, network, service))
    return tuple(found)


def external_addresses(service: Object) -> tuple[str, ...]:
    """The addresses of a Service outside its cluster: load balancer and external IPs."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    balanced = (entry.get("ip") or entry.get("hostname") for entry in ingress)
    return tuple(filter(None, (*balanced, *(service["spec"].get("externalIPs") or ()))))


def gateway_port(service: Object) -> int:
    """The port that peers use.

    15443, or what the label ``networking.istio.io/gatewayPort`` says; on NodePort Services the node
    port of that one.
    """
    label = labels_of(service).get(GATEWAY_PORT_LABEL, "")
    port = int(label) if label.isdigit() else EAST_WEST_PORT
    if service["spec"].get("type") == "NodePort":
        for entry in service["spec"].get("ports") or ():
            if entry.get("port") == port and entry.get("nodePort"):
                return int(entry["nodePort"])
    return port


def _addresses(cluster: str, network: str, service: Object) -> Iterator[Gateway]:
    name, port = f"{namespace_of(service)}/{name_of(service)}", gateway_port(service)
    for address in external_addresses(service):
        yield Gateway(cluster, network, address, port, name)
