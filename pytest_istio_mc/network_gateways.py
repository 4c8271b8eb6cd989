"""Network gateways: where istiod has proxies reach a network, found as istiod finds them.

They come from labelled Services, labelled Gateways of the Gateway API, and ``meshNetworks``. The
facts are those of Istio 1.31: ``pilot/pkg/serviceregistry/kube/controller/network.go``,
``pilot/pkg/serviceregistry/kube/conversion.go``, ``pilot/pkg/model/network.go``.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .errors import ObservationError
from .istio_names import (
    EAST_WEST_PORT,
    GATEWAY_PORT_LABEL,
    HBONE_PORT,
    LISTENER_MODE,
    NETWORK_LABEL,
    NODE_SELECTOR_ANNOTATION,
    REMOTE_GATEWAY_CLASS,
    of_revision,
)
from .observations import GatewayAddress
from .snapshot import Object, labels_of, name_of, namespace_of
from .spec import MeshSpec

GATEWAY_API = "Gateway.gateway.networking.k8s.io"
"""The kind of the Gateway API's Gateways in a snapshot."""


@dataclass(frozen=True)
class GatewayObjects:
    """The objects of one cluster in which istiods look for gateways.

    ``nodes``: None where they, or their addresses, are not known.
    """

    services: Sequence[Object]
    nodes: Sequence[Object] | None = None
    resources: Sequence[Object] = ()


@dataclass(frozen=True)
class MeshNetwork:
    """One network of an istiod's ``meshNetworks`` (Istio, "Global Mesh Options").

    - ``registries`` and ``cidrs``: the clusters and the addresses whose endpoints are in it.
    - ``addresses``: address and port of its gateways.
    - ``services``: its gateways' Services (``name.namespace``) in those clusters, with their port.
    """

    registries: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()
    addresses: tuple[tuple[str, int], ...] = ()
    services: tuple[tuple[str, int], ...] = ()

    def has(self, cluster: str, pod_addresses: Iterable[str]) -> bool:
        """Whether it has the endpoints of a cluster, by its name or by its pods' addresses."""
        if cluster in self.registries:
            return True
        pods = [ipaddress.ip_address(address) for address in pod_addresses if is_address(address)]
        ranges = [ipaddress.ip_network(cidr, strict=False) for cidr in self.cidrs]
        return bool(pods) and all(any(pod in one for one in ranges) for pod in pods)


def mesh_networks(text: str, whose: str) -> dict[str, MeshNetwork]:
    """The networks in the key ``meshNetworks`` of an istiod's ConfigMap, by name.

    :class:`ObservationError`, which names ``whose`` they are, where the text is nothing of the
    kind.
    """
    import yaml

    try:
        return dict(_parsed(text))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ObservationError(whose, "meshNetworks cannot be read", str(error)) from error


@lru_cache(maxsize=64)
def _parsed(text: str) -> Mapping[str, MeshNetwork]:
    """The networks in such a text, which many Services are asked about."""
    import yaml

    networks = (yaml.safe_load(text) or {}).get("networks") or {}
    return {str(name): _network(entry or {}) for name, entry in networks.items()}


def mesh_config_map(revision: str) -> str:
    """The name of the ConfigMap that an istiod of a revision reads."""
    return of_revision("istio", revision)


def _network(entry: Mapping[str, Any]) -> MeshNetwork:
    endpoints = [_both_spellings(one) for one in entry.get("endpoints") or ()]
    gateways = [_both_spellings(one) for one in entry.get("gateways") or ()]
    cidrs = tuple(str(one["fromCidr"]) for one in endpoints if one.get("fromCidr"))
    for cidr in cidrs:
        ipaddress.ip_network(cidr, strict=False)  # a ValueError for what is none
    return MeshNetwork(
        registries=tuple(str(one["fromRegistry"]) for one in endpoints if one.get("fromRegistry")),
        cidrs=cidrs,
        addresses=tuple(
            (str(one["address"]), int(one.get("port") or 0))
            for one in gateways
            if one.get("address")
        ),
        services=tuple(
            (_without_domain(str(one["registryServiceName"])), int(one.get("port") or 0))
            for one in gateways
            if one.get("registryServiceName")
        ),
    )


