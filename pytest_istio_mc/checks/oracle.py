"""The oracle: whom a workload must reach, by which way, and which endpoints that takes.

The ways follow from the spec alone; the endpoints from it and the clusters' own objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ..errors import ObservationError
from ..istio_names import SERVICE_LABEL
from ..network_gateways import (
    GATEWAY_API,
    GatewayObjects,
    MeshNetwork,
    is_address,
    mesh_config_map,
    mesh_networks,
    network_gateways,
)
from ..observations import GatewayAddress
from ..recorded import ProxyEndpoint, ProxyFacts
from ..snapshot import (
    ClusterSnapshot,
    Object,
    Snapshot,
    labels_of,
    locality_of,
    name_of,
)
from ..spec import ClusterSpec, MeshSpec
from .judging import names

_GATEWAY_API = "PILOT_MULTI_NETWORK_DISCOVER_GATEWAY_API"
"""A variable of istiod: whether it finds Gateways of the Gateway API, which is the default."""


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
class Expected:
    """One endpoint that a proxy must hold: where it leads to and in which locality.

    - ``gateway`` says that another network is behind it.
    - ``resolved``: where the address is a host name, the IP addresses that it may stand for.
    """

    address: str
    port: int
    locality: str
    targets: tuple[str, ...]
    gateway: bool
    resolved: tuple[str, ...] = ()

    @property
    def places(self) -> frozenset[tuple[str, int]]:
        """Addresses and ports of which a proxy must hold one; none where nobody could say."""
        own = (self.address,) if is_address(self.address) else ()
        return frozenset((address, self.port) for address in self.resolved or own)

    def __str__(self) -> str:
        stands_for = f" ({', '.join(self.resolved) or 'of unknown addresses'})"
        return f"{self.address}:{self.port}" + ("" if is_address(self.address) else stands_for)


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
    gateways: tuple[GatewayAddress, ...],
) -> tuple[Expected, ...]:
    """What a proxy in ``source`` must hold for one port of a service with these instances.

    - Pods where the target is on the source's network.
    - Else the gateways that lead to the target, in the locality of the instances behind them.
    - Federated meshes share nothing.
    """
    found: dict[tuple[str, int, str, bool, tuple[str, ...]], list[str]] = {}
    for way in ways(spec, source):
        target, crosses = spec.cluster(way.target), way.by is By.GATEWAY
        for instance in instances.get(target.name, ()):
            goals: Sequence[GatewayAddress | Instance]
            goals = gateways_to(target, gateways) if crosses else (instance,)
            for goal in goals:
                resolved = goal.resolved if isinstance(goal, GatewayAddress) else ()
                key = (goal.address, goal.port, instance.locality, crosses, resolved)
                found.setdefault(key, []).append(target.name)
    return tuple(
        Expected(address, port, locality, tuple(dict.fromkeys(targets)), gateway, resolved)
        for (address, port, locality, gateway, resolved), targets in sorted(found.items())
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
    possible: dict[tuple[str, int], set[str]] = {}
    for expected in wanted:
        for place in expected.places:
            possible.setdefault(place, set()).add(expected.locality)
    return [
        one
        for one in wanted
        if any(not actual[place] & possible[place] for place in one.places & actual.keys())
    ]


def localities_held(elsewhere: Sequence[Expected], held: Sequence[ProxyEndpoint]) -> str:
    """In words, in which localities a proxy holds what it should hold elsewhere."""
    places = frozenset().union(*(one.places for one in elsewhere))
    return ", ".join(
        f"{one.address}:{one.port} in {one.locality or '(none)'}"
        for one in held
        if (one.address, one.port) in places
    )


def gateways_to(
    target: ClusterSpec, gateways: tuple[GatewayAddress, ...]
) -> tuple[GatewayAddress, ...]:
    """The gateways that lead to a cluster from other networks: its own, else its network's.

    Those of ``meshNetworks`` are their network's and no cluster's own.
    """
    there = tuple(gateway for gateway in gateways if gateway.network == target.network)
    own = (one for one in there if one.cluster == target.name and not one.whole_network)
    return tuple(own) or there


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


def gateway_addresses(snapshot: Snapshot, source: str) -> tuple[GatewayAddress, ...]:
    """The gateways of all networks, as the control plane of the proxies in ``source`` finds them.

    Host names are resolved as far as that istiod and the name servers of its cluster say.
    """
    return gateways_of(snapshot, snapshot.spec.control_plane_of(source))


def gateways_of(snapshot: Snapshot, plane: ClusterSpec) -> tuple[GatewayAddress, ...]:
    """The gateways of all networks, as the control plane that runs in ``plane`` finds them."""
    spec = snapshot.spec
    objects = {one.name: _objects(snapshot.clusters[one.name]) for one in spec.data_planes}
    said = (one.environment.get(_GATEWAY_API) for one in snapshot.clusters[plane.name].istiods)
    if "false" in said:
        objects = {name: replace(one, resources=()) for name, one in objects.items()}
    config = spec.config_cluster(plane).name
    found = network_gateways(spec, objects, networks_of(snapshot, plane), config)
    literal = {(one.address, one.port) for one in found if is_address(one.address)}
    return tuple(
        one
        if is_address(one.address)
        else replace(one, resolved=_resolved(snapshot, plane, one, literal))
        for one in found
    )


def networks_of(snapshot: Snapshot, plane: ClusterSpec) -> dict[str, MeshNetwork]:
    """The ``meshNetworks`` of the control plane that runs in ``plane``; mostly there are none."""
    name = snapshot.spec.config_cluster(plane).name
    items = [
        item
        for item in snapshot.clusters[name].listed("ConfigMap", snapshot.spec.istio_namespace)
        if "meshNetworks" in item["data"]
    ]
    revisions = {
        istiod.environment.get("REVISION", "default")
        for istiod in snapshot.clusters[plane.name].istiods
    }
    own = set(map(mesh_config_map, revisions))
    texts = [item["data"]["meshNetworks"] for item in items if name_of(item) in own or not own]
    whose = f'cluster "{name}": ConfigMap {names(sorted(own))}'
    return {
        network: entry
        for text in texts
        for network, entry in mesh_networks(str(text), whose).items()
    }


def _objects(cluster: ClusterSnapshot) -> GatewayObjects:
    try:
        nodes: tuple[Object, ...] | None = cluster.listed("Node")
    except ObservationError:
        nodes = None
    return GatewayObjects(cluster.listed("Service"), nodes, cluster.listed(GATEWAY_API))


def nodes_of(cluster: ClusterSnapshot) -> Sequence[Object] | None:
    """The nodes of a cluster; None where they, or their addresses, are not known."""
    return _objects(cluster).nodes


def _resolved(
    snapshot: Snapshot, plane: ClusterSpec, gateway: GatewayAddress, literal: set[tuple[str, int]]
) -> tuple[str, ...]:
    """What a host name stands for, as istiod resolved it and as its name servers do."""
    whose = "" if gateway.whole_network else gateway.cluster
    known = (
        str(row["Addr"])
        for istiod in snapshot.clusters[plane.name].istiods
        for row in istiod.debug.get("networkz") or ()
        if (row.get("Network"), row.get("Port")) == (gateway.network, gateway.port)
        and row.get("Cluster", "") == whose
        and is_address(row["Addr"])
        and (row["Addr"], row["Port"]) not in literal
    )
    return tuple(sorted({*known, *said_by_name_servers(snapshot, plane, gateway.address)}))


def said_by_name_servers(snapshot: Snapshot, plane: ClusterSpec, host: str) -> tuple[str, ...]:
    """The addresses that a probe beside a control plane got for a host name.

    None where no probe could ask.
    """
    return snapshot.clusters[plane.name].resolved.get(host, ())
