"""East-west gateways: their Services, their pods, and the Gateways that open them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ObservationError
from ...istio_names import (
    GATEWAY_NAME_LABEL,
    NETWORK_LABEL,
    REMOTE_GATEWAY_CLASS,
    SERVICE_LABEL,
)
from ...network_gateways import (
    GATEWAY_API,
    MeshNetwork,
    gateway_ports,
    is_at,
    is_for_ambient_only,
    labelled_port,
    outer_port,
    passes_through,
)
from ...recorded import ProxyFacts
from ...snapshot import (
    ClusterSnapshot,
    Object,
    Snapshot,
    is_east_west_service,
    labels_of,
    name_of,
    namespace_of,
)
from ...spec import ClusterSpec
from ..oracle import networks_of, nodes_of

AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
EAST_WEST = "eastwestgateway"
"""The value of the label ``istio`` on the pods of the documented gateway."""


@dataclass(frozen=True)
class Server:
    """One server of a Gateway, of either API, and the pods that it selects.

    ``place`` is its place in the Gateway.
    """

    item: Object
    port: int
    mode: str
    hosts: tuple[str, ...]
    selector: Mapping[str, str]
    place: int = 0
    gateway_api: bool = False


def config_of(snapshot: Snapshot, cluster: ClusterSpec) -> ClusterSnapshot:
    """The cluster in which the control plane of ``cluster`` reads its configuration."""
    plane = snapshot.spec.control_plane_of(cluster.name)
    return snapshot.clusters[snapshot.spec.config_cluster(plane).name]


def servers(config: ClusterSnapshot) -> tuple[Server, ...]:
    """Every server of every Gateway in a configuration cluster, of Istio and the Gateway API."""
    ours = (
        Server(
            item,
            int((server.get("port") or {}).get("number", 0)),
            str((server.get("tls") or {}).get("mode", "")),
            tuple(host.rpartition("/")[2] for host in server.get("hosts") or ()),
            item["spec"].get("selector") or {},
            place,
        )
        for item in config.listed("Gateway.networking.istio.io")
        for place, server in enumerate(item["spec"].get("servers") or ())
    )
    theirs = (
        Server(
            item,
            int(listener.get("port", 0)),
            _mode(item, listener),
            (str(listener.get("hostname") or "*"),),
            {GATEWAY_NAME_LABEL: name_of(item)},
            place,
            gateway_api=True,
        )
        for item in config.listed(GATEWAY_API)
        for place, listener in enumerate(item["spec"].get("listeners") or ())
        if item["spec"].get("gatewayClassName") != REMOTE_GATEWAY_CLASS
    )
    return (*ours, *theirs)


def _mode(item: Object, listener: Mapping[str, Any]) -> str:
    if passes_through(labels_of(item), listener):
        return AUTO_PASSTHROUGH
    return str((listener.get("tls") or {}).get("mode", ""))


def east_west_services(snapshot: Snapshot) -> list[tuple[ClusterSpec, Object]]:
    """The Service of every gateway that is there for sidecars of other networks, with its cluster.

    Those that are meant to be one are among them, those for ambient meshes are not.
    """
    networks = _all_networks(snapshot)
    return [
        (cluster, service)
        for cluster in snapshot.spec.data_planes
        for service in _of_cluster(snapshot, cluster, networks)
    ]


def _of_cluster(
    snapshot: Snapshot, cluster: ClusterSpec, networks: Sequence[Mapping[str, MeshNetwork]]
) -> list[Object]:
    """The gateways of one cluster, by label or ``meshNetworks``.

    - Where it has no Service with the label: by the selector of Istio's guide, too, or by a Gateway
      that passes mesh hosts through it.
    - The port alone does not tell: Istio's profile ``demo`` gives it to ingress gateways, too.
    """
    services = snapshot.clusters[cluster.name].objects.get("Service", ())
    candidates = [one for one in services if is_east_west_service(one)]
    declared = [one for one in candidates if labels_of(one).get(NETWORK_LABEL)]
    found: list[Object] = [one for one in declared if not is_for_ambient_only(one)]
    if not found:
        rest = (one for one in candidates if one not in declared)
        found += (one for one in rest if _is_meant(snapshot, cluster, one))
    if networks:
        nodes = _nodes(snapshot, cluster, networks)
        rest = (one for one in services if not labels_of(one).get(NETWORK_LABEL))
        named = (one for one in rest if _named(cluster, one, networks, nodes))
        found += (one for one in named if one not in found)
    return found


def _is_meant(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> bool:
    if (service["spec"].get("selector") or {}).get("istio") == EAST_WEST:
        return True
    try:
        servers_there = opening(snapshot, cluster, service)
    except ObservationError:
        return False
    return any(server.mode == AUTO_PASSTHROUGH for server in servers_there)


def named_ports(
    snapshot: Snapshot, cluster: ClusterSpec, service: Object
) -> tuple[tuple[str, int], ...]:
    """The networks whose gateway some ``meshNetworks`` make an unlabelled Service, and its port.

    By its name or by its address; none where they cannot be read.
    """
    networks = _all_networks(snapshot)
    if labels_of(service).get(NETWORK_LABEL) or not networks:
        return ()
    return _named(cluster, service, networks, _nodes(snapshot, cluster, networks))


def _all_networks(snapshot: Snapshot) -> list[dict[str, MeshNetwork]]:
    """The ``meshNetworks`` of every control plane that has some, as far as they can be read."""
    found = []
    for plane in snapshot.spec.control_planes:
        try:
            found.append(networks_of(snapshot, plane))
        except ObservationError:
            continue
    return list(filter(None, found))


def _nodes(
    snapshot: Snapshot, cluster: ClusterSpec, networks: Sequence[Mapping[str, MeshNetwork]]
) -> Sequence[Object] | None:
    addressed = any(one.addresses for entries in networks for one in entries.values())
    return nodes_of(snapshot.clusters[cluster.name]) if addressed else None


def _named(
    cluster: ClusterSpec,
    service: Object,
    networks: Sequence[Mapping[str, MeshNetwork]],
    nodes: Sequence[Object] | None,
) -> tuple[tuple[str, int], ...]:
    found: dict[tuple[str, int], None] = {}
    for entries in networks:
        found |= dict.fromkeys(gateway_ports(cluster.name, service, entries))
        found |= dict.fromkeys(_ports_by_address(service, entries, nodes))
    return tuple(found)


def _ports_by_address(
    service: Object, networks: Mapping[str, MeshNetwork], nodes: Sequence[Object] | None
) -> Iterator[tuple[str, int]]:
    offered = [int(entry["port"]) for entry in service["spec"].get("ports") or ()]
    for name, network in networks.items():
        for address, outer in network.addresses:
            if is_at(service, address, nodes):
                yield from ((name, port) for port in offered if outer_port(service, port) == outer)


def is_declared(snapshot: Snapshot, network: str) -> bool:
    """Whether some control plane's ``meshNetworks`` say by themselves how a network is reached.

    :class:`ObservationError` where they cannot be read.
    """
    entries = [networks_of(snapshot, plane).get(network) for plane in snapshot.spec.control_planes]
    return any(entry and (entry.addresses or entry.services) for entry in entries)


def peers_port(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> int:
    """The port of an east-west gateway's Service that is there for other networks."""
    named = named_ports(snapshot, cluster, service)
    return named[0][1] if named else labelled_port(service)


