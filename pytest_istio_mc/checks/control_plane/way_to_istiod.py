"""The way from a remote cluster to its istiod: address, gateway ports, handshakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ... import shell
from ...istio_names import SERVICE_LABEL, WEBHOOK_PORT, XDS_PORT
from ...network_gateways import external_addresses, is_address, is_at
from ...shell import Command, Remedy
from ...snapshot import (
    ClusterSnapshot,
    Object,
    Snapshot,
    is_east_west_service,
    labels_of,
    name_of,
    namespace_of,
)
from ...spec import ClusterSpec, Role
from ...verdicts import Finding
from ..cluster_domain import cluster_domain
from ..eastwest.gateways import gateway_proxies
from ..judging import Found, Gap, names
from ..oracle import nodes_of
from ..remedies import Commands
from .facts import is_istiod
from .remedies import reinstall

PORTS = (XDS_PORT, WEBHOOK_PORT)


def wrong_address(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    """The Service istiod of a remote cluster leads to where its istiod is not."""
    found, commands = snapshot.clusters[cluster.name], Commands(snapshot)
    namespace = snapshot.spec.istio_namespace
    plane = snapshot.spec.control_plane_of(cluster.name).name
    services = (
        item
        for item in found.listed("Service")
        if namespace_of(item) == namespace and is_istiod(name_of(item))
    )
    right = _right_addresses(snapshot, plane)
    address = right[0] if right else "ADDRESS"
    by_installing = reinstall(commands, cluster.name, f"values.global.remotePilotAddress={address}")
    named = next((item for item in services if item["spec"].get("type") == "ExternalName"), None)
    if named is not None:
        yield Finding(
            f"the Service {name_of(named)} of {cluster.name} is of type ExternalName, which "
            "webhooks refuse",
            (cluster.name, plane),
            expected="a Service with the address of the control plane",
            seen=f"ExternalName {named['spec'].get('externalName', '')}",
            remedy=by_installing,
            fault="pr-externalname",
        )
        return
    tried = sorted({endpoint.address for endpoint in found.control_plane})
    used = tried or _endpoint_addresses(found, namespace)
    if not right or not all(map(is_address, right)):
        return  # a host name has addresses of its own; the handshakes tell
    if not set(used) & set(right):
        yield Finding(
            f"{cluster.name} looks for its istiod at {names(used)}; the control plane in {plane} "
            f"is reached at {names(right)}",
            (cluster.name, plane),
            expected=names(right),
            seen=names(used),
            remedy=_lead_to(snapshot, cluster.name, address) or by_installing,
            fault="pr-remote-address-wrong",
        )


def _slices(found: ClusterSnapshot, namespace: str) -> list[Object]:
    """What a remote's Service istiod leads to: written by the installation, or by hand."""
    slices = found.listed("EndpointSlice", namespace)
    return [item for item in slices if is_istiod(labels_of(item).get(SERVICE_LABEL, ""))]


def _endpoint_addresses(found: ClusterSnapshot, namespace: str) -> list[str]:
    endpoints = [one for item in _slices(found, namespace) for one in item["endpoints"]]
    return sorted({address for endpoint in endpoints for address in endpoint["addresses"]})


def _lead_to(snapshot: Snapshot, cluster: str, address: str) -> Remedy | None:
    """Lead a remote's Service istiod to an address; None where it has no slice."""
    commands, found = Commands(snapshot), snapshot.clusters[cluster]
    endpoints = [{"addresses": [address], "conditions": {"ready": True}}]
    namespace, replaced = snapshot.spec.istio_namespace, {"op": "replace", "path": "/endpoints"}
    patched = [
        commands.patch(
            cluster,
            "endpointslice",
            name_of(item),
            [*_unmoved(item), replaced | {"value": endpoints}],
            namespace,
        )
        for item in _slices(found, namespace)
    ]
    if not patched:
        return None
    setting = f"values.global.remotePilotAddress={address}"
    return shell.with_note(
        shell.then(*patched), f"and {setting} in the settings of this installation"
    )


def _unmoved(item: Object) -> list[dict[str, Any]]:
    """The tests that a slice still leads where it was seen to lead."""
    return [
        {"op": "test", "path": f"/endpoints/{number}/addresses", "value": one["addresses"]}
        for number, one in enumerate(item["endpoints"])
    ]


def _right_addresses(snapshot: Snapshot, plane: str) -> tuple[str, ...]:
    """The addresses of the Services that lead to an istiod: its own, or a gateway's."""
    home, namespace = snapshot.clusters[plane], snapshot.spec.istio_namespace
    own = (
        item
        for item in home.listed("Service", namespace)
        if is_istiod(name_of(item)) and not is_east_west_service(item)
    )
    nodes, exposing = nodes_of(home), (*home.east_west_services(), *own)
    listed = (address for item in exposing for address in external_addresses(item, nodes))
    return tuple(dict.fromkeys(listed))


