"""Paths: where raw connections between clusters have to go, read from the Services of east-west gateways and the probe pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..istio_names import GATEWAY_PORT_LABEL, NETWORK_LABEL
from ..mesh import Mesh
from ..observations import GatewayAddress, Path
from ..spec import MeshSpec
from . import manifests

if TYPE_CHECKING:
    from ..kube import Kube


def gateway_addresses(spec: MeshSpec, kubes: Mapping[str, Kube]) -> tuple[GatewayAddress, ...]:
    """The addresses of every Service that istiod takes for the gateway of a network (istio.io, "Install Multi-Primary on different
    networks"): load-balancer addresses and external IPs."""
    found: list[GatewayAddress] = []
    for cluster in spec.data_planes:
        for service in kubes[cluster.name].list("Service", labels=NETWORK_LABEL):
            found += _of_service(cluster.name, service)
    return tuple(found)


def path(
    mesh: Mesh, gateways: Sequence[GatewayAddress], source: str, target: str, port: int
) -> Path | None:
    """How ``source``'s client gets to the probe servers of ``target`` past its own sidecar: ``port`` straight to a pod on the same
    network, else the gateway's. The target's own gateway is preferred to others of its network; None where there is no way."""
    here, there = mesh.spec.cluster(source), mesh.spec.cluster(target)
    if here.network == there.network:
        servers = mesh.probes.servers(target) if mesh.probes else ()
        return next((Path(source, target, pod.ip, port) for pod in servers), None)
    ways = [gateway for gateway in gateways if gateway.network == there.network]
    ways.sort(key=lambda gateway: gateway.cluster != target)
    return next(
        (Path(source, target, gateway.address, gateway.port, gateway) for gateway in ways), None
    )


def crossings(
    spec: MeshSpec, gateways: Sequence[GatewayAddress]
) -> Iterator[tuple[str, GatewayAddress]]:
    """Every client's cluster with every gateway address of the networks that it is not in."""
    for cluster in spec.data_planes:
        for gateway in gateways:
            if gateway.network != cluster.network:
                yield cluster.name, gateway


def _of_service(cluster: str, service: Mapping[str, Any]) -> Iterator[GatewayAddress]:
    metadata, spec = service["metadata"], service.get("spec") or {}
    labels = metadata.get("labels") or {}
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    addresses = [
        entry.get("ip") or entry.get("hostname") for entry in balancer.get("ingress") or ()
    ]
    addresses += spec.get("externalIPs") or []
    wanted = labels.get(GATEWAY_PORT_LABEL, "")
    port = int(wanted) if wanted.isdigit() else manifests.EAST_WEST
    for address in dict.fromkeys(address for address in addresses if address):
        yield GatewayAddress(
            cluster,
            labels[NETWORK_LABEL],
            f"{metadata['namespace']}/{metadata['name']}",
            address,
            port,
        )