def opening(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> list[Server]:
    """The servers that open the peers' port of a gateway's pods."""
    found = snapshot.clusters[cluster.name]
    labels = dict(service["spec"].get("selector") or {})
    for pod in gateway_pods(found, service):
        labels |= labels_of(pod)
    port, targets = peers_port(snapshot, cluster, service), pod_ports(found, service)
    return [
        server
        for server in servers(config_of(snapshot, cluster))
        if server.selector.items() <= labels.items() and opens(server, service, port, targets)
    ]


def opens(server: Server, service: Object, port: int, targets: Mapping[str, int]) -> bool:
    """Whether a server opens ``port`` of the Service, or what that leads to.

    Istio takes a server's port for the Service's where this has it, else for the pods' own.
    """
    offered = {entry.get("port") for entry in service["spec"].get("ports") or ()}
    number = server.port if server.port not in offered else listening(service, server.port, targets)
    return number == listening(service, port, targets)


def listening(service: Object, port: int, targets: Mapping[str, int]) -> int:
    """The pods' port to which a port of the Service leads; mostly the same.

    ``targets`` are those of ports that lead to one by its name, see :func:`pod_ports`.
    """
    entries = service["spec"].get("ports") or ()
    entry: Object = next((one for one in entries if one.get("port") == port), {})
    target = entry.get("targetPort", port)
    return target if isinstance(target, int) else targets.get(str(entry.get("name", "")), port)


def pod_ports(cluster: ClusterSnapshot, service: Object) -> dict[str, int]:
    """The pods' ports to which a Service leads, by the names of its own."""
    return {
        str(port.get("name") or ""): int(port["port"])
        for item in cluster.listed("EndpointSlice", namespace_of(service))
        if labels_of(item).get(SERVICE_LABEL) == name_of(service)
        for port in item["ports"]
        if port.get("port")
    }


def gateway_pods(cluster: ClusterSnapshot, service: Object) -> tuple[Object, ...]:
    """The pods behind an east-west gateway's Service."""
    selector = service["spec"].get("selector") or {}
    return tuple(
        item
        for item in cluster.listed("Pod", namespace_of(service))
        if selector and selector.items() <= labels_of(item).items()
    )


def gateway_proxies(cluster: ClusterSnapshot, service: Object) -> tuple[ProxyFacts, ...]:
    """What the Envoys behind an east-west gateway's Service hold."""
    pods = {name_of(item) for item in gateway_pods(cluster, service)}
    return tuple(
        proxy
        for proxy in cluster.proxies
        if proxy.pod in pods and proxy.namespace == namespace_of(service)
    )
