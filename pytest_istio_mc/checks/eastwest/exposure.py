"""Exposure: MC-EASTWEST-009, hosts outside the mesh that an east-west gateway passes through."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ... import shell
from ...snapshot import ClusterSnapshot, Object, Snapshot, name_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..cluster_domain import cluster_domain
from ..isolating import covers
from ..judging import Found, each, names, verdict_from
from ..remedies import Commands
from .gateways import (
    AUTO_PASSTHROUGH,
    Server,
    config_of,
    east_west_services,
    gateway_proxies,
    servers,
)
from .passthrough import GATEWAYS, NO_GATEWAY, mesh_pattern, narrowed, unread

REFERENCE = "https://istio.io/latest/docs/reference/config/networking/gateway/"

_SNI = re.compile(r"outbound_\.\d+_\.[^_]*_\.(.+)")
_EXTERNAL, _INTERNAL = "MESH_EXTERNAL", "MESH_INTERNAL"
"""Locations of a ServiceEntry; the first is the default."""
_PRIVATE = ("internal", "lan", "intranet", "private", "corp", "home")
"""Top-level domains that no public name is in (ICANN; RFC 6762, appendix G)."""


@check(
    "MC-EASTWEST-009",
    "East-west gateways expose no host outside the mesh.",
    spec_url=REFERENCE + "#ServerTLSSettings-TLSmode",
    requires=(Feature.MULTI_NETWORK,),
)
def nothing_else_exposed(snapshot: Snapshot) -> Verdict:
    """Gateways pass hosts of the mesh through, and no others.

    - An AUTO_PASSTHROUGH server forwards, without looking, to every host that its pattern covers,
      external ServiceEntries included.
    - Judged twice: by the hosts of the Gateways, and by the SNI names that their Envoys accept.
    """
    services = east_west_services(snapshot)
    if not services:
        return verdict_from([NO_GATEWAY], "")

    def everything() -> Iterator[Found]:
        yield from each(snapshot.spec.control_planes, lambda plane: _wide_hosts(snapshot, plane))
        yield from each(services, lambda one: _exposed(snapshot, *one))

    count = sum(
        len(chain.server_names)
        for cluster in snapshot
        for proxy in cluster.proxies
        for chains in proxy.chains.values()
        for chain in chains
    )
    return verdict_from(
        everything(),
        f"{len(services)} east-west gateways accept {count} SNI names, all of services in the mesh",
    )


def _wide_hosts(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    config = snapshot.clusters[snapshot.spec.config_cluster(plane).name]
    external, domain = _hosts(config, _EXTERNAL), cluster_domain(snapshot, plane)
    for server in servers(config):
        if server.mode != AUTO_PASSTHROUGH:
            continue
        for host in server.hosts:
            caught = sorted(name for name in external if covers(host, name))
            if _beyond_the_mesh(host, domain) or caught:
                yield _too_wide(snapshot, config, server, host, caught, domain)


def _beyond_the_mesh(host: str, domain: str) -> bool:
    """Whether a host pattern reaches past names that a mesh gives out itself.

    - Those are its cluster domain's, ``*.local``, and the ``*.global`` of older meshes.
    - Of a cluster domain below another private top-level domain that one counts like ``local``.
    """
    top = domain.rpartition(".")[2]
    private = (".local", ".global", f".{domain}", *((f".{top}",) if top in _PRIVATE else ()))
    return host == "*" or not (host.endswith(private) or ".svc." in host)


def _too_wide(
    snapshot: Snapshot,
    config: ClusterSnapshot,
    server: Server,
    host: str,
    caught: list[str],
    domain: str,
) -> Finding:
    served = tuple(
        cluster.name
        for cluster in snapshot.spec.data_planes
        if config_of(snapshot, cluster).name == config.name
    )
    also = f"and with it {names(caught)}" if caught else "so also hosts"
    return Finding(
        f"the Gateway {name_of(server.item)} of {config.name} passes {host} through, "
        f"{also} outside the mesh",
        served or (config.name,),
        expected=f"hosts of the mesh only ({mesh_pattern(domain)})",
        seen=f"host {host}" + (f"; external: {', '.join(caught)}" if caught else ""),
        remedy=narrowed(snapshot, config, server, host, f"*.svc.{domain}"),
        fault="ew-exposes-external",
    )


def _hosts(config: ClusterSnapshot, location: str) -> set[str]:
    """The hosts of every ServiceEntry of that location."""
    return {
        host
        for item in config.listed("ServiceEntry.networking.istio.io")
        if item["spec"].get("location", _EXTERNAL) == location
        for host in item["spec"].get("hosts") or ()
    }


def _exposed(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    config = config_of(snapshot, cluster)
    external, internal = _hosts(config, _EXTERNAL), _hosts(config, _INTERNAL)
    for proxy in gateway_proxies(snapshot.clusters[cluster.name], service):
        if proxy.failures:
            yield unread(cluster, proxy)
            continue
        accepted = {
            match[1]
            for chains in proxy.chains.values()
            for chain in chains
            for name in chain.server_names
            if (match := _SNI.match(name))
        }
        foreign = sorted(
            host
            for host in accepted
            if host in external
            or (host not in internal and ".svc." not in host and not host.endswith(".global"))
        )
        if foreign:
            shown = Commands(snapshot).kubectl(config.name, "get -A -o yaml", GATEWAYS)
            yield Finding(
                f"the east-west gateway {proxy.pod} of {cluster.name} accepts "
                f"{names(foreign[:5])}, outside the mesh",
                (cluster.name,),
                expected="SNI names of services in the mesh only",
                seen=f"{len(foreign)} of {len(accepted)} hosts: {', '.join(foreign[:20])}",
                remedy=shell.with_note(shown, "and narrow the AUTO_PASSTHROUGH hosts"),
                fault="ew-exposes-external",
            )