def _both_spellings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with its keys in camel case: protobuf's JSON takes ``from_registry``, too."""
    found = {}
    for key, value in entry.items():
        first, *others = str(key).split("_")
        found[first + "".join(other.capitalize() for other in others)] = value
    return found


def _without_domain(host: str) -> str:
    return ".".join(host.split(".")[:2])


def is_address(text: str) -> bool:
    """Whether this is an IP address, and no host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def labelled_port(service: Object) -> int:
    """The Service port that peers use, by its label ``networking.istio.io/gatewayPort``, or 15443.

    istiod takes a label that is no number for none.
    """
    label = labels_of(service).get(GATEWAY_PORT_LABEL, "")
    return int(label) if label.isdecimal() else EAST_WEST_PORT


def is_for_ambient_only(service: Object) -> bool:
    """Whether a labelled gateway takes HBONE and nothing that a sidecar speaks."""
    ports = {entry.get("port") for entry in service["spec"].get("ports") or ()}
    labelled = bool(labels_of(service).get(NETWORK_LABEL))
    return labelled and labelled_port(service) not in ports and HBONE_PORT in ports


def has_node_addresses(service: Object) -> bool:
    """Whether a Service is reached at nodes: type NodePort, annotated with a node selector."""
    annotations = service["metadata"].get("annotations") or {}
    return service["spec"].get("type") == "NodePort" and NODE_SELECTOR_ANNOTATION in annotations


def external_addresses(service: Object, nodes: Sequence[Object] | None = None) -> tuple[str, ...]:
    """The addresses of a Service outside its cluster; host names stay names.

    - Load balancer's and external IPs; of a NodePort Service with the annotation
      ``traffic.istio.io/nodeSelector`` and no external IPs those of the selected ``nodes``.
    - :class:`ObservationError` where the nodes decide and are not known.
    """
    spec = service["spec"]
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if spec.get("type") != "LoadBalancer":
        ingress = ()
    balanced = (entry.get("ip") or entry.get("hostname") for entry in ingress)
    found = tuple(filter(None, (*balanced, *(spec.get("externalIPs") or ()))))
    if found or not has_node_addresses(service):
        return tuple(dict.fromkeys(found))
    if nodes is None:
        raise _unknown_nodes(service)
    selector = node_selector(service).items()
    selected = [node for node in nodes if selector <= labels_of(node).items()]
    if any("status" not in node for node in selected):
        raise _unknown_nodes(service)
    return tuple(dict.fromkeys(filter(None, map(_external, selected))))


def _unknown_nodes(service: Object) -> ObservationError:
    thing = f"Service {namespace_of(service)}/{name_of(service)}"
    step = "is reached at its nodes, whose addresses are not known"
    return ObservationError(thing, step, advice="allow listing nodes, and record it again")


def node_selector(service: Object) -> Mapping[str, str]:
    """The labels of the nodes that lead to a Service; all nodes do without any."""
    try:
        found = json.loads(service["metadata"]["annotations"][NODE_SELECTOR_ANNOTATION] or "{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(key): str(value) for key, value in found.items()}


def _external(node: Object) -> str:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((one["address"] for one in addresses if one.get("type") == "ExternalIP"), "")


def outer_port(service: Object, port: int) -> int:
    """The port outside the cluster that leads to a Service's ``port``: its node port, or itself."""
    if has_node_addresses(service):
        for entry in service["spec"].get("ports") or ():
            if entry.get("port") == port and entry.get("nodePort"):
                return int(entry["nodePort"])
    return port


def gateway_ports(
    cluster: str, service: Object, networks: Mapping[str, MeshNetwork]
) -> tuple[tuple[str, int], ...]:
    """The networks to which a Service is the gateway for sidecars, with its port.

    A label decides, else the ``meshNetworks`` of the istiod that looks.
    """
    offered = {entry.get("port") for entry in service["spec"].get("ports") or ()}
    if network := labels_of(service).get(NETWORK_LABEL, ""):
        port = labelled_port(service)
        return ((network, port),) if port in offered else ()
    own = f"{name_of(service)}.{namespace_of(service)}"
    return tuple(
        (name, port)
        for name, network in networks.items()
        if cluster in network.registries
        for service_name, port in network.services
        if service_name == own
    )


