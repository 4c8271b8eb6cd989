"""Gateways as istiod knows them: those of the Services, and those that ``meshNetworks`` name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ... import shell
from ...istio_names import ISTIOD_PODS
from ...network_gateways import gateway_ports, is_address, is_at, outer_port
from ...observations import GatewayAddress
from ...recorded import IstiodFacts
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...spec import ClusterSpec
from ...verdicts import Finding
from ..judging import Found, Gap, names
from ..oracle import networks_of, nodes_of, said_by_name_servers
from ..remedies import Commands

Place = tuple[str, int]

_RESOLVE = "RESOLVE_HOSTNAME_GATEWAYS"
"""A variable of istiod: whether it resolves the host names of gateways, which is the default."""


def unknown_to_istiod(
    snapshot: Snapshot, plane: ClusterSpec, network: str, gateways: Sequence[GatewayAddress]
) -> Iterator[Found]:
    """The addresses that a control plane gives to proxies must be those of the gateways.

    Host names it resolves by itself: each must stand for something, and for nothing that its name
    servers do not say.
    """
    home = snapshot.clusters[plane.name]
    if not home.istiods:
        unread = "no istiod runs whose network gateways could be read"
        yield Gap(f'cluster "{plane.name}": {unread}')
    for istiod in home.istiods if gateways else ():
        rows = [
            row
            for row in istiod.debugged("networkz")
            # those without a port are for ambient meshes
            if row.get("Network") == network and row.get("Port")
        ]
        wrong = _differing(snapshot, gateways, rows)
        if wrong:
            yield _differs(snapshot, plane, istiod, network, gateways, rows)
        else:
            yield from _resolved_otherwise(snapshot, plane, istiod, gateways, rows)


def _differing(
    snapshot: Snapshot, gateways: Sequence[GatewayAddress], rows: Sequence[dict[str, Any]]
) -> bool:
    """Whether an istiod lacks an address, or has one that no gateway explains."""
    known = {(str(row["Addr"]), int(row["Port"])) for row in rows}
    literal = {(one.address, one.port) for one in gateways if is_address(one.address)}
    named = [one for one in gateways if not is_address(one.address)]
    if literal - known or any(not _of_name(one, rows, literal) for one in named):
        return True
    explained = literal.union(*(_of_name(one, rows, literal) for one in named))
    others = {
        (str(row["Addr"]), int(row["Port"]))
        for row in rows
        # a mesh may have more clusters than those that are looked at
        if not row.get("Cluster") or row["Cluster"] in snapshot.clusters
    }
    return bool(others - explained)


def _of_name(
    gateway: GatewayAddress, rows: Sequence[dict[str, Any]], literal: set[Place]
) -> set[Place]:
    """What an istiod made of a gateway's host name: rows of its cluster and port."""
    whose = "" if gateway.whole_network else gateway.cluster
    return {
        (str(row["Addr"]), int(row["Port"]))
        for row in rows
        if (row.get("Cluster", ""), int(row["Port"])) == (whose, gateway.port)
    } - literal


def _differs(
    snapshot: Snapshot,
    plane: ClusterSpec,
    istiod: IstiodFacts,
    network: str,
    gateways: Sequence[GatewayAddress],
    rows: Sequence[dict[str, Any]],
) -> Finding:
    commands, named = Commands(snapshot), any(not is_address(one.address) for one in gateways)
    known = sorted({(str(row["Addr"]), int(row["Port"])) for row in rows})
    logs = commands.istio(plane.name, "logs", f"pod/{istiod.pod}", "--tail=500")
    shown, restart = (
        shell.piped(logs, shell.command("grep -i gateway")),
        commands.restart_istiod(plane.name),
    )
    if named and istiod.environment.get(_RESOLVE, "true").lower() in ("false", "0"):
        resolve = f"{_RESOLVE}=true"
        restart = commands.istio(plane.name, "set env deployment -l", ISTIOD_PODS, resolve)
    clusters = dict.fromkeys((*(gateway.cluster for gateway in gateways), plane.name))
    other = f"other gateway addresses of {network} than it has"
    return Finding(
        f"istiod {istiod.pod} of {plane.name} knows "
        + (other if known else f"no gateway of {network}"),
        tuple(clusters),
        expected=", ".join(sorted(f"{one.address}:{one.port}" for one in gateways)),
        seen=", ".join(f"{address}:{port}" for address, port in known) or "none",
        remedy=shell.beside(shown, restart),
        fault="ew-hostname" if named else "ew-unknown-to-istiod",
    )