def not_exposed(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    """A gateway through which remotes reach istiod does not open 15012 and 15017."""
    plane = snapshot.spec.control_plane_of(cluster.name)
    if plane.role is Role.EXTERNAL:
        return  # its istiod has an address of its own
    home = snapshot.clusters[plane.name]
    found = []
    for service in _leading(snapshot, home, cluster):
        proxies = [proxy for proxy in gateway_proxies(home, service) if not proxy.failures]
        heard = {port for proxy in proxies for port in proxy.chains}
        offered = {entry.get("port") for entry in service["spec"].get("ports") or ()}
        unoffered = [port for port in PORTS if port not in offered]
        deaf = [port for port in PORTS if proxies and str(port) not in heard]
        closed = sorted({*unoffered, *deaf})
        if not closed:
            return  # one that leads to istiod is enough
        found.append(
            Finding(
                f"the gateway {name_of(service)} of {plane.name} does not open "
                f"{names(map(str, closed))}, by which {cluster.name} reaches its istiod",
                (cluster.name, plane.name),
                expected=f"ports {XDS_PORT} and {WEBHOOK_PORT} of the Service, and a Gateway that "
                "passes them through to istiod",
                seen=f"Service ports {names(sorted(map(str, offered)))}; "
                f"listeners on {names(sorted(heard))}",
                remedy=_expose(snapshot, plane.name, service, unoffered, deaf),
                fault="pr-istiod-not-exposed",
            )
        )
    yield from found


def _leading(snapshot: Snapshot, home: ClusterSnapshot, cluster: ClusterSpec) -> tuple[Object, ...]:
    """The gateways by which a remote's pods look for istiod; all, if none is."""
    tried = {one.address for one in snapshot.clusters[cluster.name].control_plane}
    services = home.east_west_services()
    nodes = nodes_of(home)
    used = (one for one in services if any(is_at(one, address, nodes) for address in tried))
    return tuple(used) or services


def _expose(
    snapshot: Snapshot, plane: str, service: Object, unoffered: list[int], deaf: list[int]
) -> Command:
    """Open ports of a gateway's Service, and let its pods pass them on."""
    from ...topologies.operators import expose_istiod

    spec, commands = snapshot.spec, Commands(snapshot)
    steps = []
    if unoffered:
        ports = [{"name": f"tls-{port}", "port": port, "targetPort": port} for port in unoffered]
        added = [{"op": "add", "path": "/spec/ports/-", "value": port} for port in ports]
        name, namespace = name_of(service), namespace_of(service)
        steps.append(commands.patch(plane, "service", name, added, namespace))
    if deaf:
        services = snapshot.clusters[plane].listed("Service", spec.istio_namespace)
        istiods = [name_of(item) for item in services if is_istiod(name_of(item))] or ["istiod"]
        # what istio.io's samples/multicluster/expose-istiod.yaml has, for this gateway and istiod
        domain = cluster_domain(snapshot, spec.control_plane_of(plane))
        selector = service["spec"].get("selector")
        manifests = expose_istiod(spec, selector, istiods[0], domain)
        document = {"apiVersion": "v1", "kind": "List", "items": manifests}
        steps.append(commands.apply(plane, document, spec.istio_namespace))
    return shell.then(*steps)


def unanswered(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    """Handshakes from a remote cluster with its istiod that failed, or were not tried."""
    plane, commands = snapshot.spec.control_plane_of(cluster.name).name, Commands(snapshot)
    tried = snapshot.clusters[cluster.name].control_plane
    if not tried:
        yield Gap(
            f'cluster "{cluster.name}": no address of an istiod is known, so that none could be '
            "tried"
        )
    for one in tried:
        where = f"{one.address}:{one.port}"
        if one.unprobed:
            reaches = f"whether {cluster.name} reaches its istiod at {where}"
            yield Gap(f"{reaches} was not tried: {one.unprobed}")
        elif not one.completed:
            leading = commands.istio(
                plane, "get gateways.networking.istio.io,virtualservices,services,endpointslices"
            )
            yield Finding(
                f"{cluster.name} does not reach its istiod at {where}",
                (cluster.name, plane),
                expected="a TLS handshake",
                seen=one.error or "the connection was closed",
                remedy=shell.with_note(
                    leading, f"what leads {where} to istiod; firewalls from {cluster.name}"
                ),
                fault="pr-istiod-unreachable",
            )
        elif not one.verified:
            yield Finding(
                f"what answers {cluster.name} at {where} is no istiod that it trusts",
                (cluster.name, plane),
                expected="a certificate of the root that the cluster was given",
                seen=one.error,
                remedy=commands.restart_istiod(plane),
                fault="pr-istiod-other-root",
            )