def passes_through(labels: Mapping[str, str], listener: Mapping[str, Any]) -> bool:
    """Whether a listener of a Gateway API Gateway routes by the sidecars' server names.

    By its TLS option ``gateway.istio.io/listener-protocol``, or by its port on a labelled Gateway.
    """
    tls = listener.get("tls")
    if tls is None:
        return False
    if (tls.get("options") or {}).get(LISTENER_MODE) == "auto-passthrough":
        return True
    expected = labels.get(GATEWAY_PORT_LABEL, str(EAST_WEST_PORT))
    return NETWORK_LABEL in labels and str(listener.get("port")) == expected


def network_gateways(
    spec: MeshSpec,
    objects: Mapping[str, GatewayObjects],
    networks: Mapping[str, MeshNetwork],
    config_cluster: str,
) -> tuple[GatewayAddress, ...]:
    """Every address by which an istiod leads sidecars to a network, each once.

    - ``objects``: of every cluster with workloads; ``networks``: its own ``meshNetworks``.
    - ``config_cluster``: where it reads configuration, with gateways that have no Service anywhere.
    """
    found: list[GatewayAddress] = []
    for cluster in spec.data_planes:
        of = objects[cluster.name]
        for service in of.services:
            found.extend(_of_service(cluster.name, service, of.nodes, networks))
        for item in of.resources:
            remote = item["spec"].get("gatewayClassName") == REMOTE_GATEWAY_CLASS
            if not remote or cluster.name == config_cluster:
                found.extend(_of_resource(cluster.name, item))
    return each_once([*found, *_of_networks(spec, objects, networks)])


def _of_service(
    cluster: str,
    service: Object,
    nodes: Sequence[Object] | None,
    networks: Mapping[str, MeshNetwork],
) -> Iterator[GatewayAddress]:
    name = f"{namespace_of(service)}/{name_of(service)}"
    for network, port in gateway_ports(cluster, service, networks):
        for address in external_addresses(service, nodes):
            yield GatewayAddress(cluster, network, name, address, outer_port(service, port))


def _of_resource(cluster: str, item: Object) -> Iterator[GatewayAddress]:
    labels = labels_of(item)
    if network := labels.get(NETWORK_LABEL, ""):
        for address in item["spec"].get("addresses") or ():
            typed = address.get("type", "IPAddress") in ("IPAddress", "Hostname")
            if not typed or not address.get("value"):
                continue  # without a value it is one that is yet to be given
            for listener in item["spec"].get("listeners") or ():
                if passes_through(labels, listener):
                    port = int(listener["port"])
                    yield GatewayAddress(cluster, network, "", str(address["value"]), port)


def _of_networks(
    spec: MeshSpec, objects: Mapping[str, GatewayObjects], networks: Mapping[str, MeshNetwork]
) -> Iterator[GatewayAddress]:
    """The addresses in ``meshNetworks``, which lead to all clusters of their network."""
    for name, network in networks.items():
        clusters = [cluster.name for cluster in spec.data_planes if cluster.network == name]
        for address, port in network.addresses if clusters else ():
            owners = [
                (cluster, f"{namespace_of(service)}/{name_of(service)}")
                for cluster in clusters
                for service in objects[cluster].services
                if is_at(service, address, objects[cluster].nodes)
            ]
            owner, service_name = owners[0] if owners else (clusters[0], "")
            yield GatewayAddress(owner, name, service_name, address, port, whole_network=True)


def is_at(service: Object, address: str, nodes: Sequence[Object] | None) -> bool:
    """Whether a Service is reached at an address, as far as its addresses are known."""
    try:
        return address in external_addresses(service, nodes)
    except ObservationError:
        return False


def each_once(found: Iterable[GatewayAddress]) -> tuple[GatewayAddress, ...]:
    """The first gateway for each network, address and port."""
    unique: dict[tuple[str, str, int], GatewayAddress] = {}
    for one in found:
        unique.setdefault((one.network, one.address, one.port), one)
    return tuple(unique.values())