def _resolved_otherwise(
    snapshot: Snapshot,
    plane: ClusterSpec,
    istiod: IstiodFacts,
    gateways: Sequence[GatewayAddress],
    rows: Sequence[dict[str, Any]],
) -> Iterator[Gap]:
    """What istiod made of a host name, if its name servers now say something else altogether.

    Names of load balancers move, so that nobody knows who is right: live connections tell.
    """
    literal = {(one.address, one.port) for one in gateways if is_address(one.address)}
    for gateway in gateways:
        if is_address(gateway.address):
            continue
        said = said_by_name_servers(snapshot, plane, gateway.address)
        known = {address for address, _ in _of_name(gateway, rows, literal)}
        if said and not known & set(said):
            yield Gap(
                f"istiod {istiod.pod} of {plane.name} takes {gateway.address} for "
                f"{names(sorted(known))}, its name servers say {names(said)}"
            )


def misnamed_gateways(snapshot: Snapshot, plane: ClusterSpec, network: str) -> Iterator[Finding]:
    """Gateways in a control plane's ``meshNetworks`` that are another network's, or none at all."""
    entry = networks_of(snapshot, plane).get(network)
    if entry is None:
        return
    inside = [one.name for one in snapshot.spec.data_planes if one.network == network]
    for address, port in entry.addresses:
        owners = _owners(snapshot, address)
        if not owners:
            continue  # not a Service's of these clusters; live connections tell
        ours = [(cluster, service) for cluster, service in owners if cluster.name in inside]
        if not ours:
            cluster, service = owners[0]
            wrong = f"is {namespace_of(service)}/{name_of(service)} of {cluster.name}"
            yield _misnamed(snapshot, plane, network, f"{address}:{port}", wrong, cluster.network)
        elif not any(port in _outer_ports(service) for _, service in ours):
            offered = names(map(str, sorted(set().union(*(_outer_ports(one) for _, one in ours)))))
            wrong = f"has no such port, but {offered}"
            yield _misnamed(snapshot, plane, network, f"{address}:{port}", wrong)
    registries = [one for one in snapshot.spec.data_planes if one.name in entry.registries]
    for name, port in entry.services:
        found = [
            gateway_ports(cluster.name, service, {network: entry})
            for cluster in registries
            for service in snapshot.clusters[cluster.name].listed("Service")
            if f"{name_of(service)}.{namespace_of(service)}" == name
        ]
        if not found:
            where = names(one.name for one in registries)
            wrong = f"is no Service of {where}"
            yield _misnamed(snapshot, plane, network, f"{name}:{port}", wrong)


def _misnamed(
    snapshot: Snapshot,
    plane: ClusterSpec,
    network: str,
    gateway: str,
    wrong: str,
    other: str = "",
) -> Finding:
    config = snapshot.spec.config_cluster(plane).name
    inside = [one.name for one in snapshot.spec.data_planes if one.network == network]
    leads = f", which leads to {other}" if other else ""
    return Finding(
        f"meshNetworks of {config} name {gateway} as a gateway of {network}: it {wrong}{leads}",
        tuple(dict.fromkeys((plane.name, config, *inside))),
        expected=f"an address, or a Service and its port, of an east-west gateway in "
        f"{names(inside)}",
        seen=f"{gateway} {wrong}",
        remedy=shell.with_note(
            Commands(snapshot).istio(config, "edit configmap istio"), "the key meshNetworks"
        ),
        fault="ew-mesh-networks",
    )


def _owners(snapshot: Snapshot, address: str) -> list[tuple[ClusterSpec, Object]]:
    """The Services with that external address."""
    return [
        (cluster, service)
        for cluster in snapshot.spec.data_planes
        for service in snapshot.clusters[cluster.name].listed("Service")
        if is_at(service, address, nodes_of(snapshot.clusters[cluster.name]))
    ]


def _outer_ports(service: Object) -> set[int]:
    ports = (entry.get("port") for entry in service["spec"].get("ports") or ())
    return {outer_port(service, int(port)) for port in ports if port}
