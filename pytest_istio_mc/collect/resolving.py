"""Resolving: which Services may be gateways, and what their host names stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import MeshError, ObservationError
from ..mesh import Mesh
from ..network_gateways import (
    GATEWAY_API,
    MeshNetwork,
    external_addresses,
    is_address,
    mesh_networks,
)
from ..recorded import Failure
from ..snapshot import ClusterSnapshot, Object, is_east_west_service, name_of, namespace_of
from ..together import for_each
from .access import Ask


def with_names_resolved(
    mesh: Mesh, clusters: Mapping[str, ClusterSnapshot], ask: Ask | None, timeout_seconds: float
) -> dict[str, ClusterSnapshot]:
    """The clusters with the addresses that a probe in each has for the gateways' host names.

    - Load balancers of some clouds have a name only, which istiod resolves by itself.
    - Nothing is asked where no gateway has a name, or where no probe could ask.
    """
    hosts = sorted({host for cluster in clusters.values() for host in _hosts(cluster)})
    pods = {pod.cluster for pod in mesh.probes.pods} if mesh.probes else set()
    asking = [name for name in clusters if name in pods] if hosts and ask else []

    def resolve(name: str) -> ClusterSnapshot:
        assert ask is not None
        found: dict[str, tuple[str, ...]] = {}
        failures = []
        for host in hosts:
            try:
                answer = ask(name, {"op": "dns", "name": host, "timeout": timeout_seconds})
            except MeshError as error:
                failures.append(Failure(f"resolve {host}", str(error)))
                continue
            if answer.get("addresses"):
                found[host] = tuple(answer["addresses"])
            else:
                failures.append(Failure(f"resolve {host}", str(answer.get("error", ""))))
        cluster = clusters[name]
        return replace(cluster, resolved=found, failures=(*cluster.failures, *failures))

    return {**clusters, **dict(zip(asking, for_each(resolve, asking), strict=True))}


def gateway_services(services: Iterable[Object], config_maps: Iterable[Object]) -> list[Object]:
    """The Services of a cluster that may be gateways of networks.

    Also those that ``meshNetworks`` in its own ConfigMaps name.
    """
    networks = [network for item in config_maps for network in _networks(item)]
    named = {name for network in networks for name, _ in network.services}
    return [
        service
        for service in services
        if is_east_west_service(service) or f"{name_of(service)}.{namespace_of(service)}" in named
    ]


def _networks(item: Object) -> Iterable[MeshNetwork]:
    try:
        return mesh_networks(str(item["data"].get("meshNetworks", "")), "").values()
    except ObservationError:
        return ()  # the checks say so


def _hosts(cluster: ClusterSnapshot) -> Iterable[str]:
    """The host names among the addresses of what may be gateways."""
    found: set[str] = set()
    services = cluster.objects.get("Service", ())
    for service in filter(is_east_west_service, services):
        try:
            found.update(external_addresses(service))
        except ObservationError:
            continue  # at its nodes, which have addresses
    for item in cluster.objects.get(GATEWAY_API, ()):
        listed: Iterable[Mapping[str, Any]] = item["spec"].get("addresses") or ()
        found.update(str(entry.get("value", "")) for entry in listed)
    for item in cluster.objects.get("ConfigMap", ()):
        found.update(address for network in _networks(item) for address, _ in network.addresses)
    return (host for host in found if host and not is_address(host))
