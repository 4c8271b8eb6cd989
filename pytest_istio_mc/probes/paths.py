"""Paths: where raw connections between clusters go, to east-west gateways or probe pods."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..istio_names import ISTIOD_PODS, NETWORK_LABEL, REVISION_LABEL
from ..mesh import Mesh
from ..network_gateways import (
    GATEWAY_API,
    GatewayObjects,
    MeshNetwork,
    each_once,
    has_node_addresses,
    mesh_config_map,
    mesh_networks,
    network_gateways,
)
from ..observations import GatewayAddress, Path
from ..snapshot import labels_of
from ..spec import ClusterSpec, MeshSpec

if TYPE_CHECKING:
    from ..kube import Kube


def gateway_addresses(spec: MeshSpec, kubes: Mapping[str, Kube]) -> tuple[GatewayAddress, ...]:
    """The addresses that istiods take for a network's gateways, read now; host names stay names.

    They are those of :func:`~pytest_istio_mc.network_gateways.network_gateways`.
    """
    networks = {plane.name: _networks(spec, plane, kubes) for plane in spec.control_planes}
    named = {name for own in networks.values() for one in own.values() for name, _ in one.services}
    objects = {one.name: _objects(kubes[one.name], named) for one in spec.data_planes}
    found = [
        gateway
        for plane in spec.control_planes
        for gateway in network_gateways(
            spec, objects, networks[plane.name], spec.config_cluster(plane).name
        )
    ]
    # istiods agree but for what is in their meshNetworks
    return each_once(found)


def _networks(
    spec: MeshSpec, plane: ClusterSpec, kubes: Mapping[str, Kube]
) -> dict[str, MeshNetwork]:
    """The ``meshNetworks`` of a control plane, in the ConfigMaps of its revisions."""
    config, namespace = spec.config_cluster(plane).name, spec.istio_namespace
    istiods = kubes[plane.name].list("Deployment", namespace, labels=ISTIOD_PODS)
    labels = [(item["metadata"].get("labels") or {}).get(REVISION_LABEL, "") for item in istiods]
    found: dict[str, MeshNetwork] = {}
    for name in dict.fromkeys(map(mesh_config_map, labels or [""])):
        item = kubes[config].read("ConfigMap", name, namespace)
        if text := ((item or {}).get("data") or {}).get("meshNetworks"):
            found |= mesh_networks(text, f'cluster "{config}": ConfigMap {name}')
    return found


def _objects(kube: Kube, named: Collection[str]) -> GatewayObjects:
    """The gateways of a cluster, and its nodes where these lead to one."""
    services = kube.list("Service", labels=NETWORK_LABEL)
    for host in sorted(named):
        name, _, namespace = host.partition(".")
        service = kube.read("Service", name, namespace)
        if service is not None and not labels_of(service).get(NETWORK_LABEL):
            services.append(service)
    nodes = kube.list("Node") if any(map(has_node_addresses, services)) else None
    return GatewayObjects(services, nodes, kube.list(GATEWAY_API, labels=NETWORK_LABEL))


def path(
    mesh: Mesh, gateways: Sequence[GatewayAddress], source: str, target: str, port: int
) -> Path | None:
    """The way past the sidecar from a client to another cluster's servers.

    - On the same network: to ``port`` of a pod.
    - Else to a gateway of the target's network, preferably the target's own.
    - None where there is no way.
    """
    here, there = mesh.spec.cluster(source), mesh.spec.cluster(target)
    if here.network == there.network:
        servers = mesh.probes.servers(target) if mesh.probes else ()
        return next((Path(source, target, pod.ip, port) for pod in servers), None)
    ways = [gateway for gateway in gateways if gateway.network == there.network]
    ways.sort(key=lambda gateway: gateway.cluster != target or gateway.whole_network)
    return next((Path(source, target, way.address, way.port, way) for way in ways), None)


def crossings(
    spec: MeshSpec, gateways: Sequence[GatewayAddress]
) -> Iterator[tuple[str, GatewayAddress]]:
    """Every client's cluster with every gateway address of other networks."""
    for cluster in spec.data_planes:
        for gateway in gateways:
            if gateway.network != cluster.network:
                yield cluster.name, gateway
