"""Paths: where raw connections between clusters go, to east-west gateways or probe pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..istio_names import EAST_WEST_PORT, GATEWAY_PORT_LABEL, NETWORK_LABEL
from ..mesh import Mesh
from ..observations import GatewayAddress, Path
from ..spec import MeshSpec

if TYPE_CHECKING:
    from ..kube import Kube


def gateway_addresses(spec: MeshSpec, kubes: Mapping[str, Kube]) -> tuple[GatewayAddress, ...]:
    """The addresses of every Service that istiod takes for a network's gateway.

    - Load-balancer addresses and external IPs.
    - See istio.io, "Install Multi-Primary on different networks".
    """
    found: list[GatewayAddress] = []
    for cluster in spec.data_planes:
        for service in kubes[cluster.name].list("Service", labels=NETWORK_LABEL):
            found += _of_service(cluster.name, service)
    return tuple(found)


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
    ways.sort(key=lambda gateway: gateway.cluster != target)
    return next((Path(source, target, way.address, way.port, way) for way in ways), None)


def crossings(
    spec: MeshSpec, gateways: Sequence[GatewayAddress]
) -> Iterator[tuple[str, GatewayAddress]]:
    """Every client's cluster with every gateway address of other networks."""
    for cluster in spec.data_planes:
        for gateway in gateways:
            if gateway.network != cluster.network:
                yield cluster.name, gateway


def _of_service(cluster: str, service: Mapping[str, Any]) -> Iterator[GatewayAddress]:
    metadata, spec = service["metadata"], service.get("spec") or {}
    labels = metadata.get("labels") or {}
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    ingress = balancer.get("ingress") or ()
    addresses = [entry.get("ip") or entry.get("hostname") for entry in ingress]
    addresses += spec.get("externalIPs") or []
    wanted = labels.get(GATEWAY_PORT_LABEL, "")
    port = int(wanted) if wanted.isdigit() else EAST_WEST_PORT
    name = f"{metadata['namespace']}/{metadata['name']}"
    for address in dict.fromkeys(filter(None, addresses)):
        yield GatewayAddress(cluster, labels[NETWORK_LABEL], name, address, port)
